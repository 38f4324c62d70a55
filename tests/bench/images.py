"""Measure reading photographs: rate compared with the bare network, memory, and the time of summaries.

    .venv/bin/python tests/bench/images.py [--images 20000] [--folder FOLDER] [--layers LAYER ...]

The photographs are crops of the pictures that scikit-image ships, 500 x 375 px, JPEG; few of them are repeated under
other names. Rates are those of processor time, so other work on the machine does not count. One process is measured; a
build has one on each core.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from core.atlas.evidence import read_evidence
from core.atlas.evidence_summary import summarise
from core.atlas.image_plan import BATCH
from core.atlas.plan import make_plan
from core.atlas.plan_files import read_chunk, write_plan
from core.machine import device
from core.models.models import load
from core.neurons import Neuron
from core.rendering.chunk import render_chunk
from core.spec_file import parse_spec
from core.store.store import DirectoryStore

_DISTINCT = 256
_HEIGHT, _WIDTH = 375, 500


def make_photographs(folder: Path, count: int) -> None:
    """Write photographs into a folder; those after the first ones are links to them."""
    scenes = [data.astronaut(), data.coffee(), data.rocket(), data.chelsea(), data.retina(), data.hubble_deep_field()]
    dice = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(min(count, _DISTINCT)):
        scene = Image.fromarray(scenes[number % len(scenes)])
        scene = scene.resize((max(scene.width, _WIDTH + 60), max(scene.height, _HEIGHT + 60)))
        left, top = (int(dice.integers(side)) for side in (scene.width - _WIDTH, scene.height - _HEIGHT))
        scene.crop((left, top, left + _WIDTH, top + _HEIGHT)).save(folder / f"{number:06}.jpg", quality=90)
    for number in range(_DISTINCT, count):
        path = folder / f"{number:06}.jpg"
        if not path.exists():
            os.link(folder / f"{number % _DISTINCT:06}.jpg", path)


def bare_seconds(layers: list[str], size: tuple[int, int]) -> float:
    """Return the processor time of a photograph in the bare network, cut at the deepest layer."""
    import tensorflow as tf

    model = load("efficientnet-lite0")
    forward = tf.function(lambda images: model.activations(images, set(layers)), autograph=False)
    images = tf.random.stateless_uniform((BATCH, *size, 3), (0, 0))
    forward(images)
    times = []
    for _ in range(12):
        began = time.process_time()
        forward(images)
        times.append(time.process_time() - began)
    return sorted(times)[len(times) // 2] / BATCH


def megabytes() -> float:
    """Return the largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--layers", nargs="+", default=["block5_expand_pre_relu", "block9_expand_pre_relu", "head"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        measure(options.folder or Path(temporary), options.images, options.layers)


def measure(folder: Path, count: int, layers: list[str]) -> None:
    device.prepare()
    make_photographs(folder / "photos", count)
    model = load("efficientnet-lite0")
    neurons = [f"{layer}:0-{model.layers[layer] - 1}" for layer in layers]
    spec = parse_spec(
        {
            "name": "bench",
            "output": str(folder / "atlases"),
            "pairs": {"select": "random", "neurons": neurons, "n": 10},
            "images": {"source": str(folder / "photos")},
        },
        "bench",
    )
    store = DirectoryStore(Path(spec.uri))
    began = time.perf_counter()
    plan = make_plan(spec, store, 2, only_images=True)
    write_plan(store, plan)
    assert plan.images is not None
    print(
        f"plan: {plan.images.missing_images:,} photographs in {len(plan.chunks)} chunks, "
        f"{time.perf_counter() - began:.1f} s"
    )
    bare = bare_seconds(layers, plan.images.album.size)
    for number, chunk in enumerate(plan.chunks):
        began_at, began = time.perf_counter(), time.process_time()
        result = render_chunk(read_chunk(store, plan.path, chunk.name), store)
        used, wall = time.process_time() - began, time.perf_counter() - began_at
        if number < 3 or number % 10 == 0 or number == len(plan.chunks) - 1:
            each = used / result.done
            print(
                f"chunk {number}: {1000 * each:.1f} ms of processor time a photograph ({1000 * bare:.1f} bare, "
                f"rate {bare / each:.2f} of it), {wall:.0f} s, {megabytes():.0f} MB",
                flush=True,
            )
    evidence = read_evidence(store)
    assert evidence is not None
    wanted = [Neuron(layer, channel) for layer in layers for channel in range(model.layers[layer])][:2000]
    before, began = megabytes(), time.process_time()
    summarise(store, evidence, wanted)
    stored = sum((store.root / path).stat().st_size for path in store.list("images/activations/"))
    print(
        f"summaries of {len(wanted):,} neurons: {time.process_time() - began:.1f} s of processor time, "
        f"{megabytes():.0f} MB at most ({before:.0f} before); activations {stored / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main()
