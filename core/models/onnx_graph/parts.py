"""Operations that take parts of tensors, by ranges and by indices, or put values into them."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.models.onnx_graph.node import Node
from core.models.onnx_graph.shapes import items_of
from core.models.onnx_graph.values import Tensor, UnknownOperatorError, Value, axis_from_start, in_order, known, size_of


def split(node: Node, value: Value, lengths: Value | None = None) -> tuple[Value, ...]:
    """`Split` along an axis, into equal parts or parts of given lengths."""
    import tensorflow as tf

    axis = node.get("axis", 0)
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
    """`Gather` along an axis."""
    import tensorflow as tf

    assert isinstance(value, Tensor)
    axis = node.get("axis", 0)
    if isinstance(indices, Tensor):
        return Tensor(tf.gather(in_order(value), indices.data, axis=axis))
    chosen = known(indices, "indices").astype(np.int64)
    length = size_of(value, axis)
    if isinstance(length, int):
        chosen = np.where(chosen < 0, chosen + length, chosen)
    channel = value.channel
    place = axis_from_start(axis, value.rank)
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


def gather_elements(node: Node, value: Value, indices: Value) -> Tensor:
    """`GatherElements`: along an axis, with indices of their own for every position."""
    import tensorflow as tf

    data, places = in_order(value), in_order(indices)
    rank = data.shape.rank
    axis = axis_from_start(node.get("axis", 0), rank)
    order = [*(place for place in range(rank) if place != axis), axis]
    data, places = tf.transpose(data, order), tf.transpose(places, order)
    found = tf.gather(data, _not_negative(places, tf.shape(data)[-1]), axis=-1, batch_dims=rank - 1)
    return Tensor(tf.transpose(found, np.argsort(order).tolist()))


def gather_nd(node: Node, value: Value, indices: Value) -> Tensor:
    """`GatherND`: by indices of several axes at once."""
    import tensorflow as tf

    if node.get("batch_dims", 0):
        raise UnknownOperatorError("indices for every image")
    data, places = in_order(value), in_order(indices)
    depth = places.shape[-1]
    return Tensor(tf.gather_nd(data, _not_negative(places, tf.shape(data)[:depth])))


def scatter_nd(node: Node, value: Value, indices: Value, updates: Value) -> Tensor:
    """`ScatterND`: other values at some places; the channels keep their axis."""
    import tensorflow as tf

    if node.get("reduction", "none") != "none":
        raise UnknownOperatorError("a reduction")
    data, places = in_order(value), in_order(indices)
    depth = places.shape[-1]
    changed = tf.tensor_scatter_nd_update(
        data, _not_negative(places, tf.shape(data)[:depth]), tf.cast(in_order(updates), data.dtype)
    )
    return Tensor(changed, False, value.channel if isinstance(value, Tensor) else None)


def _not_negative(places: Any, sizes: Any) -> Any:
    """Return indices of which negative ones count from the end."""
    import tensorflow as tf

    return tf.where(places < 0, places + sizes, places)


def one_hot(node: Node, indices: Value, depth: Value, values: Value) -> Tensor:
    """`OneHot`: one value at an index, and another one everywhere else."""
    import tensorflow as tf

    count = int(known(depth, "a depth").item())
    if not 1 <= count <= _LONGEST:
        raise UnknownOperatorError(f"a depth of {count}")
    off, on = tf.unstack(in_order(values), 2)
    places = in_order(indices)
    axis = axis_from_start(node.get("axis", -1), places.shape.rank + 1)
    numbers = tf.reshape(tf.range(count), (count, *(1,) * (places.shape.rank - axis)))
    chosen = tf.equal(tf.expand_dims(tf.where(places < 0, places + count, places), axis), numbers)
    return Tensor(tf.where(chosen, on, off))


def range_of(_node: Node, start: Value, end: Value, step: Value) -> Tensor:
    """`Range`, whose ends may depend on the size of the image."""
    import tensorflow as tf

    ends = [tf.reshape(in_order(item), ()) for item in (start, end, step)]
    return Tensor(tf.range(*ends))


def trilu(node: Node, value: Value, diagonal: Value | None = None) -> Tensor:
    """`Trilu`: zeros below or above a diagonal of matrices."""
    import tensorflow as tf

    shift = int(known(diagonal, "a diagonal").item()) if diagonal is not None else 0
    if abs(shift) > _LONGEST:
        raise UnknownOperatorError("a diagonal outside")
    data = in_order(value)
    ones = tf.ones(tf.shape(data))
    if node.get("upper", 1):
        outside = tf.linalg.band_part(ones, -1, shift - 1) if shift > 0 else tf.zeros_like(ones)
        kept = ones - outside if shift > 0 else tf.linalg.band_part(ones, -shift, -1)
    else:
        kept = tf.linalg.band_part(ones, -1, shift) if shift >= 0 else ones - tf.linalg.band_part(ones, -shift - 1, -1)
    kept_data = tf.where(kept > 0, data, tf.zeros_like(data))
    return Tensor(kept_data, False, value.channel if isinstance(value, Tensor) else None)


_LONGEST = 1 << 20


def cumsum(node: Node, value: Value, axis: Value) -> Tensor:
    """`CumSum` along an axis."""
    import tensorflow as tf

    assert isinstance(value, Tensor)
    place = value.axis(int(known(axis, "an axis").item()))
    data = tf.cumsum(value.data, place, bool(node.get("exclusive", 0)), bool(node.get("reverse", 0)))
    return Tensor(data, value.channels_last, value.channel)
