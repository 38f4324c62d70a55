"""The end of a command: it comes soon after the build has ended, whatever has become of Prefect's server.

When a process ends, Prefect waits until the server has everything that it was sent. If the server has died, that takes
up to ten minutes. The truth about an atlas is in its store, so the command does not wait.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence

import httpx

from flows import prefect_server
from flows.outcome import BuildResult
from flows.terminal import INTERRUPTED, errors, warn

_LOOK_SECONDS = 1.0
_REFUSALS = 3  # in a row
_SILENCE_SECONDS = 8.0


class Ending:
    """Tells the outcome of a build once, and ends the process if the server does not answer when the build has ended.

    Args:
        tell: prints the outcome and returns the exit code.
        stopped: has the exit code if the build was interrupted.
    """

    def __init__(self, tell: Callable[[BuildResult], int], stopped: Sequence[int]) -> None:
        self.result: BuildResult | None = None
        self._tell, self._stopped = tell, stopped
        self._lock = threading.Lock()
        self._code: int | None = None

    def build_ended(self, result: BuildResult | None) -> None:
        """Begin to watch the server, now that the build has ended; the result is None if it was interrupted."""
        self.result = result
        threading.Thread(target=self._watch, name="end-soon", daemon=True).start()

    def tell(self, result: BuildResult) -> int:
        """Tell the outcome unless it has been told, and return the exit code."""
        with self._lock:
            if self._code is None:
                self._code = self._tell(result)
            return self._code

    def leave(self) -> None:
        """End the process at once, after telling the outcome. Nothing else is sent to the server."""
        if self.result is not None:
            if self._code is None:
                warn("the Prefect server does not answer, so its pages do not show that this build has ended")
            code = self.tell(self.result)
        else:
            code = self._stopped[0] if self._stopped else 1
            errors.print(INTERRUPTED)
        sys.stdout.flush()
        sys.stderr.flush()
        prefect_server.end_temporary()
        os._exit(code)

    def _watch(self) -> None:
        """End the process when the server has refused some requests, or has been silent for some seconds.

        A server whose database is gone answers with errors.
        """
        address = prefect_server.address()
        heard, refusals = time.monotonic(), 0
        while refusals < _REFUSALS and time.monotonic() - heard < _SILENCE_SECONDS:
            time.sleep(_LOOK_SECONDS)
            try:
                answer = httpx.get(f"{address}/ready", timeout=_LOOK_SECONDS)
                heard = time.monotonic()
                refusals = refusals + 1 if answer.is_server_error else 0
            except httpx.ConnectError:
                refusals += 1
            except httpx.HTTPError:
                refusals = 0
        self.leave()
