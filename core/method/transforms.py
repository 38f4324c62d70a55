"""Random views of the image, which keep an optimiser from finding noise that only one pixel grid can see.

A function of some settings, such as `jitter(8)`, returns a transform: a function of (images, seed). Images have shape
(batch, height, width, channel), and all images of a batch get the same draw. The seed is a tensor of two integers, so
that a draw can be repeated. `compose` chains transforms. `LUCID` is Lucid's standard chain (`optvis/transform.py`) to
the letter; its output sizes vary from step to step.

`STANDARD` draws from the same distribution but applies the draw as one bilinear resample of fixed output size, with an
exact gradient. It works by views: affine maps from the pixels that the model sees to the pixels of the image. A view
has shape (2, 3); its rows give the image's x and y from (x, y, 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.errors import ShapeError

Transform = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

_PAD_PX, _JITTER_BEFORE_PX, _JITTER_AFTER_PX = 12, 8, 4
_SCALES = [1 + (i - 5) / 50 for i in range(11)]  # 0.90, 0.92, ... 1.10
_ANGLES_DEGREES = [*range(-10, 11), *[0] * 5]
_GREY = 0.5


def standard_views(height: int, width: int, count: int, *, seed: int | tuple[int, ...]) -> Array:
    """Draw views, shape (count, 2, 3), float32, the same on every machine; more draws begin with the same views.

    Args:
        height, width: size of the image, and of what the model sees: the middle of Lucid's varying output.
    """
    uniform = np.random.Generator(np.random.Philox(seed)).random((count, 6), dtype=np.float32)
    views: Array = _views(tf.constant(uniform), (height, width), (height, width)).numpy()
    return views


def _views(uniform: tf.Tensor, size: tuple[int, int], out: tuple[int, int]) -> tf.Tensor:
    """Return views made from numbers uniform in [0, 1), shape (count, 6), for an image of *size* (height, width)."""

    def choose(column: int, values: Sequence[float]) -> tf.Tensor:
        chosen = tf.minimum(tf.cast(uniform[:, column] * len(values), tf.int32), len(values) - 1)
        return tf.gather(tf.constant(list(values), tf.float32), chosen)

    def point(x: float, y: float) -> tf.Tensor:
        return tf.constant([[x, y]], tf.float32)

    before = tf.stack([choose(i, range(_JITTER_BEFORE_PX + 1)) for i in (0, 1)], axis=1)
    scale = choose(2, _SCALES)
    angle = choose(3, _ANGLES_DEGREES) * (np.pi / 180)
    after = tf.stack([choose(i, range(_JITTER_AFTER_PX + 1)) for i in (4, 5)], axis=1)

    margin_px = 2 * _PAD_PX - _JITTER_BEFORE_PX
    scaled = tf.floor(scale[:, None] * point(size[1] + margin_px, size[0] + margin_px))
    centre = (scaled - 1) / 2
    # From the middle of the model's view back through the chain: crop, rotation about the centre, scale, crop, pad.
    middle = (scaled - _JITTER_AFTER_PX - point(out[1], out[0])) / 2
    rotation = tf.stack([tf.cos(angle), -tf.sin(angle), tf.sin(angle), tf.cos(angle)], axis=1)
    linear = tf.reshape(rotation / scale[:, None], (-1, 2, 2))
    origin = tf.linalg.matvec(linear, middle + after - centre) + centre / scale[:, None] + before - _PAD_PX
    return tf.concat([linear, origin[:, :, None]], axis=2)


def resample(images: tf.Tensor, views: tf.Tensor, out: tuple[int, int]) -> tf.Tensor:
    """Return images seen through views: resampled bilinearly, with grey where a view leaves the image.

    Args:
        images: shape (strip, frame, height, width, channel), float32 in [0, 1]; at least 2 x 2 pixels.
        views: shape (strip, 2, 3): all frames of a strip are seen through the same view.
        out: height and width of the result.

    Returns:
        shape (strip, frame, *out, channel), float32 in [0, 1].

    The map is linear in the pixels, a sparse matrix with up to four entries a row, and the gradient is exactly the
    product with its transpose.
    """
    strips, frames, height, width, channels = images.shape
    pixels = tf.reshape(tf.transpose(images, (0, 2, 3, 1, 4)), (strips, height * width, frames * channels))
    seen = tf.reshape(resample_by_position(pixels, (height, width), views, out), (strips, *out, frames, channels))
    return tf.transpose(seen, (0, 3, 1, 2, 4))


def resample_by_position(pixels: tf.Tensor, size: tuple[int, int], views: tf.Tensor, out: tuple[int, int]) -> tf.Tensor:
    """Do what `resample` does, with pixels by position.

    Args:
        pixels: shape (strip, height * width, frame * channel).
        size: height and width.

    Returns:
        shape (strip, out height * out width, frame * channel).

    Raises:
        ShapeError: if the image has fewer than 2 x 2 pixels.
    """
    if min(size) < 2:
        raise ShapeError(f"a view needs an image of at least 2 x 2 pixels, got {size[0]} x {size[1]}")
    strips, _, numbers = pixels.shape
    matrix = _bilinear_matrix(views, out, *size)

    @tf.custom_gradient
    def look(pixels: tf.Tensor) -> tuple[tf.Tensor, object]:
        return _times(matrix, pixels), lambda upstream: _times(matrix, upstream, adjoint=True)

    seen = look(tf.reshape(pixels - _GREY, (-1, numbers))) + _GREY
    return tf.reshape(seen, (strips, -1, numbers))


def standard(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Look at the whole batch through one random view, at the size of the images; see `STANDARD`."""
    size = (images.shape[1], images.shape[2])
    views = _views(tf.random.stateless_uniform((1, 6), seed), size, size)
    return resample(images[None], views, size)[0]


