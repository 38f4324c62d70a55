"""The contract of an engine, stated once and tested with each: real processes, a real Prefect server, a real Ray."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from job import LAYER, SMALL, Job, finish, wait_for
from PIL import Image
from prefect_parts import PrefectServer, Worker, descendants, make_home, render_processes

from core.atlas.plan import Plan, make_plan, write_plan
from core.atlas.records import records_path, sheet_path
from core.spec import AtlasSpec
from core.store.store import open_store

ROOT = Path(__file__).parents[2]
COMPUTE: dict[str, dict[str, Any]] = {
    "local": {"processes": 2},
    "ray": {"engine": "ray", "processes": 2},
    "work-pool": {"engine": "work-pool", "processes": 1, "workers": 3, "deployment": "render-shard/engines"},
}
UNFINISHED = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING")
SLOW = SMALL | {"steps": 120, "redirected_updates": 5}  # long enough to be interrupted


class Host:
    """An engine in a process and a flow run of its own."""

    def __init__(self, compute: dict[str, Any], environment: dict[str, str], log: Path) -> None:
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
        """Have the engine do something, and return the answer."""
        self.tell(command, **arguments)
        return self.answer()

    def tell(self, command: str, **arguments: Any) -> None:
        self._say([command, arguments])

    def answer(self) -> Any:
        """Wait for the answer to the last command."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def descendants(self) -> list[int]:
        return descendants(self._process.pid)

    def end(self) -> None:
        """End the flow run, which closes the engine."""
        try:
            self._process.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _say(self, line: Any) -> None:
        assert self._process.stdin is not None
        print(json.dumps(line), file=self._process.stdin, flush=True)


