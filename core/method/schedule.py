"""Schedules: how the learning rate and the random views change over the updates.

`plain` is Lucid's: a constant rate, and views drawn from the same distribution to the end. `fast` makes strips of the
same quality in three eighths of the updates. It starts with a low rate, because Adam's first steps are equally long for
coefficients whose gradient is only noise and for those that matter, and the image keeps their result. It ends with
views that close in on the frames themselves, because the finished frames are seen without a view. `docs/benchmarks.md`
has the measurements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.spec import RenderSettings

_PEAK = 5.0  # factor of the rate at the last update; with 2 strips are pale, with 6 they align less well than plain's
_WIDE = 0.5  # share of the updates with views as wide as plain's; after them views narrow evenly


@dataclass(frozen=True)
class Schedule:
    """The learning rate and the width of the views in every update, for some settings.

    Attributes:
        learning_rate: returns the rate of an update, a scalar tensor, from the update's number, which counts from 1.
        spread: shape (update,), in [0, 1]: how far the views of each update may be from the frame as it is.
    """

    learning_rate: Callable[[tf.Tensor], tf.Tensor | float]
    spread: Array

    @classmethod
    def of(cls, settings: RenderSettings) -> Schedule:
        steps, rate = settings.steps, settings.learning_rate
        if settings.schedule == "plain":
            return cls(lambda update: rate, np.ones(steps, np.float32))
        done = np.arange(steps, dtype=np.float32) / steps
        spread = np.minimum(1, (1 - done) / (1 - _WIDE)).astype(np.float32)
        return cls(lambda update: _PEAK * rate * tf.cast(update, tf.float32) / steps, spread)

    def narrowed(self, views: Array) -> Array:
        """Return views of the first updates, shape (update, ..., 2, 3), as close to the frame as the schedule says."""
        as_it_is = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
        spread = self.spread[: len(views)].reshape(-1, *[1] * (views.ndim - 1))
        narrowed: Array = np.where(spread == 1, views, as_it_is + spread * (views - as_it_is))
        return narrowed
