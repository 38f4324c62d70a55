"""Start a Prefect worker whose flow runs are handed on when it is stopped: python deploy/worker.py --pool gpu --limit 1

The options are those of `prefect worker start`. SIGTERM stops the worker: see `flows.worker`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import isthmus

isthmus.find_our_packages()  # and not packages of the same names in PYTHONPATH

from flows.prefect_server import check_server  # noqa: E402


def main() -> None:
    """Run the worker with the arguments of this script until it ends."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # in this thread, and in all threads that begin later
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # background processes of a script ignore it, and a worker needs it
    check_server()
    # Flow runs are started with the command `python` of deploy/pools/process.json, which must be this interpreter.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    _run_worker()


def _run_worker() -> None:
    """Run `prefect worker start`, which takes the class of the worker from Prefect's register."""
    from prefect.cli import app
    from prefect.logging.configuration import setup_logging

    from flows.worker import stop_when_told  # its module registers the class

    threading.Thread(target=stop_when_told, name="stop-when-told", daemon=True).start()
    setup_logging(incremental=False)  # Prefect was loaded with its standard error redirected
    sys.argv = ["prefect", "worker", "start", *sys.argv[1:]]
    sys.exit(app())


if __name__ == "__main__":
    main()
