"""The deployments of prefect.yaml on a real server with real workers: registered, run, watched, cancelled.

Workers share a build, are stopped, are killed, or lose their server.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from engine_parts import Atlas, Host
from job import LAYER, SMALL, wait_for
from prefect_parts import kill, render_processes

sys.path.insert(0, str(Path(__file__).parents[1]))

from deployed import ROOT, SHARDS, SLOW, Deployed
from fault_proxy import FaultProxy
from graphs import inception_v1

from flows.worker_run import HANDED_ON


def test_all_deployments_are_registered_as_they_are_written(deployed: Deployed) -> None:
    """The nightly deployment has its schedule and runs one at a time; its spec is the one in deploy/atlases."""
    found = {deployment["name"]: deployment for deployment in deployed.server.find("deployments")}
    assert set(found) == {"nightly", "on-demand", "gpu"}
    nightly = found["nightly"]
    [schedule] = nightly["schedules"]

    assert schedule["active"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("0 3 * * *", "UTC")
    assert nightly["global_concurrency_limit"]["limit"] == 1
    assert nightly["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    assert nightly["parameters"]["spec"] == yaml.safe_load((ROOT / "deploy" / "atlases" / "nightly.yaml").read_text())
    assert {name: deployment["work_pool_name"] for name, deployment in found.items()} == {
        "nightly": "cpu",
        "on-demand": "cpu",
        "gpu": "gpu",
    }


def test_the_form_has_a_description_and_limits_for_every_field(deployed: Deployed) -> None:
    """Every field of the form on Prefect's page is described, and numbers have limits."""
    [on_demand] = [found for found in deployed.server.find("deployments") if found["name"] == "on-demand"]
    schema = on_demand["parameter_openapi_schema"]
    sections = {name: part for name, part in schema["definitions"].items() if "properties" in part}

    assert {"AtlasSpec", "ModelSpec", "RenderSettings", "Alignment", "Compute", "Storage"} <= set(sections)
    bare = [
        f"{section}.{name}"
        for section, part in sections.items()
        for name, field in part["properties"].items()
        # a section's own description serves for the field that holds it
        if "description" not in field and "$ref" not in str(field) and "const" not in field
    ]
    assert bare == []
    steps = sections["RenderSettings"]["properties"]["steps"]
    assert (steps["minimum"], steps["maximum"]) == (1, 100_000)


def test_a_spec_that_is_wrong_is_refused_before_anything_runs(deployed: Deployed) -> None:
    """The command that triggers a run names the mistake, and no flow run is created."""
    wrong = {"spec": {"name": "wrong", "pairs": {"select": "all", "neurons": [f"{LAYER}:0-3"]}, "render": {"steps": 0}}}

    finished = deployed.server.run("deployment", "run", "build-atlas/on-demand", "--params", json.dumps(wrong))

    assert finished.returncode == 1
    assert "0 is less than the minimum of 1" in " ".join((finished.stdout + finished.stderr).split())
    assert deployed.state("build-atlas wrong") == "NONE"


def test_a_mistake_is_a_failed_state_of_one_line(deployed: Deployed) -> None:
    """Whatever is wrong with a run's parameters, its state and its log say it in one line, without a traceback."""
    pairs = {"select": "all", "neurons": [f"{LAYER}:0-1"]}
    spec = {"name": "mistakes", "output": str(deployed.home / "out"), "pairs": pairs}
    shard = {"uri": str(deployed.home / "nowhere"), "plan_path": "plan/x", "chunks": ["x"]}
    s3 = {"output": "s3://bucket", "storage": {"endpoint_url": "http://127.0.0.1:9"}}
    expected = {
        ("on-demand", "other: unknown parameter of build-atlas; remove it (known: spec, retry_failed, only_images)"): {
            "spec": spec,
            "other": 1,
        },
        ("on-demand", "s3://bucket/mistakes/records/: could not list, "): {"spec": spec | s3},
        ("gpu", f"{deployed.home}/nowhere/plan/x/x.json: could not read, No such file or directory"): shard,
    }
    runs = {case: deployed.start(case[0], parameters) for case, parameters in expected.items()}

    def ended(run: str) -> dict[str, Any]:
        [found] = deployed.server.find("flow_runs", flow_runs={"id": {"any_": [run]}})
        state: dict[str, Any] = found["state"]
        return state if state["type"] in ("FAILED", "CRASHED", "COMPLETED") else {}

    for (_, message), run in runs.items():
        wait_for(lambda run=run: ended(run), message)
        state = ended(run)
        assert (state["type"], state["name"]) == ("FAILED", "Failed")
        assert state["message"].startswith(message)
        wait_for(lambda run=run, message=message: any(line.startswith(message) for line in deployed.log(run)), message)
        said = [state["message"], *deployed.log(run)]
        assert [line for line in said if "Traceback" in line or "\n" in line.strip()] == []


