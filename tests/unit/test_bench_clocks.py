"""The measurements of `isthmus bench step`, with clocks that other work on the machine cannot disturb."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tensorflow as tf

from core.atlas.selection import resolve_settings
from core.bench import step
from core.method.strip_renderer import StripRenderer
from core.models.model import Model
from core.neurons import Neuron, Pair
from core.spec import RenderSettings

PAIR = Pair.of(Neuron("block0_depthwise_pre_relu", 0), Neuron("block0_depthwise_pre_relu", 1))


def settings(model: Model) -> RenderSettings:
    small = {"frames": 2, "size_px": 32, "steps": 4, "redirected_updates": 0, "alignment": {"layers": ["stem"]}}
    return resolve_settings(RenderSettings.model_validate(small), model)


class CountingModel:
    """A model that counts how often it is computed, which replaces the clock."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.computed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def activations(self, images: tf.Tensor, *layers: Any, **options: Any) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.py_function(self._count, [], [])]):
            return self._model.activations(tf.identity(images), *layers, **options)

    def _count(self) -> None:
        self.computed += 1


def test_every_time_is_that_of_one_update(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bare model, the network and the step each compute the model once in the time that is reported."""
    counting = CountingModel(model)
    monkeypatch.setattr(time, "perf_counter", lambda: float(counting.computed))

    figures = step.measure_step(counting, PAIR, settings(model), batch_pairs=2, repeats=3)

    assert (figures.bare_ms, figures.network_ms, figures.step_ms) == (1000, 1000, 1000)
    assert figures.efficiency == 1
    assert figures.batch_pairs == 2


def test_times_are_taken_in_turn_and_compared_with_those_beside_them(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time is a median; the efficiency is the median of the ratios within each turn, so a drift cancels out."""
    taken: list[str] = []

    def stopwatch(name: str, *seconds: float) -> Callable[[], float]:
        left: Iterator[float] = iter(seconds)

        def timed() -> float:
            taken.append(name)
            return next(left)

        return timed

    networks = iter([stopwatch("bare", 0.010, 0.020, 0.090), stopwatch("network", 0.011, 0.021, 0.081)])
    monkeypatch.setattr(step, "_network_stopwatch", lambda *_: next(networks))
    monkeypatch.setattr(StripRenderer, "compile", lambda _: None)
    monkeypatch.setattr(StripRenderer, "stopwatch", lambda *_: stopwatch("step", 0.020, 0.080, 0.100))

    figures = step.measure_step(model, PAIR, settings(model), repeats=3)

    assert taken == ["bare", "network", "step"] * 3
    assert (figures.bare_ms, figures.network_ms, figures.step_ms) == (20, 21, 80)
    assert figures.efficiency == 0.5  # the ratios are 0.5, 0.25 and 0.9
