"""Rendering a chunk: the one function that every engine calls, and that may be killed at any moment.

Sheets and previews are created first, the chunk's records last. A killed chunk leaves sheets without records, which
count for nothing; the next run renders their pairs again.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core import METHOD_VERSION, device, pace, sheets
from core.errors import ModelError
from core.models import digest, load
from core.plan import ChunkOrder, PlannedPair, settings_digest
from core.records import Checkpoint, Picture, Record, preview_path, sheet_path, to_ndjson
from core.spec import ModelSpec, RenderSettings
from core.store import DirectoryStore

if TYPE_CHECKING:
    from core.strip import Strip, StripRenderer

_HISTORY = 64  # values in a record's history of the objective


@dataclass(frozen=True)
class ChunkResult:
    """What became of a chunk; seconds include everything."""

    done: int
    failed: int
    seconds: float


def render_chunk(order: ChunkOrder, store: DirectoryStore) -> ChunkResult:
    """Render the pairs of a chunk and commit their records.

    Raises:
        ModelError: if the model here is not the one that the plan was made with.
        StoreError: if the store cannot be written.
    """
    started = time.perf_counter()
    where = device.prepare()
    if digest(load(order.model)) != order.model_digest:
        raise ModelError(f"model {order.model.name}: expected the weights that the plan was made with, found others")
    records = []
    for planned in order.chunk.pairs:
        layers = (planned.pair.a.layer, planned.pair.b.layer)
        [strip] = renderer(order.model, layers, order.settings).render([planned.pair])
        records.append(_record(planned, strip, order, where, store))
    store.create(f"records/{order.chunk.name}.ndjson", to_ndjson(records))
    pace.remember(records)
    failed = sum(record.status == "failed" for record in records)
    return ChunkResult(len(records) - failed, failed, time.perf_counter() - started)


@lru_cache(maxsize=4)
def renderer(model: ModelSpec, layers: tuple[str, str], settings: RenderSettings) -> StripRenderer:
    """The renderer for a pair of layers, traced once per process."""
    from core.strip import StripRenderer

    return StripRenderer(load(model), layers, settings)


def _record(planned: PlannedPair, strip: Strip, order: ChunkOrder, where: str, store: DirectoryStore) -> Record:
    settings = order.settings
    facts: dict[str, Any] = {
        "key": planned.key,
        "a": str(planned.pair.a),
        "b": str(planned.pair.b),
        "method": METHOD_VERSION,
        "model": order.model.name,
        "model_digest": order.model_digest,
        "settings": settings.model_dump(mode="json"),
        "settings_digest": settings_digest(settings),
        "seed": settings.seed,
        "frames": settings.frames,
        "size_px": settings.size_px,
        "seconds": round(strip.seconds, 3),
        "device": where,
        "versions": device.versions(),
    }
    if strip.failed_at is not None:
        reason = _reason(strip.objective, strip.failed_at)
        return Record(**facts, status="failed", reason=reason)
    return Record(
        **facts,
        **_store_picture(store, planned.key, None, strip.frames).model_dump(),
        status="done",
        checkpoints=[
            *(
                Checkpoint(
                    step=step,
                    objective=float(strip.objective[step - 1]),
                    picture=_store_picture(store, planned.key, step, frames),
                )
                for step, frames in strip.checkpoints.items()
            ),
            Checkpoint(step=settings.steps, objective=float(strip.objective[-1])),
        ],
        activation_a=strip.activation_a.tolist(),
        activation_b=strip.activation_b.tolist(),
        neighbour_distance=strip.neighbour_distance.tolist(),
        layer_distance={layer: distance.tolist() for layer, distance in strip.layer_distance.items()},
        history=[float(part.mean()) for part in np.array_split(strip.objective, min(_HISTORY, settings.steps))],
    )


def _store_picture(store: DirectoryStore, key: str, step: int | None, frames: NDArray[np.float32]) -> Picture:
    pixels = sheets.pack(frames)
    sheet = _create(store, sheet_path(key, step), sheets.encode_png(pixels))
    preview = _create(store, preview_path(key, step), sheets.encode_webp(pixels))
    return Picture(
        sheet_sha256=hashlib.sha256(sheet).hexdigest(),
        sheet_bytes=len(sheet),
        preview_sha256=hashlib.sha256(preview).hexdigest(),
        preview_bytes=len(preview),
    )


def _create(store: DirectoryStore, path: str, data: bytes) -> bytes:
    """Write an object and give what is stored: what another run wrote before stays, and is what the record tells of."""
    return data if store.create(path, data) else store.read(path)


def _reason(objective: NDArray[np.float32], failed_at: int) -> str:
    finite = objective[: failed_at - 1]
    last = f"the last finite value was {finite[-1]:.6g}" if finite.size else "there was none before"
    return f"objective not finite at update {failed_at}; {last}"
