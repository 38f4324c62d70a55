"""Publishing: from the records to manifest, data and gallery.

Publishing the same records again gives the same bytes. Objects are written in the order in which they refer to one
another, the page last, so a reader never meets a reference to something that is not there yet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from core.atlas.manifest import MANIFEST_PATH, PAGE_PATH, PAIRS_PATH, Counts, DataFile, Manifest, read_manifest
from core.atlas.plan import SPEC_PATH
from core.atlas.recorded import read_records
from core.atlas.records import Record, to_ndjson
from core.errors import RecordError, SpecError, TransientStoreError
from core.gallery.page import pages
from core.gallery.shards import detail_shard, index_shard
from core.neurons import Neuron
from core.store.store import Store

_PAIRS_PER_SHARD = 5000
_PAIRS_PER_DETAIL = 250  # some 700 kB, which is what a reader loads to see a pair
_ATTEMPTS = 10


def publish(store: Store, name: str) -> Manifest:
    """Compute manifest, data and gallery from the records, and write them.

    Of several who publish at once the last one has read every record that the others have read, or begins anew.

    Args:
        name: of the atlas.

    Raises:
        RecordError: if there are no records, or one of them or the stored spec cannot be read.
        TransientStoreError: if others kept publishing at the same moments.
    """
    for _ in range(_ATTEMPTS):
        published = _publish_unless_others_do(store, name)
        if published is not None:
            return published
    raise TransientStoreError(f"{store}: could not publish, others kept publishing it; publish it again")


def _publish_unless_others_do(store: Store, name: str) -> Manifest | None:
    """Publish, or stop with None where somebody else has published since this call began."""
    earlier = {path: store.version(path) for path in (PAIRS_PATH, MANIFEST_PATH, PAGE_PATH)}
    leftover = {*store.list("data/"), *store.list("assets/")}
    lines = _lines(store)
    if not lines:
        raise RecordError(f"{store}: expected an atlas with records, found none; build it first")
    spec = _read_spec(store)
    contents = _Contents(store)
    for part in _parts(lines, _PAIRS_PER_SHARD):
        contents.add(part)
    pairs = b"".join(lines)
    first = Record.model_validate_json(lines[0])
    manifest = contents.manifest(name, spec, first, _data_file(PAIRS_PATH, pairs, len(lines)))
    published = {**contents.shards, PAIRS_PATH: pairs, MANIFEST_PATH: manifest.to_json(), **pages(manifest)}
    for path, data in published.items():
        if path not in earlier:
            store.replace(path, data)
        elif not store.swap(path, data, earlier[path]):
            return None
    details = {file.path for file in manifest.details}
    # Only what was there when this call began: others may be writing new ones now.
    for path in leftover.difference(published, details):
        store.delete(path)
    # Somebody who publishes too may have taken the first of these files for what an earlier publication left.
    return manifest if details.issubset(store.list("data/")) else None


def is_current(store: Store, spec: dict[str, Any], records: int) -> bool:
    """Whether what is published is all of a spec and of so many records, the page included."""
    if not (store.exists(MANIFEST_PATH) and store.exists(PAGE_PATH)):
        return False
    try:
        manifest = read_manifest(store)
    except RecordError:
        return False
    if manifest.spec != spec or manifest.counts.pairs != records:
        return False
    in_its_order = manifest.model_copy(update={"spec": spec})  # in which the page shows it; the manifest sorts its keys
    return store.read(PAGE_PATH) == pages(in_its_order)[PAGE_PATH]


def _lines(store: Store) -> list[bytes]:
    """A line for each pair, in reading order; parsed, the records of a large atlas would take several times as much."""

    def view(record: Record) -> tuple[tuple[Any, ...], bytes]:
        return _reading_order(record), to_ndjson([record])

    return [line for _, line in sorted(read_records(store, view).values())]


def _parts(lines: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    """So many lines after the other."""
    for first in range(0, len(lines), size):
        yield lines[first : first + size]


class _Contents:
    """What is published about the pairs, gathered from one part of their lines after the other.

    Detail shards are written at once, because all of them together would take as much memory as all lines.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.shards: dict[str, bytes] = {}
        self.shard_files: list[DataFile] = []
        self.details: list[DataFile] = []
        self.settings: dict[str, dict[str, Any]] = {}
        self.devices: set[str] = set()
        self.versions: dict[str, dict[str, str]] = {}
        self.failed = 0

    def add(self, lines: Sequence[bytes]) -> None:
        """Take the lines of one index shard."""
        details = [self._write_details(few) for few in _parts(lines, _PAIRS_PER_DETAIL)]
        records = [Record.model_validate_json(line) for line in lines]
        data = index_shard(records, details, _PAIRS_PER_DETAIL)
        path = _data_path("index", len(self.shards), data)
        self.shards[path] = data
        self.shard_files.append(_data_file(path, data, len(lines)))
        for record in records:
            self.settings[record.settings_digest] = record.settings
            self.devices.add(record.device)
            self.versions[json.dumps(record.versions, sort_keys=True)] = record.versions
            self.failed += record.status == "failed"

    def _write_details(self, lines: Sequence[bytes]) -> str:
        data = detail_shard(lines)
        path = _data_path("detail", len(self.details), data)
        self.store.replace(path, data)
        self.details.append(_data_file(path, data, len(lines)))
        return path

    def manifest(self, name: str, spec: dict[str, Any] | None, first: Record, records: DataFile) -> Manifest:
        return Manifest(
            name=name,
            spec=spec,
            model=first.model,
            model_digest=first.model_digest,
            settings=self.settings,
            counts=Counts(pairs=records.pairs, done=records.pairs - self.failed, failed=self.failed),
            devices=sorted(self.devices),
            versions=[self.versions[text] for text in sorted(self.versions)],
            shards=self.shard_files,
            details=self.details,
            records=records,
        )


def _reading_order(record: Record) -> tuple[Any, ...]:
    """By neuron a, then neuron b: the order of the gallery."""
    try:
        return _neuron_order(record.a), _neuron_order(record.b), record.key
    except SpecError as error:
        raise RecordError(f"record {record.key}: {error}") from None


@lru_cache(maxsize=10_000)  # a large atlas has many pairs of few neurons
def _neuron_order(written: str) -> tuple[Any, ...]:
    return Neuron.parse(written).order


def _read_spec(store: Store) -> dict[str, Any] | None:
    if not store.exists(SPEC_PATH):
        return None
    try:
        spec = json.loads(store.read(SPEC_PATH))
    except ValueError:
        spec = None
    if not isinstance(spec, dict):
        raise RecordError(f"{store}/{SPEC_PATH}: expected a JSON object; build the atlas again to rewrite it")
    return spec


def _data_path(kind: str, number: int, data: bytes) -> str:
    """With a digest of the content, so that a new page never reads an old shard."""
    return f"data/{kind}-{number:05d}-{hashlib.sha256(data).hexdigest()[:10]}.js"


def _data_file(path: str, data: bytes, pairs: int) -> DataFile:
    return DataFile(path=path, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), pairs=pairs)
