"""The values of an ONNX graph while it is translated: constants, sizes, and tensors in one of two layouts.

A graph computes with sizes as it computes with pixels. Here sizes stay separate: each is a whole number where it is
known, and a scalar of TensorFlow where it depends on the image. So a shape whose parts are all known but one becomes a
constant, and nothing of the arithmetic is left in the translated graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.errors import short
from core.models.onnx_graph.node import Node
from core.models.onnx_graph.weights import weights

if TYPE_CHECKING:
    import tensorflow as tf


class UnknownOperatorError(Exception):
    """An operator, or a use of one, that has no translation; the message is a few words about it."""


Constant: TypeAlias = NDArray[Any]
FLOATS = (1, 10, 11, 16)
"""ONNX's numbers of float32, float16, float64 and bfloat16."""


@dataclass(frozen=True)
class Sizes:
    """A small array of sizes, and of numbers that were computed from sizes.

    Attributes:
        items: an array of objects, each an int, a float, or a scalar tensor.
    """

    items: NDArray[np.object_]

    @classmethod
    def of(cls, items: Sequence[Any]) -> Sizes:
        """Return a vector of sizes."""
        array = np.empty(len(items), object)
        for place, item in enumerate(items):  # one by one, because NumPy would ask a tensor for its values
            array[place] = item
        return cls(array)

    @property
    def are_known(self) -> bool:
        """True if no size depends on the image."""
        return are_known(self.items.flat)

    def constant(self) -> Constant:
        """Return the sizes, all of which are known, as a constant."""
        floating = any(isinstance(item, float) for item in self.items.flat)
        return self.items.astype(np.float32 if floating else np.int64)


@dataclass(frozen=True)
class Tensor:
    """A tensor of TensorFlow.

    Attributes:
        data: the tensor.
        channels_last: whether axis 1 of the ONNX tensor, of rank 4, is the last one of `data`.
        channel: the axis of the ONNX tensor that has the channels, or None if it is unknown.
        unfolded: sizes and channel before a reshape that took the channels apart, as a group norm does.
    """

    data: tf.Tensor
    channels_last: bool = False
    channel: int | None = None
    unfolded: tuple[Sequence[Any], int] | None = None

    @property
    def rank(self) -> int:
        rank: int | None = self.data.shape.rank
        if rank is None:
            raise UnknownOperatorError("a tensor whose rank depends on the image")
        return rank

    @cached_property
    def in_order(self) -> tf.Tensor:
        """The tensor with the axes of ONNX."""
        import tensorflow as tf

        return tf.transpose(self.data, (0, 3, 1, 2)) if self.channels_last else self.data

    @cached_property
    def last(self) -> tf.Tensor:
        """The tensor with axis 1 of ONNX as the last one of four; those that are missing are put before."""
        import tensorflow as tf

        if self.channels_last:
            return self.data
        data = self.data
        for _ in range(4 - self.rank):
            data = tf.expand_dims(data, 0)
        return tf.transpose(data, (0, 2, 3, 1))

    def axis(self, axis: int) -> int:
        """Return the axis of `data` that is an axis of the ONNX tensor."""
        axis = axis_from_start(axis, self.rank)
        return (0, 3, 1, 2)[axis] if self.channels_last else axis


def axis_from_start(axis: int, rank: int) -> int:
    """Return an axis, which may be counted from the end.

    Raises:
        UnknownOperatorError: if a tensor of this rank has no such axis.
    """
    if not -rank <= axis < rank:
        raise UnknownOperatorError(f"axis {short(axis)} of a tensor of rank {rank}")
    return axis % rank


def are_known(sizes: Iterable[Any]) -> bool:
    """Return whether all sizes are numbers; the others depend on the image."""
    return all(isinstance(size, (int, float)) for size in sizes)


Value: TypeAlias = "Constant | Sizes | Tensor"


def size_of(tensor: Tensor, axis: int) -> Any:
    """Return the size of an axis of the ONNX tensor: an int if it is known, and otherwise a scalar."""
    import tensorflow as tf

    place = tensor.axis(axis)
    size = tensor.data.shape[place]
    return int(size) if size is not None else tf.shape(tensor.data)[place]


