"""The numbers of a finished strip, compared with their formulas."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from core.arrays import Array
from core.method.strip import Strip


def strip_of(a: Sequence[float] | Array, b: Sequence[float] | Array, steps: Sequence[float] | Array = ()) -> Strip:
    """Return a strip with these activations and steps, of neurons that any activation above -100 excites."""
    return Strip(
        frames=np.zeros((len(a), 2, 2, 3), np.float32),
        objective=np.zeros(1, np.float32),
        activation_a=np.array(a, np.float32),
        activation_b=np.array(b, np.float32),
        neighbour_distance=np.zeros(len(a) - 1, np.float32),
        layer_distance={},
        steps=np.array(steps, np.float32),
        noise=(-100.0, -100.0),
        checkpoints={},
        seconds=1.0,
    )


def falling_and_rising(seed: int, frames: int) -> tuple[Array, Array]:
    """Return random activations, of which the first fall and the others rise from frame to frame."""
    random = np.random.default_rng(seed).normal(scale=(3, 0.2), size=(frames, 2))
    return np.sort(random[:, 0])[::-1], np.sort(random[:, 1])


def crossing(a: Array, b: Array) -> float:
    """Return the middle of all places where the two ranges are equal, on a fine grid of places between the frames."""
    places, grid = np.linspace(0, 1, len(a)), np.linspace(0, 1, 100_001)
    of_a, of_b = (a - a[-1]) / (a[0] - a[-1]), (b - b[0]) / (b[-1] - b[0])
    reached = np.interp(grid, places, of_a) <= np.interp(grid, places, of_b)
    return float(grid[np.argmax(reached)] + grid[-np.argmax(~reached[::-1])]) / 2


@pytest.mark.parametrize("frames", [2, 3, 6, 17])
@pytest.mark.parametrize("seed", range(4))
def test_the_crossing_is_where_both_neurons_are_equally_excited(seed: int, frames: int) -> None:
    """It agrees with NumPy's interpolation, and that of the strip from b to a is as far from the other end."""
    a, b = falling_and_rising(seed, frames)
    strip = strip_of(a, b)

    assert strip.crossing == pytest.approx(crossing(a, b), abs=2e-5)
    assert strip.backwards().crossing == pytest.approx(1 - (strip.crossing or 0), abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_activations_that_fall_and_rise_again_have_a_crossing(seed: int) -> None:
    """Inner frames may be more active than both ends or less; the crossing is in the middle of these places."""
    a, b = np.random.default_rng(seed).normal(scale=5, size=(2, 8))
    a[0], a[-1], b[0], b[-1] = 2, 1, -1, 0.5
    assert (np.diff(a) > 0).any()

    found = strip_of(a, b).crossing
    mirrored = strip_of(b[::-1], a[::-1]).crossing

    assert found is not None
    assert 0 < found < 1
    assert found == pytest.approx(crossing(a, b), abs=2e-5)
    assert mirrored == pytest.approx(1 - found, abs=1e-6)


def test_a_crossing_on_a_frame_or_on_several_is_in_the_middle_of_these_places() -> None:
    """Activations that are exactly balanced in a frame, or in two frames, need no division by their difference."""
    assert strip_of([1, 0.5, 0], [0, 0.5, 1]).crossing == 0.5
    assert strip_of([4, 2, 2, 0], [0, 2, 2, 4]).crossing == pytest.approx(1 / 2)


def test_a_neuron_that_is_not_more_active_at_its_own_end_has_no_crossing() -> None:
    """Its range is then zero or negative, and no place is halfway."""
    assert strip_of([1, 2, 1], [0, 1, 2]).crossing is None
    assert strip_of([2, 1, 0], [2, 1, 1]).crossing is None


def test_the_pace_is_the_largest_step_divided_by_the_smallest() -> None:
    """It is 1 if all steps are equal; a single step, equal frames or no alignment layers have no pace."""
    steps = np.random.default_rng(0).uniform(0.1, 2, size=5)

    strip = strip_of(np.arange(6)[::-1], np.arange(6), steps)
    assert strip.pace == pytest.approx(steps.max() / steps.min())
    assert strip.backwards().pace == strip.pace
    assert strip_of([2, 1, 0], [0, 1, 2], [0.3, 0.3]).pace == 1
    for none in ([], [0.5], [0.5, 0.0]):
        assert strip_of([2, 1, 0], [0, 1, 2], none).pace is None


def test_an_end_keeps_its_share_of_the_highest_activation_on_any_frame() -> None:
    """The share is 1 if no other frame excites the neuron more than its own end."""
    strip = strip_of([3, 4, 1], [0, 1, 2])

    assert strip.reach == (4, 2)
    assert strip.kept == (0.75, 1)
    assert strip_of([-3, -4, -5], [0, 1, 2]).kept == (None, 1)
