"""The process from which render processes are forked, so that TensorFlow is loaded once and shares its memory."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import forkserver, get_context, resource_tracker
from multiprocessing.context import ForkServerContext, SpawnContext

from core.machine.device import environment, gpus

_PRELOADED = "flows.engines.preloaded"
_LONGEST_FOLDER = 70  # bytes; the path of a socket has at most 107, and Python adds about 32


def context() -> ForkServerContext | SpawnContext:
    """Return the way in which render processes are started.

    With GPUs each is started anew, because CUDA cannot be used in a forked process once it has been looked for. So it
    is before Python 3.11, whose fork server would look for modules in the current folder first, and where the folder
    for temporary files has so long a path that no socket of a fork server can be there.
    """
    anew = gpus() or sys.version_info < (3, 11) or len(os.fsencode(tempfile.gettempdir())) > _LONGEST_FOLDER
    return get_context("spawn") if anew else get_context("forkserver")


def start() -> None:
    """Start the fork server, unless it runs, and return without waiting for it; it ends with this process."""
    if context().get_start_method() == "forkserver":
        with ThreadPoolExecutor(1, initializer=block_interrupts) as thread:  # its end waits for the thread
            thread.submit(_start).result()


def block_interrupts() -> None:
    """Block interrupts from the keyboard in this thread and in the processes that it starts.

    An interrupt reaches all processes of a terminal, and these end with this process anyway. A process whose start is
    interrupted would print an error about its empty input.
    """
    resource_tracker.ensure_running()  # Python starts it with the first process, and unblocks interrupts then
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _start() -> None:
    forkserver.set_forkserver_preload([_PRELOADED])
    # The fork server finds modules in the same folders as this process, and not in the current folder.
    folders = os.pathsep.join(os.path.abspath(path) for path in sys.path)  # noqa: PTH100
    with environment({"PYTHONPATH": folders, "PYTHONSAFEPATH": "1"}):
        forkserver.ensure_running()
    atexit.unregister(_end)  # so that it is registered once
    atexit.register(_end)


def _end() -> None:
    """Kill the fork server. By itself it ends a little later, and not before it has loaded everything."""
    pid = getattr(getattr(forkserver, "_forkserver", None), "_forkserver_pid", None)
    if pid is not None:
        with suppress(OSError):  # it has ended
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
