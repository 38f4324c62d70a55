"""Operations that move values about: shapes, axes, parts and repetitions; and arithmetic with sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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
    if isinstance(value, Sizes):
        return Sizes(value.items.reshape([int(item) for item in wanted]))
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
    if isinstance(value, Sizes):
        return Sizes(np.expand_dims(value.items, tuple(chosen)))
    data, channel = in_order(value), value.channel if isinstance(value, Tensor) else None
    rank = data.shape.rank + len(chosen)
    for axis in sorted(axis % rank for axis in chosen):
        data = tf.expand_dims(data, axis)
        channel = channel + 1 if channel is not None and axis <= channel else channel
    return Tensor(data, False, channel)


def squeeze(node: Node, value: Value, axes: Value | None = None) -> Value:
    """`Squeeze`: without axes of size 1."""
    import tensorflow as tf

    chosen = axes_of(node, axes)
    if isinstance(value, Sizes):
        return Sizes(np.squeeze(value.items, tuple(chosen) or None))
    assert isinstance(value, Tensor)
    if not chosen:
        raise UnknownOperatorError("no axes")
    chosen = [axis % value.rank for axis in chosen]
    channel = value.channel
    if channel is not None:
        channel = None if channel in chosen else channel - sum(axis < channel for axis in chosen)
    return Tensor(tf.squeeze(in_order(value), chosen), False, channel)


def concat(node: Node, *values: Value) -> Value:
    """`Concat` along an axis."""
    import tensorflow as tf

    if all(not isinstance(value, Tensor) for value in values):
        return Sizes(np.concatenate([_objects(value) for value in values]))
    tensors = [value for value in values if isinstance(value, Tensor)]
    axis = node.attributes["axis"] % tensors[0].rank
    last = all(tensor.rank == 4 for tensor in tensors) and any(tensor.channels_last for tensor in tensors)
    parts = [channels_last(value) if last else in_order(value) for value in values]
    place = (0, 3, 1, 2)[axis] if last else axis
    channels = {tensor.channel for tensor in tensors if tensor.channel is not None}
    return Tensor(tf.concat(parts, place), last, channels.pop() if len(channels) == 1 else None)


def _objects(value: Value) -> np.ndarray[Any, np.dtype[np.object_]]:
    if isinstance(value, Sizes):
        return value.items
    assert isinstance(value, np.ndarray)
    return Sizes.of([int(item) for item in value.reshape(-1)]).items.reshape(value.shape)


def split(node: Node, value: Value, lengths: Value | None = None) -> tuple[Value, ...]:
    """`Split` along an axis, into equal parts or parts of given lengths."""
    import tensorflow as tf

    axis = node.get("axis", 0)
    if isinstance(value, Sizes):
        cuts = np.cumsum(known(lengths, "lengths"))[:-1] if lengths is not None else node.outputs
        return tuple(Sizes(part) for part in np.split(value.items, cuts))
    assert isinstance(value, Tensor)
    if lengths is not None:
        parts = known(lengths, "lengths").tolist()
    elif "split" in node.attributes:
        parts = list(node.attributes["split"])
    else:
        whole = size_of(value, axis)
        if not isinstance(whole, int):
            raise UnknownOperatorError("equal parts of an axis whose size depends on the image")
        longest = -(-whole // node.outputs)
        parts = [min(longest, whole - first) for first in range(0, whole, longest)]
    found = tf.split(value.data, parts, value.axis(axis))
    return tuple(Tensor(part, value.channels_last, value.channel) for part in found)


def cut(node: Node, value: Value, *rest: Value | None) -> Value:
    """`Slice`: from starts to ends along some axes, with steps."""
    import tensorflow as tf

    if node.opset < 10:
        starts, ends = list(node.attributes["starts"]), list(node.attributes["ends"])
        axes, steps = list(node.get("axes", range(len(starts)))), [1] * len(starts)
    else:
        filled = [*rest, None, None][:4]
        assert filled[0] is not None
        assert filled[1] is not None
        starts, ends = items_of(filled[0]), items_of(filled[1])
        axes = items_of(filled[2]) if filled[2] is not None else list(range(len(starts)))
        steps = items_of(filled[3]) if filled[3] is not None else [1] * len(starts)
    if isinstance(value, Sizes):
        return Sizes(value.items[slice(*(_bounded(item) for item in (starts[0], ends[0], steps[0])))])
    assert isinstance(value, Tensor)
    data = value.data
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        place, length = value.axis(axis), size_of(value, axis)
        parts: list[Any] = [slice(None)] * value.rank
        first = _bounded(start) if isinstance(start, int) else start
        final = None if isinstance(end, int) and (end >= 2**31 - 1 or end <= -(2**31) + 1 or end is length) else end
        if isinstance(final, int) and isinstance(length, int) and step > 0 and final >= length:
            final = None
        if step < 0:
            if step != -1 or not (isinstance(first, int) and (first == -1 or first >= 2**31 - 1)) or final is not None:
                raise UnknownOperatorError("a negative step")
            data = tf.reverse(data, [place])
            continue
        parts[place] = slice(first, final, step)
        data = data[tuple(parts)]
    return Tensor(data, value.channels_last, value.channel)


def _bounded(item: int) -> int:
    return max(-(2**31) + 1, min(2**31 - 1, item))


def gather(node: Node, value: Value, indices: Value) -> Value:
    """`Gather` along an axis, by indices that are known."""
    import tensorflow as tf

    axis = node.get("axis", 0)
    if isinstance(value, Sizes):
        places = known(indices, "indices")
        items = value.items.tolist()
        return Sizes(Sizes.of([items[int(place)] for place in places.reshape(-1)]).items.reshape(places.shape))
    if isinstance(indices, Tensor):
        return Tensor(tf.gather(in_order(value), indices.data, axis=axis))
    chosen = known(indices, "indices").astype(np.int64)
    if not isinstance(value, Tensor):
        return np.take(value, chosen, axis)
    length = size_of(value, axis)
    if isinstance(length, int):
        chosen = np.where(chosen < 0, chosen + length, chosen)
    channel = value.channel
    place = axis % value.rank
    if chosen.ndim == 1 or value.channels_last:
        if chosen.ndim == 1:
            found = tf.gather(value.data, chosen.astype(np.int32), axis=value.axis(axis))
            return Tensor(found, value.channels_last, channel)
        value = Tensor(in_order(value), False, channel)
    if channel is not None:
        channel = None if channel == place else channel + (chosen.ndim - 1 if place < channel else 0)
    if chosen.ndim == 0:
        index: list[Any] = [slice(None)] * value.rank
        index[place] = int(chosen)
        return Tensor(value.data[tuple(index)], False, channel)
    return Tensor(tf.gather(value.data, chosen.astype(np.int32), axis=place), False, channel)


def expand(_node: Node, value: Value, target: Value) -> Value:
    """`Expand`: broadcast to a shape, in which 1 keeps a size."""
    import tensorflow as tf

    if isinstance(value, Sizes):
        return Sizes(np.broadcast_to(value.items, [int(item) for item in items_of(target)]).copy())
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


def sizes_arithmetic(node: Node, *values: Value) -> Sizes:
    """Arithmetic with sizes, whose operands are sizes or whole numbers."""
    import tensorflow as tf

    parts = [_objects(value) for value in values]
    functions: Mapping[str, Callable[..., Any]] = {
        "Add": lambda a, b: a + b,
        "Div": lambda a, b: a // b,
        "Equal": lambda a, b: int(isinstance(a, int) and isinstance(b, int) and a == b),
        "Max": lambda a, b: max(a, b) if isinstance(a, int) and isinstance(b, int) else tf.maximum(a, b),
        "Min": lambda a, b: min(a, b) if isinstance(a, int) and isinstance(b, int) else tf.minimum(a, b),
        "Mod": lambda a, b: a % b,
        "Mul": lambda a, b: a * b,
        "Sub": lambda a, b: a - b,
        "Where": lambda c, a, b: a if c else b,
    }
    function = functions[node.operator]
    shapes = np.broadcast_shapes(*(part.shape for part in parts))
    flat = [np.broadcast_to(part, shapes).reshape(-1).tolist() for part in parts]
    result = Sizes.of([function(*items) for items in zip(*flat, strict=True)])
    return Sizes(result.items.reshape(shapes))


SIZE_ARITHMETIC = ("Add", "Div", "Equal", "Max", "Min", "Mod", "Mul", "Sub", "Where")
