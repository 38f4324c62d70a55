"""Quantised values, which stay floating numbers here: the gradient passes through the rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from core.models.onnx_graph.node import Node
from core.models.onnx_graph.values import Constant, Tensor, UnknownOperatorError, Value, axis_from_start, known


def quantize(node: Node, value: Value, scale: Value, zero: Value | None = None) -> Tensor:
    """`QuantizeLinear`: rounded steps inside the range of a type, which is that of the zero.

    The gradient of rounding is zero, so that of its input is used; values outside the range have none.
    """
    import tensorflow as tf

    assert isinstance(value, Tensor)
    step, offset, kind = _parameters(node, value.data.shape.rank, value.axis, scale, zero)
    if kind.kind not in "iu":
        raise UnknownOperatorError("quantised values that are no whole numbers")
    limits = np.iinfo(kind)
    steps = value.data / step
    rounded = steps + tf.stop_gradient(tf.round(steps) - steps) + offset
    data = tf.maximum(tf.minimum(rounded, float(limits.max)), float(limits.min))
    return Tensor(data, value.channels_last, value.channel)


def dequantize(node: Node, value: Value, scale: Value, zero: Value | None = None) -> Value:
    """`DequantizeLinear`: steps as the values that they stand for; those of constants are constants."""
    if isinstance(value, Tensor):
        step, offset, _ = _parameters(node, value.rank, value.axis, scale, zero)
        return Tensor((value.data - offset) * step, value.channels_last, value.channel)
    steps = known(value, "steps")
    step, offset, _ = _parameters(node, steps.ndim, lambda axis: axis, scale, zero)
    return (steps.astype(np.float32) - offset) * step


def _parameters(
    node: Node, rank: int, place: Callable[[int], int], scale: Value, zero: Value | None
) -> tuple[Constant, Constant, np.dtype[Any]]:
    """Return the length of a step, the step that stands for 0, and the type of the steps.

    Args:
        rank: of what is quantised.
        place: gives the axis of the data for an axis of ONNX.
    """
    if node.get("block_size", 0):
        raise UnknownOperatorError("steps for blocks of values")
    lengths = known(scale, "a step")
    zeros = known(zero, "a zero") if zero is not None else np.zeros(lengths.shape, np.uint8)
    shape = [1] * rank if max(lengths.size, zeros.size) > 1 else []
    if shape:
        shape[place(axis_from_start(node.get("axis", 1), rank))] = -1
    return lengths.astype(np.float32).reshape(shape), zeros.astype(np.float32).reshape(shape), zeros.dtype
