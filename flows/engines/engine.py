"""A round: chunks of one plan, rendered once each by whichever engine.

What a round leaves out, because a process died or a store could not be reached, is still missing in the next plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.futures import PrefectFuture

from core.arrays import BatchSize
from core.errors import IsthmusError
from core.rendering.chunk import ChunkResult
from core.spec import Storage
from tasks.retries import may_pass

FUTILE_ROUNDS = 3
"""So many rounds without a finished chunk, one after the other, are not bad luck any more."""

Finished = Callable[[ChunkResult], None]
"""Called with what became of each chunk."""


@dataclass(frozen=True)
class Round:
    """Names of chunks, and where their plan lies; whoever renders one finds all else in the store."""

    uri: str
    storage: Storage
    plan_path: str
    batch_pairs: BatchSize
    chunks: tuple[str, ...]

    def order(self, chunk: str) -> dict[str, Any]:
        """The parameters of the task that renders one chunk."""
        return {
            "uri": self.uri,
            "storage": self.storage,
            "plan_path": self.plan_path,
            "chunk": chunk,
            "batch_pairs": self.batch_pairs,
        }


def render_in_window(
    submit: Callable[[Mapping[str, Any]], PrefectFuture[ChunkResult]], round_: Round, size: int, finished: Finished
) -> None:
    """Have the chunks of a round rendered, with at most *size* of them begun and unfinished at any time.

    Raises:
        BrokenProcessPool: if a process died; nothing else can be submitted then.
        IsthmusError: if a chunk met something that a person must mend.
    """
    log = get_run_logger()
    for future in _in_window(submit, (round_.order(chunk) for chunk in round_.chunks), size):
        try:
            result = future.result()
        except BrokenProcessPool:
            raise
        except Exception as error:
            if isinstance(error, IsthmusError) and not may_pass(error):
                raise
            log.error("a chunk failed, and waits for the next round: %s", error)
        else:
            finished(result)


def api_url() -> str:
    """The address of the Prefect server of this flow run.

    Processes elsewhere are told of it, also when it is a temporary one: otherwise each starts its own.
    """
    return str(get_client(sync_client=True).api_url)


def _in_window(
    submit: Callable[[Mapping[str, Any]], PrefectFuture[ChunkResult]], orders: Iterable[Mapping[str, Any]], size: int
) -> Iterator[PrefectFuture[ChunkResult]]:
    """Futures of all orders as they finish."""
    finished: SimpleQueue[PrefectFuture[ChunkResult]] = SimpleQueue()
    begun = 0
    for order in orders:
        if begun == size:
            yield finished.get()
            begun -= 1
        submit(order).add_done_callback(finished.put)
        begun += 1
    for _ in range(begun):
        yield finished.get()
