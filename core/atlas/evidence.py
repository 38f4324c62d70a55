"""Evidence: the recorded activations of neurons on photographs, in order of the atlas's list of photographs.

For every photograph and channel two numbers are kept: the mean over the layer's positions, which is what a strip's
records have for its frames, and the peak, the largest value of any position, with its place.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.arrays import Array
from core.atlas.activation_files import LayerActivations, unpack
from core.atlas.image_records import ImagesRecord, LayerOfImages, activations_path, images_from_ndjson, list_path
from core.atlas.keys import canonical_json, key_of, short_digest
from core.atlas.records import IMAGE_RECORDS, Key
from core.errors import RecordError, first_mistake
from core.neurons import Neuron
from core.photographs.listing import Listing, Photograph, Piece
from core.store.store import Store

ALBUM_PATH = "plan/images.json"
"""Path of what a build says about the photographs of the atlas."""


class Album(BaseModel):
    """The photographs of an atlas: which list of which source, and how it is cut into parts.

    `version` changes when the source does, if the source has such a text. `part_images` is the number of photographs in
    a part, except the last one; it never changes, so that a part that is recorded is found again. `directions` has the
    derived layers whose neurons were asked for last: channel -> digest of its direction.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    list: Key
    source: str
    version: str | None
    limit: int | None
    labels: Literal["folders"] | None
    publish: bool
    part_images: Annotated[int, Field(ge=1)]
    model_digest: str
    size: tuple[int, int]
    directions: dict[str, dict[int, str]] = {}


@dataclass(frozen=True)
class Part:
    """Photographs that share a file of activations.

    Attributes:
        first: number of the first photograph.
    """

    digest: Key
    first: int
    photographs: tuple[Photograph, ...]


