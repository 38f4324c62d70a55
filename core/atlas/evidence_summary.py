"""Summaries of neurons on photographs: distribution, strongest photographs, and the classes that a neuron prefers.

Everything is computed from the files of activations, part by part, so the memory does not grow with the number of
photographs. Sums are taken photograph by photograph in float64, so results do not depend on the parts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.arrays import Array
from core.atlas.evidence import Evidence, Responses, first_ones, stream_responses
from core.atlas.image_records import LayerOfImages
from core.neurons import Neuron
from core.photographs.decoding import Box
from core.store.store import Store

STRONGEST, MIDDLE = 16, 8
"""Numbers of photographs that are shown of each neuron."""
_MIDDLE_SHARES = (0.4, 0.6)
_SAMPLE = 2048  # photographs from which those of the middle are drawn, the same for all neurons
_GROUP = 2048  # neurons at a time; they then take about 200 MB

Sums = NDArray[np.float64]
Size = tuple[int, int]


@dataclass(frozen=True)
class Shown:
    """A photograph that is shown of a neuron.

    Attributes:
        number: its number in the list.
        peak: the largest activation of a position.
        place: row and column of that position in the layer.
        box: the part of the network's image that reaches the position.
    """

    number: int
    peak: float
    place: tuple[int, int]
    box: Box


@dataclass(frozen=True)
class ClassStrength:
    """A class of photographs and how strongly it excites a neuron.

    Attributes:
        count: number of photographs of the class.
        strength: mean peak of the class minus the mean of all peaks, in standard deviations of the peaks.
    """

    label: str
    count: int
    strength: float


@dataclass(frozen=True)
class NeuronSummary:
    """The summary of a neuron on photographs.

    Attributes:
        images: number of photographs that count.
        mean, deviation: mean and standard deviation, over photographs, of the mean activation over positions.
        highest: the largest mean activation over positions that a photograph reaches.
        peak_mean, peak_deviation: mean and standard deviation of the peaks.
        active: share of photographs whose peak is above 0.
        sparsity: lifetime sparseness of the peaks r, negative ones as 0 (Vinje and Gallant 2000, Science 287:1273):
            (1 - (sum r / n)^2 / (sum r^2 / n)) / (1 - 1 / n), from 0 (all photographs excite the neuron alike) to 1
            (one alone does). None if none does, or there is only one.
        strongest: the photographs with the largest peaks; of equal peaks, such as those of a ReLU6, that with the
            larger mean, then the first in the list. Of equal files only the first is shown.
        middle: random photographs between the 40th and the 60th percentile of the peaks, by their numbers.
        classes: all classes, the strongest first.
    """

    images: int
    mean: float
    deviation: float
    highest: float
    peak_mean: float
    peak_deviation: float
    active: float
    sparsity: float | None
    strongest: tuple[Shown, ...]
    middle: tuple[Shown, ...]
    classes: tuple[ClassStrength, ...]


def summarise(store: Store, evidence: Evidence, neurons: Sequence[Neuron]) -> dict[Neuron, NeuronSummary]:
    """Return what the photographs of an atlas say about some neurons; nothing if none of them counts.

    Raises:
        RecordError: if the layer of a neuron is not recorded, or a file is damaged.
        StoreError: if a file cannot be read.
    """
    classes = _Classes.of(evidence)
    sample = _sample(evidence)
    summaries: dict[Neuron, NeuronSummary] = {}
    for start in range(0, len(neurons), _GROUP):
        group = neurons[start : start + _GROUP]
        found = _Collected(len(group), classes, sample)
        for responses in stream_responses(store, evidence, group):
            found.add(responses)
        if found.count:
            summaries |= dict(zip(group, _summaries(found, group, evidence), strict=True))
    return summaries


@dataclass(frozen=True)
class _Classes:
    """The classes of photographs.

    Attributes:
        of_number: class of each photograph by its number; -1 if it has none.
    """

    labels: Sequence[str]
    of_number: NDArray[np.int32]

    @classmethod
    def of(cls, evidence: Evidence) -> _Classes:
        labels = evidence.listing.labels
        places = {label: place for place, label in enumerate(labels)}
        photographs = evidence.listing.photographs
        return cls(labels, np.array([places.get(each.label or "", -1) for each in photographs], np.int32))


@dataclass
class _Strongest:
    """The photographs with the largest peaks so far, each shape (photograph, neuron)."""

    numbers: NDArray[np.int32]
    peak: Array
    mean: Array
    position: NDArray[np.int32]

    def add(self, responses: Responses, shown: NDArray[np.bool_]) -> None:
        """Merge those of some more photographs that may be shown; they come later in the list."""
        peak = np.concatenate([self.peak, responses.peak[shown]])
        mean = np.concatenate([self.mean, responses.mean[shown]])
        of_each = np.repeat(responses.numbers[shown, None], peak.shape[1], axis=1)
        numbers = np.concatenate([self.numbers, of_each])
        position = np.concatenate([self.position, responses.position[shown]])
        order = np.lexsort((-mean, -peak), axis=0)[:STRONGEST]  # equal ones stay in the sequence of the list
        self.numbers, self.peak, self.mean, self.position = (
            np.take_along_axis(values, order, axis=0) for values in (numbers, peak, mean, position)
        )


class _Collected:
    """Sums and photographs of a group of neurons, which grow part by part."""

    def __init__(self, neurons: int, classes: _Classes, sample: NDArray[np.int32]) -> None:
        empty = (0, neurons)
        self.count = 0
        self.sums: dict[str, Sums] = {name: np.zeros(neurons) for name in ("mean", "peak", "active", "rectified")}
        self.squares: dict[str, Sums] = {name: np.zeros(neurons) for name in ("mean", "peak", "rectified")}
        self.highest = np.full(neurons, -np.inf, np.float32)
        whole, real = np.empty(empty, np.int32), np.empty(empty, np.float32)
        self.strongest = _Strongest(whole, real, real, whole)
        self.classes = classes
        self.class_sums: Sums = np.zeros((len(classes.labels), neurons))
        self.class_counts = np.zeros(len(classes.labels), np.int64)
        self._sample = sample
        self._known, self._known_in_sample = set[int](), set[int]()
        self._sampled: list[tuple[NDArray[np.int32], Array, NDArray[np.int32]]] = []

    def add(self, responses: Responses) -> None:
        """Add the photographs of a part."""
        if not len(responses.numbers):
            return
        self.count += len(responses.numbers)
        mean, peak = responses.mean.astype(np.float64), responses.peak.astype(np.float64)
        rectified = np.maximum(peak, 0)
        values = {"mean": mean, "peak": peak, "active": (peak > 0).astype(np.float64), "rectified": rectified}
        for name, each in values.items():
            self.sums[name] = _added(self.sums[name], each)
        for name in self.squares:
            self.squares[name] = _added(self.squares[name], values[name] ** 2)
        self.highest = np.maximum(self.highest, responses.mean.max(axis=0))
        self.strongest.add(responses, first_ones(responses.digests, self._known))
        for row, label in enumerate(self.classes.of_number[responses.numbers]):
            if label >= 0:
                self.class_sums[label] += peak[row]
                self.class_counts[label] += 1
        kept = np.isin(responses.numbers, self._sample)
        kept[kept] = first_ones(responses.digests[kept], self._known_in_sample)
        self._sampled.append((responses.numbers[kept], responses.peak[kept], responses.position[kept]))

    def sampled(self) -> tuple[NDArray[np.int32], Array, NDArray[np.int32]]:
        """Return numbers, peaks and positions of the photographs from which those of the middle are drawn."""
        numbers, peak, position = zip(*self._sampled, strict=True)
        return np.concatenate(numbers), np.concatenate(peak), np.concatenate(position)


def _added(total: Sums, values: Sums) -> Sums:
    """Add rows to a sum one after the other, which rounds alike however they are cut into parts."""
    result: Sums = np.add.accumulate(np.concatenate([total[None], values]), axis=0)[-1]
    return result


def _sample(evidence: Evidence) -> NDArray[np.int32]:
    """Return the numbers of the photographs from which those of the middle are drawn: at most `_SAMPLE` random ones."""
    numbers = np.array([n for n in range(len(evidence.listing.photographs)) if n not in evidence.skipped], np.int32)
    if len(numbers) <= _SAMPLE:
        return numbers
    dice = np.random.Generator(np.random.Philox(int(evidence.album.list, 16)))
    return np.sort(dice.choice(numbers, _SAMPLE, replace=False))


def _summaries(found: _Collected, neurons: Sequence[Neuron], evidence: Evidence) -> Iterator[NeuronSummary]:
    """Yield the summary of each neuron of a group."""
    n = found.count
    mean, peak_mean, rectified = (found.sums[name] / n for name in ("mean", "peak", "rectified"))
    deviation, peak_deviation = (
        np.sqrt(np.maximum(0, found.squares[name] / n - (found.sums[name] / n) ** 2)) for name in ("mean", "peak")
    )
    strength = _strength(found, peak_mean, peak_deviation)
    numbers, peak, position = found.sampled()
    for place, neuron in enumerate(neurons):
        layer, size = evidence.layers[neuron.layer], evidence.album.size
        chosen = _middle(peak[:, place], f"{evidence.album.list} {neuron}")
        rows = [(numbers[row], peak[row, place], position[row, place]) for row in chosen]
        strongest = found.strongest
        columns = (strongest.numbers[:, place], strongest.peak[:, place], strongest.position[:, place])
        yield NeuronSummary(
            images=n,
            mean=float(mean[place]),
            deviation=float(deviation[place]),
            highest=float(found.highest[place]),
            peak_mean=float(peak_mean[place]),
            peak_deviation=float(peak_deviation[place]),
            active=float(found.sums["active"][place] / n),
            sparsity=_sparsity(float(rectified[place]), float(found.squares["rectified"][place] / n), n),
            strongest=tuple(_shown(*row, layer, size) for row in zip(*columns, strict=True)),
            middle=tuple(_shown(*row, layer, size) for row in rows),
            classes=_ranked(found, strength[:, place]),
        )


def _strength(found: _Collected, mean: Sums, deviation: Sums) -> Sums:
    """Return the strength of each class for each neuron; 0 for a neuron that all photographs excite alike."""
    counts = np.maximum(1, found.class_counts)[:, None]
    result: Sums = (found.class_sums / counts - mean) / np.where(deviation > 0, deviation, np.inf)
    return result


def _ranked(found: _Collected, strength: Sums) -> tuple[ClassStrength, ...]:
    order = np.argsort(-strength, kind="stable")
    counts, labels = found.class_counts, found.classes.labels
    return tuple(
        ClassStrength(labels[label], int(counts[label]), float(strength[label])) for label in order if counts[label]
    )


def _middle(peaks: Array, seed: str) -> NDArray[np.intp]:
    """Return the rows of some random photographs in the middle of a neuron's distribution, ascending."""
    low, high = np.quantile(peaks, _MIDDLE_SHARES)
    rows = np.flatnonzero((peaks >= low) & (peaks <= high))
    dice = np.random.Generator(np.random.Philox(int(hashlib.sha256(seed.encode()).hexdigest()[:16], 16)))
    return np.sort(dice.choice(rows, min(MIDDLE, len(rows)), replace=False))


def _sparsity(mean: float, mean_square: float, n: int) -> float | None:
    if n < 2 or mean_square == 0:
        return None
    return (1 - mean**2 / mean_square) / (1 - 1 / n)


def _shown(number: np.int32, peak: np.float32, position: np.int32, layer: LayerOfImages, size: Size) -> Shown:
    return Shown(int(number), float(peak), layer.place(int(position)), layer.box(int(position), size))
