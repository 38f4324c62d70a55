"""Commands in real processes of their own that are forked from one process, which has loaded their libraries once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_PATIENCE_SECONDS = 600


class ForkedCommands:
    """A process that runs commands, one after another.

    Args:
        script: the module that the process runs; it calls `serve`.
        folder: the current folder of the process and its commands.
        environment: of the process, if it is not that of this one.
    """

    def __init__(self, script: str, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, script],
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *request: Any) -> tuple[int, str, str]:
        """Run a command, and return its exit code, output and complaints.

        Args:
            request: the arguments of the function that the script gives to `serve`.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, "the process that runs commands has ended"
        code, output, complaints = json.loads(answer)
        return code, output, complaints

    def end(self) -> None:
        self._process.communicate()


def serve(become: Callable[..., None]) -> None:
    """Run the commands on the lines of standard input, until its end. A forked process calls *become* to be one."""
    for line in sys.stdin:
        request = json.loads(line)
        files = [os.memfd_create(name) for name in ("output", "complaints")]
        process = os.fork()
        if process == 0:
            for source, target in zip([os.open(os.devnull, os.O_RDONLY), *files], (0, 1, 2), strict=True):
                os.dup2(source, target)
            os.closerange(3, 256)
            signal.alarm(_PATIENCE_SECONDS)
            become(*request)
            return
        _, status = os.waitpid(process, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), *map(_text, files)]), flush=True)


def _text(file: int) -> str:
    with os.fdopen(file, encoding="utf-8") as opened:
        opened.seek(0)
        return opened.read()
