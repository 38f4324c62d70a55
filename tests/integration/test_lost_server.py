"""Builds whose Prefect server dies, for a while or for good."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from job import ISTHMUS, SMALL, Job, finish, wait_for
from prefect_parts import PrefectServer, descendants, make_home

SLOW = SMALL | {"steps": 120}  # long enough to be interrupted


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A Prefect server that the tests start and kill."""
    made = PrefectServer(make_home(tmp_path_factory.mktemp("home")))
    try:
        yield made
    finally:
        made.kill()


def test_a_build_survives_a_restart_of_its_server(job: Job, server: PrefectServer) -> None:
    """A build whose server is killed and started again completes, and the server shows it as completed."""
    server.start()
    job.environment |= {"PREFECT_API_URL": server.api}
    job.write(name="restarted", render=SLOW, compute={"processes": 1, "chunk_pairs": 1})
    build = job.start()
    wait_for(job.records, "the first record")
    server.kill()
    wait_for(lambda: len(job.records()) > 2, "a record without a server")
    os.killpg(build.pid, signal.SIGSTOP)  # so that the build cannot end before the server answers
    assert len(job.records()) < 6
    server.start()
    os.killpg(build.pid, signal.SIGCONT)
    output, complaints = finish(build)

    assert build.returncode == 0, complaints
    assert json.loads(output)["done"] == 6
    assert job.run_here("verify", str(job.atlas)).returncode == 0
    run = server.flow_run("build-atlas restarted")
    assert run is not None
    assert run["state"]["type"] == "COMPLETED"


# A build whose temporary server is killed just before it gets the flow run.
_SERVER_KILLED_EARLY = """
import sys
from contextlib import contextmanager
import flows.prefect_server as servers
from flows.cli import main

in_one_line, killed = servers.server_errors_in_one_line, []

@contextmanager
def kill_first():
    if not killed:
        killed.append(servers._temporary[0].process)
        killed[0].kill()
        killed[0].wait()
    with in_one_line():
        yield

if __name__ == "__main__":
    servers.server_errors_in_one_line = kill_first
    sys.argv[0] = "isthmus"
    main()
"""


@pytest.mark.parametrize("kind", ["configured", "temporary"])
def test_a_build_whose_server_has_died_for_good_ends_soon_with_a_whole_atlas(
    job: Job, server: PrefectServer, kind: str
) -> None:
    """Rendering goes on, the exit code is that of the atlas, and one line says that the server was not told.

    Prefect itself would try to reach the server for a minute after each chunk, and for ten minutes at the end. A
    temporary server that dies before it has the flow run is replaced.
    """
    command = [str(ISTHMUS)]
    if kind == "configured":
        if not server.is_running:
            server.start()
        job.environment |= {"PREFECT_API_URL": server.api}
    else:
        del job.environment["PREFECT_API_URL"]
        script = job.folder / "isthmus_early.py"
        script.write_text(_SERVER_KILLED_EARLY)
        command = [sys.executable, str(script)]
    job.write(name="alone", render=SLOW, compute={"processes": 1, "chunk_pairs": 1})
    build = job.start(*command)
    wait_for(job.records, "the first record")
    if kind == "configured":
        server.kill()
    else:
        [pid] = [pid for pid in descendants(build.pid) if b"temporary_server" in command_line(pid)]
        os.kill(pid, signal.SIGKILL)
    assert len(job.records()) < 6
    output, complaints = finish(build)

    assert build.returncode == 0, complaints
    assert json.loads(output)["done"] == 6
    assert complaints.splitlines()[-1] == (
        "isthmus: warning: the Prefect server does not answer, so its pages do not show that this build has ended"
    )
    assert len(complaints.splitlines()) <= 3
    assert job.run_here("verify", str(job.atlas)).returncode == 0


def command_line(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()
