"""Build an atlas: plan, render what is missing in rounds, publish.

What has a record is done, the rest is missing; each round plans anew from the store, so nothing that happens to a
process, or to this flow, can lose finished work or lead to work being done twice.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from core.atlas.plan import Plan
from core.errors import UnfinishedError
from core.machine.parallel import chunks_at_once, process_count
from core.spec import AtlasSpec
from flows.engines.engine import FUTILE_ROUNDS, Finished, Round
from flows.engines.local import LocalPool, render_processes
from flows.engines.ray_cluster import render_on_ray
from flows.engines.work_pool import cancel_children_of, render_on_workers
from flows.reports import Report
from tasks.plan import plan_atlas
from tasks.publish import publish_atlas


@dataclass(frozen=True)
class BuildResult:
    """What became of the pairs of a spec; `rendered` counts those that this run finished."""

    pairs: int
    done: int
    failed: int
    missing: int
    rendered: int


class UnfinishedBuildError(UnfinishedError):
    """A build that had to leave pairs out, or portraits; what was rendered is published."""

    def __init__(self, result: BuildResult, plan: Plan) -> None:
        portraits = f" and {plan.missing_portraits} portraits" if plan.missing_portraits else ""
        super().__init__(f"{result.missing} of {result.pairs} pairs{portraits} could not be rendered; the log says why")
        self.result = result


@flow(
    name="build-atlas",
    flow_run_name="build-atlas {spec.name}",
    persist_result=False,
    on_cancellation=[cancel_children_of],
    on_crashed=[cancel_children_of],
)
def build_atlas(spec: AtlasSpec) -> BuildResult | State[BuildResult]:
    """Render the pairs of a spec that have no record yet, and publish the atlas.

    Returns:
        to callers a BuildResult. Prefect shows a run as SomePairsFailed if there are failed pairs, of whichever run.

    Raises:
        UnfinishedBuildError: if rounds made no progress; the rest is published.
    """
    log = get_run_logger()
    at_once = chunks_at_once(spec.compute) or 1
    first = plan = plan_atlas(spec, at_once)
    report = Report(spec, first)
    futile = 0
    with local_processes(spec, first) as pool:
        while plan.chunks and futile < FUTILE_ROUNDS:
            try:
                _render_round(spec, plan, pool, report.chunk_finished)
            except UnfinishedError as error:
                log.error("%s; publishing what there is", error)
                futile = FUTILE_ROUNDS
            before, plan = plan, plan_atlas(spec, at_once)
            if plan.unrecorded >= before.unrecorded:
                futile += 1
                log.error("a round finished none of %s chunks of %s", len(plan.chunks), plan.stage)
            elif futile < FUTILE_ROUNDS:
                futile = 0
    if plan.done or plan.failed:
        publish_atlas(spec)
    result = BuildResult(plan.pairs, plan.done, plan.failed, plan.missing, first.missing - plan.missing)
    report.finish(result.done, result.failed, result.missing)
    if plan.chunks:
        raise UnfinishedBuildError(result, plan)
    said = f"{result.done} of {result.pairs} pairs done, {result.failed} failed, {result.rendered} rendered in this run"
    return Completed(name="SomePairsFailed" if result.failed else "Completed", message=said, data=result)


def local_processes(spec: AtlasSpec, plan: Plan) -> AbstractContextManager[LocalPool | None]:
    """Those that will render a plan, if it is rendered on this machine; a build that has begun them keeps them."""
    if spec.compute.engine != "local" or not plan.chunks:
        return nullcontext()
    return render_processes(min(process_count(spec.compute.processes), max(map(len, plan.stages))))


def _render_round(spec: AtlasSpec, plan: Plan, pool: LocalPool | None, finished: Finished) -> None:
    compute = spec.compute
    # The path is a digest of the whole plan: taken once, not for every chunk.
    round_ = Round(spec.uri, spec.storage, plan.path, compute.batch_pairs, tuple(chunk.name for chunk in plan.chunks))
    if pool:
        pool.render(round_, finished)
    elif compute.engine == "ray":
        render_on_ray(round_, compute, finished)
    else:
        render_on_workers(round_, compute, plan.chunk_seconds, finished)
