"""A Prefect worker whose flow runs are handed on when it is stopped; deploy/worker.py starts it.

A worker of Prefect that gets SIGTERM kills the processes of its flow runs, so these cannot tell the server. This one
takes no more runs, and sends SIGTERM to the processes: they schedule their runs again and end. It ends after the last.

SIGTERM must be blocked in the worker's process. Thereby it is in the processes of flow runs too, where the function of
a flow admits it (see `flows.worker_run`). So a run that is just starting is not killed either: it is handed on as soon
as its flow has begun.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import FlowRun
from prefect.workers.process import ProcessWorker, ProcessWorkerResult

_PATIENCE_SECONDS = 60.0  # for all flow runs to end their render processes and to tell the server; measured: 1 to 4 s
_STARTING_SECONDS = 20.0  # from taking a flow run to starting its process; measured: 0.5 s

with warnings.catch_warnings():  # that the class takes the place of Prefect's, which is why it has this type
    warnings.simplefilter("ignore")

    class IsthmusWorker(ProcessWorker):
        """The worker of pools of type `process`."""

        type = "process"

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._is_asking = False
            self._taken: dict[UUID, float] = {}  # flow runs that have no process yet -> time
            self._running: set[UUID] = set()
            _workers.append(self)

        async def get_and_submit_flow_runs(self) -> list[FlowRun]:
            """Take the flow runs that are due, as long as the worker is not being stopped."""
            if _stopping.is_set():
                return []
            self._is_asking = True
            try:
                taken = await super().get_and_submit_flow_runs()
                now = time.monotonic()
                self._taken = self._starting() | {run.id: now for run in taken if run.id not in self._running}
            finally:
                self._is_asking = False
            return taken

        async def run(self, flow_run: FlowRun, *arguments: Any, **named: Any) -> ProcessWorkerResult:
            """Start the process of a flow run and wait for its end."""
            self._running.add(flow_run.id)
            self._taken.pop(flow_run.id, None)
            try:
                return await super().run(flow_run, *arguments, **named)
            finally:
                self._running.discard(flow_run.id)

        @property
        def has_runs(self) -> bool:
            """Whether there are flow runs that have not ended, or whose processes are about to start."""
            return bool(self._is_asking or self._starting() or self._running)

        def _starting(self) -> dict[UUID, float]:
            """Return the flow runs that were taken so short a time ago that their processes may be about to start."""
            now = time.monotonic()
            taken = self._taken.copy()  # at once, because the thread that stops the worker asks too
            return {run: then for run, then in taken.items() if now - then < _STARTING_SECONDS}


_stopping = threading.Event()
"""Whether the worker of this process takes no more flow runs."""
_workers: list[IsthmusWorker] = []
"""The worker of this process, once it has been made; none if its pool is of another type."""


def stop_when_told() -> None:
    """Wait for SIGTERM, which is blocked; send it to the process of every flow run, and end after the last.

    It is for a thread of its own.
    """
    signal.sigwait({signal.SIGTERM})
    _stopping.set()
    told = set[int]()
    end = time.monotonic() + _PATIENCE_SECONDS
    while any(worker.has_runs for worker in _workers) and time.monotonic() < end:
        for process in _children() - told:
            told.add(process)
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(process, signal.SIGTERM)
        time.sleep(0.1)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # Prefect still loads
        os._exit(128 + signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)  # which ends a worker of Prefect


def _children() -> set[int]:
    """Return the ids of the child processes of this one."""
    found = set[int]()
    for listing in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # the thread has just ended
            found |= {int(child) for child in listing.read_text().split()}
    return found
