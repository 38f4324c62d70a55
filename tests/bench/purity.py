"""What the cosine power does to strips of the default network, and to images of directions: angles and activations.

    python docs/make_directions.py block9_expand directions.npz --count 24
    python tests/bench/purity.py --directions directions.npz --of block9_expand --picture purity.webp

24 pairs of the network's neurons are rendered with each power, and an image of each direction. An angle is the one
between activations and a direction: that of the mean activations over positions, the mean of the angles at all
positions, and the mean of the angles weighted by the activation along the direction, which leaves empty positions out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.atlas.selection import resolve_settings
from core.bench.quality import draw_pairs
from core.machine import device
from core.method import objectives as o
from core.method.optimise import render
from core.method.parameterization import image
from core.method.strip import Strip
from core.method.strip_renderer import StripRenderer
from core.models.model import Model
from core.models.models import load
from core.neurons import Neuron, Pair
from core.pictures import sheets
from core.spec import RenderSettings

LAYERS = ("block5", "block9_expand_pre_relu")
"""A sum of 40 channels, and 672 channels of their own."""
POWERS = (0, 1, 2, 4)
IN_PICTURE = (1, 11)
"""Numbers of the pairs in the picture, one of each layer."""
BATCH = 8

Activations = Callable[[Array, str], Array]


def figures(activations: Array, direction: Array) -> list[float]:
    """Return the activation along a direction, and three angles in degrees: see the module.

    Args:
        activations: shape (position, channel).
    """
    unit = direction / np.linalg.norm(direction)
    along, mean = activations @ unit, activations.mean(axis=0)
    cosines = along / np.linalg.norm(activations, axis=1)
    counted = np.maximum(along, 0)
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    of_mean = np.degrees(np.arccos(mean @ unit / np.linalg.norm(mean)))
    return [float(each) for each in (along.mean(), of_mean, angles.mean(), (counted @ angles) / counted.sum())]


def summary(rows: Sequence[Sequence[float]], first: Sequence[Sequence[float]]) -> dict[str, float]:
    """Return the means of the figures; activations are shares of those in *first*."""
    found, plain = np.array(rows), np.array(first)
    means = [(found[:, 0] / plain[:, 0]).mean(), *found[:, 1:].mean(axis=0)]
    names = ("activation", "angle_of_mean", "angle", "angle_weighted")
    return {name: round(float(mean), 3 if name == "activation" else 1) for name, mean in zip(names, means, strict=True)}


def strips_of(model: Model, pairs: Sequence[Pair], power: float, size_px: int) -> list[Strip]:
    given = {"size_px": size_px, "objective": {"cosine_power": power}}
    settings = resolve_settings(RenderSettings.model_validate(given), model)
    strips = []
    for layers, members in groupby(pairs, lambda pair: pair.layers):
        renderer = StripRenderer(model, layers, settings)
        strips += [renderer.render([pair])[0] for pair in members]
    return strips


def of_ends(
    strips: Sequence[Strip], pairs: Sequence[Pair], model: Model, activations: Activations
) -> list[list[float]]:
    """Return the figures of each neuron on the frame at its end."""

    def of_neuron(frame: Array, neuron: Neuron) -> list[float]:
        return figures(activations(frame, neuron.layer), np.eye(model.layers[neuron.layer])[neuron.channel])

    both = (((strip.frames[0], pair.a), (strip.frames[-1], pair.b)) for strip, pair in zip(strips, pairs, strict=True))
    return [of_neuron(*end) for ends in both for end in ends]


def measure_pairs(model: Model, activations: Activations, size_px: int, picture: Path | None) -> None:
    pairs = draw_pairs(model, LAYERS, 10, across=4)
    rows: list[Array] = []
    plain: dict[str, list[list[float]]] = {}
    for power in POWERS:
        started = time.process_time()
        strips = strips_of(model, pairs, power, size_px)
        seconds = time.process_time() - started
        rows += [strips[number].frames for number in IN_PICTURE]
        kinds = {**{layer: (layer, layer) for layer in LAYERS}, "across": LAYERS}
        for kind, layers in kinds.items():
            chosen = [n for n, pair in enumerate(pairs) if pair.layers == layers]
            ends = of_ends([strips[n] for n in chosen], [pairs[n] for n in chosen], model, activations)
            crossings = [strips[n].crossing for n in chosen]
            told = {
                "pairs": kind,
                "power": power,
                **summary(ends, plain.setdefault(kind, ends)),
                "crossing_off": round(max(abs((crossing or 0) - 0.5) for crossing in crossings), 3),
                "pace": round(float(np.median([strips[n].pace or 0 for n in chosen])), 2),
                "steps": round(float(np.mean([strips[n].steps.mean() for n in chosen])), 3),
                "variance": round(float(np.mean([strips[n].frames.var(axis=(1, 2)).mean() for n in chosen])), 4),
                "dead": sum(any(strips[n].dead) for n in chosen),
            }
            print(json.dumps(told), flush=True)
        print(json.dumps({"power": power, "cpu_seconds": round(seconds, 1)}), flush=True)
    if picture:
        in_order = [row for pair in range(len(IN_PICTURE)) for row in rows[pair :: len(IN_PICTURE)]]
        picture.write_bytes(sheets.encode_webp(np.concatenate([sheets.side_by_side(row) for row in in_order])))


def measure_directions(model: Model, layer: str, directions: Array, activations: Activations, size_px: int) -> None:
    """Render an image of each direction with Lucid's objective, in batches, and print the figures."""
    plain: list[list[float]] = []
    for power in POWERS:
        rows = []
        for first in range(0, len(directions), BATCH):
            some = directions[first : first + BATCH]
            goal = o.Objective.sum(o.direction(layer, row, power, batch=n) for n, row in enumerate(some))
            made = render(model, goal, image(size_px, batch=len(some)), checkpoints=(128,), seed=first)
            rows += [figures(activations(frame, layer), row) for frame, row in zip(made.final, some, strict=True)]
        plain = plain or rows
        print(json.dumps({"directions": len(rows), "power": power, **summary(rows, plain)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-px", type=int, default=96)
    parser.add_argument("--directions", type=Path, help="file made by docs/make_directions.py")
    parser.add_argument("--of", default="block9_expand", help="layer of the directions")
    parser.add_argument("--picture", type=Path, help="picture of two pairs, a row for each power")
    given = parser.parse_args()
    device.prepare()
    model = load("efficientnet-lite0")

    def activations(frame: Array, layer: str) -> Array:
        found: Array = model.activations(tf.constant(frame[None]), {layer})[layer].numpy()
        return found.reshape(-1, model.layers[layer])

    if given.directions:
        measure_directions(model, given.of, np.load(given.directions)["directions"], activations, given.size_px)
    measure_pairs(model, activations, given.size_px, given.picture)


if __name__ == "__main__":
    main()
