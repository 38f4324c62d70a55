"""The engine `local`: a pool of processes on this machine, one per core or per GPU."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import active_children
from threading import Event, Thread

from prefect import get_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner

from core.machine.device import gpus
from core.machine.parallel import process_count
from flows.engines.engine import Failed, Finished, Round, api_url, render_in_window
from tasks.render import get_ready, render_one_chunk

_KILLING_SECONDS = 60


class LocalEngine:
    """Render processes that are kept from round to round, and replaced if one dies or leaves a chunk unfinished.

    The processes load TensorFlow as soon as they are started, so that a build can plan, or wait for its server,
    meanwhile.

    Args:
        processes: number of chunks that are rendered at once; None: one per GPU, or else one per core.
    """

    def __init__(self, processes: int | None) -> None:
        self._at_once = process_count(processes)
        self._largest_round = self._pool_size = 0
        self._runner: ProcessPoolTaskRunner | None = None

    @property
    def chunks_at_once(self) -> int:
        """One chunk in each process of this machine."""
        return self._at_once

    def check(self) -> None:
        """Do nothing: the processes need only what this one has."""

    def begin(self, chunks: int) -> None:
        """Start the processes, at most as many as the largest round has chunks."""
        self._largest_round = max(self._largest_round, chunks)
        wanted = min(self._at_once, self._largest_round)
        if wanted > self._pool_size:
            self.close()
        if chunks and self._runner is None:
            self._pool_size = wanted
            self._start()

    def render(self, round_: Round, finished: Finished, failed: Failed) -> None:
        """Render the chunks of a round; if a process dies, return early and start new processes in the next round."""
        if self._runner and _is_broken(self._runner):  # a process died since the last round, or before the first
            self.close(kill=True)
        self.begin(len(round_.chunks))
        runner = self._runner
        if runner is None:  # there is nothing to render
            return
        try:
            with temporary_settings({PREFECT_API_URL: api_url()}):
                done = render_in_window(
                    lambda parameters: runner.submit(render_one_chunk, dict(parameters)),
                    round_,
                    2 * self._pool_size,
                    finished,
                    failed,
                )
        except BrokenProcessPool:
            how = _death(runner)
            self.close(kill=True)
            get_run_logger().warning(f"a render process {how}; new processes render the chunks that are still missing")
            return
        if done < len(round_.chunks):  # the fault may persist in a process, such as a GPU that hangs
            self.close(kill=True)
        elif gpus():  # the processes of the next stage need all of the GPUs' memory
            self.close()

    def close(self, *, kill: bool = False) -> None:
        """End the processes: when they have finished the chunks that they have begun, or at once if *kill*."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        left = Event()
        killing = Thread(target=_kill_processes, args=(left,), name="kill-processes", daemon=True)
        if kill or _is_broken(runner):
            killing.start()
        try:
            runner.__exit__(None, None, None)
        except BaseException:  # another interrupt: unless the processes are killed, Python waits for them when it exits
            if killing.ident is None:
                killing.start()
            raise
        left.set()

    def _start(self) -> None:
        self._runner = ProcessPoolTaskRunner(max_workers=self._pool_size)
        self._runner.__enter__()
        try:
            _never_wait_for_messages(self._runner)
            _load(self._runner, self._pool_size)
        except BaseException:  # also an interrupt
            self.close(kill=True)
            raise


def _load(runner: ProcessPoolTaskRunner, processes: int) -> None:
    """Start all processes of a pool before there is a task for them.

    A thread does this, because Python handles interrupts in the main thread only: a process whose start is interrupted
    prints an error about its empty input.
    """
    executor = _executor(runner)
    if executor is None:
        return

    def begin() -> None:
        # The processes inherit the mask: an interrupt from the keyboard reaches all processes of a terminal.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        with suppress(BrokenProcessPool, OSError):  # the first round meets the same error
            for _ in range(processes):
                executor.submit(get_ready)

    with ThreadPoolExecutor(1) as thread:  # its end waits until all processes are started
        thread.submit(begin).result()


def _is_broken(runner: ProcessPoolTaskRunner) -> bool:
    return bool(getattr(_executor(runner), "_broken", False))


def _death(runner: ProcessPoolTaskRunner) -> str:
    """Say how a process of a broken pool died; the pool itself has terminated the others."""
    processes = getattr(_executor(runner), "_processes", None) or {}
    codes = {process.exitcode for process in processes.values()} - {None, 0, -signal.SIGTERM}
    if -signal.SIGKILL in codes:
        return "was killed, as Linux does when memory runs out (smaller frames or fewer compute.processes need less)"
    return f"ended with code {max(codes)}" if codes else "died"


def _executor(runner: ProcessPoolTaskRunner) -> ProcessPoolExecutor | None:
    """Return the pool of Python's that Prefect's runner wraps, or None if this version of Prefect keeps it elsewhere.

    Without the pool, processes start with their first tasks.
    """
    return getattr(runner, "_executor", None)


def _kill_processes(left: Event) -> None:
    """Kill the processes of a pool again and again, until the pool has been left or a minute is over.

    Leaving the pool waits for its processes. That takes long if a process renders a chunk. It takes for ever if a
    process was being started while another one died, because Python neither ends nor forgets the new process. Such a
    process may appear late, so killing once is not enough. Chunks in flight are lost; the next round or build renders
    them.
    """
    end = time.monotonic() + _KILLING_SECONDS
    while not left.wait(0.1) and time.monotonic() < end:
        for process in active_children():
            process.kill()


def _never_wait_for_messages(pool: ProcessPoolTaskRunner) -> None:
    """Let this process end without waiting until its messages to the pool's queue have been written.

    A render process that is killed while it writes to that queue holds the queue's lock for ever. The queue carries
    log lines only.
    """
    messages = getattr(pool, "_subprocess_message_queue", None)
    if messages is not None:
        messages.cancel_join_thread()