def test_a_webhook_learns_of_a_failed_run_and_of_a_skipped_night(deployed: Deployed) -> None:
    """Each automation exists once, however often they are made, and calls the address that was given.

    A run that no worker takes is shown as Late.
    """
    told: list[str] = []

    def run_of(id_: str) -> dict[str, Any]:
        [found] = deployed.server.find("flow_runs", flow_runs={"id": {"any_": [id_]}})
        return found

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Webhook) as webhook:
        threading.Thread(target=webhook.serve_forever, daemon=True).start()
        deployed.automate(f"http://127.0.0.1:{webhook.server_port}/")
        names = ["isthmus-failures", "isthmus-heartbeat", "isthmus-skipped-night"]
        assert sorted(found["name"] for found in deployed.server.find("automations")) == names

        run = deployed.start("on-demand", {})
        wait_for(lambda: [line for line in told if line.endswith("ended as Failed: spec: missing; build-atlas "
                          "requires this parameter")], "the message about the failed run")  # fmt: skip
        deployed.cpu.stop()
        try:
            nights = [deployed.start("nightly", {}) for _ in range(2)]
            for night in nights:  # as workers do
                pending = {"state": {"type": "PENDING"}}
                deployed.server.post(f"flow_runs/{night}/set_state", pending)
            wait_for(lambda: [line for line in told if line.startswith("The nightly run ")], "the skipped night")
            waits = deployed.start("on-demand", {})
            wait_for(lambda: run_of(waits)["state"]["name"] == "Late", "the run that no worker takes")
            cancelled = {"state": {"type": "CANCELLED"}, "force": True}
            deployed.server.post(f"flow_runs/{waits}/set_state", cancelled)
        finally:
            deployed.cpu.start()
        webhook.shutdown()
    assert any(line.endswith("is Cancelled: Deployment concurrency limit reached.") for line in told)
    assert run


def test_a_run_on_demand_is_watched_to_its_end_and_shows_its_results(deployed: Deployed) -> None:
    """The run has a progress bar and a summary; failed pairs are shown in its state and in the summary."""
    job = deployed.job(
        name="On.Demand-1",
        pairs={"select": "all", "neurons": [f"{LAYER}:0-2"]},
        render=SMALL | {"frames": 8, "alignment": {"scale": "lucid", "weight": 1e6, "decay": 1e-9}},
        compute={"processes": 1, "chunk_pairs": 2},
    )

    # the alignment is so strong that every pair overflows
    said = deployed.say(
        "deployment", "run", "build-atlas/on-demand", "--watch", "--params", json.dumps({"spec": job.spec})
    )

    assert "finished successfully" in said
    run = deployed.server.flow_run("build-atlas On.Demand-1")
    assert run is not None
    assert (run["state"]["name"], run["state"]["message"]) == (
        "SomePairsFailed",
        "0 of 3 pairs done, 3 failed, 3 rendered in this run",
    )
    artifacts = {found["key"]: found for found in deployed.server.find("artifacts", limit=50)}
    assert artifacts["on-demand-1-progress"]["data"] == 100
    rows = [(row["what"], row["value"]) for row in json.loads(artifacts["on-demand-1-summary"]["data"])]
    assert {("done", "0"), ("failed", "3"), ("missing", "0")} <= set(rows)
    assert ("gallery", str(job.atlas / "index.html")) in rows
    failures = [value for what, value in rows if what == "failed pair"]
    assert (
        artifacts["on-demand-1-gallery"]["data"] == f"[Gallery of On.Demand-1]({(job.atlas / 'index.html').as_uri()})"
    )
    tags = {"isthmus", "atlas:On.Demand-1", "model:efficientnet-lite0", f"store:{job.folder / 'out'}"}
    assert set(run["tags"]) == tags
    assert len(failures) == 3
    assert all("objective not finite at update" in failure for failure in failures)


