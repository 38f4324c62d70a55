"""The natural strip of a pair: for each frame, the photographs that mix both neurons in the same proportion.

Activations of different neurons have different distributions, so they are compared by rank. The level of a photograph
for a neuron is log2(0.5 / share), where share is the part of all photographs that excite the neuron at least as
strongly; in the lower half it is 0. A level of 0 is an ordinary photograph, and every further unit is twice as rare.
Ranks need no assumption about the distribution, and a few enormous activations count no more than they should: all
neurons have the same levels, except for ties. Equal activations share the lower level, so a neuron that is 0 on most
photographs has level 0 on these, and a neuron with equal activations everywhere, a dead one, has only level 0.

The page compares peaks, the largest activations of a position, in this way. Means over the positions, which strips are
optimised for, would mislead: before a ReLU the mean of a busy photograph is often negative, so that one without any
structure comes before it; and a small thing in a photograph adds little to the mean.

A photograph with levels a and b has the share b / (a + b) of neuron b, and the strength a + b.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.arrays import Array

ACTIVE_SHARE = 0.1
"""A neuron is active on a photograph if at most this part of all photographs excite it at least as strongly."""
_TYPICAL_SHARE = 0.5
_STRONG = 200  # about this many photographs are looked at first, because looking at 20,000 would take 4 ms a pair
_ACTIVE_LEVEL = np.log2(_TYPICAL_SHARE / ACTIVE_SHARE) - 1e-4  # levels are rounded to float32


class Overlap(NamedTuple):
    """The overlap of two neurons on photographs.

    Attributes:
        both: number of photographs on which both are active.
        by_chance: how many these would be if the neurons were independent.
        correlation: Pearson's correlation of their activations; None if one of them has the same everywhere.
    """

    both: int
    by_chance: float
    correlation: float | None


def levels(activations: NDArray[Any]) -> Array:
    """Return the levels of photographs for one neuron, shape (image,); each is 0 or more.

    Args:
        activations: shape (image,); a value that is not a number is below all others.
    """
    values = np.nan_to_num(np.asarray(activations, np.float64), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    count = len(values)
    at_least = count - np.searchsorted(np.sort(values), values, side="left")
    return np.maximum(0, np.log2(_TYPICAL_SHARE * count / at_least)).astype(np.float32)


def share_at_level(level: float) -> float:
    """Return the part of all photographs that excite a neuron at least as strongly as one of this level does.

    Level 0 gives 0.5, although the part may be larger there.
    """
    return float(_TYPICAL_SHARE / 2.0**level)


def natural_strip(of_a: Array, of_b: Array, frames: int, at_most: int) -> NDArray[np.int32]:
    """Return the photographs for each frame of a strip, the strongest first, shape (frame, at_most); -1 for none.

    Frame i of n stands for the share i / (n - 1) of neuron b. Every photograph with a strength above 0 belongs to the
    frame whose share is nearest to its own. So no photograph comes twice, and the share of b never falls from one frame
    to the next. Among those of a frame the strongest are chosen: a photograph that excites both neurons much comes
    before one that excites both a little. Of equally strong ones the first in the list of photographs comes first.

    Args:
        of_a, of_b: levels, shape (image,), see `levels`.
        frames: at least 2.
        at_most: photographs for a frame.
    """
    strength = of_a + of_b
    threshold = np.log2(max(1.0, len(strength) / _STRONG))
    chosen = _strongest(of_b, strength, strength >= max(threshold, 1e-6), frames, at_most)
    if threshold > 0 and (chosen < 0).any():
        return _strongest(of_b, strength, strength > 0, frames, at_most)
    return chosen


def _strongest(of_b: Array, strength: Array, among: NDArray[np.bool_], frames: int, at_most: int) -> NDArray[np.int32]:
    """Return the natural strip of some photographs, all of which have a strength above 0."""
    found = np.flatnonzero(among)
    found = found[np.argsort(-strength[found], kind="stable")]
    frame_of = np.rint(of_b[found] / strength[found] * (frames - 1))
    chosen = np.full((frames, at_most), -1, np.int32)
    for frame in range(frames):
        strongest = found[np.flatnonzero(frame_of == frame)[:at_most]]
        chosen[frame, : len(strongest)] = strongest
    return chosen


def standardised(activations: NDArray[Any]) -> Array:
    """Return activations less their mean, with a norm of 1 over images, so that sums of products are correlations.

    Args:
        activations: shape (..., image). Values that are not finite count as the mean.

    Returns:
        the same shape, float32. Where all activations are equal, it is 0.
    """
    values = np.asarray(activations, np.float64)
    known = np.isfinite(values)
    counts = np.maximum(1, known.sum(axis=-1, keepdims=True))
    means = np.where(known, values, 0).sum(axis=-1, keepdims=True) / counts
    centred = np.where(known, values - means, 0)
    norms = np.linalg.norm(centred, axis=-1, keepdims=True)
    varies = norms > 1e-9 * np.maximum(1, np.abs(means)) * np.sqrt(counts)
    return np.where(varies, centred / np.where(varies, norms, 1), 0).astype(np.float32)


def overlap(of_a: Array, of_b: Array, standard_a: Array, standard_b: Array) -> Overlap:
    """Return what two neurons have in common on photographs.

    Args:
        of_a, of_b: levels, shape (image,), see `levels`.
        standard_a, standard_b: shape (image,), see `standardised`.
    """
    active_a, active_b = of_a >= _ACTIVE_LEVEL, of_b >= _ACTIVE_LEVEL
    by_chance = np.count_nonzero(active_a) * np.count_nonzero(active_b) / max(1, len(of_a))
    both = int(np.count_nonzero(active_a & active_b))
    return Overlap(both, float(by_chance), correlation(standard_a, standard_b))


def correlation(standard_a: Array, standard_b: Array) -> float | None:
    """Return Pearson's correlation of two neurons; None if one of them has the same activation on all photographs.

    Args:
        standard_a, standard_b: shape (image,), see `standardised`.
    """
    vary = standard_a.any() and standard_b.any()
    return float(np.clip(standard_a @ standard_b, -1, 1)) if vary else None


def correlations(activations: NDArray[Any]) -> NDArray[np.float64]:
    """Return the correlation of every neuron with every neuron, shape (neuron, neuron).

    Args:
        activations: shape (neuron, image). A neuron with the same activation everywhere correlates with none: 0.
    """
    rows = standardised(activations).astype(np.float64)
    return np.clip(rows @ rows.T, -1, 1)


def above_photographs(
    ends: NDArray[np.float64], means: NDArray[np.float64], strongest: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return activations at ends of strips as multiples of those on the strongest photographs.

    Both are counted from the mean over all photographs, (end - mean) / (strongest - mean), because activations before
    a ReLU may be negative. 1 is as strong as the strongest photograph.

    Args:
        ends, means, strongest: of equal shape, one value for each neuron at an end.

    Returns:
        the same shape; NaN if no photograph excites the neuron more than the mean does, or a number is not finite.
    """
    reach = strongest - means
    known = np.isfinite(ends) & np.isfinite(reach) & (reach > 0)
    return np.where(known, (ends - means) / np.where(known, reach, 1), np.nan)
