"""Verification of an atlas: checks that everything that its records and manifest name exists and is intact."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from core.atlas.finished_land import BLOCKS
from core.atlas.image_records import (
    ACTIVATIONS,
    THUMBNAIL_RECORDS,
    THUMBNAILS,
    activations_path,
    images_from_ndjson,
    thumbnails_from_ndjson,
)
from core.atlas.manifest import (
    MANIFEST_PATH,
    PAGE_PATH,
    LandFiles,
    read_manifest,
    read_tile_index,
    tile_index_path,
)
from core.atlas.plan import make_plan
from core.atlas.plan_files import SPEC_PATH
from core.atlas.records import (
    BLOCK_RECORDS,
    IMAGE_RECORDS,
    PORTRAIT_RECORDS,
    RECORDS,
    Picture,
    Record,
    block_path,
    blocks_from_ndjson,
    colours_path,
    from_ndjson,
    portrait_path,
    portraits_from_ndjson,
    preview_path,
    sheet_path,
)
from core.errors import ModelError, RecordError
from core.machine.threads import in_threads
from core.models import weights
from core.spec import AtlasSpec
from core.spec_file import parse_spec
from core.store.store import Store

_THREADS = 16  # reading an object of a bucket takes a round trip
_OF_AN_ATLAS = re.compile(
    r"(portraits/|land/|images/)?records/[^/]+\.ndjson|plan/(spec\.json|[0-9a-f]{20}.*)"
    r"|(sheets|portraits)/[0-9a-f]{2}/[0-9a-f]{20}.*|land/blocks/[0-9a-f]{20}\.png"
)


@dataclass(frozen=True)
class Report:
    """Paths by the kind of fault.

    Attributes:
        checked: number of objects that were compared with their digest.
        extra: pictures and activations without a record; a killed run leaves some, and the next run uses them.
        spoilt_records: record files that cannot be read, or name an object that is missing or damaged.
        stale: pictures of strips that begin or end on a portrait that is missing or damaged.
        behind: number of pairs with records that the published gallery does not have.
        temporary: number of temporary files that killed processes have left; the next build or publish deletes them.
    """

    checked: int
    missing: tuple[str, ...]
    damaged: tuple[str, ...]
    extra: tuple[str, ...]
    spoilt_records: tuple[str, ...]
    stale: tuple[str, ...] = ()
    behind: int = 0
    temporary: int = 0

    @property
    def intact(self) -> bool:
        return not (self.missing or self.damaged)

    @property
    def unpublished(self) -> bool:
        """True if nothing is wrong but that the gallery is missing or lacks pairs, so that `publish` suffices."""
        only_gallery = not self.damaged and {*self.missing} <= {MANIFEST_PATH, PAGE_PATH}
        return only_gallery and bool(self.missing or self.behind)

    @property
    def empty(self) -> bool:
        """True if no pair has a record."""
        return MANIFEST_PATH in self.missing and not self.behind


class Progress(NamedTuple):
    """Numbers of the pairs of a spec by their state."""

    pairs: int
    done: int
    failed: int
    missing: int


class Images(NamedTuple):
    """Numbers of the photographs of a spec: of the files in their list, and of those that are not read yet."""

    images: int
    missing: int


class Blocks(NamedTuple):
    """Numbers of the blocks of a spec's land by their state."""

    blocks: int
    done: int
    failed: int
    missing: int


def progress(store: Store, spec: AtlasSpec | None = None) -> tuple[Progress, Blocks | None, Images | None]:
    """Count the pairs of a spec that have records, the blocks of its land, and its photographs, as a build does.

    The photographs are those of the list that the last build has made.

    Args:
        spec: None for the spec that the last build has stored in the atlas.

    Raises:
        IsthmusError: if that cannot be told on this machine, such as without the model's weights.
    """
    spec = spec or stored_spec(store)
    if not weights.are_here(spec.model):
        raise ModelError(f"the weights of {spec.model.name} are not on this machine; isthmus plan downloads them")
    plan = make_plan(spec, store, 1, relist=False)
    land, images = plan.land, plan.images
    blocks = Blocks(land.blocks, land.done, len(land.failures), land.missing) if land else None
    read = Images(images.images, images.missing_images) if images else None
    return Progress(plan.pairs, plan.done, plan.failed, plan.missing), blocks, read


