"""Activations: operations of one tensor, value by value, and softmax."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from core.models.onnx_graph.node import Node
from core.models.onnx_graph.values import Tensor, UnknownOperatorError, Value, axis_from_start, known

if TYPE_CHECKING:
    import tensorflow as tf


def unary(node: Node, value: Value) -> Tensor:
    """Operations of one tensor that keep its shape."""
    import tensorflow as tf

    assert isinstance(value, Tensor)
    x, get = value.data, node.get
    alpha = get("alpha", 0.01 if node.operator == "LeakyRelu" else 1.0)
    functions: Mapping[str, Callable[[], tf.Tensor]] = {
        "Abs": lambda: tf.abs(x),
        "Ceil": lambda: -tf.floor(-x),
        "Celu": lambda: tf.maximum(x, 0.0) + tf.minimum(alpha * (tf.exp(tf.minimum(x, 0.0) / alpha) - 1.0), 0.0),
        "Cos": lambda: tf.cos(x),
        "Elu": lambda: tf.nn.elu(x) if alpha == 1 else tf.where(x > 0, x, alpha * (tf.exp(tf.minimum(x, 0.0)) - 1.0)),
        "Erf": lambda: tf.math.erf(x),
        "Exp": lambda: tf.exp(x),
        "Floor": lambda: tf.floor(x),
        "Gelu": lambda: _gelu(x, get("approximate", "none")),
        "HardSigmoid": lambda: _hard_sigmoid(x, get("alpha", 0.2), get("beta", 0.5)),
        "HardSwish": lambda: x * _hard_sigmoid(x, 1 / 6, 0.5),
        "IsNaN": lambda: tf.math.is_nan(x),
        "LeakyRelu": lambda: tf.nn.leaky_relu(x, alpha),
        "Log": lambda: tf.math.log(x),
        "Mish": lambda: x * tf.tanh(tf.nn.softplus(x)),
        "Neg": lambda: -x,
        "Not": lambda: tf.logical_not(x),
        "Reciprocal": lambda: 1.0 / x,
        "Relu": lambda: tf.nn.relu(x),
        "Round": lambda: tf.round(x),
        "Selu": lambda: _selu(x, get("alpha", 1.67326319217681884765625), get("gamma", 1.05070102214813232421875)),
        "Sigmoid": lambda: tf.sigmoid(x),
        "Shrink": lambda: _shrink(x, get("lambd", 0.5), get("bias", 0.0)),
        "Sign": lambda: tf.sign(x),
        "Sin": lambda: tf.sin(x),
        "Softplus": lambda: tf.nn.softplus(x),
        "Softsign": lambda: tf.nn.softsign(x),
        "Sqrt": lambda: tf.sqrt(x),
        "Swish": lambda: x * tf.sigmoid(alpha * x),
        "Tanh": lambda: tf.tanh(x),
        "ThresholdedRelu": lambda: tf.where(x > alpha, x, tf.zeros_like(x)),
    }
    return Tensor(functions[node.operator](), value.channels_last, value.channel)


UNARY = tuple(
    "Abs Ceil Celu Cos Elu Erf Exp Floor Gelu HardSigmoid HardSwish IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu "
    "Round Selu Shrink Sigmoid Sign Sin Softplus Softsign Sqrt Swish Tanh ThresholdedRelu".split()
)


def _shrink(x: tf.Tensor, reach: float, bias: float) -> tf.Tensor:
    import tensorflow as tf

    return tf.where(x < -reach, x + bias, tf.where(x > reach, x - bias, tf.zeros_like(x)))


def _gelu(x: tf.Tensor, approximate: str) -> tf.Tensor:
    import tensorflow as tf

    if approximate == "tanh":
        return 0.5 * x * (1.0 + tf.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return 0.5 * x * (1.0 + tf.math.erf(x * math.sqrt(0.5)))


def _hard_sigmoid(x: tf.Tensor, alpha: float, beta: float) -> tf.Tensor:
    import tensorflow as tf

    return tf.maximum(0.0, tf.minimum(1.0, alpha * x + beta))


def _selu(x: tf.Tensor, alpha: float, gamma: float) -> tf.Tensor:
    import tensorflow as tf

    return gamma * tf.where(x > 0, x, alpha * (tf.exp(tf.minimum(x, 0.0)) - 1.0))


def clip(node: Node, value: Value, low: Value | None = None, high: Value | None = None) -> Tensor:
    """`Clip`; from 0 to 6 it is the activation that TensorFlow calls Relu6."""
    import tensorflow as tf

    assert isinstance(value, Tensor)
    bounds = [
        float(known(bound, "a bound")) if bound is not None else node.get(name, None)
        for bound, name in ((low, "min"), (high, "max"))
    ]
    x = value.data
    if bounds == [0.0, 6.0]:
        x = tf.nn.relu6(x)
    else:
        for bound, cut in zip(bounds, (tf.maximum, tf.minimum), strict=True):
            if bound is not None and abs(bound) < np.finfo(np.float32).max:
                x = tf.nn.relu(x) if bound == 0 and cut is tf.maximum else cut(x, bound)
    return Tensor(x, value.channels_last, value.channel)


def softmax(node: Node, value: Value) -> Tensor:
    """`Softmax` and `LogSoftmax`; before version 13 they flattened what comes from the axis on."""
    import tensorflow as tf

    assert isinstance(value, Tensor)
    axis = axis_from_start(node.get("axis", -1 if node.opset >= 13 else 1), value.rank)
    if node.opset < 13 and axis != value.rank - 1:
        raise UnknownOperatorError("several axes at once, as before version 13 of the standard")
    function = tf.nn.softmax if node.operator == "Softmax" else tf.nn.log_softmax
    return Tensor(function(value.data, value.axis(axis)), value.channels_last, value.channel)
