"""Rendering a chunk: the one function that every engine calls, and that may be killed at any moment.

Sheets and previews are stored first, while the next pairs are rendered. The chunk's records are stored last, after all
its pictures. A killed chunk leaves sheets without records, which do not count: the next run renders their pairs again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from core import METHOD_VERSION
from core.arrays import Array, BatchSize
from core.atlas import pace
from core.atlas.chunks import PlannedChunk, PlannedPair
from core.atlas.image_records import ImagesRecord, images_from_ndjson
from core.atlas.keys import direction_digests, settings_digest
from core.atlas.records import (
    BLOCK_RECORDS,
    IMAGE_RECORDS,
    PORTRAIT_RECORDS,
    AnyRecord,
    Checkpoint,
    Key,
    Picture,
    PortraitRecord,
    Record,
    blocks_from_ndjson,
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
from core.neurons import Neuron
from core.pictures import sheets
from core.pictures.portrait import Portrait
from core.rendering import history
from core.rendering.batches import at_most
from core.rendering.block_chunk import render_block
from core.rendering.image_chunk import read_images
from core.rendering.portrait_chunk import render_canvas, render_portraits
from core.rendering.portrait_files import read_portrait
from core.rendering.renderers import Strips, renderer_for
from core.store.store import Store, keep

if TYPE_CHECKING:
    from core.method.strip import Strip
    from core.method.walk_strip import Walk

What = Literal["pairs", "portraits", "blocks", "images"]
_SAMPLES = 2  # strips of a chunk that the build's summary may show
_HELD_PORTRAITS = 64
_STORING_THREADS = 4  # encode and store strips while the next ones are rendered


@dataclass(frozen=True)
class ChunkResult:
    """The outcome of a chunk.

    Attributes:
        chunk: name of the chunk.
        what: the items of the chunk; blocks are those of a land. Images that are no photographs are not failures.
        seconds: rendering time.
        failures: a line for each failed item.
        samples: paths of some finished previews.
        by_another_build: True if the chunk had records already when its turn came.
    """

    chunk: str
    what: What
    done: int
    failed: int
    seconds: float
    failures: tuple[str, ...]
    samples: tuple[str, ...]
    by_another_build: bool = False

    @classmethod
    def of_images(cls, chunk: str, record: ImagesRecord) -> ChunkResult:
        """Return the outcome that the record of a part of the photographs describes."""
        return cls(chunk, "images", record.count, 0, record.seconds, (), ())

    @classmethod
    def of(cls, chunk: str, records: Sequence[AnyRecord]) -> ChunkResult:
        """Return the outcome that the records of a chunk describe; a canvas counts as a portrait."""
        failed = [record for record in records if record.status == "failed"]
        pairs_done = [record for record in records if isinstance(record, Record) and record.status == "done"]
        return cls(
            chunk=chunk,
            what=_what(records[0]),
            done=len(records) - len(failed),
            failed=len(failed),
            seconds=sum(record.seconds for record in records),
            failures=tuple(f"{record.subject}: {record.reason}" for record in failed),
            samples=tuple(preview_path(record.key) for record in pairs_done[:_SAMPLES]),
        )

    @property
    def words(self) -> str:
        """One line for the log."""
        rendered = self.done + self.failed
        said = f"{rendered} {self.what} in {self.seconds:.1f} s, {self.seconds / rendered:.2f} s each"
        return f"{said}; {self.failed} failed: {self.failures[0]}" if self.failed else said


def _what(record: AnyRecord) -> What:
    if isinstance(record, Record):
        return "pairs"
    return "portraits" if isinstance(record, PortraitRecord) else "blocks"


def render_chunk(work: PlannedChunk, store: Store, batch_pairs: BatchSize = "auto") -> ChunkResult:
    """Render a chunk's pairs, portraits, canvas or block, or read its photographs, and commit its records.

    Args:
        batch_pairs: pairs, or portraits, in a batch; auto: the number that suits the device.

    Raises:
        ModelError: if the model on this machine is not the one that the plan was made with.
        DeviceError: if the device's memory does not suffice for one pair.
        RecordError: if a canvas, or a portrait that a strip begins or ends on, cannot be read.
        StoreError: if the store cannot be written.
    """
    name = work.chunk.name
    if store.exists(records_path(name)):
        return replace(read_result(store, name), by_another_build=True)
    device_name = device.prepare()
    if digest(load(work.model)) != work.model_digest:
        raise ModelError(
            f"model {work.model.name}: expected the weights that the plan was made with, found others; "
            "give every machine the same file"
        )
    if work.chunk.images is not None:
        record = read_images(work, work.chunk.images, device_name, store)
        first = store.create(records_path(name), to_ndjson([record]))
        return replace(ChunkResult.of_images(name, record), by_another_build=not first)
    records = _render(work, device_name, store, batch_pairs)  # returns when every picture is stored
    first = store.create(records_path(name), to_ndjson(records))
    return replace(ChunkResult.of(name, records), by_another_build=not first)


def read_result(store: Store, chunk: str) -> ChunkResult:
    """Return the outcome of a chunk that has records."""
    path = records_path(chunk)
    data = store.read(path)
    records: Sequence[AnyRecord]
    if path.startswith(IMAGE_RECORDS):
        return ChunkResult.of_images(chunk, next(images_from_ndjson(data, path)))
    if path.startswith(PORTRAIT_RECORDS):
        records = list(portraits_from_ndjson(data, path))
    elif path.startswith(BLOCK_RECORDS):
        records = list(blocks_from_ndjson(data, path))
    else:
        records = list(from_ndjson(data, path))
    return ChunkResult.of(chunk, records)


def _render(work: PlannedChunk, device_name: str, store: Store, batch_pairs: BatchSize) -> Sequence[AnyRecord]:
    chunk = work.chunk
    if chunk.block:
        return render_block(chunk.block, work, device_name, store)
    if chunk.portraits and chunk.canvas:
        return render_portraits(chunk.canvas, work, device_name, store, batch_pairs)
    if chunk.canvas:
        return render_canvas(chunk.canvas, work, device_name, store)
    batch = at_most(batch_pairs, work.settings.frames, work.settings.size_px)
    records = list(
        in_threads(
            lambda rendered: _record(*rendered, work, device_name, store),
            _strips(work, store, batch_pairs),
            threads=_STORING_THREADS,
            held=max(_STORING_THREADS, batch),  # the strips of a batch are finished together
        )
    )
    pace.remember(records)
    return records


def _strips(work: PlannedChunk, store: Store, batch_pairs: BatchSize) -> Iterator[tuple[PlannedPair, Strip | None]]:
    """Yield each pair with its strip, or with None if it cannot be rendered. Pairs of the same layers share batches."""
    from core.method.walk_strip import Walk

    @lru_cache(maxsize=_HELD_PORTRAITS)  # the pairs of a neuron follow one another
    def portrait(key: Key) -> Portrait:
        return read_portrait(store, key, work.settings.size_px)

    def walk(pair: PlannedPair) -> Walk:
        keys = dict(zip(pair.pair, pair.portraits, strict=True)) if pair.portraits else {}

        def portrait_of(neuron: Neuron) -> Portrait:
            return portrait(keys[neuron])

        return Walk(pair.pair, portrait_of)

    def alike(pair: PlannedPair) -> tuple[Strips, bool]:
        return Strips(pair.layers, pair.strip), pair.reason is None

    for (strips, possible), members in groupby(work.chunk.pairs, alike):
        pairs = list(members)
        if possible:
            renderer = renderer_for(strips, work.model, work.settings, batch_pairs)
            yield from zip(pairs, renderer.render([walk(pair) for pair in pairs]), strict=True)
        else:
            yield from ((pair, None) for pair in pairs)


def _record(pair: PlannedPair, strip: Strip | None, work: PlannedChunk, device_name: str, store: Store) -> Record:
    """Store a strip's pictures, unless it failed, and return its record."""
    settings = work.settings
    reason = pair.reason
    failed_at = strip.failed_at if strip is not None else None
    if strip is not None and failed_at is not None:
        reason = history.failure(strip.objective, failed_at)
    done = strip if strip is not None and reason is None else None
    picture = _store_picture(store, pair.key, None, done.frames) if done else None
    return Record(
        key=pair.key,
        a=str(pair.pair.a),
        b=str(pair.pair.b),
        status="done" if done else "failed",
        reason=reason,
        strip=pair.strip,
        portraits=pair.portraits,
        directions=_directions(pair, work),
        method=METHOD_VERSION,
        model=work.model.name,
        model_digest=work.model_digest,
        settings=settings.model_dump(mode="json"),
        settings_digest=settings_digest(settings),
        seed=settings.seed,
        frames=settings.frames,
        size_px=settings.size_px,
        checkpoints=_checkpoints(pair, done, work, store) if done else [],
        activation_a=done.activation_a.tolist() if done else [],
        activation_b=done.activation_b.tolist() if done else [],
        neighbour_distance=done.neighbour_distance.tolist() if done else [],
        layer_distance={layer: distance.tolist() for layer, distance in done.layer_distance.items()} if done else {},
        **(_figures(done) if done else {}),
        history=history.means(done.objective) if done else [],
        sheet_sha256=picture and picture.sheet_sha256,
        sheet_bytes=picture and picture.sheet_bytes,
        preview_sha256=picture and picture.preview_sha256,
        preview_bytes=picture and picture.preview_bytes,
        seconds=round(strip.seconds, 3) if strip else 0,
        device=device_name,
        versions=device.versions(),
    )


