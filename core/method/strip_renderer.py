"""The renderer of strips with ends of their own, for both schedules."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from core.method.between import BetweenRenderer
from core.method.ends import EndsRenderer, between
from core.method.mix import Mix
from core.method.renderer import Renderer, compile_together, stopwatch_of
from core.method.strip import Strip
from core.method.subjects import subject_of
from core.method.whole_strip import WholeStripRenderer
from core.models.model import Model
from core.neurons import Pair
from core.spec import RenderSettings


class StripRenderer:
    """Renders pairs of the same two layers, as strips with ends of their own.

    Args:
        layers: the layer of every neuron a and that of every neuron b; may be the same layer.
        strips: pairs in a batch.
    """

    def __init__(self, model: Model, layers: tuple[str, str], settings: RenderSettings, *, strips: int = 1) -> None:
        self._settings, self._strips, self._derived = settings, strips, model.derived
        self._stages: _Stages = (
            _EndsFirst(model, layers, settings, strips)
            if settings.ends_first
            else WholeStripRenderer(model, layers, settings, strips)
        )

    def render(self, pairs: Sequence[Pair], progress: Callable[[int], None] = lambda updates: None) -> list[Strip]:
        """Render up to as many pairs of this renderer's layers as a batch has; at least one.

        Args:
            progress: called with the number of updates done, every few updates.
        """
        started = time.perf_counter()
        self.compile()
        strips = self._stages.render(pairs, progress)
        seconds = (time.perf_counter() - started) / len(pairs)
        kept = self._settings.checkpoint_updates("pair")
        return [replace(strip.with_checkpoints(kept), seconds=seconds) for strip in strips]

    @property
    def traces(self) -> int:
        """The number of times that a step has been traced, with redirected gradients or without."""
        return sum(renderer.traces for renderer in self._stages.renderers)

    def compile(self) -> None:
        """Trace and compile everything that a rendering needs, unless that is done."""
        compile_together(self._stages.renderers)

    def seconds_per_update(self, pair: Pair) -> float:
        """Return how long each of `settings.steps` updates takes for a strip, measured with copies of one pair."""
        return self.stopwatch(pair)() / self._strips

    def stopwatch(self, pair: Pair) -> Callable[[], float]:
        """Return a function that measures the seconds that a batch of one pair takes for each of `settings.steps`."""
        subject = subject_of(self._settings, *pair, derived=self._derived)
        return stopwatch_of(self._stages.renderers, subject, self._settings.steps)


class _Stages(Protocol):
    """The renderers of one schedule."""

    @property
    def renderers(self) -> Sequence[Renderer]:
        """One for each stage."""

    def render(self, pairs: Sequence[Pair], progress: Callable[[int], None]) -> list[Strip]: ...


class _EndsFirst:
    """The two stages of schedule `fast`: the ends, then the frames between them."""

    def __init__(self, model: Model, layers: tuple[str, str], settings: RenderSettings, strips: int) -> None:
        self._settings, self._derived = settings, model.derived
        kept = settings.checkpoint_updates("pair").values()
        early = [update for update in kept if update <= settings.steps]
        late = [update - settings.steps for update in kept if update > settings.steps]
        mix = Mix(model, layers, settings, strips)
        self._ends = EndsRenderer(model, layers, settings, mix, strips=strips, checkpoints=early)
        self._between = BetweenRenderer(model, layers, settings, mix, strips=strips, checkpoints=late)
        self.renderers = (self._ends.renderer, self._between.renderer)

    def render(self, pairs: Sequence[Pair], progress: Callable[[int], None]) -> list[Strip]:
        steps, frames = self._settings.steps, self._settings.frames
        subjects = [subject_of(self._settings, *pair, derived=self._derived) for pair in pairs]
        ends = self._ends.render(subjects, progress)
        strips = self._between.render(
            subjects, [both.portraits for both in ends], lambda updates: progress(steps + updates)
        )
        return [
            replace(
                strip,
                # Of whole strips: the mean over the frames that are optimised, times all frames.
                objective=np.concatenate([both.objective * (frames / 2), strip.objective * (frames / (frames - 2))]),
                checkpoints={update: between(images, frames) for update, images in both.checkpoints.items()}
                | {steps + update: images for update, images in strip.checkpoints.items()},
            )
            for both, strip in zip(ends, strips, strict=True)
        ]
