"""Convolutions and pools, which TensorFlow computes with the channels last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from core.models.onnx_graph.node import Node
from core.models.onnx_graph.values import (
    Tensor,
    UnknownOperatorError,
    Value,
    are_known,
    as_paddings,
    as_picture,
    as_shape,
    constant,
    known,
    size_of,
)

if TYPE_CHECKING:
    import tensorflow as tf

_AXES = (2, 3)


def of_rows_too(translation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a translation that also takes rows of positions, which it sees as pictures that are one pixel high."""

    def either(node: Node, image: Value, kernel: Value | None = None, *rest: Value | None) -> Tensor:
        import tensorflow as tf

        more = [] if kernel is None else [kernel, *rest]
        if not isinstance(image, Tensor) or image.rank != 3:
            return translation(node, image, *more)
        attributes = dict(node.attributes)
        for name, first in (("kernel_shape", [1]), ("strides", [1]), ("dilations", [1]), ("output_padding", [0])):
            if name in attributes:
                attributes[name] = [*first, *attributes[name]]
        if "pads" in attributes:
            before, after = attributes["pads"]
            attributes["pads"] = [0, before, 0, after]
        if kernel is not None:
            more[0] = known(kernel, "a kernel")[:, :, None]
        picture = Tensor(tf.expand_dims(tf.transpose(image.data, (0, 2, 1)), 1), True, 1)
        made = translation(replace(node, attributes=attributes), picture, *more)
        return Tensor(tf.transpose(tf.squeeze(made.data, 1), (0, 2, 1)), False, 1)

    return either


