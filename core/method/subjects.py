"""The subjects of a batch: the neurons of each strip or portrait, and the seed of its start values and views."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.models.directions import Directions
from core.neurons import Neuron
from core.spec import RenderSettings

_NONE: Mapping[str, Directions] = MappingProxyType({})


@dataclass(frozen=True)
class Subject:
    """The subject of one strip of a batch.

    Attributes:
        channels: of its neurons.
        seed: of its start values and views.
        directions: number of a neuron whose layer is derived -> its direction and its bias, shape (channel + 1,).
    """

    channels: tuple[int, ...]
    seed: int
    directions: Mapping[int, Array] = field(default_factory=dict)


class Neurons(NamedTuple):
    """The neurons of the strips of a batch, as the inputs of a compiled step.

    Attributes:
        channels: shape (strip, neuron), int32.
        directions: shape (strip, neuron, width), float32: for neurons of derived layers the direction, then zeros up to
            the last place, which has the bias; zeros for other neurons. The width is that of the longest direction and
            its bias, or 0 if no layer is derived.
    """

    channels: tf.Tensor
    directions: tf.Tensor

    @classmethod
    def signature(cls, strips: int, neurons: int, width: int) -> Neurons:
        """Return the signature of a compiled function's argument."""
        return cls(tf.TensorSpec((strips, neurons), tf.int32), tf.TensorSpec((strips, neurons, width), tf.float32))

    @classmethod
    def of(cls, subjects: Sequence[Subject], width: int) -> Neurons:
        """Return the neurons of some subjects."""
        channels = np.array([subject.channels for subject in subjects], np.int32)
        directions = np.zeros((*channels.shape, width), np.float32)
        for strip, subject in enumerate(subjects):
            for neuron, row in subject.directions.items():
                directions[strip, neuron, : len(row) - 1] = row[:-1]
                directions[strip, neuron, -1] = row[-1]
        return cls(tf.constant(channels), tf.constant(directions))


def subject_of(settings: RenderSettings, *neurons: Neuron, derived: Mapping[str, Directions] = _NONE) -> Subject:
    """Return the subject of a strip about some neurons.

    Its seed depends on the settings' seed and on the neurons alone, so start values and views are the same in every
    batch and on every machine. For the seed, a direction counts as the channel of the same number of the layer that it
    is a direction of. So its pictures do not depend on the name of the derived layer.

    Args:
        derived: the derived layers of the model.

    Raises:
        ModelError: if a file of directions has changed.
    """
    seeding = [
        neuron._replace(layer=derived[neuron.layer].of) if neuron.layer in derived else neuron for neuron in neurons
    ]
    written = ":".join([str(settings.seed), *map(str, seeding)])
    seed = int.from_bytes(hashlib.sha256(written.encode()).digest()[:8], "big")
    rows = {
        number: derived[neuron.layer].rows([neuron.channel])[0]
        for number, neuron in enumerate(neurons)
        if neuron.layer in derived
    }
    return Subject(tuple(neuron.channel for neuron in neurons), seed, rows)
