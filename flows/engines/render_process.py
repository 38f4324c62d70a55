"""A render process of this machine: it loads TensorFlow once, renders one chunk after another, and can be replaced."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from core.rendering.chunk import ChunkResult
from core.rendering.process import get_ready, render_planned_chunk
from core.rendering.renderers import FirstStrips
from flows.engines import fork_server
from tasks.render import ProcessEndedError

_LEAVING_SECONDS = 60.0
_EXIT_CODE_TRIES, _EXIT_CODE_SECONDS = 20, 0.05

_Result = TypeVar("_Result")


class RenderProcess:
    """A process in a pool of its own, so that its death or its replacement disturbs no other process.

    Attributes:
        chunk: the chunk that it renders, or None.
        was_killed: whether it was killed because it hung.
        is_loaded: whether it has rendered a chunk; until then it loads and compiles.
    """

    def __init__(self) -> None:
        self.chunk: str | None = None
        self.is_loaded = self.was_killed = self._is_ended = False
        self._executor = ProcessPoolExecutor(1, mp_context=fork_server.context())
        self._process: BaseProcess | None = None

    def load(self, first: FirstStrips | None = None) -> None:
        """Start the process and let it load TensorFlow, before there is a chunk for it; for a thread of its own.

        Args:
            first: the strips that it probably renders first.
        """
        fork_server.block_interrupts()
        with suppress(RuntimeError):  # the first chunk meets the same error
            self._submit(get_ready, first)

    def render(
        self, chunk: str, task: Callable[..., ChunkResult], ended: Callable[[Future[ChunkResult]], None]
    ) -> None:
        """Begin to render a chunk; *ended* is called in another thread when its task has ended.

        A thread that Python does not wait for when it exits runs the task, because the task may wait before a retry.

        Args:
            task: runs the task in the calling thread; its argument renders a chunk in this process.
        """
        self.chunk = chunk
        future: Future[ChunkResult] = Future()
        future.add_done_callback(ended)
        context = copy_context()  # has the flow run

        def run() -> None:
            fork_server.block_interrupts()
            try:
                result = context.run(task, render=self._render)
            except BaseException as error:  # the future's owner raises it
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=run, name=f"task of {chunk}", daemon=True).start()

    def _render(self, *address: Any) -> ChunkResult:
        """Call `render_planned_chunk` in the process.

        Raises:
            BrokenProcessPool: if the process has died.
            ProcessEndedError: if the process was ended, even before the task began or while it waited for a retry.
        """
        try:
            return self._submit(render_planned_chunk, *address).result()
        except (RuntimeError, CancelledError):  # RuntimeError: also BrokenProcessPool
            if self._is_ended:
                raise ProcessEndedError from None
            raise

    def _submit(self, function: Callable[..., _Result], *arguments: Any) -> Future[_Result]:
        """Let the process call a function; the first call starts the process, which may take seconds.

        Raises:
            BrokenProcessPool: if the process or the fork server has died.
            RuntimeError: if the process was ended.
        """
        try:
            fork_server.start()
            future = self._executor.submit(function, *arguments)
        except (EOFError, OSError) as error:  # the fork server was killed
            raise BrokenProcessPool(str(error)) from error
        self._process = next(iter((self._executor._processes or {}).values()), self._process)
        return future

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
        self._is_ended = True
        left = threading.Event()
        killing = threading.Thread(target=self._kill_until, args=(left, 0.0 if kill else _LEAVING_SECONDS), daemon=True)
        killing.start()
        try:
            self._executor.shutdown(cancel_futures=True)
        except BaseException:  # another interrupt: unless the process is killed, Python waits for it when it exits
            self.kill()
            raise
        left.set()

    def _kill_until(self, left: threading.Event, patience: float) -> None:
        """Kill the process again and again until its pool has been left, because the process may appear late."""
        while not left.wait(patience or 0.1):
            patience = 0.0
            self.kill()
