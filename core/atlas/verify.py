"""Verifying an atlas: is everything there that the records and the manifest promise, and intact?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from core.atlas.manifest import MANIFEST_PATH, PAGE_PATH, read_manifest
from core.atlas.records import (
    PORTRAIT_RECORDS,
    RECORDS,
    Record,
    colours_path,
    from_ndjson,
    portrait_path,
    portraits_from_ndjson,
    preview_path,
    sheet_path,
)
from core.errors import RecordError
from core.store.store import Store


@dataclass(frozen=True)
class Report:
    """Paths by what is wrong with them.

    Attributes:
        checked: how many objects were compared with their digest.
        extra: sheets, previews and portraits without a record; a killed run leaves some, and the next run uses them.
        spoilt_records: record files that cannot be read, or promise something that is missing or damaged.
        stale: pictures of strips that begin or end on a portrait that is missing or damaged.
    """

    checked: int
    missing: tuple[str, ...]
    damaged: tuple[str, ...]
    extra: tuple[str, ...]
    spoilt_records: tuple[str, ...]
    stale: tuple[str, ...] = ()

    @property
    def intact(self) -> bool:
        return not (self.missing or self.damaged)


class _Promise(NamedTuple):
    """An object that must be there, and its sha256, unless somebody else promises that."""

    path: str
    sha256: str | None


def verify(store: Store) -> Report:
    """Compare every object that a record or the manifest names with its sha256."""
    stored = set(store.list(""))
    damaged: set[str] = set()
    promises: dict[str, list[_Promise]] = {}  # path of records or manifest -> what it promises
    standing: dict[str, set[str]] = {}  # path of a portrait's picture -> pictures of the strips that stand on it

    def pairs_of(data: bytes, path: str) -> Iterator[_Promise]:
        for record in from_ndjson(data, path):
            pictures = list(_pictures(record))
            portraits = [portrait_path(key) for key in record.portraits or () if pictures]
            for portrait in portraits:
                standing.setdefault(portrait, set()).update(picture for picture, _ in pictures)
            yield from (*pictures, *(_Promise(portrait, None) for portrait in portraits))

    for folder, promised_by in ((RECORDS, pairs_of), (PORTRAIT_RECORDS, _portraits_of)):
        promises |= _read(store, [path for path in sorted(stored) if path.startswith(folder)], promised_by, damaged)
    record_paths = sorted(promises)
    if MANIFEST_PATH in stored:
        try:
            manifest = read_manifest(store)
            files = (*manifest.shards, *manifest.details, manifest.records)
            promises[MANIFEST_PATH] = [_Promise(file.path, file.sha256) for file in files]
        except RecordError:
            damaged.add(MANIFEST_PATH)
    promised = {path for named in promises.values() for path, _ in named}
    present = sorted(promised & stored)
    found = {
        path: hashlib.sha256(data).hexdigest() for path, data in zip(present, store.read_many(present), strict=True)
    }
    missing = (promised | {MANIFEST_PATH, PAGE_PATH}) - stored
    damaged |= {
        path for named in promises.values() for path, sha256 in named if sha256 and found.get(path, sha256) != sha256
    }
    spoilt = [
        record_path
        for record_path in record_paths
        if record_path in damaged or any(path in missing | damaged for path, _ in promises[record_path])
    ]
    pictures = {
        path
        for path in stored
        if path.startswith(("sheets/", "previews/", "portraits/")) and not path.startswith(PORTRAIT_RECORDS)
    }
    stale = {picture for portrait in standing.keys() & (missing | damaged) for picture in standing[portrait]}
    return Report(
        checked=len(promised),
        missing=tuple(sorted(missing)),
        damaged=tuple(sorted(damaged)),
        extra=tuple(sorted(pictures - promised)),
        spoilt_records=tuple(spoilt),
        stale=tuple(sorted(stale & stored)),
    )


def repair(store: Store, report: Report) -> None:
    """Remove what is damaged and the records that promised it, so that the next build renders those pairs anew.

    Strips that begin or end on a portrait that is missing or damaged go too: another machine may round the new portrait
    otherwise, and roads must meet. Where something published is missing or damaged the manifest goes, so that the next
    build publishes anew.
    """
    rendered = (RECORDS, "sheets/", "previews/", "portraits/")
    published = [path for path in (*report.missing, *report.damaged) if not path.startswith(rendered)]
    spoilt = (*report.spoilt_records, *report.damaged, *report.stale)
    for path in (*spoilt, *([MANIFEST_PATH] if published else [])):
        store.delete(path)


def _read(
    store: Store,
    paths: list[str],
    promised_by: Callable[[bytes, str], Iterator[_Promise]],
    damaged: set[str],
) -> dict[str, list[_Promise]]:
    """What record files promise, up to the first mistake of those that cannot be read, which are *damaged*."""
    promises: dict[str, list[_Promise]] = {}
    for path, data in zip(paths, store.read_many(paths), strict=True):
        promises[path] = []
        try:
            for promise in promised_by(data, path):
                promises[path].append(promise)
        except RecordError:
            damaged.add(path)
    return promises


def _pictures(record: Record) -> Iterator[_Promise]:
    """The pictures of a strip, at the end and at its checkpoints."""
    pictures = [(checkpoint.step, checkpoint.picture) for checkpoint in record.checkpoints]
    for step, picture in [(None, record), *pictures]:
        if picture and picture.sheet_sha256 and picture.preview_sha256:
            yield _Promise(sheet_path(record.key, step), picture.sheet_sha256)
            yield _Promise(preview_path(record.key, step), picture.preview_sha256)


def _portraits_of(data: bytes, path: str) -> Iterator[_Promise]:
    """The files of all portraits of a record file."""
    for record in portraits_from_ndjson(data, path):
        if record.files:
            yield _Promise(colours_path(record.key), record.files.colours_sha256)
            yield _Promise(portrait_path(record.key), record.files.picture_sha256)
