"""Publishing: computes manifest, data and gallery from the records.

Publishing is idempotent: the same records give the same bytes. Files are written before the files that refer to them,
the page last, so a reader never follows a reference to a missing file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np

from core.addresses import without_secrets
from core.atlas.finished_land import FinishedLand, recorded_land
from core.atlas.manifest import (
    MANIFEST_PATH,
    PAGE_PATH,
    PAIRS_PATH,
    Counts,
    DataFile,
    LandFiles,
    Manifest,
    read_manifest,
    read_tile_index,
    tile_index_path,
)
from core.atlas.plan_files import SPEC_PATH
from core.atlas.recorded import read_lines
from core.errors import RecordError, TransientStoreError
from core.gallery.index import (
    DETAIL_ROWS,
    Script,
    block_scripts,
    detail_script,
    groups_of,
    index_script,
    lookup_scripts,
)
from core.gallery.land import is_land_published, land_files, land_script, write_tiles
from core.gallery.lines import Lines
from core.gallery.page import pages
from core.gallery.table import Rows, Table
from core.machine.threads import in_threads
from core.store.store import Store, sweep

ReadLand = Callable[[Store], FinishedLand | None]
"""Return the land that the records of an atlas describe, or None if there is none or it is not finished."""

_ATTEMPTS = 10
_TILE = re.compile(r"land/[0-9a-f]{20}/.+")
_DELETING = 16  # threads: deleting an object of a bucket takes a round trip


def publish(store: Store, name: str, read_land: ReadLand = recorded_land) -> Manifest:
    """Compute manifest, data and gallery from the records, and write them.

    If several processes publish concurrently, the last one has read every record that the others have read; the others
    start again. At the end, temporary files of killed processes are deleted.

    Args:
        store: the atlas.
        name: the atlas's name.
        read_land: finds the land. While a new land is not finished, the land that was published before stays.

    Raises:
        RecordError: if there are no records, or if a record or the stored spec cannot be read.
        TransientStoreError: if other publishers overtook every attempt.
    """
    for _ in range(_ATTEMPTS):
        manifest = _try_to_publish(store, name, read_land)
        if manifest is not None:
            sweep(store)
            return manifest
    raise TransientStoreError(f"{store}: could not publish, others kept publishing it; publish it again")


def _try_to_publish(store: Store, name: str, read_land: ReadLand) -> Manifest | None:
    """Publish, or return None if another publisher has written since this call began."""
    versions = {path: store.version(path) for path in (PAIRS_PATH, MANIFEST_PATH, PAGE_PATH)}
    tiles = {path for path in store.list("land/") if _TILE.fullmatch(path)}
    present = {*store.list("data/"), *store.list("assets/"), *tiles}
    with Lines() as lines:
        table = _read_table(store, lines)
        land = read_land(store)
        before = None if land else _published_land(store, present)
        if not (len(table) or land or before):
            raise RecordError(f"{store}: expected an atlas with records, found none; build it first")
        spec = _read_spec(store)
        data = _Data(store, present)
        pairs = data.add_pairs(table, lines) if len(table) else b""
    if land:
        data.add_land(land)
    elif before:
        data.keep_land(*before)
    manifest = data.manifest(name, spec, _data_file(PAIRS_PATH, pairs, len(table)))
    files = {**data.land_script, PAIRS_PATH: pairs, MANIFEST_PATH: manifest.to_json(), **pages(manifest)}
    for path, content in files.items():
        if path not in versions:
            store.replace(path, content)
        elif not store.swap(path, content, versions[path]):
            return None
    named = {*(file.path for file in manifest.data_files), *data.land_paths}
    # Files that appeared after this call began may belong to a concurrent publisher, so they stay.
    old = sorted(present.difference(files, named))
    for _ in in_threads(store.delete, old, threads=_DELETING, held=2 * _DELETING):
        pass
    # A concurrent publisher may have deleted new files as leftovers of an earlier publication.
    return manifest if named.issubset([*store.list("data/"), *store.list("land/")]) else None


def _read_table(store: Store, lines: Lines) -> Table:
    """Return the table of all recorded pairs, and write their lines."""
    rows = Rows()
    for line, record in read_lines(store):
        rows.add(record, *lines.add(line))
    lines.flush()
    return rows.table({})


def _published_land(store: Store, present: Collection[str]) -> tuple[Manifest, LandFiles, set[str]] | None:
    """Return the published manifest, its land and the paths of the land's files; None unless all of them exist."""
    try:
        manifest = read_manifest(store) if store.exists(MANIFEST_PATH) else None
        if manifest is None or manifest.land is None or tile_index_path(manifest.land.tiles) not in present:
            return None
        paths = _land_paths(manifest.land, store.read(tile_index_path(manifest.land.tiles)))
    except RecordError:
        return None
    return (manifest, manifest.land, paths) if paths.issubset(present) else None


def _land_paths(land: LandFiles, index: bytes) -> set[str]:
    """Return the paths of the files of a published land: its script, the index of its tiles, and the tiles."""
    path = tile_index_path(land.tiles)
    return {land.data, path, *read_tile_index(index, path)}


