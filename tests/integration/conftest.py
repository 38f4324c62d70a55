"""Fixtures: jobs that build real atlases with a real Prefect server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from deployed import Deployed
from job import LAYER, PATIENCE_SECONDS, SMALL, Job
from prefect_parts import SharedServer, make_home, share_databases

os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = str(round(PATIENCE_SECONDS))  # of temporary servers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files whose tests wait longest, so that they do not end alone."""
    first = {"test_deployments.py": 0, "test_engines.py": 1}
    items.sort(key=lambda item: first.get(item.path.name, len(first)))  # the sort is stable


_servers: list[SharedServer] = []


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Leave the server before tests of other folders, which follow: an idle server needs a processor too."""
    if nextitem is not None and nextitem.path.parent != item.path.parent:
        for server in _servers:
            server.leave()


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API address of a real Prefect server on this machine, with its own database.

    All processes of the tests share it.
    """
    folder = tmp_path_factory.getbasetemp()
    server = SharedServer((folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "prefect")
    _servers.append(server)
    try:
        yield server.join()
    finally:
        server.leave()


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
        for worker in (made.cpu, made.gpu):
            worker.kill()
        made.server.kill()


@pytest.fixture(scope="session")
def new_job(prefect_server: str) -> Callable[[Path], Job]:
    """A function that returns a job in a folder, with the spec of a small atlas of six pairs; nothing is built yet."""
    return lambda folder: _new_job(folder, prefect_server)


@pytest.fixture
def job(tmp_path: Path, new_job: Callable[[Path], Job]) -> Job:
    """A job with the spec of a small atlas of six pairs; nothing is built yet."""
    return new_job(tmp_path)


@pytest.fixture(scope="session")
def _finished_atlas(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> Path:
    job = _new_job(tmp_path_factory.mktemp("finished"), prefect_server)
    _write_finished(job)
    job.build()
    return job.atlas


@pytest.fixture
def finished_job(job: Job, _finished_atlas: Path) -> Job:
    """A job whose atlas, with checkpoints, has been built by two processes in three chunks.

    Each test gets its own copy and may change it.
    """
    _write_finished(job)
    shutil.copytree(_finished_atlas, job.atlas)
    return job


def _write_finished(job: Job) -> None:
    render = SMALL | {"checkpoints": [3, 8], "redirected_updates": 4}
    job.write(name="finished", render=render, compute={"processes": 2, "chunk_pairs": 2})


def _new_job(folder: Path, server: str) -> Job:
    share_databases(folder / "cache")
    environment = os.environ | {
        "PREFECT_HOME": str(make_home(folder / "prefect")),
        "PREFECT_API_URL": server,
        "ISTHMUS_CACHE": str(folder / "cache"),
    }
    made = Job(folder, environment)
    made.write(
        name="small",
        output=str(folder / "out"),
        pairs={"select": "all", "neurons": [f"{LAYER}:0-3"]},
        render=SMALL,
        compute={"processes": 1, "chunk_pairs": 6},  # one process starts faster than two
    )
    return made
