"""A process that renders chunks of a plan: what it loads, how it ends, and what becomes of errors there.

Nothing here knows Prefect, so that a render process need not load it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from functools import lru_cache
from multiprocessing import parent_process
from typing import BinaryIO

from core.addresses import without_secrets
from core.arrays import BatchSize
from core.atlas.plan_files import read_chunk
from core.errors import IsthmusError, TransientStoreError, one_line
from core.machine.device import claim_gpu, gpus, prepare
from core.machine.loading import keep_loaded
from core.rendering.chunk import ChunkResult, render_chunk
from core.rendering.renderers import FirstStrips
from core.spec import Storage
from core.store.store import open_store


class UnexpectedError(Exception):
    """An unexpected exception of a chunk, as text, because not every exception can be sent to another process.

    Attributes:
        cause: the type and the message of the exception, in one line.
        traceback: its traceback, in lines.
    """

    def __init__(self, cause: str, traceback: str) -> None:
        super().__init__(cause, traceback)
        self.cause, self.traceback = cause, traceback

    def __str__(self) -> str:
        return self.cause


def render_planned_chunk(uri: str, storage: Storage, plan_path: str, chunk: str, batch_pairs: BatchSize) -> ChunkResult:
    """Render one chunk of a plan. The arguments are addresses only; the pairs are read from the store.

    Raises:
        UnexpectedError: for an exception that neither a person nor another try can mend.
    """
    try:
        _become_pool_process()
        store = open_store(uri, storage)
        return render_chunk(read_chunk(store, plan_path, chunk), store, batch_pairs)
    except Exception as error:
        if isinstance(error, IsthmusError) or may_pass(error):
            raise
        told = without_secrets(traceback.format_exc())
        raise UnexpectedError(f"{type(error).__name__}: {one_line(error)}", told) from error


def may_pass(error: object) -> bool:
    """Return whether the same work may succeed a little later."""
    if isinstance(error, TransientStoreError):
        return True
    if "tensorflow" not in sys.modules:  # then the error is not one of TensorFlow's
        return False
    from tensorflow import errors

    return isinstance(error, errors.InternalError | errors.UnavailableError | errors.AbortedError | errors.UnknownError)


def get_ready(first: FirstStrips | None = None) -> None:
    """Load TensorFlow in a process of a pool, and compile a renderer, before the process has anything to render.

    Args:
        first: strips that the process probably renders first. Whatever is wrong with them, their chunk meets it too.
    """
    _become_pool_process()
    prepare()
    keep_loaded()
    if first is not None:
        first.compile()


@lru_cache(maxsize=1)
def _become_pool_process() -> BinaryIO | None:
    """Let the flow's process decide when this pool process ends, and claim a GPU if there is one; once per process.

    Outside a pool this does nothing: Ray chooses the GPU of a task and stops its processes itself. The cache holds the
    claim on the GPU until the process ends.
    """
    if parent_process() is None:
        return None
    _leave_stopping_to_parent()
    return claim_gpu(gpus())


def _leave_stopping_to_parent() -> None:
    """End this pool process when the flow's process has ended, for whatever reason, and not before.

    Nothing else would end this process. An interrupt from the keyboard reaches every process of the terminal. Here it
    would break the thread that waits for results, and the flow would wait for ever.
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
