"""A walkable atlas with a land, built by the command line: killed in its stages, completed, and the same as unbroken.

All tests ask about the same atlas.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from job import Job
from PIL import Image

from core.atlas.plan import make_plan
from core.atlas.plan_files import read_chunk, write_plan
from core.atlas.records import portrait_path, sheet_path
from core.rendering.chunk import render_chunk
from core.spec import AtlasSpec
from core.spec_file import read_spec
from core.store.store import DirectoryStore, Store

sys.path.insert(0, str(Path(__file__).parents[1]))
from walks import LAYER, RENDER

LAND = {"neurons": [f"{LAYER}:0-31"], "cell_px": 32, "steps": 40, "columns": 6}  # four blocks, one after another
# Python imports this in every process that it starts. Once there is a record in DEADLY_RECORDS, the next picture in
# DEADLY_PICTURES is stored, and then the build and all its processes are killed.
_DEADLY = """
import os, signal, sys
from pathlib import Path
import core.store.store as stores

folder, keep_well = Path(__file__).parent, stores.keep

def keep_and_die(store, path, data):
    with (folder / "rendered").open("a") as rendered:
        print(os.getpid(), file=rendered)
    kept = keep_well(store, path, data)
    atlas = Path(os.environ["DEADLY_ATLAS"])
    if path.startswith(os.environ["DEADLY_PICTURES"]) and list(atlas.glob(os.environ["DEADLY_RECORDS"])):
        os.killpg(0, signal.SIGKILL)
    return kept

for module in list(sys.modules.values()):  # some may have imported the function already
    if getattr(module, "__dict__", {}).get("keep") is keep_well:
        module.keep = keep_and_die
