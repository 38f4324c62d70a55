"""The redirected gradient of ReLU and ReLU6: help for images that excite nothing yet.

Where a unit is dead for a whole image its gradient is zero and optimisation never starts. Lucid therefore lets a
gradient through a dead unit when following it would wake the unit up (`misc/redirected_relu_grad.py`), and does so
for one image and layer only while the true gradient there is zero everywhere, and only during the first updates.

`gradient` below is that of the loss, which is minimised: a positive one pushes the unit down.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def redirected_relu(x: tf.Tensor) -> tf.Tensor:
    """ReLU of *x*, shape (batch, ...), whose gradient is redirected per image."""

    @tf.custom_gradient
    def relu(x: tf.Tensor) -> Any:
        return tf.nn.relu(x), lambda gradient: _relu_gradient(x, gradient)

    return relu(x)


def redirected_relu6(x: tf.Tensor) -> tf.Tensor:
    """ReLU6 of *x*, shape (batch, ...), whose gradient is redirected per image."""

    @tf.custom_gradient
    def relu6(x: tf.Tensor) -> Any:
        return tf.nn.relu6(x), lambda gradient: _relu6_gradient(x, gradient)

    return relu6(x)


def _relu_gradient(x: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    nothing = tf.zeros_like(gradient)
    plain = tf.where(x < 0, nothing, gradient)
    redirected = tf.where((x < 0) & (gradient > 0), nothing, gradient)
    return _redirect_dead_images(plain, redirected)


def _relu6_gradient(x: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    nothing = tf.zeros_like(gradient)
    plain = tf.where((x < 0) | (x > 6), nothing, gradient)
    redirected = tf.where(((x < 0) & (gradient > 0)) | ((x > 6) & (gradient < 0)), nothing, gradient)
    return _redirect_dead_images(plain, redirected)


def _redirect_dead_images(plain: tf.Tensor, redirected: tf.Tensor) -> tf.Tensor:
    """Take the redirected gradient for exactly those images whose plain one vanishes everywhere."""
    axes = list(range(1, len(plain.shape)))
    alive = tf.reduce_any(tf.not_equal(plain, tf.zeros_like(plain)), axis=axes, keepdims=True)
    return tf.where(alive, plain, redirected)


REDIRECTED_GRADIENTS = {"Relu": "IsthmusRedirectedRelu", "Relu6": "IsthmusRedirectedRelu6"}
"""Op type -> name of its redirected gradient, for networks that are imported rather than built here."""


@tf.RegisterGradient(REDIRECTED_GRADIENTS["Relu"])
def _relu_op_gradient(op: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    return _relu_gradient(op.inputs[0], gradient)


@tf.RegisterGradient(REDIRECTED_GRADIENTS["Relu6"])
def _relu6_op_gradient(op: tf.Operation, gradient: tf.Tensor) -> tf.Tensor:
    return _relu6_gradient(op.inputs[0], gradient)
