"""Measure how well sharing and alignment keep landmarks in place, and how much activation this costs the ends.

Render pairs in three ways with equal numbers of updates: independent frames, shared parameterization, and shared
parameterization with alignment. Report the mean squared difference of neighbouring frames and the activation of the
two ends, both on the finished frames, also relative to independent frames.

    python tests/bench/alignment.py [--pairs 8] [--steps 256] [--picture strips.png] [--json]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from core.atlas.selection import resolve_settings
from core.machine import device
from core.models.models import load
from core.neurons import Neuron, Pair
from core.pictures.sheets import side_by_side
from core.spec import Alignment, RenderSettings

LAYER = "block9_expand_pre_relu"
CHANNELS = [(17, 81), (44, 120), (200, 301), (5, 404), (17, 200), (81, 301), (44, 81), (120, 404)]
VARIANTS = {
    "independent": {"sharing": False, "alignment": Alignment(weight=0)},
    "shared": {"alignment": Alignment(weight=0)},
    "aligned": {},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=len(CHANNELS), choices=range(1, len(CHANNELS) + 1))
    parser.add_argument("--steps", type=int, default=256)
    parser.add_argument("--picture", type=Path, help="write the strips to this file, three rows for each pair")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    device_name = device.prepare()
    from core.method.strip_renderer import StripRenderer

    model = load("efficientnet-lite0")
    pairs = [Pair.of(Neuron(LAYER, a), Neuron(LAYER, b)) for a, b in CHANNELS[: options.pairs]]
    strips = {}
    for name, change in VARIANTS.items():
        settings = resolve_settings(RenderSettings(steps=options.steps, **change), model)
        renderer = StripRenderer(model, (LAYER, LAYER), settings)
        strips[name] = [renderer.render([pair])[0] for pair in pairs]

    distance = {name: np.array([s.neighbour_distance.mean() for s in made]) for name, made in strips.items()}
    ends = {name: np.array([(s.activation_a[0], s.activation_b[-1]) for s in made]) for name, made in strips.items()}
    figures = {
        name: {
            "distance": float(distance[name].mean()),
            "distance_ratio": float(distance[name].mean() / distance["independent"].mean()),
            "distance_ratio_worst": float((distance[name] / distance["independent"]).max()),
            "ends_kept": float((ends[name] / ends["independent"]).mean()),
            "ends_kept_worst": float((ends[name] / ends["independent"]).min()),
            "seconds_per_pair": float(np.median([strip.seconds for strip in made])),
        }
        for name, made in strips.items()
    }
    if options.picture:
        rows = [side_by_side(strips[name][i].frames) for i in range(len(pairs)) for name in VARIANTS]
        Image.fromarray(np.concatenate(rows)).save(options.picture)
    if options.json:
        print(json.dumps({"device": device_name, "pairs": len(pairs), "steps": options.steps, "variants": figures}))
        return
    print(f"{len(pairs)} pairs of {LAYER}, {options.steps} updates, {device_name}")
    columns = ("neighbour distance", "of independent", "worst", "ends kept", "worst", "s/pair")
    print(f"{'':12} {columns[0]:>20} {columns[1]:>15} {columns[2]:>7} {columns[3]:>10} {columns[4]:>7} {columns[5]:>7}")
    for name, f in figures.items():
        print(
            f"{name:12} {f['distance']:20.4f} {f['distance_ratio']:15.2f} {f['distance_ratio_worst']:7.2f} "
            f"{f['ends_kept']:10.2f} {f['ends_kept_worst']:7.2f} {f['seconds_per_pair']:7.1f}"
        )


if __name__ == "__main__":
    main()
