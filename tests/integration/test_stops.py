"""Builds that are stopped or killed, whole or in part, with a real Prefect server and real processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from job import ISTHMUS, LAYER, PATIENCE_SECONDS, SMALL, Job, finish, wait_for
from prefect_parts import descendants, fork_servers, kill_one, render_processes

sys.path.insert(0, str(Path(__file__).parents[1]))

from hostile_images import encoded, picture

from flows.engines import fork_server

SLOW = SMALL | {"steps": 120}  # long enough to be interrupted
FORKED = fork_server.context().get_start_method() == "forkserver"
"""Whether render processes are forked; with Python 3.10 each is started anew."""


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder for temporary files with so short a path that a fork server's socket can be there."""
    with tempfile.TemporaryDirectory(prefix="isthmus-") as folder:
        yield Path(folder)


def test_render_processes_that_are_killed_are_replaced(job: Job) -> None:
    """SIGKILL of a process that loads, of one that renders, and of the process from which all are forked, delays the
    build; it completes and leaves none."""
    pairs = [[f"{LAYER}:0", f"{LAYER}:{channel}"] for channel in range(1, 5)]
    job.write(render=SLOW, pairs={"select": "list", "list": pairs}, compute={"processes": 1, "chunk_pairs": 1})

    build = job.start()
    try:
        wait_for(lambda: kill_one(render_processes(descendants(build.pid))), "a render process")
        wait_for(job.records, "the first record")
        wait_for(lambda: kill_one(render_processes(descendants(build.pid))), "a process that renders")
        if FORKED:
            wait_for(lambda: kill_one(fork_servers(descendants(build.pid))), "the fork server")
        killed_at = len(job.records())
    finally:
        output, complaints = finish(build)

    assert build.returncode == 0, complaints
    assert killed_at < 4
    assert json.loads(output)["done"] == 4
    assert job.run_here("verify", str(job.atlas)).returncode == 0
    wait_for(lambda: not job.processes(), "all processes of the build to end")


# A build that is stopped when the first chunk has left its records, before the build counts its pairs.
_STOPPED_WHEN_RECORDED = """
import os, signal, sys
from core.atlas.leases import Leases
from flows.cli import main

if __name__ == "__main__":
    Leases.release = lambda self, chunk: os.kill(os.getpid(), signal.SIGTERM)
    sys.argv[0] = "isthmus"
    main()
"""


@pytest.mark.parametrize(("stop", "server"), [(signal.SIGINT, "temporary"), (signal.SIGTERM, "configured")])
def test_a_stopped_build_ends_soon_and_can_be_resumed(job: Job, stop: signal.Signals, server: str) -> None:
    """After Ctrl-C, which reaches every process of a terminal, and after SIGTERM, which reaches the build alone, the
    build says one line, leaves no process behind, loses nothing, and publishes what there is."""
    command = [str(ISTHMUS)]
    if server == "temporary":
        del job.environment["PREFECT_API_URL"]
    if stop == signal.SIGTERM:
        script = job.folder / "isthmus_stopped.py"
        script.write_text(_STOPPED_WHEN_RECORDED)
        command = [sys.executable, str(script)]
    job.write(render=SLOW, compute={"processes": 1, "chunk_pairs": 1})
    build = job.start(*command)
    try:
        if stop == signal.SIGINT:
            wait_for(job.records, "the first record")
            os.killpg(build.pid, stop)
        output, complaints = build.communicate(timeout=PATIENCE_SECONDS)

        assert build.returncode == 128 + stop, complaints
        assert json.loads(output)["error"] == "interrupted; to resume, run the same command again"
        assert complaints.splitlines() == ["isthmus: interrupted; to resume, run the same command again"]
        wait_for(lambda: not job.processes(), "all processes of the build to end")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(build.pid, signal.SIGKILL)
    finished = job.records()
    assert 0 < len(finished) < 6
    manifest = json.loads((job.atlas / "manifest.json").read_text())
    assert manifest["counts"]["pairs"] == len(finished)

    assert json.loads(job.run_here("plan", str(job.spec_file), "--json").stdout)["missing"] == 6 - len(finished)


