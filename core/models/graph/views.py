"""Tensors of a graph as layers: channels last, and tokens, as transformers have them, as a grid of patches."""

from __future__ import annotations

from collections.abc import Iterable
from math import isqrt
from typing import TYPE_CHECKING

from core.models.graph.layout import Layout, Patches

if TYPE_CHECKING:
    import tensorflow as tf

_MOST_OTHERS = 16


def view(
    tensor: tf.Tensor, layout: Layout | None, elsewhere: Iterable[Patches], skipped_tokens: int | None
) -> tf.Tensor | None:
    """Return a tensor as (batch, height, width, channel) or (batch, channel), or None if it is no such layer.

    Args:
        elsewhere: the patches of other tensors of the network.
        skipped_tokens: number of tokens before the patches, if the user has given it.
    """
    import tensorflow as tf

    if layout is None or layout.axis is None or tensor.dtype != tf.float32:
        return None
    rank, axis = tensor.shape.rank, layout.axis
    if rank not in (2, 3, 4) or tensor.shape[axis] is None:
        return None
    if axis != rank - 1:
        tensor = tf.transpose(tensor, [*(place for place in range(rank) if place != axis), axis])
    if rank != 3:
        return tensor
    tokens = tensor.shape[1]
    if tokens is None:
        return tensor[:, :, None]
    return _seen_as_grid(tensor, _patches(tokens, layout.patches, elsewhere, skipped_tokens))


def _patches(tokens: int, found: Patches | None, elsewhere: Iterable[Patches], skip: int | None) -> Patches:
    """Return the grid of patches in a number of tokens.

    Args:
        found: the patches that the graph shows for this layer, if any.
        elsewhere: the patches of other layers of the network.
        skip: number of tokens before the patches, if the user has given it.

    Returns:
        The patches that the graph shows here or elsewhere. Otherwise the tokens that are not left out: a square if
        their number is one, or else a column.
    """
    if skip is not None:
        grids = [(one.height, one.width) for one in (found, *elsewhere) if one]
        left = max(0, tokens - skip)
        height, width = next((grid for grid in grids if grid[0] * grid[1] == left), _square(left))
        return Patches(tokens - left, height, width)
    if found is not None:
        return found
    fitting = [one for one in elsewhere if one.tokens == tokens]
    if fitting:
        return fitting[0]
    others = [(tokens - one.height * one.width, one.height, one.width) for one in elsewhere]
    few = [one for one in others if 0 <= one[0] <= _MOST_OTHERS]
    return Patches(*min(few)) if few else Patches(0, *_square(tokens))


def _square(tokens: int) -> tuple[int, int]:
    side = isqrt(tokens)
    return (side, side) if side * side == tokens else (tokens, 1)


def _seen_as_grid(layer: tf.Tensor, patches: Patches) -> tf.Tensor:
    """Return the patches of a layer of shape (batch, tokens, channels) as (batch, height, width, channels)."""
    import tensorflow as tf

    end = patches.before + patches.height * patches.width
    return tf.reshape(layer[:, patches.before : end], (-1, patches.height, patches.width, layer.shape[-1]))
