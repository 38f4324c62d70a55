"""The engine `local`: render processes on this machine, one per core or per GPU."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from itertools import islice, zip_longest
from queue import Empty, SimpleQueue

from prefect import get_run_logger

from core.machine.device import gpus
from core.machine.parallel import process_count
from core.rendering.chunk import ChunkResult
from core.rendering.renderers import FirstStrips
from flows.engines.engine import Failed, Finished, Round, tell
from flows.engines.patience import Patience
from flows.engines.render_process import RenderProcess
from tasks.render import render_one_chunk

_LOOK_SECONDS = 0.5
_ENDING_THREADS = 32

_Ended = SimpleQueue[tuple[RenderProcess, Future[ChunkResult]]]


class LocalEngine:
    """Render processes that are kept from round to round. A process that dies, hangs or leaves a chunk is replaced.

    The processes load TensorFlow as soon as they are started, so that a build can plan, or wait for its server,
    meanwhile.

    Args:
        processes: number of chunks that are rendered at once; None: one per GPU, or else one per core.
    """

    def __init__(self, processes: int | None) -> None:
        self._at_once = process_count(processes)
        self._processes: list[RenderProcess] = []
        self._patience = Patience()
        self._looked = 0.0

    @property
    def chunks_at_once(self) -> int:
        """One chunk in each process of this machine."""
        return self._at_once

    def check(self) -> None:
        """Do nothing: this machine has all that is needed."""

    def begin(self, chunks: int, first: Iterable[FirstStrips | None] = ()) -> None:
        """Start the processes, at most as many as the largest round has chunks."""
        missing = min(self._at_once, chunks) - len(self._processes)
        if missing > 0:
            self._start(missing, first)

    def render(self, round_: Round, finished: Finished, failed: Failed) -> None:
        """Render the chunks of a round; the chunk of a process that dies or hangs is left for the next round.

        If processes keep dying, all chunks that are left are.
        """
        for process in [process for process in self._processes if process.is_broken]:  # since the last round
            self._remove(process)
        self.begin(len(round_.chunks))
        try:
            self._render(round_, finished, failed)
        except BaseException:  # chunks in flight must not end in the next round
            self.close(kill=True)
            raise
        if gpus():  # the processes of the next stage need all of the GPUs' memory
            self.close()

    def close(self, *, kill: bool = False) -> None:
        """End the processes: when they have finished the chunks that they have begun, or at once if *kill*."""
        processes, self._processes = self._processes, []
        if not processes:
            return
        with ThreadPoolExecutor(min(len(processes), _ENDING_THREADS)) as pool:
            list(pool.map(lambda process: process.end(kill=kill), processes))

    def _render(self, round_: Round, finished: Finished, failed: Failed) -> None:
        chunks: Iterator[str] = filter(round_.take, round_.chunks)
        ended: _Ended = SimpleQueue()
        deaths, self._looked = 0, time.monotonic()

        def give(process: RenderProcess) -> None:
            """Let a process render the next chunk, if there is one."""
            chunk = next(chunks, None)
            if chunk is not None:
                self._patience.begin(chunk, round_.chunks[chunk], process.is_loaded)
                task = partial(render_one_chunk, **round_.task_parameters(chunk))
                process.render(chunk, task, lambda future: ended.put((process, future)))

        for process in self._processes:
            give(process)
        while any(process.chunk for process in self._processes):
            process, future = self._next_to_end(ended)
            chunk, process.chunk = process.chunk or "", None
            try:
                is_finished = tell(chunk, future, finished, failed)
                deaths = 0
            except BrokenProcessPool:
                if not process.was_killed:
                    how = process.death
                    get_run_logger().warning(
                        f"a render process {how}; new processes render the chunks that are still missing"
                    )
                is_finished, deaths = False, deaths + 1
            self._patience.end(chunk, is_finished)
            process.is_loaded = is_finished
            if not is_finished:  # the fault may persist in the process, such as a GPU that hangs
                self._remove(process)
                if deaths > self._at_once:
                    chunks = iter(())
                else:
                    process = self._start(1)[0]
            give(process)

    def _next_to_end(self, ended: _Ended) -> tuple[RenderProcess, Future[ChunkResult]]:
        """Wait until the task of a chunk has ended. Meanwhile kill processes that hang, which ends their tasks, too."""
        while True:
            found = None
            with suppress(Empty):
                found = ended.get(timeout=_LOOK_SECONDS)
            if (now := time.monotonic()) - self._looked >= _LOOK_SECONDS:
                self._look(now - self._looked)
                self._looked = now
            if found:
                return found

    def _look(self, seconds: float) -> None:
        """Look for chunks that take too long; *seconds* have passed since the last look."""
        log = get_run_logger()
        for process in self._processes:
            if process.chunk and (said := self._patience.look(process.chunk, seconds, process.is_stopped)):
                log.warning("chunk %s %s", process.chunk, said)
            if process.chunk and self._patience.is_over(process.chunk):
                log.warning("a render process hangs with chunk %s and is killed", process.chunk)
                process.kill()

    def _start(self, count: int, first: Iterable[FirstStrips | None] = ()) -> list[RenderProcess]:
        """Start processes before there is a chunk for them, and return at once, because the fork server loads first."""
        started = [RenderProcess() for _ in range(count)]
        self._processes += started

        def load() -> None:
            for process, strips in zip_longest(started, () if gpus() else islice(first, count)):
                process.load(strips)

        threading.Thread(target=load, name="start-processes", daemon=True).start()
        return started

    def _remove(self, process: RenderProcess) -> None:
        self._processes.remove(process)
        process.end(kill=True)
