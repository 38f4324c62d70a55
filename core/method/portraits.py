"""Portraits: one picture of each neuron, on which all strips of a walkable atlas begin and end.

A portrait is a spectrum and low-resolution terms of its own on top of a canvas: low frequencies that all portraits of
an atlas share, so that landmarks lie at the same places in all of them. The canvas is found once, on a sample of
neurons. Then it is fixed: a portrait depends on the canvas and on its own neuron alone, not on the other portraits of
its batch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from core.arrays import Array, Pixels
from core.errors import RenderDivergedError
from core.method import objectives, optimise
from core.method.network import Readout
from core.method.optimise import Adam
from core.method.parameterization import Parameterization, shared_colours, squashed, start_shared, start_values
from core.method.renderer import Renderer, Subject, first_failure, seen_by_model, subject_of
from core.method.schedule import Schedule
from core.method.transforms import STANDARD
from core.models.model import Model
from core.neurons import Neuron
from core.pictures.sheets import side_by_side
from core.spec import RenderSettings

ONE_FOR_ALL = ((1, 2), (1, 4), (1, 8), (1, 16))
"""(stored frames, divisor of the size) of the low-resolution terms that are the same in all frames."""
_OF_A_PORTRAIT = (
    (1, 4),
    (1, 8),
    (1, 16),
)  # with these, colours become as strong as in a strip, and the canvas still has an effect


@dataclass(frozen=True)
class RenderedCanvas:
    """The low frequencies that all portraits of an atlas share.

    Attributes:
        colours: shape (height, width, 3), float32, of any range: a portrait adds its own before they are squashed.
        pixels: shape (height, width, 3), uint8: the picture of the canvas alone.
        objective: shape (update,): the sum over the sample before each update.
        seconds: rendering time.
    """

    colours: Array
    pixels: Pixels
    objective: Array
    seconds: float


@dataclass(frozen=True)
class RenderedPortrait:
    """A finished portrait and the numbers behind it.

    Attributes:
        colours: shape (height, width, 3), float32, of any range: before they are squashed into the picture.
        pixels: shape (height, width, 3), uint8: the picture.
        activation: mean activation of the neuron on the picture before it was rounded.
        objective: shape (update,): the activation on the transformed picture before each update.
        failed_at: the first update whose objective was not finite, counted from 1, or None.
        seconds: rendering time, this portrait's share of its batch.
    """

    colours: Array
    pixels: Pixels
    activation: float
    objective: Array
    failed_at: int | None
    seconds: float


def find_canvas(model: Model, sample: Sequence[Neuron], settings: RenderSettings) -> RenderedCanvas:
    """Optimise portraits of a sample together, and return what they share.

    Raises:
        RenderDivergedError: if the objective, or a colour of the canvas, is not a finite number.
    """
    started = time.perf_counter()
    schedule = Schedule.of(settings)
    frames, size_px = len(sample), settings.size_px
    colours = shared_colours(frames, size_px, ONE_FOR_ALL)
    spectrum = colours.variables[0]
    spectrum.assign(start_values(settings.seed, spectrum.shape, settings.sd))
    each = [objectives.channel(*neuron, batch=place) for place, neuron in enumerate(sample)]
    rendering = optimise.render(
        model,
        objectives.Objective.sum(each),
        squashed(colours, size_px, frames),
        checkpoints=(settings.steps,),
        transforms=STANDARD if settings.transforms == "standard" else (),
        optimizer=lambda variables: Adam(variables, schedule.learning_rate, schedule.momentum),
        redirected_updates=settings.redirected_updates,
        seed=settings.seed,
    )
    spectrum.assign(tf.zeros_like(spectrum))
    shared = colours().numpy()[0, :, :3].reshape(size_px, size_px, 3)
    if not np.isfinite(shared).all():
        raise RenderDivergedError("expected finite colours of the canvas, got NaN or infinity")
    pixels = side_by_side(tf.sigmoid(shared).numpy()[None])
    return RenderedCanvas(shared, pixels, rendering.objective, time.perf_counter() - started)


class PortraitRenderer:
    """Renders portraits of neurons of one layer.

    Args:
        canvas: see `RenderedCanvas.colours`.
        portraits: portraits in a batch.
    """

    def __init__(
        self, model: Model, layer: str, settings: RenderSettings, canvas: Array, *, portraits: int = 1
    ) -> None:
        self._settings = settings
        self._images = _OnCanvas(settings, canvas, portraits)
        goal = _OneNeuron(self._images, Readout(model, (layer,), (), settings, portraits), settings)
        self._renderer = Renderer(self._images, goal, settings, strips=portraits, neurons=1)

    def render(self, neurons: Sequence[Neuron]) -> list[RenderedPortrait]:
        """Render up to as many portraits as a batch has; at least one."""
        finished = self._renderer.render([_subject(self._settings, neuron) for neuron in neurons])
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


class _OnCanvas:
    """Single frames, each a spectrum and low-resolution terms of its own on top of one canvas."""

    def __init__(self, settings: RenderSettings, canvas: Array, portraits: int) -> None:
        self._sd = settings.sd
        own = shared_colours(1, settings.size_px, _OF_A_PORTRAIT, strips=portraits)
        below = tf.constant(canvas.reshape(1, -1, 3))
        self.colours = Parameterization(own.variables, lambda: own() + below)
        """The colours before they are squashed, shape (portrait, height * width, 3)."""
        squashed_colours = squashed(self.colours, settings.size_px, 1)
        self.variables = squashed_colours.variables
        self.image = squashed_colours.image
        self.by_position = squashed_colours.by_position

    def start(self, seeds: Sequence[int]) -> None:
        start_shared(self.variables, seeds, self._sd)


class _OneNeuron:
    """The activation of one neuron on a single frame."""

    def __init__(self, images: _OnCanvas, readout: Readout, settings: RenderSettings) -> None:
        self._images, self._readout, self._settings = images, readout, settings

    def objective(self, step: tf.Tensor, redirected: bool, channels: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        seen = seen_by_model(self._images.by_position(), 1, self._settings, views)
        _, [activation] = self._readout(seen, channels, redirected)
        return tf.reduce_sum(activation, axis=1)

    def measure(self, channels: tf.Tensor) -> Sequence[tf.Tensor]:
        _, activations = self._readout.exact(self._images.image(), channels)
        return activations


def _subject(settings: RenderSettings, neuron: Neuron) -> Subject:
    """Return the subject of a portrait, whose seed is that of a strip from the neuron to itself."""
    return Subject((neuron.channel,), subject_of(settings, neuron, neuron).seed)
