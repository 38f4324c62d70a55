"""Adam as TensorFlow 1 had it, and the switch between the two gradients of ReLUs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf

from core.optimise import Adam, run_updates

BETA1, BETA2 = float(np.float32(0.9)), float(np.float32(0.999))  # the numbers that float32 has


def adam(start: np.ndarray, gradients: Sequence[np.ndarray], learning_rate: float, epsilon: float = 1e-8) -> np.ndarray:
    """Adam in float64, with epsilon added to the root of the uncorrected second moment."""
    x, m, v = start.astype(np.float64), np.zeros(start.shape), np.zeros(start.shape)
    for t, g in enumerate((g.astype(np.float64) for g in gradients), start=1):
        m = BETA1 * m + (1 - BETA1) * g
        v = BETA2 * v + (1 - BETA2) * g**2
        lr_t = learning_rate * np.sqrt(1 - BETA2**t) / (1 - BETA1**t)
        x = x - lr_t * m / (np.sqrt(v) + epsilon)
    return x


def draws(scale: float, updates: int) -> list[np.ndarray]:
    random = np.random.default_rng(4)
    return [(scale * random.standard_normal((3, 5))).astype(np.float32) for _ in range(updates)]


def descend(variable: tf.Variable, gradients: Sequence[np.ndarray], optimizer: Adam) -> np.ndarray:
    for update, gradient in enumerate(gradients, start=1):
        optimizer.descend([tf.constant(gradient)], tf.constant(update))
    return variable.numpy()


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-7, 1e-9])
@pytest.mark.parametrize("learning_rate", [0.05, 0.3])
def test_adam_agrees_with_adam_in_numpy(scale: float, learning_rate: float) -> None:
    """Forty updates agree, also where gradients are so small that epsilon decides."""
    gradients = draws(scale, 40)
    variable = tf.Variable(tf.zeros((3, 5)))

    got = descend(variable, gradients, Adam([variable], learning_rate))

    expected = adam(np.zeros((3, 5)), gradients, learning_rate)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_epsilon_is_lucids_and_not_that_of_keras() -> None:
    """With small gradients, another epsilon or one added to the corrected moment would go elsewhere."""
    gradients = draws(1e-7, 10)
    variable = tf.Variable(tf.zeros((3, 5)))

    got = descend(variable, gradients, Adam([variable]))

    corrected = 1e-8 * np.sqrt(1 - BETA2)  # what epsilon beside the corrected second moment amounts to at first
    assert np.abs(got - adam(np.zeros((3, 5)), gradients, 0.05)).max() < 1e-5
    assert np.abs(got - adam(np.zeros((3, 5)), gradients, 0.05, epsilon=1e-7)).max() > 0.05
    assert np.abs(got - adam(np.zeros((3, 5)), gradients, 0.05, epsilon=corrected)).max() > 0.05


def test_the_first_update_is_as_long_as_the_learning_rate() -> None:
    """It goes against the sign of the gradient, however large that is."""
    variable = tf.Variable([1.0, 1.0, 1.0])

    got = descend(variable, [np.array([5.0, -0.02, 800.0], np.float32)], Adam([variable], 0.1))

    np.testing.assert_allclose(got, [0.9, 1.1, 0.9], atol=1e-5)


def test_a_reset_optimizer_has_forgotten_everything() -> None:
    """From the same values the same gradients lead to the same place, to the last bit."""
    variable = tf.Variable(tf.ones((3, 5)))
    optimizer = Adam([variable])
    gradients = draws(1.0, 12)
    first = descend(variable, gradients, optimizer)

    without_reset = descend(variable.assign(tf.ones((3, 5))), gradients, optimizer)
    optimizer.reset()
    again = descend(variable.assign(tf.ones((3, 5))), gradients, optimizer)

    assert not np.array_equal(without_reset, first)
    np.testing.assert_array_equal(again, first)


def test_variables_do_not_share_moments() -> None:
    """Two variables end where each would alone."""
    gradients, others = draws(1.0, 8), draws(0.3, 8)[::-1]
    a, b = tf.Variable(tf.zeros((3, 5))), tf.Variable(tf.zeros((3, 5)))
    together = Adam([a, b])
    for update, pair in enumerate(zip(gradients, others, strict=True), start=1):
        together.descend([tf.constant(gradient) for gradient in pair], tf.constant(update))

    alone = tf.Variable(tf.zeros((3, 5)))
    np.testing.assert_array_equal(descend(alone, gradients, Adam([alone])), a)
    alone = tf.Variable(tf.zeros((3, 5)))
    np.testing.assert_array_equal(descend(alone, others, Adam([alone])), b)


def test_without_redirected_updates_no_gradient_is_redirected() -> None:
    """With 0 of them the update is built once only, for plain gradients."""
    asked: list[bool] = []

    @tf.function(autograph=False)
    def numbers(last: tf.Tensor) -> tf.Tensor:
        def update(step: tf.Tensor, redirected: bool) -> tf.Tensor:
            asked.append(redirected)
            return tf.cast(step, tf.float32)

        return run_updates(update, tf.constant(0), last, 0, ())

    assert numbers(tf.constant(3)).numpy().tolist() == [0, 1, 2]
    assert set(asked) == {False}
