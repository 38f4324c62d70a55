"""Renderers: made once per process for the layers and settings that they serve, since tracing one takes seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from core.arrays import Array, BatchSize
from core.atlas import pace
from core.atlas.records import Key
from core.machine import device
from core.models.models import load
from core.neurons import Neuron, Pair
from core.pictures.portrait import Portrait
from core.rendering.batches import Batches, at_most
from core.spec import ModelSpec, RenderSettings, StripKind

if TYPE_CHECKING:
    from core.method.portraits import RenderedPortrait
    from core.method.strip import Strip
    from core.method.walk_strip import Walk


@lru_cache(maxsize=4)
def pair_packing(
    model: ModelSpec, layers: tuple[str, str], settings: RenderSettings, batch_pairs: BatchSize
) -> Batches[Pair, Strip]:
    """The renderers for a pair of layers, traced once per process."""
    from core.method.strip import StripRenderer

    return Batches(
        lambda strips: StripRenderer(load(model), layers, settings, strips=strips),
        at_most(batch_pairs, settings.frames, settings.size_px),
        spare_memory=batch_pairs == "auto",
    )


@lru_cache(maxsize=4)
def walk_packing(
    model: ModelSpec, layers: tuple[str, str], settings: RenderSettings, batch_pairs: BatchSize
) -> Batches[Walk, Strip]:
    """As `pair_packing`, for strips between portraits."""
    from core.method.walk_strip import WalkRenderer

    return Batches(
        lambda strips: WalkRenderer(load(model), layers, settings, strips=strips),
        at_most(batch_pairs, settings.frames, settings.size_px),
        spare_memory=batch_pairs == "auto",
    )


@dataclass(frozen=True)
class Canvas:
    """The colours of a canvas, which its key tells from others."""

    key: Key
    colours: Array = field(compare=False)


@lru_cache(maxsize=4)
def portrait_packing(
    model: ModelSpec, layer: str, settings: RenderSettings, canvas: Canvas, batch_pairs: BatchSize
) -> Batches[Neuron, RenderedPortrait]:
    """The renderers for portraits of a layer, traced once per process."""
    from core.method.portraits import PortraitRenderer

    return Batches(
        lambda portraits: PortraitRenderer(load(model), layer, settings, canvas.colours, portraits=portraits),
        at_most(batch_pairs, 1, settings.size_px),
        spare_memory=batch_pairs == "auto",
    )


def measure_pace(
    model: ModelSpec,
    model_digest: str,
    settings: RenderSettings,
    pair: Pair,
    strip: StripKind,
    *,
    batch_pairs: BatchSize,
    most: int,
) -> None:
    """Do a few updates of one pair here, as a strip of that kind, and keep the pace that they had.

    Args:
        batch_pairs: of `compute`: so many are updated at once, because on a GPU one alone takes many times as long.
        most: of them, if there are not more pairs to render.

    Raises:
        DeviceError: if the memory does not even suffice for one.
    """
    device.prepare()
    batch = min(most, at_most(batch_pairs, settings.frames, settings.size_px))
    packing = Batches(lambda strips: _Stopwatch(partial(_seconds_per_update, model, settings, strip, strips)), batch)
    seconds = next(packing.render([pair] * batch))
    pace.keep(model_digest, pair.layers, settings.frames, settings.size_px, strip, seconds)


@dataclass(frozen=True)
class _Stopwatch:
    """A renderer whose results are the seconds of an update."""

    seconds: Callable[[Pair], float]

    def render(self, pairs: Sequence[Pair]) -> list[float]:
        return [self.seconds(pairs[0])] * len(pairs)


def _seconds_per_update(model: ModelSpec, settings: RenderSettings, strip: StripKind, strips: int, pair: Pair) -> float:
    from core.method.strip import StripRenderer
    from core.method.walk_strip import Walk, WalkRenderer

    if strip == "walk":
        portraits: dict[Neuron, Portrait] = {}  # the time is the same without any
        walk = Walk(pair, portraits.__getitem__)
        return WalkRenderer(load(model), pair.layers, settings, strips=strips).seconds_per_update(walk)
    return StripRenderer(load(model), pair.layers, settings, strips=strips).seconds_per_update(pair)
