"""Plans for engines that render elsewhere: the cores and GPUs of this machine do not count."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Isthmus

from core.errors import SpecError
from core.machine import device, parallel
from core.spec import Compute

CLUSTER: dict[str, Any] = {"engine": "ray", "ray_address": "ray://cluster:10001"}
SPEC: dict[str, Any] = {
    "name": "small",
    "pairs": {"select": "all", "neurons": ["stem:0-4"]},
    "render": {"steps": 100_000, "redirected_updates": 0, "alignment": {"weight": 0}},
}


@pytest.fixture(autouse=True)
def three_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this machine three GPUs."""
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidia1", "nvidia2"):
        (tmp_path / "dev" / name).touch()
    monkeypatch.setattr(device, "_DEVICE_FILES", tmp_path / "dev")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("compute", "at_once"),
    [
        ({}, 3),
        ({"processes": 2}, 2),
        ({"engine": "ray"}, 3),
        ({"engine": "ray", "processes": 5}, 5),
        (CLUSTER, None),
        (CLUSTER | {"processes": 5}, 5),
        ({"engine": "work-pool", "workers": 4}, 4),
        ({"engine": "work-pool", "workers": 4, "processes": 2}, 8),
    ],
)
def test_only_engines_of_this_machine_count_its_gpus(compute: dict[str, Any], at_once: int | None) -> None:
    """Workers and processes of remote engines come from the spec alone; a cluster's size may be unknown."""
    assert parallel.chunks_at_once(Compute.model_validate(compute)) == at_once


def plan(isthmus: Isthmus, folder: Path, compute: dict[str, Any], *options: str) -> str:
    (folder / "atlas.yaml").write_text(yaml.safe_dump(SPEC | {"compute": compute}))
    said = isthmus("plan", "atlas.yaml", *options)
    assert (said.code, said.err) == (0, "")
    return said.out


@pytest.mark.parametrize("compute", [CLUSTER, CLUSTER | {"processes": 2}, {"engine": "work-pool", "workers": 2}])
def test_a_plan_for_other_machines_has_no_gpu_hours(isthmus: Isthmus, tmp_path: Path, compute: dict[str, Any]) -> None:
    """GPU hours are those of this machine's GPUs, so a plan for another machine has none."""
    facts = json.loads(plan(isthmus, tmp_path, compute, "--json"))

    assert facts["gpu_hours"] is None
    assert facts["processes"] == (None if compute == CLUSTER else 2)


def test_a_plan_for_a_cluster_of_unknown_size_says_so(isthmus: Isthmus, tmp_path: Path) -> None:
    """The plan is for one process, and its line names the key that sets the number of processes."""
    unknown = plan(isthmus, tmp_path, CLUSTER)
    known = plan(isthmus, tmp_path, CLUSTER | {"processes": 2})

    assert "with 1 process (" in unknown
    assert "; the size of the Ray cluster is not known here, set compute.processes), " in unknown
    assert unknown.count("\n") == 1
    assert "cluster" not in known.partition(" pairs, ")[2]