def sizes_of(tensor: Tensor) -> list[Any]:
    """Return the shape of the ONNX tensor."""
    return [size_of(tensor, axis) for axis in range(tensor.rank)]


def in_order(value: Value) -> tf.Tensor:
    """Return a value as a tensor with the axes of ONNX."""
    import tensorflow as tf

    if isinstance(value, Tensor):
        return value.in_order
    if isinstance(value, Sizes):
        return tf.reshape(tf.stack(list(value.items.flat)), value.items.shape)
    return constant(value)


def channels_last(value: Value) -> tf.Tensor:
    """Return a value of rank 4, or one that is broadcast to it, with axis 1 of ONNX as the last axis."""
    if isinstance(value, Tensor):
        return value.last
    if isinstance(value, Sizes):
        raise UnknownOperatorError("sizes among pixels")
    if value.ndim == 0:
        return constant(value)
    return constant(np.transpose(value.reshape((1,) * (4 - value.ndim) + value.shape), (0, 2, 3, 1)))


def constant(value: Constant) -> tf.Tensor:
    """Return a constant of TensorFlow: float32 for all floating types, int32 for whole numbers."""
    import tensorflow as tf

    if value.dtype.kind == "f" or value.dtype.name == "bfloat16":
        return weights(value.astype(np.float32, copy=False))
    if value.dtype.kind in "iu":
        largest = np.iinfo(np.int32)
        return tf.constant(np.clip(value, largest.min, largest.max).astype(np.int32))
    return tf.constant(value)


def as_shape(sizes: Sequence[Any]) -> tf.Tensor:
    """Return sizes as a vector that TensorFlow takes for a shape, a constant if all are known."""
    import tensorflow as tf

    if are_known(sizes):
        return tf.constant(list(sizes), tf.int32)
    return tf.stack([tf.constant(size, tf.int32) if isinstance(size, int) else size for size in sizes])


def as_paddings(before: Sequence[Any], after: Sequence[Any]) -> tf.Tensor:
    """Return the widths of pads at both ends of every axis as TensorFlow takes them, a constant if all are known."""
    import tensorflow as tf

    pairs = list(zip(before, after, strict=True))
    if are_known([*before, *after]):
        return tf.constant(pairs, tf.int32)
    return tf.stack([as_shape(pair) for pair in pairs])


def as_picture(value: Value) -> tf.Tensor:
    """Return a picture with its channels last.

    Raises:
        UnknownOperatorError: if it has another number of axes than 4.
    """
    if not isinstance(value, Tensor) or value.rank != 4:
        raise UnknownOperatorError("an input that is not (batch, channel, height, width)")
    return channels_last(value)


def aligned(values: Sequence[Value]) -> tuple[list[tf.Tensor], bool]:
    """Return values that are broadcast to one shape as tensors of one layout, and whether their channels are last."""
    last = any(isinstance(value, Tensor) and value.channels_last for value in values)
    return [channels_last(value) if last else in_order(value) for value in values], last


def reshape(data: tf.Tensor, sizes: Sequence[Any]) -> tf.Tensor:
    """Reshape a tensor; if one size is unknown, it is what is left over."""
    import tensorflow as tf

    unknown = [place for place, size in enumerate(sizes) if not isinstance(size, int)]
    if len(unknown) == 1 and -1 not in [size for size in sizes if isinstance(size, int)]:
        sizes = [-1 if place == unknown[0] else size for place, size in enumerate(sizes)]
    return tf.reshape(data, as_shape(sizes))


def axes_of(node: Node, axes: Value | None) -> list[int]:
    """Return the axes that a node names in an input, or in an attribute, as before version 13 of the standard."""
    found: list[int] = known(axes, "axes").tolist() if axes is not None else list(node.get("axes", []))
    return found


def known(value: Value | None, what: str) -> Constant:
    """Return a value that has to be known before any image is.

    Raises:
        UnknownOperatorError: if it depends on the image.
    """
    if isinstance(value, Sizes) and value.are_known:
        return value.constant()
    if isinstance(value, (Sizes, Tensor)) or value is None:
        raise UnknownOperatorError(f"{what} that depends on the image")
    return value
