"""Render a shard: the part of a build that one worker of a work pool does, while the build itself runs elsewhere."""

from __future__ import annotations

from typing import Annotated

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Failed
from pydantic import Field

from core.arrays import BatchSize
from core.errors import UnfinishedError
from core.rendering.chunk import ChunkResult
from core.spec import Storage
from flows.engines.engine import CHUNKS_FAILED, FUTILE_ROUNDS, Round, closing
from flows.engines.local import LocalEngine
from flows.faults import Faults
from flows.worker_run import on_worker
from tasks.plan import missing_chunks

_LONGEST_CHUNK_SECONDS = 3600.0  # if the build, of an older version, does not say how long its chunks take


@flow(name="render-shard", persist_result=False)
@on_worker
def render_shard(
    uri: Annotated[str, Field(description="Address of the atlas: a directory, or s3://bucket/prefix/name.")],
    plan_path: Annotated[str, Field(description="Folder of the plan in the atlas.")],
    chunks: Annotated[list[str], Field(description="Names of the chunks of the plan to render.")],
    storage: Annotated[Storage, Field(description="Settings for an object store.")] = Storage(),  # noqa: B008
    processes: Annotated[
        int | None,
        Field(ge=1, le=256, description="Chunks rendered at once on this worker; by default one per GPU, or per core."),
    ] = None,
    batch_pairs: Annotated[
        BatchSize, Field(description="Pairs in one batch; auto: the number that keeps a GPU busy, one on a CPU.")
    ] = "auto",
    chunk_seconds: Annotated[
        float, Field(gt=0, description="Estimated time of the longest chunk; a process that takes far longer hangs.")
    ] = _LONGEST_CHUNK_SECONDS,
    pack: Annotated[BatchSize | None, Field(description="Old name of batch_pairs.", deprecated=True)] = None,
) -> State[None] | None:
    """Render the chunks of a shard that have no records yet, on this machine.

    Returns:
        a failed state of the name `CHUNKS_FAILED` if unexpected exceptions ended chunks; its message has the cause.

    Raises:
        UnfinishedError: if some of them could not be rendered for another reason.
    """
    log = get_run_logger()
    faults = Faults()

    def finished(result: ChunkResult) -> None:
        faults.chunk_finished()
        log.info(result.words)

    if pack is not None:
        log.warning("the parameter pack is called batch_pairs now; rename it, the old name still works")
        batch_pairs = pack
    rest = missing_chunks(uri, storage, chunks)
    log.info("%d of %d chunks have no records yet", len(rest), len(chunks))
    futile = 0
    with closing(LocalEngine(processes)) as engine:
        while spare := faults.spare(rest):
            try:
                times = dict.fromkeys(spare, chunk_seconds)
                engine.render(Round(uri, storage, plan_path, batch_pairs, times), finished, faults.chunk_failed)
            except UnfinishedError as error:
                engine.close(kill=True)
                return Failed(name=CHUNKS_FAILED, message=str(error))
            before, rest = rest, missing_chunks(uri, storage, chunks)
            futile = futile + 1 if len(rest) == len(before) else 0
            if futile == FUTILE_ROUNDS:
                raise UnfinishedError(f"{len(rest)} of {len(chunks)} chunks could not be rendered; the log says why")
    if rest:
        message = f"{len(rest)} of {len(chunks)} chunks could not be rendered: {faults.first}"
        return Failed(name=CHUNKS_FAILED, message=message)
    return None
