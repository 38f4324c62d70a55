"""The geometry of a land: the places of its neurons, the blocks that it is rendered in, and what they share.

A land is one picture in which every neuron has a place, a square cell of a grid. The objective there is the neuron's
activation, and between places it is the bilinear mix of the nearest neurons. A land of any size is rendered in blocks
of cells, in four turns: blocks of one turn do not touch one another. A block's picture reaches beyond its cells by a
margin on every side. Where it covers blocks of earlier turns, it is a mix with their pictures: all theirs at its edge,
all its own where theirs end. So the land is what is left if the pictures are painted over each other turn by turn, and
no edge shows.

Lengths are in pixels of the whole picture, x to the right and y down, from its top left corner.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from core.arrays import Array, Pixels
from core.neurons import Neuron

Window = tuple[slice, slice]
"""A part of a picture: its rows and its columns."""


class Block(NamedTuple):
    """A block: its row and column among the blocks of a land."""

    row: int
    column: int

    @property
    def turn(self) -> int:
        """The stage in which the block is rendered, 0 to 3: blocks of one stage do not touch one another."""
        return 2 * (self.row % 2) + self.column % 2


@dataclass(frozen=True)
class Land:
    """The places and the blocks of a land.

    Attributes:
        neurons: of one layer, by place, row by row. At the end of the last row places may be left over: there the land
            continues the neuron above.
        columns: places in a row.
        cell_px: height and width of a place.
        block_rows, block_columns: places in a block; all blocks have the same shape.
        margin_px: how far a block's picture reaches beyond its cells.
    """

    neurons: tuple[Neuron, ...]
    columns: int
    cell_px: int
    block_rows: int
    block_columns: int
    margin_px: int

    @property
    def layer(self) -> str:
        """The layer of all neurons."""
        return self.neurons[0].layer

    @property
    def rows(self) -> int:
        """Rows of places."""
        return -(-len(self.neurons) // self.columns)

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width of the whole picture."""
        return self.rows * self.cell_px, self.columns * self.cell_px

    @property
    def block_size_px(self) -> tuple[int, int]:
        """Height and width of a block's picture."""
        beyond = 2 * self.margin_px
        return self.block_rows * self.cell_px + beyond, self.block_columns * self.cell_px + beyond

    @property
    def blocks(self) -> Iterator[Block]:
        """All blocks, row by row."""
        for row in range(-(-self.rows // self.block_rows)):
            for column in range(-(-self.columns // self.block_columns)):
                yield Block(row, column)

    def origin_px(self, block: Block) -> tuple[int, int]:
        """Return the y and x of the top left corner of a block's picture; negative where it lies outside the land."""
        return (
            block.row * self.block_rows * self.cell_px - self.margin_px,
            block.column * self.block_columns * self.cell_px - self.margin_px,
        )

    def place_of(self, number: int) -> tuple[int, int]:
        """Return the row and column of the neuron with a number in `neurons`."""
        return divmod(number, self.columns)

    def number_at(self, row: int, column: int) -> int:
        """Return the number in `neurons` of the neuron at a place; places outside belong to the nearest one inside."""
        row, column = min(max(row, 0), self.rows - 1), min(max(column, 0), self.columns - 1)
        number = row * self.columns + column
        return number if number < len(self.neurons) else number - self.columns

    def neighbours(self, block: Block) -> Iterator[Block]:
        """Yield the blocks whose pictures overlap that of a block, row by row."""
        rows, columns = -(-self.rows // self.block_rows), -(-self.columns // self.block_columns)
        for row in range(max(0, block.row - 1), min(rows, block.row + 2)):
            for column in range(max(0, block.column - 1), min(columns, block.column + 2)):
                if (row, column) != block:
                    yield Block(row, column)

    def around(self, block: Block) -> list[Neuron]:
        """Return the neurons of a block's places and of the places around it, row by row."""
        top, left = block.row * self.block_rows, block.column * self.block_columns
        return [
            self.neurons[self.number_at(row, column)]
            for row in range(top - 1, top + self.block_rows + 1)
            for column in range(left - 1, left + self.block_columns + 1)
        ]

    def numbers_in(self, block: Block) -> dict[int, tuple[int, int]]:
        """Return the numbers in `neurons` of a block's own neurons, with their row and column within the block."""
        top, left = block.row * self.block_rows, block.column * self.block_columns
        numbers = {}
        for row in range(top, min(top + self.block_rows, self.rows)):
            for column in range(left, min(left + self.block_columns, self.columns)):
                if (number := row * self.columns + column) < len(self.neurons):
                    numbers[number] = (row - top, column - left)
        return numbers

    def overlap(self, block: Block, other: Block) -> tuple[Window, Window]:
        """Return the slices of the pictures of two blocks that show the same part of the land."""
        return _common(self.origin_px(block), self.block_size_px, self.origin_px(other), self.block_size_px)

    @cached_property
    def weight(self) -> Array:
        """The weight of a block against blocks that it covers, at each pixel of its picture, float32 in [0, 1].

        It falls smoothly to 0 at the edges of the picture, shape (height, width).
        """
        along = [_ramp(size, 2 * self.margin_px) for size in self.block_size_px]
        return np.outer(*along)


def painted(land: Land, pictures: Mapping[Block, Pixels], y: int, x: int, height: int, width: int) -> Pixels:
    """Return a part of a land as it is with some of its blocks, shape (height, width, 3), uint8; the rest is 0.

    Args:
        pictures: blocks and their pictures.
        y, x: the top left corner of the part; may lie outside the land.
    """
    part = np.zeros((height, width, 3), np.uint8)
    for block in sorted(pictures, key=lambda block: block.turn):
        here, there = _common((y, x), (height, width), land.origin_px(block), land.block_size_px)
        part[here] = pictures[block][there]
    return part


def _common(
    first: tuple[int, int], first_size: tuple[int, int], second: tuple[int, int], second_size: tuple[int, int]
) -> tuple[Window, Window]:
    """Return the slices of two pictures that show the same part, given their corners and sizes."""
    here, there = [], []
    for one, its_size, other, other_size in zip(first, first_size, second, second_size, strict=True):
        low, high = max(one, other), max(one, other, min(one + its_size, other + other_size))
        here.append(slice(low - one, high - one))
        there.append(slice(low - other, high - other))
    return (here[0], here[1]), (there[0], there[1])


def _ramp(size: int, width: int) -> Array:
    """Return weights that rise over *width* pixels at both ends; a falling and a rising ramp sum to 1."""
    weights = np.ones(size, np.float32)
    rise = (np.sin(np.pi * ((np.arange(width) + 0.5) / width - 0.5)) + 1) / 2
    weights[:width], weights[size - width :] = rise, rise[::-1]
    return weights
