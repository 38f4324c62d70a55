"""Publishing as a task: manifest, data and gallery are made from the records."""

from __future__ import annotations

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from core.atlas.manifest import Counts
from core.errors import counted
from core.gallery.publish import publish
from core.machine.leftovers import sweep_machine
from core.spec import AtlasSpec
from core.store.store import open_store
from tasks.retries import RETRIES


@task(name="publish", cache_policy=NO_CACHE, persist_result=False, **RETRIES)
def publish_atlas(spec: AtlasSpec) -> Counts:
    """Publish every record of the atlas. The page is written last."""
    log = get_run_logger()
    store = open_store(spec.uri, spec.storage)
    if not store.allows_many_writers():
        log.warning("%s: %s", store, store.one_writer)
    counts = publish(store, spec.name).counts
    sweep_machine()
    log.info("published %s: %s done, %s failed", counted(counts.pairs, "pair"), counts.done, counts.failed)
    return counts
