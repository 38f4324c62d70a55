"""Rendering a chunk as a task, in a process of its own."""

from __future__ import annotations

import os
import signal
import threading
from functools import lru_cache
from multiprocessing import parent_process

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from core.chunk import ChunkResult, render_chunk
from core.plan import read_chunk
from core.spec import Storage
from core.store import open_store


@task(name="render-chunk", task_run_name="render-chunk {chunk}", cache_policy=NO_CACHE, persist_result=False)
def render_one_chunk(uri: str, storage: Storage, plan_path: str, chunk: str) -> ChunkResult:
    """Render one chunk of a plan. Parameters are addresses only; the pairs are in the store."""
    _leave_stopping_to_parent()
    store = open_store(uri, storage)
    result = render_chunk(read_chunk(store, plan_path, chunk), store)
    get_run_logger().info("%s done, %s failed in %.1f s", result.done, result.failed, result.seconds)
    return result


@lru_cache(maxsize=1)
def _leave_stopping_to_parent() -> None:
    """End this pool process when the flow's process is gone, however it went, and not before.

    Nobody else would end it. And an interrupt from the keyboard reaches every process of the terminal: raised in here
    it would break the thread that waits for results, and the flow would wait for ever.
    """
    parent = parent_process()
    if parent is None:
        return
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()
