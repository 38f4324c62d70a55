"""Publishing as a task: records to manifest, data and gallery."""

from __future__ import annotations

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from core.manifest import Counts, publish
from core.spec import AtlasSpec
from core.store import open_store
from tasks.retries import RETRIES


@task(name="publish", cache_policy=NO_CACHE, persist_result=False, **RETRIES)
def publish_atlas(spec: AtlasSpec) -> Counts:
    """Publish every record of the atlas; its page is written last."""
    counts = publish(open_store(spec.uri, spec.storage), spec.name).counts
    get_run_logger().info("published %s pairs: %s done, %s failed", counts.pairs, counts.done, counts.failed)
    return counts
