"""The engine `work-pool`: shards of a plan as flow runs of a deployment, on workers elsewhere.

The build keeps a bounded number of shards in flight and reads from the store which chunks they have finished. So if a
worker vanishes, the chunk that it was rendering is lost, and the time until the build gives up the worker's shard.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run as this_flow_run
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelling

from core.atlas.recorded import recorded_chunks
from core.errors import SpecError, TransientStoreError, UnfinishedError, one_line
from core.machine import parallel
from core.rendering.chunk import read_result
from core.rendering.process import UnexpectedError
from core.rendering.renderers import FirstStrips
from core.spec import Compute
from core.store.store import open_store
from flows.engines.children import cancel_children, children_tag
from flows.engines.engine import CHUNKS_FAILED, Failed, Finished, Round

_POLL_SECONDS = 5.0
_LEAST_PATIENCE_SECONDS = 900.0  # for a shard that runs and finishes nothing
_NO_WORKER_SECONDS = 3600.0  # long enough for a cloud to find a machine with a GPU
_SILENT = "the Prefect server or the store does not answer"


class WorkPoolEngine:
    """Shards on the workers of a Prefect work pool, each a flow run of the spec's deployment."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self._rounds = 0

    @property
    def chunks_at_once(self) -> int:
        """The spec's workers times its processes. Without processes one process per worker is assumed."""
        return parallel.chunks_on_workers(self._compute)

    def check(self) -> None:
        """Check that the server has the spec's deployment.

        Raises:
            SpecError: if it has not.
        """
        with get_client(sync_client=True) as client, self._finding():
            client.read_deployment_by_name(self._compute.shard_deployment)

    def begin(self, chunks: int, first: Iterable[FirstStrips | None] = ()) -> None:
        """Do nothing: workers start with the first shard."""

    def render(self, round_: Round, finished: Finished, failed: Failed) -> None:
        """Render the chunks of a round as shards. After an exception all shards in flight are cancelled.

        Raises:
            UnfinishedError: if no worker comes, or shard after shard fails without a finished chunk.
        """
        if not round_.chunks:
            return
        self._rounds += 1
        tag = children_tag(str(this_flow_run.id))
        shards = deque(cut_into_shards(tuple(filter(round_.take, round_.chunks)), self._compute, round_.chunk_seconds))
        with get_client(sync_client=True) as client, temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 1}):
            if self._rounds == 1 and this_flow_run.run_count > 1:  # this run was stopped and has started again
                _try_to_cancel(client, tag)
            fleet = _Fleet(client, round_, self._compute, partial(self._start, round_, tag))
            try:
                fleet.render(shards, finished, failed)
            except BaseException:
                _try_to_cancel(client, tag)
                raise

    def close(self, *, kill: bool = False) -> None:
        """Do nothing: no shard is in flight between rounds, and the engine does not control the workers."""

    def _start(self, round_: Round, tag: str, name: str, chunks: Sequence[str]) -> UUID:
        """Create the flow run of a shard and return its id.

        The server takes a second request with the same key for the first one, sent again. So the key has the round: a
        later round may have the same chunks.
        """
        with self._finding():
            run: Any = run_deployment(
                self._compute.shard_deployment,
                parameters={
                    "uri": round_.uri,
                    "storage": round_.storage.model_dump(mode="json"),
                    "plan_path": round_.plan_path,
                    "chunks": list(chunks),
                    "processes": self._compute.processes,
                    "batch_pairs": round_.batch_pairs,
                    "chunk_seconds": round_.chunk_seconds,
                },
                flow_run_name=f"render-shard {round_.uri.rpartition('/')[2]} {name}",
                tags=[tag, *round_.tags],
                timeout=0,
                idempotency_key=f"{tag} {this_flow_run.run_count} {self._rounds} {name}",
            )
        return UUID(str(run.id))

    @contextmanager
    def _finding(self) -> Iterator[None]:
        """Turn the server's answer that there is no deployment into a SpecError."""
        try:
            yield
        except ObjectNotFound:
            name = self._compute.shard_deployment
            raise SpecError(
                f"compute.deployment: the Prefect server has no {name}; register it with 'prefect deploy'"
            ) from None


def _try_to_cancel(client: SyncPrefectClient, tag: str) -> None:
    with suppress(httpx.HTTPError):  # if this is a crash, the server's hook cancels them later
        cancel_children(client, tag)


def cut_into_shards(chunks: Sequence[str], compute: Compute, chunk_seconds: float) -> list[tuple[str, ...]]:
    """Cut a round's chunks into shards that keep all workers busy, and end at about the same time.

    The number of shards is a multiple of the number of workers, if there are enough chunks, and no shard takes longer
    than the spec's `shard_minutes`, unless a single chunk does. A plan has shorter chunks towards its end. So the
    chunks are dealt out one by one: every shard gets long and short ones, and their numbers differ by one at most.

    Args:
        chunk_seconds: estimated time of the longest chunk on one process.
    """
    longest = max(1, math.floor(compute.shard_seconds * (compute.processes or 1) / chunk_seconds))
    workers = compute.shards_in_flight
    count = min(len(chunks), workers * math.ceil(len(chunks) / longest / workers))
    return [tuple(chunks[first::count]) for first in range(count)]


