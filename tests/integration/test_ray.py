"""Building on Ray: the same pixels as elsewhere, and nothing lost when one of its processes is killed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from job import SMALL, Job, finish, wait_for
from PIL import Image

SLOW = SMALL | {"steps": 120, "redirected_updates": 5}  # long enough to be interrupted


def pixels(job: Job) -> dict[str, bytes]:
    return {path.stem: Image.open(path).convert("RGB").tobytes() for path in job.atlas.glob("sheets/*/*.png")}


def ray_processes(job: Job, kind: str) -> list[int]:
    """Processes of the Ray that a job has started, found by its environment and by what they call themselves."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            mine = f"PREFECT_HOME={job.environment['PREFECT_HOME']}".encode() in (folder / "environ").read_bytes()
            if mine and kind.encode() in (folder / "cmdline").read_bytes().split(b"\0")[0]:
                found.append(int(folder.name))
        except OSError:  # it has just ended
            continue
    return found


def test_a_killed_ray_process_costs_one_chunk_and_the_pixels_are_those_of_local_processes(job: Job) -> None:
    """SIGKILL of a busy worker of Ray, in a walk atlas: the build completes, and no process of Ray is left."""
    job.write(strip="walk", render=SLOW, compute={"engine": "ray", "processes": 2, "chunk_pairs": 1})
    build = job.start()
    try:
        wait_for(job.records, "the first record", seconds=400)  # Ray begins anew for each of three stages
        busy = ray_processes(job, "ray::")
        os.kill(busy[0], signal.SIGKILL)
        killed_at = len(job.records())
    finally:
        output, complaints = finish(build)

    assert build.returncode == 0, complaints
    assert killed_at < 6
    assert json.loads(output)["done"] == 6
    assert job.run("verify", str(job.atlas)).returncode == 0
    wait_for(lambda: not ray_processes(job, "ray"), "all processes of Ray to end", seconds=30)

    on_ray = pixels(job)
    job.write(name="here", compute={"processes": 1, "chunk_pairs": 6})
    job.build()
    assert len(on_ray) == 6
    assert pixels(job) == on_ray
