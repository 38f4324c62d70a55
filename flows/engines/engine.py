"""The contract between a build and the engine that renders its chunks.

A build renders in rounds. A chunk that a round leaves without records, because a process died or the store could not be
reached, is in the next plan again. So an engine may lose any process at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.futures import PrefectFuture

from core.arrays import BatchSize
from core.errors import IsthmusError, UnfinishedError, one_line
from core.rendering.chunk import ChunkResult
from core.rendering.process import UnexpectedError, may_pass
from core.rendering.renderers import FirstStrips
from core.spec import Storage

FUTILE_ROUNDS = 3
"""Rounds in a row without a finished chunk after which a build, or a shard, gives up."""
_PATIENCE = 10  # times the estimated time of the longest chunk, in which one chunk at least is finished
_LEAST_PATIENCE_SECONDS = 1800.0
CHUNKS_FAILED = "ChunksFailed"
"""Name of the state of a shard some of whose chunks were ended by an unexpected exception."""

Finished = Callable[[ChunkResult], None]
"""Called with the result of each chunk that has been rendered."""
Failed = Callable[[str, UnexpectedError], None]
"""Called with the name of each chunk that an unexpected exception ended, and with that exception."""


@dataclass(frozen=True)
class Round:
    """Chunks of one plan, to be rendered once each. Render tasks read the chunks themselves from the store.

    Attributes:
        uri: address of the atlas.
        plan_path: folder of the plan in the store.
        batch_pairs: pairs, or portraits, that share a forward pass.
        chunks: names of the chunks, and the estimated time that one process takes for each, in seconds.
        take: called with the name of a chunk when its turn comes; if it returns False, another build has the chunk.
        tags: tags of the flow runs that render chunks of the round elsewhere.
    """

    uri: str
    storage: Storage
    plan_path: str
    batch_pairs: BatchSize
    chunks: Mapping[str, float]
    take: Callable[[str], bool] = lambda _chunk: True
    tags: tuple[str, ...] = ()

    @property
    def chunk_seconds(self) -> float:
        """The estimated time of the longest chunk."""
        return max(self.chunks.values())

    def task_parameters(self, chunk: str) -> dict[str, Any]:
        """Return the parameters of the task that renders one chunk."""
        return {
            "uri": self.uri,
            "storage": self.storage,
            "plan_path": self.plan_path,
            "chunk": chunk,
            "batch_pairs": self.batch_pairs,
        }


class Engine(Protocol):
    """Renders chunks, in processes of this machine or elsewhere.

    `chunks_at_once` and `render` are used within a flow run, `begin` and `close` also outside. An engine that is given
    nothing to render starts nothing.
    """

    @property
    def chunks_at_once(self) -> int:
        """Number of chunks that the engine renders concurrently; a plan is cut into enough chunks to keep it busy.

        An engine that renders elsewhere does not count the cores and GPUs of this machine. It may connect to its
        cluster to find the number.
        """

    def check(self) -> None:
        """Check what rendering needs, before a build writes anything.

        Raises:
            SpecError: if something is missing that a person has to provide, such as a package or a deployment.
        """

    def begin(self, chunks: int, first: Iterable[FirstStrips | None] = ()) -> None:
        """Start processes that take time to load, and return without waiting for them.

        A build calls this as early as it can. Without this call an engine starts with its first round.

        Args:
            chunks: number of chunks in the largest round; with 0 nothing is started.
            first: the strips that the chunks of the next round begin with, for processes that can compile meanwhile.
        """

    def render(self, round_: Round, finished: Finished, failed: Failed) -> None:
        """Render the chunks of a round and return when none is in flight.

        *finished* is called once for each chunk that has been rendered. If another build has recorded a chunk in the
        meantime, the chunk is not rendered again, and *finished* is called for it too; but nothing is called for a
        chunk that the round does not let the engine take. After an error that may pass,
        such as a dead process, the engine logs it, and the chunk stays without records. *failed* is called as soon as
        an unexpected exception has ended a chunk; an error that it raises ends the round.

        Raises:
            UnfinishedError: if the engine gives up. The build then publishes what there is and ends.
            IsthmusError: if the cause is one that a person has to fix. Its message says what to do, and the build ends.
        """

    def close(self, *, kill: bool = False) -> None:
        """End everything that the engine has started. An engine may be closed more than once.

        Args:
            kill: do not wait for chunks in flight. They stay without records, so the next build renders them.
        """


_E = TypeVar("_E", bound=Engine)


@contextmanager
def closing(engine: _E) -> Iterator[_E]:
    """Yield an engine and close it at the end; after an exception its processes are killed."""
    try:
        yield engine
    except BaseException:
        engine.close(kill=True)
        raise
    engine.close()


Submit = Callable[[Mapping[str, Any]], PrefectFuture[ChunkResult]]
"""Starts the task that renders one chunk, given its parameters."""


def render_in_window(submit: Submit, round_: Round, size: int, finished: Finished, failed: Failed) -> int:
    """Render the chunks of a round, with at most *size* of them in flight, and return how many were left unfinished.

    Raises:
        UnfinishedError: if no chunk is finished for much longer than a chunk takes.
        IsthmusError: if a chunk failed for a reason that a person has to fix.
    """
    return sum(not tell(chunk, future, finished, failed) for chunk, future in _in_window(submit, round_, size))


class Ended(Protocol):
    """A future of the task that has rendered a chunk: one of Prefect's or of Python's."""

    def result(self) -> ChunkResult:
        """Return the result of the task, or raise its error."""


def tell(chunk: str, future: Ended, finished: Finished, failed: Failed) -> bool:
    """Call *finished* or *failed* for a chunk whose task has ended; return False if the chunk is left unfinished.

    Raises:
        BrokenProcessPool: if the process that rendered the chunk died.
        IsthmusError: if the chunk failed for a reason that a person has to fix.
    """
    try:
        result = future.result()
    except BrokenProcessPool:
        raise
    except UnexpectedError as error:
        failed(chunk, error)
        return False
    except Exception as error:
        if isinstance(error, IsthmusError) and not may_pass(error):
            raise
        reason = f"{type(error).__name__}: {one_line(error)}"
        get_run_logger().error("a chunk failed and is left for the next round: %s", reason)
        return False
    finished(result)
    return True


def api_url() -> str:
    """Return the address of the Prefect server of this flow run.

    Processes that run tasks get this address, even of a temporary server; otherwise each would start its own.
    """
    return str(get_client(sync_client=True).api_url)


def _in_window(submit: Submit, round_: Round, size: int) -> Iterator[tuple[str, PrefectFuture[ChunkResult]]]:
    """Yield the chunks of a round with the futures of their tasks, in the order in which they finish."""
    finished: SimpleQueue[tuple[str, PrefectFuture[ChunkResult]]] = SimpleQueue()
    patience = max(_LEAST_PATIENCE_SECONDS, _PATIENCE * round_.chunk_seconds)

    def next_one() -> tuple[str, PrefectFuture[ChunkResult]]:
        try:
            return finished.get(timeout=patience)
        except Empty:
            raise UnfinishedError(f"no chunk was finished for {patience / 60:.0f} minutes") from None

    in_flight = 0
    for chunk in filter(round_.take, round_.chunks):
        submit(round_.task_parameters(chunk)).add_done_callback(partial(_put, finished, chunk))
        in_flight += 1
        if in_flight == size:
            yield next_one()
            in_flight -= 1
    for _ in range(in_flight):
        yield next_one()


def _put(
    finished: SimpleQueue[tuple[str, PrefectFuture[ChunkResult]]], chunk: str, future: PrefectFuture[ChunkResult]
) -> None:
    finished.put((chunk, future))
