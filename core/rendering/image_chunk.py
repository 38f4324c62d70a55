"""Reading a part of the photographs: its activations and its record.

Photographs are read and decoded in threads while the network computes. Files that are no photographs leave their place
in a batch empty, so that the others stay in theirs.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from core.arrays import Pixels
from core.atlas.activation_files import LayerActivations, PartActivations, pack
from core.atlas.chunks import PlannedChunk
from core.atlas.image_plan import BATCH, PlannedImages
from core.atlas.image_records import ImagesRecord, LayerOfImages, activations_path
from core.errors import DeviceError, SpecError
from core.machine import device
from core.machine.threads import in_threads
from core.models.models import load
from core.photographs.decoding import check_size, decoded, file_digest, without_warnings
from core.photographs.listing import GONE, Photograph, UnreadableError
from core.photographs.source import Source, open_source
from core.spec import ModelSpec
from core.store.store import Store, keep

if TYPE_CHECKING:
    from core.method.image_reader import ImageReader, Read

Kept = tuple[tuple[str, tuple[int, ...]], ...]
_THREADS = 4
_HELD = 3 * BATCH  # photographs in memory
_NOT_FINITE = "the network's activations are not numbers"


@dataclass(frozen=True)
class _Decoded:
    """A photograph of the network's size with the digest of its file, or the reason why there is none."""

    pixels: Pixels | None = None
    digest: int = 0
    reason: str = ""


def read_images(work: PlannedChunk, planned: PlannedImages, device_name: str, store: Store) -> ImagesRecord:
    """Compute the activations of some layers on a part of the photographs, store them and return the record.

    Raises:
        ModelError: if the network does not take images of its size.
        SpecError: if the source does not exist, or has none of the photographs.
        StoreError: if the source cannot be read, or the store cannot be written.
    """
    started = time.perf_counter()
    reader = _reader(work.model, planned.layers, _kept(planned), planned.size)
    source = open_source(planned.source, planned.storage)
    rows: list[int] = []
    digests: list[int] = []
    skipped: list[tuple[int, str]] = []
    batches: list[dict[str, LayerActivations]] = []
    shapes: dict[str, tuple[int, int, int]] = {}
    for first, batch in _batches(source, planned):
        found = _read_batch(reader, batch, planned.size)
        kept = [place for place, each in enumerate(batch) if each.pixels is not None and _is_finite(found, place)]
        left_out = sorted(set(range(len(batch))) - set(kept))
        skipped += [(first + place, batch[place].reason or _NOT_FINITE) for place in left_out]
        rows += [first + place for place in kept]
        digests += [batch[place].digest for place in kept]
        batches.append({layer: _rows(read, kept) for layer, read in found.items()})
        shapes = {layer: (read.mean.shape[1], read.height, read.width) for layer, read in found.items()}
    _check_there(planned, skipped)
    layers = {layer: _joined([batch[layer] for batch in batches]) for layer in planned.layers}
    part = PartActivations(np.array(rows, np.int32), np.array(digests, np.uint64), layers)
    data = keep(store, activations_path(planned.key), pack(part))
    fields = _fields(work.model, planned.layers, _kept(planned), planned.size)
    return ImagesRecord(
        key=planned.key,
        part=planned.part,
        count=len(planned.photographs),
        model=work.model.name,
        model_digest=work.model_digest,
        size=planned.size,
        layers={
            layer: LayerOfImages(
                channels=channels,
                height=height,
                width=width,
                field=fields[layer],
                directions=planned.directions.get(layer),
            )
            for layer, (channels, height, width) in shapes.items()
        },
        skipped=tuple(skipped),
        activations_sha256=hashlib.sha256(data).hexdigest(),
        activations_bytes=len(data),
        seconds=round(time.perf_counter() - started, 3),
        device=device_name,
        versions=device.versions(),
    )


def _check_there(planned: PlannedImages, skipped: Sequence[tuple[int, str]]) -> None:
    """Make sure that the source has photographs, because a folder whose disk is not mounted is empty.

    Raises:
        SpecError: if it has none of this part.
    """
    gone = sum(reason == GONE for _, reason in skipped)
    if gone == len(planned.photographs):
        raise SpecError(
            f"images.source {planned.source}: expected the photographs that were there when the build began, found "
            f"none of {gone:,}; every machine needs them at this address"
        )


def _batches(source: Source, planned: PlannedImages) -> Iterator[tuple[int, list[_Decoded]]]:
    """Yield the decoded photographs in batches, each with the place of its first one in the part."""

    def read(photograph: Photograph) -> _Decoded:
        try:
            check_size(photograph.file.bytes)
            data = source.read(photograph.file)
            pixels = decoded(data, planned.size)
        except UnreadableError as error:
            return _Decoded(reason=str(error))
        return _Decoded(pixels, file_digest(data))

    batch: list[_Decoded] = []
    first = 0
    with without_warnings():
        for each in in_threads(read, planned.photographs, threads=_THREADS, held=_HELD):
            batch.append(each)
            if len(batch) == BATCH:
                yield first, batch
                first, batch = first + BATCH, []
        if batch:
            yield first, batch


def _read_batch(reader: ImageReader, batch: list[_Decoded], size: tuple[int, int]) -> dict[str, Read]:
    from tensorflow.errors import ResourceExhaustedError

    images = np.zeros((BATCH, *size, 3), np.uint8)
    for place, each in enumerate(batch):
        if each.pixels is not None:
            images[place] = each.pixels
    try:
        return reader(images)
    except ResourceExhaustedError:
        raise DeviceError(
            f"the memory of the device does not suffice for {BATCH} photographs of {size[0]} x {size[1]} px; "
            "let fewer processes work, compute.processes"
        ) from None


def _is_finite(found: dict[str, Read], place: int) -> bool:
    return all(np.isfinite(read.mean[place]).all() and np.isfinite(read.peak[place]).all() for read in found.values())


def _rows(read: Read, places: list[int]) -> LayerActivations:
    return LayerActivations(read.mean[places], read.peak[places], read.position[places])


def _joined(batches: list[LayerActivations]) -> LayerActivations:
    return LayerActivations(
        np.concatenate([batch.mean for batch in batches]),
        np.concatenate([batch.peak for batch in batches]),
        np.concatenate([batch.position for batch in batches]),
    )


def _kept(planned: PlannedImages) -> Kept:
    """Return the derived layers of a part, and the channels of each that are kept."""
    return tuple((layer, tuple(sorted(directions))) for layer, directions in planned.directions.items())


@lru_cache(maxsize=1)
def _reader(model: ModelSpec, layers: tuple[str, ...], kept: Kept, size: tuple[int, int]) -> ImageReader:
    """Return a reader, which is traced once per process."""
    from core.method.image_reader import ImageReader

    return ImageReader(load(model), layers, dict(kept), size, BATCH)


@lru_cache(maxsize=1)
def _fields(
    model: ModelSpec, layers: tuple[str, ...], kept: Kept, size: tuple[int, int]
) -> dict[str, tuple[int, int, int, int]]:
    """Return layer -> receptive field, computed once per process."""
    return _reader(model, layers, kept, size).fields()
