"""Builds that share an atlas, whose processes hang, whose pairs all fail, and that publish while they render."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

from job import ISTHMUS, LAYER, SMALL, Job, finish, wait_for
from prefect_parts import descendants, render_processes, stop_rendering

SLOW = SMALL | {"steps": 120}  # long enough to be interrupted


def test_builds_on_processors_of_their_own_share_an_atlas_and_replace_a_process_that_hangs(job: Job) -> None:
    """Each pair is rendered by one of the builds, and both render some. The published atlas is intact.

    A render process that is stopped in the middle of a chunk is killed after a while, and the chunk is rendered again.
    Meanwhile what there is is published.
    """
    job.write(
        name="shared",
        render=SLOW,
        pairs=job.spec["pairs"] | {"neurons": [f"{LAYER}:0-4"]},
        compute={"chunk_pairs": 1, "publish_minutes": 0.01},
    )
    processors = sorted(os.sched_getaffinity(0))
    builds = [job.start("taskset", "-c", str(one), str(ISTHMUS)) for one in (processors[0], processors[-1])]
    held: list[set[str]] = [set(), set()]
    found: list[tuple[int, int]] = []

    def is_rendering() -> bool:
        for place, build in enumerate(builds):
            found.extend((place, process) for process in rendering(job, build, held[place]))
        return bool(found)

    wait_for(is_rendering, "one of the builds to render another chunk")
    place, hanging = found[0]
    os.kill(hanging, signal.SIGSTOP)
    wait_for((job.atlas / "index.html").exists, "the page")
    assert len(job.records()) < 10
    said = [finish(build) for build in builds]

    assert [build.returncode for build in builds] == [0, 0], said
    assert "a render process hangs with chunk " in said[place][1]
    assert not Path(f"/proc/{hanging}").exists()
    results = [json.loads(output) for output, _ in said]
    assert [result["done"] for result in results] == [10, 10]
    assert sum(result["rendered"] for result in results) == 10
    assert min(result["rendered"] for result in results) > 0
    assert len(list(job.atlas.glob("records/*"))) == 10
    assert job.run_here("verify", str(job.atlas)).returncode == 0
    assert list(job.atlas.glob("plan/leases/*")) == []


def rendering(job: Job, build: subprocess.Popen[str], held: set[str]) -> list[int]:
    """Return the processes of a build that render a chunk now and, very likely, have rendered another one.

    Children of the fork server that are about to become other programs have one thread; render processes have several.

    Args:
        held: the chunks that the build was seen to hold; those that it holds now are added.
    """
    for path in job.atlas.glob("plan/leases/*"):
        with contextlib.suppress(OSError, ValueError):  # the build has just ended, or the lease is being replaced
            lease = json.loads(path.read_text())
            if lease["process"] == build.pid:
                recorded = {records.stem for records in job.atlas.glob("records/*")}
                held |= set(lease["chunks"])
                if held & recorded and set(lease["chunks"]) - recorded:
                    tasks = {pid: Path(f"/proc/{pid}/task") for pid in render_processes(descendants(build.pid))}
                    return [pid for pid, task in tasks.items() if len(list(task.iterdir())) > 1]
    return []


def test_a_second_build_on_the_same_processors_waits_and_takes_over(job: Job) -> None:
    """The second build renders nothing while the first one is at work, and renders the rest when that one is killed."""
    pairs = [[f"{LAYER}:0", f"{LAYER}:{channel}"] for channel in range(1, 5)]
    job.write(render=SLOW, pairs={"select": "list", "list": pairs}, compute={"chunk_pairs": 1})
    one_processor = ("taskset", "-c", str(min(os.sched_getaffinity(0))), str(ISTHMUS))
    first = job.start(*one_processor)
    second = None
    try:
        wait_for(job.records, "the first record")
        stop_rendering(descendants(first.pid))  # so that it does not render the rest while the second build loads
        second = job.start(*one_processor)
        wait_for(lambda: len(list(job.atlas.glob("plan/leases/*"))) == 2, "the second lease")
        assert render_processes(descendants(second.pid)) == []
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
    finished = len(job.records())
    output, complaints = finish(second)

    assert second.returncode == 0, complaints
    assert json.loads(output)["done"] == 4
    assert json.loads(output)["rendered"] == 4 - finished > 0


DIVERGES = SMALL | {
    "frames": 8,
    "alignment": {"scale": "lucid", "layers": ["block0"], "weight": 1e6, "decay": 1e-6},
}


def test_a_build_ends_early_after_the_failures_that_its_spec_allows(job: Job) -> None:
    """The message has the number of failures and the setting; what was rendered is published."""
    job.write(render=DIVERGES, compute={"processes": 1, "chunk_pairs": 1, "stop_after_failures": 2})
    stopped = job.run("build", str(job.spec_file), "--json")

    assert stopped.returncode == 1
    result = json.loads(stopped.stdout)
    assert (result["failed"], result["missing"]) == (2, 4)
    assert len(result["failures"]) == 2
    assert "2 pairs have failed, and compute.stop_after_failures is 2" in stopped.stderr
    assert (job.atlas / "index.html").exists()
