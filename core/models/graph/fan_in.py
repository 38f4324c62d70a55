"""The fan-in of a layer: the weights that feed its channels, as rows that can be compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.arrays import Array


def stack_towers(towers: Sequence[Array]) -> Array:
    """Return the fan-in of concatenated towers. They share no weights, so each tower has columns of its own.

    Args:
        towers: at least one, each of shape (channel, weight).

    Returns:
        shape (channels of all towers, weights of all towers), float32, 0 where a channel has no such weight.
    """
    fan_in = np.zeros(np.sum([tower.shape for tower in towers], axis=0), np.float32)
    row = column = 0
    for tower in towers:
        fan_in[row : row + tower.shape[0], column : column + tower.shape[1]] = tower
        row, column = row + tower.shape[0], column + tower.shape[1]
    return fan_in
