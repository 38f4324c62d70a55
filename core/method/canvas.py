"""The canvas: one picture that all portraits of an atlas begin from, so that landmarks lie at the same places in all.

It excites a sample of neurons at once. A portrait lies on the canvas's low frequencies, and is aligned with its picture
in the alignment layers. The canvas is found once and then fixed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.arrays import Array, Pixels
from core.errors import RenderDivergedError
from core.method import objectives, optimise
from core.method.noise import noise_levels
from core.method.optimise import Adam
from core.method.parameterization import SHARED_LEVELS, shared_colours, squashed, start_shared
from core.method.schedule import Schedule
from core.method.transforms import STANDARD
from core.models.model import Model
from core.neurons import Neuron
from core.pictures.sheets import side_by_side
from core.spec import RenderSettings

# Measured on walks between 24 neurons of EfficientNet-Lite0; roughness is the mean step in the alignment layers, 0.29
# in strips with ends of their own. Low-resolution terms that portraits share, without alignment: 0.46. On all
# frequencies of one picture, and aligned with it: 0.35, but all portraits have its textures. As here: 0.36.
_BLUR_PX = 2.0  # standard deviation; frequencies that remain are as low as those of the alignment layers
_CONTRAST = 0.6  # standard deviation of the colours; with 0.8 portraits are harsh, with parts all white or all black
_TINY = 1e-30
_LEAST_DEVIATION = 0.25  # of the sample's median; dead neurons do not vary on noise, and would count too much


@dataclass(frozen=True)
class RenderedCanvas:
    """The picture that all portraits of an atlas begin from.

    Attributes:
        colours: shape (height, width, 3), float32, of any range: low frequencies, to which a portrait adds its own
            colours before they are squashed.
        pixels: shape (height, width, 3), uint8: the picture, with all frequencies, that portraits are aligned with.
        objective: shape (update,): the objective before each update.
        seconds: rendering time.
    """

    colours: Array
    pixels: Pixels
    objective: Array
    seconds: float


def find_canvas(model: Model, sample: Sequence[Neuron], settings: RenderSettings) -> RenderedCanvas:
    """Optimise one picture for a sample of neurons; each counts in units of its deviation on random images.

    Raises:
        RenderDivergedError: if the objective, or a colour of the canvas, is not a finite number.
    """
    started = time.perf_counter()
    schedule = Schedule.of(settings)
    colours = shared_colours(1, settings.size_px, [level for level in SHARED_LEVELS if level[0] == 1])
    start_shared(colours.variables, [settings.seed], settings.sd)
    picture = squashed(colours, settings.size_px, 1)
    weights = _weights(model, sample, settings.size_px)
    rendering = optimise.render(
        model,
        objectives.Objective.sum(
            weight * objectives.channel(*neuron) for weight, neuron in zip(weights, sample, strict=True)
        ),
        picture,
        checkpoints=(settings.steps,),
        transforms=STANDARD if settings.transforms == "standard" else (),
        optimizer=lambda variables: Adam(variables, schedule.learning_rate, schedule.momentum),
        redirected_updates=settings.redirected_updates,
        seed=settings.seed,
    )
    found = _blurred(colours().numpy().reshape(settings.size_px, settings.size_px, 3))
    found *= np.float32(_CONTRAST / max(float(found.std()), _TINY))
    if not np.isfinite(found).all():
        raise RenderDivergedError("expected finite colours of the canvas, got NaN or infinity")
    return RenderedCanvas(found, side_by_side(rendering.final), rendering.objective, time.perf_counter() - started)


def _weights(model: Model, sample: Sequence[Neuron], size_px: int) -> list[float]:
    levels = noise_levels(model, {neuron.layer for neuron in sample}, size_px)
    deviations = np.array([levels[neuron.layer].deviation[neuron.channel] for neuron in sample])
    least = _LEAST_DEVIATION * float(np.median(deviations))
    return [1.0 / max(float(deviation), least, _TINY) for deviation in deviations]


def _blurred(colours: Array) -> Array:
    """Return colours without their high frequencies; the image repeats at its edges, as its spectrum does."""
    height, width = colours.shape[:2]
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    kept = np.exp(-0.5 * (2 * np.pi * _BLUR_PX * frequencies) ** 2)[..., None]
    return np.fft.ifft2(np.fft.fft2(colours, axes=(0, 1)) * kept, axes=(0, 1)).real.astype(np.float32)
