"""Builds by the command line in new processes, as a user starts them."""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from loaded_isthmus import ISTHMUS, LoadedIsthmus

from core.store import s3
from flows.cli import main

SMALL: dict[str, Any] = {
    "schedule": "plain", "mix": "lucid", "alignment": {"layers": ["block0"], "scale": "lucid"},
    "steps": 12, "size_px": 64, "frames": 3, "redirected_updates": 0,
}  # fmt: skip
"""A strip that takes little time, most of it for tracing: all frames at once have one step to trace."""
PATIENCE_SECONDS = 300.0
"""Upper bound of every wait, for a machine that is busy with other work; on an idle machine most last seconds."""
_PAUSE = 15  # between two looks at a condition, in times that a look takes
LAYER = "block1_expand_pre_relu"  # a shallow layer, and no redirected gradients, so that the step is traced quickly


@dataclass
class Job:
    """An atlas spec in a separate folder, and methods that run isthmus on it."""

    folder: Path
    environment: dict[str, str]
    spec: dict[str, Any] = field(default_factory=dict)

    @property
    def spec_file(self) -> Path:
        return self.folder / "atlas.yaml"

    @property
    def atlas(self) -> Path:
        return self.folder / "out" / str(self.spec["name"])

    def write(self, **changes: Any) -> None:
        self.spec |= changes
        self.spec_file.write_text(yaml.safe_dump(self.spec))

    def run(self, *arguments: str, shell: str = ":") -> subprocess.CompletedProcess[str]:
        """Run the command line; *shell* is a command of the shell that is run in the same process before."""
        return subprocess.run(
            ["sh", "-c", f'{shell}; exec "$@"', "sh", ISTHMUS, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_SECONDS,
            check=False,
        )

    def run_loaded(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line in a process of its own that begins with the libraries loaded."""
        return _loaded_isthmus().run(arguments, self.environment)

    def run_here(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command that starts no process and no server, within this process, which has loaded the libraries."""
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self.environment, clear=True),
            mock.patch.object(sys, "argv", ["isthmus", *arguments]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            for cached in (s3._client, s3._respects_conditions):  # known by settings alone, not by the environment
                cached.cache_clear()
            try:
                main()
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())

    def build(self, *options: str) -> dict[str, Any]:
        """Build, expect success, and return the object that --json prints."""
        finished = self.run_loaded("build", str(self.spec_file), "--json", *options)
        assert finished.returncode == 0, finished.stderr
        result: dict[str, Any] = json.loads(finished.stdout)
        return result

    def start(self, *isthmus: str, command: str = "build") -> subprocess.Popen[str]:
        """Start a build as the leader of a process group, so that all its processes can be killed at once."""
        return subprocess.Popen(
            [*(isthmus or (str(ISTHMUS),)), command, str(self.spec_file), "--json"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def records(self) -> dict[str, dict[str, Any]]:
        """Return key -> record, from the record files."""
        lines = [line for path in sorted(self.atlas.glob("records/*.ndjson")) for line in path.read_text().splitlines()]
        return {record["key"]: record for record in map(json.loads, lines)}

    def sheets(self) -> dict[str, tuple[bytes, int]]:
        """Return key -> (bytes, time of the last change in nanoseconds)."""
        return {
            path.stem: (path.read_bytes(), path.stat().st_mtime_ns)
            for path in sorted(self.atlas.glob("sheets/*/*.png"))
        }

    def processes(self) -> list[int]:
        """Return the ids of all processes, in any session, that have this job's folder in their environment."""
        found = []
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):  # the process has ended, or belongs to another user
                if os.fsencode(self.folder) in environment.read_bytes():
                    found.append(int(environment.parent.name))
        return found


@lru_cache(maxsize=1)
def _loaded_isthmus() -> LoadedIsthmus:
    """Return the process that runs commands with the libraries loaded; the first command starts it."""
    made = LoadedIsthmus()
    atexit.register(made.end)
    return made


def finish(build: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for a build and return its output; kill it if it does not end in time."""
    try:
        return build.communicate(timeout=2 * PATIENCE_SECONDS)
    finally:
        if build.poll() is None:
            os.killpg(build.pid, signal.SIGKILL)


def wait_for(
    condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS, *, least_pause: float = 0.05
) -> None:
    """Poll until a condition is true.

    A condition that takes long, such as a question to a server, is looked at less often, so that the tests leave the
    processors to what they wait for.

    Args:
        least_pause: seconds between two looks; at most half a second unless this is more.

    Raises:
        TimeoutError: with *what* was waited for.
    """
    end = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if condition():
            return
        now = time.monotonic()
        if now > end:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(max(least_pause, min(0.5, _PAUSE * (now - began))))
