"""The deployments of prefect.yaml on a real server with real workers: registered, run, watched, cancelled.

Workers are stopped, are killed, or get bad input.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from job import LAYER, SMALL, Job, wait_for
from prefect_parts import kill

sys.path.insert(0, str(Path(__file__).parents[1]))

from deployed import ROOT, SHARDS, SLOW, Deployed
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


@pytest.fixture(scope="module")
def told(deployed: Deployed) -> Iterator[list[str]]:
    """The messages that the automations send to a webhook; each automation exists once, however often it is made."""
    messages: list[str] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Webhook) as webhook:
        threading.Thread(target=webhook.serve_forever, daemon=True).start()
        deployed.automate(f"http://127.0.0.1:{webhook.server_port}/")
        names = ["isthmus-failures", "isthmus-heartbeat", "isthmus-skipped-night", "isthmus-start"]
        assert sorted(found["name"] for found in deployed.server.find("automations")) == names
        yield messages
        webhook.shutdown()


def test_a_mistake_is_a_failed_state_of_one_line_which_a_webhook_learns(deployed: Deployed, told: list[str]) -> None:
    """Whatever is wrong with a run's parameters, its state and its log say it in one line, without a traceback."""
    pairs = {"select": "all", "neurons": [f"{LAYER}:0-1"]}
    spec = {"name": "mistakes", "output": str(deployed.home / "out"), "pairs": pairs}
    s3 = {"output": "s3://bucket", "storage": {"endpoint_url": "http://127.0.0.1:9"}}
    expected = {
        "other: unknown parameter of build-atlas; remove it (known: spec, retry_failed, only_images)": {
            "spec": spec,
            "other": 1,
        },
        "s3://bucket/mistakes/records/: could not list, ": {"spec": spec | s3},
    }
    runs = {message: deployed.start("on-demand", parameters) for message, parameters in expected.items()}

    for message, run in runs.items():
        deployed.wait_for(lambda run=run: deployed.has_ended(run), message)
        deployed.assert_told_in_one_line(run, message)
        wait_for(
            lambda message=message: [line for line in told if f" ended as Failed: {message}" in line],
            f"the webhook to be told: {message}",
        )


def test_a_webhook_learns_of_a_skipped_night(deployed: Deployed, told: list[str]) -> None:
    """The second of two nights is skipped. A run that no worker takes is shown as Late."""
    with deployed.server.holding("cpu"):
        nights = [deployed.start("nightly", {}) for _ in range(2)]
        for night in nights:  # as workers do
            deployed.server.post(f"flow_runs/{night}/set_state", {"state": {"type": "PENDING"}})
        wait_for(lambda: [line for line in told if line.startswith("The nightly run ")], "the skipped night")
        waits = deployed.start("on-demand", {})
        deployed.wait_for(lambda: deployed.state_of(waits)["name"] == "Late", "the run that no worker takes")
        for run in (nights[0], waits):
            deployed.cancel(run)
    assert any(line.endswith("is Cancelled: Deployment concurrency limit reached.") for line in told)


def test_a_run_that_does_not_begin_is_scheduled_again(deployed: Deployed, tmp_path: Path) -> None:
    """The machine of a worker may be lost between taking a run and starting it. The automation waits less long here."""
    written = (ROOT / "deploy" / "automations" / "start.yaml").read_text()
    impatient = tmp_path / "start.yaml"
    impatient.write_text(written.replace("name: isthmus-start", "name: impatient").replace("within: 300", "within: 10"))
    made = deployed.server.run("automation", "create", "--from-file", str(impatient))
    assert made.returncode == 0, made.stdout + made.stderr
    with deployed.server.holding("cpu"):
        taken = deployed.start("on-demand", {})
        for name in ("Pending", "Submitting"):  # as workers do
            state = {"type": "PENDING", "name": name}
            deployed.server.post(f"flow_runs/{taken}/set_state", {"state": state, "force": True})

        deployed.wait_for(lambda: deployed.state_of(taken)["name"] == "AwaitingRetry", "the run to be scheduled again")
        deployed.cancel(taken)


