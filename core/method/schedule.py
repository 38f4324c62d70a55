"""Schedules: how the learning rate and the random views change in the course of the updates.

`plain` is Lucid's: a constant rate, and views drawn from the same distribution to the end. `fast` makes strips that are
as good in three eighths of the updates. It starts slowly, because Adam's first steps are as long for a coefficient that
has seen only noise as for one that matters, and what they put into the image stays there. And it ends with views that
close in on the frames themselves, since these are what is wanted in the end. `docs/benchmarks.md` has the measurements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.spec import RenderSettings

_PEAK = 5.0  # of the rate, at the last update; with 2 the strips are pale, with 6 they align less well than plain's
_WIDE = 0.5  # of the updates have views as wide as plain's; then they narrow evenly


@dataclass(frozen=True)
class Schedule:
    """What a schedule makes of some settings.

    Attributes:
        learning_rate: the rate of an update, which counts from 1; a scalar tensor from a scalar tensor.
        spread: shape (update,), in [0, 1]: how far the views of each update may be from the frame as it is.
    """

    learning_rate: Callable[[tf.Tensor], tf.Tensor | float]
    spread: Array

    @classmethod
    def of(cls, settings: RenderSettings) -> Schedule:
        steps, rate = settings.steps, settings.learning_rate
        if settings.schedule == "plain":
            return cls(lambda update: rate, np.ones(steps, np.float32))
        course = np.arange(steps, dtype=np.float32) / steps
        spread = np.minimum(1, (1 - course) / (1 - _WIDE)).astype(np.float32)
        return cls(lambda update: _PEAK * rate * tf.cast(update, tf.float32) / steps, spread)

    def narrowed(self, views: Array) -> Array:
        """Views of the first updates, shape (update, ..., 2, 3), brought as close to the frame as the schedule says."""
        as_it_is = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
        spread = self.spread[: len(views)].reshape(-1, *[1] * (views.ndim - 1))
        narrowed: Array = np.where(spread == 1, views, as_it_is + spread * (views - as_it_is))
        return narrowed
