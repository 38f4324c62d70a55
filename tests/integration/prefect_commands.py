"""Commands of Prefect's command line, and scripts that use it, run as real processes without the time of loading it.

The libraries are loaded once, by this module as a script. Each command runs in a process that is forked from it.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

_LOADED = (
    "prefect.cli.deploy",
    "prefect.cli.deployment",
    "prefect.cli.flow_run",
    "prefect.cli.work_pool",
    "prefect.client.orchestration",
    "prefect.events.schemas.automations",
    "prefect.blocks.webhook",
)
_PATIENCE_SECONDS = 600


class Commands:
    """A process that runs commands, one after another, in an environment and a folder."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, script: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a Python script in a process of its own.

        Args:
            more: changes of the environment.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([str(script), arguments, more]), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, "the process that runs commands has ended"
        return subprocess.CompletedProcess([str(script), *arguments], *json.loads(answer))

    def end(self) -> None:
        self._process.communicate()


def main() -> None:
    """Run the commands on the lines of standard input, until its end."""
    for module in _LOADED:
        import_module(module)
    for line in sys.stdin:
        script, arguments, environment = json.loads(line)
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
            process = os.fork()
            if process == 0:
                _become([script, *arguments], environment, output, complaints)
                return
            _, status = os.waitpid(process, 0)
            said = [_text(file) for file in (output, complaints)]
        print(json.dumps([os.waitstatus_to_exitcode(status), *said]), flush=True)


def _become(command: list[str], environment: dict[str, str], output: BinaryIO, complaints: BinaryIO) -> None:
    """Run a script as the main module of this process, with these files as its standard streams."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output.fileno(), 1), (complaints.fileno(), 2)):
        os.dup2(source, target)
    signal.alarm(_PATIENCE_SECONDS)
    os.environ.update(environment)
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")


def _text(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode()


if __name__ == "__main__":
    main()