def conv(node: Node, image: Value, kernel: Value, bias: Value | None = None) -> Tensor:
    """`Conv`: dense, grouped or depthwise, with any strides, dilations and pads."""
    import tensorflow as tf

    weights, x = known(kernel, "a kernel"), as_picture(image)
    strides, dilations = _pair(node, "strides"), _pair(node, "dilations")
    groups, reach = node.get("group", 1), _reach(weights.shape[2:], dilations)
    x, padding = _padding(x, _pads(node, image, reach, strides), reach, strides)
    outputs, inputs = weights.shape[:2]
    if groups > 1 and inputs == 1 and strides[0] == strides[1]:
        by_channel = weights.reshape(groups, -1, *weights.shape[2:])
        filters = constant(np.transpose(by_channel, (2, 3, 0, 1)))
        data = tf.nn.depthwise_conv2d(x, filters, [1, *strides, 1], padding, dilations=dilations)
    else:
        filters = np.transpose(weights, (2, 3, 1, 0))
        parts = [
            tf.nn.conv2d(
                part, constant(filters[..., first : first + outputs // groups]), strides, padding, dilations=dilations
            )
            for part, first in zip(
                tf.split(x, groups, -1) if groups > 1 else [x], range(0, outputs, outputs // groups), strict=True
            )
        ]
        data = tf.concat(parts, -1) if groups > 1 else parts[0]
    return _with_bias(data, bias)


def conv_transpose(node: Node, image: Value, kernel: Value, bias: Value | None = None) -> Tensor:
    """`ConvTranspose`, the gradient of a convolution."""
    import tensorflow as tf

    weights, x = known(kernel, "a kernel"), as_picture(image)
    strides, dilations, groups = _pair(node, "strides"), _pair(node, "dilations"), node.get("group", 1)
    assert isinstance(image, Tensor)
    if "output_shape" in node.attributes or node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise UnknownOperatorError("output_shape or auto_pad")
    pads = node.get("pads", [0, 0, 0, 0])
    more = node.get("output_padding", [0, 0])
    inputs, outputs = weights.shape[0] // groups, weights.shape[1]
    whole, kept = [], []  # sizes without pads, and of the result
    reach = _reach(weights.shape[2:], dilations)
    for place, axis in enumerate(_AXES):
        full = (size_of(image, axis) - 1) * strides[place] + reach[place]
        whole.append(full + max(0, more[place] - pads[2 + place]))
        kept.append(full + more[place] - pads[place] - pads[2 + place])
    parts = [
        tf.nn.conv2d_transpose(
            part,
            constant(np.transpose(weights[group * inputs : (group + 1) * inputs], (2, 3, 1, 0))),
            as_shape([size_of(image, 0), *whole, outputs]),
            strides,
            "VALID",
            dilations=dilations,
        )
        for group, part in enumerate(tf.split(x, groups, -1) if groups > 1 else [x])
    ]
    data = tf.concat(parts, -1) if groups > 1 else parts[0]
    data = data[:, pads[0] : pads[0] + kept[0], pads[1] : pads[1] + kept[1]]
    return _with_bias(data, bias)


def max_pool(node: Node, image: Value) -> Tensor:
    """`MaxPool`, whose pads never win."""
    if node.outputs > 1:
        raise UnknownOperatorError("indices")
    x = as_picture(image)
    size, strides, dilations = node.attributes["kernel_shape"], _pair(node, "strides"), _pair(node, "dilations")
    reach = _reach(size, dilations)
    pads = _with_ceiling(node, image, reach, strides, _pads(node, image, reach, strides))
    x, padding = _padding(x, pads, reach, strides, float(np.finfo(np.float32).min))
    return Tensor(_pool(x, "MAX", size, strides, padding, dilations), True, 1)


def average_pool(node: Node, image: Value) -> Tensor:
    """`AveragePool`, which counts pads if it is asked to, and never what rounding up adds at the end."""
    import tensorflow as tf

    x = as_picture(image)
    size, strides, dilations = node.attributes["kernel_shape"], _pair(node, "strides"), _pair(node, "dilations")
    reach = _reach(size, dilations)
    pads = _pads(node, image, reach, strides)
    wider = _with_ceiling(node, image, reach, strides, pads)
    if are_known(wider) and not any(wider):
        return Tensor(_pool(x, "AVG", size, strides, "VALID", dilations), True, 1)
    counted = tf.ones_like(x[:1, :, :, :1])
    if node.get("count_include_pad", 0):
        counted = _pad(counted, pads, 1.0)
        more = [wide - pad for wide, pad in zip(wider, pads, strict=True)]
        counted = _pad(counted, more)
    else:
        counted = _pad(counted, wider)
    total, count = (_pool(part, "AVG", size, strides, "VALID", dilations) for part in (_pad(x, wider), counted))
    return Tensor(total / count, True, 1)


def _pool(
    x: tf.Tensor, kind: str, size: Sequence[int], strides: Sequence[int], padding: str, dilations: Sequence[int]
) -> tf.Tensor:
    """Pool a picture; TensorFlow's function for dilated pools takes no strides that are longer than the window."""
    import tensorflow as tf

    if max(dilations) > 1:
        return tf.nn.pool(x, size, kind, strides, padding, dilations=dilations)
    pool = tf.nn.max_pool2d if kind == "MAX" else tf.nn.avg_pool2d
    return pool(x, size, strides, padding)


def global_pool(node: Node, image: Value) -> Tensor:
    """`GlobalAveragePool` and `GlobalMaxPool`, which keep the axes."""
    import tensorflow as tf

    reduce = tf.reduce_mean if node.operator == "GlobalAveragePool" else tf.reduce_max
    return Tensor(reduce(as_picture(image), (1, 2), keepdims=True), True, 1)


def _reach(size: Sequence[int], dilations: Sequence[int]) -> list[int]:
    """Return height and width of what a window covers."""
    return [dilation * (length - 1) + 1 for length, dilation in zip(size, dilations, strict=True)]


def _with_bias(data: tf.Tensor, bias: Value | None) -> Tensor:
    """Return what a convolution makes, whose channels are last, plus the bias of each channel."""
    import tensorflow as tf

    if bias is not None:
        data = tf.nn.bias_add(data, known(bias, "a bias").astype(np.float32))
    return Tensor(data, True, 1)


def _pair(node: Node, name: str) -> list[int]:
    return list(node.get(name, [1, 1]))


def _pads(node: Node, image: Value, size: Sequence[int], strides: Sequence[int]) -> list[Any]:
    """Return the pads: top, left, bottom, right."""
    import tensorflow as tf

    automatic = node.get("auto_pad", "NOTSET")
    if automatic in ("NOTSET", ""):
        return list(node.get("pads", [0, 0, 0, 0]))
    if automatic == "VALID":
        return [0, 0, 0, 0]
    assert isinstance(image, Tensor)
    begins, ends = [], []
    for place, axis in enumerate(_AXES):
        length, stride = size_of(image, axis), strides[place]
        needed = (-(-length // stride) - 1) * stride + size[place] - length
        needed = max(0, needed) if isinstance(needed, int) else tf.maximum(0, needed)
        smaller = needed // 2
        begins.append(smaller if automatic == "SAME_UPPER" else needed - smaller)
        ends.append(needed - smaller if automatic == "SAME_UPPER" else smaller)
    return [*begins, *ends]


def _with_ceiling(
    node: Node, image: Value, size: Sequence[int], strides: Sequence[int], pads: Sequence[Any]
) -> list[Any]:
    """Return the pads with what `ceil_mode` adds at the end: room for a last window that begins in the picture."""
    import tensorflow as tf

    if not node.get("ceil_mode", 0):
        return list(pads)
    assert isinstance(image, Tensor)
    ends = []
    for place, axis in enumerate(_AXES):
        length, stride = size_of(image, axis), strides[place]
        padded = length + pads[place] + pads[2 + place]
        windows = -((size[place] - padded) // stride) + 1  # rounded up
        starts_outside = (windows - 1) * stride >= length + pads[place]
        if isinstance(windows, int):
            windows -= bool(starts_outside)
            ends.append(pads[2 + place] + max(0, (windows - 1) * stride + size[place] - padded))
        else:
            windows -= tf.cast(starts_outside, tf.int32)
            ends.append(pads[2 + place] + tf.maximum(0, (windows - 1) * stride + size[place] - padded))
    return [pads[0], pads[1], *ends]


def _padding(
    x: tf.Tensor, pads: Sequence[Any], size: Sequence[int], strides: Sequence[int], value: float = 0.0
) -> tuple[tf.Tensor, str]:
    """Return the padded picture, and the padding that is left to the operation itself, VALID or SAME.

    TensorFlow also has explicit padding, but a depthwise convolution with it ends the process when TensorFlow optimises
    a graph.
    """
    top, left, bottom, right = pads
    if are_known(pads):
        if not any(pads):
            return x, "VALID"
        first = [(length - 1) // 2 for length in size]
        final = [length - 1 - half for length, half in zip(size, first, strict=True)]
        if max(strides) == 1 and ([top, left], [bottom, right]) == (first, final):
            return x, "SAME"
    return _pad(x, pads, value), "VALID"


def _pad(x: tf.Tensor, pads: Sequence[Any], value: float = 0.0) -> tf.Tensor:
    """Pad a picture whose channels are last.

    Raises:
        UnknownOperatorError: if a pad is negative.
    """
    import tensorflow as tf

    if any(isinstance(pad, int) and pad < 0 for pad in pads):
        raise UnknownOperatorError("negative pads")
    top, left, bottom, right = pads
    return tf.pad(x, as_paddings((0, top, left, 0), (0, bottom, right, 0)), constant_values=value)
