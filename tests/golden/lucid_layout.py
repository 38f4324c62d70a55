"""Lucid's order of the axes of `interpolate_f`'s variables, and ours, which needs no transposes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def to_ours(value: Array) -> Array:
    """A spectrum with its two parts first, or a term with its channels last, with them where we have them."""
    return np.moveaxis(value, 0, -1) if value.ndim == 5 else np.moveaxis(value, -1, 1)


def to_lucids(value: Array) -> Array:
    """The inverse of `to_ours`."""
    return np.moveaxis(value, -1, 0) if value.ndim == 5 else np.moveaxis(value, 1, -1)
