"""What the cosine power does to strips of the default network: angles, activations and pictures.

    python docs/make_directions.py block9_expand directions.npz --count 24
    python tests/bench/purity.py --directions directions.npz --of block9_expand --picture purity.webp

Each power renders 24 pairs of channels, and strips between the directions of a file, two by two. An angle is the one
between the activations and a neuron's direction on the frame at its end: that of the mean activations over positions,
the mean of the angles at all positions, and the mean of the angles weighted by the activation along the direction.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.atlas.selection import resolve_settings
from core.bench.quality import draw_pairs
from core.machine import device
from core.method.strip import Strip
from core.method.strip_renderer import StripRenderer
from core.models.model import Model
from core.models.models import load
from core.neurons import Neuron, Pair
from core.pictures import sheets
from core.spec import ModelSpec, RenderSettings

LAYERS = ("block5", "block9_expand_pre_relu")
"""A sum with 40 channels, and a layer of 672."""
POWERS = (0, 1, 2, 4)
IN_PICTURE = ("block5", "directions")
"""Kinds of pairs of which the second is in the picture."""
DERIVED = "directions"


def pairs_by_kind(model: Model) -> dict[str, list[Pair]]:
    """Return the pairs: inside each layer, across the layers, and of directions."""
    pairs = draw_pairs(model, LAYERS, 10, across=4)
    kinds = {**{layer: (layer, layer) for layer in LAYERS}, "across": LAYERS}
    found = {kind: [pair for pair in pairs if pair.layers == layers] for kind, layers in kinds.items()}
    if DERIVED in model.derived:
        directions = [Neuron(DERIVED, number) for number in range(model.layers[DERIVED])]
        found[DERIVED] = [Pair.of(*two) for two in zip(directions[::2], directions[1::2], strict=False)]
    return found


def strips_of(model: Model, pairs: Sequence[Pair], power: float, size_px: int) -> list[Strip]:
    given = {"size_px": size_px, "objective": {"cosine_power": power}}
    settings = resolve_settings(RenderSettings.model_validate(given), model)
    strips = []
    for layers, members in groupby(pairs, lambda pair: pair.layers):
        renderer = StripRenderer(model, layers, settings)
        strips += [renderer.render([pair])[0] for pair in members]
    return strips


def figures(frame: Array, neuron: Neuron, model: Model) -> list[float]:
    """Return the activation of a neuron on a frame, and three angles in degrees: see the module."""
    layer, direction = neuron.layer, np.eye(model.layers[neuron.layer])[neuron.channel]
    if layer in model.derived:
        directions = model.derived[layer]
        layer, direction = directions.of, directions.rows([neuron.channel])[0, :-1]
    activations = model.activations(tf.constant(frame[None]), {layer})[layer].numpy().reshape(-1, len(direction))
    unit = direction / np.linalg.norm(direction)
    along, mean = activations @ unit, activations.mean(axis=0)
    cosines = along / np.linalg.norm(activations, axis=1)
    counted = np.maximum(along, 0)
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    of_mean = np.degrees(np.arccos(mean @ unit / np.linalg.norm(mean)))
    return [float(each) for each in (along.mean(), of_mean, angles.mean(), (counted @ angles) / counted.sum())]


def summary(strips: Sequence[Strip], ends: Array, plain: Array) -> dict[str, float]:
    """Return the means over strips or ends; the activations are shares of those without a power.

    Args:
        ends, plain: the figures of all ends, and those without a power, shape (end, figure).
    """
    off = [0.5 if strip.crossing is None else abs(strip.crossing - 0.5) for strip in strips]
    means = {
        "activation": (ends[:, 0] / plain[:, 0]).mean(),
        "angle_of_mean": ends[:, 1].mean(),
        "angle": ends[:, 2].mean(),
        "angle_weighted": ends[:, 3].mean(),
        "crossing_off": max(off),
        "pace": np.median([strip.pace or np.nan for strip in strips]),
        "steps": np.mean([strip.steps.mean() for strip in strips]),
        "variance": np.mean([strip.frames.var(axis=(1, 2)).mean() for strip in strips]),
        "dead": sum(any(strip.dead) for strip in strips),
    }
    return {name: round(float(mean), 3) for name, mean in means.items()}


def measure(model: Model, kinds: Mapping[str, Sequence[Pair]], size_px: int) -> dict[str, list[Array]]:
    """Print a line of figures for each kind of pairs and each power; return the frames of the second pair of each."""
    frames: dict[str, list[Array]] = {kind: [] for kind in kinds}
    plain: dict[str, Array] = {}
    for power in POWERS:
        for kind, pairs in kinds.items():
            started = time.process_time()
            strips = strips_of(model, pairs, power, size_px)
            seconds = round(time.process_time() - started, 1)
            frames[kind].append(strips[1].frames)
            ends = np.array(
                [
                    figures(strip.frames[end], neuron, model)
                    for strip, pair in zip(strips, pairs, strict=True)
                    for end, neuron in ((0, pair.a), (-1, pair.b))
                ]
            )
            told = summary(strips, ends, plain.setdefault(kind, ends))
            line = {"pairs": kind, "number": len(pairs), "power": power, **told, "cpu_seconds": seconds}
            print(json.dumps(line), flush=True)
    return frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-px", type=int, default=96)
    parser.add_argument("--directions", type=Path, help="file made by docs/make_directions.py")
    parser.add_argument("--of", default="block9_expand", help="layer of the directions")
    parser.add_argument("--picture", type=Path, help="picture of two pairs, a row for each power")
    given = parser.parse_args()
    device.prepare()
    derived = {DERIVED: {"of": given.of, "file": str(given.directions)}} if given.directions else {}
    model = load(ModelSpec.model_validate({"derived": derived}))
    frames = measure(model, pairs_by_kind(model), given.size_px)
    if given.picture:
        rows = [sheets.side_by_side(row) for kind in IN_PICTURE for row in frames.get(kind, [])]
        given.picture.write_bytes(sheets.encode_webp(np.concatenate(rows)))


if __name__ == "__main__":
    main()
