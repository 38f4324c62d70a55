"""The engine `local`: a pool of processes on this machine, one per core or per GPU."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from multiprocessing import active_children
from threading import Event, Thread
from types import TracebackType

from prefect import get_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner

from core.machine.device import gpus
from core.rendering.chunk import ChunkResult
from flows.engines.engine import Finished, Round, api_url, render_in_window
from tasks.render import get_ready, render_one_chunk

_KILLING_SECONDS = 60


class LocalPool:
    """Processes that render, kept from round to round; replaced by fresh ones if one dies or leaves a chunk undone.

    They load what they need as soon as they are begun, so that a build may plan, or wait for its server, meanwhile.
    Whoever leaves the pool by an error kills them. Nothing is lost by that.

    Args:
        processes: so many.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._runner: ProcessPoolTaskRunner | None = None

    def __enter__(self) -> LocalPool:
        self._begin()
        return self

    def __exit__(self, error: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self._end(kill=error is not None)

    def render(self, round_: Round, finished: Finished) -> None:
        """Render the chunks of a round; ends early if a process dies.

        Raises:
            IsthmusError: if a chunk met something that a person must mend.
        """
        if self._runner and _is_broken(self._runner):  # since the last round, or before the first
            self._end(kill=True)
        runner = self._runner or self._begin()
        done = 0

        def one_more(result: ChunkResult) -> None:
            nonlocal done
            done += 1
            finished(result)

        try:
            with temporary_settings({PREFECT_API_URL: api_url()}):
                render_in_window(
                    lambda order: runner.submit(render_one_chunk, dict(order)), round_, 2 * self._processes, one_more
                )
        except BrokenProcessPool:
            self._end(kill=True)
            get_run_logger().warning("a render process died; going on with fresh ones and what is still missing")
        else:
            if done < len(round_.chunks):  # what has befallen a process, such as a wedged GPU, may stay with it
                self._end(kill=True)
            elif gpus():  # the next stage has all of their memory
                self._end(kill=False)

    def _begin(self) -> ProcessPoolTaskRunner:
        runner = ProcessPoolTaskRunner(max_workers=self._processes)
        runner.__enter__()
        self._runner = runner
        try:
            _never_wait_for_messages(runner)
            _load(runner, self._processes)
        except BaseException:  # an interrupt too
            self._end(kill=True)
            raise
        return runner

    def _end(self, *, kill: bool) -> None:
        runner, self._runner = self._runner, None
        if runner is None:
            return
        left = Event()
        killing = Thread(target=_kill_processes, args=(left,), name="kill-processes", daemon=True)
        if kill or _is_broken(runner):
            killing.start()
        try:
            runner.__exit__(None, None, None)
        except BaseException:  # one more interrupt; Python would wait for them when it ends
            if killing.ident is None:
                killing.start()
            raise
        left.set()


_begun: ContextVar[LocalPool | None] = ContextVar("pool of the build", default=None)


@contextmanager
def render_processes(processes: int) -> Iterator[LocalPool]:
    """A pool for all that is rendered inside: begun by whoever comes first, and shared by those who come within."""
    begun = _begun.get()
    if begun:
        yield begun
        return
    with LocalPool(processes) as pool:
        token = _begun.set(pool)
        try:
            yield pool
        finally:
            _begun.reset(token)


def _load(runner: ProcessPoolTaskRunner, processes: int) -> None:
    """Begin all processes before there is a task for them.

    In a thread, which no interrupt disturbs: a process whose beginning is interrupted complains that it has nothing to
    read.
    """
    executor = _executor(runner)
    if executor is None:
        return

    def begin() -> None:
        # Processes inherit this: they never hear of an interrupt from the keyboard, which reaches all of a terminal.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        with suppress(BrokenProcessPool, OSError):  # the first round meets it too
            for _ in range(processes):
                executor.submit(get_ready)

    with ThreadPoolExecutor(1) as thread:  # left when all are begun, come what may
        thread.submit(begin).result()


def _is_broken(runner: ProcessPoolTaskRunner) -> bool:
    return bool(getattr(_executor(runner), "_broken", False))


def _executor(runner: ProcessPoolTaskRunner) -> ProcessPoolExecutor | None:
    """Python's own pool inside; a Prefect that has it elsewhere begins processes with their first tasks."""
    return getattr(runner, "_executor", None)


def _kill_processes(left: Event) -> None:
    """Kill the processes of a pool until it has been left, or for a minute. Nothing is lost by that.

    Leaving waits for them: long for what they have begun, and for ever for one that was being started while another
    died, which Python then neither ends nor forgets. Such a one may come late, so once is not enough.
    """
    end = time.monotonic() + _KILLING_SECONDS
    while not left.wait(0.1) and time.monotonic() < end:
        for process in active_children():
            process.kill()


def _never_wait_for_messages(pool: ProcessPoolTaskRunner) -> None:
    """Do not let this process wait, when it ends, until its messages to the pool's own queue have been written.

    A render process that was killed while it wrote to that queue holds the queue's lock for ever. The queue carries
    log lines only.
    """
    messages = getattr(pool, "_subprocess_message_queue", None)
    if messages is not None:
        messages.cancel_join_thread()
