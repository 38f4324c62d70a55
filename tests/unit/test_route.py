"""The picture of a route: junctions once, strips in the direction of the route, and the right captions."""

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
    """A store with two strips, a to b and c to b, whose frames each have one value."""
    store = DirectoryStore(tmp_path)
    for key, values in (("a" * 20, (10, 40, 70, 100)), ("c" * 20, (190, 160, 130, 100))):
        store.create(sheet_path(key), encode_png(np.concatenate([frame(value) for value in values], axis=1)))
    return store


def roads() -> list[Road]:
    """A route from a over b to c; its second strip runs backwards."""
    a, b, c = ("0" * 19 + name for name in "abc")
    first = Road("a" * 20, (a, b), ("stem:0", "stem:1"), 4, 1.0)
    return [first, Road("c" * 20, (c, b), ("stem:2", "stem:1"), 4, 1.0).backwards()]


def test_two_strips_share_the_frame_where_they_meet(store: DirectoryStore) -> None:
    """The frames lead from the first portrait to the last, each strip in the direction of the route."""
    frames = route.read_frames(store, roads())

    assert frames[:, 0, 0, 0].tolist() == [10, 40, 70, 100, 130, 160, 190]


def test_a_caption_names_the_nearer_portrait(store: DirectoryStore) -> None:
    """The name changes in the middle of a strip; the captions are below the frames, whose pixels stay the same."""
    names = route.captions(roads())
    frames = route.read_frames(store, roads())
    captioned = route.with_captions(frames, names)

    assert names == ["stem:0"] * 2 + ["stem:1"] * 3 + ["stem:2"] * 2
    np.testing.assert_array_equal(captioned[:, :SIZE], frames)
    written = captioned[:, SIZE:]
    assert all((one != 255).any() for one in written)
    assert (written[1] == written[0]).all()
    assert (written[2] != written[1]).any()


def test_a_movie_shows_every_frame_once_and_its_ends_longer(store: DirectoryStore) -> None:
    """The animated WebP repeats without end; each end is shown for a second."""
    movie = Image.open(io.BytesIO(route.encode(route.read_frames(store, roads()), Path("route.webp"))))
    durations = []
    for number in range(movie.n_frames):  # type: ignore[attr-defined]
        movie.seek(number)
        movie.load()
        durations.append(movie.info["duration"])

    assert durations == [1000, 200, 200, 200, 200, 200, 1000]
    assert movie.info["loop"] == 0


def test_a_sheet_has_the_frames_side_by_side_without_loss(store: DirectoryStore) -> None:
    """The pixels are those of the atlas."""
    frames = route.read_frames(store, roads())

    np.testing.assert_array_equal(decode(route.encode(frames, Path("route.PNG"))), np.concatenate(list(frames), axis=1))


def test_a_damaged_sheet_and_an_unknown_suffix_are_reported(store: DirectoryStore) -> None:
    """The message has the file, what was expected and what to do."""
    store.replace(sheet_path("a" * 20), b"no picture")
    with pytest.raises(RecordError, match=r"sheets/aa/a+\.png: expected a sheet of 4 frames, .*; run isthmus verify"):
        route.read_frames(store, roads())
    with pytest.raises(SpecError, match=r"--output: expected a file name that ends in .webp or .*, got strip.gif"):
        route.check_suffix(Path("strip.gif"))
