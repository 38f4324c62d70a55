"""Start a Prefect worker whose flow runs are handed on when it is stopped: python deploy/worker.py --pool gpu --limit 1

After SIGTERM a worker waits until its flow runs have ended, and their processes do not learn of the signal. That takes
longer than most machines give, such as a container or a spot instance. This script passes the signal to the flow runs
too, which are then scheduled again, and ends with the worker. A service of systemd needs no script: systemd sends the
signal to every process of the service.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path


def main() -> None:
    """Run the worker with the arguments of this script until it ends."""
    worker = subprocess.Popen([Path(sys.executable).with_name("prefect"), "worker", "start", *sys.argv[1:]])

    def stop(number: int, _frame: object) -> None:
        children = [file.read_text().split() for file in Path(f"/proc/{worker.pid}/task").glob("*/children")]
        for pid in [worker.pid, *(int(pid) for pids in children for pid in pids)]:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, number)

    signal.signal(signal.SIGTERM, stop)
    sys.exit(worker.wait())


if __name__ == "__main__":
    main()
