"""Strips between portraits: the first and the last frame are given, and the frames between them are optimised.

An inner frame starts as the mix of the two portraits' colours before they are squashed. Its difference from that mix is
optimised: a spectrum of its own, and low-resolution terms that all inner frames share. The portraits need no gradient,
so the model computes them forward only, up to the deepest aligned layer, and one portrait in each update, in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.method.network import NetworkFunction, Readout, network
from core.method.objectives import alignment_factor, interpolation_weights
from core.method.parameterization import Parameterization, frames_of, shared_colours, shared_start_values, squashed
from core.method.portraits import ONE_FOR_ALL
from core.method.renderer import Renderer, seen_by_model, subject_of
from core.method.strip import Strip, aligned_layers, measure_strips, mixed, weighted_alignment
from core.models.model import Model
from core.neurons import Neuron, Pair
from core.pictures.portrait import Portrait
from core.spec import RenderSettings

_DIFFERENCE_GAIN = 0.125
"""Factor of the optimised difference, so that it moves the colours more slowly than in a portrait.

With a factor of 1, inner frames drift from the mix by more than the gained activation justifies. Measured on pairs of
EfficientNet-Lite0, one eighth takes two thirds off the distance of neighbouring frames, and 2 % off the activation of
the inner frames.
"""


class Walk(NamedTuple):
    """A pair, and a function that returns the portrait of each of its neurons."""

    pair: Pair
    portrait_of: Callable[[Neuron], Portrait]


class WalkRenderer:
    """Renders pairs of the same two layers, as strips between portraits.

    Args:
        layers: the layer of every neuron a and that of every neuron b; may be the same layer.
        strips: pairs in a batch.
    """

    def __init__(self, model: Model, layers: tuple[str, str], settings: RenderSettings, *, strips: int = 1) -> None:
        self._settings = settings
        self._strips = strips
        self._aligned = aligned_layers(model, settings)
        self._images = _BetweenPortraits(settings, strips)
        readout = Readout(model, layers, self._aligned, settings, strips)
        ends = network(model, self._aligned, precision=settings.precision, xla=settings.xla)
        goal = _InnerFrames(self._images, readout, ends, settings)
        self._renderer = Renderer(
            self._images, goal, settings, strips=strips, neurons=2, checkpoints=settings.checkpoints
        )

    def render(self, walks: Sequence[Walk]) -> list[Strip]:
        """Render up to as many pairs as a batch has; at least one.

        The first and the last frame of a strip are its portraits' pixels, divided by 255. Each update compares the
        inner frames with one of the two. The objective is therefore the mean over an update and the one before it; for
        the first update it is the value with one portrait alone.
        """
        ends = [[walk.portrait_of(neuron) for neuron in walk.pair] for walk in walks]
        self._images.place([*ends, *[ends[-1]] * (self._strips - len(ends))])
        subjects = [subject_of(self._settings, *walk.pair) for walk in walks]
        strips = [Strip.of(rendered, self._aligned) for rendered in self._renderer.render(subjects)]
        return [replace(strip, objective=_of_both_ends(strip.objective)) for strip in strips]

    def seconds_per_update(self, pair: Pair) -> float:
        """Return how long an update takes for each strip of a batch; the portraits do not affect it."""
        return self._renderer.stopwatch(subject_of(self._settings, *pair))() / self._strips


class _BetweenPortraits:
    """Frames of which the first and the last are constants, and the inner ones are optimised.

    Constants that change from batch to batch are stored in variables, so that nothing is traced again.
    """

    def __init__(self, settings: RenderSettings, strips: int) -> None:
        self._settings = settings
        size_px, inner = settings.size_px, settings.frames - 2
        self.ends = tf.Variable(tf.zeros((2, strips, size_px**2, 3)), trainable=False)
        """Pixels of the portraits by position: those of neurons a, then those of neurons b."""
        self._mix = tf.Variable(tf.zeros((strips, size_px**2, inner * 3)), trainable=False)
        differences = shared_colours(inner, size_px, ONE_FOR_ALL, strips=strips)
        colours = Parameterization(differences.variables, lambda: self._mix + _DIFFERENCE_GAIN * differences())
        self.inner = squashed(colours, size_px, inner)
        """The inner frames alone."""
        self.variables = colours.variables

    def place(self, ends: Sequence[Sequence[Portrait]]) -> None:
        """Put portraits at the ends: for each strip that of neuron a and that of neuron b."""
        pixels = np.array([[portrait.pixels for portrait in pair] for pair in ends], np.float32) / np.float32(255)
        colours = np.array([[portrait.colours for portrait in pair] for pair in ends])
        self.ends.assign([_by_position(pixels[:, end : end + 1]) for end in (0, 1)])
        self._mix.assign(_by_position(np.einsum("fe,sehwc->sfhwc", _shares(self._settings.frames), colours)))

    def start(self, seeds: Sequence[int]) -> None:
        """Set the start values: noise in the spectra, zeros in the low-resolution terms."""
        spectrum, *terms = self.variables
        [start] = shared_start_values([spectrum], seeds, self._settings.sd)
        spectrum.assign(start)
        for term in terms:
            term.assign(tf.zeros_like(term))

    def image(self) -> tf.Tensor:
        """Return all frames, the ends included, shape (strip * frame, height, width, 3)."""
        by_position = tf.concat([self.ends[0], self.inner.by_position(), self.ends[1]], axis=2)
        return frames_of(by_position, (self._settings.size_px, self._settings.size_px), self._settings.frames)


class _InnerFrames:
    """The objective of a strip without the activations of its two ends, which are constant.

    Alignment uses one end in one update and the other end in the next, and counts it twice. On average this is the same
    as using both ends, and the model computes one image less.
    """

    def __init__(
        self, images: _BetweenPortraits, readout: Readout, ends: NetworkFunction, settings: RenderSettings
    ) -> None:
        self._images, self._readout, self._ends, self._settings = images, readout, ends, settings
        self._inner = settings.frames - 2
        # For the end of a followed by the inner frames; for the end of b, the inner frames are in reverse order.
        factor = alignment_factor(self._inner + 1, settings.alignment.decay, first=2)
        self._factors = np.stack([factor, np.concatenate([factor[:, :1], factor[:, :0:-1]], axis=1)])

    def objective(self, step: tf.Tensor, redirected: bool, channels: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        settings, readout = self._settings, self._readout
        seen = seen_by_model(self._images.inner.by_position(), self._inner, settings, views)
        found, activations = readout(seen, channels, redirected)
        objective = mixed(activations, interpolation_weights(settings.frames)[1:-1])
        if not readout.aligned:
            return objective
        turn = step % 2
        end = self._ends(seen_by_model(self._images.ends[turn], 1, settings, views), False, None)
        layers = [
            tf.concat([readout.by_strip(t) for t in (end[layer], found[layer])], axis=1) for layer in readout.aligned
        ]
        return objective + weighted_alignment(layers, tf.constant(self._factors)[turn], settings)

    def measure(self, channels: tf.Tensor) -> Sequence[tf.Tensor]:
        return measure_strips(self._images.image(), channels, self._readout)


def _of_both_ends(objective: Array) -> Array:
    """Return the mean of each number and its predecessor, shape (update,)."""
    return np.concatenate([objective[:1], (objective[1:] + objective[:-1]) / 2])


def _shares(frames: int) -> Array:
    """Return the shares of neuron a and of neuron b in each inner frame, shape (inner frame, 2)."""
    weights = interpolation_weights(frames)[1:-1]
    return np.stack([1 - weights, weights], axis=1)


def _by_position(images: Array) -> Array:
    """Reshape (strip, frame, height, width, 3) to pixels by position, (strip, height * width, frame * 3)."""
    strips, frames, height, width, channels = images.shape
    return images.transpose(0, 2, 3, 1, 4).reshape(strips, height * width, frames * channels)
