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
    """The default is 96 for `fast` and 256 for `plain`; a given number of steps is kept."""
    assert RenderSettings().steps == 256
    assert parse_settings({"schedule": "fast"}, "here").steps == 96
    assert parse_settings({"schedule": "fast", "steps": 256}, "here").steps == 256
    assert parse_settings({"schedule": "plain"}, "here").steps == 256


def test_the_plain_schedule_is_that_of_lucid() -> None:
    """The learning rate is constant, and every view stays as it was drawn, to the last bit."""
    plain = schedule(steps=8, learning_rate=0.03)

    assert {plain.learning_rate(tf.constant(update)) for update in range(1, 9)} == {0.03}
    np.testing.assert_array_equal(plain.narrowed(VIEWS), VIEWS)


def test_fast_starts_with_a_low_rate_and_ends_with_narrow_views() -> None:
    """The rate grows linearly to five times the given rate; from the middle on views approach the identity."""
    fast = schedule(schedule="fast", steps=8, learning_rate=0.03)
    narrowed = fast.narrowed(VIEWS)
    identity = [[1, 0, 0], [0, 1, 0]]

    rates = [float(fast.learning_rate(tf.constant(update))) for update in range(1, 9)]
    np.testing.assert_allclose(rates, np.arange(1, 9) * 5 * 0.03 / 8, rtol=1e-6)
    np.testing.assert_array_equal(narrowed[:5], VIEWS[:5])
    np.testing.assert_allclose(narrowed[7] - identity, (VIEWS[7] - identity) / 4, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_the_first_views_do_not_depend_on_the_number_of_views(count: int) -> None:
    """Views of a batch have one more axis, for the strip, and are narrowed in the same way."""
    fast = schedule(schedule="fast", steps=8)
    batch = np.stack([VIEWS, VIEWS[::-1]], axis=1)

    np.testing.assert_array_equal(fast.narrowed(VIEWS[:count]), fast.narrowed(VIEWS)[:count])
    np.testing.assert_array_equal(fast.narrowed(batch)[:, 0], fast.narrowed(VIEWS))