def is_current(store: Store, spec: dict[str, Any], records: int, read_land: ReadLand = recorded_land) -> bool:
    """Return whether manifest and page were published from this spec, this number of records and this land."""
    if not (store.exists(MANIFEST_PATH) and store.exists(PAGE_PATH)):
        return False
    try:
        manifest = read_manifest(store)
    except RecordError:
        return False
    if manifest.format != 2 or manifest.spec != spec or manifest.counts.pairs != records:
        return False
    if (land := read_land(store)) and not is_land_published(land, manifest.land):
        return False
    # The page shows the keys of the spec in their own sequence; the manifest has them sorted.
    as_published = manifest.model_copy(update={"spec": spec})
    return store.read(PAGE_PATH) == pages(as_published)[PAGE_PATH]


class _Data:
    """Everything that is published about the pairs and the land.

    Scripts are written as soon as they are made, because all of them together take several gigabytes. Scripts that
    exist already stay, because their names have digests of their content. Tiles are written when their land is added.
    """

    def __init__(self, store: Store, present: Collection[str]) -> None:
        self.store = store
        self.present = present
        self.index: DataFile | None = None
        self.shards: list[DataFile] = []
        self.details: list[DataFile] = []
        self.model: tuple[str, str] | None = None
        self.settings: dict[str, dict[str, Any]] = {}
        self.devices: set[str] = set()
        self.versions: dict[str, dict[str, str]] = {}
        self.failed = 0
        self.land: LandFiles | None = None
        self.land_paths: set[str] = set()
        self.land_script: dict[str, bytes] = {}

    def add_pairs(self, table: Table, lines: Lines) -> bytes:
        """Add the pairs of a table with at least one row, whose lines are written; return the lines in its order."""
        parts: list[bytes] = []
        digests: list[str] = []
        for start in range(0, len(table), DETAIL_ROWS):
            part = _lines_of(table, lines, slice(start, start + DETAIL_ROWS))
            parts += part
            digests.append(self._write(detail_script(len(digests), part), self.details))
        groups = [
            (group, [self._write(script, self.shards) for script in block_scripts(table, group, digests)])
            for group in groups_of(table)
        ]
        lookup = [self._write(script, self.shards) for script in lookup_scripts(table)]
        index: list[DataFile] = []
        self._write(index_script(table, groups, lookup), index)
        [self.index] = index
        self._add_facts(table)
        return b"".join(line + b"\n" for line in parts)

    def _write(self, script: Script, files: list[DataFile]) -> str:
        """Write a script unless it exists, and add it to a list of files; return the digest in its name."""
        if script.path not in self.present:
            self.store.replace(script.path, script.data)
        files.append(_data_file(script.path, script.data, script.pairs))
        return script.digest

    def _add_facts(self, table: Table) -> None:
        first = table.origins[table.columns["origin"][0]]
        self.model = (first.model, first.model_digest)
        self.settings = table.settings
        origins = [table.origins[number] for number in np.unique(table.columns["origin"])]
        self._add_origin([origin.device for origin in origins], [dict(origin.versions) for origin in origins])
        self.failed = len(table.reasons)

    def add_land(self, land: FinishedLand) -> None:
        """Add a finished land, whose tiles are written first."""
        index = write_tiles(self.store, land)
        script = land_script(land)
        self.land = land_files(land, index, script)
        self.land_paths = _land_paths(self.land, index)
        self.land_script = {self.land.data: script}
        self.model = self.model or (land.model, land.model_digest)
        self._add_origin(land.devices, land.versions)

    def keep_land(self, before: Manifest, land: LandFiles, paths: set[str]) -> None:
        """Add the land of an earlier publication, whose files stay as they are."""
        self.land, self.land_paths = land, paths
        self.model = self.model or (before.model, before.model_digest)
        self._add_origin(before.devices, before.versions)

    def _add_origin(self, devices: Iterable[str], versions: Iterable[Mapping[str, str]]) -> None:
        self.devices.update(devices)
        for one in versions:
            self.versions[json.dumps(one, sort_keys=True)] = dict(one)

    def manifest(self, name: str, spec: dict[str, Any] | None, records: DataFile) -> Manifest:
        """Return the manifest of what was added.

        Args:
            name: the atlas's name.
            spec: the stored spec, if there is one.
            records: the file of all records.
        """
        assert self.model is not None, "an atlas with neither pairs nor a land has no manifest"
        model, digest = self.model
        return Manifest(
            name=name,
            spec=spec,
            model=model,
            model_digest=digest,
            settings=self.settings,
            counts=Counts(pairs=records.pairs, done=records.pairs - self.failed, failed=self.failed),
            devices=sorted(self.devices),
            versions=[self.versions[text] for text in sorted(self.versions)],
            index=self.index,
            shards=self.shards,
            details=self.details,
            records=records,
            land=self.land,
        )


def _lines_of(table: Table, lines: Lines, rows: slice) -> list[bytes]:
    """Return the lines of some rows, without their ends."""
    places = zip(table.columns["start"][rows].tolist(), table.columns["length"][rows].tolist(), strict=True)
    return [lines.read(start, length) for start, length in places]


def _read_spec(store: Store) -> dict[str, Any] | None:
    if not store.exists(SPEC_PATH):
        return None
    try:
        spec = json.loads(store.read(SPEC_PATH), object_pairs_hook=_public)
    except ValueError:
        spec = None
    if not isinstance(spec, dict):
        raise RecordError(f"{store}/{SPEC_PATH}: expected a JSON object; build the atlas again to rewrite it")
    return spec


def _public(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of a spec without secrets, which a spec of an older version may have in its addresses."""
    return {key: without_secrets(value) if isinstance(value, str) else value for key, value in pairs}


def _data_file(path: str, data: bytes, pairs: int) -> DataFile:
    return DataFile(path=path, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), pairs=pairs)
