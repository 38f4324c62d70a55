"""The redirected gradient, compared with Lucid's and case by case. Descent moves against the gradients given here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from golden_io import load

from core.models.operations.relu import redirected_relu, redirected_relu6

Relu = Callable[[tf.Tensor], tf.Tensor]

runs, _ = load("end_to_end.npz")
BOTH = [pytest.param(redirected_relu, tf.nn.relu, id="relu"), pytest.param(redirected_relu6, tf.nn.relu6, id="relu6")]


def gradient(relu: Relu, x: object, upstream: object) -> np.ndarray:
    x = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(relu(x) * tf.constant(upstream, tf.float32))
    return tape.gradient(total, x).numpy()


@pytest.mark.parametrize(("relu", "name"), [(redirected_relu, "relu"), (redirected_relu6, "relu6")])
@pytest.mark.parametrize("step", [0, 16])
def test_redirected_gradients_are_lucids(relu: Relu, name: str, step: int) -> None:
    """A live, a dead, a wholly positive and a dead but sinking image in one batch have Lucid's gradients."""
    got = gradient(relu, runs["redirect.x"], runs["redirect.upstream"])

    np.testing.assert_array_equal(got, runs[f"redirect.{name}_grad_step{step}"])


@pytest.mark.parametrize(("relu", "name"), [(tf.nn.relu, "relu"), (tf.nn.relu6, "relu6")])
def test_afterwards_the_ordinary_gradient_is_lucids_except_at_zero(relu: Relu, name: str) -> None:
    """After the redirected updates the gradient is TensorFlow's own; only Lucid's passes at exactly 0."""
    x = runs["redirect.x"]

    got = gradient(relu, x, runs["redirect.upstream"])

    expected = runs[f"redirect.{name}_grad_step17"]
    np.testing.assert_array_equal(got[x != 0], expected[x != 0])
    assert (got[x == 0] == 0).all()
    assert (expected[x == 0] != 0).any()


@pytest.mark.parametrize(("redirected", "plain"), BOTH)
def test_values_are_those_of_the_plain_function(redirected: Relu, plain: Relu) -> None:
    """Redirecting changes only the gradient."""
    x = tf.constant([[-3.0, -0.0, 0.0, 2.5, 6.0, 9.0]])

    np.testing.assert_array_equal(redirected(x), plain(x))


@pytest.mark.parametrize("precision", [tf.float32, tf.bfloat16])
def test_the_gradient_passes_from_exactly_0_to_exactly_6_and_not_beyond(precision: tf.DType) -> None:
    """The gradient passes where Lucid's does, in float32 and in bfloat16, which are computed differently."""
    x = tf.constant([[-1e-30, -0.0, 0.0, 1e-30, 5.0, 6.0, 6.0625, np.inf, -np.inf]], precision)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = redirected_relu6(x)

    assert tf.cast(tape.gradient(y, x), tf.float32).numpy().tolist() == [[0, 1, 1, 1, 1, 1, 0, 0, 0]]


@pytest.mark.parametrize("relu", [redirected_relu, redirected_relu6])
def test_a_dead_image_is_raised_and_never_lowered(relu: Relu) -> None:
    """If no unit is active, gradients that raise a unit pass, and gradients that lower it do not."""
    assert gradient(relu, [[-1, -2, -3]], [[-1, 5, -0.5]]).tolist() == [[-1, 0, -0.5]]


@pytest.mark.parametrize(("redirected", "plain"), BOTH)
def test_one_live_unit_makes_the_gradient_plain(redirected: Relu, plain: Relu) -> None:
    """One active unit, however weak, gives its image the ordinary gradient everywhere."""
    x, upstream = [[-1, -2, 1e-3]], [[-1, 5, 1e-6]]

    got = gradient(redirected, x, upstream)

    np.testing.assert_array_equal(got, gradient(plain, x, upstream))
    assert got[0, 2] != 0


def test_a_live_unit_without_a_gradient_does_not_count() -> None:
    """If the active unit has no gradient, the gradients of dead units are redirected."""
    assert gradient(redirected_relu, [[-1, 4]], [[-1, 0]]).tolist() == [[-1, 0]]


@pytest.mark.parametrize("relu", [redirected_relu, redirected_relu6])
def test_each_image_of_a_batch_is_judged_alone(relu: Relu) -> None:
    """A dead image is redirected beside a live one, which is not; height, width and channels make one image."""
    dead, live = np.full((2, 2, 3), -1.0), np.full((2, 2, 3), -1.0)
    live[1, 0, 2] = 1.0

    got = gradient(relu, np.stack([dead, live, dead]), np.full((3, 2, 2, 3), -1.0))

    np.testing.assert_array_equal(got[0], np.full((2, 2, 3), -1.0))
    np.testing.assert_array_equal(got[1], np.where(live > 0, -1.0, 0.0))
    np.testing.assert_array_equal(got[2], got[0])


def test_a_saturated_image_is_lowered_from_above_six() -> None:
    """Above the upper end of ReLU6, gradients that lower a unit pass, and gradients that raise it do not."""
    assert gradient(redirected_relu6, [[7, 8, 9]], [[1, -5, 0.5]]).tolist() == [[1, 0, 0.5]]
    assert gradient(redirected_relu, [[7, 8, 9]], [[1, -5, 0.5]]).tolist() == [[1, -5, 0.5]]


def test_an_optimisation_that_starts_dead_makes_progress() -> None:
    """Descent on minus the activation raises dead units; with the ordinary gradient they never move."""

    def after(relu: Relu) -> float:
        x = tf.Variable([[-0.5, -0.4]])
        for _ in range(8):
            with tf.GradientTape() as tape:
                loss = -tf.reduce_sum(relu(x))
            x.assign_sub(0.1 * tape.gradient(loss, x))
        return float(tf.reduce_sum(tf.nn.relu(x)))

    assert after(redirected_relu) > 0
    assert after(redirected_relu6) > 0
    assert after(tf.nn.relu) == 0


@pytest.mark.parametrize("relu", [redirected_relu, redirected_relu6])
@pytest.mark.parametrize("place", [0, 2500, 4999])
def test_one_live_unit_in_a_large_image_counts_at_any_place(relu: Relu, place: int) -> None:
    """A live unit counts for its own image only; the other image is dead everywhere and is redirected."""
    x, upstream = -np.ones((2, 50, 100)), -np.ones((2, 50, 100))
    x[0].flat[place] = 1

    got = gradient(relu, x, upstream)

    assert got[0].sum() == got[0].flat[place] == -1
    assert (got[1] == -1).all()
