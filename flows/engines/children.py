"""Flow runs that a build has started on workers. A tag marks these runs as its children, so that they end with it.

Prefect itself leaves children running when the build is cancelled or crashes.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelling

_PAGE = 100  # flow runs in one answer of the server
_UNFINISHED = [
    StateType.SCHEDULED,
    StateType.PENDING,
    StateType.RUNNING,
    StateType.PAUSED,
]


def children_tag(flow_run_id: str) -> str:
    """Return the tag of the children of a flow run."""
    return f"isthmus-parent-{flow_run_id}"


def cancel_children(client: SyncPrefectClient, tag: str) -> int:
    """Cancel every unfinished flow run that has a tag, and return their number. The call is idempotent."""
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
    """Cancel the children of a build that was cancelled or crashed. Prefect calls this as a hook."""
    with get_client(sync_client=True) as client:
        cancel_children(client, children_tag(str(flow_run.id)))
