"""Compare strips between portraits with strips that have ends of their own: smoothness, activations and time.

Build two atlases of the same pairs of 24 neurons in two layers with equal numbers of updates. Render a chunk of one
and a chunk of the other in turn, so that other load on the machine affects both equally. Report for walk and for pair:
the mean squared difference of neighbouring frames, also as a share of the variance of the pixels; the activation of the
two ends and of the frames between; and the seconds for a pair, without and with the portraits' share. Rendered strips
stay in the folder, so the same command resumes after a stop.

    python tests/bench/walk.py FOLDER [--pairs 48] [--steps 256] [--minutes 60] [--picture strips.png] [--json]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain, zip_longest
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from core.atlas.chunks import PlannedChunk
from core.atlas.plan import Plan, make_plan
from core.atlas.recorded import read_portraits, read_records
from core.atlas.records import Record, sheet_path
from core.machine import device
from core.models.models import load
from core.neurons import Neuron, Pair
from core.pictures.sheets import decode
from core.rendering.chunk import render_chunk
from core.spec import AtlasSpec
from core.spec_file import parse_spec
from core.store.store import DirectoryStore

LAYERS = ("block6_expand_pre_relu", "block9_expand_pre_relu")
NEURONS = 12  # of each layer
KINDS = ("pair", "walk")
SHOWN = 12

Figures = dict[str, dict[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=int, default=48)
    parser.add_argument("--steps", type=int, default=256)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=60, help="start no chunk after this time")
    parser.add_argument("--picture", type=Path, help="write some strips to this file, two rows a pair: pair, walk")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    pairs = draw_pairs(options.pairs)
    specs = {kind: spec_of(kind, pairs, options.steps) for kind in KINDS}
    stores = {kind: DirectoryStore(options.folder / kind) for kind in KINDS}
    missing = render(specs, stores, options.processes, time.monotonic() + 60 * options.minutes)
    if missing:
        print(f"{missing} pairs and portraits are missing; run the same command again to continue")
        return
    figures = compare(specs, stores)
    if options.picture:
        Image.fromarray(picture(pairs[:SHOWN], stores)).save(options.picture)
    device_name = device.expected()
    if options.json:
        print(json.dumps({"device": device_name, "pairs": len(pairs), "steps": options.steps, **figures}))
        return
    print(f"{len(pairs)} pairs of {2 * NEURONS} neurons, {options.steps} updates, {device_name}")
    for name, figure in figures.items():
        print(f"  {name.replace('_', ' '):34} " + "  ".join(f"{kind} {value:.4g}" for kind, value in figure.items()))


def draw_pairs(count: int) -> list[Pair]:
    """Return pairs within the first layer, pairs within the second, and a sixth of all across both, shuffled."""
    random = np.random.default_rng(0)
    model = load("efficientnet-lite0")
    first, second = (
        [Neuron(layer, int(channel)) for channel in random.choice(model.layers[layer], NEURONS, replace=False)]
        for layer in LAYERS
    )

    def some(ones: Sequence[Neuron], others: Sequence[Neuron], count: int) -> list[Pair]:
        possible = sorted({Pair.of(one, other) for one in ones for other in others if one != other})
        return [possible[place] for place in random.choice(len(possible), count, replace=False)]

    across = count // 6
    within = (count - across) // 2
    drawn = [*some(first, first, within), *some(second, second, count - across - within), *some(first, second, across)]
    return [drawn[place] for place in random.permutation(count)]


def spec_of(kind: str, pairs: Sequence[Pair], steps: int) -> AtlasSpec:
    listed = [[str(neuron) for neuron in pair] for pair in pairs]
    facts = {"name": kind, "strip": kind, "render": {"steps": steps}, "compute": {"chunk_pairs": 3}}
    return parse_spec(facts | {"pairs": {"select": "list", "list": listed}}, "bench")


def render(specs: dict[str, AtlasSpec], stores: dict[str, DirectoryStore], processes: int, end: float) -> int:
    """Render missing pairs and portraits until *end* of `time.monotonic`; return the number that is still missing."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        while True:
            plans = {kind: make_plan(specs[kind], stores[kind], processes) for kind in KINDS}
            missing = sum(plan.unrecorded for plan in plans.values())
            if not missing or time.monotonic() > end:
                return missing
            # Portraits come first and alone: there are no walk strips yet that could take turns with the others.
            stage = ["walk"] if plans["walk"].missing_portraits else list(KINDS)
            work = [[(stores[kind].root, planned) for planned in planned_chunks(plans[kind])] for kind in stage]
            in_turn = [one for one in chain.from_iterable(zip_longest(*work)) if one is not None]
            list(pool.map(partial(render_one, end), in_turn))