def test_a_build_asks_the_cluster_for_its_size_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine connects when its number of chunks is asked for, unless the spec has it, and closing disconnects."""
    from flows.engines import ray_cluster  # imported here, because Prefect takes seconds to load

    connected, left = [], []

    class Runner:
        def __exit__(self, *_: object) -> None:
            left.append(self)

    def connect(compute: Compute) -> Any:
        connected.append(compute.ray_address)
        return ray_cluster._Connection(Runner(), gpus=0, chunks_at_once=48)

    monkeypatch.setattr(ray_cluster, "_connect", connect)
    known = ray_cluster.RayEngine(Compute.model_validate(CLUSTER | {"processes": 5}))
    assert (known.chunks_at_once, connected) == (5, [])

    engine = ray_cluster.RayEngine(Compute.model_validate(CLUSTER))
    assert connected == []
    assert [engine.chunks_at_once for _ in range(2)] == [48, 48]
    assert connected == [CLUSTER["ray_address"]]
    for _ in range(2):
        engine.close()
    assert len(left) == 1


@pytest.mark.parametrize(
    ("chunks", "compute", "chunk_seconds", "sizes"),
    [
        (12, {"workers": 3}, 10, [4, 4, 4]),  # two minutes of work, which one shard could do
        (14, {"workers": 3}, 10, [5, 5, 4]),
        (2, {"workers": 3}, 10, [1, 1]),
        (1, {}, 60, [1]),
        (40, {"workers": 3, "shard_minutes": 10}, 60, [7, 7, 7, 7, 6, 6]),  # 13 a worker, at most 10 a shard
        (41, {"workers": 2, "shard_minutes": 10}, 60, [7, 7, 7, 7, 7, 6]),
        (40, {"workers": 2, "shard_minutes": 10, "processes": 2}, 60, [20, 20]),
        (5, {"workers": 2, "shard_minutes": 1}, 1000, [1, 1, 1, 1, 1]),
        (2000, {"workers": 200, "shard_minutes": 600}, 60, [10] * 200),
    ],
)
def test_shards_keep_all_workers_busy(
    chunks: int, compute: dict[str, Any], chunk_seconds: float, sizes: list[int]
) -> None:
    """Shards are a multiple of the workers, of equal sizes, and none takes longer than it should."""
    from flows.engines.work_pool import cut_into_shards  # imported here, because Prefect takes seconds to load

    names = [f"{number}" for number in range(chunks)]

    shards = cut_into_shards(names, Compute.model_validate({"engine": "work-pool"} | compute), chunk_seconds)

    assert [len(shard) for shard in shards] == sizes
    assert sorted(name for shard in shards for name in shard) == sorted(names)


def test_every_shard_has_long_and_short_chunks() -> None:
    """The last chunks of a plan are shorter, so each shard gets some of the first and some of the last ones."""
    from flows.engines.work_pool import cut_into_shards  # imported here, because Prefect takes seconds to load

    shards = cut_into_shards("abcdef", Compute(engine="work-pool", workers=2), 60)

    assert shards == [("a", "c", "e"), ("b", "d", "f")]


TIMED_OUT = "The current node timed out during startup. This could happen because some of the raylet failed to startup"


@pytest.mark.parametrize(("failures", "error"), [(3, TIMED_OUT), (4, TIMED_OUT), (1, "no such folder")])
def test_a_ray_that_does_not_start_in_time_is_started_again(
    monkeypatch: pytest.MonkeyPatch, failures: int, error: str
) -> None:
    """Up to three starts may time out; another error is reported at once. What a failed start has left is killed."""
    ray, prefect_ray = pytest.importorskip("ray"), pytest.importorskip("prefect_ray")
    from flows.engines import ray_cluster  # imported here, because Prefect takes seconds to load

    def run(*arguments: str) -> subprocess.Popen[bytes]:
        """Start a process with these arguments, which waits; return when it has begun."""
        command = [sys.executable, "-c", "print(flush=True); input()", *arguments]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    left: list[subprocess.Popen[bytes]] = []
    other = run("/ray/")

    class Runner:
        def __init__(self, *_: Any) -> None:
            pass

        def __enter__(self) -> Any:
            if len(left) < failures:
                left.append(run("/ray/gcs_server", "--session-name=session_1"))
                raise Exception(error)  # Ray raises this class
            return self

    monkeypatch.setattr(prefect_ray, "RayTaskRunner", Runner)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 3.0})
    monkeypatch.setattr(ray_cluster, "get_run_logger", lambda: logging.getLogger("test"))
    try:
        if failures == 3:
            assert ray_cluster._connect(Compute(engine="ray")).chunks_at_once == 3
        else:
            with pytest.raises(SpecError, match=f"compute.engine: Ray cannot start on this machine, {error}"):
                ray_cluster._connect(Compute(engine="ray"))
        assert [process.wait(300) for process in left] == [-signal.SIGKILL] * failures
        assert other.poll() is None
    finally:
        for process in (other, *left):
            process.kill()
            process.communicate()
