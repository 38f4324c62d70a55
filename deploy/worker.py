"""Start a Prefect worker whose flow runs are handed on when it is stopped: python deploy/worker.py --pool gpu --limit 1

A worker that gets SIGTERM kills the processes of its flow runs, so these cannot tell the server. This script sends them
SIGTERM first: they schedule their runs again and end. Meanwhile the worker rests, so that it does not take them back.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import isthmus

isthmus.find_our_packages()  # and not packages of the same names in PYTHONPATH

from flows.prefect_server import check_server  # noqa: E402

_PATIENCE_SECONDS = 60.0  # for a flow run to end its render processes and to tell the server; measured: 1 to 3 s


def main() -> None:
    """Run the worker with the arguments of this script until it ends."""
    check_server()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # background processes of a script ignore it, and a worker needs it
    # Flow runs are started with the command `python` of deploy/pools/process.json, which must be this interpreter.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    worker = os.fork()
    if worker == 0:
        _become_worker()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the worker too

    def stop(*_: object) -> None:
        with suppress(ProcessLookupError):  # the worker has just ended
            os.kill(worker, signal.SIGSTOP)
        runs = _running_children(worker)
        for run in runs:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(run, signal.SIGTERM)
        end = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < end and set(runs) & set(_running_children(worker)):
            time.sleep(0.2)
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGTERM)
            os.kill(worker, signal.SIGCONT)

    signal.signal(signal.SIGTERM, stop)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]))


def _become_worker() -> NoReturn:
    """Run `prefect worker start` in this process, which is forked because loading Prefect again takes 2 s."""
    from prefect.cli import app
    from prefect.logging.configuration import setup_logging

    setup_logging(incremental=False)  # Prefect was loaded with its standard error redirected
    sys.argv = ["prefect", "worker", "start", *sys.argv[1:]]
    sys.exit(app())


def _running_children(parent: int) -> list[int]:
    """Return the ids of the child processes that have not ended."""
    found = []
    for listing in Path(f"/proc/{parent}/task").glob("*/children"):
        for child in listing.read_text().split():
            with suppress(OSError):  # it has just ended
                state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z":
                    found.append(int(child))
    return found


if __name__ == "__main__":
    main()
