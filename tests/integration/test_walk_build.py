"""A walkable atlas, built by the command line: killed in each stage, completed, verified and used for a route."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from job import Job, wait_for
from PIL import Image
from prefect_parts import descendants, render_processes

from core.atlas.records import portrait_path, sheet_path

sys.path.insert(0, str(Path(__file__).parents[1]))
from walks import LAYER, RENDER

SLOW = RENDER | {"steps": 300}
ONE_BY_ONE = {"processes": 1, "chunk_pairs": 1}


def recorded(job: Job, name: str) -> set[Path]:
    return set((job.atlas / "portraits" / "records").glob(f"{name}-*.ndjson"))


def kill_when(job: Job, condition: Callable[[], object], what: str) -> set[int]:
    """Start a build, kill it with all its processes once the condition holds, and return the ids of its renderers."""
    build = job.start()
    rendered: set[int] = set()

    def met() -> object:
        rendered.update(render_processes(descendants(build.pid)))
        return condition()

    try:
        wait_for(met, what)
    finally:
        os.killpg(build.pid, signal.SIGKILL)
        build.communicate()
    return rendered


def pixels(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(path).convert("RGB"))


def test_a_walkable_atlas_that_is_killed_in_its_stages_is_completed_and_its_roads_meet(job: Job) -> None:
    """SIGKILL of the build and all its processes loses nothing that has a record, nothing finished is rendered again,
    and no pixel changes; every strip begins and ends on its portraits; a route can be written."""
    job.write(strip="walk", pairs={"select": "all", "neurons": [f"{LAYER}:0-3"]}, render=SLOW, compute=ONE_BY_ONE)
    kill_when(job, lambda: recorded(job, "portraits"), "the first portrait")
    portraits = {path: path.read_bytes() for path in recorded(job, "portraits") | recorded(job, "canvas")}
    assert 2 <= len(portraits) < 5
    assert len(kill_when(job, job.records, "the first strip")) == 1, "one process renders portraits and strips"
    strips = job.records()
    assert 0 < len(strips) < 6
    sheets = {key: job.sheets()[key] for key in strips}

    planned = json.loads(job.run_here("plan", str(job.spec_file), "--json").stdout)
    rest = job.build()

    assert (planned["missing"], planned["portraits_missing"]) == (6 - len(strips), 0)
    assert (rest["rendered"], rest["done"], rest["missing"]) == (6 - len(strips), 6, 0)
    assert {path: path.read_bytes() for path in portraits} == portraits
    assert {key: job.records()[key] for key in strips} == strips
    assert {key: job.sheets()[key] for key in strips} == sheets
    assert job.run_here("verify", str(job.atlas)).returncode == 0
    for key, record in job.records().items():
        sheet = pixels(job.atlas / sheet_path(key))
        for frame, portrait in ((sheet[:, :32], record["portraits"][0]), (sheet[:, -32:], record["portraits"][1])):
            np.testing.assert_array_equal(frame, pixels(job.atlas / portrait_path(portrait)))
    assert job.build()["rendered"] == 0

    killed, killed_atlas = job.records().keys(), job.atlas
    job.write(name="unbroken", compute={"processes": 1, "chunk_pairs": 2})
    assert job.build()["done"] == 6
    assert job.records().keys() == killed
    for key in killed:
        np.testing.assert_array_equal(pixels(job.atlas / sheet_path(key)), pixels(killed_atlas / sheet_path(key)))

    movie = job.folder / "route.webp"
    routed = job.run_here("route", f"{LAYER}:3", f"{LAYER}:0", str(job.atlas), "-o", str(movie), "--captions", "--json")
    assert json.loads(routed.stdout)["neurons"] == [f"{LAYER}:3", f"{LAYER}:0"]
    with Image.open(movie) as shown:
        assert (getattr(shown, "n_frames", 1), shown.size) == (4, (32, 32 + 18))
