"""Rendering a chunk: the one function that every engine calls, and that may be killed at any moment.

Sheets and previews are created first, while the next pairs are rendered, and the chunk's records last, when all of
them are stored. A killed chunk leaves sheets without records, which count for nothing; the next run renders their
pairs again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from core import METHOD_VERSION, device, pace, sheets
from core.errors import ModelError
from core.models import digest, load
from core.packing import Packing
from core.plan import ChunkOrder, PlannedPair, settings_digest
from core.records import (
    Checkpoint,
    Picture,
    Record,
    from_ndjson,
    preview_path,
    records_path,
    sheet_path,
    to_ndjson,
)
from core.spec import ModelSpec, RenderSettings
from core.store import Store
from core.threads import in_threads

if TYPE_CHECKING:
    from core.strip import Strip

_HISTORY = 64  # values in a record's history of the objective
_SAMPLES = 2  # of a chunk's strips are shown to people
_STORING_THREADS = 4  # a strip is encoded and stored while the next ones are rendered


@dataclass(frozen=True)
class ChunkResult:
    """What became of a chunk.

    Attributes:
        seconds: of rendering.
        failures: a line for each failed pair.
        samples: paths of some finished previews.
    """

    done: int
    failed: int
    seconds: float
    failures: tuple[str, ...]
    samples: tuple[str, ...]

    @classmethod
    def of(cls, records: Sequence[Record]) -> ChunkResult:
        """What the records of a chunk say."""
        failed = [record for record in records if record.status == "failed"]
        done = [record for record in records if record.status == "done"]
        return cls(
            done=len(done),
            failed=len(failed),
            seconds=sum(record.seconds for record in records),
            failures=tuple(f"{record.a} - {record.b}: {record.reason}" for record in failed),
            samples=tuple(preview_path(record.key) for record in done[:_SAMPLES]),
        )

    @property
    def words(self) -> str:
        """For the log."""
        rendered = self.done + self.failed
        said = f"{rendered} pairs in {self.seconds:.1f} s, {self.seconds / rendered:.2f} s each"
        return f"{said}; {self.failed} failed: {self.failures[0]}" if self.failed else said


def render_chunk(order: ChunkOrder, store: Store, pack: int | Literal["auto"] = "auto") -> ChunkResult:
    """Render the pairs of a chunk and commit their records.

    Args:
        pack: how many pairs share a batch; auto: as many as suit the device.

    Raises:
        ModelError: if the model here is not the one that the plan was made with.
        DeviceError: if the device's memory does not suffice for one pair.
        StoreError: if the store cannot be written.
    """
    if store.exists(records_path(order.chunk.name)):  # another build was faster
        return read_result(store, order.chunk.name)
    where = device.prepare()
    if digest(load(order.model)) != order.model_digest:
        raise ModelError(
            f"model {order.model.name}: expected the weights that the plan was made with, found others; "
            "give every machine the same file"
        )
    finished = in_threads(
        lambda rendered: _record(*rendered, order, where, store),
        _strips(order, pack),
        threads=_STORING_THREADS,
        held=_STORING_THREADS,
    )
    records = list(finished)  # every picture is stored then
    store.create(records_path(order.chunk.name), to_ndjson(records))
    pace.remember(records)
    return ChunkResult.of(records)


def read_result(store: Store, chunk: str) -> ChunkResult:
    """What became of a chunk that somebody else has rendered."""
    path = records_path(chunk)
    return ChunkResult.of(list(from_ndjson(store.read(path), path)))


def _strips(order: ChunkOrder, pack: int | Literal["auto"]) -> Iterator[tuple[PlannedPair, Strip]]:
    """Render pairs; those of the same layers follow one another, and share batches."""
    for layers, members in groupby(order.chunk.pairs, lambda planned: planned.pair.layers):
        yield from _packing(order.model, layers, order.settings, pack).render(list(members))


@lru_cache(maxsize=4)
def _packing(
    model: ModelSpec, layers: tuple[str, str], settings: RenderSettings, pack: int | Literal["auto"]
) -> Packing:
    """The renderers for a pair of layers, traced once per process."""
    from core.strip import StripRenderer

    return Packing(lambda strips: StripRenderer(load(model), layers, settings, strips=strips), pack)


def _record(planned: PlannedPair, strip: Strip, order: ChunkOrder, where: str, store: Store) -> Record:
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


def _store_picture(store: Store, key: str, step: int | None, frames: NDArray[np.float32]) -> Picture:
    pixels = sheets.pack(frames)
    sheet = _create(store, sheet_path(key, step), sheets.encode_png(pixels))
    preview = _create(store, preview_path(key, step), sheets.encode_webp(pixels))
    return Picture(
        sheet_sha256=hashlib.sha256(sheet).hexdigest(),
        sheet_bytes=len(sheet),
        preview_sha256=hashlib.sha256(preview).hexdigest(),
        preview_bytes=len(preview),
    )


def _create(store: Store, path: str, data: bytes) -> bytes:
    """Write an object and give what is stored: what another run wrote before stays, and is what the record tells of."""
    return data if store.create(path, data) else store.read(path)


def _reason(objective: NDArray[np.float32], failed_at: int) -> str:
    finite = objective[: failed_at - 1]
    last = f"the last finite value was {finite[-1]:.6g}" if finite.size else "there was none before"
    return f"objective not finite at update {failed_at}; {last}"
