"""The history of an objective over the updates, as records keep it."""

from __future__ import annotations

import numpy as np

from core.arrays import Array

_MEANS = 64


def means(objective: Array) -> list[float]:
    """Return the means of the objective over at most 64 equal numbers of updates."""
    return [float(part.mean()) for part in np.array_split(objective, min(_MEANS, len(objective)))]


def failure(objective: Array, failed_at: int) -> str:
    """Return the reason of a failed rendering, whose objective was not finite at an update, counted from 1."""
    finite = objective[: failed_at - 1]
    last = f"the last finite value was {finite[-1]:.6g}" if finite.size else "there was none before"
    return f"objective not finite at update {failed_at}; {last}"