@pytest.mark.parametrize("how", ["cancelled", "killed"])
def test_a_build_that_ends_takes_its_shards_with_it(deployed: Deployed, how: str) -> None:
    """After a cancellation, or SIGKILL of the flow's process, its shards are cancelled, and no process and no partial
    file is left. What was finished is not rendered again."""
    job = deployed.job(name=how, pairs={"select": "all", "neurons": [f"{LAYER}:4-7"]}, render=SLOW, compute=SHARDS)
    deployed.trigger(job)
    wait_for(job.records, "the first record of a shard")
    for process in render_processes(deployed.gpu.descendants()):
        os.kill(process, signal.SIGSTOP)  # so that no shard can finish before it is cancelled
    run = deployed.server.flow_run(f"build-atlas {how}")
    assert run is not None

    if how == "cancelled":
        deployed.say("flow-run", "cancel", run["id"])
    else:
        kill(deployed.cpu.processes_of(run["id"])[-1])  # the last: the process of the flow itself

    ended = {"cancelled": "CANCELLED", "killed": "CRASHED"}[how]
    wait_for(lambda: deployed.state(f"build-atlas {how}") == ended, "the end of the build")
    if how == "killed":
        crashed = deployed.server.flow_run(f"build-atlas {how}")
        assert crashed is not None
        assert crashed["state"]["message"].startswith("Process exited with status code: -9")
    wait_for(
        lambda: {shard["state"]["type"] for shard in deployed.shards(how)} == {"CANCELLED"},
        "the shards to be cancelled",
    )
    wait_for(lambda: not deployed.gpu.descendants() + deployed.cpu.descendants(), "all processes to end")
    finished = job.records()
    assert 0 < len(finished) < 6

    assert json.loads(job.run_here("plan", str(job.spec_file), "--json").stdout)["missing"] == 6 - len(finished)
    verified = json.loads(job.run_here("verify", str(job.atlas), "--json").stdout)
    assert (verified["state"], verified["damaged"]) == ("unfinished", [])
    assert set(verified["missing"]) <= {"index.html", "manifest.json"}  # a killed build publishes nothing


def test_every_command_of_the_run_book_was_run(deployed: Deployed, request: pytest.FixtureRequest) -> None:
    """The tests above have run every command of the section word by word, except for placeholders."""
    chosen = {item.originalname for item in request.session.items if isinstance(item, pytest.Function)}
    if not {name for name in vars(request.module) if name.startswith("test_")} <= chosen:
        pytest.skip("the other tests of this file, which run the commands, are not all chosen")
    book = (ROOT / "deploy" / "README.md").read_text()
    section = book.partition("## Commands that are tested\n")[2].partition("\n## ")[0]
    commands = [shlex.split(line, comments=True) for line in section.splitlines() if line.startswith("    ")]
    written = [command for command in commands if command[0] in ("prefect", "python")]  # isthmus has tests of its own

    def was_run(command: list[str]) -> bool:
        return any(
            len(said) >= len(command)
            and all(
                word in (run, "ID", "ADDRESS") or word.startswith("{") for word, run in zip(command, said, strict=False)
            )
            for said in deployed.said
        )

    assert len(written) == 9
    assert [command for command in written if not was_run(command)] == []


