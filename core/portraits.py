"""Portraits: one picture of each neuron, on which all strips of a walkable atlas begin and end.

A portrait is a spectrum of its own on top of a canvas, low frequencies that all portraits of an atlas have in common,
so that landmarks lie at the same places in all of them. The canvas is found once, on a sample of neurons; after that it
is fixed, and each portrait depends on it and on its own neuron alone, whichever portraits share its batch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from core import objectives, optimise
from core.color import to_valid_rgb
from core.models import Model
from core.neurons import Neuron, Pair
from core.optimise import Adam
from core.parameterization import Parameterization, fft_image, resize_nd, spectrum_to_image
from core.sheets import Pixels, pack
from core.spec import Alignment, RenderSettings
from core.strip import StripRenderer
from core.transforms import STANDARD

Array = NDArray[np.float32]

SHARED_DIVISORS = (2, 4, 8, 16)
"""The low-resolution terms that several images share have the size divided by these."""


@dataclass(frozen=True)
class Canvas:
    """What all portraits have in common.

    Attributes:
        parameters: shape (height, width, 3), float32, before colours: add a spectrum's image to them.
        objective: shape (update,): the sum over the sample before each update.
    """

    parameters: Array
    objective: Array
    seconds: float


@dataclass(frozen=True)
class RenderedPortrait:
    """A finished portrait and the numbers behind it.

    Attributes:
        parameters: shape (height, width, 3), float32, before colours.
        pixels: shape (height, width, 3), uint8: the picture.
        activation: mean activation of the neuron on the picture before it was rounded.
        objective: shape (update,): the activation on the transformed picture before each update.
        failed_at: the first update whose objective was not finite, counted from 1, or None.
    """

    parameters: Array
    pixels: Pixels
    activation: float
    objective: Array
    failed_at: int | None
    seconds: float


def shared_terms(size_px: int, images: int = 1) -> list[tf.Variable]:
    """Low-resolution terms that start at nothing, each of shape (images, size, size, 3)."""
    sizes = [size_px // divisor for divisor in SHARED_DIVISORS]
    return [tf.Variable(tf.zeros((images, size, size, 3)), name="shared") for size in sizes]


def sum_of_terms(terms: Sequence[tf.Variable], size_px: int) -> tf.Tensor:
    """The terms at full size, shape (images, size_px, size_px, 3)."""
    return tf.add_n([resize_nd(term, (term.shape[0], size_px, size_px, 3)) for term in terms])


def find_canvas(model: Model, sample: Sequence[Neuron], settings: RenderSettings) -> Canvas:
    """Optimise portraits of a sample together, and keep what they share.

    Raises:
        RenderDivergedError: if the objective is no longer a finite number.
    """
    started = time.perf_counter()
    shape = (len(sample), settings.size_px, settings.size_px, 3)
    spectrum = fft_image(shape, settings.sd, seed=settings.seed)
    terms = shared_terms(settings.size_px)
    images = Parameterization(
        (*spectrum.variables, *terms),
        lambda: to_valid_rgb(spectrum() + sum_of_terms(terms, settings.size_px), decorrelate=True),
    )
    each = [objectives.channel(*neuron, batch=place) for place, neuron in enumerate(sample)]
    rendering = optimise.render(
        model,
        objectives.Objective.sum(each),
        images,
        checkpoints=(settings.steps,),
        transforms=STANDARD if settings.transforms == "standard" else (),
        optimizer=lambda variables: Adam(variables, settings.learning_rate),
        redirected_updates=settings.redirected_updates,
        seed=settings.seed,
    )
    parameters = sum_of_terms(terms, settings.size_px)[0].numpy()
    return Canvas(parameters, rendering.objective, time.perf_counter() - started)


class PortraitRenderer:
    """Renders portraits of neurons of one layer.

    Args:
        canvas: see `Canvas.parameters`.
        portraits: how many are packed into one batch.
    """

    def __init__(
        self, model: Model, layer: str, settings: RenderSettings, canvas: Array, *, portraits: int = 1
    ) -> None:
        self._strips = _OneFrame(model, layer, settings, canvas, portraits)

    def render(self, neurons: Sequence[Neuron]) -> list[RenderedPortrait]:
        """Render up to as many portraits as are packed together; at least one."""
        strips = self._strips.render([Pair(neuron, neuron) for neuron in neurons])
        parameters = self._strips.parameters().numpy()
        return [
            RenderedPortrait(
                parameters=parameters[place],
                pixels=pack(np.nan_to_num(strip.frames)),
                activation=float(strip.activation_a[0]),
                objective=strip.objective,
                failed_at=strip.failed_at,
                seconds=strip.seconds,
            )
            for place, strip in enumerate(strips)
        ]

    def seconds_per_update(self, neuron: Neuron) -> float:
        """How long an update takes for each of the packed portraits."""
        return self._strips.seconds_per_update(Pair(neuron, neuron))


class _OneFrame(StripRenderer):
    """Strips of one frame, which lead from a neuron to itself, on a canvas."""

    def __init__(self, model: Model, layer: str, settings: RenderSettings, canvas: Array, strips: int) -> None:
        self._canvas = tf.constant(canvas)
        alone = settings.model_copy(update={"frames": 1, "checkpoints": (), "alignment": Alignment(weight=0)})
        super().__init__(model, (layer, layer), alone, strips=strips)

    def parameters(self) -> tf.Tensor:
        """Before colours, shape (strip, height, width, 3)."""
        spectrum = self._parameterization.variables[0]
        size_px = self.settings.size_px
        return spectrum_to_image(spectrum, (self.strips, size_px, size_px, 3)) + self._canvas

    def _new_parameterization(self) -> Parameterization:
        size_px = self.settings.size_px
        [spectrum] = fft_image((self.strips, size_px, size_px, 3), self.settings.sd).variables
        return Parameterization((spectrum,), lambda: to_valid_rgb(self.parameters(), decorrelate=True))
