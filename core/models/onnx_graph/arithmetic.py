"""Operations of several tensors, value by value, reductions, products of matrices, and casts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from core.models.onnx_graph.node import Node
from core.models.onnx_graph.values import (
    FLOATS,
    Sizes,
    Tensor,
    UnknownOperatorError,
    Value,
    aligned,
    axes_of,
    axis_from_start,
    constant,
    in_order,
)

if TYPE_CHECKING:
    import tensorflow as tf


def elementwise(node: Node, *values: Value) -> Value:
    """Operations of several tensors that are broadcast to one shape, as NumPy does."""
    import tensorflow as tf

    functions: Mapping[str, Callable[..., tf.Tensor]] = {
        "Add": tf.add,
        "And": tf.logical_and,
        "Div": lambda a, b: whole_quotient(a, b) if a.dtype.is_integer else tf.divide(a, b),
        "Equal": tf.equal,
        "Greater": tf.greater,
        "GreaterOrEqual": tf.greater_equal,
        "Less": tf.less,
        "LessOrEqual": tf.less_equal,
        "Max": tf.maximum,
        "Mean": tf.add,
        "Min": tf.minimum,
        "Mod": lambda a, b: _remainder(a, b) if node.get("fmod", 0) else tf.math.floormod(a, b),
        "Mul": tf.multiply,
        "Or": tf.logical_or,
        "PRelu": lambda x, slope: tf.nn.relu(x) - slope * tf.nn.relu(-x),
        "Pow": lambda a, b: tf.pow(a, tf.cast(b, a.dtype)),
        "Sub": tf.subtract,
        "Sum": tf.add,
        "Xor": tf.math.logical_xor,
    }
    function = functions[node.operator]
    parts, last = aligned(values)
    data = parts[0]
    for part in parts[1:]:
        data = function(data, part)
    if node.operator == "Mean":
        data = data / float(len(parts))
    return Tensor(data, last, common_channel(values, data.shape.rank))


def _remainder(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Return the remainder with the sign of the dividend."""
    import tensorflow as tf

    return tf.sign(a) * tf.math.floormod(tf.abs(a), tf.abs(b))


