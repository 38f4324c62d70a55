"""Linear interpolation along any axis, as products with matrices. After TensorFlow 1's resize, which Lucid uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import tensorflow as tf

from core.arrays import Array

KeyFrames = Literal["lucid", "symmetric"]


def resize_matrix(out: int, stored: int) -> Array:
    """Return linear interpolation along one axis as a matrix, shape (out, stored), in TensorFlow 1's convention.

    Output i reads position i * stored / out, without a half-pixel shift and without anti-aliasing. Positions beyond
    the last stored value repeat it (`tf.image.resize_bilinear`, align_corners=False, half_pixel_centers=False).
    """
    position = np.arange(out, dtype=np.float32) * np.float32(stored / out)
    low = np.floor(position).astype(int)
    fraction = position - low
    matrix = np.zeros((out, stored), np.float32)
    rows = np.arange(out)
    matrix[rows, low] += 1 - fraction
    matrix[rows, np.minimum(low + 1, stored - 1)] += fraction
    return matrix


def key_frame_matrix(frames: int, stored: int, key_frames: KeyFrames) -> Array:
    """Return the weights of *stored* key frames in each of the frames, shape (frames, stored).

    `lucid` is Lucid's resize along the batch axis, in which the last key frame is reached early and repeated (two over
    six frames: 0, 1/3, 2/3, 1, 1, 1). `symmetric` spaces them evenly from the first frame to the last (0, .2, .4, .6,
    .8, 1), so that a strip run backwards is parameterized in the same way.
    """
    if key_frames == "lucid" or frames == 1:
        return resize_matrix(frames, stored)
    position = np.linspace(0, stored - 1, frames)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(stored))).astype(np.float32)


def resize_nd(t: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """Resize every axis of *t* whose size differs from *shape* by `resize_matrix`, the last axis first.

    The axes are independent, so their sequence changes rounding only; this one computes the fewest values.
    """
    for axis in reversed(range(len(shape))):
        if t.shape[axis] != shape[axis]:
            t = _along_axis(resize_matrix(shape[axis], t.shape[axis]), t, axis)
    return t


def resized_sum(terms: Sequence[tf.Variable], cells_px: Sequence[int], size_px: int) -> tf.Tensor:
    """Return the sum of square images of several sizes, each resized and then cropped to *size_px*.

    Args:
        terms: shape (batch, channel, height, width), each with its own height and width.
        cells_px: for each term, height and width of the pixels that one of its values covers.

    Returns:
        shape (batch, channel, size_px, size_px): the channels come first, so that every product is large.
    """
    sizes = zip(terms, cells_px, strict=True)
    matrices = [resize_matrix(term.shape[2] * cell_px, term.shape[2])[:size_px] for term, cell_px in sizes]
    # Along the height, one product with the matrices side by side resizes all terms and sums them.
    beside = tf.constant(np.concatenate(matrices, axis=1))

    @tf.custom_gradient
    def summed(*stored: tf.Tensor) -> tuple[tf.Tensor, object]:
        wide = [tf.matmul(term, matrix, transpose_b=True) for term, matrix in zip(stored, matrices, strict=True)]

        def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
            # TensorFlow's own gradient is the same products, and some 20 operations for axes of size 1, of which there
            # are none: they take a tenth of the time of tracing a step.
            parts = tf.split(tf.matmul(beside, upstream, transpose_a=True), [m.shape[1] for m in matrices], axis=2)
            return [tf.matmul(part, matrix) for part, matrix in zip(parts, matrices, strict=True)]

        return beside @ tf.concat(wide, axis=2), gradient

    return summed(*(tf.convert_to_tensor(term) for term in terms))


def _along_axis(matrix: Array, t: tf.Tensor, axis: int) -> tf.Tensor:
    """Multiply one axis of *t* by a matrix (out, in), with a single batched matrix product and no transpose."""
    before, after = t.shape[:axis], t.shape[axis + 1 :]
    flat = tf.reshape(t, (int(np.prod(before)), t.shape[axis], int(np.prod(after))))
    return tf.reshape(tf.constant(matrix) @ flat, (*before, matrix.shape[0], *after))
