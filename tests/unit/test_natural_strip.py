"""The natural strip and the numbers of two neurons over photographs, on distributions that are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from core.atlas.natural_strip import (
    above_photographs,
    correlations,
    levels,
    natural_strip,
    overlap,
    share_at_level,
    standardised,
)


def _random(seed: int, count: int) -> NDArray[np.float64]:
    """Return activations as after a ReLU: most are 0, and a few are enormous."""
    random = np.random.default_rng(seed)
    return np.maximum(0, random.gamma(0.3, 1, count) ** 2 - 0.1)


def _directly(a: NDArray[np.float64], b: NDArray[np.float64], frames: int, at_most: int) -> list[list[int]]:
    """Return the natural strip by its definition, photograph by photograph."""
    count = len(a)
    of_a, of_b = (
        [max(0.0, float(np.float32(np.log2(0.5 * count / np.sum(values >= value))))) for value in values]
        for values in (a, b)
    )
    strip: list[list[tuple[float, int]]] = [[] for _ in range(frames)]
    for image in range(count):
        strength = np.float32(of_a[image]) + np.float32(of_b[image])
        if strength > 0:
            frame = int(np.rint(np.float32(of_b[image]) / strength * (frames - 1)))
            strip[frame].append((-float(strength), image))
    return [[image for _, image in sorted(members)[:at_most]] for members in strip]


@pytest.mark.parametrize("count", [24, 3000])
def test_strip_is_what_its_definition_says(count: int) -> None:
    a, b = _random(1, count), _random(2, count)
    strip = natural_strip(levels(a), levels(b), 6, 4)
    assert [[image for image in frame if image >= 0] for frame in strip.tolist()] == _directly(a, b, 6, 4)
    if count == 3000:
        assert (strip >= 0).all()


def test_no_photograph_comes_twice_and_the_mix_only_rises() -> None:
    of_a, of_b = levels(_random(3, 2000)), levels(_random(4, 2000))
    strip = natural_strip(of_a, of_b, 7, 5).ravel()
    assert len(set(strip.tolist())) == len(strip)
    shares = (of_b[strip] / (of_a[strip] + of_b[strip])).reshape(7, 5)
    assert (shares.max(axis=1)[:-1] < shares.min(axis=1)[1:]).all()


def test_photographs_that_excite_both_come_before_those_that_excite_both_a_little() -> None:
    a, b = np.zeros(100), np.zeros(100)
    a[:20], b[:20] = np.arange(20, 0, -1), np.arange(20, 0, -1)  # photograph 0 excites both most
    strip = natural_strip(levels(a), levels(b), 3, 4)
    assert strip[1].tolist() == [0, 1, 2, 3]
    assert (strip[[0, 2]] == -1).all(), "no photograph excites only one of them"


def test_ends_are_the_strongest_photographs_of_neurons_that_exclude_each_other() -> None:
    a, b = np.zeros(1000), np.zeros(1000)
    a[:50], b[500:550] = np.arange(1, 51), np.arange(1, 51)
    strip = natural_strip(levels(a), levels(b), 6, 4)
    assert strip[0].tolist() == [49, 48, 47, 46]
    assert strip[-1].tolist() == [549, 548, 547, 546]
    assert (strip[1:-1] == -1).all(), "there is nothing between them"
    facts = overlap(levels(a), levels(b), standardised(a), standardised(b))
    assert (facts.both, facts.by_chance) == (0, 2.5)
    assert facts.correlation == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-6)


def test_other_strip_is_the_mirror() -> None:
    of_a, of_b = levels(_random(5, 500)), levels(_random(6, 500))
    assert (natural_strip(of_a, of_b, 5, 3)[::-1] == natural_strip(of_b, of_a, 5, 3)).all()


def test_levels_depend_on_ranks_alone() -> None:
    values = _random(7, 400)
    assert (levels(values) == levels(values**3 * 50)).all()
    assert levels(values).max() == pytest.approx(np.log2(200))
    assert share_at_level(float(levels(values).max())) == pytest.approx(1 / 400)
    assert (levels(values)[values <= np.median(values)] <= levels(values)[values > np.median(values)].min()).all()


def test_dead_neuron_holds_nothing() -> None:
    dead, live = np.full(300, 0.25, np.float16), _random(8, 300)
    assert not levels(dead).any()
    strip = natural_strip(levels(dead), levels(live), 6, 2)
    assert (strip[:-1] == -1).all()
    assert (strip[-1] == np.argsort(-live, kind="stable")[:2]).all()
    facts = overlap(levels(dead), levels(live), standardised(dead), standardised(live))
    assert (facts.both, facts.by_chance, facts.correlation) == (0, 0.0, None)


def test_numbers_agree_with_numpy() -> None:
    rows = np.stack([_random(seed, 1000) for seed in range(5)])
    rows[1] += 0.7 * rows[0]
    expected = np.corrcoef(rows)
    assert correlations(rows.astype(np.float64)) == pytest.approx(expected, abs=1e-5)
    a, b = rows[0], rows[1]
    facts = overlap(levels(a), levels(b), standardised(a), standardised(b))
    active = [values > np.percentile(values, 90) for values in (a, b)]
    assert facts.both == np.sum(active[0] & active[1]) > 20
    assert facts.by_chance == pytest.approx(10)
    assert facts.correlation == pytest.approx(expected[0, 1], abs=1e-6)


def test_what_is_not_a_number_is_below_all_others() -> None:
    values = np.array([1.0, np.nan, 3.0, 2.0, -np.inf, 0.0])
    assert levels(values)[[1, 4]].tolist() == [0, 0]
    assert levels(values).argmax() == 2
    assert np.isfinite(standardised(values)).all()
    assert np.isfinite(correlations(np.stack([values, values[::-1], np.zeros(6)]))).all()


def test_ends_are_compared_above_the_mean() -> None:
    ends, means = np.array([4.0, 1.0, 1.0, np.nan]), np.array([0.0, -1.0, 0.5, 0.0])
    found = above_photographs(ends, means, np.array([2.0, 0.0, 0.5, 1.0]))
    assert found[:2].tolist() == [2, 2], "before a ReLU, activations may be negative"
    assert np.isnan(found[2:]).all()
