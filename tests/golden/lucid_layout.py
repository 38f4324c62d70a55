"""Conversion of `interpolate_f`'s variables between Lucid's axis order and ours; ours needs no transposes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def to_ours(value: Array) -> Array:
    """Return a variable of Lucid's in our axis order.

    Args:
        value: a spectrum with its real and imaginary part on the first axis, which becomes the last; or a
            low-resolution term with its channels on the last axis, which becomes the second.
    """
    return np.moveaxis(value, 0, -1) if value.ndim == 5 else np.moveaxis(value, -1, 1)


def to_lucids(value: Array) -> Array:
    """Return a variable of ours in Lucid's axis order: the inverse of `to_ours`."""
    return np.moveaxis(value, -1, 0) if value.ndim == 5 else np.moveaxis(value, 1, -1)
