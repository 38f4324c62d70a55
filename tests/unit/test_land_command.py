"""`isthmus land` and `isthmus route --over-land`: the files that they write, and what they refuse."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Isthmus
from PIL import Image
from sample_land import block_pixels, make_land
from sample_records import atlas

from core.arrays import Pixels
from core.atlas.flight import fly
from core.atlas.land_picture import part
from core.atlas.land_plan import PlannedBlock, PlannedLand, write_land
from core.atlas.records import block_path
from core.pictures import sheets
from core.pictures.land import Block
from core.pictures.sheets import decode, encode_png
from core.spec import RenderSettings
from core.store.store import DirectoryStore

LAND = make_land(23, 5, 12)
KEYS = {block: f"{number:020x}" for number, block in enumerate(LAND.blocks)}


def read(block: Block) -> Pixels:
    return block_pixels(LAND, block)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    """An atlas with all blocks of a land, in the folder `small`."""
    store = atlas(tmp_path / "small")
    blocks = tuple(PlannedBlock(block, key, "0" * 20, ()) for block, key in KEYS.items())
    write_land(store, PlannedLand(LAND, "0" * 20, RenderSettings(), blocks))
    for block, key in KEYS.items():
        store.create(block_path(key), encode_png(read(block)))
    return store


def test_a_land_is_written_without_loss(isthmus: Isthmus, store: DirectoryStore) -> None:
    """The PNG has the pixels of the blocks, and the command says its size."""
    said = isthmus("land", str(store), "-o", "whole.png")

    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("whole.png: 60 x 60 px, 0.0 MB")
    np.testing.assert_array_equal(decode(Path("whole.png").read_bytes()), part(LAND, read, 0, 0, 60, 60))


@pytest.mark.parametrize(
    ("arguments", "corner"),
    [
        (["--part", "5,7,20,30"], (7, 5, 30, 20)),
        (["--part", " 59, 59, 1, 1"], (59, 59, 1, 1)),
        (["--around", "stem:7"], (0, 12, 36, 36)),
        (["--around", "stem:0"], (0, 0, 24, 24)),
        (["--around", "stem:22"], (36, 12, 24, 36)),
    ],
)
def test_a_part_is_written(
    isthmus: Isthmus, store: DirectoryStore, arguments: list[str], corner: tuple[int, int, int, int]
) -> None:
    """A part is given by its corner and size, or by a neuron, with the places around it."""
    said = isthmus("land", str(store), "-o", "part.png", *arguments, "--json")

    y, x, height, width = corner
    facts = json.loads(said.out)
    assert facts["part"] == {"x": x, "y": y, "width": width, "height": height}
    np.testing.assert_array_equal(decode(Path("part.png").read_bytes()), part(LAND, read, *corner))
    assert facts["bytes"] == Path("part.png").stat().st_size


def test_a_land_is_scaled_down(isthmus: Isthmus, store: DirectoryStore) -> None:
    """The scale counts for height and width; the picture is as bright as before."""
    isthmus("land", str(store), "-o", "small.webp", "--scale", "0.5", "--part", "0,0,60,31")

    small = decode(Path("small.webp").read_bytes())
    assert small.shape == (16, 30, 3)
    assert small.mean() == pytest.approx(part(LAND, read, 0, 0, 31, 60).mean(), abs=4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "land.jpg"], "--output: expected a file name that ends in .png or .webp, got land.jpg"),
        (["-o", "no/land.png"], "--output: expected a file in an existing folder, no does not exist"),
        (["--scale", "0"], "--scale: expected a number above 0 and up to 1, got 0"),
        (["--scale", "nan"], "--scale: expected a number above 0 and up to 1, got nan"),
        (["--part", "0,0,61,60"], "--part: expected X,Y,WIDTH,HEIGHT within 60 x 60 px, such as 0,0,512,512, got"),
        (["--part", "0,0,0,5"], "--part: expected X,Y,WIDTH,HEIGHT within"),
        (["--part", "-1,0,5,5"], "--part: expected X,Y,WIDTH,HEIGHT within"),
        (["--part", "around"], "--part: expected X,Y,WIDTH,HEIGHT within"),
        (["--part", "0,0,1,1", "--around", "stem:0"], "got --part and --around; give one of them"),
        (["--around", "stem:23"], "expected a neuron with a place on the land, got stem:23; similar: stem:"),
        (["--around", "stem"], "expected a neuron as 'layer:channel'"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(
    isthmus: Isthmus, store: DirectoryStore, arguments: list[str], message: str
) -> None:
    """Exit code 2, one line, and no file."""
    said = isthmus("land", str(store), *arguments)

    assert (said.code, said.out) == (2, "")
    assert message in said.err
    assert len(said.err.splitlines()) == 1
    assert [path.name for path in Path().iterdir()] == ["small"]


def test_a_webp_that_would_be_too_large_is_refused_with_a_scale_that_suffices(
    isthmus: Isthmus, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has the largest size and a scale; with that scale, the picture is written."""
    monkeypatch.setattr(sheets, "WEBP_LIMIT_PX", 41)

    said = isthmus("land", str(store), "-o", "land.webp")

    assert said.code == 2
    assert "WebP has at most 41 px in each direction, this picture has 60 x 60 px; write a .png, or give" in said.err
    scale = said.err.split("--scale of ")[1].split()[0]
    assert isthmus("land", str(store), "-o", "land.webp", "--scale", scale).code == 0
    assert isthmus("land", str(store), "-o", "land.png").code == 0


