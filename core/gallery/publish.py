"""Publishing: computes manifest, data and gallery from the records.

Publishing is idempotent: the same records give the same bytes. Files are written before the files that refer to them,
the page last, so a reader never follows a reference to a missing file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

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
from core.atlas.recorded import read_records
from core.atlas.records import Record, to_ndjson
from core.errors import RecordError, SpecError, TransientStoreError
from core.gallery.land import is_land_published, land_files, land_script, write_tiles
from core.gallery.page import pages
from core.gallery.shards import detail_shard, index_shard
from core.machine.threads import in_threads
from core.neurons import Neuron
from core.store.store import Store, sweep

ReadLand = Callable[[Store], FinishedLand | None]
"""Return the land that the records of an atlas describe, or None if there is none or it is not finished."""

_PAIRS_PER_SHARD = 5000
_PAIRS_PER_DETAIL = 250  # about 700 kB, which a reader loads to see one pair
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
    lines = _record_lines(store)
    land = read_land(store)
    before = None if land else _published_land(store, present)
    if not (lines or land or before):
        raise RecordError(f"{store}: expected an atlas with records, found none; build it first")
    spec = _read_spec(store)
    data = _Data(store)
    for part in _parts(lines, _PAIRS_PER_SHARD):
        data.add(part)
    if land:
        data.add_land(land)
    elif before:
        data.keep_land(*before)
    pairs = b"".join(lines)
    manifest = data.manifest(name, spec, _data_file(PAIRS_PATH, pairs, len(lines)))
    files = {**data.scripts, PAIRS_PATH: pairs, MANIFEST_PATH: manifest.to_json(), **pages(manifest)}
    for path, content in files.items():
        if path not in versions:
            store.replace(path, content)
        elif not store.swap(path, content, versions[path]):
            return None
    named = {*(file.path for file in manifest.details), *data.land_paths}
    # Files that appeared after this call began may belong to a concurrent publisher, so they stay.
    old = sorted(present.difference(files, named))
    for _ in in_threads(store.delete, old, threads=_DELETING, held=2 * _DELETING):
        pass
    # A concurrent publisher may have deleted new files as leftovers of an earlier publication.
    return manifest if named.issubset([*store.list("data/"), *store.list("land/")]) else None


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
    if manifest.spec != spec or manifest.counts.pairs != records:
        return False
    if (land := read_land(store)) and not is_land_published(land, manifest.land):
        return False
    # The page shows the keys of the spec in their own sequence; the manifest has them sorted.
    as_published = manifest.model_copy(update={"spec": spec})
    return store.read(PAGE_PATH) == pages(as_published)[PAGE_PATH]


def _record_lines(store: Store) -> list[bytes]:
    """Return one line for each pair, sorted by neurons.

    Lines are returned instead of records, because parsed records take several times as much memory.
    """

    def view(record: Record) -> tuple[tuple[Any, ...], bytes]:
        return _sort_key(record), to_ndjson([record])

    return [line for _, line in sorted(read_records(store, view).values())]


def _parts(lines: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    """Yield consecutive parts of *size* lines; the last part may be shorter."""
    for first in range(0, len(lines), size):
        yield lines[first : first + size]


class _Data:
    """Everything that is published about the pairs, gathered from one part of their lines at a time, and the land.

    Detail shards are written as soon as they are made, because all of them together take as much memory as all lines.
    Tiles are written when their land is added.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.scripts: dict[str, bytes] = {}
        self.index_files: list[DataFile] = []
        self.detail_files: list[DataFile] = []
        self.model: tuple[str, str] | None = None
        self.settings: dict[str, dict[str, Any]] = {}
        self.devices: set[str] = set()
        self.versions: dict[str, dict[str, str]] = {}
        self.failed = 0
        self.land: LandFiles | None = None
        self.land_paths: set[str] = set()

    def add(self, lines: Sequence[bytes]) -> None:
        """Add the lines of one index shard."""
        details = [self._write_detail_shard(part) for part in _parts(lines, _PAIRS_PER_DETAIL)]
        records = [Record.model_validate_json(line) for line in lines]
        data = index_shard(records, details, _PAIRS_PER_DETAIL)
        path = _data_path("index", len(self.index_files), data)
        self.scripts[path] = data
        self.index_files.append(_data_file(path, data, len(lines)))
        self.model = self.model or (records[0].model, records[0].model_digest)
        for record in records:
            self.settings[record.settings_digest] = record.settings
            self._add_origin([record.device], [record.versions])
            self.failed += record.status == "failed"

    def _write_detail_shard(self, lines: Sequence[bytes]) -> str:
        data = detail_shard(lines)
        path = _data_path("detail", len(self.detail_files), data)
        self.store.replace(path, data)
        self.detail_files.append(_data_file(path, data, len(lines)))
        return path

    def add_land(self, land: FinishedLand) -> None:
        """Add a finished land, whose tiles are written first."""
        index = write_tiles(self.store, land)
        script = land_script(land)
        self.land = land_files(land, index, script)
        self.land_paths = _land_paths(self.land, index)
        self.scripts[self.land.data] = script
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
            shards=self.index_files,
            details=self.detail_files,
            records=records,
            land=self.land,
        )


def _sort_key(record: Record) -> tuple[Any, ...]:
    """Return a key that sorts pairs by neuron a, then by neuron b, as the gallery shows them."""
    try:
        return _neuron_sort_key(record.a), _neuron_sort_key(record.b), record.key
    except SpecError as error:
        raise RecordError(f"record {record.key}: {error}") from None


@lru_cache(maxsize=10_000)  # a large atlas has many pairs of few neurons
def _neuron_sort_key(written: str) -> tuple[Any, ...]:
    return Neuron.parse(written).order


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


def _data_path(kind: str, number: int, data: bytes) -> str:
    """Return a path with a digest of the content, so that a new page never reads an old shard."""
    return f"data/{kind}-{number:05d}-{hashlib.sha256(data).hexdigest()[:10]}.js"


def _data_file(path: str, data: bytes, pairs: int) -> DataFile:
    return DataFile(path=path, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), pairs=pairs)
