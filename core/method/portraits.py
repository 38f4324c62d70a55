"""Portraits: one picture of each neuron, on which all strips of a walkable atlas begin and end.

A portrait is a spectrum of its own on top of a canvas, and it is aligned with the canvas's picture. Because the canvas
is fixed, a portrait depends on the canvas and on its own neuron alone, not on the other portraits of its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from core.arrays import Array, Pixels
from core.method.alignment import aligned_layers, weighted_alignment
from core.method.network import Readout, network
from core.method.noise import noise_levels
from core.method.objectives import alignment_factor
from core.method.parameterization import Parameterization, shared_colours, squashed, start_shared
from core.method.purity import Purity
from core.method.renderer import Renderer, first_failure, seen_by_model
from core.method.subjects import Neurons, Subject, subject_of
from core.models.model import Model
from core.neurons import Neuron
from core.pictures.portrait import Portrait
from core.pictures.sheets import side_by_side
from core.spec import RenderSettings


@dataclass(frozen=True)
class RenderedPortrait:
    """A finished portrait and the numbers behind it.

    Attributes:
        colours: shape (height, width, 3), float32, of any range: before they are squashed into the picture.
        pixels: shape (height, width, 3), uint8: the picture.
        activation: mean activation of the neuron on the picture before it was rounded.
        objective: shape (update,): the objective on the transformed picture before each update.
        failed_at: the first update whose objective was not finite, counted from 1, or None.
        seconds: rendering time, this portrait's share of its batch.
    """

    colours: Array
    pixels: Pixels
    activation: float
    objective: Array
    failed_at: int | None
    seconds: float


class PortraitRenderer:
    """Renders portraits of neurons of one layer.

    Args:
        canvas: see `core.method.canvas.RenderedCanvas`.
        portraits: portraits in a batch.
    """

    def __init__(
        self, model: Model, layer: str, settings: RenderSettings, canvas: Portrait, *, portraits: int = 1
    ) -> None:
        self._settings, self._derived = settings, model.derived
        self._images = _OnCanvas(settings, canvas, portraits)
        readout = Readout(model, (layer,), aligned_layers(model, settings), settings, portraits)
        goal = _OneNeuron(self._images, model, readout, canvas, settings)
        self._renderer = Renderer(self._images, goal, settings, strips=portraits, neurons=1, width=readout.width)

    def render(self, neurons: Sequence[Neuron]) -> list[RenderedPortrait]:
        """Render up to as many portraits as a batch has; at least one."""
        finished = self._renderer.render([self._subject(neuron) for neuron in neurons])
        colours = self._images.colours().numpy()
        return [
            RenderedPortrait(
                colours=colours[place].reshape(rendered.frames.shape[1:]),
                pixels=side_by_side(np.nan_to_num(rendered.frames)),
                activation=float(rendered.measured[0][0]),
                objective=rendered.objective,
                failed_at=first_failure(rendered.objective, rendered.frames),
                seconds=rendered.seconds,
            )
            for place, rendered in enumerate(finished)
        ]

    def _subject(self, neuron: Neuron) -> Subject:
        """Return the subject of a portrait, whose seed is that of a strip from the neuron to itself."""
        both = subject_of(self._settings, neuron, neuron, derived=self._derived)
        return replace(
            both, channels=both.channels[:1], directions={n: row for n, row in both.directions.items() if n == 0}
        )


class _OnCanvas:
    """Single frames, each a spectrum of its own on top of one canvas."""

    def __init__(self, settings: RenderSettings, canvas: Portrait, portraits: int) -> None:
        self._sd = settings.sd
        own = shared_colours(1, settings.size_px, (), strips=portraits)
        below = tf.constant(canvas.colours.reshape(1, -1, 3))
        self.colours = Parameterization(own.variables, lambda: own() + below)
        """The colours before they are squashed, shape (portrait, height * width, 3)."""
        squashed_colours = squashed(self.colours, settings.size_px, 1)
        self.variables = squashed_colours.variables
        self.image = squashed_colours.image
        self.by_position = squashed_colours.by_position

    def start(self, seeds: Sequence[int]) -> None:
        start_shared(self.variables, seeds, self._sd)


class _OneNeuron:
    """The activation of one neuron on a single frame, plus the frame's alignment with the canvas as its neighbour."""

    def __init__(
        self, images: _OnCanvas, model: Model, readout: Readout, canvas: Portrait, settings: RenderSettings
    ) -> None:
        self._images, self._readout, self._settings = images, readout, settings
        self._purity = Purity.of(readout, settings)
        [layer] = readout.layers
        self._of_canvas = network(model, readout.aligned, precision=settings.precision, xla=settings.xla)
        pixels = np.asarray(canvas.pixels, np.float32).reshape(1, -1, 3) / np.float32(255)
        self._canvas = tf.constant(np.repeat(pixels, readout.strips, axis=0))
        self._noise = noise_levels(model, (layer,), settings.size_px)[layer].mean
        self._factor = alignment_factor(2, settings.alignment.decay)

    def objective(self, step: tf.Tensor, redirected: bool, neurons: Neurons, views: tf.Tensor) -> tf.Tensor:
        settings, readout = self._settings, self._readout
        seen = seen_by_model(self._images.by_position(), 1, settings, views)
        found, [activation] = readout(seen, neurons, redirected)
        objective = activation[:, 0]
        gained = tf.maximum(tf.stop_gradient(objective) - tf.gather(self._noise, neurons.channels[:, 0]), 0.0)
        if self._purity:
            objective, gained = self._purity(found, neurons, [tf.ones((readout.strips, 1))], gained)
        if not readout.aligned:
            return objective
        canvas = self._of_canvas(seen_by_model(self._canvas, 1, settings, views), False, None)
        layers = [tf.stack([canvas[layer], found[layer]], axis=1) for layer in readout.aligned]
        return objective + weighted_alignment(layers, self._factor, settings, gained)

    def measure(self, neurons: Neurons) -> Sequence[tf.Tensor]:
        _, activations = self._readout.exact(self._images.image(), neurons)
        return activations
