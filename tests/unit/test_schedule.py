"""Schedules: the learning rate and the views over the updates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from core.method.schedule import Schedule
from core.method.transforms import standard_views
from core.spec import RenderSettings
from core.spec_file import parse_settings

VIEWS = standard_views(64, 64, 8, seed=1)


def schedule(**given: Any) -> Schedule:
    return Schedule.of(parse_settings(given, "here"))


def test_fast_has_its_own_default_number_of_updates() -> None:
    """The default is 64 for `fast`, the default schedule, and 256 for `plain`; a given number of steps is kept."""
    assert RenderSettings() == parse_settings({"schedule": "fast"}, "here")
    assert RenderSettings().steps == 64
    assert parse_settings({"schedule": "fast", "steps": 256}, "here").steps == 256
    assert parse_settings({"schedule": "plain"}, "here").steps == 256
    assert parse_settings({"schedule": "plain", "steps": 64}, "here").steps == 64


@pytest.mark.parametrize(
    ("given", "pair", "walk", "checkpoints"),
    [
        ({"schedule": "plain", "steps": 100, "checkpoints": [50]}, 100, 100, (50, 50)),
        ({"steps": 64, "checkpoints": [32]}, 104, 40, (52, 20)),
        ({"steps": 1}, 2, 1, ()),
        ({"steps": 64, "frames": 2, "checkpoints": [32]}, 64, 40, (32, 20)),
    ],
)
def test_a_strip_has_the_updates_of_all_its_stages(
    given: dict[str, Any], pair: int, walk: int, checkpoints: tuple[int, ...]
) -> None:
    """With `fast`, frames between ends get five eighths of the steps; a checkpoint is the same share of all updates."""
    settings = parse_settings(given, "here")

    assert (settings.updates("pair"), settings.updates("walk")) == (pair, walk)
    found = [update for kind in ("pair", "walk") for update in settings.checkpoint_updates(kind).values()]
    assert tuple(found) == checkpoints


def test_the_plain_schedule_is_that_of_lucid() -> None:
    """The learning rate is constant, and every view stays as it was drawn, to the last bit."""
    plain = schedule(schedule="plain", steps=8, learning_rate=0.03)

    assert plain.momentum == 0.9
    assert {plain.learning_rate(tf.constant(update)) for update in range(1, 9)} == {0.03}
    np.testing.assert_array_equal(plain.narrowed(VIEWS), VIEWS)


def test_fast_starts_with_a_low_rate_and_ends_with_narrow_views() -> None:
    """The rate grows to eight times the given rate and falls to half of that; views approach the identity."""
    fast = schedule(schedule="fast", steps=8, learning_rate=0.03)
    narrowed = fast.narrowed(VIEWS)
    identity = [[1, 0, 0], [0, 1, 0]]

    rates = [float(fast.learning_rate(tf.constant(update))) for update in range(1, 9)]
    np.testing.assert_allclose(rates, 8 * 0.03 * np.array([2, 4, 6, 8, 7, 6, 5, 4]) / 8, rtol=1e-6)
    np.testing.assert_array_equal(narrowed[:3], VIEWS[:3])
    np.testing.assert_allclose(narrowed[7] - identity, (VIEWS[7] - identity) / 6, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_the_first_views_do_not_depend_on_the_number_of_views(count: int) -> None:
    """Views of a batch have one more axis, for the strip, and are narrowed in the same way."""
    fast = schedule(schedule="fast", steps=8)
    batch = np.stack([VIEWS, VIEWS[::-1]], axis=1)

    np.testing.assert_array_equal(fast.narrowed(VIEWS[:count]), fast.narrowed(VIEWS)[:count])
    np.testing.assert_array_equal(fast.narrowed(batch)[:, 0], fast.narrowed(VIEWS))