def planned_chunks(plan: Plan) -> list[PlannedChunk]:
    return [PlannedChunk(plan.model, plan.model_digest, plan.settings, chunk) for chunk in plan.chunks]


def render_one(end: float, work: tuple[Path, PlannedChunk]) -> None:
    root, planned = work
    if time.monotonic() < end:
        render_chunk(planned, DirectoryStore(root))


def compare(specs: dict[str, AtlasSpec], stores: dict[str, DirectoryStore]) -> Figures:
    """Return the figures for both kinds, and the ratio of walk to pair."""
    records = {kind: _by_pair(stores[kind]) for kind in KINDS}
    pairs = sorted(records["pair"])

    def means(value: Callable[[Record, DirectoryStore], float]) -> dict[str, float]:
        found = {kind: float(np.mean([value(records[kind][pair], stores[kind]) for pair in pairs])) for kind in KINDS}
        return {**found, "ratio": found["walk"] / found["pair"]}

    ends = {kind: np.array([_ends(records[kind][pair]) for pair in pairs]) for kind in KINDS}
    kept = ends["walk"] / ends["pair"]
    # The median, because the first strips of a process include the time for compiling the step.
    seconds = {kind: median(records[kind][pair].seconds for pair in pairs) for kind in KINDS}
    portraits = list(read_portraits(stores["walk"], lambda record: record).values())
    canvas = sum(record.seconds for record in portraits if record.neuron is None)
    each = median(record.seconds for record in portraits if record.neuron is not None)
    whole = seconds["walk"] + (canvas + each * (len(portraits) - 1)) / len(pairs)
    return {
        "neighbour_distance": means(lambda record, _: float(np.mean(record.neighbour_distance))),
        "neighbour_distance_of_variance": means(
            lambda record, store: float(np.mean(record.neighbour_distance)) / _variance(record, store)
        ),
        "activation_between": means(lambda record, _: _between(record)),
        "ends_kept": {"mean": float(kept.mean()), "worst": float(kept.min())},
        "seconds": {**seconds, "ratio": seconds["walk"] / seconds["pair"]},
        "seconds_of_portraits": {"canvas": canvas, "portrait": each},
        "seconds_with_portraits": {"pair": seconds["pair"], "walk": whole, "ratio": whole / seconds["pair"]},
    }


def picture(
    pairs: Sequence[Pair], stores: dict[str, DirectoryStore]
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    records = {kind: _by_pair(stores[kind]) for kind in KINDS}
    return np.concatenate(
        [
            decode(stores[kind].read(sheet_path(records[kind][str(pair.a), str(pair.b)].key)))
            for pair in pairs
            for kind in KINDS
        ]
    )


def _by_pair(store: DirectoryStore) -> dict[tuple[str, str], Record]:
    return {(record.a, record.b): record for record in read_records(store, lambda record: record).values()}


def _ends(record: Record) -> tuple[float, float]:
    return record.activation_a[0], record.activation_b[-1]


def _between(record: Record) -> float:
    """Return the mean over the inner frames of the mix of both activations."""
    weights = np.linspace(0, 1, record.frames)
    mixed = (1 - weights) * np.array(record.activation_a) + weights * np.array(record.activation_b)
    return float(mixed[1:-1].mean())


def _variance(record: Record, store: DirectoryStore) -> float:
    return float((decode(store.read(sheet_path(record.key))) / 255).var())


if __name__ == "__main__":
    main()
