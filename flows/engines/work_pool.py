"""The engine `work-pool`: shards of a plan as flow runs of a deployment, on workers elsewhere.

The build keeps a bounded number of shards in flight and reads from the store which chunks they have finished. So if a
worker vanishes, the chunk that it was rendering is lost, and the time until the build gives up the worker's shard.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run as this_flow_run
from prefect.states import Cancelling

from core.atlas.recorded import recorded_chunks
from core.errors import SpecError, TransientStoreError, UnfinishedError
from core.machine import parallel
from core.rendering.chunk import read_result
from core.spec import Compute
from core.store.store import open_store
from flows.engines.children import cancel_children, children_tag
from flows.engines.engine import CHUNKS_FAILED, Failed, Finished, Round
from tasks.render import UnexpectedError

_POLL_SECONDS = 5.0
_LEAST_PATIENCE_SECONDS = 900.0  # for a shard that runs and finishes nothing
_NO_WORKER_SECONDS = 3600.0  # long enough for a cloud to find a machine with a GPU


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
        name = self._compute.shard_deployment
        with get_client(sync_client=True) as client:
            try:
                client.read_deployment_by_name(name)
            except ObjectNotFound:
                raise SpecError(
                    f"compute.deployment: the Prefect server has no {name}; register it with 'prefect deploy'"
                ) from None

    def begin(self, chunks: int) -> None:
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
        with get_client(sync_client=True) as client:
            # The server takes a second request with the same key for the first one, sent again. So a shard of a later
            # round, which may have the same chunks, has a key of its own.
            key = f"{tag} {this_flow_run.run_count} {self._rounds}"
            fleet = _Fleet(client, round_, self._compute, tag, key, finished, failed)
            try:
                chunks = tuple(filter(round_.take, round_.chunks))
                fleet.render(deque(_shards(chunks, self._chunks_per_shard(round_.chunk_seconds))))
            except BaseException:
                with suppress(httpx.HTTPError):  # if this is a crash, the server's hook cancels them later
                    cancel_children(client, tag)
                raise

    def close(self, *, kill: bool = False) -> None:
        """Do nothing: no shard is in flight between rounds, and the engine does not control the workers."""

    def _check_deployment(self, client: SyncPrefectClient) -> None:
        name = self._compute.shard_deployment
        try:
            client.read_deployment_by_name(name)
        except ObjectNotFound:
            raise SpecError(
                f"compute.deployment: the Prefect server has no {name}; register it with 'prefect deploy'"
            ) from None

    def _chunks_per_shard(self, chunk_seconds: float) -> int:
        shard_seconds = self._compute.shard_seconds
        return max(1, round(shard_seconds * (self._compute.processes or 1) / chunk_seconds))


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
    """The shards of one round that are in flight, by the ids of their flow runs."""

    def __init__(
        self,
        client: SyncPrefectClient,
        round_: Round,
        compute: Compute,
        tag: str,
        key: str,
        finished: Finished,
        failed: Failed,
    ) -> None:
        self._client, self._round, self._compute = client, round_, compute
        self._tag, self._key = tag, key
        self._finished, self._failed = finished, failed
        self._store = open_store(round_.uri, round_.storage)
        self._patience_seconds = max(_LEAST_PATIENCE_SECONDS, 5 * round_.chunk_seconds)
        self._running: dict[UUID, _Shard] = {}
        self._futile = 0
        self._heard = time.monotonic()
        self._log = get_run_logger()

    def render(self, shards: deque[tuple[str, ...]]) -> None:
        """Render all shards, at most the spec's number of workers at a time."""
        total, answered = len(shards), time.monotonic()
        while shards or self._running:
            try:
                while shards and len(self._running) < self._compute.shards_in_flight:
                    self._begin(f"{total - len(shards) + 1} of {total}", shards[0])
                    shards.popleft()
                time.sleep(_POLL_SECONDS)
                self._look()
                answered = time.monotonic()
            except (httpx.HTTPError, TransientStoreError) as error:
                if time.monotonic() - answered > _NO_WORKER_SECONDS:
                    raise
                self._log.warning("the Prefect server or the store does not answer, the shards continue: %s", error)
                time.sleep(_POLL_SECONDS)

    def _begin(self, name: str, chunks: tuple[str, ...]) -> None:
        parameters = {
            "uri": self._round.uri,
            "storage": self._round.storage.model_dump(mode="json"),
            "plan_path": self._round.plan_path,
            "chunks": list(chunks),
            "processes": self._compute.processes,
            "batch_pairs": self._round.batch_pairs,
            "chunk_seconds": self._round.chunk_seconds,
        }
        run: Any = run_deployment(
            self._compute.shard_deployment,
            parameters=parameters,
            flow_run_name=f"render-shard {self._store.name} {name}",
            tags=[self._tag, *self._round.tags],
            timeout=0,
            idempotency_key=f"{self._key} {name}",
        )
        self._running[run.id] = _Shard(name, set(chunks), time.monotonic())

    def _look(self) -> None:
        """Read the states of the shards and the records of their chunks, and act on what has changed."""
        now = time.monotonic()
        runs = self._client.read_flow_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=list(self._running))), limit=len(self._running)
        )
        recorded = recorded_chunks(self._store)
        for deleted in self._running.keys() - {run.id for run in runs}:
            self._end(deleted, self._running[deleted], "was deleted")
        for run in runs:
            shard = self._running[run.id]
            for chunk in sorted(name for name in shard.waiting if name in recorded):
                shard.waiting.remove(chunk)
                shard.finished_chunks += 1
                shard.heard = now
                self._finished(read_result(self._store, chunk))
            state = run.state
            if state is None or not (state.is_running() or state.is_final()):
                shard.heard = now  # a shard that waits for a worker is not stalled
                continue
            self._heard = now
            if state.name == CHUNKS_FAILED:
                log = f"The log of the flow run {run.name} has the traceback."
                for chunk in sorted(shard.waiting):
                    self._failed(chunk, UnexpectedError(state.message or "an unknown cause", log))
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


def _shards(chunks: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    """Yield parts of *size* chunks; the last one may be smaller."""
    rest = iter(chunks)
    while shard := tuple(islice(rest, size)):
        yield shard
