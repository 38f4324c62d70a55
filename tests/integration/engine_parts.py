"""An engine in a process that a test can send commands to, and atlases for the engine to render."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Collection
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from job import LAYER, PATIENCE_SECONDS, SMALL
from prefect_parts import descendants

from core.atlas.image_records import activations_path
from core.atlas.plan import Plan, make_plan
from core.atlas.plan_files import write_plan
from core.atlas.records import records_path, sheet_path
from core.models.models import pinned
from core.spec import AtlasSpec
from core.store.store import open_store


class Host:
    """An engine in a process and a flow run of its own."""

    def __init__(self, compute: dict[str, Any], environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("ab") as complaints:
            self._process = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("engine_host.py")],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
                start_new_session=True,
            )
        self._say(compute)

    def ask(self, command: str, **arguments: Any) -> Any:
        """Send a command to the engine and return the answer."""
        self.send(command, **arguments)
        return self.answer()

    def send(self, command: str, **arguments: Any) -> None:
        self._say([command, arguments])

    def answer(self) -> Any:
        """Wait for the answer to the last command."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the engine's process has ended: {self.log()[-2000:]}"
        return json.loads(line)

    def log(self) -> str:
        """Return what the engine has logged so far."""
        return self._log.read_text()

    def descendants(self) -> list[int]:
        return descendants(self._process.pid)

    def end(self) -> None:
        """End the flow run, which closes the engine."""
        try:
            self._process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _say(self, line: Any) -> None:
        assert self._process.stdin is not None
        print(json.dumps(line), file=self._process.stdin, flush=True)


class Atlas:
    """The folder of an atlas of three pairs, and a plan for it with one pair in each chunk.

    Args:
        evidence: a folder with `directions.npy`, of which the pairs are then, and with `photographs`, which the last
            chunk reads.
    """

    def __init__(self, folder: Path, channels: str = "0-2", *, evidence: Path | None = None, **render: Any) -> None:
        spec: dict[str, Any] = {
            "name": "atlas",
            "output": str(folder),
            "pairs": {"select": "all", "neurons": [f"{'turned' if evidence else LAYER}:{channels}"]},
            "render": SMALL | render,
            "compute": {"chunk_pairs": 1},
        }
        if evidence:
            derived = {"turned": {"of": LAYER, "file": str(evidence / "directions.npy")}}
            spec["model"] = {"name": "efficientnet-lite0", "derived": derived}
            spec["images"] = {"source": str(evidence / "photographs")}
        self._spec = AtlasSpec.model_validate(spec)
        self._spec = self._spec.model_copy(update={"model": pinned(self._spec.model)})  # as a build does
        self.root = folder / "atlas"
        self.plan = self.plan_again()
        self.keys = {chunk.name: chunk.pairs[0].key if chunk.pairs else chunk.name for chunk in self.plan.chunks}

    def plan_again(self) -> Plan:
        """Compare the spec with the store and write a plan of what is missing, in one stage."""
        store = open_store(self._spec.uri, self._spec.storage)
        plan = make_plan(self._spec, store, processes=1)
        plan = replace(plan, stages=(tuple(chain(*plan.stages)),))
        write_plan(store, plan)
        return plan

    def round(
        self, plan: Plan | None = None, chunk_seconds: float = 1, only: Collection[str] | None = None
    ) -> dict[str, Any]:
        """Return the arguments of a round with some chunks of a plan, or all. Chunks of a few seconds share a shard."""
        plan = plan or self.plan
        chunks = {chunk.name: chunk_seconds for chunk in plan.chunks if only is None or chunk.name in only}
        return {"uri": self._spec.uri, "plan_path": plan.path, "chunks": chunks}

    def record(self, chunk: str) -> Path:
        return self.root / records_path(chunk)

    def result(self, chunk: str) -> Path:
        """Return the file of a chunk's strip, or of its activations on photographs."""
        images = {each.name: each.images for each in self.plan.chunks}[chunk]
        return self.root / (activations_path(images.key) if images else sheet_path(self.keys[chunk]))

    def planned(self, chunk: str) -> Path:
        """Return the file of the plan that tells what a chunk has to do."""
        return self.root / self.plan.path / f"{chunk}.json"

    def records(self) -> dict[str, tuple[bytes, int]]:
        """Return key -> (record, time of its last change in nanoseconds)."""
        paths = {key: self.record(chunk) for chunk, key in self.keys.items()}
        return {key: (path.read_bytes(), path.stat().st_mtime_ns) for key, path in paths.items() if path.exists()}


def ray_processes(home: str | Path, title: str) -> list[int]:
    """Return the processes of the Ray that was started with a home of Prefect, if their names contain a title."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            mine = f"PREFECT_HOME={home}\0".encode() in (folder / "environ").read_bytes()
            if mine and title.encode() in (folder / "cmdline").read_bytes().split(b"\0")[0]:
                found.append(int(folder.name))
    return found
