"""The picture of a land, put together from its blocks: any part of it, or the whole as a pyramid of tiles.

The blocks are painted over each other, see `core.pictures.land`, so a part has exactly the pixels of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from core.arrays import Pixels
from core.errors import ShapeError
from core.machine.threads import in_threads
from core.pictures.land import Block, Land, painted

ReadBlock = Callable[[Block], Pixels]
"""Return the picture of a block, shape (*land.block_size_px, 3), uint8. Several threads call it at once."""

TILE_PX = 512
"""Height and width of a tile; tiles at the right and at the lower edge are smaller."""
_STRIPE_PX = TILE_PX
_THREADS, _HELD = 8, 16  # blocks are read, mostly from a network, and decoded in threads


class Tile(NamedTuple):
    """A tile of a pyramid.

    Attributes:
        level: 0 for the smallest picture, which is one tile.
        pixels: shape (height, width, 3), uint8.
    """

    level: int
    column: int
    row: int
    pixels: Pixels


def part(land: Land, read: ReadBlock, y: int, x: int, height: int, width: int) -> Pixels:
    """Return a part of the picture of a land, shape (height, width, 3), uint8.

    Beside the part itself, the memory holds the blocks of a stripe of it.

    Args:
        y, x: the top left corner, in pixels.

    Raises:
        ShapeError: if the part is not within the picture.
    """
    whole = land.size_px
    if not (0 <= y < y + height <= whole[0] and 0 <= x < x + width <= whole[1]):
        found = f"{height} x {width} px at y {y}, x {x}"
        raise ShapeError(f"expected a part of a picture of {whole[0]} x {whole[1]} px, got {found}")
    pixels = np.empty((height, width, 3), np.uint8)
    for top, stripe in _stripes(land, read, y, x, height, width):
        pixels[top - y : top - y + len(stripe)] = stripe
    return pixels


def pyramid(land: Land, read: ReadBlock) -> Iterator[Tile]:
    """Yield all tiles of the pyramid of a land: the whole picture, and smaller ones until one fits in a tile.

    Each level is half as high and half as wide as the next, rounded up. Its pixels are means of 2 x 2 pixels, of the
    stored values and not of light: browsers scale tiles in the same way, so the picture does not change its brightness
    when a viewer goes from one level to the next. The memory holds a stripe of each level.
    """
    height, width = land.size_px
    stripes = _stripes(land, read, 0, 0, height, width)
    halving = _Halving(len(level_sizes(land)))
    for top, stripe in stripes:
        yield from halving.add(stripe, is_last=top + len(stripe) == height)


def level_sizes(land: Land) -> list[tuple[int, int]]:
    """Return the height and width of each level of the pyramid, the smallest first."""
    sizes = [land.size_px]
    while max(sizes[-1]) > TILE_PX:
        height, width = sizes[-1]
        sizes.append((-(-height // 2), -(-width // 2)))
    return sizes[::-1]


def tile_places(land: Land) -> Iterator[tuple[int, int, int]]:
    """Yield the level, column and row of every tile of the pyramid."""
    for level, (height, width) in enumerate(level_sizes(land)):
        for row in range(-(-height // TILE_PX)):
            for column in range(-(-width // TILE_PX)):
                yield level, column, row


class _Halving:
    """Cuts the stripes of the largest level into tiles, and makes those of the smaller levels from them.

    Args:
        levels: number of levels.
    """

    def __init__(self, levels: int) -> None:
        self._rows = [0] * levels
        self._waiting: list[list[Pixels]] = [[] for _ in range(levels)]

    def add(self, stripe: Pixels, is_last: bool) -> Iterator[Tile]:
        """Yield the tiles of a stripe of the largest level, and of the stripes that it completes in smaller levels."""
        for level in reversed(range(len(self._rows))):
            for column in range(-(-stripe.shape[1] // TILE_PX)):
                left = column * TILE_PX
                yield Tile(level, column, self._rows[level], stripe[:, left : left + TILE_PX])
            self._rows[level] += 1
            if level == 0:
                return
            waiting = self._waiting[level]
            waiting.append(_halved(stripe))
            if len(waiting) < 2 and not is_last:
                return
            stripe = np.concatenate(waiting)
            waiting.clear()


def _halved(pixels: Pixels) -> Pixels:
    """Return a picture of half the height and width, rounded up; an odd row or column counts twice."""
    height, width = pixels.shape[:2]
    even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge").astype(np.uint16)
    sums = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    # A half is rounded to the even number: if halves were rounded up, each level would be lighter than the last.
    return ((sums + 1 + (sums >> 2 & 1)) >> 2).astype(np.uint8)


def _stripes(land: Land, read: ReadBlock, y: int, x: int, height: int, width: int) -> Iterator[tuple[int, Pixels]]:
    """Yield the upper edge and the pixels of each stripe of a part, from top to bottom.

    Neighbouring stripes share blocks, so the blocks of the last stripe are kept.
    """
    stripes = [(top, min(_STRIPE_PX, y + height - top)) for top in range(y, y + height, _STRIPE_PX)]
    blocks = [overlapping(land, top, x, tall, width) for top, tall in stripes]
    kept = lru_cache(maxsize=max(map(len, blocks)))(read)

    def checked(block: Block) -> Pixels:
        pixels = kept(block)
        if pixels.shape != (*land.block_size_px, 3) or pixels.dtype != np.uint8:
            raise ShapeError(f"expected {block} of shape {(*land.block_size_px, 3)}, uint8, got {pixels.shape}")
        return pixels

    for (top, tall), those in zip(stripes, blocks, strict=True):
        pictures = dict(zip(those, in_threads(checked, those, threads=_THREADS, held=_HELD), strict=True))
        yield top, painted(land, pictures, top, x, tall, width)


def overlapping(land: Land, y: int, x: int, height: int, width: int) -> list[Block]:
    """Return the blocks whose pictures overlap a part, row by row."""
    rows, columns = (
        range(
            max(0, (start - land.margin_px) // size),
            min((start + length + land.margin_px - 1) // size, (whole - 1) // size) + 1,
        )
        for start, length, size, whole in (
            (y, height, land.block_rows * land.cell_px, land.size_px[0]),
            (x, width, land.block_columns * land.cell_px, land.size_px[1]),
        )
    )
    return [Block(row, column) for row in rows for column in columns]
