"""Noise levels: the activations that random images give, which tell a live neuron from a dead one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.machine import device
from core.method.network import network, read_layer
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
        typical: shape (channel,), or (1,) for all: the median deviation of the layer's channels; for a direction, the
            median of those that it is made of, times its length.
    """

    mean: Array
    deviation: Array
    highest: Array
    typical: Array


def noise_levels(model: Model, layers: Collection[str], size_px: int) -> dict[str, NoiseLevels]:
    """Return the levels of some layers; they are the same on every call, because the images have fixed seeds.

    The images have a natural spectrum: see `core.method.parameterization.image`. EfficientNet-Lite0's live neurons
    reach 29 to 160 standard deviations of these activations, after 256 updates.
    """
    computed = {read_layer(model, layer)[0] for layer in layers}
    activations = network(model, computed)
    with device.tensor_float_32(False):
        found = [activations(images, False, None) for images in _random_images(size_px)]
    means = {layer: np.concatenate([mean_over_positions(each[layer]) for each in found]) for layer in computed}
    return {layer: _of_layer(model, layer, means) for layer in layers}


def _of_layer(model: Model, layer: str, means: Mapping[str, Array]) -> NoiseLevels:
    """Return the levels of a layer.

    Args:
        means: layer -> the mean activations on each image, shape (image, channel), for layers that are not derived.
    """
    if layer not in model.derived:
        return _levels(means[layer], np.median(means[layer].std(axis=0), keepdims=True))
    directions = model.derived[layer]
    of = means[directions.of]
    typical = np.median(of.std(axis=0))
    blocks = []
    for rows in directions.blocks():
        lengths = np.linalg.norm(rows[:, :-1], axis=1)
        blocks.append(_levels(of @ rows[:, :-1].T + rows[:, -1], typical * lengths))
    return NoiseLevels(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))


def _levels(means: Array, typical: Array) -> NoiseLevels:
    """Return the levels from the mean activations on each image, shape (image, channel)."""
    highest = means.max(axis=0)
    return NoiseLevels(means.mean(axis=0), means.std(axis=0), highest + _TOLERANCE * np.abs(highest), typical)


@lru_cache(maxsize=2)
def _random_images(size_px: int) -> Sequence[tf.Tensor]:
    """Return batches of images; they are small if the images are large, because of the memory that they take."""
    together = max(1, min(_IMAGES, _IMAGES * 128**2 // size_px**2))
    pixels = [image(size_px, sd=_SD, seed=seed)() for seed in range(_IMAGES)]
    return [tf.concat(pixels[first : first + together], axis=0) for first in range(0, _IMAGES, together)]
