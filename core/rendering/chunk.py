"""Rendering a chunk: the one function that every engine calls, and that may be killed at any moment.

What a chunk holds, pairs, portraits or a canvas, stands in its order; this module renders the pairs, and leaves the
rest to `portrait_chunk`.

Sheets and previews are created first, while the next pairs are rendered, and the chunk's records last, when all of
them are stored. A killed chunk leaves sheets without records, which count for nothing; the next run renders their
pairs again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from core import METHOD_VERSION
from core.arrays import BatchSize
from core.atlas import pace
from core.atlas.chunks import PlannedChunk, PlannedPair
from core.atlas.keys import settings_digest
from core.atlas.records import (
    PORTRAIT_RECORDS,
    Checkpoint,
    Key,
    Picture,
    PortraitRecord,
    Record,
    from_ndjson,
    portraits_from_ndjson,
    preview_path,
    records_path,
    sheet_path,
    to_ndjson,
)
from core.errors import ModelError
from core.machine import device
from core.machine.threads import in_threads
from core.models.models import digest, load
from core.pictures import sheets
from core.pictures.portrait import Portrait
from core.rendering import history
from core.rendering.batches import at_most
from core.rendering.portrait_chunk import render_canvas, render_portraits
from core.rendering.portrait_files import read_portrait
from core.rendering.renderers import pair_packing, walk_packing
from core.store.store import Store, keep

if TYPE_CHECKING:
    from core.method.strip import Strip
    from core.method.walk_strip import Walk

_SAMPLES = 2  # of a chunk's strips are shown to people
_HELD_PORTRAITS = 64
_STORING_THREADS = 4  # a strip is encoded and stored while the next ones are rendered


@dataclass(frozen=True)
class ChunkResult:
    """What became of a chunk.

    Attributes:
        what: it held.
        seconds: of rendering.
        failures: a line for each failed pair or portrait.
        samples: paths of some finished previews.
    """

    what: Literal["pairs", "portraits"]
    done: int
    failed: int
    seconds: float
    failures: tuple[str, ...]
    samples: tuple[str, ...]

    @classmethod
    def of(cls, records: Sequence[Record | PortraitRecord]) -> ChunkResult:
        """What the records of a chunk say; a canvas counts as a portrait."""
        failed = [record for record in records if record.status == "failed"]
        pairs_done = [record for record in records if isinstance(record, Record) and record.status == "done"]
        return cls(
            what="pairs" if isinstance(records[0], Record) else "portraits",
            done=len(records) - len(failed),
            failed=len(failed),
            seconds=sum(record.seconds for record in records),
            failures=tuple(f"{record.subject}: {record.reason}" for record in failed),
            samples=tuple(preview_path(record.key) for record in pairs_done[:_SAMPLES]),
        )

    @property
    def words(self) -> str:
        """For the log."""
        rendered = self.done + self.failed
        said = f"{rendered} {self.what} in {self.seconds:.1f} s, {self.seconds / rendered:.2f} s each"
        return f"{said}; {self.failed} failed: {self.failures[0]}" if self.failed else said


def render_chunk(order: PlannedChunk, store: Store, batch_pairs: BatchSize = "auto") -> ChunkResult:
    """Render what a chunk holds and commit its records.

    Args:
        batch_pairs: how many pairs, or portraits, share a batch; auto: as many as suit the device.

    Raises:
        ModelError: if the model here is not the one that the plan was made with.
        DeviceError: if the device's memory does not suffice for one pair.
        RecordError: if a portrait that a strip begins or ends on cannot be read, or a canvas.
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
    records = _render(order, where, store, batch_pairs)  # every picture is stored then
    store.create(records_path(order.chunk.name), to_ndjson(records))
    return ChunkResult.of(records)


