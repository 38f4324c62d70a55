"""Normalisations: by batch statistics that are known, and by those of each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from core.models.onnx_graph.node import Node
from core.models.onnx_graph.values import (
    Constant,
    Tensor,
    UnknownOperatorError,
    Value,
    as_picture,
    axis_from_start,
    channels_last,
    constant,
    in_order,
    known,
    size_of,
)

if TYPE_CHECKING:
    import tensorflow as tf


def batch_norm(node: Node, value: Value, scale: Value, bias: Value, mean: Value, variance: Value) -> Value:
    """`BatchNormalization` for inference, as one product and one sum; of constants, as kernels may be, a constant."""
    if isinstance(value, np.ndarray):
        return _constant_norm(node, value, *(known(fact, "a parameter") for fact in (scale, bias, mean, variance)))
    if node.get("training_mode", 0):
        raise UnknownOperatorError("training mode, in which images depend on each other; export for inference")
    assert isinstance(value, Tensor)
    facts = [known(fact, "a parameter").astype(np.float64) for fact in (scale, bias, mean, variance)]
    factor = facts[0] / np.sqrt(facts[3] + node.get("epsilon", 1e-5))
    offset = facts[1] - facts[2] * factor
    return _scaled(value, factor.astype(np.float32), offset.astype(np.float32))


def _constant_norm(
    node: Node, value: Constant, scale: Constant, bias: Constant, mean: Constant, variance: Constant
) -> Constant:
    """Return a normalised constant; in training mode, as a kernel is standardised, by its own mean and variance."""
    if node.get("training_mode", 0):
        others = tuple(axis for axis in range(value.ndim) if axis != 1)
        mean, variance = value.mean(others, dtype=np.float64), value.var(others, dtype=np.float64)
    shape = (-1,) + (1,) * (value.ndim - 2)
    factor = scale / np.sqrt(variance + node.get("epsilon", 1e-5))
    normal: Constant = value * factor.reshape(shape) + (bias - mean * factor).reshape(shape)
    return normal.astype(np.float32)


def _scaled(value: Tensor, factor: Constant, offset: Constant) -> Tensor:
    """Return a tensor times a factor for each channel, on axis 1, plus an offset."""
    shape = (-1,) if value.channels_last or value.rank == 2 else (-1,) + (1,) * (value.rank - 2)
    data = value.data * constant(factor.reshape(shape)) + constant(offset.reshape(shape))
    return Tensor(data, value.channels_last, None if value.unfolded else 1, value.unfolded)


def instance_norm(node: Node, value: Value, scale: Value, bias: Value) -> Tensor:
    """`InstanceNormalization`: every channel of every image by itself."""
    assert isinstance(value, Tensor)
    data = _normal(value.data, [value.axis(axis) for axis in range(2, value.rank)], node.get("epsilon", 1e-5))
    normal = Tensor(data, value.channels_last, value.channel, value.unfolded)
    return _scaled(normal, known(scale, "a factor").astype(np.float32), known(bias, "an offset").astype(np.float32))


def group_norm(node: Node, value: Value, scale: Value, bias: Value) -> Tensor:
    """`GroupNormalization`: the channels of a group together; up to version 20, factors were given for each group."""
    import tensorflow as tf

    assert isinstance(value, Tensor)
    groups, channels = node.attributes["num_groups"], size_of(value, 1)
    x = as_picture(value)
    shape = tf.shape(x)
    parts = tf.reshape(x, tf.stack([shape[0], shape[1], shape[2], groups, channels // groups]))
    data = tf.reshape(_normal(parts, [1, 2, 4], node.get("epsilon", 1e-5)), shape)
    data.set_shape(x.shape)
    factor, offset = (known(part, "a parameter").astype(np.float32) for part in (scale, bias))
    if len(factor) == groups != channels:
        factor, offset = (np.repeat(part, channels // groups) for part in (factor, offset))
    return _scaled(Tensor(data, True, 1), factor, offset)


def layer_norm(node: Node, value: Value, scale: Value, bias: Value | None = None) -> Tensor:
    """`LayerNormalization` and `RMSNormalization` over the last axes."""
    import tensorflow as tf

    assert isinstance(value, Tensor)
    x = in_order(value)
    axes = list(range(axis_from_start(node.get("axis", -1), value.rank), value.rank))
    epsilon = node.get("epsilon", 1e-5)
    if node.operator == "LayerNormalization":
        data = _normal(x, axes, epsilon)
    else:
        data = x * tf.math.rsqrt(tf.reduce_mean(x * x, axes, keepdims=True) + epsilon)
    data = data * in_order(scale)
    if bias is not None:
        data = data + in_order(bias)
    return Tensor(data, False, value.rank - 1)


def _normal(x: tf.Tensor, axes: Sequence[int], epsilon: float) -> tf.Tensor:
    """Return a tensor with mean 0 and variance 1 over some axes."""
    import tensorflow as tf

    centred = x - tf.reduce_mean(x, axes, keepdims=True)
    return centred * tf.math.rsqrt(tf.reduce_mean(centred * centred, axes, keepdims=True) + epsilon)


def lp_norm(node: Node, value: Value) -> Tensor:
    """`LpNormalization`: divided by the length along an axis, in the 1- or the 2-norm."""
    import tensorflow as tf

    assert isinstance(value, Tensor)
    axis, order = value.axis(node.get("axis", -1)), node.get("p", 2)
    if order not in (1, 2):
        raise UnknownOperatorError(f"norm {order}")
    x = value.data
    length = tf.reduce_sum(tf.abs(x) if order == 1 else x * x, axis, keepdims=True)
    return Tensor(x / (length if order == 1 else tf.sqrt(length)), value.channels_last, value.channel)


def mean_variance(node: Node, value: Value) -> Tensor:
    """`MeanVarianceNormalization`, over axes that the batch is not one of."""
    assert isinstance(value, Tensor)
    axes = [axis_from_start(axis, value.rank) for axis in node.get("axes", [0, 2, 3])]
    if 0 in axes:
        raise UnknownOperatorError("a mean of all images, which depend on each other then")
    return Tensor(_normal(value.data, [value.axis(axis) for axis in axes], 1e-9), value.channels_last, value.channel)


def local_response(node: Node, value: Value) -> Tensor:
    """`LRN` over neighbouring channels."""
    import tensorflow as tf

    size = node.attributes["size"]
    if size % 2 == 0:
        raise UnknownOperatorError("an even size")
    x = channels_last(value)
    alpha, beta, bias = node.get("alpha", 1e-4), node.get("beta", 0.75), node.get("bias", 1.0)
    return Tensor(tf.nn.local_response_normalization(x, (size - 1) // 2, bias, alpha / size, beta), True, 1)
