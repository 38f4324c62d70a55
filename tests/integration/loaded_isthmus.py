"""The command `isthmus` in real processes of its own that begin with its libraries loaded.

Loading Prefect and TensorFlow takes most of the time of a build of a small atlas. This module, run as a script, loads
them once. Each command runs in a process that is forked from it, as Isthmus itself forks its render processes.
"""

from __future__ import annotations

import array
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from multiprocessing import util
from pathlib import Path
from typing import Any

from forked_commands import ForkedCommands, serve

ISTHMUS = Path(sys.executable).with_name("isthmus")
_LOADED = (
    "boto3",
    "core.gallery.publish",
    "core.store.s3",
    "flows.bench",
    "flows.build_atlas",
    "flows.ending",
    "flows.engines.local",
    "flows.progress",
    "flows.run_log",
    "prefect.client.orchestration",
    "prefect.flow_engine",
    "prefect.main",
    "prefect.task_engine",
    "flows.engines.preloaded",  # the last one, because it exempts all objects from garbage collection
)
_FORK_SERVER = "multiprocessing.forkserver"
_LONGEST_MESSAGE = 1_000_000  # bytes


class LoadedIsthmus:
    """A process that runs commands, one after another."""

    def __init__(self) -> None:
        self._commands = ForkedCommands(__file__, Path(__file__).parents[2])

    def run(self, arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command in a process of its own, whose environment is the given one alone.

        If the first folder of its PYTHONPATH has a module `sitecustomize`, the process begins with it.
        """
        answer = self._commands.run(list(arguments), dict(environment))
        return subprocess.CompletedProcess(["isthmus", *arguments], *answer)

    def end(self) -> None:
        self._commands.end()


def main() -> None:
    """Run the commands that standard input asks for, until its end."""
    import_module("isthmus").find_our_packages()
    for module in _LOADED:
        import_module(module)
    serve(_become)


def _become(arguments: list[str], environment: dict[str, str]) -> None:
    """Be the command."""
    from prefect.context import refresh_global_settings_context
    from prefect.logging.configuration import setup_logging

    from flows.terminal import quiet_libraries

    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    quiet_libraries("--verbose" in arguments)  # as the command does before it loads Prefect
    refresh_global_settings_context()  # when it is imported, Prefect reads the environment and sets logging up
    setup_logging(incremental=False)
    customize = Path(environment.get("PYTHONPATH", "").split(os.pathsep)[0], "sitecustomize.py")
    if customize.is_file():
        runpy.run_path(str(customize))
    _provide_fork_server()
    sys.argv = [str(ISTHMUS), *arguments]
    runpy.run_path(str(ISTHMUS), run_name="__main__")


def _provide_fork_server() -> None:
    """Fork a process that becomes the command's fork server, which would load TensorFlow anew, when it starts one."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    waiting = [os.fork()]
    if not waiting[0]:
        ours.close()
        _wait_to_serve(its)
    its.close()
    start = util.spawnv_passfds

    def start_or_wake(path: bytes, args: Sequence[Any], passfds: Sequence[int]) -> int:
        if not (waiting and _FORK_SERVER in args[-1]):
            return start(path, args, passfds)
        mask = [int(each) for each in signal.pthread_sigmask(signal.SIG_BLOCK, ())]
        message = json.dumps([args[-1], list(passfds), mask, dict(os.environ)]).encode()
        ours.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", passfds))])
        return waiting.pop()

    util.spawnv_passfds = start_or_wake


def _wait_to_serve(woken: socket.socket) -> None:
    """Wait until the command starts its fork server, and be it; end with the command if it starts none."""
    files = array.array("i")
    message, said, _, _ = woken.recvmsg(_LONGEST_MESSAGE, socket.CMSG_SPACE(8 * files.itemsize))
    try:
        if message:
            code, numbers, mask, environment = json.loads(message)
            files.frombytes(said[0][2])
            woken.close()
            for file, number in zip(files, numbers, strict=True):
                if file != number:
                    os.dup2(file, number)
                    os.close(file)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.environ.clear()
            os.environ.update(environment)
            if environment.get("PYTHONWARNINGS") == "ignore":
                warnings.simplefilter("ignore")
            exec(code, {})
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