class Kind:
    """An engine of one kind, and a worker if it needs one.

    Attributes:
        host: has the engine, which is open as long as the tests of this module run.
    """

    def __init__(self, name: str, folder: Path, server: PrefectServer, worker: Worker | None) -> None:
        self.name, self._folder, self._server, self._worker = name, folder, server, worker
        self.host = self.new_host()

    def new_host(self) -> Host:
        environment = self._server.environment | {"PREFECT_HOME": str(self._folder)}
        return Host(COMPUTE[self.name], environment, self._folder / "host.log")

    def processes(self) -> list[int]:
        """Processes that the engine has started and that are still there."""
        if self.name == "ray":
            return ray_processes(self._folder, "ray")
        return render_processes((self._worker or self.host).descendants())

    def rendering(self) -> list[int]:
        """Those of them that render, or have rendered."""
        return ray_processes(self._folder, "ray::render") if self.name == "ray" else self.processes()

    def shards(self, *states: str) -> list[str]:
        """Names of the flow runs of shards in some states, by default in any."""
        query: dict[str, Any] = {"name": {"like_": "render-shard "}}
        if states:
            query["state"] = {"type": {"any_": states}}
        return [run["name"] for run in self._server.find("flow_runs", flow_runs=query)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A Prefect server with a work pool, and a deployment that renders shards in it."""
    made = PrefectServer(make_home(tmp_path_factory.mktemp("prefect"))).start()
    try:
        template = json.loads((ROOT / "deploy" / "pools" / "process.json").read_text())
        made.post("work_pools/", {"name": "engines", "type": "process", "base_job_template": template})
        flow = made.post("flows/", {"name": "render-shard"})
        step = {"prefect.deployments.steps.set_working_directory": {"directory": str(made.home)}}
        deployment = {
            "name": "engines",
            "flow_id": flow["id"],
            "work_pool_name": "engines",
            "entrypoint": "flows.render_shard.render_shard",
            "pull_steps": [step],
            "enforce_parameter_schema": False,
        }
        made.post("deployments/", deployment)
        yield made
    finally:
        made.kill()


@pytest.fixture(scope="module")
def prefect_server(server: PrefectServer) -> str:
    """The server of this module, for builds by the command line too."""
    return server.api


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory, server: PrefectServer) -> Iterator[Callable[[str], Kind]]:
    """A function that returns the engine of a name, which is made when it is first asked for."""
    made: dict[str, Kind] = {}
    with contextlib.ExitStack() as stack:

        def kind(name: str) -> Kind:
            if name not in made:
                worker = None
                if name == "work-pool":
                    worker = Worker(server, "engines").start()
                    stack.callback(worker.kill)
                made[name] = Kind(name, tmp_path_factory.mktemp(name), server, worker)
                stack.callback(made[name].host.end)
            return made[name]

        yield kind


@pytest.fixture(params=COMPUTE)
def kind(request: pytest.FixtureRequest, kinds: Callable[[str], Kind]) -> Kind:
    return kinds(request.param)


class Atlas:
    """The folder of an atlas of three pairs, and a plan for it with one pair in each chunk."""

    def __init__(self, folder: Path, channels: str = "0-2", **render: Any) -> None:
        spec = {
            "name": "atlas",
            "output": str(folder),
            "pairs": {"select": "all", "neurons": [f"{LAYER}:{channels}"]},
            "render": SMALL | render,
            "compute": {"chunk_pairs": 1},
        }
        self._spec = AtlasSpec.model_validate(spec)
        self.root = folder / "atlas"
        self.plan = self.plan_again()
        self.keys = {chunk.name: chunk.pairs[0].key for chunk in self.plan.chunks}

    def plan_again(self) -> Plan:
        """Compare the spec with the store and write a plan of what is missing."""
        store = open_store(self._spec.uri, self._spec.storage)
        plan = make_plan(self._spec, store, processes=1)
        write_plan(store, plan)
        return plan

    def round(self, plan: Plan | None = None, chunk_seconds: float = 1) -> dict[str, Any]:
        """The arguments of a round with all chunks of a plan. Many short chunks share a shard."""
        plan = plan or self.plan
        chunks = [chunk.name for chunk in plan.chunks]
        return {"uri": self._spec.uri, "plan_path": plan.path, "chunks": chunks, "chunk_seconds": chunk_seconds}

    def record(self, chunk: str) -> Path:
        return self.root / records_path(chunk)

    def sheet(self, chunk: str) -> Path:
        return self.root / sheet_path(self.keys[chunk])

    def records(self) -> dict[str, tuple[bytes, int]]:
        """Key -> its record, and when it was written in nanoseconds."""
        paths = {key: self.record(chunk) for chunk, key in self.keys.items()}
        return {key: (path.read_bytes(), path.stat().st_mtime_ns) for key, path in paths.items() if path.exists()}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory, kinds: Callable[[str], Kind]) -> Atlas:
    """An atlas of three pairs that was rendered by local processes."""
    atlas = Atlas(tmp_path_factory.mktemp("rendered"))
    assert kinds("local").host.ask("render", **atlas.round())["error"] is None
    return atlas


def test_an_engine_says_how_many_chunks_it_renders_at_once(kind: Kind) -> None:
    """The number is that of the processes of the spec, on all workers together."""
    assert kind.host.ask("chunks_at_once") == {"local": 2, "ray": 2, "work-pool": 3}[kind.name]


def test_every_chunk_of_a_round_is_recorded_and_told_once(kind: Kind, rendered: Atlas, tmp_path: Path) -> None:
    """A chunk that another build has recorded is told too, but not rendered; all others have the same pixels whatever
    engine renders them."""
    atlas = Atlas(tmp_path)
    elsewhere, *others = atlas.keys
    atlas.record(elsewhere).parent.mkdir()
    shutil.copy(rendered.record(elsewhere), atlas.record(elsewhere))
    before = atlas.records()

    answer = kind.host.ask("render", **atlas.round())

    assert answer["error"] is None
    assert sorted(answer["told"]) == sorted(atlas.keys.values())
    assert atlas.records().keys() == set(atlas.keys.values())
    assert atlas.records().items() >= before.items()
    assert not atlas.sheet(elsewhere).exists()
    for chunk in others:
        assert atlas.sheet(chunk).read_bytes() == rendered.sheet(chunk).read_bytes()


def test_a_killed_render_process_costs_its_chunk_and_the_next_round_completes(kind: Kind, tmp_path: Path) -> None:
    """SIGKILL of a process loses no finished chunk and raises no error, and no chunk is told twice."""
    atlas = Atlas(tmp_path, "3-6", steps=100)
    kind.host.tell("render", **atlas.round())
    try:
        wait_for(atlas.records, "the first record")
        os.kill(kind.rendering()[0], signal.SIGKILL)
        before = atlas.records()
    finally:
        answer = kind.host.answer()

    assert 0 < len(before) < len(atlas.keys)
    assert answer["error"] is None
    assert len(set(answer["told"])) == len(answer["told"])
    assert set(answer["told"]) <= atlas.records().keys()

    rest = atlas.plan_again()
    if rest.chunks:  # otherwise the engine itself has given the lost chunk to another process
        assert len(kind.host.ask("render", **atlas.round(rest))["told"]) == rest.missing
    assert atlas.records().keys() == set(atlas.keys.values())
    assert atlas.records().items() >= before.items()


def test_bad_input_of_a_chunk_is_raised_as_the_error_that_says_so(kind: Kind, tmp_path: Path) -> None:
    """What a person has to fix comes out of the engine with its cause, and nothing is recorded or left in flight."""
    atlas = Atlas(tmp_path)
    for chunk in atlas.plan.chunks:
        (atlas.root / atlas.plan.path / f"{chunk.name}.json").write_text("{}")

    answer = kind.host.ask("render", **atlas.round(chunk_seconds=600))

    error, message = answer["error"]
    assert error == ("UnfinishedError" if kind.name == "work-pool" else "RecordError")
    assert f"/{atlas.plan.path}/" in message
    assert "expected a chunk of a plan" in message
    assert answer["told"] == []
    assert atlas.records() == {}
    assert kind.shards(*UNFINISHED) == []


def test_a_closed_engine_has_no_process_and_may_be_closed_again(kind: Kind, rendered: Atlas) -> None:
    """Nothing that an engine has started is left after it is closed, and closing it once more does nothing."""
    if kind.name != "work-pool":  # its shards end with each round
        kind.host.ask("render", **rendered.round())
        assert kind.processes()

    kind.host.ask("close", kill=False)

    wait_for(lambda: not kind.processes(), "all processes of the engine to end", seconds=20)
    assert kind.shards(*UNFINISHED) == []
    kind.host.ask("close", kill=True)


def test_nothing_is_started_where_nothing_is_to_be_rendered(kind: Kind, rendered: Atlas) -> None:
    """An engine without chunks starts no process and no shard."""
    host = kind.new_host()
    try:
        host.ask("close", kill=False)
        before = len(host.descendants()), kind.shards()

        host.ask("begin", chunks=0)
        answer = host.ask("render", **rendered.round() | {"chunks": []})

        assert answer == {"told": [], "error": None}
        assert (len(host.descendants()), kind.shards()) == before
    finally:
        host.end()


def ray_processes(home: str | Path, title: str) -> list[int]:
    """Processes of a Ray, found by the home of Prefect in their environment and by what they call themselves."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            mine = f"PREFECT_HOME={home}\0".encode() in (folder / "environ").read_bytes()
            if mine and title.encode() in (folder / "cmdline").read_bytes().split(b"\0")[0]:
                found.append(int(folder.name))
    return found


@pytest.fixture(scope="module")
def pixels_of_builds() -> dict[str, dict[str, bytes]]:
    """The pixels of every strip of the walkable atlas, by the engine that rendered them."""
    return {}


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_killed_process_is_replaced_and_the_atlas_completes_with_the_same_pixels(
    job: Job, engine: str, pixels_of_builds: dict[str, dict[str, bytes]]
) -> None:
    """SIGKILL of processes of a walkable atlas, on this machine or on a Ray of its own: the same build completes, and
    no process is left."""
    job.write(strip="walk", render=SLOW, compute={"engine": engine, "processes": 2, "chunk_pairs": 1})

    def busy(build: subprocess.Popen[str]) -> list[int]:
        if engine == "ray":
            return ray_processes(job.environment["PREFECT_HOME"], "ray::")
        return render_processes(descendants(build.pid))

    build = job.start()
    try:
        if engine == "local":
            wait_for(lambda: busy(build), "a render process")
            os.kill(busy(build)[0], signal.SIGKILL)  # before anything is finished
        wait_for(job.records, "the first record", seconds=400)
        os.kill(busy(build)[0], signal.SIGKILL)
        killed_at = len(job.records())
    finally:
        output, complaints = finish(build)

    assert build.returncode == 0, complaints
    assert killed_at < 6
    assert json.loads(output)["done"] == 6
    assert job.run("verify", str(job.atlas)).returncode == 0
    wait_for(lambda: not job.processes(), "all processes of the build to end", seconds=30)
    paths = job.atlas.glob("sheets/*/*.png")
    pixels = {path.stem: Image.open(path).convert("RGB").tobytes() for path in paths if path.stem in job.records()}
    assert len(pixels) == 6
    assert all(other == pixels for other in pixels_of_builds.values())
    pixels_of_builds[engine] = pixels
