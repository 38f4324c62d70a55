"""Builds whose Prefect server dies, for a while or for good."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from job import SMALL, Job, finish, wait_for
from prefect_parts import PrefectServer, descendants, make_home

SLOW = SMALL | {"steps": 120}  # long enough to be interrupted


def test_a_build_survives_a_restart_of_its_server(job: Job, tmp_path: Path) -> None:
    """A build whose server is killed and started again completes, and the server shows it as completed."""
    server = PrefectServer(make_home(tmp_path / "home")).start()
    try:
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
        assert job.run("verify", str(job.atlas)).returncode == 0
        run = server.flow_run("build-atlas restarted")
        assert run is not None
        assert run["state"]["type"] == "COMPLETED"
    finally:
        server.kill()


@pytest.mark.parametrize("server", ["configured", "temporary"])
def test_a_build_whose_server_has_died_for_good_ends_soon_with_a_whole_atlas(
    job: Job, tmp_path: Path, server: str
) -> None:
    """Rendering goes on, the exit code is that of the atlas, and one line says that the server was not told.

    Prefect itself would try to reach the server for a minute after each chunk, and for ten minutes at the end.
    """
    configured = PrefectServer(make_home(tmp_path / "home"))
    try:
        if server == "configured":
            job.environment |= {"PREFECT_API_URL": configured.start().api}
        else:
            del job.environment["PREFECT_API_URL"]
        job.write(name="alone", render=SLOW, compute={"processes": 1, "chunk_pairs": 1})
        build = job.start()
        wait_for(job.records, "the first record")
        if server == "configured":
            configured.kill()
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
        assert job.run("verify", str(job.atlas)).returncode == 0
    finally:
        configured.kill()


def command_line(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()
