"""An atlas with a land, built by the command line: killed between its stages, completed, and the same as unbroken."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import yaml
from job import Job, wait_for

from core.atlas.plan import make_plan
from core.atlas.plan_files import read_chunk, write_plan
from core.rendering.chunk import render_chunk
from core.spec_file import parse_spec
from core.store.store import DirectoryStore

sys.path.insert(0, str(Path(__file__).parents[1]))
from walks import LAYER, RENDER

LAND = {"neurons": [f"{LAYER}:0-31"], "cell_px": 32, "steps": 40, "columns": 6}
PAIRS = {"select": "list", "list": [[f"{LAYER}:0", f"{LAYER}:1"]]}


def blocks(atlas: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (atlas / "land" / "blocks").glob("*.png")}


def test_a_land_that_is_killed_between_its_stages_is_completed_and_the_same_as_unbroken(job: Job) -> None:
    """SIGKILL loses no block that has a record; two processes give the bytes of one; the commands show the land."""
    job.write(land=LAND, pairs=PAIRS, render=RENDER, compute={"processes": 1})
    records = job.atlas / "land" / "records"
    build = job.start()
    try:
        wait_for(lambda: list(records.glob("*.ndjson")), "the first block")
    finally:
        os.killpg(build.pid, signal.SIGKILL)
        build.communicate()
    kept = {path: path.read_bytes() for path in records.glob("*.ndjson")}
    assert 1 <= len(kept) < 4

    job.write(compute={"processes": 2})
    done = job.build()

    assert (done["blocks"], done["blocks_done"], done["blocks_rendered"]) == (4, 4, 4 - len(kept))
    assert (done["pairs"], done["done"], done["missing"]) == (1, 1, 0)
    assert {path: path.read_bytes() for path in kept} == kept
    assert job.run("verify", str(job.atlas)).returncode == 0
    assert job.build()["blocks_rendered"] == 0
    written = job.run("land", str(job.atlas), "-o", str(job.folder / "land.png"))
    assert (written.returncode, written.stderr) == (0, "")
    assert "192 x 192 px" in written.stdout

    spec = parse_spec(yaml.safe_load(job.spec_file.read_text()) | {"pairs": None}, "here")
    unbroken = DirectoryStore(job.folder / "unbroken")
    while (plan := make_plan(spec, unbroken, 1)).chunks:
        write_plan(unbroken, plan)
        for chunk in plan.chunks:
            render_chunk(read_chunk(unbroken, plan.path, chunk.name), unbroken)
    assert blocks(job.atlas) == blocks(job.folder / "unbroken")