def test_a_run_on_demand_is_watched_to_its_end_and_shows_its_results(deployed: Deployed) -> None:
    """The run has a progress bar and a summary; failed pairs are shown in its state and in the summary."""
    job = deployed.job(
        name="On.Demand-1",
        pairs={"select": "all", "neurons": [f"{LAYER}:0-2"]},
        render=SMALL | {"frames": 8, "alignment": {"scale": "lucid", "weight": 1e6, "decay": 1e-9}},
        compute={"processes": 1, "chunk_pairs": 1},  # so that all batches have one size, which is traced once
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
    deployed.gpu.stop_rendering()
    run = deployed.server.flow_run(f"build-atlas {how}")
    assert run is not None

    if how == "cancelled":
        deployed.say("flow-run", "cancel", run["id"])
    else:
        kill(deployed.cpu.processes_of(run["id"])[-1])  # the last: the process of the flow itself

    ended = {"cancelled": "CANCELLED", "killed": "CRASHED"}[how]
    deployed.wait_for(lambda: deployed.state(f"build-atlas {how}") == ended, "the end of the build")
    if how == "killed":
        crashed = deployed.server.flow_run(f"build-atlas {how}")
        assert crashed is not None
        assert crashed["state"]["message"].startswith("Process exited with status code: -9")
    deployed.wait_for(
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
    """After SIGTERM of the worker that starts or renders a shard, the shard is scheduled again and the next worker
    resumes it; no run has ever crashed. If that worker and its processes are killed, as with their machine, the
    automation for lost machines schedules the shard once more.

    The atlas is walkable: one shard renders its canvas, another one the portraits, and a third one the strips.
    """
    pairs = {"select": "all", "neurons": [f"{LAYER}:0-3"]}
    compute = SHARDS | {"workers": 1, "shard_minutes": 10}
    job = deployed.job(name="shards", strip="walk", pairs=pairs, render=SLOW, compute=compute)
    deployed.trigger(job)
    deployed.wait_for(lambda: deployed.shards("shards"), "the shard of the canvas")
    [canvas] = deployed.shards("shards")
    wait_for(lambda: deployed.gpu.has_taken(canvas["id"]), "a worker to take the shard")

    deployed.gpu.stop()
    [starting] = deployed.shards("shards")
    deployed.gpu.start()
    wait_for(job.records, "the first record of a strip")
    [shard] = [run for run in deployed.shards("shards") if run["state"]["type"] == "RUNNING"]
    deployed.gpu.stop_rendering()

    deployed.gpu.stop()
    [stopped] = [run for run in deployed.shards("shards") if run["id"] == shard["id"]]
    at_stop = job.records()
    deployed.gpu.start()
    wait_for(lambda: len(job.records()) > len(at_stop), "a record after the stop")
    deployed.gpu.stop_rendering()

    deployed.gpu.kill()
    at_kill = job.records()
    [lost] = [run for run in deployed.shards("shards") if run["state"]["type"] == "RUNNING"]
    deployed.gpu.start()

    deployed.wait_for(lambda: deployed.state("build-atlas shards") == "COMPLETED", "the build to complete")
    for handed_on in (starting, stopped):
        assert (handed_on["state"]["type"], handed_on["state"]["name"]) == ("SCHEDULED", "AwaitingRetry")
    assert lost["id"] == shard["id"]
    assert 0 < len(at_stop) < len(at_kill) < 6
    assert {key: job.records()[key] for key in at_kill} == at_stop | at_kill
    assert len(job.records()) == len(job.sheets()) == 6
    assert job.run_here("verify", str(job.atlas)).returncode == 0
    runs = {run["id"]: (run["state"]["type"], run["run_count"]) for run in deployed.shards("shards")}
    assert runs.pop(shard["id"]) == ("COMPLETED", 3)
    assert runs.pop(canvas["id"]) == ("COMPLETED", 2)
    assert list(runs.values()) == [("COMPLETED", 1)]
    deployed.wait_for(lambda: HANDED_ON in deployed.log(shard["id"]), "the log of the first part")
    told = ("Crash", "Error", "Broken")
    assert [line for line in deployed.log(shard["id"]) if any(word in line for word in told)] == []
    build = deployed.server.flow_run("build-atlas shards")
    assert build is not None
    assert f"isthmus-parent-{build['id']}" in lost["tags"]
    artifacts = {found["key"]: found for found in deployed.server.find("artifacts", limit=50)}
    assert artifacts["shards-strips"]["data"].startswith("data:image/webp;base64,")
    assert artifacts["shards-progress"]["data"] == 100


def test_bad_input_of_shards_is_told_in_one_line_and_fails_the_build(deployed: Deployed) -> None:
    """A shard with other weights than the plan's, with none, or without its part of the plan renders nothing.

    Its state and its log say so in one line. Three shards that fail end the build.
    """
    weights = deployed.home / "InceptionV1.pb"
    weights.write_bytes(bytes(inception_v1(old_concat=True)))
    job = deployed.job(
        name="bad-input",
        model={"name": "inception-v1", "file": str(weights)},
        pairs={"select": "all", "neurons": ["mixed4a_pre_relu:460-462"]},
        render={"steps": 4, "size_px": 64, "frames": 3},
        compute=SHARDS | {"workers": 3},
    )
    with deployed.server.holding("gpu"):  # so that the shards wait while their input is spoilt
        deployed.trigger(job)
        deployed.wait_for(lambda: len(deployed.shards("bad-input")) == 3, "all shards to be asked for")
        other_weights, no_weights, no_plan = deployed.shards("bad-input")
        weights.write_bytes(bytes(inception_v1(old_concat=False)))
        plan = planned(job, no_weights)
        plan.write_text(plan.read_text().replace(str(weights), "/nowhere/InceptionV1.pb"))
        planned(job, no_plan).unlink()

    deployed.wait_for(lambda: deployed.state("build-atlas bad-input") == "FAILED", "the build to fail")
    build = deployed.server.flow_run("build-atlas bad-input")
    assert build is not None
    causes = {
        other_weights["id"]: "model inception-v1: expected the weights that the plan was made with, found others; give",
        no_weights["id"]: "model.file: expected the weights of inception-v1, there is no file /nowhere/InceptionV1.pb",
        no_plan["id"]: f"{planned(job, no_plan)}: could not read, No such file or directory",
    }
    assert {shard["id"] for shard in deployed.shards("bad-input")} == causes.keys()
    for shard, cause in causes.items():
        deployed.assert_told_in_one_line(shard, cause)
    said = [f"ended as Failed: {cause}" for cause in causes.values()]
    # The last lines of a log reach the server after the state of the run.
    deployed.wait_for(
        lambda: all(cause in "\n".join(deployed.log(build["id"])) for cause in said), "the causes in the build's log"
    )
    assert any(cause in build["state"]["message"] for cause in causes.values())
    assert job.records() == {}


def planned(job: Job, shard: dict[str, Any]) -> Path:
    """Return the file of the plan for the chunk of a shard that has one."""
    [chunk] = shard["parameters"]["chunks"]
    return job.atlas / str(shard["parameters"]["plan_path"]) / f"{chunk}.json"
