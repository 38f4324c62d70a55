"""The frames between two ends that are given: portraits, or the finished ends of a strip.

An inner frame starts as the mix of the two ends' colours before they are squashed, by the frame's share of neuron b.
Its difference from that mix is optimised: a spectrum of its own, and low-resolution terms that all inner frames share.
The ends need no gradient, so the model computes them forward only, up to the deepest alignment layer, and one end in
each update, in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.method.alignment import aligned_layers, long_steps, relative_steps, weighted_alignment
from core.method.mix import Mix, mixed, weights_of
from core.method.network import NetworkFunction, Readout, network
from core.method.objectives import alignment_factor
from core.method.parameterization import Parameterization, frames_of, shared_colours, shared_start_values, squashed
from core.method.purity import Purity
from core.method.renderer import Renderer, seen_by_model
from core.method.strip import Strip, measure_strips
from core.method.subjects import Neurons, Subject
from core.models.model import Model
from core.pictures.portrait import Portrait
from core.spec import RenderSettings

_FOR_ALL_INNER = ((1, 2), (1, 4), (1, 8), (1, 16))
"""(stored frames, divisor of the size) of the low-resolution terms that all inner frames share."""
_DIFFERENCE_GAIN = 0.125
"""Factor of the optimised difference, so that it moves the colours more slowly than in a portrait.

