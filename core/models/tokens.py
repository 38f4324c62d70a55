"""Layers of tokens, as transformers have them: shape (batch, tokens, channels), seen as a grid of patches.

Tokens that stand for the whole image, such as the class token and registers, come first and are left out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

_MOST_SKIPPED = 16


@dataclass(frozen=True)
class Tokens:
    """Facts about the tokens of a network.

    Attributes:
        grids: (height, width) of the patches, as the network cuts images into them.
    """

    grids: Collection[tuple[int, int]]

    def grid(self, tokens: int) -> tuple[int, int, int]:
        """Return the number of tokens to leave out, and height and width of the rest.

        If no grid fits, the rest is a square if its number is one, and otherwise a column.
        """
        fitting = [
            (tokens - height * width, height, width)
            for height, width in self.grids
            if 0 <= tokens - height * width <= _MOST_SKIPPED
        ]
        if fitting:
            return min(fitting)
        side = isqrt(tokens)
        return (0, side, side) if side * side == tokens else (0, tokens, 1)

    def seen_as_grid(self, layer: tf.Tensor) -> tf.Tensor:
        """Return a layer of shape (batch, tokens, channels) as (batch, height, width, channels)."""
        import tensorflow as tf

        _, count, channels = layer.shape
        if count is None or channels is None:
            return layer[:, :, None]
        skip, height, width = self.grid(count)
        return tf.reshape(layer[:, skip:], (-1, height, width, channels))
