"""Publishing an atlas now and then while it grows, in a thread, so that rendering does not wait."""

from __future__ import annotations

import threading
import time
import traceback
from contextvars import copy_context

from prefect import get_run_logger

from core.errors import IsthmusError, one_line
from core.gallery.publish import publish
from core.spec import AtlasSpec
from core.store.store import open_store

_SHARE = 0.05  # of the time of a build, at most, is spent on publishing


class Publisher:
    """Publishes what a build has rendered; used within a flow run."""

    def __init__(self, spec: AtlasSpec) -> None:
        self._spec = spec
        self._log = get_run_logger()
        self._last = time.monotonic()
        self._pause = spec.compute.publish_seconds
        self._thread: threading.Thread | None = None

    def chunk_finished(self) -> None:
        """Begin to publish if the time for it has come."""
        if time.monotonic() - self._last > self._pause and not (self._thread and self._thread.is_alive()):
            self._thread = threading.Thread(
                target=copy_context().run, args=(self.publish,), name="publish", daemon=True
            )
            self._thread.start()

    def publish(self) -> None:
        """Publish every record of the atlas; an error is logged, because the end of the build publishes again."""
        began = time.monotonic()
        try:
            counts = publish(open_store(self._spec.uri, self._spec.storage), self._spec.name).counts
            self._log.info("published %s pairs: %s done, %s failed", counts.pairs, counts.done, counts.failed)
        except IsthmusError as error:
            self._log.info("the atlas is not published yet: %s", error)
        except Exception as error:  # a fault of Isthmus, which must not end the build
            self._log.error("the atlas is not published: %s\n%s", one_line(error), traceback.format_exc())
        self._last = time.monotonic()
        self._pause = max(self._spec.compute.publish_seconds, (self._last - began) / _SHARE)

    def wait(self) -> None:
        """Wait until nothing is being published."""
        if self._thread is not None:
            self._thread.join()
