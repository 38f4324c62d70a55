"""The engine `work-pool`: shards of a plan as flow runs of a deployment, on workers elsewhere.

The parent holds a bounded number of shards in work and looks at the store for what they have finished, so a worker that
vanishes without a word costs the chunk that it had and some patience. Its children carry a tag, by which they are
cancelled when the parent is cancelled, crashes or fails.
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
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run as this_flow_run
from prefect.states import Cancelling

from core.atlas.recorded import recorded_chunks
from core.errors import SpecError, TransientStoreError, UnfinishedError
from core.rendering.chunk import read_result
from core.spec import Compute
from core.store.store import Store, open_store
from flows.engines.engine import Finished, Round

_POLL_SECONDS = 5.0
_LEAST_PATIENCE_SECONDS = 900.0  # with a shard that runs and finishes nothing
_NOBODY_CAME_SECONDS = 3600.0  # long enough for a cloud to find a machine with a GPU
_PAGE = 100
_UNFINISHED = [
    StateType.SCHEDULED,
    StateType.PENDING,
    StateType.RUNNING,
    StateType.PAUSED,
]


def render_on_workers(round_: Round, compute: Compute, chunk_seconds: float, finished: Finished) -> None:
    """Render the chunks of a round as shards, each a flow run of the spec's deployment.

    Args:
        chunk_seconds: about how long the longest chunk takes on one process.

    Raises:
        SpecError: if there is no such deployment.
        UnfinishedError: if no worker comes, or shard after shard fails without finishing a chunk.
    """
    name = compute.deployment
    store = open_store(round_.uri, round_.storage)
    tag = children_tag(str(this_flow_run.id))
    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(name)
        except ObjectNotFound:
            raise SpecError(
                f"compute.deployment: the Prefect server has no {name}; register it with 'prefect deploy'"
            ) from None
        patience = max(_LEAST_PATIENCE_SECONDS, 5 * chunk_seconds)
        fleet = _Fleet(client, store, round_, name, tag, compute, patience, finished)
        try:
            fleet.render(deque(_shards(round_.chunks, _chunks_per_shard(compute, chunk_seconds))))
        except BaseException:
            with suppress(httpx.HTTPError):  # the server's hook tries again, if it is a crash
                cancel_children(client, tag)
            raise


def children_tag(flow_run_id: str) -> str:
    """What the children of a flow run are found by."""
    return f"isthmus-parent-{flow_run_id}"


def cancel_children(client: SyncPrefectClient, tag: str) -> int:
    """Cancel every unfinished flow run with a tag; may be called again and again. Gives their number."""
    children = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[tag]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED)),
    )
    cancelled: set[UUID] = set()
    while True:
        page = client.read_flow_runs(flow_run_filter=children, limit=_PAGE)
        new = [run for run in page if run.id not in cancelled]
        if not new:
            return len(cancelled)
        for run in new:
            client.set_flow_run_state(run.id, Cancelling(message="the build that it was part of has ended"))
            cancelled.add(run.id)


def cancel_children_of(flow: Any, flow_run: FlowRun, state: Any) -> None:
    """Prefect's hook for a build that was cancelled or crashed."""
    with get_client(sync_client=True) as client:
        cancel_children(client, children_tag(str(flow_run.id)))


@dataclass
class _Shard:
    """A shard in work: the chunks that it has not finished, and when it last gave a sign of life."""

    name: str
    waiting: set[str]
    heard: float
    finished_chunks: int = 0


class _Fleet:
    """The shards that are in work, by their flow runs."""

    def __init__(
        self,
        client: SyncPrefectClient,
        store: Store,
        round_: Round,
        deployment: str,
        tag: str,
        compute: Compute,
        patience_seconds: float,
        finished: Finished,
    ) -> None:
        self._client, self._store, self._round, self._finished = client, store, round_, finished
        self._deployment, self._tag = deployment, tag
        self._patience_seconds = patience_seconds
        self._processes = compute.processes
        self._size = compute.workers
        self._running: dict[UUID, _Shard] = {}
        self._futile = 0
        self._heard = time.monotonic()
        self._log = get_run_logger()

    def render(self, shards: deque[tuple[str, ...]]) -> None:
        """Have all shards rendered, a bounded number of them at a time."""
        total, answered = len(shards), time.monotonic()
        while shards or self._running:
            try:
                while shards and len(self._running) < self._size:
                    self._begin(f"{total - len(shards) + 1} of {total}", shards[0])
                    shards.popleft()
                time.sleep(_POLL_SECONDS)
                self._look()
                answered = time.monotonic()
            except (httpx.HTTPError, TransientStoreError) as error:
                if time.monotonic() - answered > _NOBODY_CAME_SECONDS:
                    raise
                self._log.warning("the Prefect server or the store does not answer, the shards go on: %s", error)
                time.sleep(_POLL_SECONDS)

    def _begin(self, name: str, chunks: tuple[str, ...]) -> None:
        parameters = {
            "uri": self._round.uri,
            "storage": self._round.storage.model_dump(mode="json"),
            "plan_path": self._round.plan_path,
            "chunks": list(chunks),
            "processes": self._processes,
            "batch_pairs": self._round.batch_pairs,
        }
        run: Any = run_deployment(
            self._deployment,
            parameters=parameters,
            flow_run_name=f"render-shard {self._store.name} {name}",
            tags=[self._tag],
            timeout=0,
            idempotency_key=f"{self._tag} {this_flow_run.run_count} {self._round.plan_path} {name}",
        )
        self._running[run.id] = _Shard(name, set(chunks), time.monotonic())

    def _look(self) -> None:
        """See what has happened since the last look."""
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
                shard.heard = now  # waiting for a worker is no stall
                continue
            self._heard = now
            if state.is_final():
                self._end(run.id, shard, f"ended as {state.name}: {state.message or 'no message'}")
            elif now - shard.heard > self._patience_seconds:
                self._client.set_flow_run_state(run.id, Cancelling(message="it finished nothing for too long"))
                self._end(
                    run.id, shard, f"finished no chunk for {self._patience_seconds / 60:.0f} minutes and was given up"
                )
        if now - self._heard > _NOBODY_CAME_SECONDS:
            raise UnfinishedError(
                f"no worker took a shard within {_NOBODY_CAME_SECONDS / 60:.0f} minutes; "
                f"start a worker for the work pool of {self._deployment}"
            )

    def _end(self, run_id: UUID, shard: _Shard, how: str) -> None:
        del self._running[run_id]
        if not shard.waiting:
            self._futile = 0
            return
        self._log.error("shard %s %s; %d of its chunks are missing", shard.name, how, len(shard.waiting))
        self._futile = 0 if shard.finished_chunks else self._futile + 1
        if self._futile >= max(3, self._size):
            raise UnfinishedError(f"{self._futile} shards in a row finished nothing; the last one {how}")


def _chunks_per_shard(compute: Compute, chunk_seconds: float) -> int:
    minutes = compute.shard_minutes
    return max(1, round(minutes * 60 * (compute.processes or 1) / chunk_seconds))


def _shards(chunks: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    rest = iter(chunks)
    while shard := tuple(islice(rest, size)):
        yield shard
