"""Workers that share a build, are stopped, are killed, or lose their server."""

from __future__ import annotations

import sys
from pathlib import Path

from engine_parts import Atlas, Host
from job import LAYER, wait_for

sys.path.insert(0, str(Path(__file__).parents[1]))
from deployed import SHARDS, SLOW, Deployed
from fault_proxy import FaultProxy
from graphs import inception_v1

from flows.worker_run import HANDED_ON


def test_a_worker_that_is_stopped_hands_its_run_on(deployed: Deployed) -> None:
    """After SIGTERM of the worker that renders a shard, the shard is scheduled again and another worker ends it.

    The run has never crashed.
    """
    worker, name = deployed.gpu, "render-shard handed-on 1 of 1"
    job = deployed.job(
        name="handed-on",
        pairs={"select": "all", "neurons": [f"{LAYER}:0-3"]},
        render=SLOW,
        compute=SHARDS | {"workers": 1, "shard_minutes": 10},
    )
    deployed.trigger(job)
    wait_for(job.records, "the first record")
    run = deployed.server.flow_run(name)
    assert run is not None

    worker.stop()
    stopped = deployed.server.flow_run(name)
    before = job.records()
    worker.start()

    assert stopped is not None
    assert (stopped["state"]["type"], stopped["state"]["name"]) == ("SCHEDULED", "AwaitingRetry")
    wait_for(lambda: deployed.state("build-atlas handed-on") == "COMPLETED", "the build to complete")
    assert 0 < len(before) < 6
    assert len(job.records()) == 6
    assert {key: job.records()[key] for key in before} == before
    assert job.run("verify", str(job.atlas)).returncode == 0
    found = deployed.server.flow_run(name)
    assert found is not None
    assert (found["id"], found["run_count"], found["state"]["type"]) == (run["id"], 2, "COMPLETED")
    wait_for(lambda: HANDED_ON in deployed.log(run["id"]), "the log of the first part")
    assert not any("Crash" in line or "Error" in line for line in deployed.log(run["id"]))


def test_a_build_goes_on_when_a_worker_and_its_shard_are_killed(deployed: Deployed) -> None:
    """If a GPU worker and its processes were killed, as with their machine, the automation for lost machines schedules
    the shard again, and the next worker resumes it.

    The atlas is walkable: one shard renders its canvas, another one the portraits, and a third one the strips.
    """
    pairs = {"select": "all", "neurons": [f"{LAYER}:0-3"]}
    job = deployed.job(name="shards", strip="walk", pairs=pairs, render=SLOW, compute=SHARDS | {"workers": 1})
    deployed.trigger(job)
    wait_for(job.records, "the first record of a shard")

    deployed.gpu.kill()
    before = job.records()
    [shard] = [run for run in deployed.shards("shards") if run["state"]["type"] == "RUNNING"]
    deployed.gpu.start()

    wait_for(lambda: deployed.state("build-atlas shards") == "COMPLETED", "the build to complete")
    assert 0 < len(before) < 6
    assert {key: job.records()[key] for key in before} == before
    assert len(job.records()) == len(job.sheets()) == 6
    assert job.run("verify", str(job.atlas)).returncode == 0
    runs = {run["id"]: (run["state"]["type"], run["run_count"]) for run in deployed.shards("shards")}
    assert runs.pop(shard["id"]) == ("COMPLETED", 2)
    assert set(runs.values()) == {("COMPLETED", 1)}
    build = deployed.server.flow_run("build-atlas shards")
    assert build is not None
    assert f"isthmus-parent-{build['id']}" in shard["tags"]
    artifacts = {found["key"]: found for found in deployed.server.find("artifacts", limit=50)}
    assert artifacts["shards-strips"]["data"].startswith("data:image/webp;base64,")
    assert artifacts["shards-progress"]["data"] == 100


def test_a_round_outlasts_its_server(deployed: Deployed) -> None:
    """While the server does not answer the build, shards continue; this is told once, and the end of it once.

    If everything is rendered, the round ends without the server.
    """
    atlas = Atlas(deployed.home / "outage", "0-3", steps=120)
    compute = SHARDS | {"workers": 1, "shard_minutes": 10}
    log = deployed.home / "host.log"
    with FaultProxy(deployed.server.api).running() as proxy:
        host = Host(compute, deployed.server.environment | {"PREFECT_API_URL": f"{proxy.url}/api"}, log)
        try:
            host.send("render", **atlas.round())
            wait_for(atlas.records, "the first record")
            deployed.gpu.pause()  # so that the round does not end yet
            proxy.die(10_000)
            wait_for(lambda: "the shards in flight continue" in log.read_text(), "the first message")
            tried = len(proxy.requests)
            wait_for(lambda: len(proxy.requests) > tried + 4, "more tries")
            proxy.die(0)
            wait_for(lambda: "answer again" in log.read_text(), "the second message")
            assert log.read_text().count("the shards in flight continue") == 1

            proxy.die(10_000)
            deployed.gpu.resume()
            answer = host.answer()
        finally:
            proxy.die(0)
            host.end()

    assert answer["error"] is None
    assert sorted(answer["finished"]) == sorted(atlas.keys.values())


def test_a_worker_with_another_model_is_refused_in_one_line(deployed: Deployed) -> None:
    """A shard whose weights differ from those of the plan renders nothing and says so, and the build fails."""
    file = deployed.home / "InceptionV1.pb"
    file.write_bytes(bytes(inception_v1(old_concat=True)))
    job = deployed.job(
        name="other-model",
        model={"name": "inception-v1", "file": str(file)},
        pairs={"select": "list", "list": [["mixed4a_pre_relu:476", "mixed4a_pre_relu:460"]]},
        render={"steps": 4, "size_px": 64, "frames": 3},
        compute=SHARDS,
    )
    deployed.gpu.kill()  # so that the shard waits while the file is replaced
    deployed.trigger(job)
    wait_for(lambda: deployed.shards("other-model"), "a shard to be asked for")
    file.write_bytes(bytes(inception_v1(old_concat=False)))
    deployed.gpu.start()

    wait_for(lambda: deployed.state("build-atlas other-model") == "FAILED", "the build to fail")
    said = "expected the weights that the plan was made with, found others; give every machine the same file"
    assert all(said in shard["state"]["message"] for shard in deployed.shards("other-model"))
    assert job.records() == {}