def read_result(store: Store, chunk: str) -> ChunkResult:
    """What became of a chunk that somebody else has rendered."""
    path = records_path(chunk)
    parse = portraits_from_ndjson if path.startswith(PORTRAIT_RECORDS) else from_ndjson
    return ChunkResult.of(list(parse(store.read(path), path)))


def _render(order: PlannedChunk, where: str, store: Store, batch_pairs: BatchSize) -> Sequence[Record | PortraitRecord]:
    chunk = order.chunk
    if chunk.portraits and chunk.canvas:
        return render_portraits(chunk.canvas, order, where, store, batch_pairs)
    if chunk.canvas:
        return render_canvas(chunk.canvas, order, where, store)
    batch = at_most(batch_pairs, order.settings.frames, order.settings.size_px)
    records = list(
        in_threads(
            lambda rendered: _record(*rendered, order, where, store),
            _strips(order, store, batch_pairs),
            threads=_STORING_THREADS,
            held=max(_STORING_THREADS, batch),  # its strips come all at once
        )
    )
    pace.remember(records)
    return records


def _strips(order: PlannedChunk, store: Store, batch_pairs: BatchSize) -> Iterator[tuple[PlannedPair, Strip | None]]:
    """Render pairs; those of the same layers follow one another, and share batches. None where it cannot be done."""

    @lru_cache(maxsize=_HELD_PORTRAITS)  # the pairs of a neuron follow one another
    def portrait(key: Key) -> Portrait:
        return read_portrait(store, key, order.settings.size_px)

    for (layers, possible), members in groupby(order.chunk.pairs, lambda one: (one.pair.layers, one.reason is None)):
        alike = list(members)
        if not possible:
            yield from ((planned, None) for planned in alike)
        elif alike[0].portraits is None:
            packing = pair_packing(order.model, layers, order.settings, batch_pairs)
            yield from zip(alike, packing.render([planned.pair for planned in alike]), strict=True)
        else:
            walks = [_walk(planned, portrait) for planned in alike]
            yield from zip(
                alike, walk_packing(order.model, layers, order.settings, batch_pairs).render(walks), strict=True
            )


def _walk(planned: PlannedPair, portrait: Callable[[Key], Portrait]) -> Walk:
    from core.method.walk_strip import Walk

    keys = dict(zip(planned.pair, planned.portraits or (), strict=True))
    return Walk(planned.pair, lambda neuron: portrait(keys[neuron]))


def _record(planned: PlannedPair, strip: Strip | None, order: PlannedChunk, where: str, store: Store) -> Record:
    settings = order.settings
    facts: dict[str, Any] = {
        "key": planned.key,
        "a": str(planned.pair.a),
        "b": str(planned.pair.b),
        "strip": "pair" if planned.portraits is None else "walk",
        "portraits": planned.portraits,
        "method": METHOD_VERSION,
        "model": order.model.name,
        "model_digest": order.model_digest,
        "settings": settings.model_dump(mode="json"),
        "settings_digest": settings_digest(settings),
        "seed": settings.seed,
        "frames": settings.frames,
        "size_px": settings.size_px,
        "seconds": round(strip.seconds, 3) if strip else 0,
        "device": where,
        "versions": device.versions(),
    }
    if strip is None:
        return Record(**facts, status="failed", reason=planned.reason)
    if strip.failed_at is not None:
        reason = history.failure(strip.objective, strip.failed_at)
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
        history=history.means(strip.objective),
    )


def _store_picture(store: Store, key: str, step: int | None, frames: NDArray[np.float32]) -> Picture:
    pixels = sheets.side_by_side(frames)
    sheet = keep(store, sheet_path(key, step), sheets.encode_png(pixels))
    preview = keep(store, preview_path(key, step), sheets.encode_webp(pixels))
    return Picture(
        sheet_sha256=hashlib.sha256(sheet).hexdigest(),
        sheet_bytes=len(sheet),
        preview_sha256=hashlib.sha256(preview).hexdigest(),
        preview_bytes=len(preview),
    )
