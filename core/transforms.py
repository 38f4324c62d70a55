"""Random views of the image: what keeps an optimiser from finding noise that only one pixel grid can see.

A view is an affine map from the pixels that the model sees to the pixels of the image, shape (2, 3): rows give the
image's x and y from (x, y, 1). `standard_views` draws them from the distribution of Lucid's standard chain (pad,
jitter, scale, rotate, jitter; `optvis/transform.py`), and `resample` looks through them with one bilinear
interpolation at a fixed output size. In Lucid's literal chain the size changes from step to step, the rotation takes
the nearest pixel, and its gradient is not that of what it computes.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Array = NDArray[np.float32]

_PAD_PX, _JITTER_BEFORE_PX, _JITTER_AFTER_PX = 12, 8, 4
_SCALES = np.array([1 + (i - 5) / 50 for i in range(11)])  # 0.90, 0.92, ... 1.10
_ANGLES_DEGREES = np.array([*range(-10, 11), *[0] * 5])
_GREY = 0.5


def standard_views(size_px: int, out_px: int, count: int, *, seed: int | tuple[int, ...]) -> Array:
    """Draw views, shape (count, 2, 3), float32. The first n of more draws are the draws of n.

    Args:
        size_px: height and width of the image.
        out_px: height and width of what the model sees: the middle of Lucid's varying output.
    """
    random = np.random.Generator(np.random.Philox(seed)).random((count, 6))

    def choose(column: int, values: Array | range) -> NDArray[np.float64]:
        return np.asarray(values, np.float64)[(random[:, column] * len(values)).astype(int)]

    before = np.stack([choose(i, range(_JITTER_BEFORE_PX + 1)) for i in (0, 1)], axis=1)
    scale = choose(2, _SCALES)
    angle = np.deg2rad(choose(3, _ANGLES_DEGREES))
    after = np.stack([choose(i, range(_JITTER_AFTER_PX + 1)) for i in (4, 5)], axis=1)

    size_before = np.float32(size_px + 2 * _PAD_PX - _JITTER_BEFORE_PX)
    scaled_px = np.floor(scale.astype(np.float32) * size_before)  # rounded as Lucid does, in single precision
    centre = (scaled_px - 1)[:, None] / 2
    # From the middle of the model's view back through the chain: crop, rotation about the centre, scale, crop, pad.
    margin = (scaled_px - _JITTER_AFTER_PX - out_px)[:, None] / 2
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)
    linear = rotation / scale[:, None, None]
    origin = (linear @ (margin + after - centre)[:, :, None])[:, :, 0]
    constant = origin + centre / scale[:, None] + before - _PAD_PX
    return np.concatenate([linear, constant[:, :, None]], axis=2).astype(np.float32)


def resample(images: tf.Tensor, views: tf.Tensor, out_px: int) -> tf.Tensor:
    """Look at images through views, bilinearly, with grey where a view leaves the image.

    Args:
        images: shape (strip, frame, height, width, channel), float32 in [0, 1].
        views: shape (strip, 2, 3): all frames of a strip are seen through the same view.
        out_px: height and width of the result.

    Returns:
        shape (strip, frame, out_px, out_px, channel), float32 in [0, 1].

    The map is linear in the pixels, a sparse matrix with up to four entries a row, and the gradient is exactly the
    product with its transpose.
    """
    strips, frames, height, width, channels = images.shape
    matrix = _bilinear_matrix(views, out_px, height, width)

    @tf.custom_gradient
    def look(pixels: tf.Tensor) -> tuple[tf.Tensor, object]:
        return _times(matrix, pixels), lambda upstream: _times(matrix, upstream, adjoint=True)

    pixels = tf.reshape(tf.transpose(images - _GREY, (0, 2, 3, 1, 4)), (strips * height * width, frames * channels))
    seen = tf.reshape(look(pixels), (strips, out_px, out_px, frames, channels))
    return tf.transpose(seen, (0, 3, 1, 2, 4)) + _GREY


_Sparse = tuple[tf.Tensor, tf.Tensor, tuple[int, int]]


def _bilinear_matrix(views: tf.Tensor, out_px: int, height: int, width: int) -> _Sparse:
    """Entries of the matrix from all pixels of all images to all pixels seen: indices, values, shape."""
    strips, seen = views.shape[0], out_px * out_px
    grid = np.stack([*np.meshgrid(np.arange(out_px), np.arange(out_px)), np.ones((out_px, out_px))])
    position = views @ tf.constant(grid.reshape(3, seen), tf.float32)  # (strip, xy, pixel seen)
    low = tf.floor(position)
    fraction = position - low
    row = tf.range(strips * seen)
    image_start = tf.range(strips)[:, None] * (height * width)
    indices, values = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            x, y = tf.cast(low[:, 0], tf.int32) + dx, tf.cast(low[:, 1], tf.int32) + dy
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            weight = tf.abs(1 - dx - fraction[:, 0]) * tf.abs(1 - dy - fraction[:, 1])
            column = tf.reshape(tf.where(inside, image_start + y * width + x, 0), (-1,))
            indices.append(tf.stack([row, column], axis=1))
            values.append(tf.reshape(tf.where(inside, weight, 0.0), (-1,)))
    shape = (strips * seen, strips * height * width)
    return tf.cast(tf.concat(indices, 0), tf.int64), tf.concat(values, 0), shape


def _times(matrix: _Sparse, rows: tf.Tensor, *, adjoint: bool = False) -> tf.Tensor:
    indices, values, shape = matrix
    return tf.raw_ops.SparseTensorDenseMatMul(
        a_indices=indices, a_values=values, a_shape=shape, b=rows, adjoint_a=adjoint
    )
