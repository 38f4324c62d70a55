"""Portraits: one picture of each neuron, on which all strips of a walkable atlas begin and end.

A portrait is a spectrum and low-resolution terms of its own on top of a canvas, low frequencies that all portraits of
an atlas have in common, so that landmarks lie at the same places in all of them. The canvas is found once, on a sample
of neurons; after that it is fixed, and each portrait depends on it and on its own neuron alone, whichever portraits
share its batch.
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
from core.method.optimise import Adam
from core.method.parameterization import Parameterization, SharedInterpolation, shared_colours, squashed, start_values
from core.method.schedule import Schedule
from core.method.strip import StripRenderer
from core.method.transforms import STANDARD
from core.models.models import Model
from core.neurons import Neuron, Pair
from core.pictures.sheets import side_by_side
from core.spec import Alignment, RenderSettings

ONE_FOR_ALL = ((1, 2), (1, 4), (1, 8), (1, 16))
"""(stored frames, divisor of the size) of the low-resolution terms that all frames share alike."""
_OF_A_PORTRAIT = (
    (1, 4),
    (1, 8),
    (1, 16),
)  # with which colours get as strong as in a strip, while the canvas still counts


@dataclass(frozen=True)
class RenderedCanvas:
    """What all portraits have in common.

    Attributes:
        colours: shape (height, width, 3), float32, of any range: a portrait adds its own before they are squashed.
        pixels: shape (height, width, 3), uint8: the picture of nothing but the canvas.
        objective: shape (update,): the sum over the sample before each update.
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
    """

    colours: Array
    pixels: Pixels
    activation: float
    objective: Array
    failed_at: int | None
    seconds: float


def find_canvas(model: Model, sample: Sequence[Neuron], settings: RenderSettings) -> RenderedCanvas:
    """Optimise portraits of a sample together, and keep what they share.

    Raises:
        RenderDivergedError: if the objective is no longer a finite number.
    """
    started = time.perf_counter()
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
        optimizer=lambda variables: Adam(variables, Schedule.of(settings).learning_rate),
        redirected_updates=settings.redirected_updates,
        seed=settings.seed,
    )
    spectrum.assign(tf.zeros_like(spectrum))
    shared = colours().numpy()[0, :, :3].reshape(size_px, size_px, 3)
    if not np.isfinite(shared).all():
        raise RenderDivergedError("expected finite colours of the canvas, got others")
    pixels = side_by_side(tf.sigmoid(shared).numpy()[None])
    return RenderedCanvas(shared, pixels, rendering.objective, time.perf_counter() - started)


class PortraitRenderer:
    """Renders portraits of neurons of one layer.

    Args:
        canvas: see `RenderedCanvas.colours`.
        portraits: how many are packed into one batch.
    """

    def __init__(
        self, model: Model, layer: str, settings: RenderSettings, canvas: Array, *, portraits: int = 1
    ) -> None:
        self._strips = _OneFrame(model, layer, settings, canvas, portraits)

    def render(self, neurons: Sequence[Neuron]) -> list[RenderedPortrait]:
        """Render up to as many portraits as are packed together; at least one."""
        strips = self._strips.render([Pair(neuron, neuron) for neuron in neurons])
        colours = self._strips.colours().numpy()
        return [
            RenderedPortrait(
                colours=colours[place].reshape(strip.frames.shape[1:]),
                pixels=side_by_side(np.nan_to_num(strip.frames)),
                activation=float(strip.activation_a[0]),
                objective=strip.objective,
                failed_at=strip.failed_at,
                seconds=strip.seconds,
            )
            for place, strip in enumerate(strips)
        ]


class _OneFrame(StripRenderer):
    """Strips of one frame, which lead from a neuron to itself, on a canvas."""

    def __init__(self, model: Model, layer: str, settings: RenderSettings, canvas: Array, strips: int) -> None:
        self._canvas = tf.constant(canvas.reshape(1, -1, 3))
        alone = settings.model_copy(update={"frames": 1, "checkpoints": (), "alignment": Alignment(weight=0)})
        super().__init__(model, (layer, layer), alone, strips=strips)

    def colours(self) -> tf.Tensor:
        """Before they are squashed, shape (strip, height * width, 3)."""
        return self._colours()

    def _new_parameterization(self) -> SharedInterpolation:
        size_px = self.settings.size_px
        own = shared_colours(1, size_px, _OF_A_PORTRAIT, strips=self.strips)
        self._colours = Parameterization(own.variables, lambda: own() + self._canvas)
        return squashed(self._colours, size_px, 1)
