"""The redirected gradient of ReLU and ReLU6, for images that do not excite a layer yet.

If all units of a layer are dead for an image, the image has no gradient and optimisation never starts. Lucid therefore
passes the gradient through a dead unit if following it would raise the unit (`misc/redirected_relu_grad.py`). For each
image and layer this happens only while the true gradient is zero everywhere, and only during the first updates.

`gradient` below is the gradient of the loss, which is minimised: a positive gradient lowers the unit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

_FEW = 1024  # values of an image that are tested first, before all of its values


def redirected_relu(x: tf.Tensor) -> tf.Tensor:
    """Return ReLU of *x*, shape (batch, ...), with a gradient that is redirected per image."""
    return _redirected(tf.nn.relu, x)


def redirected_relu6(x: tf.Tensor) -> tf.Tensor:
    """Return ReLU6 of *x*, shape (batch, ...), with a gradient that is redirected per image."""
    return _redirected(tf.nn.relu6, x)


def _redirected(function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    @tf.custom_gradient
    def relu(x: tf.Tensor) -> Any:
        y = function(x)
        return y, lambda gradient: _gradient(x, y, gradient, six=function is tf.nn.relu6)

    return relu(x)


def _gradient(x: tf.Tensor, y: tf.Tensor, gradient: tf.Tensor, *, six: bool) -> tf.Tensor:
    """Return the redirected gradient of ReLU6 or of ReLU, whose value at *x* is *y*."""
    shape = gradient.shape if gradient.shape.is_fully_defined() else tf.shape(gradient)
    flat = (shape[0], -1)
    found = _gradient_by_image(tf.reshape(x, flat), tf.reshape(y, flat), tf.reshape(gradient, flat), six)
    return tf.reshape(found, shape)


# TensorFlow does not inline this function, so it is traced and compiled once for all sizes, not once for each layer. On
# a CPU this halves the time for compiling the loop, and the redirected updates take 1 % longer.
@tf.function(autograph=False, reduce_retracing=True, experimental_attributes={"_noinline": True})
def _gradient_by_image(x: tf.Tensor, y: tf.Tensor, gradient: tf.Tensor, six: bool) -> tf.Tensor:
    """Return the redirected gradient for tensors of shape (batch, values)."""
    nothing = tf.zeros_like(gradient)
    plain = _passed(x, y, gradient, six)

    def redirected_where_dead() -> tf.Tensor:
        pushed_away = ((x < y) & (gradient > 0)) | ((x > y) & (gradient < 0))
        return tf.where(_alive(plain), plain, tf.where(pushed_away, nothing, gradient))

    # Nearly always all images have a gradient, and a few values from the middle of each are enough to show it.
    middle = tf.shape(plain)[1] // 2
    few = plain[:, middle : middle + _FEW]
    return tf.cond(tf.reduce_all(_alive(few)), lambda: plain, redirected_where_dead)


def _passed(x: tf.Tensor, y: tf.Tensor, gradient: tf.Tensor, six: bool) -> tf.Tensor:
    """Return the gradient where the function does not clip; unlike TensorFlow's, Lucid's passes at exactly 0 and 6."""
    if six and x.dtype == tf.float32:
        # This is the gradient of clipping to [0, 6] if it is finite, for any number of bits, in a third of the time.
        return tf.raw_ops.FakeQuantWithMinMaxArgsGradient(gradients=gradient, inputs=x, min=0.0, max=6.0, num_bits=2)
    return tf.where(tf.equal(x, y), gradient, tf.zeros_like(gradient))


def _alive(gradient: tf.Tensor) -> tf.Tensor:
    """Return whether each image has a gradient somewhere, shape (batch, 1)."""
    return tf.reduce_any(tf.not_equal(gradient, tf.zeros_like(gradient)), axis=1, keepdims=True)


REDIRECTED_GRADIENTS = {"Relu": "IsthmusRedirectedRelu", "Relu6": "IsthmusRedirectedRelu6"}
"""Operation type -> name of its redirected gradient, for networks that are imported rather than built here."""


@tf.RegisterGradient(REDIRECTED_GRADIENTS["Relu"])
def _relu_op_gradient(op: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    return _gradient(op.inputs[0], op.outputs[0], gradient, six=False)


@tf.RegisterGradient(REDIRECTED_GRADIENTS["Relu6"])
def _relu6_op_gradient(op: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    return _gradient(op.inputs[0], op.outputs[0], gradient, six=True)
