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
from typing import TextIO

import httpx

from flows import prefect_server
from flows.failures import tell_interrupted
from flows.outcome import BuildResult
from flows.terminal import warn

_LOOK_SECONDS = 1.0
_REFUSALS = 3  # in a row
_SILENCE_SECONDS = 8.0
_PRINTING_SECONDS = 1.0


class Ending:
    """Tells the outcome of a build once, and ends the process if the server does not answer when the build has ended.

    Args:
        tell: prints the outcome to a stream and returns the exit code.
        stopped: has the exit code if the build was interrupted.
    """

    def __init__(self, tell: Callable[[BuildResult, TextIO], int], stopped: Sequence[int]) -> None:
        self.result: BuildResult | None = None
        self._tell, self._stopped = tell, stopped
        self._lock = threading.Lock()
        self._code: int | None = None

    def build_ended(self, result: BuildResult | None) -> None:
        """Begin to watch the server, now that the build has ended; the result is None if it was interrupted."""
        self.result = result
        server = httpx.Client(base_url=prefect_server.address(), timeout=_LOOK_SECONDS)
        threading.Thread(target=self._watch, args=(server,), name="end-soon", daemon=True).start()

    def tell(self, result: BuildResult, output: TextIO | None = None) -> int:
        """Tell the outcome unless it has been told, and return the exit code.

        Args:
            output: where to print it; by default standard output, which may be redirected.
        """
        with self._lock:
            if self._code is None:
                self._code = self._tell(result, output or sys.stdout)
            return self._code

    def leave(self) -> None:
        """End the process at once, after telling the outcome. Nothing else is sent to the server."""
        output = sys.__stdout__ or sys.stdout
        if self.result is None:
            code = tell_interrupted(self._stopped[0] if self._stopped else 1, output)
        elif self._code is None:
            warn("the Prefect server does not answer, so its pages do not show that this build has ended")
            code = self.tell(self.result, output)
        else:
            code = self._code
            time.sleep(_PRINTING_SECONDS)  # the main thread may still print the outcome
        output.flush()
        sys.stderr.flush()
        prefect_server.end_temporary()
        os._exit(code)

    def _watch(self, server: httpx.Client) -> None:
        """End the process when the server has refused some requests, or has been silent for some seconds.

        A server whose database is gone answers with errors.
        """
        heard, refusals = time.monotonic(), 0
        while refusals < _REFUSALS and time.monotonic() - heard < _SILENCE_SECONDS:
            time.sleep(_LOOK_SECONDS)
            try:
                answer = server.get("/ready")
                heard = time.monotonic()
                refusals = refusals + 1 if answer.is_server_error else 0
            except httpx.ConnectError:
                refusals += 1
            except httpx.HTTPError:
                refusals = 0
        self.leave()
