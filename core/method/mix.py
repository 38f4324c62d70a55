"""The mix of two neurons: how much each of them counts in each frame of a strip.

With `mix: lucid` these are the activations as they are, with shares in equal steps. With `mix: balanced` each neuron
counts by what it gains over noise at its own end, so that the frame in the middle is halfway. And the shares move after
every update until neighbouring frames are equally far apart in the alignment layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.method.noise import noise_levels
from core.method.objectives import interpolation_weights
from core.models.model import Model
from core.spec import RenderSettings

_SHORTEST = 1e-6  # a step of equal frames; unrelated frames are about 1.4 apart


class Balance(NamedTuple):
    """The weights with which the two neurons of each strip count.

    Attributes:
        factors: shape (strip, 2): factor of the activation of a and of b.
        unit: shape (strip,): the gain of a frame that is all a or all b, in units of the objective; at least 0.
    """

    factors: tf.Tensor
    unit: tf.Tensor


class Mix:
    """The mix of the strips of a batch.

    Args:
        layers: the layer of every neuron a and that of every neuron b.
        strips: strips in a batch.

    Attributes:
        shares: shape (strip, frame): the share of neuron b in each frame, from 0 to 1.
        moves: whether the mix is balanced, so that its shares move to an even pace.
    """

    def __init__(self, model: Model, layers: Sequence[str], settings: RenderSettings, strips: int) -> None:
        self.moves = settings.mix == "balanced"
        levels = noise_levels(model, set(layers), settings.size_px)
        self._levels = [levels[layer] for layer in layers]
        self._equal = np.tile(interpolation_weights(settings.frames), (strips, 1))
        self.shares = tf.Variable(self._equal, trainable=False)

    def start(self) -> None:
        """Set all shares to equal steps."""
        self.shares.assign(self._equal)

    def balance(self, reached: tf.Tensor, channels: tf.Tensor) -> Balance:
        """Return how the neurons count, from what they reach at their ends.

        With gains g over the noise's mean, balanced factors are 2 g_b / (g_a + g_b) for a and 2 g_a / (g_a + g_b) for
        b: both neurons then gain the harmonic mean of g_a and g_b. A dead neuron, which reaches no more than noise
        gives, cannot be balanced; then both factors are 1.

        Args:
            reached: shape (strip, 2): the activation of a on the first frame and of b on the last; without gradient.
            channels: shape (strip, 2).
        """
        mean, noise = self._of_channels([level.mean for level in self._levels], channels), self.noise(channels)
        gains = tf.maximum(reached - mean, 0.0)
        factors = tf.ones_like(gains)
        if self.moves:
            live = tf.reduce_all(reached > noise, axis=1, keepdims=True)
            counter = tf.math.divide_no_nan(2 * gains[:, ::-1], gains[:, :1] + gains[:, 1:])
            factors = tf.where(live, counter, factors)
        gained = factors * gains
        return Balance(factors, (gained[:, 0] + gained[:, 1]) / 2)

    def noise(self, channels: tf.Tensor) -> tf.Tensor:
        """Return the highest activation of a and of b on random images, shape (strip, 2)."""
        return self._of_channels([level.highest for level in self._levels], channels)

    @staticmethod
    def _of_channels(levels: Sequence[Array], channels: tf.Tensor) -> tf.Tensor:
        return tf.stack([tf.gather(level, channels[:, place]) for place, level in enumerate(levels)], axis=1)

    def move(self, steps: tf.Tensor) -> None:
        """Move the shares to where the steps between frames would be equally long.

        Args:
            steps: squared distances of neighbouring frames, shape (strip, frame - 1).
        """
        self.shares.assign(evenly_spaced(self.shares, steps))


def mixed(activations: Sequence[tf.Tensor], shares: tf.Tensor) -> tf.Tensor:
    """Return the sum over frames of the mix of two neurons' activations, shape (strip,).

    Args:
        activations: of a and of b, each of shape (strip, frame).
        shares: the share of b in each frame, shape (strip, frame).
    """
    a, b = activations
    return tf.reduce_sum((1 - shares) * a + shares * b, axis=1)


def weights_of(factors: tf.Tensor, shares: tf.Tensor) -> list[tf.Tensor]:
    """Return how much a counts in each frame, and how much b does, each of shape (strip, frame).

    Args:
        factors: see `Balance`.
        shares: the share of b in each frame, shape (strip, frame).
    """
    return [factors[:, :1] * (1 - shares), factors[:, 1:] * shares]


def evenly_spaced(shares: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
    """Return the shares that frames have at equal distances along a strip, interpolated linearly between its frames.

    Args:
        shares: shape (strip, frame), from 0 to 1.
        steps: squared distances of neighbouring frames, shape (strip, frame - 1).

    Returns:
        shape (strip, frame); the first and the last share stay.
    """
    lengths = tf.sqrt(steps) + _SHORTEST
    ends = tf.cumsum(lengths, axis=1)
    count = steps.shape[1]
    targets = (np.arange(1, count) / count).astype(np.float32)[None, :, None] * ends[:, -1:, None]
    # Of each step, the part that lies before each target, from 0 to 1.
    before = (targets - tf.expand_dims(ends - lengths, 1)) / tf.expand_dims(lengths, 1)
    inner = shares[:, :1] + tf.reduce_sum(
        tf.clip_by_value(before, 0.0, 1.0) * (shares[:, 1:] - shares[:, :-1])[:, None, :], axis=2
    )
    return tf.concat([shares[:, :1], inner, shares[:, -1:]], axis=1)