def stored_spec(store: Store) -> AtlasSpec:
    """Return the spec that the last build has stored in an atlas.

    Raises:
        RecordError: if no build has stored its spec.
        SpecError: if it is damaged.
    """
    if not store.exists(SPEC_PATH):
        raise RecordError("no build has stored its spec; give the spec instead of the folder")
    try:
        data = json.loads(store.read(SPEC_PATH))
    except ValueError:
        data = None
    return parse_spec(data, SPEC_PATH)


def is_atlas(store: Store) -> bool:
    """Return whether a store has anything of an atlas: a manifest, records, a plan of a build, or pictures."""
    if store.exists(MANIFEST_PATH):
        with suppress(RecordError):
            read_manifest(store)
            return True
    folders = (RECORDS, PORTRAIT_RECORDS, BLOCK_RECORDS, IMAGE_RECORDS, "plan/", "portraits/", "sheets/", BLOCKS)
    return any(_OF_AN_ATLAS.fullmatch(path) for folder in folders for path in store.list(folder))


def verify(store: Store) -> Report:
    """Compare every object that a record or the manifest names with its sha256."""
    stored = set(store.list(""))
    index = _read_index(store, stored)
    expected = {path for named in index.named.values() for path, _ in named}
    present = sorted(expected & stored)
    digests = in_threads(store.digest, present, threads=_THREADS, held=2 * _THREADS)
    found = dict(zip(present, digests, strict=True))
    missing = (expected | {MANIFEST_PATH, PAGE_PATH}) - stored
    damaged = index.unreadable | {
        path for named in index.named.values() for path, sha256 in named if sha256 and found.get(path, sha256) != sha256
    }
    broken = missing | damaged
    spoilt = {
        source
        for source, named in index.named.items()
        if source != MANIFEST_PATH and (source in damaged or any(path in broken for path, _ in named))
    }
    stale = {picture for portrait in index.strips_on.keys() & broken for picture in index.strips_on[portrait]}
    return Report(
        checked=len(expected),
        missing=tuple(sorted(missing)),
        damaged=tuple(sorted(damaged)),
        extra=tuple(sorted(path for path in stored - expected if _is_picture(path))),
        spoilt_records=tuple(sorted(spoilt)),
        stale=tuple(sorted(stale & stored)),
        behind=max(0, len(index.recorded) - index.published),
        temporary=sum(1 for _ in store.leftovers()),
    )


def repair(store: Store, report: Report) -> tuple[str, ...]:
    """Delete damaged objects and the records that name them, so that the next build renders those pairs again.

    Return the paths of what was deleted.

    Strips that begin or end on a portrait that is missing or damaged are deleted, too: another machine may round the
    new portrait differently, and roads must meet. If a published file is missing or damaged, the manifest is deleted,
    so that the next build publishes again.
    """
    rendered = (RECORDS, "sheets/", "previews/", "portraits/", BLOCK_RECORDS, BLOCKS, "images/")
    published = [path for path in (*report.missing, *report.damaged) if not path.startswith(rendered)]
    spoilt = (*report.spoilt_records, *report.damaged, *report.stale)
    removed = tuple(sorted({*spoilt, *([MANIFEST_PATH] if published else [])} - {*report.missing}))
    for path in removed:
        store.delete(path)
    return removed


class _Named(NamedTuple):
    """An object that a file names, and its sha256; None if another file has the sha256."""

    path: str
    sha256: str | None


