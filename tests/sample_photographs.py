"""Photographs that an atlas was compared with, without photographs and without a network: activations as given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sample_records import MODEL_DIGEST

from core.atlas.activation_files import LayerActivations, PartActivations, pack
from core.atlas.evidence import ALBUM_PATH, Album, parts_of, photograph_digest
from core.atlas.image_records import (
    THUMBNAIL_RECORDS,
    ImagesRecord,
    LayerOfImages,
    ThumbnailRecord,
    activations_path,
    list_path,
    thumbnail_path,
)
from core.atlas.keys import key_of
from core.atlas.records import records_path, to_ndjson
from core.photographs.decoding import Box, file_digest
from core.photographs.listing import Listing, Photograph, Piece
from core.pictures.sheets import encode_webp
from core.store.store import DirectoryStore

SIZE = (64, 64)
_GRID = 4  # positions of a layer, in each direction


def compare(
    store: DirectoryStore,
    means: Mapping[str, NDArray[Any]],
    *,
    labels: Sequence[str | None] = (),
    publish: bool = True,
    parts: int = 2,
    source: Path = Path("nowhere"),
    equal: Mapping[int, int] = MappingProxyType({}),
) -> Album:
    """Write the activations of layers on photographs, as a build with images leaves them.

    Args:
        means: layer -> mean activations, shape (image, channel). Peaks are twice as large, at positions in turn.
        labels: the class of each photograph.
        parts: number of files.
        source: the folder of the photographs `00000.jpg` and so on, if there is one.
        equal: number of a photograph -> number of one whose file has the same bytes.
    """
    count = len(next(iter(means.values())))
    labels = list(labels) or [None] * count
    files = [source / f"{number:05d}.jpg" for number in range(count)]
    sizes = [file.stat().st_size if file.exists() else 100 for file in files]
    pieces = map(Piece, (file.name for file in files), sizes)
    listing = Listing(tuple(map(Photograph, pieces, labels)))
    album = Album(
        list=listing.digest,
        source=str(source),
        version=None,
        limit=None,
        labels="folders" if any(labels) else None,
        publish=publish,
        part_images=-(-count // parts),
        model_digest=MODEL_DIGEST,
        size=SIZE,
    )
    store.replace(list_path(listing.digest), listing.to_json())
    store.replace(ALBUM_PATH, album.model_dump_json().encode())
    for part in parts_of(listing, album.part_images):
        rows = np.arange(len(part.photographs))
        data = pack(
            PartActivations(
                rows.astype(np.int32),
                np.array([_digest(files[equal.get(part.first + row, part.first + row)]) for row in rows], np.uint64),
                {layer: _activations(values[part.first + rows], part.first) for layer, values in means.items()},
            )
        )
        record = ImagesRecord(
            key=key_of([part.digest, publish]),
            part=part.digest,
            count=len(part.photographs),
            model="efficientnet-lite0",
            model_digest=MODEL_DIGEST,
            size=SIZE,
            layers={
                layer: LayerOfImages(channels=values.shape[1], height=_GRID, width=_GRID, field=(10, 10, 10, 10))
                for layer, values in means.items()
            },
            activations_sha256=hashlib.sha256(data).hexdigest(),
            activations_bytes=len(data),
            seconds=1.0,
            device="CPU x86_64",
            versions={"isthmus": "0.1.0"},
        )
        store.replace(activations_path(record.key), data)
        store.replace(records_path(f"images-{record.key}"), to_ndjson([record]))
    return album


def _digest(file: Path) -> int:
    return file_digest(file.read_bytes() if file.exists() else file.name.encode())


def _activations(means: NDArray[Any], first: int) -> LayerActivations:
    positions = (first + np.arange(means.size).reshape(means.shape)) % _GRID**2
    return LayerActivations(means.astype(np.float32), 2 * means.astype(np.float32), positions)


def make_pictures(
    store: DirectoryStore, listing: Listing, wanted: Iterable[tuple[int, Box | None]], caption: str | None = None
) -> None:
    """Write small pictures: each photograph has a colour of its own, and its parts are lighter."""
    records = []
    for number, box in wanted:
        colour = np.random.default_rng(number).integers(0, 160, 3) + (60 if box else 0)
        data = encode_webp(np.broadcast_to(colour.astype(np.uint8), (96, 96, 3)).copy())
        sha256 = hashlib.sha256(data).hexdigest()
        store.replace(thumbnail_path(sha256), data)
        photograph = photograph_digest(listing.photographs[number])
        records.append(
            ThumbnailRecord(photograph=photograph, size=SIZE, box=box, sha256=sha256, bytes=len(data), caption=caption)
        )
    store.replace(f"{THUMBNAIL_RECORDS}{key_of(len(records))}.ndjson", to_ndjson(records))
