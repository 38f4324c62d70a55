"""Build an atlas: plan, render what is missing in rounds, publish.

A pair with a record is finished; a pair without one is missing. Each round starts from a new plan, which is made from
the store. So whatever happens to a process, or to this flow, finished work is neither lost nor repeated.
"""

from __future__ import annotations

from dataclasses import dataclass

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from core.atlas.plan import Plan
from core.errors import UnfinishedError
from core.machine.parallel import chunks_at_once
from core.rendering.chunk import ChunkResult
from core.spec import AtlasSpec
from flows.engines.children import cancel_children_of
from flows.engines.choice import open_engine
from flows.engines.engine import FUTILE_ROUNDS, Round
from flows.faults import Faults
from flows.reports import Report
from flows.worker_run import on_worker
from tasks.plan import plan_atlas
from tasks.publish import publish_atlas


@dataclass(frozen=True)
class BuildResult:
    """Numbers of the pairs of a spec by their state; `rendered` counts the pairs that this run finished."""

    pairs: int
    done: int
    failed: int
    missing: int
    rendered: int


class UnfinishedBuildError(UnfinishedError):
    """A build that could not render some pairs or portraits; the others are published."""

    def __init__(self, result: BuildResult, plan: Plan, cause: str | None) -> None:
        portraits = f" and {plan.missing_portraits} portraits" if plan.missing_portraits else ""
        reason = "; the log says why" if cause is None else f": {cause}"
        super().__init__(f"{result.missing} of {result.pairs} pairs{portraits} could not be rendered{reason}")
        self.result = result


@flow(
    name="build-atlas",
    flow_run_name="build-atlas {spec.name}",
    persist_result=False,
    on_cancellation=[cancel_children_of],
    on_crashed=[cancel_children_of],
)
@on_worker
def build_atlas(spec: AtlasSpec) -> BuildResult | State[BuildResult]:
    """Render the pairs of a spec that have no record yet, and publish the atlas.

    Returns:
        a BuildResult. On Prefect's pages the run's state is SomePairsFailed if any run has recorded a failed pair.

    Raises:
        UnfinishedBuildError: if some pairs could not be rendered; the rest is published.
    """
    log = get_run_logger()
    futile = 0
    with open_engine(spec.compute) as engine:
        known = chunks_at_once(spec.compute)
        at_once = known or 1
        first = plan = plan_atlas(spec, at_once)
        if known is None and plan.chunks:  # only the engine knows, and finding out may start something
            at_once = engine.chunks_at_once
            first = plan = plan_atlas(spec, at_once)
        report, faults = Report(spec, first), Faults()

        def finished(result: ChunkResult) -> None:
            faults.chunk_finished()
            report.chunk_finished(result)

        engine.begin(largest_round(first))
        while (chunks := faults.spare(chunk.name for chunk in plan.chunks)) and futile < FUTILE_ROUNDS:
            try:
                engine.render(_round(spec, plan, chunks), finished, faults.chunk_failed)
            except UnfinishedError as error:
                log.error("%s; publishing what there is", error)
                futile = FUTILE_ROUNDS
                engine.close(kill=True)
            before, plan = plan, plan_atlas(spec, at_once, one_by_one=bool(faults))
            if plan.unrecorded < before.unrecorded:
                futile = 0 if futile < FUTILE_ROUNDS else futile
            elif futile < FUTILE_ROUNDS:
                futile += 1
                if not faults:
                    log.error("a round finished none of %s chunks of %s", len(chunks), plan.stage)
        engine.close()  # also when the command line has opened it: publishing needs no render processes
    if plan.done or plan.failed:
        publish_atlas(spec)
    result = BuildResult(plan.pairs, plan.done, plan.failed, plan.missing, first.missing - plan.missing)
    report.finish(result.done, result.failed, result.missing)
    if plan.chunks:
        raise UnfinishedBuildError(result, plan, faults.first)
    summary = (
        f"{result.done} of {result.pairs} pairs done, {result.failed} failed, {result.rendered} rendered in this run"
    )
    return Completed(name="SomePairsFailed" if result.failed else "Completed", message=summary, data=result)


def largest_round(plan: Plan) -> int:
    """Return the number of chunks in the largest stage of a plan, which is a round of its own."""
    return max(map(len, plan.stages), default=0)


def _round(spec: AtlasSpec, plan: Plan, chunks: tuple[str, ...]) -> Round:
    """Return a round of some chunks of a plan, which can be rendered now."""
    return Round(
        uri=spec.uri,
        storage=spec.storage,
        plan_path=plan.path,
        batch_pairs=spec.compute.batch_pairs,
        chunks=chunks,
        chunk_seconds=plan.chunk_seconds,
    )
