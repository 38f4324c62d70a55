"""A build: plan, render what is missing in rounds, publish.

A pair with a record is finished; a pair without one is missing. Each round starts from a new plan, which is made from
the store. So whatever happens to a process, or to this flow, finished work is neither lost nor repeated.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress

from prefect import get_run_logger

from core.atlas.manifest import MANIFEST_PATH
from core.atlas.mixing import check_mixing
from core.atlas.plan import Plan
from core.errors import StoreError, UnfinishedError, counted
from core.gallery.publish import is_current
from core.machine.parallel import chunks_at_once
from core.models.models import load, pinned
from core.models.range_question import range_question
from core.rendering.chunk import ChunkResult
from core.rendering.renderers import FirstStrips
from core.spec import AtlasSpec
from core.store.store import open_store
from flows.engines.engine import FUTILE_ROUNDS, Round
from flows.faults import Faults
from flows.labels import run_tags
from flows.outcome import BuildResult, UnfinishedBuildError
from flows.publishing import Publisher
from flows.reports import Report
from flows.session import Session
from tasks.photographs import show_neurons
from tasks.plan import count_failures, plan_atlas
from tasks.publish import publish_atlas


class Build:
    """One build of an atlas, within a flow run.

    Args:
        again: whether to render the pairs again that have failed in earlier builds.
        only_images: whether to read the photographs alone.
    """

    def __init__(self, spec: AtlasSpec, session: Session, again: bool, only_images: bool = False) -> None:
        # Whatever becomes of files of directions, all rounds of a build use those that it began with.
        spec = spec.model_copy(update={"model": pinned(spec.model)})
        self._spec, self._session, self._only_images = spec, session, only_images
        self._engine, self._leases = session.engine, session.leases
        self._log = get_run_logger()
        self._faults = Faults()
        self._publisher = Publisher(spec)
        self._rendered = self._rendered_blocks = self._read_images = self._failed = 0
        self._has_begun = False
        self._cause: str | None = None
        for warning in check_mixing(spec, open_store(spec.uri, spec.storage)):
            self._log.warning(warning)
        self._again = count_failures(spec) if again else {}
        known = chunks_at_once(spec.compute)
        self._at_once = known or 1
        self._plan = self._make_plan(check=self._engine.check, relist=True)
        if self._plan.unrecorded and (question := range_question(load(spec.model), spec.model)):
            self._log.warning(question)
        self._leases.keep()
        if known is None and self._plan.chunks:  # only the engine knows, and finding out may start something
            self._at_once = self._engine.chunks_at_once
            self._plan = self._make_plan()
        self._first = self._plan
        self._report = Report(spec, self._plan)

    def run(self) -> BuildResult:
        """Render what is missing, publish, and return the outcome.

        If the build is interrupted, what there is is published.

        Raises:
            UnfinishedBuildError: if some pairs could not be rendered; the rest is published.
        """
        try:
            self._render()
        except BaseException as error:
            self._engine.close(kill=True)
            if self._has_begun:  # a chunk may have left records although its end was not heard of
                self._publisher.wait()
                self._publisher.publish()
            if not isinstance(error, Exception):
                self._session.ended(None)
            raise
        self._engine.close()  # also when the command line has opened it: publishing needs no render processes
        self._publisher.wait()
        plan = self._plan
        result = BuildResult.of(plan, self._rendered, self._rendered_blocks)
        if plan.images is not None and not plan.images.missing:
            show_neurons(self._spec, plan.images.neurons)
        if (result.is_something or self._was_published()) and not self._is_published():
            publish_atlas(self._spec)
        self._report.finish(result)
        self._session.ended(result)
        if plan.chunks:
            raise UnfinishedBuildError(result, plan.missing_portraits, self._cause or self._faults.first)
        return result

    def _render(self) -> None:
        """Render in rounds, until nothing is missing that can be rendered."""
        if self._leases.room():
            self._engine.begin(largest_round(self._plan), first_strips(self._plan, self._spec))
        futile = 0
        while futile < FUTILE_ROUNDS and (chunks := self._faults.spare(self._plan.chunk_seconds)):
            if not self._render_round(chunks):
                return
            taken = self._leases.taken
            if not taken:
                self._wait_for_other_builds(chunks)
            before, self._plan = self._plan, self._make_plan()
            if self._plan.unrecorded < before.unrecorded:
                futile = 0
            elif taken:
                futile += 1
                if not self._faults:
                    self._log.error("a round finished none of %s chunks of %s", len(chunks), before.stage)

    def _render_round(self, chunks: Collection[str]) -> bool:
        """Render some chunks of the plan, except those of other builds; return False if the build should end."""
        elsewhere = self._leases.elsewhere(chunks)
        times = {chunk: self._plan.chunk_seconds[chunk] for chunk in chunks if chunk not in elsewhere}
        if not times:
            return True
        round_ = Round(
            uri=self._spec.uri,
            storage=self._spec.storage,
            plan_path=self._plan.path,
            batch_pairs=self._spec.compute.batch_pairs,
            chunks=times,
            take=self._leases.take,
            tags=run_tags(self._spec),
        )
        self._has_begun = True
        try:
            self._engine.render(round_, self._finished, self._faults.chunk_failed)
        except UnfinishedError as error:
            self._log.error("%s; publishing what there is", error)
            self._cause = str(error)
            self._engine.close(kill=True)
            self._plan = self._make_plan()
            return False
        return True

    def _finished(self, result: ChunkResult) -> None:
        self._faults.chunk_finished()
        self._leases.release(result.chunk)
        self._publisher.chunk_finished()
        self._report.chunk_finished(result)
        self._session.finished(result)
        if result.by_another_build:
            return
        if result.what == "blocks":
            self._rendered_blocks += result.done + result.failed
        if result.what == "images":
            self._read_images += result.done
        if result.what != "pairs":
            return
        self._rendered += result.done + result.failed
        self._failed += result.failed
        limit = self._spec.compute.stop_after_failures
        if limit is not None and self._failed >= (limit if limit >= 1 else limit * self._first.missing):
            failures = counted(self._failed, "pair has failed", "pairs have failed")
            raise UnfinishedError(f"{failures}, and compute.stop_after_failures is {limit:g}")

    def _wait_for_other_builds(self, chunks: Collection[str]) -> None:
        elsewhere = self._leases.elsewhere(chunks)
        if len(elsewhere) == len(chunks):
            self._log.info("waiting for %d chunks that other builds render", len(chunks))
            self._leases.wait(chunks)

    def _make_plan(self, check: Callable[[], None] | None = None, relist: bool = False) -> Plan:
        adopted = self._leases.plans()
        plan = plan_atlas(
            self._spec,
            self._at_once,
            one_by_one=bool(self._faults),
            adopted=sorted(adopted),
            again=self._again,
            check=check,
            only_images=self._only_images,
            relist=relist,
        )
        self._leases.begin(plan.path, adopted)
        return plan

    def _was_published(self) -> bool:
        """Return whether there is a gallery, which photographs alone may change."""
        return open_store(self._spec.uri, self._spec.storage).exists(MANIFEST_PATH)

    def _is_published(self) -> bool:
        """Return whether another build has published everything, so that this build need not."""
        if self._rendered or self._rendered_blocks or self._read_images or self._only_images:
            return False
        store = open_store(self._spec.uri, self._spec.storage)
        with suppress(StoreError):
            self._leases.wait_for_publishing()
            return is_current(store, json.loads(self._spec.to_json()), self._plan.recorded)
        return False


def largest_round(plan: Plan) -> int:
    """Return the number of chunks in the largest stage of a plan, which is a round of its own."""
    return max(map(len, plan.stages), default=0)


def first_strips(plan: Plan, spec: AtlasSpec) -> Iterator[FirstStrips | None]:
    """Yield the strips that each chunk of a plan's next round begins with."""
    return (FirstStrips.of(chunk, plan, spec.compute.batch_pairs) for chunk in plan.chunks)
