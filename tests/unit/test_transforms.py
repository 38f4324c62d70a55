"""Standard views: one linear resample with an exact gradient, drawn from Lucid's distribution."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import skimage.transform
import tensorflow as tf

from core.errors import ShapeError
from core.method import transforms as t

SIZE = (16, 16)
TILTED = np.array([[[0.98, 0.17, -1.3], [-0.17, 0.98, 2.2]]], np.float32)
IDENTITY = np.array([[[1, 0, 0], [0, 1, 0]]], np.float32)


def pictures(strips: int = 1, frames: int = 2, seed: int = 0) -> tf.Tensor:
    return tf.random.stateless_uniform((strips, frames, *SIZE, 3), (seed, 1))


def test_the_gradient_agrees_with_finite_differences() -> None:
    """The gradient of a pixel equals a central difference, which is exact for a large step as the map is linear."""
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


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_the_adjoint(seed: int) -> None:
    """For the linear part A of a drawn view <Ax, y> = <x, A'y> holds, with A'y from the gradient."""
    views = t.standard_views(16, 16, 3, seed=seed)
    x, y = pictures(strips=3, seed=seed), tf.random.stateless_normal((3, 2, *SIZE, 3), (seed, 2))
    with tf.GradientTape() as tape:
        tape.watch(x)
        seen = t.resample(x, views, SIZE)
        total = tf.reduce_sum(seen * y)
    transposed = tape.gradient(total, x).numpy()
    linear = (seen - t.resample(tf.zeros_like(x), views, SIZE)).numpy()

    forwards = np.vdot(linear.astype(np.float64), y)
    backwards = np.vdot(x.numpy().astype(np.float64), transposed)

    scale = np.linalg.norm(linear) * np.linalg.norm(y)
    assert abs(forwards - backwards) < 1e-5 * scale
    assert abs(forwards) > 1e-3 * scale  # two numbers near zero would agree without proving anything


def test_a_small_view_of_a_picture_that_is_not_square_has_an_exact_gradient_too() -> None:
    """Height, width and output size all differ, and neither the pixels nor the gradient confuse rows and columns."""
    x = tf.random.stateless_uniform((1, 1, 6, 11, 2), (1, 1))
    shifted = IDENTITY + np.array([[[0, 0, 2], [0, 0, 1]]], np.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        seen = t.resample(x, shifted, (4, 8))
        total = tf.reduce_sum(seen)

    np.testing.assert_allclose(seen[0, 0], x[0, 0, 1:5, 2:10], atol=1e-6)
    expected = np.zeros((6, 11, 2))
    expected[1:5, 2:10] = 1
    np.testing.assert_allclose(tape.gradient(total, x)[0, 0], expected, atol=1e-6)


def test_the_identity_view_gives_the_image_itself() -> None:
    """The identity leaves all pixels of all frames of all strips as they are."""
    x = pictures(strips=3)
    np.testing.assert_allclose(t.resample(x, np.repeat(IDENTITY, 3, axis=0), SIZE), x, atol=1e-6)


def test_outside_the_image_everything_is_grey() -> None:
    """A view that lies wholly outside the image is 0.5 everywhere."""
    away = IDENTITY + np.array([[[0, 0, 100], [0, 0, 0]]], np.float32)
    np.testing.assert_allclose(t.resample(pictures(), away, SIZE), 0.5)


def test_each_strip_is_seen_through_its_own_view() -> None:
    """Two strips in one batch are seen as each is alone, through its own view."""
    x = pictures(strips=2)
    views = np.concatenate([IDENTITY, TILTED])

    together = t.resample(x, views, SIZE)

    np.testing.assert_allclose(together[0], t.resample(x[:1], IDENTITY, SIZE)[0], atol=1e-6)
    np.testing.assert_allclose(together[1], t.resample(x[1:], TILTED, SIZE)[0], atol=1e-6)


def test_a_pixel_affects_its_own_frame_only() -> None:
    """The view of one frame of one strip depends on no other frame and on no other strip."""
    x = pictures(strips=2, frames=3)
    views = np.concatenate([TILTED, IDENTITY])
    other = x.numpy()
    other[0, 1] += 0.25

    difference = np.abs(t.resample(tf.constant(other), views, SIZE) - t.resample(x, views, SIZE)).max(axis=(2, 3, 4))

    assert difference[0, 1] > 0.2
    difference[0, 1] = 0
    assert difference.max() < 1e-6


def test_all_frames_of_a_strip_share_its_view() -> None:
    """Equal frames of a strip look equal, and another view of the same strip looks different."""
    x = tf.repeat(tf.repeat(pictures(frames=1), 3, axis=1), 2, axis=0)
    first, second = t.standard_views(16, 16, 2, seed=1)

    seen = t.resample(x, np.stack([first, second]), SIZE).numpy()

    np.testing.assert_array_equal(seen, np.repeat(seen[:, :1], 3, axis=1))
    assert np.abs(seen[0, 0] - seen[1, 0]).max() > 0.05


def test_a_strip_of_nan_does_not_affect_other_strips() -> None:
    """The view of the strip beside it and its gradient stay the same to the last bit, also outside the image."""
    views = t.standard_views(16, 16, 2, seed=1)
    sound = pictures(strips=2)
    broken = tf.stack([tf.fill(sound[0].shape, np.nan), sound[1]])
    results = []
    for x in (sound, broken):
        with tf.GradientTape() as tape:
            tape.watch(x)
            seen = t.resample(x, views, SIZE)
            total = tf.reduce_sum(seen**2)
        results.append((seen[1].numpy(), tape.gradient(total, x)[1].numpy()))

    assert (np.abs(results[0][0] - 0.5) < 1e-7).any()  # part of the view lies outside the image
    np.testing.assert_array_equal(results[1][0], results[0][0])
    np.testing.assert_array_equal(results[1][1], results[0][1])


def test_a_view_between_pixels_is_interpolated_bilinearly() -> None:
    """A view shifted by half and a quarter of a pixel mixes four pixels with weights that were computed by hand."""
    shifted = IDENTITY + np.array([[[0, 0, 0.5], [0, 0, 0.25]]], np.float32)
    x = pictures()
    p = x.numpy()[0, 0]

    seen = t.resample(x, shifted, SIZE).numpy()[0, 0, 3, 4]

    expected = 0.75 * (p[3, 4] + p[3, 5]) / 2 + 0.25 * (p[4, 4] + p[4, 5]) / 2
    np.testing.assert_allclose(seen, expected, atol=1e-6)


def test_views_are_drawn_from_lucids_distribution() -> None:
    """There are 11 scales and 21 angles, angle 0 is drawn in 6 of 26 cases, and the middle is jittered."""
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
    # Crops at 0 to 8 px and at 0 to 4 px move the middle by up to 4 px and 2 px in both directions.
    assert (offsets.min(), offsets.max()) == (-6, 6)


CHAIN_PX = 84  # padded by 2 * 12 px and cropped by 8 px this is 100 px, and most scales of 100 px are whole


def through_the_chain(
    picture: np.ndarray, scale: float, degrees: float, before: tuple[int, int], after: tuple[int, int]
) -> np.ndarray:
    """Apply Lucid's chain with NumPy and scikit-image: pad, crop, scale, rotate, crop; return the middle.

    Args:
        before, after: (x, y) of the crop before scaling and of the crop after rotating, in pixels.
    """
    padded = np.pad(picture, 12, constant_values=0.5)
    cropped = padded[before[1] : before[1] + 100, before[0] : before[0] + 100]
    px = round(100 * scale)
    scaled = skimage.transform.resize(cropped, (px, px), order=1)
    rotated = skimage.transform.rotate(scaled, degrees, order=1, cval=0.5)
    jittered = rotated[after[1] : after[1] + px - 4, after[0] : after[0] + px - 4]
    margin = (px - 4 - CHAIN_PX) // 2
    return jittered[margin : margin + CHAIN_PX, margin : margin + CHAIN_PX]


def origins(scale: float, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Return all crops (x, y, x after, y after), and the place in the image that each shows at the view's corner."""
    crops = np.stack(np.meshgrid(*[range(9)] * 2, *[range(5)] * 2, indexing="ij"), axis=-1).reshape(-1, 4)
    px = round(100 * scale)
    turn = np.exp(1j * np.radians(degrees))  # y points down, so this undoes a counter-clockwise rotation
    middle, centre = (1 + 1j) * (px - 4 - CHAIN_PX) / 2, (1 + 1j) * (px - 1) / 2
    place = middle + crops[:, 2] + 1j * crops[:, 3]
    place = turn * (place - centre) + centre
    place = place / scale + crops[:, 0] + 1j * crops[:, 1] - (12 + 12j)
    return crops, np.stack([place.real, place.imag], axis=-1)


