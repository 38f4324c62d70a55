"""Adam as in TensorFlow 1, and the switch between the two gradients of ReLUs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf

from core.method.optimise import Adam, Updates, compile_in_threads

BETA1, BETA2 = float(np.float32(0.9)), float(np.float32(0.999))  # the nearest float32 values


def adam(start: np.ndarray, gradients: Sequence[np.ndarray], learning_rate: float, epsilon: float = 1e-8) -> np.ndarray:
    """Return Adam's result in float64, with epsilon added to the root of the uncorrected second moment."""
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
    """40 updates agree, also with gradients so small that epsilon dominates."""
    gradients = draws(scale, 40)
    variable = tf.Variable(tf.zeros((3, 5)))

    got = descend(variable, gradients, Adam([variable], learning_rate))

    expected = adam(np.zeros((3, 5)), gradients, learning_rate)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_epsilon_is_lucids_and_not_that_of_keras() -> None:
    """For small gradients, Keras's epsilon, or epsilon beside the corrected moment, gives values over 0.05 away."""
    gradients = draws(1e-7, 10)
    variable = tf.Variable(tf.zeros((3, 5)))

    got = descend(variable, gradients, Adam([variable]))

    corrected = 1e-8 * np.sqrt(1 - BETA2)  # epsilon beside the corrected moment, as it acts in the first update
    assert np.abs(got - adam(np.zeros((3, 5)), gradients, 0.05)).max() < 1e-5
    assert np.abs(got - adam(np.zeros((3, 5)), gradients, 0.05, epsilon=1e-7)).max() > 0.05
    assert np.abs(got - adam(np.zeros((3, 5)), gradients, 0.05, epsilon=corrected)).max() > 0.05


def test_the_first_update_is_as_long_as_the_learning_rate() -> None:
    """The first update goes against the sign of the gradient, and its length does not depend on the gradient's size."""
    variable = tf.Variable([1.0, 1.0, 1.0])

    got = descend(variable, [np.array([5.0, -0.02, 800.0], np.float32)], Adam([variable], 0.1))

    np.testing.assert_allclose(got, [0.9, 1.1, 0.9], atol=1e-5)


def test_a_reset_optimizer_acts_like_a_new_one() -> None:
    """After a reset the same gradients lead from the same values to the same result, to the last bit."""
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
    """Two variables end at the same values together as each does alone."""
    gradients, others = draws(1.0, 8), draws(0.3, 8)[::-1]
    a, b = tf.Variable(tf.zeros((3, 5))), tf.Variable(tf.zeros((3, 5)))
    together = Adam([a, b])
    for update, pair in enumerate(zip(gradients, others, strict=True), start=1):
        together.descend([tf.constant(gradient) for gradient in pair], tf.constant(update))

    alone = tf.Variable(tf.zeros((3, 5)))
    np.testing.assert_array_equal(descend(alone, gradients, Adam([alone])), a)
    alone = tf.Variable(tf.zeros((3, 5)))
    np.testing.assert_array_equal(descend(alone, others, Adam([alone])), b)


def test_each_update_is_done_once_and_the_first_ones_are_redirected() -> None:
    """A call does the updates from its first number up to its last, and redirects gradients in the first three only."""
    updates = Updates(lambda step, redirected: tf.cast(step, tf.float32) + 100 * redirected, 3)

    assert updates(0, 5).tolist() == [100, 101, 102, 3, 4]
    assert updates(2, 4).tolist() == [102, 3]
    assert updates(5, 6).tolist() == [5]
    assert updates(0, 3).tolist() == [100, 101, 102]
    assert updates.traces == 2


@pytest.mark.parametrize(("redirected", "expected"), [(0, {False}), (4, {True}), (3, {True, False})])
def test_only_the_loops_that_are_needed_are_traced(redirected: int, expected: set[bool]) -> None:
    """Tracing takes seconds, so the loop with redirected gradients, or the one without, is traced only if it runs."""
    traced: set[bool] = set()

    def update(step: tf.Tensor, redirected: bool, factor: tf.Tensor) -> tf.Tensor:
        traced.add(redirected)
        return factor * tf.cast(step, tf.float32)

    updates = Updates(update, redirected, others=[tf.TensorSpec(())])

    compile_in_threads([(loop, (0, 0, 2.0)) for loop in updates.loops(4)])
    assert traced == expected
    assert updates(0, 4, tf.constant(2.0)).tolist() == [0, 2, 4, 6]
    assert updates.traces == len(expected)


def test_errors_of_tracing_and_calling_in_threads_are_raised() -> None:
    """Errors keep their types, so that a caller can handle lack of memory."""

    @tf.function(autograph=False, input_signature=[tf.TensorSpec(None)])
    def fails(number: tf.Tensor) -> tf.Tensor:
        return tf.debugging.check_numerics(number, "bad")

    compile_in_threads([(fails, (1.0,))])
    with pytest.raises(tf.errors.InvalidArgumentError):
        compile_in_threads([(fails, (1.0,)), (fails, (np.nan,))])

    @tf.function(autograph=False, input_signature=[])
    def no_graph() -> tf.Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        compile_in_threads([(fails, (1.0,)), (no_graph, ())])
