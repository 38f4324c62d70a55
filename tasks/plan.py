"""Planning as a task: compare the spec with the store, and write a plan of what is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from core.atlas.again import count_failures as failures_of
from core.atlas.labels import read_labels, store_labels
from core.atlas.plan import Plan, make_plan
from core.atlas.plan_files import SPEC_PATH, keys_of_chunks, write_plan
from core.atlas.recorded import recorded_chunks
from core.errors import counted
from core.spec import AtlasSpec, Storage
from core.store.store import open_store
from tasks.retries import RETRIES

_FEW = 200  # chunks; each costs a task run, and on a GPU the batch that its pair would share


@task(name="plan", cache_policy=NO_CACHE, persist_result=False, **RETRIES)
def plan_atlas(
    spec: AtlasSpec,
    at_once: int,
    one_by_one: bool = False,
    adopted: Sequence[str] = (),
    again: Mapping[str, int] | None = None,
    check: Callable[[], None] | None = None,
    only_images: bool = False,
    relist: bool = True,
) -> Plan:
    """Plan what is missing of an atlas, and write the plan, the spec and its labels to the store.

    Args:
        at_once: number of chunks that are rendered at once.
        check: called before anything is written, if something is missing; it raises an error if that cannot be
            rendered.
        one_by_one: if few pairs are missing, give each a chunk of its own, so that a pair that fails costs no other.
        adopted: paths of the plans of other builds, whose chunks are kept.
        again: numbers of failures before this build; these pairs are rendered again.
        only_images, relist: as in `make_plan`.
    """
    labels = read_labels(Path(spec.labels)) if spec.labels else None
    store = open_store(spec.uri, spec.storage)
    others = keys_of_chunks(store, adopted)

    def planned(spec: AtlasSpec) -> Plan:
        return make_plan(spec, store, at_once, adopted=others, again=again, only_images=only_images, relist=relist)

    plan = planned(spec)
    if one_by_one and plan.unrecorded <= _FEW:
        alone = spec.compute.model_copy(update={"chunk_pairs": 1})
        plan = planned(spec.model_copy(update={"compute": alone}))
    if check and plan.chunks:
        check()
    store.replace(SPEC_PATH, spec.to_json())
    if labels is not None:
        store_labels(store, labels)
    write_plan(store, plan)
    log = get_run_logger()
    log.info("%s: %s done, %s failed, %s missing", counted(plan.pairs, "pair"), plan.done, plan.failed, plan.missing)
    if plan.chunks:
        log.info("%s of %s can be rendered now", counted(len(plan.chunks), "chunk"), plan.stage)
    return plan


@task(name="count-failures", cache_policy=NO_CACHE, persist_result=False, **RETRIES)
def count_failures(spec: AtlasSpec) -> dict[str, int]:
    """Return how often each pair of the atlas has failed that is not done, by its key."""
    return failures_of(open_store(spec.uri, spec.storage))


@task(name="missing-chunks", cache_policy=NO_CACHE, persist_result=False, **RETRIES)
def missing_chunks(uri: str, storage: Storage, chunks: list[str]) -> tuple[str, ...]:
    """Return those of the given chunks that have no records yet."""
    recorded = recorded_chunks(open_store(uri, storage))
    return tuple(chunk for chunk in chunks if chunk not in recorded)
