"""Operations that move values about: shapes, axes, parts and repetitions; and arithmetic with sizes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core.models.onnx_graph.node import Node
from core.models.onnx_graph.values import (
    Sizes,
    Tensor,
    UnknownOperatorError,
    Value,
    are_known,
    as_shape,
    axes_of,
    axis_from_start,
    channels_last,
    in_order,
    known,
    reshape,
    size_of,
    sizes_of,
)


def shape(node: Node, value: Value) -> Sizes:
    """`Shape`: the sizes of a tensor, or of some of its axes."""
    if isinstance(value, Tensor):
        sizes = sizes_of(value)
    else:
        sizes = list(value.items.shape if isinstance(value, Sizes) else value.shape)
    return Sizes.of(sizes[slice(node.get("start", 0), node.get("end", None))])


def size(_node: Node, value: Value) -> Sizes:
    """`Size`: the number of values of a tensor."""
    return Sizes(Sizes.of([math.prod(shape(Node("Shape", {}, 0), value).items.tolist())]).items.reshape(()))


def new_shape(node: Node, value: Value, target: Value | None = None) -> Value:
    """`Reshape`, where 0 keeps a size and -1 is what is left over."""
    wanted = items_of(target) if target is not None else list(node.attributes["shape"])
    assert isinstance(value, Tensor)
    if not node.get("allowzero", 0):
        wanted = [
            size_of(value, axis) if isinstance(item, int) and item == 0 else item for axis, item in enumerate(wanted)
        ]
    before = sizes_of(value)
    return _reshaped(value, before, wanted)


def flatten(node: Node, value: Value) -> Tensor:
    """`Flatten` into a matrix."""
    assert isinstance(value, Tensor)
    axis = node.get("axis", 1)
    before = sizes_of(value)
    axis = axis + value.rank if axis < 0 else axis
    rows = math.prod(before[:axis]) if axis else 1
    return _reshaped(value, before, [rows, -1])


def _reshaped(value: Tensor, before: list[Any], wanted: list[Any]) -> Tensor:
    """Return a tensor of another shape; the channels keep their axis if nothing before and within it has changed."""
    data = reshape(in_order(value), wanted)
    channel, unfolded = _channel_after(value, before, wanted, data), value.unfolded
    if channel is None and value.channel is not None:
        unfolded = before, value.channel
    elif unfolded and len(unfolded[0]) == len(wanted) and all(map(_same, unfolded[0], wanted)):
        channel = unfolded[1]
    return Tensor(data, False, channel, unfolded)


def _channel_after(value: Tensor, before: list[Any], wanted: list[Any], data: Any) -> int | None:
    if value.channel is None:
        return None
    channels = before[value.channel]
    if value.channel == value.rank - 1 and data.shape.rank and data.shape[-1] == channels:
        return int(data.shape.rank) - 1
    if value.channel < len(wanted) and value.channel == 1 and _same(before[0], wanted[0]) and len(wanted) > 1:
        return 1 if data.shape[1] == channels or math.prod(_ints(before[2:])) == 1 else None
    return None


def _same(before: Any, after: Any) -> bool:
    """Return whether a size is kept; an unknown one that is written -1 is, because no other size is unknown then."""
    if isinstance(after, int) and after == -1:
        return not isinstance(before, int)
    if not isinstance(before, int) or not isinstance(after, int):
        return not isinstance(before, int) and not isinstance(after, int)
    return before == after


def _ints(sizes: list[Any]) -> list[int]:
    return [size if isinstance(size, int) else 0 for size in sizes]


def items_of(value: Value) -> list[Any]:
    """Return the items of a vector of sizes."""
    if isinstance(value, Sizes):
        return list(value.items.tolist())
    if isinstance(value, Tensor):
        raise UnknownOperatorError("a shape that is computed from pixels")
    return [int(item) for item in value.reshape(-1)]


def transpose(node: Node, value: Value) -> Tensor:
    """`Transpose`; to the channels last, and back from there, nothing moves."""
    import tensorflow as tf

    assert isinstance(value, Tensor)
    order = list(node.get("perm", range(value.rank - 1, -1, -1)))
    channel = order.index(value.channel) if value.channel is not None else None
    if value.channels_last and order == [0, 2, 3, 1]:
        return Tensor(value.data, False, channel)
    if not value.channels_last and order == [0, 3, 1, 2]:
        return Tensor(value.data, True, channel)
    if order == list(range(value.rank)):
        return value
    return Tensor(tf.transpose(in_order(value), order), False, channel)


def unsqueeze(node: Node, value: Value, axes: Value | None = None) -> Value:
    """`Unsqueeze`: more axes of size 1."""
    import tensorflow as tf

    chosen = known(axes, "axes").tolist() if axes is not None else list(node.attributes["axes"])
    assert isinstance(value, Tensor)
    data, channel = in_order(value), value.channel
    rank = data.shape.rank + len(chosen)
    for axis in sorted(axis_from_start(axis, rank) for axis in chosen):
        data = tf.expand_dims(data, axis)
        channel = channel + 1 if channel is not None and axis <= channel else channel
    return Tensor(data, False, channel)


def squeeze(node: Node, value: Value, axes: Value | None = None) -> Value:
    """`Squeeze`: without axes of size 1."""
    import tensorflow as tf

    chosen = axes_of(node, axes)
    assert isinstance(value, Tensor)
    if not chosen:
        raise UnknownOperatorError("no axes")
    chosen = [axis_from_start(axis, value.rank) for axis in chosen]
    channel = value.channel
    if channel is not None:
        channel = None if channel in chosen else channel - sum(axis < channel for axis in chosen)
    return Tensor(tf.squeeze(in_order(value), chosen), False, channel)


def concat(node: Node, *values: Value) -> Value:
    """`Concat` along an axis."""
    import tensorflow as tf

    tensors = [value for value in values if isinstance(value, Tensor)]
    axis = axis_from_start(node.attributes["axis"], tensors[0].rank)
    last = all(tensor.rank == 4 for tensor in tensors) and any(tensor.channels_last for tensor in tensors)
    parts = [channels_last(value) if last else in_order(value) for value in values]
    place = (0, 3, 1, 2)[axis] if last else axis
    channels = {tensor.channel for tensor in tensors if tensor.channel is not None}
    return Tensor(tf.concat(parts, place), last, channels.pop() if len(channels) == 1 else None)


def expand(_node: Node, value: Value, target: Value) -> Value:
    """`Expand`: broadcast to a shape, in which 1 keeps a size."""
    import tensorflow as tf

    data, wanted = in_order(value), items_of(target)
    while data.shape.rank < len(wanted):
        data = tf.expand_dims(data, 0)
    wanted = [1] * (data.shape.rank - len(wanted)) + wanted
    sizes = [
        (int(have) if have is not None else tf.shape(data)[axis]) if isinstance(item, int) and item == 1 else item
        for axis, (have, item) in enumerate(zip(data.shape, wanted, strict=True))
    ]
    channel = None
    if isinstance(value, Tensor) and value.channel is not None:
        channel = value.channel + data.shape.rank - value.rank
    return Tensor(tf.broadcast_to(data, as_shape(sizes)), False, channel)


def tile(_node: Node, value: Value, repeats: Value) -> Tensor:
    """`Tile`: repetition along every axis."""
    import tensorflow as tf

    channel = value.channel if isinstance(value, Tensor) else None
    return Tensor(tf.tile(in_order(value), as_shape(items_of(repeats))), False, channel)


def constant_of_shape(node: Node, target: Value) -> Value:
    """`ConstantOfShape`: one value everywhere."""
    import tensorflow as tf

    filler = node.get("value", np.zeros(1, np.float32)).reshape(-1)[0]
    sizes = items_of(target)
    if filler.dtype.kind in "iu" and len(sizes) <= 1 and are_known(sizes):
        return Sizes.of([int(filler)] * (sizes[0] if sizes else 1))
    value = bool(filler) if filler.dtype.kind == "b" else float(filler) if filler.dtype.kind == "f" else int(filler)
    return Tensor(tf.fill(as_shape(sizes), value))
