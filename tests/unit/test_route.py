"""A route as a picture: junctions once, strips turned as they are walked, names where they belong."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.atlas import route_picture as route
from core.atlas.records import sheet_path
from core.atlas.roads import Road
from core.errors import RecordError, SpecError
from core.pictures.sheets import decode, encode_png
from core.store.store import DirectoryStore

SIZE = 8


def frame(value: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full((SIZE, SIZE, 3), value, np.uint8)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    """Two strips, a to b and c to b, whose frames have numbers for colours."""
    made = DirectoryStore(tmp_path)
    for key, values in (("a" * 20, (10, 40, 70, 100)), ("c" * 20, (190, 160, 130, 100))):
        made.create(sheet_path(key), encode_png(np.concatenate([frame(value) for value in values], axis=1)))
    return made


def way() -> list[Road]:
    """From a over b to c: the second strip backwards."""
    a, b, c = ("0" * 19 + name for name in "abc")
    there = Road("a" * 20, (a, b), ("stem:0", "stem:1"), 4, 1.0)
    return [there, Road("c" * 20, (c, b), ("stem:2", "stem:1"), 4, 1.0).backwards()]


def test_where_two_strips_meet_there_is_one_frame(store: DirectoryStore) -> None:
    """From the first portrait to the last, each strip in the direction of the way."""
    frames = route.read_frames(store, way())

    assert frames[:, 0, 0, 0].tolist() == [10, 40, 70, 100, 130, 160, 190]


def test_a_name_is_that_of_the_nearer_portrait(store: DirectoryStore) -> None:
    """It changes in the middle of a strip; the picture grows by a line below, and its frames stay as they are."""
    names = route.captions(way())
    frames = route.read_frames(store, way())
    captioned = route.with_captions(frames, names)

    assert names == ["stem:0"] * 2 + ["stem:1"] * 3 + ["stem:2"] * 2
    np.testing.assert_array_equal(captioned[:, :SIZE], frames)
    written = captioned[:, SIZE:]
    assert all((one != 255).any() for one in written)
    assert (written[1] == written[0]).all()
    assert (written[2] != written[1]).any()


def test_a_movie_shows_every_frame_once_and_rests_at_its_ends(store: DirectoryStore) -> None:
    """An animated WebP, for ever; the ends can be looked at."""
    movie = Image.open(io.BytesIO(route.encode(route.read_frames(store, way()), Path("route.webp"))))
    durations = []
    for number in range(movie.n_frames):  # type: ignore[attr-defined]
        movie.seek(number)
        movie.load()
        durations.append(movie.info["duration"])

    assert durations == [1000, 200, 200, 200, 200, 200, 1000]
    assert movie.info["loop"] == 0


def test_a_sheet_has_the_frames_side_by_side_without_loss(store: DirectoryStore) -> None:
    """The pixels are those of the atlas."""
    frames = route.read_frames(store, way())

    np.testing.assert_array_equal(decode(route.encode(frames, Path("route.PNG"))), np.concatenate(list(frames), axis=1))


def test_a_damaged_sheet_and_a_strange_suffix_are_told(store: DirectoryStore) -> None:
    """With the file, what was expected and what to do."""
    store.replace(sheet_path("a" * 20), b"no picture")
    with pytest.raises(RecordError, match=r"sheets/aa/a+\.png: expected a sheet of 4 frames, .*; run isthmus verify"):
        route.read_frames(store, way())
    with pytest.raises(SpecError, match=r"--output: expected a file name that ends in .webp, .*, got strip.gif"):
        route.check_suffix(Path("strip.gif"))
