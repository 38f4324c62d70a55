"""The contract of an engine, stated once and tested with each: real processes, a real Prefect server, a real Ray."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_parts import Atlas, Host, ray_processes
from job import wait_for
from prefect_parts import PrefectServer, Worker, kill_one, make_home, render_processes

sys.path.insert(0, str(Path(__file__).parents[1]))

from fault_proxy import FaultProxy
from hostile_images import encoded, picture

ROOT = Path(__file__).parents[2]
COMPUTE: dict[str, dict[str, Any]] = {
    "local": {"processes": 2},
    "ray": {"engine": "ray", "processes": 2},
    "work-pool": {"engine": "work-pool", "processes": 1, "workers": 1, "deployment": "render-shard/engines"},
}
UNFINISHED = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING")


class Kind:
    """An engine of one kind, and a worker if it needs one.

    Attributes:
        host: has the engine, which is open as long as the tests of this module run.
        worker: renders its shards, if it has shards.
    """

    def __init__(self, name: str, folder: Path, server: PrefectServer, api: str, worker: Worker | None) -> None:
        self.name, self._folder, self._server, self.worker = name, folder, server, worker
        environment = server.environment | {"PREFECT_HOME": str(folder), "PREFECT_API_URL": api}
        self.host = Host(COMPUTE[name], environment, folder / "host.log")

    def processes(self) -> list[int]:
        """Return the processes of the engine that exist now."""
        if self.name == "ray":
            return ray_processes(self._folder, "ray")
        return render_processes((self.worker or self.host).descendants())

    def rendering(self) -> list[int]:
        """Return the processes that render a chunk or have rendered one."""
        return ray_processes(self._folder, "ray::render") if self.name == "ray" else self.processes()

    def shards(self, *states: str) -> list[str]:
        """Return the names of the flow runs of shards in some states; without states, of all shards."""
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
def proxy(server: PrefectServer) -> Iterator[FaultProxy]:
    """A proxy between the engine with workers and its server."""
    with FaultProxy(server.api).running() as made:
        yield made


@pytest.fixture(scope="module")
def kinds(
    tmp_path_factory: pytest.TempPathFactory, server: PrefectServer, proxy: FaultProxy
) -> Iterator[Callable[[str], Kind]]:
    """A function that returns the engine of a name, and makes it when it is first asked for."""
    made: dict[str, Kind] = {}
    with contextlib.ExitStack() as stack:

        def kind(name: str) -> Kind:
            if name not in made:
                api, worker = server.api, None
                if name == "work-pool":
                    api = f"{proxy.url}/api"
                    worker = Worker(server, "engines").start()
                    stack.callback(worker.kill)
                made[name] = Kind(name, tmp_path_factory.mktemp(name), server, api, worker)
                stack.callback(made[name].host.end)
            return made[name]

        yield kind


@pytest.fixture(params=COMPUTE)
def kind(request: pytest.FixtureRequest, kinds: Callable[[str], Kind]) -> Kind:
    return kinds(request.param)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directions, and photographs of which one is damaged."""
    folder = tmp_path_factory.mktemp("evidence")
    np.save(folder / "directions.npy", np.random.default_rng(0).normal(size=(4, 96)))
    (folder / "photographs").mkdir()
    for number in range(18):
        (folder / "photographs" / f"{number:02}.jpg").write_bytes(encoded(picture(number), "JPEG"))
    (folder / "photographs" / "03.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory, kinds: Callable[[str], Kind], evidence: Path) -> Atlas:
    """An atlas of six pairs of directions, compared with photographs, that was rendered by local processes."""
    atlas = Atlas(tmp_path_factory.mktemp("rendered"), "0-3", evidence=evidence)
    assert kinds("local").host.ask("render", **atlas.round())["error"] is None
    return atlas


def test_an_engine_says_how_many_chunks_it_renders_at_once(kind: Kind) -> None:
    """The number is the spec's number of processes, summed over all workers."""
    assert kind.host.ask("chunks_at_once") == {"local": 2, "ray": 2, "work-pool": 1}[kind.name]


def test_every_chunk_of_a_round_is_reported_once_as_recorded_or_as_failed(
    kind: Kind, rendered: Atlas, evidence: Path, tmp_path: Path
) -> None:
    """A chunk that another build has recorded is reported too, but not rendered. One that an unexpected exception ends
    is reported with the cause, and nothing is raised. The other chunks have the same pixels on every engine, and
    photographs the same activations to the last bit."""
    atlas = Atlas(tmp_path, "0-3", evidence=evidence)
    elsewhere, faulty, *others = atlas.keys
    atlas.record(elsewhere).parent.mkdir()
    shutil.copy(rendered.record(elsewhere), atlas.record(elsewhere))
    before = atlas.records()
    plan = atlas.planned(faulty)
    plan.write_text(plan.read_text().replace('["turned",', '["nowhere",'))

    answer = kind.host.ask("render", **atlas.round())

    assert answer["failed"].keys() == {faulty}
    assert "ValueError: 'nowhere' is not in list" in answer["failed"][faulty]
    assert answer["error"] is None
    recorded = [atlas.keys[chunk] for chunk in (elsewhere, *others)]
    assert sorted(answer["finished"]) == sorted(recorded)
    assert atlas.records().keys() == set(recorded)
    assert atlas.records().items() >= before.items()
    assert not atlas.result(elsewhere).exists()
    assert len(others) == 5
    for chunk in others:
        assert atlas.result(chunk).read_bytes() == rendered.result(chunk).read_bytes()
    assert kind.shards(*UNFINISHED) == []


@pytest.mark.parametrize("name", ["local", "ray"])  # with workers: see the test below
def test_a_killed_render_process_costs_its_chunk_and_the_next_round_completes(
    name: str, kinds: Callable[[str], Kind], tmp_path: Path
) -> None:
    """SIGKILL of a process loses no finished chunk and raises no error, and no chunk is reported twice."""
    kind = kinds(name)
    atlas = Atlas(tmp_path, "3-6", steps=120)
    kind.host.send("render", **atlas.round())
    try:
        before = kill_one_that_renders(atlas, kind.rendering)
    finally:
        answer = kind.host.answer()

    assert answer["error"] is None
    assert len(set(answer["finished"])) == len(answer["finished"])
    assert set(answer["finished"]) <= atlas.records().keys()

    rest = atlas.plan_again()
    if rest.chunks:  # otherwise the engine itself has given the lost chunk to another process
        assert len(kind.host.ask("render", **atlas.round(rest))["finished"]) == rest.missing
    assert atlas.records().keys() == set(atlas.keys.values())
    assert atlas.records().items() >= before.items()


def kill_one_that_renders(atlas: Atlas, rendering: Callable[[], list[int]]) -> dict[str, tuple[bytes, int]]:
    """Kill a process that renders an atlas after the first record, and return the records that there are then."""
    wait_for(atlas.records, "the first record")
    wait_for(lambda: kill_one(rendering()), "a process that renders")
    before = atlas.records()
    assert 0 < len(before) < len(atlas.keys)
    return before


def test_a_round_on_workers_outlasts_its_server_and_a_killed_render_process(
    kinds: Callable[[str], Kind], proxy: FaultProxy, tmp_path: Path
) -> None:
    """SIGKILL of a process loses no finished chunk, and the shard renders the others; each is reported once.

    While the server does not answer the build, shards continue; this is told once, and the end of it once. If
    everything is rendered, the round ends without the server.
    """
    kind = kinds("work-pool")
    assert kind.worker is not None
    atlas = Atlas(tmp_path, "3-6", steps=120)
    try:
        kind.host.send("render", **atlas.round())
        before = kill_one_that_renders(atlas, kind.rendering)
        wait_for(kind.worker.pause, "a new process")  # paused, so that the round does not end yet
        proxy.die(10_000)
        wait_for(lambda: "the shards in flight continue" in kind.host.log(), "the first message")
        tried = len(proxy.requests)
        wait_for(lambda: len(proxy.requests) > tried + 4, "more tries")
        proxy.die(0)
        wait_for(lambda: "answer again" in kind.host.log(), "the second message")
        assert kind.host.log().count("the shards in flight continue") == 1

        proxy.die(10_000)
        kind.worker.resume()
        answer = kind.host.answer()
    finally:
        kind.worker.resume()
        proxy.die(0)

    assert answer["error"] is None
    assert sorted(answer["finished"]) == sorted(atlas.keys.values())
    assert atlas.records().items() >= before.items()


@pytest.mark.parametrize("name", ["local", "ray"])  # with workers: see test_deployments.py
def test_bad_input_of_a_chunk_is_raised_as_the_error_that_says_so(
    name: str, kinds: Callable[[str], Kind], evidence: Path, tmp_path: Path
) -> None:
    """The engine raises an error that a person has to fix, with its cause; no record is left.

    Here these are a machine without the file of directions, one with another file, and a damaged plan.
    """
    atlas = Atlas(tmp_path, evidence=evidence)
    without, other, damaged, _ = map(atlas.planned, atlas.keys)
    without.write_text(without.read_text().replace(f"{evidence}/directions", f"{tmp_path}/nowhere"))
    np.save(tmp_path / "other.npy", np.ones((3, 96)))
    other.write_text(other.read_text().replace(f"{evidence}/directions", f"{tmp_path}/other"))
    damaged.write_text("{}")

    rounds = [atlas.round(only=[path.stem], chunk_seconds=600) for path in (without, other, damaged)]
    answers = [kinds(name).host.ask("render", **round_) for round_ in rounds]

    errors, messages = zip(*(answer["error"] for answer in answers), strict=True)
    assert errors == ("ModelError", "ModelError", "RecordError")
    expected = f"model.derived.turned.file: expected a matrix of directions, there is no file {tmp_path}/nowhere"
    assert expected in messages[0]
    assert f"{tmp_path}/other.npy: expected a file with sha256 " in messages[1]
    assert f"/{atlas.plan.path}/{damaged.name}: expected a chunk of a plan" in messages[2]
    assert [answer["finished"] for answer in answers] == [[]] * 3
    assert atlas.records() == {}


def test_a_closed_engine_has_no_process_and_may_be_closed_again(kind: Kind, rendered: Atlas) -> None:
    """Nothing that an engine has started is left after it is closed, and closing it once more does nothing."""
    if kind.name != "work-pool":  # its shards end with each round
        kind.host.ask("render", **rendered.round())
        assert kind.processes()

    kind.host.ask("close", kill=False)

    wait_for(lambda: not kind.processes(), "all processes of the engine to end")
    assert kind.shards(*UNFINISHED) == []
    kind.host.ask("close", kill=True)


def test_an_engine_without_chunks_starts_nothing(kind: Kind, rendered: Atlas) -> None:
    """If there is nothing to render, no process and no shard is started."""
    host = kind.host
    host.ask("close", kill=False)
    wait_for(lambda: not kind.processes(), "all processes of the engine to end")
    before = len(host.descendants()), kind.shards()

    host.ask("begin", chunks=0)
    answer = host.ask("render", **rendered.round() | {"chunks": {}})

    assert answer == {"finished": [], "failed": {}, "error": None}
    assert (len(host.descendants()), kind.shards()) == before
