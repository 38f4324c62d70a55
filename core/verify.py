"""Verifying an atlas: is everything there that the records and the manifest promise, and intact?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from core.errors import RecordError
from core.manifest import MANIFEST_PATH, read_manifest
from core.records import from_ndjson, preview_path, sheet_path
from core.store import DirectoryStore


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


def verify(store: DirectoryStore) -> Report:
    """Compare every object that a record or the manifest names with its sha256."""
    missing: set[str] = set()
    damaged: set[str] = set()
    promised: set[str] = set()
    spoilt: list[str] = []
    checked = 0

    def check(path: str, sha256: str) -> bool:
        nonlocal checked
        checked += 1
        promised.add(path)
        if not store.exists(path):
            missing.add(path)
        elif hashlib.sha256(store.read(path)).hexdigest() != sha256:
            damaged.add(path)
        return path not in missing and path not in damaged

    for record_path in store.list("records/"):
        try:
            sound = [check(path, sha256) for path, sha256 in _promises(store, record_path)]
        except RecordError:
            damaged.add(record_path)
            sound = [False]
        if not all(sound):
            spoilt.append(record_path)
    if store.exists(MANIFEST_PATH):
        try:
            manifest = read_manifest(store)
            for file in (*manifest.shards, manifest.records):
                check(file.path, file.sha256)
        except RecordError:
            damaged.add(MANIFEST_PATH)
    else:
        missing.add(MANIFEST_PATH)
    if not store.exists("index.html"):
        missing.add("index.html")
    stored = {*store.list("sheets/"), *store.list("previews/")}
    return Report(
        checked, tuple(sorted(missing)), tuple(sorted(damaged)), tuple(sorted(stored - promised)), tuple(spoilt)
    )


def repair(store: DirectoryStore, report: Report) -> None:
    """Remove what is damaged and the records that promised it, so that the next build renders those pairs anew.

    Where something published is missing or damaged the manifest goes too, so that the next build publishes anew.
    """
    rendered = ("records/", "sheets/", "previews/")
    published = [path for path in (*report.missing, *report.damaged) if not path.startswith(rendered)]
    for path in (*report.spoilt_records, *report.damaged, *([MANIFEST_PATH] if published else [])):
        store.delete(path)


def _promises(store: DirectoryStore, record_path: str) -> Iterator[tuple[str, str]]:
    """(path, sha256) of every object that the records of a file promise."""
    for record in from_ndjson(store.read(record_path), record_path):
        pictures = [(checkpoint.step, checkpoint.picture) for checkpoint in record.checkpoints]
        for step, picture in [(None, record), *pictures]:
            if picture and picture.sheet_sha256 and picture.preview_sha256:
                yield sheet_path(record.key, step), picture.sheet_sha256
                yield preview_path(record.key, step), picture.preview_sha256
