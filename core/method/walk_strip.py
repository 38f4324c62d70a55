"""Strips between portraits: the first and the last frame are given, and only those between are optimised.

An inner frame starts as the mix of the two portraits' colours before they are squashed, and what is optimised is its
difference from that mix: a spectrum of its own, and low-resolution terms that all inner frames share. The portraits
have no gradient, so they go through the model forward only, only as far as alignment looks at them, and in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.method.objectives import alignment_factor, interpolation_weights
from core.method.parameterization import (
    Parameterization,
    SharedInterpolation,
    frames_of,
    shared_colours,
    shared_start_values,
    squashed,
)
from core.method.portraits import ONE_FOR_ALL
from core.method.strip import Strip, StripRenderer, mixed, network
from core.models.models import Model
from core.neurons import Neuron, Pair
from core.pictures.portrait import Portrait
from core.spec import RenderSettings

_DIFFERENCE_GAIN = 0.125
"""What is optimised counts so much, so that it moves the colours so much more slowly than in a portrait.

With 1 the inner frames leave the mix further than they gain by: measured on pairs of EfficientNet-Lite0, an eighth
takes two thirds off the distance of neighbouring frames, and 2 % off the activation of the inner ones.
"""


class Walk(NamedTuple):
    """A pair, and where the portraits of its neurons come from."""

    pair: Pair
    portrait_of: Callable[[Neuron], Portrait]


class WalkRenderer:
    """Renders strips between portraits, for pairs whose neurons a lie in one layer and neurons b in one layer.

    Args:
        layers: the layer of neurons a and that of neurons b; may be the same.
        strips: how many pairs are packed into one batch.
    """

    def __init__(self, model: Model, layers: tuple[str, str], settings: RenderSettings, *, strips: int = 1) -> None:
        self._strips = _Between(model, layers, settings, strips=strips)

    def render(self, walks: Sequence[Walk]) -> list[Strip]:
        """Render up to `strips` pairs together; at least one.

        The first and the last frame of a strip are its portraits' pixels, divided by 255. Its objective is the mean
        of two neighbouring updates, of which each looks at one of them; that before the first update is of one alone.
        """
        ends = [[walk.portrait_of(neuron) for neuron in walk.pair] for walk in walks]
        self._strips.place([*ends, *[ends[-1]] * (self._strips.strips - len(ends))])
        strips = self._strips.render([walk.pair for walk in walks])
        return [replace(strip, objective=_of_both_ends(strip.objective)) for strip in strips]

    def seconds_per_update(self, walk: Walk) -> float:
        """How long an update takes for each of the packed strips; asks for no portraits, which change nothing here."""
        return self._strips.seconds_per_update(walk.pair)


class _Between(StripRenderer):
    """Strips whose first and last frame are constants.

    Constants that change from batch to batch lie in variables, so that nothing is traced anew.
    """

    def place(self, ends: Sequence[Sequence[Portrait]]) -> None:
        """Put portraits at the ends: for each strip that of neuron a and that of neuron b."""
        pixels = np.array([[portrait.pixels for portrait in pair] for pair in ends], np.float32) / np.float32(255)
        colours = np.array([[portrait.colours for portrait in pair] for pair in ends])
        self._ends.assign([_by_position(pixels[:, end : end + 1]) for end in (0, 1)])
        self._mix.assign(_by_position(np.einsum("fe,sehwc->sfhwc", _shares(self.settings.frames), colours)))

    def _new_parameterization(self) -> SharedInterpolation:
        """All frames, of which the inner ones are optimised."""
        strips, size_px, inner = self.strips, self.settings.size_px, self.settings.frames - 2
        self._ends = tf.Variable(tf.zeros((2, strips, size_px**2, 3)), trainable=False)
        self._mix = tf.Variable(tf.zeros((strips, size_px**2, inner * 3)), trainable=False)
        differences = shared_colours(inner, size_px, ONE_FOR_ALL, strips=strips)
        colours = Parameterization(differences.variables, lambda: self._mix + _DIFFERENCE_GAIN * differences())
        self._end_activations = network(
            self._model, self._aligned, precision=self.settings.precision, xla=self.settings.xla
        )
        self._inner = squashed(colours, size_px, inner)
        # Of the end of a and the inner frames; seen from b these come the other way.
        factor = alignment_factor(inner + 1, self.settings.alignment.decay, first=2)
        self._factors = np.stack([factor, np.concatenate([factor[:, :1], factor[:, :0:-1]], axis=1)])

        def by_position() -> tf.Tensor:
            return tf.concat([self._ends[0], self._inner.by_position(), self._ends[1]], axis=2)

        frames = inner + 2
        return SharedInterpolation(
            colours.variables, lambda: frames_of(by_position(), (size_px, size_px), frames), by_position
        )

    def _start(self, seeds: Sequence[int]) -> None:
        spectrum, *terms = self._parameterization.variables
        [start] = shared_start_values([spectrum], seeds, self.settings.sd)
        spectrum.assign(start)
        for term in terms:
            term.assign(tf.zeros_like(term))
        self._adam.reset()

    def _objective(self, views: tf.Tensor, channels: tf.Tensor, step: tf.Tensor, redirected: bool) -> tf.Tensor:
        """That of a strip, without the activations of the two ends, which nothing can change.

        Alignment looks at one end in one update and at the other in the next, which then counts twice: on average that
        is both, and spares the model a picture.
        """
        inner = self.settings.frames - 2
        seen = self._seen(self._inner.by_position(), inner, views)
        found, activations = self._excited(seen, channels, redirected)
        objective = mixed(activations, interpolation_weights(inner + 2)[1:-1])
        if not self._aligned:
            return objective
        turn = step % 2
        end = self._end_activations(self._seen(self._ends[turn], 1, views), False, None)
        layers = [tf.concat([self._by_strip(t) for t in (end[layer], found[layer])], axis=1) for layer in self._aligned]
        return objective + self._alignment(layers, tf.constant(self._factors)[turn])


def _of_both_ends(objective: Array) -> Array:
    """The mean of each number and the one before it, shape (update,)."""
    return np.concatenate([objective[:1], (objective[1:] + objective[:-1]) / 2])


def _shares(frames: int) -> Array:
    """The shares of neuron a and of neuron b in each inner frame, shape (inner frame, 2)."""
    weights = interpolation_weights(frames)[1:-1]
    return np.stack([1 - weights, weights], axis=1)


def _by_position(images: Array) -> Array:
    """Shape (strip, frame, height, width, 3) to (strip, height * width, frame * 3)."""
    strips, frames, height, width, channels = images.shape
    return images.transpose(0, 2, 3, 1, 4).reshape(strips, height * width, frames * channels)