"""


@dataclass
class Killed:
    """An atlas that two builds have begun and a third one has completed.

    Attributes:
        portraits, strips: how many were recorded when the last build was killed.
        blocks: how many were recorded each time a build was killed.
        files: the records of these and the sheets of the strips: path -> content and time of the last change.
        renderers: ids of the processes of the second build that have stored pictures.
        planned: what `plan` says is missing before the third build.
        rest: the result of the third build.
    """

    job: Job
    portraits: int = 0
    strips: int = 0
    blocks: list[int] = field(default_factory=list)
    files: dict[Path, tuple[bytes, int]] = field(default_factory=dict)
    renderers: set[str] = field(default_factory=set)
    planned: dict[str, Any] = field(default_factory=dict)
    rest: dict[str, Any] = field(default_factory=dict)

    def recorded(self, pattern: str) -> list[Path]:
        return list(self.job.atlas.glob(pattern))

    def kill(self, records: str, pictures: str) -> None:
        """Build, be killed while the second item of a stage is rendered, and keep what there is.

        Args:
            records: pattern of the records of the stage.
            pictures: folder of the pictures of the stage.
        """
        usual = dict(self.job.environment)
        (folder := self.job.folder / "site").mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(_DEADLY)
        (folder / "rendered").unlink(missing_ok=True)
        self.job.environment |= {
            "PYTHONPATH": str(folder),
            "DEADLY_ATLAS": str(self.job.atlas),
            "DEADLY_RECORDS": records,
            "DEADLY_PICTURES": pictures,
        }
        build = self.job.run_loaded("build", str(self.job.spec_file))
        self.job.environment = usual
        assert build.returncode == -signal.SIGKILL
        self.renderers = set((folder / "rendered").read_text().split())
        self.portraits = len(self.recorded("portraits/records/portraits-*"))
        self.strips = len(self.job.records())
        self.blocks.append(len(self.recorded("land/records/*.ndjson")))
        strips = [self.job.atlas / sheet_path(key) for key in self.job.records()]
        self.files = contents([*self.recorded("**/*.ndjson"), *strips]) | self.files


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, new_job: Callable[[Path], Job]) -> Killed:
    """The atlas, of which one process renders all until it is killed, and two processes the rest."""
    made = Killed(new_job(tmp_path_factory.mktemp("killed")))
    made.job.write(strip="walk", land=LAND, render=RENDER, compute={"processes": 1, "chunk_pairs": 1})
    made.job.write(pairs={"select": "all", "neurons": [f"{LAYER}:0-3"]})
    made.kill("portraits/records/portraits-*", "portraits/")
    assert made.portraits == 1
    made.kill("records/*.ndjson", "sheets/")
    assert made.strips == 1
    assert made.blocks == [2, 4]  # the second build has rendered those that the first one left
    made.planned = json.loads(made.job.run_here("plan", str(made.job.spec_file), "--json").stdout)
    made.job.write(compute={"processes": 2, "chunk_pairs": 1})
    made.rest = made.job.build()
    return made


def test_a_build_that_is_killed_in_its_stages_loses_nothing_that_has_a_record(killed: Killed) -> None:
    """Whatever has a record is not rendered again, and keeps its bytes; the same command completes the rest."""
    planned, rest, blocks = killed.planned, killed.rest, killed.blocks[-1]
    assert (planned["missing"], planned["portraits_missing"]) == (6 - killed.strips, 0)
    assert (rest["pairs"], rest["rendered"], rest["done"], rest["missing"]) == (6, 6 - killed.strips, 6, 0)
    assert (rest["blocks"], rest["blocks_rendered"], rest["blocks_done"]) == (4, 4 - blocks, 4)
    assert contents(killed.files) == killed.files

    verified = killed.job.run_here("verify", str(killed.job.atlas))
    again = killed.job.build()

    assert verified.returncode == 0, verified.stdout
    assert (again["rendered"], again["blocks_rendered"]) == (0, 0)


def test_one_process_renders_portraits_blocks_and_strips(killed: Killed) -> None:
    """The stages of a build follow one another in the same process."""
    assert len(killed.renderers) == 1


def test_every_strip_begins_and_ends_on_its_portraits(killed: Killed) -> None:
    """The roads of a walkable atlas meet, to the last pixel, and a route of them is a movie."""
    atlas = killed.job.atlas
    for key, record in killed.job.records().items():
        sheet = pixels(atlas / sheet_path(key))
        for frame, portrait in ((sheet[:, :32], record["portraits"][0]), (sheet[:, -32:], record["portraits"][1])):
            np.testing.assert_array_equal(frame, pixels(atlas / portrait_path(portrait)))

    ends, movie = [f"{LAYER}:3", f"{LAYER}:0"], killed.job.folder / "route.webp"
    routed = killed.job.run_here("route", *ends, str(atlas), "-o", str(movie), "--captions", "--json")

    assert json.loads(routed.stdout)["neurons"] == ends
    with Image.open(movie) as shown:
        assert (getattr(shown, "n_frames", 1), shown.size) == (4, (32, 32 + 18))


def test_the_land_is_written_into_one_file(killed: Killed) -> None:
    """`isthmus land` shows the blocks together, and prints the size of the picture."""
    written = killed.job.run_here("land", str(killed.job.atlas), "-o", str(killed.job.folder / "land.png"))

    assert (written.returncode, written.stderr) == (0, "")
    assert "192 x 192 px" in written.stdout


def test_no_pixel_depends_on_where_a_build_was_killed_or_on_the_number_of_its_processes(killed: Killed) -> None:
    """The same atlas, rendered without a break by one process, has the same strips and the same land."""
    job, unbroken = killed.job, killed.job.folder / "unbroken"
    job.write(compute={"processes": 1, "chunk_pairs": 2})

    render_here(read_spec(job.spec_file), DirectoryStore(unbroken))

    keys = job.records().keys()
    assert len(keys) == 6
    for key in keys:
        np.testing.assert_array_equal(pixels(unbroken / sheet_path(key)), pixels(job.atlas / sheet_path(key)))
    assert len(blocks(job.atlas)) == 4
    assert blocks(unbroken) == blocks(job.atlas)


def render_here(spec: AtlasSpec, store: Store) -> None:
    """Plan and render in this process, until nothing is missing."""
    while (plan := make_plan(spec, store, 1)).chunks:
        write_plan(store, plan)
        for chunk in plan.chunks:
            render_chunk(read_chunk(store, plan.path, chunk.name), store)


def contents(paths: Iterable[Path]) -> dict[Path, tuple[bytes, int]]:
    """Return path -> content and time of the last change in nanoseconds."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def pixels(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(path).convert("RGB"))


def blocks(atlas: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (atlas / "land" / "blocks").glob("*.png")}
