"""The redirected gradient of ReLU and ReLU6: help for images that excite nothing yet.

Where a unit is dead for a whole image its gradient is zero and optimisation never starts. Lucid therefore lets a
gradient through a dead unit when following it would wake the unit up (`misc/redirected_relu_grad.py`), and does so
for one image and layer only while the true gradient there is zero everywhere, and only during the first updates.

`gradient` below is that of the loss, which is minimised: a positive one pushes the unit down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

_LOOKED_AT = 1024  # numbers of an image, before all of them are


def redirected_relu(x: tf.Tensor) -> tf.Tensor:
    """ReLU of *x*, shape (batch, ...), whose gradient is redirected per image."""
    return _redirected(tf.nn.relu, x)


def redirected_relu6(x: tf.Tensor) -> tf.Tensor:
    """ReLU6 of *x*, shape (batch, ...), whose gradient is redirected per image."""
    return _redirected(tf.nn.relu6, x)


def _redirected(function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    @tf.custom_gradient
    def relu(x: tf.Tensor) -> Any:
        y = function(x)
        return y, lambda gradient: _gradient(x, y, gradient, six=function is tf.nn.relu6)

    return relu(x)


def _gradient(x: tf.Tensor, y: tf.Tensor, gradient: tf.Tensor, *, six: bool) -> tf.Tensor:
    """Of ReLU6 or of ReLU, whose value at *x* is *y*."""
    shape = gradient.shape if gradient.shape.is_fully_defined() else tf.shape(gradient)
    flat = (shape[0], -1)
    found = _gradient_by_image(tf.reshape(x, flat), tf.reshape(y, flat), tf.reshape(gradient, flat), six)
    return tf.reshape(found, shape)


# Traced for any size once, and not anew for every layer; compiled once too, because TensorFlow may not copy it to where
# it is called. On a CPU the loop is compiled in half of the time for that, and its few updates take 1 % longer.
@tf.function(autograph=False, reduce_retracing=True, experimental_attributes={"_noinline": True})
def _gradient_by_image(x: tf.Tensor, y: tf.Tensor, gradient: tf.Tensor, six: bool) -> tf.Tensor:
    """`_gradient` for tensors of shape (batch, number)."""
    nothing = tf.zeros_like(gradient)
    plain = _passed(x, y, gradient, six)

    def redirected_where_dead() -> tf.Tensor:
        pushed_away = ((x < y) & (gradient > 0)) | ((x > y) & (gradient < 0))
        return tf.where(_alive(plain), plain, tf.where(pushed_away, nothing, gradient))

    # Nearly always all images are alive, and a few numbers from the middle of each show that.
    middle = tf.shape(plain)[1] // 2
    few = plain[:, middle : middle + _LOOKED_AT]
    return tf.cond(tf.reduce_all(_alive(few)), lambda: plain, redirected_where_dead)


def _passed(x: tf.Tensor, y: tf.Tensor, gradient: tf.Tensor, six: bool) -> tf.Tensor:
    """The gradient where a function cuts nothing off; unlike TensorFlow's, Lucid's passes at exactly 0, and at 6."""
    if six and x.dtype == tf.float32:
        # Clipping to [0, 6] has this gradient, if it is finite, whatever the number of bits; in a third of the time.
        return tf.raw_ops.FakeQuantWithMinMaxArgsGradient(gradients=gradient, inputs=x, min=0.0, max=6.0, num_bits=2)
    return tf.where(tf.equal(x, y), gradient, tf.zeros_like(gradient))


def _alive(gradient: tf.Tensor) -> tf.Tensor:
    """Which images have a gradient somewhere, shape (batch, 1)."""
    return tf.reduce_any(tf.not_equal(gradient, tf.zeros_like(gradient)), axis=1, keepdims=True)


REDIRECTED_GRADIENTS = {"Relu": "IsthmusRedirectedRelu", "Relu6": "IsthmusRedirectedRelu6"}
"""Op type -> name of its redirected gradient, for networks that are imported rather than built here."""


@tf.RegisterGradient(REDIRECTED_GRADIENTS["Relu"])
def _relu_op_gradient(op: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    return _gradient(op.inputs[0], op.outputs[0], gradient, six=False)


@tf.RegisterGradient(REDIRECTED_GRADIENTS["Relu6"])
def _relu6_op_gradient(op: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    return _gradient(op.inputs[0], op.outputs[0], gradient, six=True)
