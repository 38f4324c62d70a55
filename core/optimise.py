"""The optimiser: Adam with the epsilon that Lucid's pictures were made with.

TensorFlow 1's AdamOptimizer has epsilon 1e-8 in its "epsilon hat" form; Keras has 1e-7, and after 32 updates the
images differ by a quarter of their range.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980) in the form of the text just before its section 2.1.

    lr_t = learning_rate * sqrt(1 - beta2^t) / (1 - beta1^t), and var -= lr_t * m / (sqrt(v) + epsilon).
    """

    def __init__(self, variables: Sequence[tf.Variable], learning_rate: float = 0.05) -> None:
        self._variables = variables
        self._learning_rate = learning_rate
        self._first_moments = [tf.Variable(tf.zeros_like(variable)) for variable in variables]
        self._second_moments = [tf.Variable(tf.zeros_like(variable)) for variable in variables]

    def reset(self) -> None:
        """Forget all gradients seen so far."""
        for moment in (*self._first_moments, *self._second_moments):
            moment.assign(tf.zeros_like(moment))

    def descend(self, gradients: Sequence[tf.Tensor], update: tf.Tensor) -> None:
        """Change every variable against its gradient; *update* counts from 1, a scalar integer."""
        time = tf.cast(update, tf.float32)
        for variable, first, second, gradient in zip(
            self._variables, self._first_moments, self._second_moments, gradients, strict=True
        ):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=first.handle,
                v=second.handle,
                beta1_power=_BETA1**time,
                beta2_power=_BETA2**time,
                lr=self._learning_rate,
                beta1=_BETA1,
                beta2=_BETA2,
                epsilon=_EPSILON,
                grad=gradient,
            )
