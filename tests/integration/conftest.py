"""Atlases that are built for real, with a real Prefect server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from job import LAYER, SMALL, Job
from prefect_parts import PrefectServer


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API address of a real Prefect server on this machine, with a database of its own."""
    server = PrefectServer(tmp_path_factory.mktemp("prefect"))
    try:
        yield server.start().api
    finally:
        server.kill()


@pytest.fixture
def job(tmp_path: Path, prefect_server: str) -> Job:
    """A small atlas of six pairs, to be built with the Prefect server."""
    environment = os.environ | {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": prefect_server,
        "ISTHMUS_CACHE": str(tmp_path / "cache"),
    }
    made = Job(tmp_path, environment)
    made.write(
        name="small",
        output=str(tmp_path / "out"),
        pairs={"select": "all", "neurons": [f"{LAYER}:0-3"]},
        render=SMALL,
        compute={"processes": 1},  # one process starts faster than two
    )
    return made
