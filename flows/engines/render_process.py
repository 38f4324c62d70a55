"""A render process of this machine: it loads TensorFlow once, renders one chunk after another, and can be replaced."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from prefect.futures import PrefectFuture
from prefect.task_runners import ProcessPoolTaskRunner

from core.rendering.chunk import ChunkResult
from tasks.render import get_ready, render_one_chunk

_LEAVING_SECONDS = 60.0
_EXIT_CODE_TRIES, _EXIT_CODE_SECONDS = 20, 0.05


class RenderProcess:
    """A process in a pool of its own, so that its death or its replacement disturbs no other process.

    Attributes:
        chunk: the chunk that it renders, or None.
        was_killed: whether it was killed because it hung.
        is_loaded: whether it has rendered a chunk; until then it loads and compiles.
    """

    def __init__(self) -> None:
        self.chunk: str | None = None
        self.is_loaded = self.was_killed = False
        self._process: BaseProcess | None = None
        self._runner = ProcessPoolTaskRunner(max_workers=1)
        self._runner.__enter__()
        _never_wait_for_messages(self._runner)

    def load(self) -> None:
        """Start the process and let it load TensorFlow, before there is a chunk for it."""
        with suppress(BrokenProcessPool, OSError):  # the first chunk meets the same error
            if self._executor is not None:
                self._executor.submit(get_ready)
                self._process = next(iter(self._executor._processes.values()), None)

    def render(
        self, chunk: str, parameters: Mapping[str, Any], ended: Callable[[PrefectFuture[ChunkResult]], None]
    ) -> None:
        """Begin to render a chunk; *ended* is called in another thread when its task has ended."""
        self.chunk = chunk
        self._runner.submit(render_one_chunk, dict(parameters)).add_done_callback(ended)

    @property
    def is_broken(self) -> bool:
        """True if the process has died."""
        return bool(getattr(self._executor, "_broken", False))

    @property
    def is_stopped(self) -> bool:
        """True if the process gets no processor: it was stopped by a signal, or waits for a device that hangs."""
        if self._process is None:
            return False
        with suppress(OSError, IndexError):
            return (
                Path(f"/proc/{self._process.pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
                in "TtD"
            )
        return False

    @property
    def death(self) -> str:
        """The way in which the process died, for a message."""
        code, tries = None, 0
        while (code := self._process and self._process.exitcode) is None and tries < _EXIT_CODE_TRIES:
            tries += 1  # another thread is fetching the code
            time.sleep(_EXIT_CODE_SECONDS)
        if code == -signal.SIGKILL:
            remedy = "smaller frames or fewer compute.processes need less"
            return f"was killed, as Linux does when memory runs out ({remedy})"
        return f"ended with code {code}" if code else "died"

    def kill(self) -> None:
        """Kill the process; the task of its chunk ends with BrokenProcessPool."""
        self.was_killed = True
        if self._process is not None:
            self._process.kill()

    def end(self, *, kill: bool = False) -> None:
        """End the process: when it has finished its chunk, or at once if *kill*; a process that hangs is killed."""
        left = threading.Event()
        killing = threading.Thread(target=self._kill_until, args=(left, 0.0 if kill else _LEAVING_SECONDS), daemon=True)
        killing.start()
        try:
            self._runner.__exit__(None, None, None)
        except BaseException:  # another interrupt: unless the process is killed, Python waits for it when it exits
            self.kill()
            raise
        left.set()

    def _kill_until(self, left: threading.Event, patience: float) -> None:
        """Kill the process again and again until its pool has been left, because the process may appear late."""
        while not left.wait(patience or 0.1):
            patience = 0.0
            self.kill()

    @property
    def _executor(self) -> ProcessPoolExecutor | None:
        """Python's pool that Prefect's runner wraps, or None if this version of Prefect keeps it elsewhere."""
        return getattr(self._runner, "_executor", None)


def _never_wait_for_messages(runner: ProcessPoolTaskRunner) -> None:
    """Let this process end without waiting until its messages to the pool's queue have been written.

    A render process that is killed while it writes to that queue holds the queue's lock for ever. The queue carries
    log lines only.
    """
    messages = getattr(runner, "_subprocess_message_queue", None)
    if messages is not None:
        messages.cancel_join_thread()
