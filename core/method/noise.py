"""Noise levels: the activations that random images give, which tell a live neuron from a dead one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.machine import device
from core.method.network import network
from core.method.objectives import mean_over_positions
from core.method.parameterization import image
from core.models.model import Model

_IMAGES = 8
_SD = 1.0  # the images have the contrast of finished frames: a standard deviation of 0.23 between pixels
_TOLERANCE = 1e-3  # of the activation; rounding, and networks whose values hardly depend on the image


class NoiseLevels(NamedTuple):
    """Activations of the channels of a layer on random images.

    Attributes:
        mean: shape (channel,): mean over the images of the mean activation over positions.
        deviation: shape (channel,): their standard deviation.
        highest: shape (channel,): the highest of these activations; a neuron that no image excites more is dead.
    """

    mean: Array
    deviation: Array
    highest: Array


def noise_levels(model: Model, layers: Collection[str], size_px: int) -> dict[str, NoiseLevels]:
    """Return the levels of some layers; they are the same on every call, because the images have fixed seeds.

    The images have a natural spectrum: see `core.method.parameterization.image`. EfficientNet-Lite0's live neurons
    reach 29 to 160 standard deviations of these activations, after 256 updates.
    """
    activations = network(model, layers)
    with device.tensor_float_32(False):
        found = [activations(images, False, None) for images in _random_images(size_px)]
    return {layer: _levels(np.concatenate([mean_over_positions(each[layer]) for each in found])) for layer in layers}


def _levels(means: Array) -> NoiseLevels:
    """Return the levels from the mean activations on each image, shape (image, channel)."""
    highest = means.max(axis=0)
    return NoiseLevels(means.mean(axis=0), means.std(axis=0), highest + _TOLERANCE * np.abs(highest))


@lru_cache(maxsize=2)
def _random_images(size_px: int) -> Sequence[tf.Tensor]:
    """Return batches of images; they are small if the images are large, because of the memory that they take."""
    together = max(1, min(_IMAGES, _IMAGES * 128**2 // size_px**2))
    pixels = [image(size_px, sd=_SD, seed=seed)() for seed in range(_IMAGES)]
    return [tf.concat(pixels[first : first + together], axis=0) for first in range(0, _IMAGES, together)]
