"""Colours that natural images have, from an unbounded tensor.

Optimising in a decorrelated colour space keeps the result from drifting to primary colours: the columns of the matrix
below are the principal directions of ImageNet's pixels, scaled by their standard deviation (Lucid,
`optvis/param/color.py`).
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

_CORRELATION_SQRT = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]], np.float32)
_LARGEST_COLUMN = np.max(np.linalg.norm(_CORRELATION_SQRT, axis=0))

COLOR_CORRELATION = _CORRELATION_SQRT / _LARGEST_COLUMN
"""Shape (rgb, decorrelated), float32: multiplies a decorrelated colour from the left."""

COLOR_MEAN = np.array([0.48, 0.46, 0.41], np.float32)


def to_valid_rgb(t: tf.Tensor, *, decorrelate: bool = False, sigmoid: bool = True) -> tf.Tensor:
    """Map an unbounded tensor to colours.

    Args:
        t: shape (batch, height, width, 3), float32, any range.
        decorrelate: read the last axis as a decorrelated colour rather than red, green and blue.
        sigmoid: squash into the range; otherwise add the mean colour (if decorrelated) and clip.

    Returns:
        The same shape, float32 in [0, 1].

    Clipping passes a gradient through wherever following it would lead back into the range. (Lucid's clip does the
    opposite, so that saturated values drift outward and never recover.)
    """
    if decorrelate:
        t = tf.tensordot(t, COLOR_CORRELATION.T, axes=1)
    if sigmoid:
        return tf.sigmoid(t)
    return _clip(t + COLOR_MEAN if decorrelate else t)


def _clip(t: tf.Tensor) -> tf.Tensor:
    @tf.custom_gradient
    def clip(t: tf.Tensor) -> tuple[tf.Tensor, object]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:  # of the loss, so descent moves against it
            leads_outward = ((t >= 1.0) & (upstream < 0)) | ((t <= 0.0) & (upstream > 0))
            return tf.where(leads_outward, 0.0, upstream)

        return tf.clip_by_value(t, 0.0, 1.0), gradient

    return clip(t)