def pad(width_px: int, mode: Literal["reflect", "constant"] = "reflect", constant_value: float = _GREY) -> Transform:
    """Return a transform that adds a border on all four sides: the mirrored picture, or one value."""

    def transform(images: tf.Tensor, _seed: tf.Tensor) -> tf.Tensor:
        border = [(0, 0), (width_px, width_px), (width_px, width_px), (0, 0)]
        return tf.pad(images, border, mode.upper(), constant_value)

    return transform


def jitter(distance_px: int) -> Transform:
    """Return a transform that crops to a size smaller by *distance_px*, at a random place."""

    def transform(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        top_left = tf.random.stateless_uniform((2,), seed, 0, distance_px + 1, tf.int32)
        size = tf.shape(images)[1:3] - distance_px
        begin = tf.concat([[0], top_left, [0]], axis=0)
        cropped = tf.slice(images, begin, tf.concat([[-1], size, [-1]], axis=0))
        height, width = (None if side is None else side - distance_px for side in images.shape[1:3])
        cropped.set_shape((images.shape[0], height, width, images.shape[3]))
        return cropped

    return transform


def random_scale(scales: Sequence[float]) -> Transform:
    """Return a transform that resizes by a random one of *scales*.

    It resizes bilinearly in TensorFlow 1's convention and rounds the new size down.
    """

    def transform(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        scale = _pick(scales, seed)
        size = tf.cast(scale * tf.cast(tf.shape(images)[1:3], tf.float32), tf.int32)
        return tf.raw_ops.ResizeBilinear(images=images, size=size, align_corners=False, half_pixel_centers=False)

    return transform


def random_rotate(angles: Sequence[float], units: Literal["degrees", "radians"] = "degrees") -> Transform:
    """Return a transform that rotates counter-clockwise about the centre by a random one of *angles*.

    It takes the nearest pixel, and black outside the image. It follows Lucid to the letter, which takes 3.14 for pi and
    whose gradient resamples instead of transposing. `STANDARD` rotates bilinearly, fills with grey, and has an exact
    gradient.
    """

    def transform(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        angle = _pick(angles, seed) * (3.14 / 180 if units == "degrees" else 1.0)
        height, width = tf.unstack(tf.cast(tf.shape(images)[1:3], tf.float32))
        cos, sin = tf.cos(angle), tf.sin(angle)
        x = ((width - 1) - (cos * (width - 1) - sin * (height - 1))) / 2
        y = ((height - 1) - (sin * (width - 1) + cos * (height - 1))) / 2
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=tf.stack([cos, -sin, x, sin, cos, y, 0.0, 0.0])[None],
            output_shape=tf.shape(images)[1:3],
            fill_value=0.0,
            interpolation="NEAREST",
        )

    return transform


def crop_or_pad_to(height: int, width: int) -> Transform:
    """Return a transform that cuts out the centre, or pads with zeros, to reach a size."""
    return lambda images, _seed: tf.image.resize_with_crop_or_pad(images, height, width)


def compose(transforms: Sequence[Transform]) -> Transform:
    """Return a transform that applies *transforms* one after the other, each with draws of its own."""

    def transform(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        for place, one in enumerate(transforms):
            images = one(images, tf.random.experimental.stateless_fold_in(seed, place))
        return images

    return transform


STANDARD: tuple[Transform, ...] = (standard,)
LUCID: tuple[Transform, ...] = (
    pad(_PAD_PX, "constant"),
    jitter(_JITTER_BEFORE_PX),
    random_scale(_SCALES),
    random_rotate(_ANGLES_DEGREES),
    jitter(_JITTER_AFTER_PX),
)


def _pick(values: Sequence[float], seed: tf.Tensor) -> tf.Tensor:
    """Draw one of the values, uniformly."""
    return tf.constant(values, tf.float32)[tf.random.stateless_uniform((), seed, 0, len(values), tf.int32)]


_Sparse = tuple[tf.Tensor, tf.Tensor, tuple[int, int]]


def _bilinear_matrix(views: tf.Tensor, out: tuple[int, int], height: int, width: int) -> _Sparse:
    """Return the matrix from all pixels of all images to all pixels seen, as indices, values and shape."""
    # This is traced with every step, so it avoids slices, each of which takes as long to trace as four operations.
    strips, seen = views.shape[0], out[0] * out[1]
    rightwards, downwards, origin = tf.split(views, 3, axis=2)  # each (strip, xy, 1)
    along = rightwards * np.arange(out[1], dtype=np.float32)  # (strip, xy, column seen)
    down = downwards * np.arange(out[0], dtype=np.float32) + origin  # (strip, xy, row seen)
    position = tf.expand_dims(down, 3) + tf.expand_dims(along, 2)  # (strip, xy, row seen, column seen)
    # Each position reads two neighbouring pixels along each axis. A pixel's weight falls with its distance and is 0
    # from a distance of 1 on: that is bilinear inside the image and fades to nothing outside. Pixels with weight 0
    # belong to the same strip too, because 0 times a NaN of another strip would not be 0.
    low = tf.clip_by_value(tf.floor(position), 0, tf.constant([[[width - 2]], [[height - 2]]], tf.float32))
    beyond = position - low
    x, y = zip(*(tf.unstack(tf.nn.relu(1 - tf.abs(beyond - step)), axis=1) for step in (0, 1)), strict=True)
    values = tf.stack([y[dy] * x[dx] for dy in (0, 1) for dx in (0, 1)], axis=2)  # (strip, row seen, 4, column seen)

    image_start = np.arange(strips, dtype=np.int32)[:, None, None] * np.int32(height * width)
    low_x, low_y = tf.unstack(low, axis=1)
    column = image_start + tf.cast(low_y * width + low_x, tf.int32)
    row = np.arange(strips * seen, dtype=np.int64).reshape(strips, *out)
    # Row and column are the low and the high half of one 64-bit number. tf.stack takes ten times as long.
    entry = tf.bitwise.left_shift(tf.cast(column, tf.int64), tf.constant(32, tf.int64)) + row
    steps = np.array([0, 1, width, width + 1], np.int64)[:, None] << 32
    # Entries follow each other line by line of the output, so that the pixels they share stay in the cache.
    indices = tf.bitcast(tf.reshape(tf.expand_dims(entry, 2) + steps, (-1,)), tf.int32)
    return indices, tf.reshape(values, (-1,)), (strips * seen, strips * height * width)


def _times(matrix: _Sparse, rows: tf.Tensor, *, adjoint: bool = False) -> tf.Tensor:
    indices, values, shape = matrix
    return tf.raw_ops.SparseTensorDenseMatMul(
        a_indices=indices, a_values=values, a_shape=shape, b=rows, adjoint_a=adjoint
    )