def test_a_pool_of_pods_with_gpus_is_accepted_by_the_server(deployed: Deployed) -> None:
    """The template for Kubernetes requests GPUs, runs without root and takes the credentials from a secret."""
    deployed.say(
        "work-pool", "create", "pods", "--type", "kubernetes", "--base-job-template", "deploy/pools/kubernetes-gpu.json"
    )
    [pool] = deployed.server.find("work_pools", work_pools={"name": {"any_": ["pods"]}})
    manifest = pool["base_job_template"]["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    variables = pool["base_job_template"]["variables"]["properties"]
    asked_for = set(re.findall(r"{{ (\w+) }}", json.dumps(pool["base_job_template"]["job_configuration"])))

    assert manifest["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "{{ gpu_count }}"
    assert variables["gpu_count"]["default"] == 1
    assert manifest["securityContext"]["runAsNonRoot"]
    assert asked_for == set(variables)


def test_the_image_is_made_of_files_that_exist() -> None:
    """Every file that the Dockerfile copies exists, and the image runs as a user without root rights."""
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    copied = [source for line in lines if line.startswith("COPY ") for source in line.split()[1:-1]]

    assert {"locks/gpu.lock", "core", "tasks", "flows", "pyproject.toml"} <= set(copied)
    assert {"isthmus.py", "deploy/worker.py"} <= set(copied)
    assert all((ROOT / source).exists() for source in copied)
    assert "USER isthmus" in lines


def test_a_build_outlasts_a_worker_that_is_stopped_and_one_that_is_killed(deployed: Deployed) -> None:
    """After SIGTERM of the worker that renders a shard, the shard is scheduled again and the next worker resumes it;
    the run has never crashed. If that worker and its processes are killed, as with their machine, the
    automation for lost machines schedules the shard once more.

    The atlas is walkable: one shard renders its canvas, another one the portraits, and a third one the strips.
    """
    pairs = {"select": "all", "neurons": [f"{LAYER}:0-4"]}
    compute = SHARDS | {"workers": 1, "shard_minutes": 10}
    job = deployed.job(name="shards", strip="walk", pairs=pairs, render=SLOW, compute=compute)
    deployed.trigger(job)
    wait_for(job.records, "the first record of a strip")
    [shard] = [run for run in deployed.shards("shards") if run["state"]["type"] == "RUNNING"]

    deployed.gpu.stop()
    [stopped] = [run for run in deployed.shards("shards") if run["id"] == shard["id"]]
    at_stop = job.records()
    deployed.gpu.start()
    wait_for(lambda: len(job.records()) > len(at_stop), "a record after the stop")

    deployed.gpu.kill()
    at_kill = job.records()
    [lost] = [run for run in deployed.shards("shards") if run["state"]["type"] == "RUNNING"]
    deployed.gpu.start()

    wait_for(lambda: deployed.state("build-atlas shards") == "COMPLETED", "the build to complete")
    assert (stopped["state"]["type"], stopped["state"]["name"]) == ("SCHEDULED", "AwaitingRetry")
    assert lost["id"] == shard["id"]
    assert 0 < len(at_stop) < len(at_kill) < 10
    assert {key: job.records()[key] for key in at_kill} == at_stop | at_kill
    assert len(job.records()) == len(job.sheets()) == 10
    assert job.run_here("verify", str(job.atlas)).returncode == 0
    runs = {run["id"]: (run["state"]["type"], run["run_count"]) for run in deployed.shards("shards")}
    assert runs.pop(shard["id"]) == ("COMPLETED", 3)
    assert list(runs.values()) == [("COMPLETED", 1)] * 2
    wait_for(lambda: HANDED_ON in deployed.log(shard["id"]), "the log of the first part")
    assert not any("Crash" in line or "Error" in line for line in deployed.log(shard["id"]))
    build = deployed.server.flow_run("build-atlas shards")
    assert build is not None
    assert f"isthmus-parent-{build['id']}" in lost["tags"]
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
