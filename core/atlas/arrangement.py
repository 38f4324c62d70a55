"""The arrangement of neurons on a grid, so that neighbours are alike.

Likeness is the cosine of two neurons' feature vectors, such as the weights that feed them. The sum over neighbouring
places of these cosines, diagonal ones counted half, is made large by linear assignments: places that do not touch each
other form four sets, and all neurons of a set are placed anew at once, each where its neighbours of the other sets are
most like it. That never lowers the sum. Before, larger and smaller neighbourhoods take their turn, so that the whole
grid gets an order and not only its details, as in self-organising maps (Kohonen 1982).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import Array
from core.atlas.selection import cosine_similarity

_RADII = (0.25, 0.18, 0.125, 0.09, 0.0625)  # of the wide neighbourhoods, as shares of the longer side of the grid
_SWEEPS = 40  # at most; each sweep places every neuron anew once
_LEAST_GAIN = 1e-3  # for each neuron; a sweep that gains less is the last one
_DIAGONAL = 0.5
_FEW = 5  # neurons, for which the solver of eigenvectors is not made


def arrange(features: Array, columns: int) -> list[int]:
    """Return the neuron at each place, row by row.

    Args:
        features: shape (neuron, feature); a neuron without a finite vector, or with zeros only, is like no other.
        columns: places in a row; the last row may be shorter.
    """
    from scipy.sparse import csr_array
    from scipy.spatial.distance import cdist

    likeness = cosines(features)
    count = len(likeness)
    places = np.stack(np.divmod(np.arange(count), columns), axis=1)
    at = _by_two_components(likeness, columns)
    sets = [np.flatnonzero((places % 2 == parity).all(axis=1)) for parity in ((0, 0), (0, 1), (1, 0), (1, 1))]
    longer = float(places.max() + 1)
    for radius in (share * longer for share in _RADII):
        if radius >= 1:
            wide = np.exp(-cdist(places, places, "sqeuclidean") / (2 * radius**2)).astype(np.float32)
            np.fill_diagonal(wide, 0)
            _sweep(at, likeness, wide, sets)
    squares = np.rint(cdist(places, places, "sqeuclidean"))
    near = csr_array(np.where(squares == 1, 1, np.where(squares == 2, _DIAGONAL, 0)).astype(np.float32))
    for _ in range(_SWEEPS):
        if _sweep(at, likeness, near, sets) < _LEAST_GAIN * count:
            break
    return [int(neuron) for neuron in at]


def cosines(features: Array) -> Array:
    """Return the cosines of all pairs of feature vectors, shape (neuron, neuron), float32, rounded to 1 / 10,000.

    Rounding makes the arrangement the same where sums are taken in another order.
    """
    vectors = np.nan_to_num(np.asarray(features, np.float64), posinf=0, neginf=0)
    rounded: Array = np.round(cosine_similarity(vectors), 4).astype(np.float32)
    return rounded


def neighbour_cosine(likeness: Array, at: Sequence[int], columns: int) -> float:
    """Return the mean likeness of neurons at places side by side or above each other."""
    count = len(at)
    order = np.asarray(at)
    beside = [(n, n + 1) for n in range(count - 1) if (n + 1) % columns]
    above = [(n, n + columns) for n in range(count - columns)]
    first, second = np.array([*beside, *above]).reshape(-1, 2).T
    return float(likeness[order[first], order[second]].mean()) if len(first) else 0.0


def _by_two_components(likeness: Array, columns: int) -> NDArray[np.int64]:
    """Return a first arrangement: rows by the first principal component, places in a row by the second."""
    from scipy.sparse.linalg import eigsh

    if len(likeness) <= _FEW or not likeness.any():
        return np.arange(len(likeness))
    centred = likeness - likeness.mean(axis=0) - likeness.mean(axis=1, keepdims=True) + likeness.mean()
    _, vectors = eigsh(centred.astype(np.float64), k=2, which="LA", v0=np.ones(len(likeness)))
    first, second = (_signed(vectors[:, -n]) for n in (1, 2))
    by_first = np.argsort(first, kind="stable")
    rows = [by_first[start : start + columns] for start in range(0, len(by_first), columns)]
    return np.concatenate([row[np.argsort(np.asarray(second)[row], kind="stable")] for row in rows])


def _signed(component: Array) -> Array:
    """Return a component with the sign that makes its longest entry positive, rounded; its sign is arbitrary."""
    longest = component[np.argmax(np.abs(component))]
    signed: Array = np.round(component * np.sign(longest), 6)
    return signed


def _sweep(at: NDArray[np.int64], likeness: Array, near: Any, sets: Sequence[NDArray[np.int64]]) -> float:
    """Place the neurons of each set anew, in place; return by how much the sum has grown.

    Args:
        near: the weight of each pair of places in the sum, shape (place, place), dense or sparse.
    """
    from scipy.optimize import linear_sum_assignment

    gained = 0.0
    for places in sets:
        neurons = at[places]
        gains = (near[places] @ likeness[at][:, neurons]).T  # of each neuron at each place
        chosen, where = linear_sum_assignment(gains, maximize=True)
        more = float(gains[chosen, where].sum() - np.trace(gains))
        if more > 0:
            at[places[where]] = neurons[chosen]
            gained += more
    return gained
