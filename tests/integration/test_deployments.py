"""The deployments of prefect.yaml on a real server with real workers: registered, run, watched, cancelled, killed."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from engine_parts import Atlas, Host
from job import LAYER, SMALL, Job, wait_for
from prefect_parts import PrefectServer, Worker, kill, make_home, render_processes

sys.path.insert(0, str(Path(__file__).parents[1]))
from fault_proxy import FaultProxy
from graphs import inception_v1

from flows.worker_run import HANDED_ON

ROOT = Path(__file__).parents[2]
SLOW = SMALL | {"steps": 240}  # long enough to be interrupted
_PYTHONPATH = [path for path in (os.environ.get("PYTHONPATH"),) if path]
SHARDS = {"engine": "work-pool", "processes": 1, "chunk_pairs": 1, "workers": 2, "shard_minutes": 1}


class Deployed:
    """A server with pools and deployments as deploy/README.md makes them, and a worker for each pool."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.said = [["prefect", "server", "start", "--host", "127.0.0.1"]]
        self.server = PrefectServer(make_home(home)).start()
        for package in ("core", "tasks", "flows"):  # of another project, in the folder where the workers run flows
            (home / package).mkdir()
            (home / package / "__init__.py").write_text("raise SystemExit('not Isthmus')", encoding="utf-8")
        paths = {"ISTHMUS_CACHE": str(home / "cache"), "PYTHONPATH": os.pathsep.join([str(home), *_PYTHONPATH])}
        self.cpu = Worker(self.server, "cpu", **paths)
        self.gpu, *self.more_gpus = (Worker(self.server, "gpu", "--limit", "1", **paths) for _ in range(3))
        for pool in ("cpu", "gpu"):
            self.say(
                "work-pool", "create", pool, "--type", "process", "--base-job-template", "deploy/pools/process.json"
            )
        self.automate()
        self.say("--no-prompt", "deploy", "--all")

    def say(self, *arguments: str) -> str:
        """Run a command of Prefect, expect success, and return what it prints."""
        self.said.append(["prefect", *arguments])
        finished = self.server.run(*arguments, ISTHMUS_HOME=str(self.home))
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout

    def automate(self, *arguments: str) -> None:
        """Create or replace the automations, as the run-book does."""
        self.said.append(["python", "deploy/automate.py", *arguments])
        subprocess.run([sys.executable, *self.said[-1][1:]], env=self.server.environment, cwd=ROOT, check=True)

    def job(self, **spec: Any) -> Job:
        job = Job(self.home, self.server.environment)
        job.write(**({"output": str(self.home / "out"), "render": SMALL} | spec))
        return job

    def trigger(self, job: Job) -> None:
        """Start a run of build-atlas/on-demand, without the seconds that the `prefect` command takes to load."""
        [on_demand] = [found for found in self.server.find("deployments") if found["name"] == "on-demand"]
        self.server.post(f"deployments/{on_demand['id']}/create_flow_run", {"parameters": {"spec": job.spec}})

    def start(self, deployment: str, parameters: dict[str, Any]) -> str:
        """Start a run whose parameters the server does not check, and return its id."""
        [found] = [found for found in self.server.find("deployments") if found["name"] == deployment]
        body = {"parameters": parameters, "enforce_parameter_schema": False}
        return str(self.server.post(f"deployments/{found['id']}/create_flow_run", body)["id"])

    def log(self, run: str) -> list[str]:
        """Return the messages in the log of a flow run."""
        found = self.server.find("logs", logs={"flow_run_id": {"any_": [run]}}, limit=200, sort="TIMESTAMP_ASC")
        return [line["message"] for line in found]

    def state(self, run: str) -> str:
        """Return the type of the state of the newest flow run of a name, or NONE."""
        found = self.server.flow_run(run)
        return str(found["state"]["type"]) if found else "NONE"

    def shards(self, atlas: str) -> list[dict[str, Any]]:
        return self.server.find("flow_runs", flow_runs={"name": {"like_": f"render-shard {atlas} "}})


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A server with its pools and deployments, and both workers running."""
    made = Deployed(tmp_path_factory.mktemp("deployed"))
    try:
        for worker in (made.cpu, made.gpu):
            worker.start()
            made.said.append(worker.command)
        yield made
    finally:
        for worker in (made.cpu, made.gpu, *made.more_gpus):
            worker.kill()
        made.server.kill()


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
    nowhere = {"select": "all", "neurons": ["nowhere:0-1"]}
    spec = {"name": "mistakes", "output": str(deployed.home / "out"), "pairs": pairs}
    shard = {"uri": str(deployed.home / "nowhere"), "plan_path": "plan/x", "chunks": ["x"]}
    s3 = {"output": "s3://bucket", "storage": {"endpoint_url": "http://127.0.0.1:9"}}
    expected = {
        ("on-demand", "other: unknown parameter of build-atlas; remove it (known: spec)"): {"spec": spec, "other": 1},
        ("on-demand", "spec: missing; build-atlas requires this parameter"): {},
        ("on-demand", "spec: expected a mapping with name and pairs, got 5"): {"spec": 5},
        ("on-demand", "spec: nonsense: unknown key (known: "): {"spec": spec | {"nonsense": 1}},
        ("on-demand", "pairs.neurons.0: expected a layer of"): {"spec": spec | {"pairs": nowhere}},
        ("on-demand", "model.file: expected the weights of inception-v1, there is no file /nowhere.pb"): {
            "spec": spec | {"model": {"name": "inception-v1", "file": "/nowhere.pb"}}
        },
        ("on-demand", "s3://bucket/mistakes/records/: could not list, "): {"spec": spec | s3},
        ("gpu", "other: unknown parameter of render-shard; remove it (known: uri, "): shard | {"other": 1},
        ("gpu", "chunks: expected a valid list"): shard | {"chunks": "x"},
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


@pytest.mark.parametrize("what", ["build", "shard"])
def test_a_worker_that_is_stopped_hands_its_run_on(deployed: Deployed, what: str) -> None:
    """After SIGTERM of the worker that runs a build, or a shard, the run is scheduled again and another one ends it.

    The run has never crashed.
    """
    worker = deployed.cpu if what == "build" else deployed.gpu
    compute = {"processes": 1, "chunk_pairs": 1} if what == "build" else SHARDS | {"workers": 1, "shard_minutes": 10}
    slow = SLOW | {"steps": 600}
    job = deployed.job(name=what, pairs={"select": "all", "neurons": [f"{LAYER}:0-3"]}, render=slow, compute=compute)
    deployed.trigger(job)
    wait_for(job.records, "the first record")
    name = "build-atlas build" if what == "build" else "render-shard shard 1 of 1"
    run = deployed.server.flow_run(name)
    assert run is not None

    worker.stop()
    stopped = deployed.server.flow_run(name)
    before = job.records()
    worker.start()

    assert stopped is not None
    assert (stopped["state"]["type"], stopped["state"]["name"]) == ("SCHEDULED", "AwaitingRetry")
    wait_for(lambda: deployed.state(f"build-atlas {what}") == "COMPLETED", "the build to complete")
    assert 0 < len(before) < 6
    assert len(job.records()) == 6
    assert {key: job.records()[key] for key in before} == before
    assert job.run("verify", str(job.atlas)).returncode == 0
    found = deployed.server.flow_run(name)
    assert found is not None
    assert (found["id"], found["run_count"], found["state"]["type"]) == (run["id"], 2, "COMPLETED")
    wait_for(lambda: HANDED_ON in deployed.log(run["id"]), "the log of the first part")
    assert not any("Crash" in line or "Error" in line for line in deployed.log(run["id"]))


def test_a_webhook_learns_of_a_failed_run_and_of_a_skipped_night(deployed: Deployed) -> None:
    """Each automation exists once, however often they are made, and calls the address that was given."""
    told: list[str] = []

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
        render=SMALL | {"alignment": {"weight": 1e6, "decay": 1e-9}},
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


def test_a_build_goes_on_when_a_worker_and_its_shard_are_killed(deployed: Deployed) -> None:
    """If a GPU worker and its processes were killed and its shard is marked as crashed, another shard renders the rest.

    The atlas is walkable: one shard renders its canvas, another one the portraits, and others the strips.
    """
    pairs = {"select": "all", "neurons": [f"{LAYER}:0-3"]}
    job = deployed.job(name="shards", strip="walk", pairs=pairs, render=SLOW, compute=SHARDS)
    deployed.trigger(job)
    wait_for(job.records, "the first record of a shard")

    deployed.gpu.kill()
    before = job.records()
    [shard] = [run for run in deployed.shards("shards") if run["state"]["type"] == "RUNNING"]
    crash = {"state": {"type": "CRASHED", "message": "no heartbeat"}, "force": True}
    deployed.server.post(f"flow_runs/{shard['id']}/set_state", crash)  # as the automation in deploy/ does
    deployed.gpu.start()

    wait_for(lambda: deployed.state("build-atlas shards") == "COMPLETED", "the build to complete")
    assert 0 < len(before) < 6
    assert {key: job.records()[key] for key in before} == before
    assert len(job.records()) == len(job.sheets()) == 6
    assert job.run("verify", str(job.atlas)).returncode == 0
    states = [run["state"]["type"] for run in deployed.shards("shards")]
    assert states.count("CRASHED") == 1
    assert states.count("COMPLETED") == len(states) - 1
    build = deployed.server.flow_run("build-atlas shards")
    assert build is not None
    assert f"isthmus-parent-{build['id']}" in shard["tags"]
    artifacts = {found["key"]: found for found in deployed.server.find("artifacts", limit=50)}
    assert artifacts["shards-strips"]["data"].startswith("data:image/webp;base64,")
    assert artifacts["shards-progress"]["data"] == 100


def test_three_workers_share_one_build(deployed: Deployed) -> None:
    """Each of three workers that take one shard at a time renders at least a quarter of the chunks."""
    job = deployed.job(
        name="shared",
        pairs={"select": "all", "neurons": [f"{LAYER}:0-7"]},
        compute=SHARDS | {"workers": 3, "chunk_pairs": 2, "shard_minutes": 10},
    )
    workers = [deployed.gpu, *(worker.start() for worker in deployed.more_gpus)]

    def rendering() -> list[int]:
        return [process for worker in workers for process in render_processes(worker.descendants())]

    try:
        deployed.trigger(job)

        def all_have_taken_a_shard() -> bool:
            for process in rendering():  # so that no shard ends before the slowest worker has looked for one
                os.kill(process, signal.SIGSTOP)
            shards = [shard["id"] for shard in deployed.shards("shared")]
            return all(any(map(worker.has_taken, shards)) for worker in workers)

        wait_for(all_have_taken_a_shard, "a shard for each worker")
        for process in rendering():
            os.kill(process, signal.SIGCONT)
        wait_for(lambda: deployed.state("build-atlas shared") == "COMPLETED", "the build to complete")
    finally:
        for worker in deployed.more_gpus:
            worker.kill()

    shards = deployed.shards("shared")
    assert {shard["state"]["type"] for shard in shards} == {"COMPLETED"}
    rendered = [
        sum(len(shard["parameters"]["chunks"]) for shard in shards if worker.has_taken(shard["id"]))
        for worker in workers
    ]
    assert sum(rendered) == 14
    assert min(rendered) >= 14 / 4


def test_a_round_outlasts_its_server(deployed: Deployed) -> None:
    """While the server does not answer the build, shards continue; this is told once, and the end of it once.

    If everything is rendered, the round ends without the server.
    """
    atlas = Atlas(deployed.home / "outage", "0-3", steps=240)
    compute = SHARDS | {"workers": 1, "shard_minutes": 10}
    log = deployed.home / "host.log"
    with FaultProxy(deployed.server.api).running() as proxy:
        host = Host(compute, deployed.server.environment | {"PREFECT_API_URL": f"{proxy.url}/api"}, log)
        try:
            host.send("render", **atlas.round())
            wait_for(atlas.records, "the first record")
            rendering = render_processes(deployed.gpu.descendants())
            for process in rendering:  # so that the round does not end yet
                os.kill(process, signal.SIGSTOP)
            proxy.die(10_000)
            wait_for(lambda: "the shards in flight continue" in log.read_text(), "the first message")
            tried = len(proxy.requests)
            wait_for(lambda: len(proxy.requests) > tried + 4, "more tries")
            proxy.die(0)
            wait_for(lambda: "answer again" in log.read_text(), "the second message")
            assert log.read_text().count("the shards in flight continue") == 1

            proxy.die(10_000)
            for process in rendering:
                os.kill(process, signal.SIGCONT)
            answer = host.answer()
        finally:
            proxy.die(0)
            host.end()

    assert answer["error"] is None
    assert sorted(answer["finished"]) == sorted(atlas.keys.values())


@pytest.mark.parametrize("how", ["cancelled", "killed"])
def test_a_build_that_ends_takes_its_shards_with_it(deployed: Deployed, how: str) -> None:
    """After a cancellation, or SIGKILL of the flow's process, its shards are cancelled, no process and no partial file
    is left, and a later run completes."""
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
    wait_for(
        lambda: {shard["state"]["type"] for shard in deployed.shards(how)} == {"CANCELLED"},
        "the shards to be cancelled",
    )
    wait_for(lambda: not deployed.gpu.descendants() + deployed.cpu.descendants(), "all processes to end")
    finished = job.records()
    assert 0 < len(finished) < 6

    job.write(compute={"processes": 1, "chunk_pairs": 1})
    assert job.build()["rendered"] == 6 - len(finished)
    assert job.run("verify", str(job.atlas)).returncode == 0


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