# A build that is stopped when its first render process exists and has not yet received its first message.
_STOPPED_AT_THE_WORST_MOMENT = """
import os, signal, sys, time
from multiprocessing import forkserver, util
from flows.cli import main
from flows.engines import fork_server

def stop_after(begin, is_for_rendering):
    def begin_and_stop(*arguments):
        begun = begin(*arguments)
        if is_for_rendering(arguments):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)
        return begun
    return begin_and_stop

if __name__ == "__main__":
    if fork_server.context().get_start_method() == "forkserver":
        forkserver.connect_to_new_process = stop_after(forkserver.connect_to_new_process, lambda _: True)
    else:
        util.spawnv_passfds = stop_after(util.spawnv_passfds, lambda arguments: "spawn_main" in str(arguments))
    sys.argv[0] = "isthmus"
    main()
"""


def test_a_build_that_is_stopped_while_it_begins_a_process_says_one_line(job: Job) -> None:
    """Without protection, a process whose start is interrupted would print an error about its empty input."""
    script = job.folder / "isthmus_stopping.py"
    script.write_text(_STOPPED_AT_THE_WORST_MOMENT)
    job.write(compute={"processes": 1, "chunk_pairs": 1})

    build = job.start(sys.executable, str(script))
    _, complaints = finish(build)

    assert build.returncode == 128 + signal.SIGTERM, complaints
    assert complaints.splitlines() == ["isthmus: interrupted; to resume, run the same command again"]
    wait_for(lambda: not job.processes(), "all processes of the build to end")


def test_a_build_that_is_stopped_while_it_loads_ends_soon(job: Job) -> None:
    """A build ends after Ctrl-C when its first render process has started and before its server answers."""
    del job.environment["PREFECT_API_URL"]
    job.write(compute={"processes": 1, "chunk_pairs": 1})
    build = job.start()
    try:
        wait_for(lambda: render_processes(descendants(build.pid)), "a render process")
        os.killpg(build.pid, signal.SIGINT)
        _, complaints = build.communicate(timeout=PATIENCE_SECONDS)

        assert build.returncode == 128 + signal.SIGINT, complaints
        assert complaints.splitlines() == ["isthmus: interrupted; to resume, run the same command again"]
        wait_for(lambda: not job.processes(), "all processes of the build to end")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(build.pid, signal.SIGKILL)


def test_nothing_outlives_a_command_that_is_killed_and_the_next_one_resumes(job: Job, short_folder: Path) -> None:
    """SIGKILL of the process of `isthmus images` alone also ends its render processes and its temporary server, with
    its files. The same command again reads the rest of the photographs; none is lost or counted twice."""
    photographs = job.folder / "photographs"
    photographs.mkdir()
    for number in range(400):
        (photographs / f"{number:03}.jpg").write_bytes(encoded(picture(number), "JPEG"))
    job.write(images={"source": str(photographs)}, compute={"processes": 1})
    server = job.environment.pop("PREFECT_API_URL")
    temporary = short_folder
    job.environment["TMPDIR"] = str(temporary)

    def parts() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (job.atlas / "images" / "records").glob("*.ndjson")}

    killed = job.start(command="images")
    try:
        wait_for(parts, "the first part")
        wait_for(
            lambda: len(job.processes()) >= 4 + FORKED,
            "itself, one to render, its fork server if there is one, one for resources, one server",
        )
        assert list(temporary.glob("isthmus-prefect-*/prefect.db"))
        killed.kill()
        killed.communicate()

        wait_for(lambda: not job.processes(), "all its processes to end")
        assert not list(temporary.glob("isthmus-prefect-*"))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(killed.pid, signal.SIGKILL)
    [first] = parts().items()

    job.environment["PREFECT_API_URL"] = server
    resumed = job.run("images", str(job.spec_file), "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["images_read"] == 400
    assert first in parts().items()
    assert [json.loads(record)["count"] for record in parts().values()] in ([208, 192], [192, 208])
    verified = json.loads(job.run_here("verify", str(job.atlas), "--json").stdout)
    assert (verified["damaged"], verified["images"]["missing"]) == ([], 0)
