"""The natural strips of all pairs, and what the neurons of each have in common on photographs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.arrays import Array
from core.atlas.natural_strip import above_photographs, correlation, natural_strip, overlap, standardised
from core.gallery.table import Table

Scores = Mapping[str, NDArray[np.float64]]
"""Name, one of `core.atlas.scores.PHOTO_SCORES` -> a value for each row of a table; NaN if it is not known."""
AT_MOST = 4
"""Photographs below a frame, at most."""
LEVEL_STEPS = 16
"""Steps of a stored level in one unit; 255 steps, the most that a byte has, are the strongest of 125,000."""


@dataclass(frozen=True)
class NaturalStrips:
    """The natural strips of the rows of a table.

    Attributes:
        starts: shape (row + 1,): where the slots of each row begin. A frame has `AT_MOST` slots, the strongest
            photograph first.
        photographs: shape (slot,): numbers of photographs; -1 for none.
        levels: shape (2, slot), uint8: the levels of the photograph for a and for b, in steps.
        both: shape (row,): photographs on which both neurons are active, by their levels.
        by_chance: shape (row,): how many these would be if the neurons were independent. NaN if nothing is known of a
            neuron.
        correlation: shape (row,): that of the mean activations; NaN if it is not known.
        multiples: shape (2, row): the ends as multiples of the strongest photograph; NaN if unknown.
    """

    starts: NDArray[np.int64]
    photographs: NDArray[np.int32]
    levels: NDArray[np.uint8]
    both: NDArray[np.uint32]
    by_chance: NDArray[np.float64]
    correlation: NDArray[np.float64]
    multiples: NDArray[np.float64]

    @property
    def scores(self) -> Scores:
        """The scores of photographs."""
        return _scores(self.multiples, self.correlation)

    def of_list(self, numbers: NDArray[np.int32]) -> NaturalStrips:
        """Return the same strips with other numbers of the photographs: *numbers* has that of each place."""
        return replace(self, photographs=np.append(numbers, np.int32(-1))[self.photographs])


def natural_strips(
    table: Table,
    neurons: NDArray[np.integer],
    levels: Array,
    means: Array,
    shown: NDArray[np.bool_],
    known: NDArray[np.bool_],
) -> NaturalStrips:
    """Return the natural strips of all rows of a table.

    Args:
        neurons: ids of the neurons whose activations are known.
        levels: the levels of the photographs for them, shape (neuron, photograph).
        means: their activations, means over positions, shape (neuron, photograph).
        shown: which photographs may be shown, shape (photograph,).
        known: shape (row,): whether the activations are of the network of that row.

    Returns:
        photographs by their places in *levels*.
    """
    rows = len(table)
    a, b = _places(table, neurons, known)
    frames = table.columns["frames"].astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(frames * AT_MOST)])
    photographs = np.full(starts[-1], -1, np.int32)
    in_steps = np.zeros((2, starts[-1]), np.uint8)
    both, by_chance, correlated = np.zeros(rows, np.uint32), np.full(rows, np.nan), np.full(rows, np.nan)
    standard = _standard(means)
    for row in np.flatnonzero((a >= 0) & (b >= 0) & (frames > 1)):
        of_a, of_b = levels[a[row]], levels[b[row]]
        slots = slice(starts[row], starts[row + 1])
        chosen = natural_strip(of_a * shown, of_b * shown, int(frames[row]), AT_MOST).ravel()
        photographs[slots] = chosen
        for end, of_end in enumerate((of_a, of_b)):
            in_steps[end, slots] = np.where(chosen < 0, 0, np.minimum(255, np.rint(of_end[chosen] * LEVEL_STEPS)))
        found = overlap(of_a, of_b, standard[a[row]], standard[b[row]])
        both[row], by_chance[row] = found.both, found.by_chance
        correlated[row] = np.nan if found.correlation is None else found.correlation
    multiples = _multiples(table, (a, b), means)
    return NaturalStrips(starts, photographs, in_steps, both, by_chance, correlated, multiples)


def scores_alone(table: Table, neurons: NDArray[np.integer], means: Array, known: NDArray[np.bool_]) -> Scores:
    """Return the scores of all rows of a table without their natural strips; the arguments are theirs."""
    a, b = _places(table, neurons, known)
    standard, correlated = _standard(means), np.full(len(table), np.nan)
    for row in np.flatnonzero((a >= 0) & (b >= 0) & (table.columns["frames"] > 1)):
        found = correlation(standard[a[row]], standard[b[row]])
        correlated[row] = np.nan if found is None else found
    return _scores(_multiples(table, (a, b), means), correlated)


def _scores(multiples: NDArray[np.float64], correlated: NDArray[np.float64]) -> Scores:
    return {"photo_multiple": multiples.min(axis=0), "photo_correlation": correlated}


def _places(
    table: Table, neurons: NDArray[np.integer], known: NDArray[np.bool_]
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Return the places of a and of b among the neurons whose activations are known, for each row; -1 for none."""
    place_of = np.full(sum(map(len, table.neurons)), -1)
    place_of[neurons] = np.arange(len(neurons))
    a, b = (np.where(known, place_of[table.columns[end]], -1) for end in "ab")
    return a, b


def _standard(means: Array) -> Array:
    # One neuron after the other, because each takes float64 for a while.
    return np.stack([standardised(values) for values in means]) if len(means) else np.zeros((0, 0), np.float32)


def _multiples(
    table: Table, places: tuple[NDArray[np.integer], NDArray[np.integer]], means: Array
) -> NDArray[np.float64]:
    """Return the ends of all rows as multiples of the strongest photograph, shape (2, row)."""
    unknown = np.array([np.nan])  # the last place, which -1 stands for
    mean = np.concatenate([means.mean(axis=1, dtype=np.float64), unknown])
    highest = np.concatenate([means.max(axis=1).astype(np.float64) if means.size else [], unknown])
    ends = (table.columns["activation_a"], table.columns["activation_b"])
    return np.stack(
        [above_photographs(end, mean[place], highest[place]) for end, place in zip(ends, places, strict=True)]
    )