@dataclass(frozen=True)
class Evidence:
    """Recorded activations on the photographs of an atlas.

    Attributes:
        layers: the layers that are recorded for all parts.
        skipped: number of a photograph that does not count -> the reason.
    """

    album: Album
    listing: Listing
    parts: tuple[Part, ...]
    records: Mapping[tuple[Key, str], ImagesRecord]
    layers: Mapping[str, LayerOfImages]
    skipped: Mapping[int, str]

    @property
    def count(self) -> int:
        """The number of photographs that count."""
        return len(self.listing.photographs) - len(self.skipped)

    def has(self, neuron: Neuron) -> bool:
        """Return whether the activations of a neuron are recorded for all photographs."""
        layer = self.layers.get(neuron.layer)
        if layer is None or layer.directions is None:
            return layer is not None and neuron.channel < layer.channels
        return neuron.channel in self.album.directions[neuron.layer]

    @property
    def digest(self) -> str:
        """The digest of everything that is recorded: equal digests mean equal numbers."""
        keys = {record.key: record.activations_sha256 for record in self.records.values()}
        directions = {layer: sorted(each.items()) for layer, each in self.album.directions.items()}
        return key_of({"list": self.album.list, "records": keys, "directions": directions})

    def left_out_csv(self) -> bytes:
        """Return the table of files that are left out, in the columns file and reason."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("file", "reason"))
        photographs = self.listing.photographs
        writer.writerows((photographs[number].file.path, reason) for number, reason in self.skipped.items())
        writer.writerows(self.listing.refused)
        return text.getvalue().encode()

    def rows(self, part: Part) -> NDArray[np.int32]:
        """Return the places in a part of the photographs that count."""
        places = (place for place in range(len(part.photographs)) if part.first + place not in self.skipped)
        return np.fromiter(places, np.int32)


@dataclass(frozen=True)
class Responses:
    """Activations of some neurons on some photographs.

    Attributes:
        numbers: numbers of the photographs in the list, ascending, shape (image,).
        mean: mean activation over the positions of the layer, float32, shape (image, neuron).
        peak: the largest activation of a position, float32, shape (image, neuron).
        position: where the peak is, row * width + column among the positions of the layer, shape (image, neuron).
        digests: the first 64 bits of the sha256 of each file, shape (image,); equal files are equal photographs.
    """

    numbers: NDArray[np.int32]
    mean: Array
    peak: Array
    position: NDArray[np.int32]
    digests: NDArray[np.uint64]


def first_ones(digests: NDArray[np.uint64], known: set[int]) -> NDArray[np.bool_]:
    """Return which photographs are neither known nor equal to one before them, shape (image,), and make all known.

    Args:
        digests: of their files, shape (image,).
        known: digests of the photographs before.
    """
    found = np.zeros(len(digests), bool)
    for place, digest in enumerate(digests.tolist()):
        found[place] = digest not in known
        known.add(digest)
    return found


def part_digest(photographs: Iterable[Photograph]) -> str:
    """Return the digest of photographs in a sequence; where they stand in a list does not matter."""
    return short_digest("\n".join(map(photograph_digest, photographs)).encode())


def photograph_digest(photograph: Photograph) -> str:
    """Return the digest of the file of a photograph."""
    return entry_digest(photograph.file)


def entry_digest(file: Piece) -> str:
    """Return the digest of what a list says about a file: its path, its size, and where it begins in a tar file."""
    return short_digest(canonical_json([file.path, file.bytes, file.offset]).encode())


def parts_of(listing: Listing, part_images: int) -> tuple[Part, ...]:
    """Cut a list into parts."""
    photographs = listing.photographs
    starts = range(0, len(photographs), part_images)
    runs = ((start, photographs[start : start + part_images]) for start in starts)
    return tuple(Part(part_digest(run), start, run) for start, run in runs)


def read_album(store: Store) -> Album | None:
    """Return what the last build with photographs says about them; None if there was none.

    Raises:
        RecordError: if the file is damaged.
    """
    if not store.exists(ALBUM_PATH):
        return None
    try:
        return Album.model_validate_json(store.read(ALBUM_PATH))
    except ValidationError as error:
        mistake = first_mistake(error, "the whole file")
        raise RecordError(f"{store}/{ALBUM_PATH}: {mistake}; build again to rewrite the file") from None


def read_listing(store: Store, digest: str) -> Listing:
    """Read a list of photographs.

    Raises:
        StoreError: if there is none.
        RecordError: if it is damaged.
    """
    path = list_path(digest)
    data = store.read(path)
    try:
        listing = Listing.from_json(data)
    except ValueError:
        listing = None
    if listing is None or listing.digest != digest:
        raise RecordError(f"{store}/{path}: expected a list of photographs; remove it and run isthmus images again")
    return listing


def read_evidence(store: Store) -> Evidence | None:
    """Return the evidence of an atlas; None if no build had photographs, or no layer is recorded for all of them.

    Raises:
        RecordError: if a file is damaged.
        StoreError: if the store cannot be read.
    """
    album = read_album(store)
    if album is None:
        return None
    listing = read_listing(store, album.list)
    evidence = evidence_of(album, listing, read_image_records(store))
    return evidence if evidence.layers else None


def evidence_of(album: Album, listing: Listing, recorded: Iterable[ImagesRecord]) -> Evidence:
    """Return what records say about the photographs of a list; of several records of one layer the first counts."""
    parts = parts_of(listing, album.part_images)
    wanted = {part.digest for part in parts}
    records: dict[tuple[Key, str], ImagesRecord] = {}
    for record in recorded:
        if record.part in wanted and record.model_digest == album.model_digest and record.size == album.size:
            for layer, kept in record.layers.items():
                if kept.keeps(album.directions.get(layer)):
                    records.setdefault((record.part, layer), record)
    names = dict.fromkeys(layer for _, layer in records)
    complete = [layer for layer in names if all((part.digest, layer) in records for part in parts)]
    skipped = {
        part.first + place: reason
        for part in parts
        for layer in complete
        for place, reason in records[part.digest, layer].skipped
    }
    layers = {layer: records[parts[0].digest, layer].layers[layer] for layer in complete} if parts else {}
    return Evidence(album, listing, parts, records, layers, dict(sorted(skipped.items())))


def read_image_records(store: Store) -> Iterator[ImagesRecord]:
    """Yield the records of parts of photographs.

    Raises:
        RecordError: if a record cannot be read.
    """
    paths = list(store.list(IMAGE_RECORDS))
    for path, data in zip(paths, store.read_many(paths), strict=True):
        yield from images_from_ndjson(data, f"{store}/{path}")


def read_responses(store: Store, evidence: Evidence, neurons: Sequence[Neuron]) -> Responses:
    """Return the activations of some neurons on all photographs that count.

    This takes 12 bytes for each photograph and neuron; `stream_responses` takes less for many of them.

    Raises:
        RecordError: if the layer of a neuron is not recorded, or a file is damaged.
        StoreError: if a file cannot be read.
    """
    parts = list(stream_responses(store, evidence, neurons))
    return Responses(
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.mean for part in parts]),
        np.concatenate([part.peak for part in parts]),
        np.concatenate([part.position for part in parts]),
        np.concatenate([part.digests for part in parts]),
    )


def stream_responses(store: Store, evidence: Evidence, neurons: Sequence[Neuron]) -> Iterator[Responses]:
    """Yield the activations of some neurons part by part, in order of the photographs; see `read_responses`."""
    for neuron in neurons:
        if not evidence.has(neuron):
            raise RecordError(f"{store}: expected activations of {neuron} on photographs; isthmus images computes them")
    by_layer: dict[str, list[int]] = {}
    for place, neuron in enumerate(neurons):
        by_layer.setdefault(neuron.layer, []).append(place)
    for part in evidence.parts:
        rows = evidence.rows(part)
        shape = (len(rows), len(neurons))
        mean, peak = np.empty(shape, np.float32), np.empty(shape, np.float32)
        position = np.empty(shape, np.int32)
        digests, by_name = _read_layers(store, evidence, part, by_layer, rows)
        for layer, found in by_name.items():
            places, kept = by_layer[layer], evidence.records[part.digest, layer].layers[layer]
            channels = kept.columns([neurons[place].channel for place in places])
            mean[:, places] = found.mean[:, channels]
            peak[:, places] = found.peak[:, channels]
            position[:, places] = found.position[:, channels]
        yield Responses(part.first + rows, mean, peak, position, digests)


def read_digests(store: Store, evidence: Evidence, numbers: Iterable[int]) -> dict[int, int]:
    """Return number -> digest of the file of photographs that count, when their activations were computed.

    Raises:
        RecordError: if a file is damaged.
        StoreError: if a file cannot be read.
    """
    wanted = set(numbers)
    layer = next(iter(evidence.layers))
    digests: dict[int, int] = {}
    for part in evidence.parts:
        if wanted.isdisjoint(range(part.first, part.first + len(part.photographs))):
            continue
        record = evidence.records[part.digest, layer]
        path = activations_path(record.key)
        kept = unpack(store.read(path), f"{store}/{path}", record.layers, ())
        digests |= dict(zip((part.first + kept.rows).tolist(), kept.digests.tolist(), strict=True))
    return digests


def _read_layers(
    store: Store, evidence: Evidence, part: Part, layers: Iterable[str], rows: NDArray[np.int32]
) -> tuple[NDArray[np.uint64], dict[str, LayerActivations]]:
    """Return the digests of the photographs at some places of a part, and layer -> activations on them.

    Each file is read once.
    """
    by_record: dict[Key, list[str]] = {}
    for layer in layers:
        by_record.setdefault(evidence.records[part.digest, layer].key, []).append(layer)
    found: dict[str, LayerActivations] = {}
    digests = np.zeros(len(rows), np.uint64)
    for key, wanted in by_record.items():
        path = activations_path(key)
        names = evidence.records[part.digest, wanted[0]].layers
        kept = unpack(store.read(path), f"{store}/{path}", names, wanted)
        counts = np.isin(kept.rows, rows)
        if counts.sum() != len(rows):
            raise RecordError(
                f"{store}/{path}: expected {len(rows)} photographs, found {counts.sum()}; run isthmus "
                "verify --repair, then isthmus images"
            )
        digests = kept.digests[counts]
        for layer, each in kept.layers.items():
            found[layer] = LayerActivations(each.mean[counts], each.peak[counts], each.position[counts])
    return digests, found
