"""Portraits as they are stored: colours as NumPy's `.npy`, the picture as PNG."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.sheets import Pixels

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Portrait:
    """What a strip needs of a portrait.

    Attributes:
        colours: shape (height, width, 3), float32, of any range: before they are squashed into the picture.
        pixels: shape (height, width, 3), uint8: the picture that the strip begins or ends on.
    """

    colours: Array
    pixels: Pixels


def encode_colours(colours: Array) -> bytes:
    """As `.npy`; equal colours give equal bytes."""
    buffer = io.BytesIO()
    np.save(buffer, colours.astype("<f4"), allow_pickle=False)
    return buffer.getvalue()
