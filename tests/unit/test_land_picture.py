"""The picture of a land: what its pixels are, in whole, in parts, and at each level of its pyramid."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_land import make_land

from core.arrays import Pixels
from core.atlas import land_picture
from core.atlas.land_picture import TILE_PX, level_sizes, part, pyramid, tile_places
from core.errors import ShapeError
from core.pictures.land import Block, Land


def random_blocks(land: Land) -> Callable[[Block], Pixels]:
    """Return a function that reads blocks of random pixels, always the same ones."""

    def read(block: Block) -> Pixels:
        dice = np.random.default_rng(tuple(block))
        return dice.integers(0, 256, (*land.block_size_px, 3), np.uint8)

    return read


def noting(read: Callable[[Block], Pixels], blocks: list[Block]) -> Callable[[Block], Pixels]:
    """Return a function that reads blocks and appends each to a list."""

    def read_and_note(block: Block) -> Pixels:
        blocks.append(block)
        return read(block)

    return read_and_note


def whole(land: Land, read: Callable[[Block], Pixels]) -> Pixels:
    return part(land, read, 0, 0, *land.size_px)


def test_a_pixel_is_that_of_the_block_rendered_last() -> None:
    """The picture is painted block over block, in the order of their turns."""
    land = make_land()
    read = random_blocks(land)
    margin, (height, width) = 100, land.size_px
    pixels = np.zeros((400, 400, 3), np.uint8)
    for turn in range(4):
        for block in land.blocks:
            if block.turn == turn:
                y, x = (corner + margin for corner in land.origin_px(block))
                pixels[y : y + land.block_size_px[0], x : x + land.block_size_px[1]] = read(block)

    np.testing.assert_array_equal(whole(land, read), pixels[margin : margin + height, margin : margin + width])


def test_a_block_by_itself_keeps_its_pixels() -> None:
    """Where no other block is, the land has exactly the pixels of the block, and all 256 values are kept."""
    land = make_land(4, 2, 32, (2, 2))
    read = random_blocks(land)
    first = read(Block(0, 0))
    inner = slice(land.margin_px, -land.margin_px)

    assert len(np.unique(first)) == 256
    np.testing.assert_array_equal(part(land, read, 0, 0, *land.size_px), first[inner, inner])


@given(st.integers(1, 30), st.integers(1, 7), st.tuples(st.integers(1, 3), st.integers(1, 3)), st.data())
@settings(max_examples=40)
def test_a_part_is_the_crop_of_the_whole(
    neurons: int, columns: int, shape: tuple[int, int], data: st.DataObject
) -> None:
    """Any part has exactly the pixels of the whole picture, bit for bit."""
    land = make_land(neurons, columns, 8, shape)
    read = random_blocks(land)
    (y, height), (x, width) = (
        (first, data.draw(st.integers(1, size - first)))
        for size in land.size_px
        for first in [data.draw(st.integers(0, size - 1))]
    )

    np.testing.assert_array_equal(
        part(land, read, y, x, height, width), whole(land, read)[y : y + height, x : x + width]
    )


def test_stripes_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that is put together in narrow stripes is the same, and each of its blocks is read once."""
    land = make_land()
    read = random_blocks(land)
    at_once = whole(land, read)
    monkeypatch.setattr(land_picture, "_STRIPE_PX", 7)
    blocks: list[Block] = []

    in_stripes = whole(land, noting(read, blocks))

    np.testing.assert_array_equal(in_stripes, at_once)
    assert sorted(blocks) == list(land.blocks)


def test_a_part_reads_only_the_blocks_that_it_needs() -> None:
    """A pixel in the middle of a block needs that block alone."""
    land = make_land(100, 10, 12, (2, 2))
    blocks: list[Block] = []

    part(land, noting(random_blocks(land), blocks), 2 * 24 + 12, 3 * 24 + 12, 1, 1)

    assert blocks == [Block(2, 3)]


@pytest.mark.parametrize("corner", [(-1, 0, 5, 5), (0, 0, 61, 5), (0, 56, 5, 5), (0, 0, 0, 5)])
def test_a_part_outside_of_the_picture_is_refused(corner: tuple[int, int, int, int]) -> None:
    """The message has the size of the picture and the part."""
    land = make_land()

    with pytest.raises(ShapeError, match=rf"a picture of 60 x 60 px, got {corner[2]} x {corner[3]} px at y"):
        part(land, random_blocks(land), *corner)


def test_a_block_of_another_size_is_refused() -> None:
    """Blocks of another plan are not put together."""
    land = make_land()

    with pytest.raises(ShapeError, match=r"expected Block\(row=0, column=0\) of shape \(36, 48, 3\)"):
        whole(land, lambda _: np.zeros((36, 47, 3), np.uint8))


def levels_of(land: Land, read: Callable[[Block], Pixels]) -> list[Pixels]:
    """Put the tiles of each level together; check that every tile is there once and in its place."""
    levels = [np.zeros((*size, 3), np.uint8) for size in level_sizes(land)]
    places = []
    for level, column, row, pixels in pyramid(land, read):
        places.append((level, column, row))
        there = levels[level][row * TILE_PX :, column * TILE_PX :][:TILE_PX, :TILE_PX]
        assert there.shape == pixels.shape
        there[:] = pixels
    assert sorted(places) == sorted(tile_places(land))
    return levels


@pytest.mark.parametrize(("neurons", "columns", "cell_px"), [(12, 3, 411), (4, 4, 257), (7, 1, 300)])
def test_each_level_is_half_of_the_next(neurons: int, columns: int, cell_px: int) -> None:
    """The largest level is the whole picture; each pixel of the others is the mean of up to four."""
    land = make_land(neurons, columns, cell_px, (1, 2))
    read = random_blocks(land)

    levels = levels_of(land, read)

    np.testing.assert_array_equal(levels[-1], whole(land, read))
    assert max(levels[0].shape) <= TILE_PX < max(levels[1].shape)
    for small, large in pairwise(levels):
        height, width = small.shape[:2]
        assert (height, width) == tuple(-(-side // 2) for side in large.shape[:2])
        twice = np.pad(large, ((0, large.shape[0] % 2), (0, large.shape[1] % 2), (0, 0)), mode="edge")
        mean = twice.reshape(height, 2, width, 2, 3).mean(axis=(1, 3))
        np.testing.assert_array_equal(small, np.rint(mean))


def test_a_small_land_is_one_tile() -> None:
    """A land that fits in a tile has one level with one tile."""
    land = make_land()
    read = random_blocks(land)

    [tile] = pyramid(land, read)

    assert tile[:3] == (0, 0, 0)
    np.testing.assert_array_equal(tile.pixels, whole(land, read))


def test_levels_are_as_bright_as_the_picture() -> None:
    """Rounding does not make the smaller levels lighter or darker."""
    land = make_land(64, 8, 256, (4, 4))

    levels = levels_of(land, random_blocks(land))

    assert len(levels) == 3
    assert levels[0].mean() == pytest.approx(levels[-1].mean(), abs=0.02)
