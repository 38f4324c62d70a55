"""Strips between portraits: the first and the last frame are the portraits of the two neurons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from core.method.between import BetweenRenderer
from core.method.mix import Mix
from core.method.renderer import stopwatch_of
from core.method.strip import Strip
from core.method.subjects import subject_of
from core.models.model import Model
from core.neurons import Neuron, Pair
from core.pictures.portrait import Portrait
from core.spec import RenderSettings

_CLOSER = 5.0
"""Factor of the weight of alignment, because portraits that do not know each other are farther apart than the ends of
one strip. Measured on EfficientNet-Lite0, it takes an eighth off the steps in the alignment layers, and 4 % off the
activation of the inner frames."""


class Walk(NamedTuple):
    """A pair, and a function that returns the portrait of each of its neurons."""

    pair: Pair
    portrait_of: Callable[[Neuron], Portrait]


class WalkRenderer:
    """Renders pairs of the same two layers, as strips between portraits.

    Args:
        layers: the layer of every neuron a and that of every neuron b; may be the same layer.
        strips: pairs in a batch.
    """

    def __init__(self, model: Model, layers: tuple[str, str], settings: RenderSettings, *, strips: int = 1) -> None:
        self._settings, self._strips, self._derived = settings, strips, model.derived
        alignment = settings.alignment
        if alignment.scale == "relative":
            alignment = alignment.model_copy(update={"weight": _CLOSER * alignment.weight})
        closer = settings.model_copy(update={"alignment": alignment})
        mix = Mix(model, layers, settings, strips)
        checkpoints = settings.checkpoint_updates("walk")
        self._between = BetweenRenderer(
            model, layers, closer, mix, strips=strips, checkpoints=tuple(checkpoints.values())
        )

    def render(self, walks: Sequence[Walk]) -> list[Strip]:
        """Render up to as many pairs as a batch has; at least one."""
        self.compile()
        subjects = [subject_of(self._settings, *walk.pair, derived=self._derived) for walk in walks]
        ends = [[walk.portrait_of(neuron) for neuron in walk.pair] for walk in walks]
        strips = self._between.render(subjects, ends)
        return [strip.with_checkpoints(self._settings.checkpoint_updates("walk")) for strip in strips]

    def compile(self) -> None:
        """Trace and compile everything that a rendering needs, unless that is done."""
        self._between.renderer.compile()

    def seconds_per_update(self, pair: Pair) -> float:
        """Return how long each of `settings.steps` updates takes for a strip, on average."""
        subject = subject_of(self._settings, *pair, derived=self._derived)
        return stopwatch_of([self._between.renderer], subject, self._settings.steps)() / self._strips
