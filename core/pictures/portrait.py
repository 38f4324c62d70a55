"""A portrait: the picture of one neuron, and the colours behind it."""

from __future__ import annotations

from dataclasses import dataclass

from core.arrays import Array, Pixels


@dataclass(frozen=True)
class Portrait:
    """What a strip needs of a portrait, or a portrait of its canvas.

    Attributes:
        colours: shape (height, width, 3), float32, of any range: before they are squashed into the picture.
        pixels: shape (height, width, 3), uint8: the picture that strips begin or end on.
    """

    colours: Array
    pixels: Pixels
