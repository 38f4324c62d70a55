"""Purity: activations count by their angle to the mix of a frame's neurons too, not only by their length.

With `objective.cosine_power` p > 0, the objective of a frame is the mean over positions of (x . d) max(0.1, cosine)^p.
Here x are the activations of all channels at a position, d is the frame's mix of the directions of its neurons, and the
cosine is that of x and d. The form is that of `direction` in Lucid, see `core.method.objectives.counted_by_cosine`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from core.method.network import Readout
from core.method.objectives import LEAST_COSINE, counted_by_cosine, lengths
from core.method.subjects import Neurons
from core.spec import RenderSettings

_TOGETHER = 16
"""Numbers that a processor raises to a power at once, at most. What is left of a tensor behind the last such group is
rounded differently. It would depend on the batch, so each strip fills its groups with zeros."""


class Purity:
    """The objective of the frames of strips with a cosine power above 0.

    Cosines are below 0.2 in wide layers, and they grow during the optimisation, so the powers are small and grow by
    orders of magnitude. Adam takes too long steps if gradients grow. Therefore the balanced mix divides the objective
    of each frame by its share of what it would be without cosines. The objective stays in units of activation.
    With the mix of Lucid, the objective is as it is, and the unit of relative alignment shrinks with it.
    """

    def __init__(self, readout: Readout, settings: RenderSettings) -> None:
        self._readout, self._power = readout, settings.objective.cosine_power
        self._divides = settings.mix == "balanced"

    @classmethod
    def of(cls, readout: Readout, settings: RenderSettings) -> Purity | None:
        """Return the purity that settings ask for, or None with a cosine power of 0."""
        return cls(readout, settings) if settings.objective.cosine_power > 0 else None

    def __call__(
        self, found: Mapping[str, tf.Tensor], neurons: Neurons, weights: Sequence[tf.Tensor], unit: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the sum of the objective over the frames of each strip, and its unit, each of shape (strip,).

        Neurons of one layer have one mixed direction, and so have directions of one layer. Neurons of two layers have a
        direction and a cosine each. Biases do not count.

        Args:
            found: layer -> activations of all channels, shape (strip * frame, ...).
            neurons: those of each strip.
            weights: how much each neuron counts in each frame, each of shape (strip, frame); without gradient.
            unit: see `core.method.mix.Balance`; in units of activation.
        """
        directions = self._readout.directions(neurons)
        objective = reduced = whole = tf.zeros_like(weights[0])
        for layer in dict.fromkeys(layer for layer, _ in directions):
            frames = self._readout.by_strip(found[layer])
            activations = tf.reshape(frames, (*frames.shape[:2], -1, frames.shape[-1]))
            direction = sum(
                weight[:, :, None] * own[:, None]
                for weight, (its_layer, own) in zip(weights, directions, strict=True)
                if its_layer == layer
            )[:, :, None]
            positions = activations.shape[2]
            filled = [[0, 0], [0, 0], [0, -positions % _TOGETHER], [0, 0]]
            activations = tf.pad(activations, filled)
            products = tf.reduce_sum(activations * direction, axis=3)
            counted = counted_by_cosine(products, lengths(activations), lengths(direction), self._power)
            products, counted = products[:, :, :positions], counted[:, :, :positions]
            objective += tf.reduce_mean(counted, axis=2)
            reduced += tf.reduce_mean(tf.abs(counted), axis=2)
            whole += tf.reduce_mean(tf.abs(products), axis=2)
        # Where all products are 0, such as those of an inactive ReLU, redirected gradients need a share above 0.
        share = tf.stop_gradient(tf.where(whole > 0, reduced / whole, LEAST_COSINE**self._power))
        if self._divides:
            return tf.reduce_sum(objective / share, axis=1), unit
        return tf.reduce_sum(objective, axis=1), unit * tf.reduce_mean(share, axis=1)
