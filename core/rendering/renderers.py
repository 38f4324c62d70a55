"""Renderers, cached in a process by layers and settings, because tracing a renderer takes seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING, Any, cast, overload

from core.arrays import BatchSize
from core.atlas import pace
from core.atlas.chunks import Chunk
from core.atlas.plan import Plan
from core.atlas.records import Key
from core.machine import device
from core.models.models import load
from core.neurons import Neuron, Pair
from core.pictures.portrait import Portrait
from core.rendering.batches import Batches, at_most
from core.spec import ModelSpec, RenderSettings, StripKind

if TYPE_CHECKING:
    from core.method.portraits import PortraitRenderer, RenderedPortrait
    from core.method.strip import Strip
    from core.method.strip_renderer import StripRenderer
    from core.method.walk_strip import Walk, WalkRenderer

_KEPT = 4  # of each kind; a chunk needs one for every pair of layers in it, and hardly any chunk has several


@dataclass(frozen=True)
class Strips:
    """Strips of pairs in two layers. This is the one place that knows which renderer makes which kind of strip."""

    layers: tuple[str, str]
    kind: StripKind

    def frames(self, settings: RenderSettings) -> int:
        """Return the frames of each strip."""
        return settings.frames

    def renderer(self, model: ModelSpec, settings: RenderSettings, size: int) -> _PairRenderer | WalkRenderer:
        """Return a new renderer for batches of *size*."""
        from core.method.strip_renderer import StripRenderer
        from core.method.walk_strip import WalkRenderer

        if self.kind == "walk":
            return WalkRenderer(load(model), self.layers, settings, strips=size)
        return _PairRenderer(StripRenderer(load(model), self.layers, settings, strips=size))


@dataclass(frozen=True)
class _PairRenderer:
    """Renders strips with ends of their own, so it ignores portraits."""

    strips: StripRenderer

    def render(self, work: Sequence[Walk], /) -> Sequence[Strip]:
        return self.strips.render([walk.pair for walk in work])

    def compile(self) -> None:
        self.strips.compile()

    def seconds_per_update(self, pair: Pair) -> float:
        return self.strips.seconds_per_update(pair)


@dataclass(frozen=True)
class Portraits:
    """Portraits of neurons of a layer on a canvas.

    Attributes:
        canvas: key of the canvas, by which canvases are compared.
        picture: the canvas.
    """

    layer: str
    canvas: Key
    picture: Portrait = field(compare=False)

    def frames(self, settings: RenderSettings) -> int:
        """Return 1: a portrait is a single frame."""
        return 1

    def renderer(self, model: ModelSpec, settings: RenderSettings, size: int) -> PortraitRenderer:
        """Return a new renderer for batches of *size*."""
        from core.method.portraits import PortraitRenderer

        return PortraitRenderer(load(model), self.layer, settings, self.picture, portraits=size)


@overload
def renderer_for(
    kind: Strips, model: ModelSpec, settings: RenderSettings, batch_pairs: BatchSize
) -> Batches[Walk, Strip]: ...


@overload
def renderer_for(
    kind: Portraits, model: ModelSpec, settings: RenderSettings, batch_pairs: BatchSize
) -> Batches[Neuron, RenderedPortrait]: ...


def renderer_for(
    kind: Strips | Portraits, model: ModelSpec, settings: RenderSettings, batch_pairs: BatchSize
) -> Batches[Any, Any]:
    """Return the batches of strips, or of portraits, whose renderer is traced once per process."""
    return (_strips if isinstance(kind, Strips) else _portraits)(kind, model, settings, batch_pairs)


def _batches(
    kind: Strips | Portraits, model: ModelSpec, settings: RenderSettings, batch_pairs: BatchSize
) -> Batches[Any, Any]:
    return Batches(
        lambda size: kind.renderer(model, settings, size),
        at_most(batch_pairs, kind.frames(settings), settings.size_px),
        spare_memory=batch_pairs == "auto",
    )


_strips = lru_cache(maxsize=_KEPT)(_batches)
_portraits = lru_cache(maxsize=_KEPT)(_batches)


@dataclass(frozen=True)
class FirstStrips:
    """The strips that a process probably renders first, known before it has a chunk.

    Attributes:
        pairs: the number of them.
    """

    kind: Strips
    model: ModelSpec
    settings: RenderSettings
    batch_pairs: BatchSize
    pairs: int

    @classmethod
    def of(cls, chunk: Chunk, plan: Plan, batch_pairs: BatchSize) -> FirstStrips | None:
        """Return the strips that a chunk of a plan begins with; None if it begins with something else."""
        first = next(iter(chunk.pairs), None)
        if first is None or first.reason is not None:
            return None
        alike = takewhile(lambda pair: (pair.layers, pair.strip) == (first.layers, first.strip), chunk.pairs)
        return cls(Strips(first.layers, first.strip), plan.model, plan.settings, batch_pairs, len(list(alike)))

    def compile(self) -> None:
        """Trace and compile the renderer that `renderer_for` returns for these strips."""
        batches = renderer_for(self.kind, self.model, self.settings, self.batch_pairs)
        cast("_PairRenderer | WalkRenderer", batches.renderer_for(self.pairs)).compile()


def measure_pace(plan: Plan, batch_pairs: BatchSize) -> None:
    """Do a few updates of a missing pair on this device, and store the seconds of an update for the next plan.

    A batch of the usual size is updated, because on a GPU a strip alone takes many times as long as its share of a
    batch.

    Args:
        plan: a plan with a missing pair.

    Raises:
        DeviceError: if the device's memory does not suffice for one pair.
    """
    device.prepare()
    planned, settings = next(plan.missing_pairs), plan.settings
    strips = Strips(planned.layers, planned.strip)

    def stopwatch(size: int) -> _Stopwatch:
        return _Stopwatch(strips.renderer(plan.model, settings, size))

    size = min(plan.missing, at_most(batch_pairs, settings.frames, settings.size_px))
    seconds = next(Batches(stopwatch, size).render([planned.pair] * size))
    frames, size_px, schedule = settings.frames, settings.size_px, settings.schedule
    pace.keep(plan.model_digest, planned.layers, frames, size_px, planned.strip, schedule, seconds)


@dataclass(frozen=True)
class _Stopwatch:
    """A renderer whose results are the seconds of an update."""

    renderer: _PairRenderer | WalkRenderer

    def render(self, pairs: Sequence[Pair], /) -> Sequence[float]:
        return [self.renderer.seconds_per_update(pairs[0])] * len(pairs)