With a factor of 1, inner frames drift from the mix by more than the gained activation justifies. Measured on pairs of
EfficientNet-Lite0, one eighth takes two thirds off the distance of neighbouring frames, and 2 % off the activation of
the inner frames.
"""


class BetweenRenderer:
    """Renders strips between ends, for pairs of the same two layers.

    Args:
        mix: how the two neurons count in each frame.
        strips: pairs in a batch.
        checkpoints: numbers of updates after which the strips are kept too.
    """

    def __init__(
        self,
        model: Model,
        layers: tuple[str, str],
        settings: RenderSettings,
        mix: Mix,
        *,
        strips: int,
        checkpoints: Sequence[int],
    ) -> None:
        self._strips, self._mix = strips, mix
        self._aligned = aligned_layers(model, settings)
        # The mix of two ends excites the network, so the gradients of inactive ReLU layers need not be redirected.
        few = settings.model_copy(update={"steps": settings.steps_between, "redirected_updates": 0})
        self._images = _BetweenEnds(few, mix, strips)
        readout = Readout(model, layers, self._aligned, few, strips)
        ends = network(model, self._aligned, precision=settings.precision, xla=settings.xla)
        self._goal = _InnerFrames(self._images, readout, ends, mix, few)
        self.renderer = Renderer(
            self._images, self._goal, few, strips=strips, neurons=2, width=readout.width, checkpoints=checkpoints
        )

    def render(
        self,
        subjects: Sequence[Subject],
        ends: Sequence[Sequence[Portrait]],
        progress: Callable[[int], None] = lambda updates: None,
    ) -> list[Strip]:
        """Render up to as many strips as a batch has; at least one.

        The first and the last frame of a strip are its ends' pixels, divided by 255. The objective is that of the inner
        frames. Each update compares them with one of the two ends; the objective is therefore the mean over an update
        and the one before it, and for the first update the value with one end alone.

        Args:
            ends: of each strip, that of neuron a and that of neuron b.
        """
        padding = self._strips - len(subjects)
        neurons = self.renderer.neurons_of([*subjects, *[subjects[-1]] * padding])
        self._images.place([*ends, *[ends[-1]] * padding])
        self._mix.start()
        activation_a, activation_b, *_ = self.renderer.measure(neurons)
        self._goal.reached.assign(np.stack([activation_a[:, 0], activation_b[:, -1]], axis=1))
        rendered = self.renderer.render(subjects, progress)
        strips = [Strip.of(each, self._aligned) for each in rendered]
        return [replace(strip, objective=_of_both_ends(strip.objective)) for strip in strips]


class _BetweenEnds:
    """Frames of which the first and the last are constants, and the inner ones are optimised.

    Constants that change from batch to batch are stored in variables, so that nothing is traced again.
    """

    def __init__(self, settings: RenderSettings, mix: Mix, strips: int) -> None:
        self._settings = settings
        size_px, inner = settings.size_px, settings.frames - 2
        self.ends = tf.Variable(tf.zeros((2, strips, size_px**2, 3)), trainable=False)
        """Pixels of the ends by position: those of neurons a, then those of neurons b."""
        self._end_colours = tf.Variable(tf.zeros((2, strips, size_px**2, 3)), trainable=False)
        differences = shared_colours(inner, size_px, _FOR_ALL_INNER, strips=strips)

        def colours() -> tf.Tensor:
            share = mix.shares[:, None, 1:-1, None]
            first, last = self._end_colours[0][:, :, None], self._end_colours[1][:, :, None]
            mixes = tf.reshape((1 - share) * first + share * last, (strips, size_px**2, inner * 3))
            return mixes + _DIFFERENCE_GAIN * differences()

        self.inner = squashed(Parameterization(differences.variables, colours), size_px, inner)
        """The inner frames alone."""
        self.variables = differences.variables

    def place(self, ends: Sequence[Sequence[Portrait]]) -> None:
        """Put ends on the strips: for each strip that of neuron a and that of neuron b."""
        pixels = np.array([[end.pixels for end in both] for both in ends], np.float32) / np.float32(255)
        colours = np.array([[end.colours for end in both] for both in ends], np.float32)
        self.ends.assign(_by_position(pixels))
        self._end_colours.assign(_by_position(colours))

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
        self, images: _BetweenEnds, readout: Readout, ends: NetworkFunction, mix: Mix, settings: RenderSettings
    ) -> None:
        self._images, self._readout, self._ends, self._mix, self._settings = images, readout, ends, mix, settings
        self._purity = Purity.of(readout, settings)
        self._inner = settings.frames - 2
        # For the end of a followed by the inner frames; for the end of b, the inner frames are in reverse order.
        factor = alignment_factor(self._inner + 1, settings.alignment.decay, first=2)
        self._factors = np.stack([factor, np.concatenate([factor[:, :1], factor[:, :0:-1]], axis=1)])
        self.reached = tf.Variable(tf.zeros((readout.strips, 2)), trainable=False)
        """The activation of a on its end and that of b on its own."""
        self._end_steps = tf.Variable(tf.zeros((2, readout.strips)), trainable=False)
        """The last step that was seen from a to the first inner frame, and from the last inner frame to b."""

    def objective(self, step: tf.Tensor, redirected: bool, neurons: Neurons, views: tf.Tensor) -> tf.Tensor:
        settings, readout, mix = self._settings, self._readout, self._mix
        seen = seen_by_model(self._images.inner.by_position(), self._inner, settings, views)
        found, (a, b) = readout(seen, neurons, redirected)
        factors, unit = mix.balance(self.reached, neurons.channels)
        shares = mix.shares[:, 1:-1]
        if self._purity:
            objective, unit = self._purity(found, neurons, weights_of(factors, shares), unit)
        else:
            objective = mixed([a * factors[:, :1], b * factors[:, 1:]], shares)
        if not readout.aligned:
            return objective
        turn = step % 2
        end = self._ends(seen_by_model(self._images.ends[turn], 1, settings, views), False, None)
        layers = [
            tf.concat([readout.by_strip(t) for t in (end[layer], found[layer])], axis=1) for layer in readout.aligned
        ]
        objective += weighted_alignment(layers, tf.constant(self._factors)[turn], settings, unit)
        # The end of b is a neighbour of the last inner frame, so it goes behind that.
        in_order = [tf.where(turn == 0, t, tf.concat([t[:, 1:], t[:, :1]], axis=1)) for t in layers]
        if mix.moves:
            steps = relative_steps(in_order)
            objective += long_steps(steps, settings, unit)
            mix.move(self._all_steps(steps, turn, first=step == 0))
        return objective

    def measure(self, neurons: Neurons) -> Sequence[tf.Tensor]:
        return measure_strips(self._images.image(), neurons, self._readout, self._mix.noise(neurons.channels))

    def _all_steps(self, steps: tf.Tensor, turn: tf.Tensor, *, first: tf.Tensor) -> tf.Tensor:
        """Return the steps of the whole strip, of which one at an end was seen in the update before.

        Args:
            steps: those between the inner frames, and the one from the end whose turn it is before or behind them.
            first: whether this is the first update, in which no other end has been seen.
        """
        seen = tf.where(turn == 0, steps[:, 0], steps[:, -1])
        inner = tf.where(turn == 0, steps[:, 1:], steps[:, :-1])
        both = tf.where(tf.range(2)[:, None] == turn, seen[None], tf.where(first, seen[None], self._end_steps))
        self._end_steps.assign(both)
        return tf.concat([both[0][:, None], inner, both[1][:, None]], axis=1)


def _of_both_ends(objective: Array) -> Array:
    """Return the mean of each number and its predecessor, shape (update,)."""
    return np.concatenate([objective[:1], (objective[1:] + objective[:-1]) / 2])


def _by_position(ends: Array) -> Array:
    """Reshape (strip, end, height, width, 3) to pixels by position, (end, strip, height * width, 3)."""
    strips, both, height, width, channels = ends.shape
    return ends.transpose(1, 0, 2, 3, 4).reshape(both, strips, height * width, channels)