@dataclass
class _Shard:
    """A shard in flight.

    Attributes:
        waiting: names of its chunks that have no records yet.
        heard: monotonic time when it last finished a chunk, or was last seen waiting for a worker.
    """

    name: str
    waiting: set[str]
    heard: float
    finished_chunks: int = 0


class _Fleet:
    """The shards of one round that are in flight, by the ids of their flow runs.

    Args:
        start: creates the flow run of a shard, given the shard's name and chunks, and returns its id.
    """

    def __init__(
        self, client: SyncPrefectClient, round_: Round, compute: Compute, start: Callable[[str, Sequence[str]], UUID]
    ) -> None:
        self._client, self._compute, self._start = client, compute, start
        self._store = open_store(round_.uri, round_.storage)
        self._patience_seconds = max(_LEAST_PATIENCE_SECONDS, 5 * round_.chunk_seconds)
        self._running: dict[UUID, _Shard] = {}
        self._futile = 0
        self._heard = time.monotonic()
        self._log = get_run_logger()

    def render(self, shards: deque[tuple[str, ...]], finished: Finished, failed: Failed) -> None:
        """Render all shards, at most the spec's number of workers at a time.

        While the server does not answer, the shards in flight continue, and their chunks are finished when they have
        records. If all have, the round ends.
        """
        total, answered, silent = len(shards), time.monotonic(), False
        while shards or self._running:
            try:
                self._count(finished)
                while shards and len(self._running) < self._compute.shards_in_flight:
                    self._begin(f"{total - len(shards) + 1} of {total}", shards[0])
                    shards.popleft()
                self._look(finished, failed)
            except (httpx.HTTPError, TransientStoreError) as error:
                if not shards and not any(shard.waiting for shard in self._running.values()):
                    return
                if time.monotonic() - answered > _NO_WORKER_SECONDS:
                    minutes = _NO_WORKER_SECONDS / 60
                    raise UnfinishedError(f"{_SILENT} for {minutes:.0f} minutes: {one_line(error)}") from None
                if not silent:
                    self._log.warning("%s: %s; the shards in flight continue", _SILENT, one_line(error))
                silent = True
            else:
                if silent:
                    self._log.warning("the Prefect server and the store answer again")
                answered, silent = time.monotonic(), False
            if shards or self._running:
                time.sleep(_POLL_SECONDS)

    def _begin(self, name: str, chunks: tuple[str, ...]) -> None:
        self._running[self._start(name, chunks)] = _Shard(name, set(chunks), time.monotonic())

    def _count(self, finished: Finished) -> None:
        """Note which chunks of the shards in flight have records now."""
        recorded = recorded_chunks(self._store) if self._running else set()
        for shard in self._running.values():
            for chunk in sorted(shard.waiting & recorded):
                result = read_result(self._store, chunk)
                shard.waiting.remove(chunk)
                shard.finished_chunks += 1
                shard.heard = time.monotonic()
                finished(result)

    def _look(self, finished: Finished, failed: Failed) -> None:
        """Read the states of the shards, and act on what has changed."""
        now = time.monotonic()
        runs = self._client.read_flow_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=list(self._running))), limit=len(self._running)
        )
        if any(run.state is None or run.state.is_final() for run in runs):
            self._count(finished)  # what a shard has finished before it ended
        for deleted in self._running.keys() - {run.id for run in runs}:
            self._end(deleted, self._running[deleted], "was deleted")
        for run in runs:
            shard, state = self._running[run.id], run.state
            if state is None or not (state.is_running() or state.is_final()):
                shard.heard = now  # a shard that waits for a worker is not stalled
                continue
            self._heard = now
            if state.name == CHUNKS_FAILED:
                log = f"The log of the flow run {run.name} has the traceback."
                for chunk in sorted(shard.waiting):
                    failed(chunk, UnexpectedError(state.message or "an unknown cause", log))
            if state.is_final():
                self._end(run.id, shard, f"ended as {state.name}: {state.message or 'no message'}")
            elif now - shard.heard > self._patience_seconds:
                self._client.set_flow_run_state(run.id, Cancelling(message="it finished nothing for too long"))
                minutes = self._patience_seconds / 60
                self._end(run.id, shard, f"finished no chunk for {minutes:.0f} minutes and was cancelled")
        if now - self._heard > _NO_WORKER_SECONDS:
            raise UnfinishedError(
                f"no worker took a shard within {_NO_WORKER_SECONDS / 60:.0f} minutes; "
                f"start a worker for the work pool of {self._compute.shard_deployment}"
            )

    def _end(self, run_id: UUID, shard: _Shard, how: str) -> None:
        """Forget a shard, and give up after a number of shards in a row that finished nothing.

        Raises:
            UnfinishedError: if that number is reached.
        """
        del self._running[run_id]
        if not shard.waiting:
            self._futile = 0
            return
        self._log.error("shard %s %s; %d of its chunks are missing", shard.name, how, len(shard.waiting))
        self._futile = 0 if shard.finished_chunks else self._futile + 1
        if self._futile >= max(3, self._compute.shards_in_flight):
            raise UnfinishedError(f"{self._futile} shards in a row finished nothing; the last one {how}")
