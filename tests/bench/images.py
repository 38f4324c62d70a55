"""Measure reading photographs: rate compared with the bare network, memory, and the time of summaries.

    .venv/bin/python tests/bench/images.py [--images 20000] [--folder FOLDER] [--layers LAYER ...] [--processes 2]

The photographs are crops of the pictures that scikit-image ships, 500 x 375 px, JPEG; few of them are repeated under
other names. Rates are those of processor time, so other work on the machine does not count. A build has a process on
each core. Every process measures the bare network between its chunks, all processes at the same time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

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
_REPEATS = 12


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


class Bare:
    """The bare network, cut at the deepest of some layers."""

    def __init__(self, layers: list[str], size: tuple[int, int]) -> None:
        import tensorflow as tf

        model = load("efficientnet-lite0")
        self._forward = tf.function(lambda images: model.activations(images, set(layers)), autograph=False)
        self._images = tf.random.stateless_uniform((BATCH, *size, 3), (0, 0))
        self._forward(self._images)

    def seconds(self) -> float:
        """Return the processor time of a photograph, the median of some batches."""
        times = []
        for _ in range(_REPEATS):
            began = time.process_time()
            self._forward(self._images)
            times.append(time.process_time() - began)
        return statistics.median(times) / BATCH


def megabytes() -> float:
    """Return the largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read_share(store: DirectoryStore, plan_path: str, chunks: list[str], bare: tuple[Any, ...], met: Barrier) -> None:
    """Read some chunks, measure the bare network before each, and print the processor time and memory of this process.

    Args:
        bare: the arguments of `Bare`.
        met: makes all processes begin together.
    """
    device.prepare()
    network = Bare(*bare)
    met.wait()
    read = images = 0.0
    bare_times = []
    for number, chunk in enumerate(chunks):
        bare_times.append(network.seconds())
        began = time.process_time()
        images += render_chunk(read_chunk(store, plan_path, chunk), store).done
        read += time.process_time() - began
        if number in (0, 1, 3) or number % 8 == 7 or number == len(chunks) - 1:
            each, bare_each = read / images, statistics.mean(bare_times)
            print(
                f"process {os.getpid()}, {images:,.0f} photographs: {1000 * each:.1f} ms of processor time each "
                f"({1000 * bare_each:.1f} bare, rate {bare_each / each:.2f} of it), {megabytes():.0f} MB",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--layers", nargs="+", default=["block5_expand_pre_relu", "block9_expand_pre_relu", "head"])
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        measure(options.folder or Path(temporary), options.images, options.layers, options.processes)


def measure(folder: Path, count: int, layers: list[str], processes: int) -> None:
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
        f"{time.perf_counter() - began:.1f} s",
        flush=True,
    )
    chunks, bare = [chunk.name for chunk in plan.chunks], (layers, plan.images.album.size)
    spawn = multiprocessing.get_context("spawn")
    met = spawn.Barrier(processes)
    shares = [(store, plan.path, chunks[number::processes], bare, met) for number in range(processes)]
    readers = [spawn.Process(target=read_share, args=share) for share in shares]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
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
