"""Alignment of the frames of strips: how different they are in the alignment layers, and what that costs.

With `alignment.scale: relative` the difference of two frames in a layer is measured in units of the layer's own
variation, so that unrelated frames differ by about 2 in any layer of any network. Its weight counts against what the
neurons gain. With `lucid` both are as in Lucid: mean squared differences of activations.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from core.arrays import Array
from core.method.objectives import frame_alignment
from core.models.model import Model
from core.spec import RenderSettings

_LONG = 4.0
"""Weight of the excess of long steps, in units of the alignment of neighbouring frames."""


def aligned_layers(model: Model, settings: RenderSettings) -> tuple[str, ...]:
    """Return the layers in which frames are aligned; none if alignment has no weight."""
    if settings.alignment.weight == 0:
        return ()
    return settings.alignment.layers or tuple(model.alignment_layers)


def weighted_alignment(
    layers: Sequence[tf.Tensor], factor: tf.Tensor | Array, settings: RenderSettings, unit: tf.Tensor
) -> tf.Tensor | float:
    """Return the alignment term of the objective, shape (strip,), at most 0; 0 without a layer.

    Args:
        layers: the activations in each alignment layer, shape (strip, frame, ..., channel).
        factor: see `core.method.objectives.alignment_factor`.
        unit: see `core.method.mix.Balance`; used by the relative scale.
    """
    weight = settings.alignment.weight
    if settings.alignment.scale == "lucid":
        return sum(weight * frame_alignment(frames, factor) for frames in layers)
    shares = [tf.math.divide_no_nan(frame_alignment(frames, factor), variation(frames)) for frames in layers]
    return weight / max(1, len(layers)) * unit * sum(shares)


def relative_steps(layers: Sequence[tf.Tensor]) -> tf.Tensor:
    """Return the squared distances of neighbouring frames, shape (strip, frame - 1).

    A distance is the mean squared difference of two frames in units of the layer's variation, averaged over layers.

    Args:
        layers: the activations in each alignment layer, of which there is at least one.
    """
    return sum(tf.math.divide_no_nan(neighbour_distance(t), variation(t)[:, None]) for t in layers) / len(layers)


def long_steps(steps: tf.Tensor, settings: RenderSettings, unit: tf.Tensor) -> tf.Tensor:
    """Return the term of the objective for steps that are longer than the mean step, shape (strip,), at most 0.

    Frames may fall into two groups, one like a and one like b, whatever their shares: no share then lies between. So
    each step is aligned more, by its excess over the mean step. In the worst of 32 pairs of EfficientNet-Lite0 the
    largest step was 2.9 times the smallest without this term, and is 1.4 times the smallest with it.

    Args:
        steps: see `relative_steps`.
        unit: see `core.method.mix.Balance`.
    """
    excess = tf.maximum(tf.math.divide_no_nan(steps, tf.reduce_mean(steps, axis=1, keepdims=True)) - 1, 0.0)
    weight = _LONG * settings.alignment.weight / settings.alignment.decay
    return -weight * unit * tf.reduce_sum(tf.stop_gradient(excess) * steps, axis=1)


def neighbour_distance(t: tf.Tensor) -> tf.Tensor:
    """Return the mean squared difference of neighbouring frames, shape (strip, frame - 1).

    Args:
        t: shape (strip, frame, ...).
    """
    frames = tf.reshape(t, (*t.shape[:2], -1))
    return tf.reduce_mean((frames[:, 1:] - frames[:, :-1]) ** 2, axis=2)


def variation(t: tf.Tensor) -> tf.Tensor:
    """Return the variance over positions, its mean over channels and frames, shape (strip,), without gradient.

    Two unrelated frames with the same channel means have a mean squared difference of about twice this value. In a
    layer without positions it is the variance over channels.

    Args:
        t: activations, shape (strip, frame, ..., channel).
    """
    values = tf.stop_gradient(tf.reshape(t, (*t.shape[:2], -1, t.shape[-1])))
    if values.shape[2] == 1:
        values = tf.reshape(values, (*t.shape[:2], t.shape[-1], 1))
    deviations = values - tf.reduce_mean(values, axis=2, keepdims=True)
    return tf.reduce_mean(tf.reshape(deviations**2, (t.shape[0], -1)), axis=1)
