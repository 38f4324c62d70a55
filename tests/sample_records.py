"""Records, specs and small atlases that are written by hand, without rendering anything."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from core import METHOD_VERSION
from core.atlas.chunks import PlannedPair
from core.atlas.keys import settings_digest
from core.atlas.records import Checkpoint, Record, to_ndjson
from core.neurons import Neuron, Pair
from core.spec import AtlasSpec, RenderSettings
from core.spec_file import parse_spec
from core.store.store import DirectoryStore

MODEL_DIGEST = "0123456789abcdef" * 4
_MEASURED = {
    "reach_a": 3.0,
    "noise_a": 0.4,
    "kept_a": 1.0,
    "reach_b": 4.0,
    "noise_b": 0.5,
    "kept_b": 1.0,
    "crossing": 0.63,
    "pace": 1.5,
}


def make_record(planned: PlannedPair, status: str = "done", **changes: Any) -> Record:
    """Return the record that a chunk writes of a planned pair, without a sheet."""
    render = RenderSettings(frames=3, size_px=64)
    done = status == "done"
    facts: dict[str, Any] = {
        "key": planned.key,
        "a": str(planned.pair.a),
        "b": str(planned.pair.b),
        "status": status,
        "reason": None if done else "objective not finite at update 3; the last finite value was 1.5",
        "method": METHOD_VERSION,
        "model": "efficientnet-lite0",
        "model_digest": MODEL_DIGEST,
        "settings": render.model_dump(mode="json"),
        "settings_digest": settings_digest(render),
        "seed": render.seed,
        "frames": render.frames,
        "size_px": render.size_px,
        "checkpoints": [Checkpoint(step=render.steps, objective=12.5)] if done else [],
        "activation_a": [3.0, 2.0, 0.5] if done else [],
        "activation_b": [0.25, 1.5, 4.0] if done else [],
        "neighbour_distance": [0.01, 0.02] if done else [],
        **(_MEASURED if done else {}),
        "seconds": 2.0,
        "device": "CPU x86_64",
        "versions": {"isthmus": "0.1.0"},
    }
    return Record(**facts | changes)


def make_spec(neurons: Iterable[str] = ("block5:0-4",), **changes: Any) -> AtlasSpec:
    """Return a spec of all pairs among the neurons."""
    return parse_spec({"name": "small", "pairs": {"select": "all", "neurons": list(neurons)}, **changes}, "here")


def record_of(a: str, b: str, status: str = "done", **changes: Any) -> Record:
    """Return a record of two neurons, with a key that is made of their names."""
    key = hashlib.sha256(f"{a} {b}".encode()).hexdigest()[:20]
    return make_record(PlannedPair(Pair(Neuron.parse(a), Neuron.parse(b)), key), status, **changes)


RECORDS = [
    record_of("block10:3", "block10:4"),
    record_of("block9:10", "block10:0", "failed"),
    record_of("block9:9", "block10:12"),
    record_of("block9:9", "block10:5"),
    record_of("block9:9", "block9:10", settings={"frames": 4, "size_px": 32, "steps": 8}, settings_digest="f" * 20),
]


def atlas(root: Path, *files: Sequence[Record]) -> DirectoryStore:
    """Return a store that holds these record files."""
    store = DirectoryStore(root)
    for number, records in enumerate(files):
        store.create(f"records/{number}.ndjson", to_ndjson(records))
    return store
