"""Render a shard: what one worker of a work pool does for a build that runs elsewhere."""

from __future__ import annotations

from typing import Annotated

from prefect import flow, get_run_logger
from pydantic import Field

from core.arrays import BatchSize
from core.errors import UnfinishedError
from core.machine.parallel import process_count
from core.rendering.chunk import ChunkResult
from core.spec import Storage
from flows.engines.engine import FUTILE_ROUNDS, Round
from flows.engines.local import render_processes
from tasks.plan import missing_chunks


@flow(name="render-shard", persist_result=False)
def render_shard(
    uri: Annotated[str, Field(description="Address of the atlas: directory or s3://bucket/prefix/name.")],
    plan_path: Annotated[str, Field(description="Where the plan lies in the atlas.")],
    chunks: Annotated[list[str], Field(description="Names of the chunks of the plan to render.")],
    storage: Annotated[Storage, Field(description="How the store of the atlas is spoken to.")] = Storage(),  # noqa: B008
    processes: Annotated[
        int | None, Field(ge=1, le=256, description="At once on this worker; by default one per GPU, or per core.")
    ] = None,
    batch_pairs: Annotated[BatchSize, Field(description="Pairs in one batch.")] = "auto",
) -> None:
    """Render those chunks of a plan that have no records yet, on this machine.

    Raises:
        UnfinishedError: if some of them could not be rendered.
    """
    log = get_run_logger()

    def finished(result: ChunkResult) -> None:
        log.info(result.words)

    rest = missing_chunks(uri, storage, chunks)
    log.info("%d of %d chunks are to be rendered", len(rest), len(chunks))
    if not rest:
        return
    futile = 0
    with render_processes(min(process_count(processes), len(rest))) as pool:
        while rest:
            pool.render(Round(uri, storage, plan_path, batch_pairs, rest), finished)
            before, rest = rest, missing_chunks(uri, storage, chunks)
            futile = futile + 1 if len(rest) == len(before) else 0
            if futile == FUTILE_ROUNDS:
                raise UnfinishedError(f"{len(rest)} of {len(chunks)} chunks could not be rendered; the log says why")
