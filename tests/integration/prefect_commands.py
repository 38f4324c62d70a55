"""Commands of Prefect's command line, and scripts that use it, run as real processes without the time of loading it.

The libraries are loaded once, by this module as a script. Each command runs in a process that is forked from it.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from forked_commands import ForkedCommands, serve

_LOADED = (
    "prefect.cli.deploy",
    "prefect.cli.deployment",
    "prefect.cli.flow_run",
    "prefect.cli.work_pool",
    "prefect.client.orchestration",
    "prefect.events.schemas.automations",
    "prefect.blocks.webhook",
)


class Commands:
    """A process that runs commands, one after another, in an environment and a folder."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._commands = ForkedCommands(__file__, folder, environment)

    def run(self, script: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a Python script in a process of its own.

        Args:
            more: changes of the environment.
        """
        command = [str(script), *arguments]
        return subprocess.CompletedProcess(command, *self._commands.run(command, more))

    def end(self) -> None:
        self._commands.end()


def main() -> None:
    """Run the commands that standard input asks for, until its end."""
    for module in _LOADED:
        import_module(module)
    serve(_become)


def _become(command: list[str], environment: dict[str, str]) -> None:
    """Run a script as the main module of this process."""
    os.environ.update(environment)
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main()
