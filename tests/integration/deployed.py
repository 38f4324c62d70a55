"""The deployments of prefect.yaml on a real server, with the pools, automations and workers of the run-book."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from job import SMALL, Job, wait_for
from prefect_parts import PrefectServer, Worker, make_home

ROOT = Path(__file__).parents[2]
SLOW = SMALL | {"steps": 120}  # long enough to be interrupted
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
        self.gpu = Worker(self.server, "gpu", "--limit", "1", **paths)
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
        finished = self.server.run_script(ROOT / "deploy" / "automate.py", *arguments)
        assert finished.returncode == 0, finished.stdout + finished.stderr

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

    def cancel(self, run: str) -> None:
        """Cancel a run that no worker has started, so that none does later."""
        self.server.post(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLED"}, "force": True})

    def log(self, run: str) -> list[str]:
        """Return the messages in the log of a flow run."""
        found = self.server.find("logs", logs={"flow_run_id": {"any_": [run]}}, limit=200, sort="TIMESTAMP_ASC")
        return [line["message"] for line in found]

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Wait for the answer to a question to the server. It is asked once a second, because each time costs 20 ms."""
        wait_for(condition, what, least_pause=1)

    def state_of(self, run: str) -> dict[str, Any]:
        """Return the state of a flow run, given its id."""
        [found] = self.server.find("flow_runs", flow_runs={"id": {"any_": [run]}})
        state: dict[str, Any] = found["state"]
        return state

    def has_ended(self, run: str) -> bool:
        """Return whether a flow run, given its id, has ended by itself."""
        return self.state_of(run)["type"] in ("FAILED", "CRASHED", "COMPLETED")

    def assert_told_in_one_line(self, run: str, message: str) -> None:
        """Assert that a flow run has failed, and that its state and its log begin with a message, in one line each."""
        state = self.state_of(run)
        assert (state["type"], state["name"]) == ("FAILED", "Failed")
        assert state["message"].startswith(message)
        self.wait_for(lambda: any(line.startswith(message) for line in self.log(run)), message)
        said = [state["message"], *self.log(run)]
        assert [line for line in said if "Traceback" in line or "\n" in line.strip()] == []

    def state(self, run: str) -> str:
        """Return the type of the state of the newest flow run of a name, or NONE."""
        found = self.server.flow_run(run)
        return str(found["state"]["type"]) if found else "NONE"

    def shards(self, atlas: str) -> list[dict[str, Any]]:
        return self.server.find("flow_runs", flow_runs={"name": {"like_": f"render-shard {atlas} "}})
