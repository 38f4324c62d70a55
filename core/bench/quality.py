"""The quality of strips: the same pairs rendered in several ways, and the figures of each way.

All figures are measured on the finished frames themselves, not on the random views that the optimizer sees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby, pairwise
from statistics import median
from typing import Any

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.atlas.portrait_plan import plan_canvas, portrait_settings
from core.atlas.selection import resolve_settings
from core.errors import RenderDivergedError, SpecError
from core.machine import device
from core.method.alignment import relative_steps
from core.method.canvas import find_canvas
from core.method.network import network
from core.method.portraits import PortraitRenderer
from core.method.strip import Strip
from core.method.strip_renderer import StripRenderer
from core.method.walk_strip import Walk, WalkRenderer
from core.models.model import Model
from core.neurons import Neuron, Pair
from core.pictures.portrait import Portrait
from core.spec import RenderSettings

LAYERS = ("block5_expand_pre_relu", "block7_expand_pre_relu", "block9_expand_pre_relu", "block11_expand_pre_relu")
"""Layers of the default model, EfficientNet-Lite0."""
INDEPENDENT, LUCID, DEFAULT, WALK = "independent", "lucid", "default", "walk"
"""The ways of rendering. `independent` is the reference: each frame is optimised alone. `walk` has strips between
portraits, the others have ends of their own."""
_LUCID = {"schedule": "plain", "mix": "lucid", "alignment": {"scale": "lucid"}}
_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    INDEPENDENT: {**_LUCID, "sharing": False, "alignment": {"weight": 0}},
    LUCID: _LUCID,
    DEFAULT: {},
    WALK: {},
}
_MIDDLE, _NEAR_MIDDLE = 0.5, 0.1


@dataclass(frozen=True)
class Quality:
    """The figures of one way of rendering.

    Those of quality are of the pairs whose two neurons are live on independent frames: means over pairs, or the worst
    pair. A figure is None if no pair has it.

    Attributes:
        strips: the way of rendering.
        pairs: pairs whose two neurons are live on independent frames.
        dead: strips of all pairs, including those that are not live, with a dead neuron: see `Strip.dead`.
        crossing: see `Strip.crossing`.
        crossing_off: the largest distance of a crossing from 0.5.
        crossing_near: share of the strips whose crossing is within 0.1 of 0.5; a strip without crossing is not.
        pace: median of `Strip.pace`.
        pace_worst: the largest `Strip.pace`.
        neighbour_distance: mean over a strip's neighbouring frames, as a share of that of independent frames.
        layer_steps: mean of `Strip.steps`, in the alignment layers of the default way.
        ends_kept, ends_kept_worst: activation of a on the first frame and of b on the last, as a share of those of
            independent frames, the mean and the smallest. Ends that are not positive there are left out.
        inner: mean over the inner frames of (1 - w) a / A + w b / B, where w rises in equal steps, and A and B are the
            ends of independent frames. Pairs for which A or B is not positive are left out.
        variance: variance of the pixels over positions, mean over channels and frames; pale frames have little.
        frame_updates: optimised frames times updates of a pair, in all stages; without the portraits of a walk.
        seconds: median seconds of a pair, without the portraits of a walk. The first pair of each pair of layers is
            left out, because it includes the tracing.
        share_of_lucid: median of the seconds as a share of those that `lucid` takes for the same pair.
    """

    strips: str
    pairs: int
    dead: int
    crossing: float | None
    crossing_off: float | None
    crossing_near: float | None
    pace: float | None
    pace_worst: float | None
    neighbour_distance: float | None
    layer_steps: float | None
    ends_kept: float | None
    ends_kept_worst: float | None
    inner: float | None
    variance: float | None
    frame_updates: int
    seconds: float | None
    share_of_lucid: float | None


def draw_pairs(model: Model, layers: Sequence[str], count: int, *, across: int = 0, seed: int = 1) -> list[Pair]:
    """Draw *count* random pairs inside each layer, and *across* pairs whose neurons are in two of the layers.

    The same arguments give the same pairs. Pairs of the same two layers are neighbours in the list. With a single layer
    there are no pairs across layers.

    Raises:
        SpecError: if a layer has one channel only.
    """
    for layer in layers:
        if model.layers[layer] < 2:
            raise SpecError(f"expected layers with at least 2 channels, {layer} has 1; name another layer")
    dice = np.random.Generator(np.random.Philox(seed))
    channels = [(layer, dice.choice(model.layers[layer], 2, replace=False)) for layer in layers for _ in range(count)]
    inside = [Pair.of(Neuron(layer, int(a)), Neuron(layer, int(b))) for layer, (a, b) in channels]
    two = [dice.choice(len(layers), 2, replace=False) for _ in range(across if len(layers) > 1 else 0)]
    between = [Pair.of(*(Neuron(layers[i], int(dice.integers(model.layers[layers[i]]))) for i in both)) for both in two]
    return [*inside, *sorted(between, key=lambda pair: [neuron.order[:2] for neuron in pair])]


def settings_by_row(
    model: Model, *, walk: bool, aligned: Sequence[str] | None = None, **common: Any
) -> dict[str, RenderSettings]:
    """Return the settings of the ways of rendering.

    Args:
        walk: whether `walk` is among them.
        aligned: layers of alignment; by default those that suit the model.
        common: settings that all ways have, by the keys of the section `render` of a spec.
    """
    settings = {}
    for row, own in _SETTINGS.items():
        if walk or row != WALK:
            given = {**own, **common, "alignment": {**own.get("alignment", {}), "layers": aligned}}
            settings[row] = resolve_settings(RenderSettings.model_validate(given), model)
    return settings


def render_in_turn(
    model: Model,
    pairs: Sequence[Pair],
    settings: Mapping[str, RenderSettings],
    progress: Callable[[], None] = lambda: None,
) -> dict[str, list[Strip]]:
    """Render each pair in every way before the next one, so that other work on the machine affects all ways equally.

    Args:
        pairs: pairs, those of the same two layers as neighbours.
        settings: way of rendering -> settings, `default` among them.
        progress: called after each pair.

    Returns:
        way of rendering -> strips, whose steps are all measured in the alignment layers of `default`.

    Raises:
        RenderDivergedError: if an objective is not a finite number.
    """
    portrait_of = _portraits(model, pairs, settings[WALK]) if WALK in settings else None
    measured = _steps(model, settings[DEFAULT].alignment.layers or ())
    strips: dict[str, list[Strip]] = {row: [] for row in settings}
    for layers, members in groupby(pairs, lambda pair: pair.layers):
        strip_renderers = {row: StripRenderer(model, layers, each) for row, each in settings.items() if row != WALK}
        walk_renderer = WalkRenderer(model, layers, settings[WALK]) if portrait_of else None
        for pair in members:
            rendered = {row: renderer.render([pair])[0] for row, renderer in strip_renderers.items()}
            if walk_renderer and portrait_of:
                rendered[WALK] = walk_renderer.render([Walk(pair, portrait_of)])[0]
            for row, strip in rendered.items():
                if strip.failed_at is not None:
                    raise RenderDivergedError(
                        f"{row}, {pair}: the objective was not finite at update {strip.failed_at}"
                    )
                strips[row].append(replace(strip, steps=measured(strip.frames)))
            progress()
    return strips


def _portraits(model: Model, pairs: Sequence[Pair], settings: RenderSettings) -> Callable[[Neuron], Portrait]:
    """Return a function that renders portraits, on the canvas that an atlas of these pairs has."""
    alone = portrait_settings(settings)
    found = find_canvas(model, plan_canvas(pairs, model, "", settings).sample, alone)
    canvas = Portrait(found.colours, found.pixels)

    @cache
    def renderer(layer: str) -> PortraitRenderer:
        return PortraitRenderer(model, layer, alone, canvas)

    def portrait_of(neuron: Neuron) -> Portrait:
        [rendered] = renderer(neuron.layer).render([neuron])
        return Portrait(rendered.colours, rendered.pixels)

    return portrait_of


def _steps(model: Model, aligned: Sequence[str]) -> Callable[[Array], Array]:
    """Return a function from the frames of a strip to `Strip.steps` in some layers; empty without a layer."""
    activations = tf.function(network(model, aligned), autograph=False)

    def steps(frames: Array) -> Array:
        if not aligned:
            return np.zeros(0, np.float32)
        with device.tensor_float_32(False):
            found = activations(tf.constant(frames), False, None)
            measured: Array = relative_steps([found[layer][None] for layer in aligned])[0].numpy()
        return measured

    return steps


def compare(
    pairs: Sequence[Pair], strips: Mapping[str, Sequence[Strip]], settings: Mapping[str, RenderSettings]
) -> list[Quality]:
    """Return the figures of every way of rendering.

    Args:
        pairs: pairs, those of the same two layers as neighbours.
        strips: way of rendering -> the strip of each pair; `independent` and `lucid` are among them.
        settings: the same ways -> settings.
    """
    live = [place for place, strip in enumerate(strips[INDEPENDENT]) if not any(strip.dead)]
    reference = [strips[INDEPENDENT][place] for place in live]
    traced = [place for place, two in enumerate(pairwise(pairs), 1) if two[0].layers == two[1].layers]
    rows = []
    for row, made in strips.items():
        lucid = strips[LUCID]
        figures = _figures([made[place] for place in live], reference)
        rows.append(
            Quality(
                strips=row,
                pairs=len(live),
                dead=sum(any(strip.dead) for strip in made),
                **{name: None if value is None else round(value, 3) for name, value in figures.items()},
                frame_updates=settings[row].frame_updates("walk" if row == WALK else "pair"),
                seconds=round(median(made[place].seconds for place in traced), 2) if traced else None,
                share_of_lucid=round(median(made[place].seconds / lucid[place].seconds for place in traced), 3)
                if traced
                else None,
            )
        )
    return rows


def _figures(strips: Sequence[Strip], reference: Sequence[Strip]) -> dict[str, float | None]:
    """Return the figures of quality, from strips and from those of the same pairs with independent frames."""
    both = list(zip(strips, reference, strict=True))
    crossings = [strip.crossing for strip in strips if strip.crossing is not None]
    off = [abs(crossing - _MIDDLE) for crossing in crossings]
    paces = [strip.pace for strip in strips if strip.pace is not None]
    kept = [share for strip, alone in both for share in _kept(strip, alone)]
    inner = [_inner(strip, alone) for strip, alone in both if min(_ends(alone)) > 0]
    return {
        "crossing": _mean(crossings),
        "crossing_off": max(off, default=None),
        "crossing_near": sum(distance <= _NEAR_MIDDLE for distance in off) / len(strips) if strips else None,
        "pace": median(paces) if paces else None,
        "pace_worst": max(paces, default=None),
        "neighbour_distance": _mean(
            [strip.neighbour_distance.mean() / alone.neighbour_distance.mean() for strip, alone in both]
        ),
        "layer_steps": _mean([strip.steps.mean() for strip in strips if strip.steps.size]),
        "ends_kept": _mean(kept),
        "ends_kept_worst": min(kept, default=None),
        "inner": _mean(inner),
        "variance": _mean([strip.frames.var(axis=(1, 2)).mean() for strip in strips]),
    }


def _ends(strip: Strip) -> tuple[float, float]:
    return float(strip.activation_a[0]), float(strip.activation_b[-1])


def _kept(strip: Strip, alone: Strip) -> list[float]:
    return [end / reached for end, reached in zip(_ends(strip), _ends(alone), strict=True) if reached > 0]


def _inner(strip: Strip, alone: Strip) -> float:
    weights = np.linspace(0, 1, len(strip.frames))
    reached_a, reached_b = _ends(alone)
    mixed = (1 - weights) * strip.activation_a / reached_a + weights * strip.activation_b / reached_b
    return float(mixed[1:-1].mean())


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
