"""The scores of a pair: numbers by which strips are sorted and filtered, most of them computed from its record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from statistics import fmean

from core.atlas.records import Record

SCORES = (
    "activation_a",
    "activation_b",
    "activation",
    "smoothness",
    "distance",
    "balance",
    "objective",
    "weaker_end",
    "off_centre",
    "pace",
)
PHOTO_SCORES = ("photo_multiple", "photo_correlation")
"""Scores that are not computed from a record, but from the activations of both neurons on photographs.

- `photo_multiple`: how strongly the ends excite their neurons, as a multiple of the strongest photograph's activation,
  see `core.atlas.natural_strip.above_photographs`; the smaller one of both ends;
- `photo_correlation`: Pearson's correlation of the activations of both neurons over all photographs.
"""


def scores_of(record: Record) -> tuple[float | None, ...]:
    """Return the scores of a pair in the order of `SCORES`, each None if it is not known or not finite.

    - `activation_a`, `activation_b`: activation of a on the first frame and of b on the last frame;
    - `activation`: the mean of both;
    - `smoothness`: mean squared difference of neighbouring frames, values in [0, 1]; the smaller, the smoother;
    - `distance`: mean squared difference of neighbouring frames' activations, averaged over the alignment layers; the
      smaller, the more similar;
    - `balance`: how equally the frames excite both neurons, see `_balance`;
    - `objective`: the last value of the objective;
    - `weaker_end`: the smaller share of its reach that a neuron keeps at its own end, 0 if a neuron is dead;
    - `off_centre`: distance of the crossing from the middle of the strip, 0 to 0.5;
    - `pace`: see `Record`.
    """
    a, b = record.activation_a[:1], record.activation_b[-1:]
    scores = (
        _mean(a),
        _mean(b),
        _mean([*a, *b]) if a and b else None,
        _mean(record.neighbour_distance),
        _mean(list(chain(*record.layer_distance.values()))),
        _balance(record.activation_a, record.activation_b),
        record.checkpoints[-1].objective if record.checkpoints else None,
        _weaker_end(record),
        None if record.crossing is None else abs(record.crossing - 0.5),
        record.pace,
    )
    return tuple(value if value is not None and math.isfinite(value) else None for value in scores)


def _balance(activation_a: Sequence[float], activation_b: Sequence[float]) -> float | None:
    """Return 1 - mean |a - b| over the frames, each activation as a share of the neuron's greatest.

    Negative activations count as 0. The result is 1 if every frame excites both neurons equally, and 0 if each
    frame excites only one of them. It is None if a neuron is never excited.
    """
    greatest_a, greatest_b = max(activation_a, default=0.0), max(activation_b, default=0.0)
    if greatest_a <= 0 or greatest_b <= 0:
        return None
    shares = zip(activation_a, activation_b, strict=True)
    return fmean([1 - abs(max(a, 0.0) / greatest_a - max(b, 0.0) / greatest_b) for a, b in shares])


def _weaker_end(record: Record) -> float | None:
    """Return the smaller of both shares that are kept, 0 if a neuron is dead, or None if a share is unknown."""
    if record.dead_a or record.dead_b:
        return 0.0
    if record.kept_a is None or record.kept_b is None:
        return None
    return min(record.kept_a, record.kept_b)


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
