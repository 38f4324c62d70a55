"""Are strips between portraits as smooth as strips with ends of their own, do they keep their ends, and how fast?

Renders the same pairs of 24 neurons in two layers both ways at equal updates, and reports, walk against pair: the mean
squared difference of neighbouring frames, also as a share of the variance of the pixels; the activation of the two ends
and of the frames between; and the seconds for a pair, without and with the portraits' share.

    python tests/bench/walk.py [--pairs 48] [--seed 0] [--steps 256] [--processes 2] [--picture strips.png] [--json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from core import device
from core.models import digest, load
from core.neurons import Neuron, Pair
from core.portrait_files import Portrait
from core.portrait_plan import plan_canvas, portrait_settings
from core.selection import resolve_settings
from core.sheets import pack
from core.spec import RenderSettings

LAYERS = ("block6_expand_pre_relu", "block9_expand_pre_relu")
NEURONS = 12  # of each layer
SHOWN = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0, help="another one draws other neurons and pairs")
    parser.add_argument("--steps", type=int, default=256)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--picture", type=Path, help="write the first strips here, two rows a pair: pair, walk")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    pairs = draw_pairs(options.pairs, options.seed)
    neurons = sorted({neuron for pair in pairs for neuron in pair})
    settings = resolve_settings(RenderSettings(steps=options.steps), load("efficientnet-lite0"))
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        canvas, canvas_seconds = pool.submit(render_canvas, pairs, settings).result()
        parts = [neurons[part :: options.processes] for part in range(options.processes)]
        rendered = [one for part in pool.map(partial(render_portraits, settings, canvas), parts) for one in part]
        portraits = {neuron: portrait for neuron, portrait, _ in rendered}
        portrait_seconds = canvas_seconds + sum(seconds for *_, seconds in rendered)
        groups = [pairs[part :: options.processes] for part in range(options.processes)]
        strips = dict(one for part in pool.map(partial(render_pairs, settings, portraits), groups) for one in part)

    figures = compare([strips[pair] for pair in pairs], portrait_seconds / len(pairs))
    if options.picture:
        rows = [pack(strips[pair][kind].frames) for pair in pairs[:SHOWN] for kind in ("pair", "walk")]
        Image.fromarray(np.concatenate(rows)).save(options.picture)
    where = device.expected()
    if options.json:
        print(json.dumps({"device": where, "pairs": len(pairs), "neurons": len(neurons), **figures}))
        return
    print(f"{len(pairs)} pairs of {len(neurons)} neurons, {options.steps} updates, {where}")
    for name, figure in figures.items():
        print(f"  {name.replace('_', ' '):42} " + "  ".join(f"{kind} {value:.4g}" for kind, value in figure.items()))


def draw_pairs(count: int, seed: int) -> list[Pair]:
    """Pairs within the first layer, within the second, and a sixth of them across."""
    random = np.random.default_rng(seed)
    model = load("efficientnet-lite0")
    first, second = (
        [Neuron(layer, int(channel)) for channel in random.choice(model.layers[layer], NEURONS, replace=False)]
        for layer in LAYERS
    )
    across = count // 6
    within = (count - across) // 2
    drawn = [
        *_some_pairs(first, first, within, random),
        *_some_pairs(second, second, count - across - within, random),
        *_some_pairs(first, second, across, random),
    ]
    return [drawn[place] for place in random.permutation(count)]


def _some_pairs(
    ones: Sequence[Neuron], others: Sequence[Neuron], count: int, random: np.random.Generator
) -> list[Pair]:
    possible = sorted({Pair.of(one, other) for one in ones for other in others if one != other})
    return [possible[place] for place in random.choice(len(possible), count, replace=False)]


def render_canvas(pairs: Sequence[Pair], settings: RenderSettings) -> tuple[Any, float]:
    device.prepare()
    from core.portraits import find_canvas

    model = load("efficientnet-lite0")
    found = find_canvas(model, plan_canvas(pairs, model, digest(model), settings).sample, portrait_settings(settings))
    return found.colours, found.seconds


def render_portraits(
    settings: RenderSettings, canvas: Any, neurons: Sequence[Neuron]
) -> list[tuple[Neuron, Portrait, float]]:
    device.prepare()
    from core.portraits import PortraitRenderer

    renderers = {layer: PortraitRenderer(load("efficientnet-lite0"), layer, settings, canvas) for layer in LAYERS}
    rendered = []
    for neuron in neurons:
        [portrait] = renderers[neuron.layer].render([neuron])
        rendered.append((neuron, Portrait(portrait.colours, portrait.pixels), portrait.seconds))
    return rendered


def render_pairs(settings: RenderSettings, portraits: dict[Neuron, Portrait], pairs: Sequence[Pair]) -> list[Any]:
    """Both strips of each pair one after the other, so that what else the machine does counts for both."""
    device.prepare()
    from core.strip import StripRenderer
    from core.walk import Walk, WalkRenderer

    model = load("efficientnet-lite0")
    made = {
        layers: (StripRenderer(model, layers, settings), WalkRenderer(model, layers, settings))
        for layers in {pair.layers for pair in pairs}
    }
    rendered = []
    for pair in pairs:
        alone, between = made[pair.layers]
        [strip] = alone.render([pair])
        [walk] = between.render([Walk(pair, portraits.__getitem__)])
        rendered.append((pair, {"pair": strip, "walk": walk}))
    return rendered


def compare(strips: Sequence[dict[str, Any]], portrait_seconds: float) -> dict[str, dict[str, float]]:
    """What is reported, for both kinds, and walk against pair."""

    def each(value: Any) -> dict[str, Any]:
        return {kind: np.array([value(strip[kind]) for strip in strips]) for kind in ("pair", "walk")}

    def means(value: Any) -> dict[str, float]:
        found = {kind: float(values.mean()) for kind, values in each(value).items()}
        return {**found, "ratio": found["walk"] / found["pair"]}

    ends = each(lambda strip: (strip.activation_a[0], strip.activation_b[-1]))
    kept = ends["walk"] / ends["pair"]
    seconds = {kind: float(np.median(values)) for kind, values in each(lambda strip: strip.seconds).items()}
    whole = seconds["walk"] + portrait_seconds
    return {
        "neighbour_distance": means(lambda strip: strip.neighbour_distance.mean()),
        "neighbour_distance_in_variances": means(lambda strip: strip.neighbour_distance.mean() / strip.frames.var()),
        "activation_between": means(_between),
        "ends_kept": {"mean": float(kept.mean()), "worst": float(kept.min())},
        "seconds": {**seconds, "ratio": seconds["walk"] / seconds["pair"]},
        "seconds_with_portraits": {"pair": seconds["pair"], "walk": whole, "ratio": whole / seconds["pair"]},
    }


def _between(strip: Any) -> float:
    """The interpolated activation of the inner frames."""
    weights = np.linspace(0, 1, len(strip.frames))
    return float(((1 - weights) * strip.activation_a + weights * strip.activation_b)[1:-1].mean())


if __name__ == "__main__":
    main()