def whole_quotient(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Return a quotient of whole numbers, rounded towards zero."""
    import tensorflow as tf

    return tf.sign(a) * tf.sign(b) * tf.math.floordiv(tf.abs(a), tf.abs(b))


ELEMENTWISE = tuple(
    "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or PRelu Pow Sub Sum Xor".split()
)


def common_channel(values: Sequence[Value], rank: int) -> int | None:
    """Return the axis of the channels of tensors that are broadcast to one of this rank."""
    tensors = [value for value in values if isinstance(value, Tensor) and value.channel is not None]
    axes = {value.channel + rank - value.rank for value in tensors if value.channel is not None}
    return axes.pop() if len(axes) == 1 else None


def where(node: Node, condition: Value, yes: Value, no: Value) -> Tensor:
    """`Where`, with broadcasting."""
    import tensorflow as tf

    (chosen, a, b), last = aligned((condition, yes, no))
    data = tf.where(chosen, a, b)
    return Tensor(data, last, common_channel((yes, no), data.shape.rank))


def reduce(node: Node, value: Value, axes: Value | None = None) -> Tensor:
    """`ReduceMean` and the like, with the axes as an attribute or as an input."""
    import tensorflow as tf

    assert isinstance(value, Tensor)
    chosen = axes_of(node, axes)
    if not chosen and node.get("noop_with_empty_axes", 0):
        return value
    chosen = sorted(axis_from_start(axis, value.rank) for axis in (chosen or range(value.rank)))
    keep = bool(node.get("keepdims", 1))
    whole_picture = value.channels_last and (chosen == [2, 3] or keep)
    tensor = value if whole_picture else Tensor(in_order(value), False, value.channel)
    places = [tensor.axis(axis) for axis in chosen]
    x, kind = tensor.data, node.operator.removeprefix("Reduce")
    functions: Mapping[str, Callable[[], tf.Tensor]] = {
        "L1": lambda: tf.reduce_sum(tf.abs(x), places, keep),
        "L2": lambda: tf.sqrt(tf.reduce_sum(x * x, places, keep)),
        "LogSum": lambda: tf.math.log(tf.reduce_sum(x, places, keep)),
        "LogSumExp": lambda: tf.reduce_logsumexp(x, places, keep),
        "Max": lambda: tf.reduce_max(x, places, keep),
        "Mean": lambda: tf.reduce_mean(x, places, keep),
        "Min": lambda: tf.reduce_min(x, places, keep),
        "Prod": lambda: tf.reduce_prod(x, places, keep),
        "Sum": lambda: tf.reduce_sum(x, places, keep),
        "SumSquare": lambda: tf.reduce_sum(x * x, places, keep),
    }
    channel = value.channel if value.channel not in chosen else None
    if channel is not None and not keep:
        channel -= sum(axis < channel for axis in chosen)
    return Tensor(functions[kind](), tensor.channels_last and keep, channel)


REDUCTIONS = tuple(f"Reduce{kind}" for kind in "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare".split())


def gemm(node: Node, a: Value, b: Value, c: Value | None = None) -> Tensor:
    """`Gemm`: a product of matrices plus a bias."""
    import tensorflow as tf

    left, right = in_order(a), _matrix(b, bool(node.get("transB", 0)))
    if node.get("transA", 0):
        left = tf.transpose(left)
    data = tf.matmul(left, right)
    if (alpha := node.get("alpha", 1.0)) != 1:
        data = alpha * data
    if c is not None and (beta := node.get("beta", 1.0)):
        data = data + (in_order(c) if beta == 1 else beta * in_order(c))
    return Tensor(data, False, 1)


def matmul(_node: Node, a: Value, b: Value) -> Tensor:
    """`MatMul`, for stacks of matrices too."""
    import tensorflow as tf

    left, right = in_order(a), in_order(b)
    if left.shape.rank == 1 or right.shape.rank == 1:
        raise UnknownOperatorError("a product with a vector")
    data = tf.matmul(left, right)
    rank = data.shape.rank
    return Tensor(data, False, rank - 1 if isinstance(b, np.ndarray) and b.ndim == 2 else None)


def _matrix(value: Value, transposed: bool) -> tf.Tensor:
    import tensorflow as tf

    if isinstance(value, np.ndarray):
        return constant(value.T if transposed else value)
    return tf.transpose(in_order(value)) if transposed else in_order(value)


def einsum(node: Node, *values: Value) -> Tensor:
    """`Einsum` of tensors."""
    import tensorflow as tf

    return Tensor(tf.einsum(node.attributes["equation"], *map(in_order, values)))


def cast(node: Node, value: Value) -> Value:
    """`Cast`; all floating types are float32 here, and all whole numbers int32."""
    import tensorflow as tf

    if isinstance(value, Sizes):
        return Tensor(tf.cast(in_order(value), tf.float32)) if node.attributes["to"] in FLOATS else value
    assert isinstance(value, Tensor)
    to = node.attributes["to"]
    wanted = tf.float32 if to in FLOATS else tf.bool if to == _BOOL else tf.int32
    return Tensor(tf.cast(value.data, wanted), value.channels_last, value.channel)


_BOOL = 9  # ONNX's number of it


def cast_like(node: Node, value: Value, like: Value) -> Value:
    """`CastLike`: a cast to the type of another tensor."""
    to = 1
    if isinstance(like, Tensor):
        to = 9 if like.data.dtype == "bool" else 1 if like.data.dtype.is_floating else 7
    elif isinstance(like, Sizes) or like.dtype.kind in "iu":
        to = 7
    return cast(Node("Cast", {"to": to}, node.opset), value)
