"""Telling Prefect's server how a build goes, in a thread, so that rendering never waits for the server."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from contextvars import copy_context

import httpx
from prefect import get_run_logger
from prefect.exceptions import PrefectException

from core.errors import one_line


class Teller:
    """Calls that tell the server something, made one after the other in a thread; used within a flow run.

    If the server does not answer, a warning is logged once, and what it should have been told is lost.
    """

    def __init__(self) -> None:
        self._calls: dict[str, Callable[[], object]] = {}
        self._changed = threading.Condition()
        self._is_telling = False
        self._is_lost = False
        self._log = get_run_logger()
        context = copy_context()  # it has the flow run, which the calls are about
        threading.Thread(target=context.run, args=(self._run,), name="tell-prefect", daemon=True).start()

    def tell(self, what: str, call: Callable[[], object]) -> None:
        """Make a call soon. It replaces a call of the same name that has not been made yet."""
        with self._changed:
            self._calls[what] = call
            self._changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Wait until all calls have been made, but not longer than some seconds, and not for a server that is lost."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_lost or not (self._calls or self._is_telling), seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_telling = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._calls)
                what = next(iter(self._calls))
                call = self._calls.pop(what)
                self._is_telling = True
            try:
                call()
            except (httpx.HTTPError, PrefectException, OSError) as error:
                if not self._is_lost:
                    self._log.warning("the Prefect server does not answer, the build goes on: %s", one_line(error))
                with self._changed:
                    self._is_lost = True
            except Exception as error:  # a fault of Isthmus, which must not end the build
                self._log.error("Prefect is not told the %s: %s\n%s", what, one_line(error), traceback.format_exc())
            else:
                if self._is_lost:
                    self._log.info("the Prefect server answers again")
                with self._changed:
                    self._is_lost = False
