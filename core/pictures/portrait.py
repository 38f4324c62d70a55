"""A portrait: the picture of one neuron, and the colours behind it."""

from __future__ import annotations

from dataclasses import dataclass

from core.arrays import Array, Pixels


@dataclass(frozen=True)
class Portrait:
    """A portrait as strips use it, or a canvas as portraits use it.

    Attributes:
        colours: shape (height, width, 3), float32, of any range: the colours before the squashing that makes pixels.
        pixels: shape (height, width, 3), uint8: the picture that strips begin or end on.
    """

    colours: Array
    pixels: Pixels
