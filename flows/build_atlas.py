"""Build an atlas: plan, render what is missing in rounds, publish.

What has a record is done, the rest is missing; each round plans anew from the store, so nothing that happens to a
process, or to this flow, can lose finished work or lead to work being done twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children
from queue import SimpleQueue

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner

from core.chunk import ChunkResult
from core.engine import process_count
from core.errors import IsthmusError
from core.plan import Chunk, Plan
from core.spec import AtlasSpec
from tasks.plan import plan_atlas
from tasks.publish import publish_atlas
from tasks.render import render_one_chunk


@dataclass(frozen=True)
class BuildResult:
    """What became of the pairs of a spec; `rendered` counts those that this run finished."""

    pairs: int
    done: int
    failed: int
    missing: int
    rendered: int


@flow(name="build-atlas", flow_run_name="build-atlas {spec.name}", persist_result=False)
def build_atlas(spec: AtlasSpec) -> BuildResult:
    """Render the pairs of a spec that have no record yet, and publish the atlas."""
    log = get_run_logger()
    processes = process_count(spec.compute)
    first = plan = plan_atlas(spec, processes)
    while plan.chunks:
        render_round(spec, plan, processes)
        before, plan = plan, plan_atlas(spec, processes)
        if plan.missing == before.missing:
            log.error("a round finished none of %s missing pairs; publishing the others", plan.missing)
            break
    if plan.done or plan.failed:
        publish_atlas(spec)
    return BuildResult(plan.pairs, plan.done, plan.failed, plan.missing, first.missing - plan.missing)


def render_round(spec: AtlasSpec, plan: Plan, processes: int) -> None:
    """Render the chunks of a plan in a pool of fresh processes; ends early if the pool breaks.

    Raises:
        IsthmusError: if a chunk met something that a person must mend.
    """
    log = get_run_logger()
    plan_path = plan.path  # a digest of the whole plan: taken once, not for every chunk
    # The pool's processes talk to this flow's server, also when it is a temporary one: otherwise each starts its own.
    server = get_client(sync_client=True).api_url
    with temporary_settings({PREFECT_API_URL: str(server)}), ProcessPoolTaskRunner(max_workers=processes) as pool:
        _never_wait_for_messages(pool)

        def submit(chunk: Chunk) -> PrefectFuture[ChunkResult]:
            where = {"uri": spec.uri, "storage": spec.storage, "plan_path": plan_path}
            return pool.submit(render_one_chunk, where | {"chunk": chunk.name})

        try:
            for finished in _in_window(submit, plan.chunks, size=2 * processes):
                try:
                    result = finished.result()
                except BrokenProcessPool:
                    log.warning("a render process died; going on with a fresh pool and what is still missing")
                    return
                except IsthmusError:
                    raise
                except Exception as error:  # only this chunk's fault: it waits for the next round
                    log.error("a chunk failed: %s", error)
                else:
                    log.info("%s done, %s failed in %.1f s", result.done, result.failed, result.seconds)
        except BaseException:
            # Leaving the pool waits for what it has begun. Nothing is lost by killing that, and it may take long.
            for process in active_children():
                process.kill()
            raise


def _never_wait_for_messages(pool: ProcessPoolTaskRunner) -> None:
    """Do not let this process wait, when it ends, until its messages to the pool's own queue have been written.

    A render process that was killed while it wrote to that queue holds the queue's lock for ever. The queue carries
    log lines only.
    """
    messages = getattr(pool, "_subprocess_message_queue", None)
    if messages is not None:
        messages.cancel_join_thread()


def _in_window(
    submit: Callable[[Chunk], PrefectFuture[ChunkResult]], chunks: Iterable[Chunk], size: int
) -> Iterator[PrefectFuture[ChunkResult]]:
    """Futures of all chunks as they finish, with at most *size* of them begun and unfinished at any time."""
    finished: SimpleQueue[PrefectFuture[ChunkResult]] = SimpleQueue()
    begun = 0
    for chunk in chunks:
        if begun == size:
            yield finished.get()
            begun -= 1
        submit(chunk).add_done_callback(finished.put)
        begun += 1
    for _ in range(begun):
        yield finished.get()
