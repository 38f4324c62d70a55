"""Verifying an atlas: is everything there that the records and the manifest promise, and intact?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from core.errors import RecordError
from core.manifest import MANIFEST_PATH, PAGE_PATH, read_manifest
from core.records import from_ndjson, preview_path, sheet_path
from core.store import Store


@dataclass(frozen=True)
class Report:
    """Paths by what is wrong with them.

    Attributes:
        checked: how many objects were compared with their digest.
        extra: sheets and previews without a record; a killed run leaves some, and the next run uses them.
        spoilt_records: record files that cannot be read, or promise something that is missing or damaged.
    """

    checked: int
    missing: tuple[str, ...]
    damaged: tuple[str, ...]
    extra: tuple[str, ...]
    spoilt_records: tuple[str, ...]

    @property
    def intact(self) -> bool:
        return not (self.missing or self.damaged)


def verify(store: Store) -> Report:
    """Compare every object that a record or the manifest names with its sha256."""
    stored = set(store.list(""))
    damaged: set[str] = set()
    promises: dict[str, list[tuple[str, str]]] = {}  # path of records or manifest -> path and sha256 of others
    record_paths = sorted(path for path in stored if path.startswith("records/"))
    for record_path, data in zip(record_paths, store.read_many(record_paths), strict=True):
        promises[record_path] = []
        try:
            for promise in _promises(data, record_path):
                promises[record_path].append(promise)
        except RecordError:
            damaged.add(record_path)
    if MANIFEST_PATH in stored:
        try:
            manifest = read_manifest(store)
            files = (*manifest.shards, *manifest.details, manifest.records)
            promises[MANIFEST_PATH] = [(file.path, file.sha256) for file in files]
        except RecordError:
            damaged.add(MANIFEST_PATH)
    promised = {path for named in promises.values() for path, _ in named}
    present = sorted(promised & stored)
    found = {
        path: hashlib.sha256(data).hexdigest() for path, data in zip(present, store.read_many(present), strict=True)
    }
    missing = (promised | {MANIFEST_PATH, PAGE_PATH}) - stored
    damaged |= {path for named in promises.values() for path, sha256 in named if found.get(path, sha256) != sha256}
    spoilt = [
        record_path
        for record_path in record_paths
        if record_path in damaged or any(found.get(path) != sha256 for path, sha256 in promises[record_path])
    ]
    pictures = {path for path in stored if path.startswith(("sheets/", "previews/"))}
    return Report(
        checked=sum(map(len, promises.values())),
        missing=tuple(sorted(missing)),
        damaged=tuple(sorted(damaged)),
        extra=tuple(sorted(pictures - promised)),
        spoilt_records=tuple(spoilt),
    )


def repair(store: Store, report: Report) -> None:
    """Remove what is damaged and the records that promised it, so that the next build renders those pairs anew.

    Where something published is missing or damaged the manifest goes too, so that the next build publishes anew.
    """
    rendered = ("records/", "sheets/", "previews/")
    published = [path for path in (*report.missing, *report.damaged) if not path.startswith(rendered)]
    for path in (*report.spoilt_records, *report.damaged, *([MANIFEST_PATH] if published else [])):
        store.delete(path)


def _promises(data: bytes, record_path: str) -> Iterator[tuple[str, str]]:
    """(path, sha256) of every object that the records of a file promise."""
    for record in from_ndjson(data, record_path):
        pictures = [(checkpoint.step, checkpoint.picture) for checkpoint in record.checkpoints]
        for step, picture in [(None, record), *pictures]:
            if picture and picture.sheet_sha256 and picture.preview_sha256:
                yield sheet_path(record.key, step), picture.sheet_sha256
                yield preview_path(record.key, step), picture.preview_sha256
