"""Flights over a land: where the window is in each frame, and what it shows."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_land import block_pixels, make_land

from core.arrays import Pixels
from core.atlas.flight import fly, neurons_below, number_on
from core.atlas.land_picture import part
from core.atlas.route_picture import check_suffix, encode
from core.errors import SpecError
from core.neurons import Neuron
from core.pictures.land import Block, Land

LAND = make_land()


def read(block: Block) -> Pixels:
    return block_pixels(LAND, block)


def place(number: int) -> Pixels:
    row, column = LAND.place_of(number)
    return part(LAND, read, row * LAND.cell_px, column * LAND.cell_px, LAND.cell_px, LAND.cell_px)


@given(st.integers(0, 22), st.integers(0, 22), st.integers(2, 9))
@settings(max_examples=25)
def test_a_flight_begins_and_ends_on_the_places_of_its_neurons(first: int, last: int, frames: int) -> None:
    """The two ends are the places pixel by pixel; there are as many frames as asked for; backwards it is the same."""
    flight = fly(LAND, read, first, last, frames)

    assert flight.shape == (frames, LAND.cell_px, LAND.cell_px, 3)
    np.testing.assert_array_equal(flight[0], place(first))
    np.testing.assert_array_equal(flight[-1], place(last))
    backwards = fly(LAND, read, last, first, frames)[::-1].astype(int)
    assert np.abs(flight - backwards).max() <= 1


def test_the_window_moves_evenly_also_between_pixels() -> None:
    """On a land whose brightness rises by one per pixel to the right, each frame is lighter by the same step."""
    land = make_land(10, 10, 12, (1, 10))

    def slope(block: Block) -> Pixels:
        del block
        x = np.arange(land.block_size_px[1]) + land.origin_px(Block(0, 0))[1]
        bright = np.clip(x, 0, 255).astype(np.uint8)
        return np.broadcast_to(bright[:, np.newaxis], (land.block_size_px[0], len(bright), 3))

    flight = fly(land, slope, 1, 9, 65)

    assert flight[:, 5, 5, 0].tolist() == [round(17 + 1.5 * frame) for frame in range(65)]


def test_a_window_between_pixels_is_their_mean() -> None:
    """Half a pixel down and to the right, each pixel is the mean of four."""
    land = make_land(4, 2, 5, (2, 2))

    def blocks(block: Block) -> Pixels:
        return block_pixels(land, block)

    _, middle, _ = fly(land, blocks, 0, 3, 3)

    around = part(land, blocks, 2, 2, 6, 6).astype(float)
    mean = (around[:-1, :-1] + around[1:, :-1] + around[:-1, 1:] + around[1:, 1:]) / 4
    assert np.abs(middle - mean).max() <= 0.5


def test_each_frame_names_the_neuron_below_its_middle() -> None:
    """Names change halfway between places; on a place without a neuron of its own, the one above is named."""
    assert neurons_below(LAND, 0, 2, 9) == ["stem:0"] * 2 + ["stem:1"] * 4 + ["stem:2"] * 3
    below = neurons_below(make_land(8, 5), 7, 4, 4)
    assert (below[0], below[-1]) == ("stem:7", "stem:4")
    assert all(one != other for one, other in pairwise(neurons_below(LAND, 0, 22, 5)))


def test_a_neuron_without_a_place_is_refused() -> None:
    """The message has neurons with similar names."""
    assert number_on(LAND, Neuron("stem", 7)) == 7
    with pytest.raises(SpecError, match=r"expected a neuron with a place on the land, got stem:23; similar: stem:"):
        number_on(LAND, Neuron("stem", 23))


def test_a_long_flight_reads_each_block_once() -> None:
    """Neighbouring frames show the same blocks, which are not read again."""
    land = Land(tuple(Neuron("stem", channel) for channel in range(400)), 20, 4, 1, 1, 2)
    blocks: list[Block] = []

    def read_and_note(block: Block) -> Pixels:
        blocks.append(block)
        return block_pixels(land, block)

    fly(land, read_and_note, 0, 399, 200)

    assert len(blocks) == len(set(blocks)) < 100


def test_a_movie_in_mp4_shows_every_frame_for_its_time(tmp_path: Path) -> None:
    """Its frames have an even size and the colours of the pictures, and its ends stay for a second each."""
    import av

    colours = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200]], np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (3, 33, 40, 3))
    path = tmp_path / "movie.mp4"
    path.write_bytes(encode(frames, path, 50))

    with av.open(path) as movie:
        shown = list(movie.decode(video=0))
    assert [round(1000 * frame.time) for frame in shown[:4]] == [0, 1000, 1050, 2050]
    for frame, colour in zip(shown, colours, strict=False):
        pixels = frame.to_ndarray(format="rgb24")
        assert pixels.shape == (34, 40, 3)
        np.testing.assert_allclose(pixels.mean(axis=(0, 1)), colour, atol=12)


def test_without_an_encoder_a_movie_in_mp4_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says what to install, before anything is read."""
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(SpecError, match=r"^--output: a file name that ends in \.mp4 needs the packages of the extra"):
        check_suffix(Path("movie.mp4"))
