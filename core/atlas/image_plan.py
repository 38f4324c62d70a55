"""The photographs of a spec: their list, the layers that are read, and the parts whose activations are missing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from core.atlas import pace
from core.atlas.evidence import (
    ALBUM_PATH,
    Album,
    Evidence,
    Part,
    evidence_of,
    read_album,
    read_image_records,
    read_listing,
)
from core.atlas.image_records import ImagesRecord, list_path
from core.atlas.keys import key_of
from core.atlas.records import Key
from core.atlas.selection import spec_neurons
from core.errors import RecordError, SpecError, counted
from core.machine import device
from core.models.model import Model
from core.neurons import Neuron
from core.photographs.listing import Listing, Photograph
from core.photographs.source import Source, absolute, open_source
from core.spec import AtlasSpec, ImagesSpec, Storage
from core.store.store import Store

BATCH = 16
"""Photographs in a forward pass. It never changes, and parts are multiples of it, so that every photograph is always at
the same place of a batch: its activations are then rounded in the same way, whatever the parts."""
_WAY = 1  # how photographs are read; another way has another number
_DEFAULT_SIZE_PX = 224
_LARGEST_PART, _SMALLEST_PART = 512, 64  # photographs; 10 to 60 s on a core for most networks
_MOST_CLASSES = 2000
_MOST_DIRECTIONS = 8192  # of a derived layer; they are computed at once
_made: dict[tuple[ImagesSpec, str], Listing] = {}
"""The last list of a source that has a version: a command plans before its build does, and a remote list takes time."""
_BYTES_PER_CHANNEL = 6  # mean, peak and position


@dataclass(frozen=True, slots=True)
class PlannedImages:
    """A part of the photographs whose activations in some layers are missing.

    Attributes:
        key: digest of everything that the activations depend on.
        part: digest of the photographs.
        directions: of the derived layers among them: channel -> digest of its direction; only these are kept.
        size: height and width of the network's images.
        source: address of the photographs, the same in every folder of the machine.
        storage: settings of an object store that has them.
    """

    key: Key
    part: Key
    photographs: tuple[Photograph, ...]
    layers: tuple[str, ...]
    directions: dict[str, dict[int, str]]
    size: tuple[int, int]
    source: str
    storage: Storage


@dataclass(frozen=True)
class ImageProgress:
    """The photographs of a spec, and what is recorded of them.

    Attributes:
        layers: the layers of the spec's neurons, whose activations are kept.
        channels: number of channels of all these layers.
        missing: the parts to be read.
        image_seconds: estimated time that a process takes for a photograph.
        is_known: whether the atlas has this list already.
    """

    album: Album
    listing: Listing
    evidence: Evidence
    neurons: tuple[Neuron, ...]
    layers: tuple[str, ...]
    channels: int
    missing: tuple[PlannedImages, ...]
    image_seconds: float
    is_known: bool

    @property
    def images(self) -> int:
        """The number of files in the list."""
        return len(self.listing.photographs)

    @property
    def missing_images(self) -> int:
        """The number of files in the parts to be read."""
        return sum(len(planned.photographs) for planned in self.missing)

    @property
    def left_out(self) -> dict[str, int]:
        """Reason -> number of files that are left out for it, most first; details after a colon are dropped."""
        reasons = [*self.evidence.skipped.values(), *(reason for _, reason in self.listing.refused)]
        return dict(Counter(reason.partition(":")[0] for reason in reasons).most_common())

    @property
    def stored_bytes(self) -> int:
        """The estimated size in the store of everything that is missing."""
        return self.missing_images * self.channels * _BYTES_PER_CHANNEL


def image_progress(
    spec: AtlasSpec,
    model: Model,
    model_digest: str,
    store: Store,
    processes: int,
    on_gpu: bool | None,
    *,
    relist: bool,
) -> ImageProgress | None:
    """Compare the photographs of a spec with the records in the store; None without photographs.

    Args:
        processes: number of processes that will read concurrently.
        on_gpu: see `core.atlas.estimate.outcomes`.
        relist: whether to look for photographs that the source has got since its list was made.

    Raises:
        SpecError: if the source or a neuron does not exist, or the source has no photographs.
        StoreError: if the source cannot be read.
        RecordError: if a record cannot be read.
    """
    if spec.images is None:
        return None
    neurons = spec_neurons(spec, model)
    layers = tuple(sorted({neuron.layer for neuron in neurons}))
    size = model.own_size or (_DEFAULT_SIZE_PX, _DEFAULT_SIZE_PX)
    album, listing = _album(spec.images, spec.storage, store, model_digest, size, processes, relist)
    album = album.model_copy(update={"directions": _directions(neurons, model)})
    records = list(read_image_records(store))
    evidence = evidence_of(album, listing, records)
    return ImageProgress(
        album=album,
        listing=listing,
        evidence=evidence,
        neurons=tuple(neurons),
        layers=layers,
        channels=sum(len(album.directions.get(layer, range(model.layers[layer]))) for layer in layers),
        missing=tuple(_missing(evidence, layers, spec.storage)),
        image_seconds=_image_seconds(records, album, on_gpu),
        is_known=album == _stored(store),
    )


def _directions(neurons: Iterable[Neuron], model: Model) -> dict[str, dict[int, str]]:
    """Return derived layer -> channel -> digest of its direction, for some neurons.

    Raises:
        SpecError: if there are too many neurons of a derived layer.
    """
    found: dict[str, dict[int, str]] = {}
    for neuron in neurons:
        if neuron.layer in model.derived:
            found.setdefault(neuron.layer, {})[neuron.channel] = model.derived[neuron.layer].digest(neuron.channel)
    for layer, directions in found.items():
        if len(directions) > _MOST_DIRECTIONS:
            raise SpecError(
                f"images: expected at most {_MOST_DIRECTIONS:,} neurons of the derived layer {layer}, "
                f"got {len(directions):,}; name fewer neurons"
            )
    return {layer: dict(sorted(directions.items())) for layer, directions in found.items()}


def write_images(store: Store, progress: ImageProgress) -> None:
    """Write the list of the photographs, and which list it is.

    Raises:
        StoreError: if the store cannot be written.
    """
    path = list_path(progress.album.list)
    if not store.exists(path):
        store.create(path, progress.listing.to_json())
    store.replace(ALBUM_PATH, progress.album.model_dump_json(indent=1).encode())


def _album(
    images: ImagesSpec,
    storage: Storage,
    store: Store,
    model_digest: str,
    size: tuple[int, int],
    processes: int,
    relist: bool,
) -> tuple[Album, Listing]:
    """Return the list of the last build if the source has not changed, or else a new one."""
    before = _stored(store)
    address = absolute(images.source)
    given = (address, images.limit, images.labels)
    is_same = before is not None and (before.source, before.limit, before.labels) == given
    version, listing = before.version if before else None, None
    if before is not None and is_same and not relist:
        listing = read_listing(store, before.list)
    else:
        source = open_source(address, storage)
        version = source.version()
        if before is not None and is_same and version is not None and version == before.version:
            listing = read_listing(store, before.list)
        else:
            listing = _listing(source, images, version)
    album = Album(
        list=listing.digest,
        source=address,
        limit=images.limit,
        labels=images.labels,
        version=version,
        publish=images.publish,
        part_images=before.part_images if before else _part_images(len(listing.photographs), processes),
        model_digest=model_digest,
        size=size,
    )
    return album, listing


def _stored(store: Store) -> Album | None:
    """Return what the last build says; None if it cannot be read, because this build writes it again."""
    try:
        album = read_album(store)
        return album if album is None or store.exists(list_path(album.list)) else None
    except RecordError:
        return None


def _listing(source: Source, images: ImagesSpec, version: str | None) -> Listing:
    listing = _made.get((images, version)) if version is not None else None
    listing = listing or source.listing(images.limit, images.labels == "folders")
    if not listing.photographs:
        left_out = f"; {listing.refused[0][0]} is left out: {listing.refused[0][1]}" if listing.refused else ""
        raise SpecError(f"images.source {images.source}: expected photographs, found no files{left_out}")
    if len(listing.labels) > _MOST_CLASSES:
        found = counted(len(listing.labels), "folder")
        raise SpecError(f"images.labels: expected at most {_MOST_CLASSES:,} classes, {images.source} has {found}")
    if version is not None:
        _made.clear()
        _made[images, version] = listing
    return listing


def _part_images(images: int, processes: int) -> int:
    """Return the number of photographs in a part, so that all processes have some."""
    share = math.ceil(images / (2 * processes))
    return BATCH * math.ceil(max(_SMALLEST_PART, min(_LARGEST_PART, share)) / BATCH)


def _missing(evidence: Evidence, layers: Iterable[str], storage: Storage) -> Iterator[PlannedImages]:
    """Yield the parts that lack layers, each with the layers that it lacks; equal parts are read once."""
    album, seen = evidence.album, set[Key]()
    for part in evidence.parts:
        lacking = tuple(layer for layer in layers if (part.digest, layer) not in evidence.records)
        if lacking and part.digest not in seen:
            seen.add(part.digest)
            yield PlannedImages(
                key=_key(album, part, lacking),
                part=part.digest,
                photographs=part.photographs,
                layers=lacking,
                directions={layer: album.directions[layer] for layer in lacking if layer in album.directions},
                size=album.size,
                source=album.source,
                storage=storage,
            )


def _key(album: Album, part: Part, layers: Iterable[str]) -> Key:
    facts: dict[str, object] = {"way": _WAY, "model": album.model_digest, "size": album.size}
    if derived := {layer: sorted(album.directions[layer].items()) for layer in layers if layer in album.directions}:
        facts["directions"] = derived
    return key_of({**facts, "part": part.digest, "layers": list(layers)})


def _image_seconds(records: Iterable[ImagesRecord], album: Album, on_gpu: bool | None) -> float:
    """Return the estimated seconds for a photograph: those of records on the same kind of device, or an assumption."""
    seconds = images = 0.0
    for record in records:
        if record.model_digest == album.model_digest and (on_gpu is None or device.is_gpu(record.device) == on_gpu):
            seconds, images = seconds + record.seconds, images + record.count
    if images and seconds:
        return seconds / images
    return pace.assumed(1, max(album.size), on_gpu=bool(on_gpu))