@pytest.mark.parametrize(
    "command", [["land"], ["route", "stem:0", "stem:7", "--over-land"]], ids=["land", "route --over-land"]
)
def test_an_unfinished_land_is_refused(isthmus: Isthmus, store: DirectoryStore, command: list[str]) -> None:
    """The message has the number of missing blocks."""
    store.delete(block_path(KEYS[Block(0, 0)]))

    said = isthmus(*command, str(store))

    assert said.code == 2
    assert "expected a finished land, 1 of its 6 blocks is missing; isthmus build with its spec renders" in said.err


def test_a_flight_is_written_as_a_sheet(isthmus: Isthmus, store: DirectoryStore) -> None:
    """The frames are side by side without loss; the neurons that it passes are printed."""
    said = isthmus("route", "stem:0", "stem:2", str(store), "--over-land", "-o", "flight.png", "--frames", "7")

    assert said.out == "flight.png: 7 frames over the land: stem:0 - stem:1 - stem:2\n"
    np.testing.assert_array_equal(sheets.split(decode(Path("flight.png").read_bytes()), 7), fly(LAND, read, 0, 2, 7))


def test_a_flight_is_written_as_a_movie_with_captions(isthmus: Isthmus, store: DirectoryStore) -> None:
    """A movie has 48 frames unless told otherwise, and captions below them."""
    said = isthmus("route", "stem:0", "stem:22", str(store), "--over-land", "--captions", "--json")

    facts = json.loads(said.out)
    assert (facts["file"], facts["frames"]) == ("route.webp", 48)
    assert (facts["neurons"][0], facts["neurons"][-1]) == ("stem:0", "stem:22")
    movie = Image.open(io.BytesIO(Path("route.webp").read_bytes()))
    assert movie.n_frames == 48  # type: ignore[attr-defined]
    assert (movie.width, movie.height > movie.width) == (12, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stem:0", "stem:0", "--over-land"], "expected two different neurons, got stem:0 twice"),
        (["stem:0", "stem:30", "--over-land"], "expected a neuron with a place on the land, got stem:30; similar: "),
        (["stem:0", "stem:1", "--frames", "9"], "--frames: a route has the frames of its strips; give --over-land"),
        (["stem:0", "stem:1", "--over-land", "-o", "x.gif"], "--output: expected a file name that ends in .webp"),
    ],
)
def test_a_flight_that_makes_no_sense_is_refused(
    isthmus: Isthmus, store: DirectoryStore, arguments: list[str], message: str
) -> None:
    """Exit code 2 and one line."""
    said = isthmus("route", *arguments[:2], str(store), *arguments[2:])

    assert said.code == 2
    assert message in said.err
    assert len(said.err.splitlines()) == 1
