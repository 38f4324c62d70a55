"""Schedules: how the learning rate and the random views change over the updates.

`plain` is Lucid's: a constant rate, and views drawn from the same distribution to the end. `fast` reaches as much in a
quarter of the updates. Its rate rises and falls again: Adam's first steps are equally long for coefficients whose
gradient is only noise and for those that matter, and the image keeps their result. Its momentum is lower, because a
mean over ten updates lags behind when there are only 64. And its views close in on the frames themselves, because the
finished frames are seen without a view. `docs/benchmarks.md` has the measurements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.method.optimise import MOMENTUM
from core.spec import RenderSettings

# Measured on 24 ends in four layers of EfficientNet-Lite0 with 64 updates, activation as a share of what 256 plain
# updates reach, and variance of the pixels (0.056 in plain strips):
_PEAK = 8.0  # factor of the rate at its highest; 5: 1.05 and 0.037, pale; 8: 1.07 and 0.056; 11: 1.08 and 0.073, harsh
_LAST = 0.5  # factor of the last rate, as a share of the highest; 0.2 takes 0.05 off the activation
_WIDE = 0.25  # share of the updates with views as wide as plain's, before they narrow evenly; 0.5 takes 0.05 off
_MOMENTUM = 0.5  # 0.9: 0.92; 0.7: 1.05; 0.5: 1.07


@dataclass(frozen=True)
class Schedule:
    """The learning rate and the width of the views in every update, for some settings.

    Attributes:
        learning_rate: returns the rate of an update, a scalar tensor, from the update's number, which counts from 1.
        momentum: see `core.method.optimise.Adam`.
        spread: shape (update,), in [0, 1]: how far the views of each update may be from the frame as it is.
    """

    learning_rate: Callable[[tf.Tensor], tf.Tensor | float]
    momentum: float
    spread: Array

    @classmethod
    def of(cls, settings: RenderSettings) -> Schedule:
        steps, rate = settings.steps, settings.learning_rate
        if settings.schedule == "plain":
            return cls(lambda update: rate, MOMENTUM, np.ones(steps, np.float32))
        done = np.arange(steps, dtype=np.float32) / steps
        spread = np.minimum(1, (1 - done) / (1 - _WIDE)).astype(np.float32)
        return cls(lambda update: _PEAK * rate * _rise_and_fall(tf.cast(update, tf.float32) / steps), _MOMENTUM, spread)

    def narrowed(self, views: Array) -> Array:
        """Return views of the first updates, shape (update, ..., 2, 3), as close to the frame as the schedule says."""
        as_it_is = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
        spread = self.spread[: len(views)].reshape(-1, *[1] * (views.ndim - 1))
        narrowed: Array = np.where(spread == 1, views, as_it_is + spread * (views - as_it_is))
        return narrowed


def _rise_and_fall(done: tf.Tensor) -> tf.Tensor:
    """Return the factor of the rate after a share of the updates: up to 1 in the first half, then down to the last."""
    return tf.minimum(2 * done, 1 - (1 - _LAST) * (2 * done - 1))
