"""How long do planning and publishing take for a large atlas, and how much memory?

The atlas is synthetic: all pairs among the first channels of a layer, with records as a chunk writes them but without
sheets, which neither of the two reads. Every figure is that of a process of its own.

    python tests/bench/scale.py [plan] [publish] [--channels 508] [--records 1000 10000 100000] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

LAYER = "block9_expand_pre_relu"
RECORDS_PER_FILE = 65
PROCESSES = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="WHAT", help="plan, publish or both, the default")
    parser.add_argument("--channels", type=int, default=508, help="for plan: all pairs among so many; 508 have 128,778")
    parser.add_argument("--records", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="for publish")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    what = options.what or ["plan", "publish"]
    if not set(what) <= {"plan", "publish"}:
        parser.error(f"expected plan or publish, got {' '.join(what)}")

    figures = []
    if "plan" in what:
        with tempfile.TemporaryDirectory() as folder:
            figures.append({"what": "plan, no records", **measured("plan", folder, options.channels)})
            measured("write", folder, options.channels, options.channels**2)
            figures.append({"what": "plan, all recorded", **measured("plan", folder, options.channels)})
    for records in options.records if "publish" in what else ():
        channels = int((2 * records) ** 0.5) + 2
        with tempfile.TemporaryDirectory() as folder:
            measured("write", folder, channels, records)
            figures.append({"what": "publish", **measured("publish", folder)})
    machine = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("isthmus", "pydantic")}},
    }
    if options.json:
        print(json.dumps({**machine, "figures": figures}))
        return
    print(f"{machine['machine']}; {', '.join(f'{name} {number}' for name, number in machine['versions'].items())}")
    for figure in figures:
        print(", ".join(f"{name}: {value}" for name, value in figure.items()))


def measured(step: str, *arguments: object) -> dict[str, Any]:
    """The figures that one of STEPS gives in a fresh process, with its seconds and its peak of resident memory."""
    call = f"from scale import measure; measure({step!r}, {', '.join(map(repr, arguments))})"
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", call], env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, check=True
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def measure(step: str, *arguments: Any) -> None:
    """Run one of STEPS here and print its figures; imports count for memory, but not for time."""
    import core.manifest  # noqa: F401  (and with it everything that plan and publish need)

    started = time.perf_counter()
    figures = STEPS[step](*arguments)
    seconds = round(time.perf_counter() - started, 2)
    status = Path("/proc/self/status").read_text()
    [peak_kib] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    print(json.dumps({**figures, "seconds": seconds, "peak_mb": round(int(peak_kib) * 1024 / 1e6)}))


def plan(folder: str, channels: int) -> dict[str, Any]:
    """Plan, and write the plan."""
    from core.plan import make_plan, write_plan
    from core.store import DirectoryStore

    store = DirectoryStore(Path(folder))
    started = time.perf_counter()
    made = make_plan(spec_of(channels), store, PROCESSES)
    planned = time.perf_counter() - started
    write_plan(store, made)
    return {"pairs": made.pairs, "missing": made.missing, "chunks": len(made.chunks), "made_in": round(planned, 2)}


def publish(folder: str) -> dict[str, Any]:
    """Publish what is recorded."""
    from core.manifest import publish as publish_records
    from core.store import DirectoryStore

    manifest = publish_records(DirectoryStore(Path(folder)), "synthetic")
    return {"pairs": manifest.counts.pairs, "published_mb": round(manifest.records.bytes / 1e6, 1)}


def write(folder: str, channels: int, most: int) -> dict[str, Any]:
    """Write the first records of a finished atlas."""
    from core.records import to_ndjson

    records = islice(synthetic_records(spec_of(channels)), most)
    (Path(folder) / "records").mkdir(exist_ok=True)
    number = 0
    while part := list(islice(records, RECORDS_PER_FILE)):
        (Path(folder) / f"records/{number:020x}.ndjson").write_bytes(to_ndjson(part))
        number += 1
    return {"files": number}


STEPS = {"plan": plan, "publish": publish, "write": write}


def spec_of(channels: int) -> Any:
    from core.spec import parse_spec

    neurons = [f"{LAYER}:0-{channels - 1}"]
    return parse_spec({"name": "synthetic", "pairs": {"select": "all", "neurons": neurons}}, "bench")


def synthetic_records(spec: Any) -> Iterator[Any]:
    """A record for every pair of a spec, the same ones each time."""
    from core import METHOD_VERSION
    from core.models import digest, load
    from core.plan import keys, settings_digest
    from core.records import Checkpoint, Record
    from core.selection import resolve_settings, select_pairs

    model = load(spec.model)
    settings = resolve_settings(spec.render, model)
    facts = {
        "status": "done",
        "method": METHOD_VERSION,
        "model": spec.model.name,
        "model_digest": digest(model),
        "settings": settings.model_dump(mode="json"),
        "settings_digest": settings_digest(settings),
        "seed": settings.seed,
        "frames": settings.frames,
        "size_px": settings.size_px,
        "device": "CPU x86_64",
        "versions": {"isthmus": "0.1.0", "numpy": "2.4.6", "tensorflow": "2.21.0"},
    }
    dice = random.Random(0)

    def numbers(count: int, largest: float) -> list[float]:
        return [dice.random() * largest for _ in range(count)]

    pairs: Iterable[Any] = keys(select_pairs(spec, model), facts["model_digest"], settings)
    for pair, key in pairs:
        yield Record(
            **facts,
            key=key,
            a=str(pair.a),
            b=str(pair.b),
            checkpoints=[Checkpoint(step=settings.steps, objective=dice.random() * 40)],
            activation_a=numbers(settings.frames, 10),
            activation_b=numbers(settings.frames, 10),
            neighbour_distance=numbers(settings.frames - 1, 0.02),
            layer_distance={layer: numbers(settings.frames - 1, 0.5) for layer in settings.alignment.layers or ()},
            history=numbers(64, 40),
            sheet_sha256=f"{dice.getrandbits(256):064x}",
            sheet_bytes=dice.randrange(240_000, 280_000),
            preview_sha256=f"{dice.getrandbits(256):064x}",
            preview_bytes=dice.randrange(50_000, 65_000),
            seconds=round(dice.uniform(6, 9), 3),
        )


if __name__ == "__main__":
    main()
