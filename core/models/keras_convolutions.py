"""Grouped convolutions of Keras in operations that CPUs have; Keras itself compiles them with XLA there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf


def is_grouped(layer: Any) -> bool:
    """Return whether a layer is a convolution over groups of its channels, with channels last."""
    groups = getattr(layer, "groups", None)
    return type(layer).__name__ == "Conv2D" and groups not in (None, 1) and layer.data_format == "channels_last"


def grouped_convolution(layer: Any, images: tf.Tensor) -> tf.Tensor:
    """Return the output of a grouped convolution: depthwise if a group has one channel, and else group by group.

    Args:
        images: shape (batch, height, width, channel).
    """
    import tensorflow as tf

    kernel = tf.convert_to_tensor(layer.kernel)  # (height, width, channel of a group, output channel)
    padding, strides, dilations = layer.padding.upper(), tuple(layer.strides), tuple(layer.dilation_rate)
    if kernel.shape[2] == 1 and strides[0] == strides[1]:
        by_channel = tf.reshape(kernel, (*kernel.shape[:2], layer.groups, kernel.shape[3] // layer.groups))
        result = tf.nn.depthwise_conv2d(images, by_channel, (1, *strides, 1), padding, dilations=dilations)
    else:
        parts = zip(tf.split(images, layer.groups, -1), tf.split(kernel, layer.groups, -1), strict=True)
        result = tf.concat(
            [tf.nn.conv2d(part, filters, strides, padding, dilations=dilations) for part, filters in parts], -1
        )
    if layer.use_bias:
        result = tf.nn.bias_add(result, tf.convert_to_tensor(layer.bias))
    return layer.activation(result)
