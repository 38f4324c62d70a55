"""Rendering a chunk as a task."""

from __future__ import annotations

from typing import Protocol

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.states import Cancelled

from core.arrays import BatchSize
from core.rendering.chunk import ChunkResult
from core.rendering.process import render_planned_chunk
from core.spec import Storage
from tasks.retries import RETRIES


class Render(Protocol):
    """Renders one chunk of a plan, in this process or in another; the arguments are those of `render_planned_chunk`.

    Raises:
        ProcessEndedError: if the other process was ended on purpose.
    """

    def __call__(
        self, uri: str, storage: Storage, plan_path: str, chunk: str, batch_pairs: BatchSize
    ) -> ChunkResult: ...


class ProcessEndedError(Exception):
    """The process that was to render a chunk has been ended, because its build ends."""


@task(
    name="render-chunk",
    task_run_name="render-chunk {chunk}",
    cache_policy=NO_CACHE,
    persist_result=False,
    **RETRIES,
)
def render_one_chunk(
    uri: str,
    storage: Storage,
    plan_path: str,
    chunk: str,
    batch_pairs: BatchSize,
    render: Render = render_planned_chunk,
) -> ChunkResult:
    """Render one chunk of a plan. The parameters are addresses only; the pairs are read from the store.

    Args:
        render: does the work, in this process by default.

    Raises:
        UnexpectedError: for an exception that neither a person nor another try can mend.
        CancelledRun: if the process that renders is ended. Prefect raises it, because the task is cancelled.
    """
    try:
        return render(uri, storage, plan_path, chunk, batch_pairs)
    except ProcessEndedError:
        message = "its run ended first; the chunk is left for a run that resumes it"
        return Cancelled(message=message)  # type: ignore[return-value]  # a state is how a task of Prefect ends
