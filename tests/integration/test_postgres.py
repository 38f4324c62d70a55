"""A Prefect server on PostgreSQL, set up with the commands of deploy/README.md, and workers that share a build."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from job import LAYER, SMALL, Job, finish, wait_for
from prefect_parts import PrefectServer, Worker

sys.path.insert(0, str(Path(__file__).parents[1]))
from postgres import INSTALLATION, Postgres, programs

ROOT = Path(__file__).parents[2]
SYNTHETIC = ROOT / "tests" / "bench" / "synthetic"
PASSWORD = "p@ss/w:rd%"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL server. Without PostgreSQL the test is skipped, but on CI it fails."""
    binaries = programs()
    if binaries is None:
        reason = f"no PostgreSQL: {INSTALLATION}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    server = Postgres(binaries)
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="module")
def prefect_on_postgres(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A Prefect server on a database that the commands of the run-book have created."""
    server = PrefectServer(tmp_path_factory.mktemp("prefect"), set_up(postgres))
    try:
        yield server.start()
    finally:
        server.kill()


def set_up(postgres: Postgres) -> str:
    """Run the run-book's commands that create role and database, and return the connection URL that it gives."""
    book = (ROOT / "deploy" / "README.md").read_text()
    section = book.partition("**PostgreSQL** for the server")[2].partition("\n2. ")[0]
    commands = [shlex.split(line, comments=True) for line in section.splitlines() if line.startswith("       ")]
    superuser = ["sudo", "-u", "postgres"]
    for program, *arguments in [command[3:] for command in commands if command[:3] == superuser]:
        postgres.run(program, *arguments, answers=f"{PASSWORD}\n{PASSWORD}\n")
    [export] = [command[1] for command in commands if command[0] == "export"]
    name, _, address = export.partition("=")
    assert name == "PREFECT_API_DATABASE_CONNECTION_URL"
    return address.replace("PASSWORD", quote(PASSWORD, safe="")).replace("HOST:5432", f"127.0.0.1:{postgres.port}")


def synthetic(folder: Path) -> dict[str, str]:
    """Return the environment of processes that do not compute their strips, and take 0.3 s for each."""
    return {
        "ISTHMUS_CACHE": str(folder / "cache"),
        "PYTHONPATH": os.pathsep.join([str(SYNTHETIC), str(ROOT)]),
        "SYNTHETIC_PAIR_SECONDS": "0.3",
        "SYNTHETIC_LOG": str(folder / "chunks.ndjson"),
    }


def unexpected(log: str) -> list[str]:
    """Return the errors in PostgreSQL's log, except for one that Prefect expects.

    Several events of a task run may try to create its row at once.
    """
    return [line for line in log.splitlines() if re.search("ERROR|FATAL|PANIC", line) and "pk_task_run" not in line]


def test_workers_share_a_build_whose_runs_are_kept_in_postgresql(
    postgres: Postgres, prefect_on_postgres: PrefectServer, tmp_path: Path
) -> None:
    """Each of two workers renders half of the chunks, the server records every run, and neither server logs an error.

    The plan expects each pair to take 20 s; the renderer is synthetic and much faster.
    """
    server = prefect_on_postgres
    environment = {"ISTHMUS_HOME": str(tmp_path), **synthetic(tmp_path)}
    for arguments in (
        ("work-pool", "create", "gpu", "--type", "process", "--base-job-template", "deploy/pools/process.json"),
        ("--no-prompt", "deploy", "--name", "gpu"),
    ):
        finished = server.run(*arguments, **environment)
        assert finished.returncode == 0, finished.stdout + finished.stderr
    job = Job(tmp_path, server.environment | environment)
    job.write(
        name="shared",
        output=str(tmp_path / "out"),
        pairs={"select": "all", "neurons": [f"{LAYER}:0-3"]},
        render=SMALL | {"steps": 6400},
        compute={
            "engine": "work-pool",
            "workers": 2,
            "processes": 1,
            "chunk_pairs": 1,
            "batch_pairs": 1,
            "shard_minutes": 10,
        },
    )
    workers = [Worker(server, "gpu", "--limit", "1", **environment) for _ in range(2)]

    def each_renders() -> bool:
        """Stop the processes that render now, so that no shard ends before each worker has one."""
        stopped = [worker.pause() for worker in workers]
        return all(stopped)

    try:
        for worker in workers:
            worker.start()
        build = job.start()
        wait_for(each_renders, "each worker to render")
        for worker in workers:
            worker.resume()
        said, complaints = finish(build)
    finally:
        for worker in workers:
            worker.kill()

    assert build.returncode == 0, said + complaints
    assert len(job.records()) == len(job.sheets()) == 6
    runs = {run["name"]: run["state"]["type"] for run in server.find("flow_runs")}
    assert runs == {f"render-shard shared {n} of 2": "COMPLETED" for n in (1, 2)} | {"build-atlas shared": "COMPLETED"}
    tags = {"atlas:shared", "model:efficientnet-lite0", f"store:{tmp_path / 'out'}"}
    assert all(tags <= set(run["tags"]) for run in server.find("flow_runs"))
    chunk_runs = "SELECT count(*) FROM task_run WHERE name LIKE 'render-chunk %' AND state_type = 'COMPLETED'"
    wait_for(lambda: postgres.run("psql", "-Atc", chunk_runs, "prefect").strip() == "6", "all chunk runs")
    assert not any(run["tags"] for run in server.find("task_runs")), "they could have concurrency limits"
    assert not (server.home / "prefect.db").exists()
    assert unexpected(postgres.log) == []
    assert "Traceback" not in (server.home / "server.log").read_text()


def test_a_build_ends_well_if_the_database_stops_for_good(
    postgres: Postgres, prefect_on_postgres: PrefectServer, tmp_path: Path
) -> None:
    """The Prefect server then answers every request with code 500; the atlas is finished, and few lines tell of it."""
    job = Job(tmp_path, prefect_on_postgres.environment | synthetic(tmp_path))
    job.write(
        name="orphan",
        output=str(tmp_path / "out"),
        pairs={"select": "all", "neurons": [f"{LAYER}:0-5"]},
        render=SMALL,
        compute={"processes": 1, "chunk_pairs": 1, "batch_pairs": 1},
    )

    build = job.start()
    wait_for(job.records, "the first record")
    postgres.halt()
    said, complaints = finish(build)

    assert build.returncode == 0, complaints
    assert json.loads(said)["done"] == len(job.records()) == 15
    assert (job.atlas / "index.html").exists()
    assert len(complaints.splitlines()) <= 3