def brightest(picture: np.ndarray) -> np.ndarray:
    """Return the centre (x, y) of the part that is brighter than grey."""
    light = np.clip(picture - 0.5, 0, None)
    y, x = np.indices(light.shape)
    return np.array([(x * light).sum(), (y * light).sum()]) / light.sum()


def test_a_drawn_view_is_lucids_chain_of_pad_crop_scale_rotate_and_crop() -> None:
    """A bright spot lands where the chain, computed step by step with scikit-image, puts it for the same draw."""
    views = t.standard_views(CHAIN_PX, CHAIN_PX, 60, seed=9).astype(np.float64)
    checked = 0
    for view in views:
        linear, origin = view[:, :2], view[:, 2]
        scale = round(1 / np.sqrt(np.linalg.det(linear)), 2)
        degrees = round(np.degrees(np.arctan2(linear[1, 0], linear[0, 0])))
        if abs(degrees) < 4 or scale not in (0.9, 0.96, 1.04, 1.08, 1.1):  # even sizes have their middle on a pixel
            continue
        crops, places = origins(scale, degrees)
        distance = np.abs(places - origin).max(axis=1)
        assert distance.min() < 1e-3
        assert np.sort(distance)[1] > 5e-3  # no other crops give this view
        left, top, left_after, top_after = crops[distance.argmin()].tolist()
        for spot in ([20.0, 30.0], [60.0, 25.0], [45.0, 62.0]):
            y, x = np.indices((CHAIN_PX, CHAIN_PX))
            picture = 0.5 + 0.5 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / 18)
            seen = t.resample(
                tf.constant(picture[None, None, ..., None], tf.float32),
                view[None].astype(np.float32),
                (CHAIN_PX, CHAIN_PX),
            )
            chained = through_the_chain(picture, scale, degrees, (left, top), (left_after, top_after))

            np.testing.assert_allclose(np.linalg.solve(linear, spot - origin), brightest(chained), atol=0.12)
            np.testing.assert_allclose(brightest(seen.numpy()[0, 0, ..., 0]), brightest(chained), atol=0.12)
        checked += 1
    assert checked >= 5


def test_fewer_views_are_the_first_of_more() -> None:
    """The view of an update does not depend on the number of updates."""
    np.testing.assert_array_equal(t.standard_views(64, 64, 9, seed=5), t.standard_views(64, 64, 30, seed=5)[:9])
    assert not np.array_equal(t.standard_views(64, 64, 9, seed=5), t.standard_views(64, 64, 9, seed=6))


def test_the_standard_transform_is_reproducible_and_keeps_the_shape() -> None:
    """The same seed gives the same view, and another seed another view."""
    x = pictures()[0]
    first, again, other = (t.standard(x, tf.constant(seed)) for seed in ([1, 2], [1, 2], [1, 3]))

    assert first.shape == x.shape
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


def test_an_image_of_one_pixel_is_refused() -> None:
    """Bilinear interpolation needs 2 x 2 pixels, and the error says so."""
    with pytest.raises(ShapeError, match="at least 2 x 2 pixels, got 5 x 1"):
        t.resample(tf.zeros((1, 1, 5, 1, 3)), tf.zeros((1, 2, 3)), (4, 4))
