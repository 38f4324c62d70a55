"""The flow that builds an atlas."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from core.errors import counted
from core.spec import AtlasSpec
from flows.build import Build
from flows.engines.children import cancel_children_of
from flows.outcome import BuildResult
from flows.session import open_session
from flows.worker_run import on_worker


@flow(
    name="build-atlas",
    flow_run_name="build-atlas {spec.name}",
    persist_result=False,
    on_cancellation=[cancel_children_of],
    on_crashed=[cancel_children_of],
)
@on_worker
def build_atlas(
    spec: AtlasSpec,
    retry_failed: Annotated[bool, Field(description="Render pairs again that have failed in earlier builds.")] = False,
    only_images: Annotated[bool, Field(description="Read the photographs alone, and render nothing.")] = False,
) -> BuildResult | State[BuildResult]:
    """Render the pairs of a spec that have no record yet, and publish the atlas.

    Returns:
        a BuildResult. On Prefect's pages the run's state is SomePairsFailed if any run has recorded a failed pair.

    Raises:
        UnfinishedBuildError: if some pairs could not be rendered; the rest is published.
    """
    with open_session(spec) as session:
        result = Build(spec, session, retry_failed, only_images).run()
    land = f", {result.blocks_done} of {counted(result.blocks, 'block')} of the land done" if result.blocks else ""
    images = f", {result.images_read} of {counted(result.images, 'photograph')} read" if result.images else ""
    summary = (
        f"{result.done} of {counted(result.pairs, 'pair')} done, {result.failed} failed, "
        f"{result.rendered} rendered in this run{land}{images}"
    )
    return Completed(name="Completed" if result.is_whole else "SomePairsFailed", message=summary, data=result)