def _directions(pair: PlannedPair, work: PlannedChunk) -> tuple[Key | None, Key | None] | None:
    a, b = direction_digests(pair.pair, load(work.model).derived)
    return (a, b) if a or b else None


def _figures(strip: Strip) -> dict[str, float | None]:
    """Return the fields of the record that say how good the strip is."""
    (reach_a, reach_b), (kept_a, kept_b), (noise_a, noise_b) = strip.reach, strip.kept, strip.noise
    return {
        "crossing": strip.crossing,
        "pace": strip.pace,
        "reach_a": reach_a,
        "reach_b": reach_b,
        "kept_a": kept_a,
        "kept_b": kept_b,
        "noise_a": noise_a,
        "noise_b": noise_b,
    }


def _checkpoints(pair: PlannedPair, strip: Strip, work: PlannedChunk, store: Store) -> list[Checkpoint]:
    """Store the strip's pictures at its checkpoints and return them; the finished strip is the last one."""
    kept = [
        Checkpoint(
            step=step,
            objective=strip.checkpoint_objective[step],
            picture=_store_picture(store, pair.key, step, frames),
        )
        for step, frames in strip.checkpoints.items()
    ]
    return [*kept, Checkpoint(step=work.settings.steps, objective=float(strip.objective[-1]))]


def _store_picture(store: Store, key: Key, step: int | None, frames: Array) -> Picture:
    pixels = sheets.side_by_side(frames)
    sheet = keep(store, sheet_path(key, step), sheets.encode_png(pixels))
    preview = keep(store, preview_path(key, step), sheets.encode_preview(pixels, len(frames)))
    return Picture(
        sheet_sha256=hashlib.sha256(sheet).hexdigest(),
        sheet_bytes=len(sheet),
        preview_sha256=hashlib.sha256(preview).hexdigest(),
        preview_bytes=len(preview),
    )