@dataclass
class _Index:
    """The objects that record files and the manifest name.

    Attributes:
        named: path of a record file or the manifest -> the objects that it names.
        strips_on: path of a portrait's picture -> pictures of the strips that begin or end on it.
        recorded: keys of all pairs with records.
        published: number of pairs in the manifest.
        unreadable: record files, and the manifest, that cannot be read; `named` has what comes before the mistake.
    """

    named: dict[str, list[_Named]] = field(default_factory=dict)
    strips_on: dict[str, set[str]] = field(default_factory=dict)
    recorded: set[str] = field(default_factory=set)
    published: int = 0
    unreadable: set[str] = field(default_factory=set)

    def add_pairs(self, source: str, data: bytes) -> None:
        for record in from_ndjson(data, source):
            self.recorded.add(record.key)
            pictures = list(_pictures(record))
            self.named[source] += pictures
            for key in record.portraits or () if pictures else ():
                portrait = portrait_path(key)
                self.named[source].append(_Named(portrait, None))
                self.strips_on.setdefault(portrait, set()).update(path for path, _ in pictures)

    def add_blocks(self, source: str, data: bytes) -> None:
        for record in blocks_from_ndjson(data, source):
            if record.picture_sha256 is None:
                continue
            picture = block_path(record.key)
            self.named[source].append(_Named(picture, record.picture_sha256))

    def add_images(self, source: str, data: bytes) -> None:
        for record in images_from_ndjson(data, source):
            self.named[source].append(_Named(activations_path(record.key), record.activations_sha256))

    def add_thumbnails(self, source: str, data: bytes) -> None:
        for record in thumbnails_from_ndjson(data, source):
            if record.path is not None:
                self.named[source].append(_Named(record.path, record.sha256))

    def add_portraits(self, source: str, data: bytes) -> None:
        for record in portraits_from_ndjson(data, source):
            if record.files:
                self.named[source].append(_Named(colours_path(record.key), record.files.colours_sha256))
                self.named[source].append(_Named(portrait_path(record.key), record.files.picture_sha256))


def _read_index(store: Store, stored: set[str]) -> _Index:
    index = _Index()
    kinds = (
        (RECORDS, index.add_pairs),
        (PORTRAIT_RECORDS, index.add_portraits),
        (BLOCK_RECORDS, index.add_blocks),
        (IMAGE_RECORDS, index.add_images),
        (THUMBNAIL_RECORDS, index.add_thumbnails),
    )
    for folder, add in kinds:
        paths = sorted(path for path in stored if path.startswith(folder))
        for path, data in zip(paths, store.read_many(paths), strict=True):
            index.named[path] = []
            try:
                add(path, data)
            except RecordError:
                index.unreadable.add(path)
    if MANIFEST_PATH in stored:
        try:
            manifest = read_manifest(store)
        except RecordError:
            index.unreadable.add(MANIFEST_PATH)
        else:
            index.published = manifest.counts.pairs
            index.named[MANIFEST_PATH] = [_Named(file.path, file.sha256) for file in manifest.data_files]
            if manifest.land:
                index.named[MANIFEST_PATH] += _land_files(store, stored, manifest.land)
    return index


def _pictures(record: Record) -> Iterator[_Named]:
    """Yield the files of the finished strip and of its checkpoints."""
    pictures: list[tuple[int | None, Picture | None]] = [(None, record.picture)]
    pictures += [(checkpoint.step, checkpoint.picture) for checkpoint in record.checkpoints]
    for step, picture in pictures:
        if picture is not None:
            yield _Named(sheet_path(record.key, step), picture.sheet_sha256)
            yield _Named(preview_path(record.key, step), picture.preview_sha256)


def _land_files(store: Store, stored: set[str], land: LandFiles) -> Iterator[_Named]:
    """Yield the script of a published land, the index of its tiles, and the tiles unless the index is damaged."""
    index = tile_index_path(land.tiles)
    yield _Named(land.data, land.sha256)
    yield _Named(index, land.index_sha256)
    with suppress(RecordError):
        tiles = read_tile_index(store.read(index), index) if index in stored else {}
        yield from (_Named(path, sha256) for path, sha256 in tiles.items())


def _is_picture(path: str) -> bool:
    if path.startswith((PORTRAIT_RECORDS, THUMBNAIL_RECORDS)):
        return False
    return path.startswith(("sheets/", "previews/", "portraits/", BLOCKS, ACTIVATIONS, THUMBNAILS))
