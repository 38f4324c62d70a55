"""A flight: frames of a window of one cell that moves over a land from one neuron's place to another's.

The window moves in a straight line at one pace and does not zoom, so a flight can be compared with the strip of the
same pair frame by frame. Nothing is rendered for it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from core.arrays import Array, Pixels
from core.atlas.land_picture import ReadBlock, part
from core.errors import SpecError
from core.neurons import Neuron
from core.pictures.land import Land

_BLOCKS_KEPT = 16  # neighbouring frames show the same blocks, at most nine of them


def number_on(land: Land, neuron: Neuron) -> int:
    """Return the number of a neuron in `land.neurons`.

    Raises:
        SpecError: if it has no place on the land; the message has similar ones.
    """
    if neuron in land.neurons:
        return land.neurons.index(neuron)
    names = [str(each) for each in land.neurons]
    near = difflib.get_close_matches(str(neuron), names, n=4, cutoff=0)
    raise SpecError(f"expected a neuron with a place on the land, got {neuron}; similar: {', '.join(near)}")


def fly(land: Land, read: ReadBlock, first: int, last: int, frames: int) -> Pixels:
    """Return the frames of a flight, shape (frame, cell_px, cell_px, 3), uint8.

    The first and the last frame are the places of the two neurons, pixel by pixel. Between pixels the land is bilinear.

    Args:
        first, last: numbers of the neurons in `land.neurons`.
        frames: at least 2.
    """
    kept = lru_cache(maxsize=_BLOCKS_KEPT)(read)
    return np.stack([_window(land, kept, y, x) for y, x in _corners(land, first, last, frames)])


def neurons_below(land: Land, first: int, last: int, frames: int) -> list[str]:
    """Return for each frame of a flight the neuron at whose place the middle of the window is."""
    half = land.cell_px / 2
    return [
        str(land.neurons[land.number_at(int((y + half) // land.cell_px), int((x + half) // land.cell_px))])
        for y, x in _corners(land, first, last, frames)
    ]


def _corners(land: Land, first: int, last: int, frames: int) -> Iterator[tuple[float, float]]:
    """Yield y and x of the top left corner of the window in each frame, in pixels."""
    start, end = (np.multiply(land.place_of(number), land.cell_px) for number in (first, last))
    for frame in range(frames):
        y, x = start + (end - start) * (frame / (frames - 1))
        yield float(y), float(x)


def _window(land: Land, read: ReadBlock, y: float, x: float) -> Pixels:
    """Return a window of one cell, whose corner may lie between pixels."""
    top, left = math.floor(y), math.floor(x)
    down, right = y - top, x - left
    size = land.cell_px
    pixels = part(land, read, top, left, size + (down > 0), size + (right > 0)).astype(np.float32)
    rows = _mix(pixels[:size], pixels[-size:], down)
    return np.rint(_mix(rows[:, :size], rows[:, -size:], right)).astype(np.uint8)


def _mix(near: Array, far: Array, share: float) -> Array:
    """Return a mix of two pictures, the second one with a share; they are one pixel apart, or the same."""
    return near + (far - near) * np.float32(share)
