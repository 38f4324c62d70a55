"""Benchmarks of the time and the memory for planning and publishing a large atlas.

The atlas is synthetic: it has all pairs among the first channels of one layer or more, and records as a chunk writes
them. It has no sheets, because neither planning nor publishing reads them. Every step is measured in a new process.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from core import METHOD_VERSION
from core.atlas.keys import pair_keys, settings_digest
from core.atlas.plan import make_plan
from core.atlas.plan_files import write_plan
from core.atlas.records import Checkpoint, Record, to_ndjson
from core.atlas.selection import resolve_settings, select_pairs
from core.bench.machine import process_peak_mb
from core.gallery.publish import publish
from core.models.models import digest, load
from core.spec import AtlasSpec
from core.spec_file import parse_spec
from core.store.store import DirectoryStore

_LAYERS = ("block9_expand_pre_relu", "block10_expand_pre_relu", "block11_expand_pre_relu")  # 2 million pairs
_CHANNELS = 672  # of each layer
_RECORDS_PER_FILE = 65
_PROCESSES = 2

Figures = dict[str, Any]


def measure_plan(channels: int) -> Iterator[Figures]:
    """Plan all pairs among *channels* channels: first without records, then with a record of every pair."""
    with tempfile.TemporaryDirectory() as folder:
        yield {"what": "plan, nothing recorded", **_measured("plan", folder, channels)}
        _measured("write", folder, channels, channels**2)
        yield {"what": "plan, all recorded", **_measured("plan", folder, channels)}


def measure_publish(records: Sequence[int]) -> Iterator[Figures]:
    """Publish one atlas for each number of records."""
    for count in records:
        with tempfile.TemporaryDirectory() as folder:
            _measured("write", folder, int((2 * count) ** 0.5) + 2, count)
            yield {"what": "publish", **_measured("publish", folder)}


def synthetic_records(spec: AtlasSpec) -> Iterator[Record]:
    """Yield a record for every pair of a spec; the same spec gives the same records."""
    model = load(spec.model)
    settings = resolve_settings(spec.render, model)
    dice = random.Random(0)

    def numbers(count: int, largest: float) -> list[float]:
        return [dice.random() * largest for _ in range(count)]

    for pair, key in pair_keys(select_pairs(spec, model), digest(model), settings):
        yield Record(
            status="done",
            method=METHOD_VERSION,
            model=spec.model.name,
            model_digest=digest(model),
            settings=settings.model_dump(mode="json"),
            settings_digest=settings_digest(settings),
            seed=settings.seed,
            frames=settings.frames,
            size_px=settings.size_px,
            device="CPU x86_64",
            versions={"isthmus": "0.1.0", "numpy": "2.4.6", "tensorflow": "2.21.0"},
            key=key,
            a=str(pair.a),
            b=str(pair.b),
            checkpoints=[Checkpoint(step=settings.steps, objective=dice.random() * 40)],
            activation_a=numbers(settings.frames, 10),
            activation_b=numbers(settings.frames, 10),
            neighbour_distance=numbers(settings.frames - 1, 0.02),
            layer_distance={layer: numbers(settings.frames - 1, 0.5) for layer in settings.alignment.layers or ()},
            history=numbers(64, 40),
            reach_a=10,
            reach_b=10,
            noise_a=dice.random(),
            noise_b=dice.random(),
            kept_a=dice.random(),
            kept_b=dice.random(),
            crossing=dice.random(),
            pace=1 + dice.random(),
            sheet_sha256=f"{dice.getrandbits(256):064x}",
            sheet_bytes=dice.randrange(240_000, 280_000),
            preview_sha256=f"{dice.getrandbits(256):064x}",
            preview_bytes=dice.randrange(50_000, 65_000),
            seconds=round(dice.uniform(6, 9), 3),
        )


def spec_of(channels: int) -> AtlasSpec:
    """Return a spec of all pairs among *channels* channels: those of the first layer first, then those of the next."""
    first = zip(_LAYERS, range(0, channels, _CHANNELS), strict=False)
    neurons = [f"{layer}:0-{min(channels - start, _CHANNELS) - 1}" for layer, start in first]
    return parse_spec({"name": "synthetic", "pairs": {"select": "all", "neurons": neurons}}, "bench")


def _measured(step: str, *arguments: object) -> Figures:
    """Run a step of `_STEPS` in a new process; return its figures with its seconds and its peak memory in MB.

    The seconds are those of the clock, and those of processors, which other work on the machine changes less.
    """
    command = [sys.executable, "-m", "core.bench.scale", step, json.dumps(arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    figures: Figures = json.loads(done.stdout)
    return figures


def _plan(folder: str, channels: int) -> Figures:
    store = DirectoryStore(Path(folder))
    made = make_plan(spec_of(channels), store, _PROCESSES)
    write_plan(store, made)
    return {"pairs": made.pairs, "missing": made.missing, "chunks": len(made.chunks)}


def _publish(folder: str) -> Figures:
    manifest = publish(DirectoryStore(Path(folder)), "synthetic")
    return {"pairs": manifest.counts.pairs, "published_mb": round(manifest.records.bytes / 1e6, 1)}


def _write(folder: str, channels: int, most: int) -> Figures:
    """Write the first *most* records of a finished atlas."""
    records = islice(synthetic_records(spec_of(channels)), most)
    (Path(folder) / "records").mkdir(exist_ok=True)
    number = 0
    while part := list(islice(records, _RECORDS_PER_FILE)):
        (Path(folder) / f"records/{number:020x}.ndjson").write_bytes(to_ndjson(part))
        number += 1
    return {"files": number}


_STEPS: dict[str, Callable[..., Figures]] = {"plan": _plan, "publish": _publish, "write": _write}


def _main() -> None:
    """Run one step and print its figures; the entry point of the process that is measured."""
    step, arguments = sys.argv[1:]
    started, worked = time.perf_counter(), time.process_time()
    figures = _STEPS[step](*json.loads(arguments))
    seconds = {
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_seconds": round(time.process_time() - worked, 2),
    }
    print(json.dumps({**figures, **seconds, "peak_mb": round(process_peak_mb())}))


if __name__ == "__main__":
    _main()
