"""Builds that share an atlas, whose processes hang, whose pairs all fail, and that publish while they render."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from job import ISTHMUS, LAYER, SMALL, Job, finish, wait_for
from prefect_parts import descendants, render_processes

SLOW = SMALL | {"steps": 120}  # long enough to be interrupted


def test_a_render_process_that_hangs_is_replaced(job: Job) -> None:
    """A process that is stopped in the middle of a chunk is killed after a while, and the atlas is completed.

    Meanwhile what there is is published.
    """
    job.write(render=SLOW, compute={"processes": 1, "chunk_pairs": 1, "publish_minutes": 0.01})
    build = job.start()
    wait_for((job.atlas / "index.html").exists, "the page")
    assert len(job.records()) < 6
    hanging = render_processes(descendants(build.pid))[0]
    os.kill(hanging, signal.SIGSTOP)
    _, complaints = finish(build)

    assert build.returncode == 0, complaints
    assert len(job.records()) == 6
    assert "a render process hangs with chunk " in complaints
    assert not Path(f"/proc/{hanging}").exists()


def test_builds_on_processors_of_their_own_share_an_atlas(job: Job) -> None:
    """Each pair is rendered by one of the builds, and both render some. The published atlas is intact."""
    job.write(
        name="shared", render=SLOW, pairs=job.spec["pairs"] | {"neurons": [f"{LAYER}:0-4"]}, compute={"chunk_pairs": 1}
    )
    processors = sorted(os.sched_getaffinity(0))
    builds = [job.start("taskset", "-c", str(one), str(ISTHMUS)) for one in (processors[0], processors[-1])]
    said = [finish(build) for build in builds]

    assert [build.returncode for build in builds] == [0, 0], said
    results = [json.loads(output) for output, _ in said]
    assert [result["done"] for result in results] == [10, 10]
    assert sum(result["rendered"] for result in results) == 10
    assert min(result["rendered"] for result in results) > 0
    assert len(list(job.atlas.glob("records/*"))) == 10
    assert job.run_here("verify", str(job.atlas)).returncode == 0
    assert list(job.atlas.glob("plan/leases/*")) == []


def test_a_second_build_on_the_same_processors_waits_and_takes_over(job: Job) -> None:
    """The second build renders nothing while the first one is at work, and renders the rest when that one is killed."""
    job.write(render=SLOW | {"steps": 300}, compute={"chunk_pairs": 1})
    one_processor = ("taskset", "-c", str(min(os.sched_getaffinity(0))), str(ISTHMUS))
    first = job.start(*one_processor)
    second = None
    try:
        wait_for(job.records, "the first record")
        second = job.start(*one_processor)
        wait_for(lambda: len(list(job.atlas.glob("plan/leases/*"))) == 2, "the second lease")
        assert render_processes(descendants(second.pid)) == []
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
    finished = len(job.records())
    output, complaints = finish(second)

    assert second.returncode == 0, complaints
    assert json.loads(output)["done"] == 6
    assert json.loads(output)["rendered"] == 6 - finished > 0


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
