"""The standard view: one linear resample with an exact gradient, drawn from Lucid's distribution."""

from __future__ import annotations

from collections import Counter

import numpy as np
import tensorflow as tf

from core import transforms as t

SIZE = (16, 16)
TILTED = np.array([[[0.98, 0.17, -1.3], [-0.17, 0.98, 2.2]]], np.float32)
IDENTITY = np.array([[[1, 0, 0], [0, 1, 0]]], np.float32)


def pictures(strips: int = 1, frames: int = 2, seed: int = 0) -> tf.Tensor:
    return tf.random.stateless_uniform((strips, frames, *SIZE, 3), (seed, 1))


def test_the_gradient_is_that_of_finite_differences() -> None:
    """Moving one pixel moves what is seen as the gradient says. The map is linear, so large steps are exact."""
    x = pictures()
    weights = tf.random.stateless_normal(x.shape, (5, 5))
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(t.resample(x, TILTED, SIZE) * weights)
    gradient = tape.gradient(total, x).numpy()

    for place in [(0, 0, 0, 0, 0), (0, 1, 7, 8, 1), (0, 0, 15, 3, 2), (0, 1, 10, 15, 0)]:
        step = np.zeros(x.shape, np.float32)
        step[place] = 1
        there = tf.reduce_sum(t.resample(x + step, TILTED, SIZE) * weights)
        back = tf.reduce_sum(t.resample(x - step, TILTED, SIZE) * weights)
        np.testing.assert_allclose(gradient[place], (there - back) / 2, atol=2e-4)


def test_the_identity_gives_the_image_back() -> None:
    """A view that changes nothing shows the pixels themselves, at any number of strips and frames."""
    x = pictures(strips=3)
    np.testing.assert_allclose(t.resample(x, np.repeat(IDENTITY, 3, axis=0), SIZE), x, atol=1e-6)


def test_beyond_the_image_there_is_grey() -> None:
    """A view that looks far away sees nothing but the middle of the range."""
    away = IDENTITY + np.array([[[0, 0, 100], [0, 0, 0]]], np.float32)
    np.testing.assert_allclose(t.resample(pictures(), away, SIZE), 0.5)


def test_each_strip_is_seen_through_its_own_view() -> None:
    """Packed strips are seen as each would be alone, and all frames of a strip alike."""
    x = pictures(strips=2)
    views = np.concatenate([IDENTITY, TILTED])

    together = t.resample(x, views, SIZE)

    np.testing.assert_allclose(together[0], t.resample(x[:1], IDENTITY, SIZE)[0], atol=1e-6)
    np.testing.assert_allclose(together[1], t.resample(x[1:], TILTED, SIZE)[0], atol=1e-6)


def test_a_view_takes_a_pixel_where_interpolation_says() -> None:
    """A view shifted by a half and a quarter pixel mixes the four pixels around by hand-computed weights."""
    shifted = IDENTITY + np.array([[[0, 0, 0.5], [0, 0, 0.25]]], np.float32)
    x = pictures()
    p = x.numpy()[0, 0]

    seen = t.resample(x, shifted, SIZE).numpy()[0, 0, 3, 4]

    expected = 0.75 * (p[3, 4] + p[3, 5]) / 2 + 0.25 * (p[4, 4] + p[4, 5]) / 2
    np.testing.assert_allclose(seen, expected, atol=1e-6)


def test_views_are_drawn_from_lucids_distribution() -> None:
    """Scales are the eleven, angles the twenty-one with no rotation in 6 of 26 cases, and the middle is jittered."""
    views = t.standard_views(128, 128, 20_000, seed=3)
    linear = views[:, :, :2].astype(np.float64)
    scales = np.round(1 / np.sqrt(np.linalg.det(linear)), 3)
    angles = np.round(np.degrees(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))).astype(int)

    assert sorted(set(scales)) == [0.9, 0.92, 0.94, 0.96, 0.98, 1.0, 1.02, 1.04, 1.06, 1.08, 1.1]
    assert sorted(set(angles)) == list(range(-10, 11))
    assert abs(Counter(angles.tolist())[0] / len(views) - 6 / 26) < 0.01
    assert max(Counter(scales.tolist()).values()) / min(Counter(scales.tolist()).values()) < 1.2
    middle = linear @ [63.5, 63.5] + views[:, :, 2]
    assert np.abs(middle.mean(axis=0) - 63.5).max() < 0.4
    plain = middle[(angles == 0) & (scales == 1.0)]
    offsets = np.unique(np.round(plain[:, 0] - 63.5, 3))
    # crop 0..8 of 8 and crop 0..4 of 4 about their middles
    assert (offsets.min(), offsets.max()) == (-6, 6)


def test_fewer_draws_are_the_first_of_more() -> None:
    """The view of an update does not depend on how many updates there are."""
    np.testing.assert_array_equal(t.standard_views(64, 64, 9, seed=5), t.standard_views(64, 64, 30, seed=5)[:9])
    assert not np.array_equal(t.standard_views(64, 64, 9, seed=5), t.standard_views(64, 64, 9, seed=6))


def test_the_standard_transform_repeats_a_draw_and_keeps_the_shape() -> None:
    """One seed gives one view; another gives another."""
    x = pictures()[0]
    first, again, other = (t.standard(x, tf.constant(seed)) for seed in ([1, 2], [1, 2], [1, 3]))

    assert first.shape == x.shape
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
