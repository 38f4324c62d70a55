"""Activations of neurons on the photographs of an atlas, for comparing neurons with each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from core.arrays import Array
from core.atlas.evidence import Evidence, Responses, first_ones, read_evidence, stream_responses
from core.atlas.natural_strip import levels
from core.atlas.selection import OnPhotographs
from core.models.model import Model
from core.neurons import Neuron
from core.store.store import Store


def read_means(store: Store, evidence: Evidence, neurons: Sequence[Neuron]) -> Array:
    """Return the mean activations of neurons on all photographs that count, shape (neuron, image), float32.

    Raises:
        RecordError: if the layer of a neuron is not recorded, or a file is damaged.
        StoreError: if a file cannot be read.
    """
    means = _empty(evidence, neurons)
    for places, part in _parts(store, evidence, neurons):
        means[:, places] = part.mean.T
    return means


def read_levels_and_means(
    store: Store, evidence: Evidence, neurons: Sequence[Neuron]
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return levels and means of all photographs that count, and which of these equal none before them.

    The levels are those of the peaks, see `core.atlas.natural_strip.levels`. Each file is read once.

    Raises:
        RecordError: if the layer of a neuron is not recorded, or a file is damaged.
        StoreError: if a file cannot be read.

    Returns:
        float32, shape (neuron, image), twice; and shape (image,).
    """
    peaks, means = _empty(evidence, neurons), _empty(evidence, neurons)
    known, firsts = set[int](), []
    for places, part in _parts(store, evidence, neurons):
        peaks[:, places], means[:, places] = part.peak.T, part.mean.T
        firsts.append(first_ones(part.digests, known))
    for row in peaks:
        row[:] = levels(row)
    return peaks, means, np.concatenate(firsts)


def _empty(evidence: Evidence, neurons: Sequence[Neuron]) -> Array:
    return np.empty((len(neurons), evidence.count), np.float32)


def _parts(store: Store, evidence: Evidence, neurons: Sequence[Neuron]) -> Iterator[tuple[slice, Responses]]:
    """Yield the activations part by part, each with its places among the photographs that count."""
    start = 0
    for part in stream_responses(store, evidence, neurons):
        stop = start + len(part.numbers)
        yield slice(start, stop), part
        start = stop


def on_photographs(store: Store, model: Model, model_digest: str, known: Evidence | None) -> OnPhotographs:
    """Return a function that reads activations on the photographs of an atlas; see `OnPhotographs`.

    Nothing is read before the function is called. It returns None for layers that are not recorded, for channels that
    a layer does not have, and if the photographs were seen by another model, or by other directions of a derived layer.

    Args:
        known: what is recorded of the photographs that the spec has now; None: of those of the last build.
    """

    def read(layer: str, channels: Sequence[int]) -> Array | None:
        evidence = known or read_evidence(store)
        if evidence is None or evidence.album.model_digest != model_digest:
            return None
        neurons = [Neuron(layer, channel) for channel in channels]
        if evidence.count < 2 or not all(map(evidence.has, neurons)):
            return None
        compared = evidence.album.directions.get(layer, {})
        if layer in model.derived and any(compared[each] != model.derived[layer].digest(each) for each in channels):
            return None
        return read_means(store, evidence, neurons)

    return read
