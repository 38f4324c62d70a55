"""Publishing: computes manifest, data and gallery from the records.

Publishing is idempotent: the same records give the same bytes. Files are written before the files that refer to them,
the page last, so a reader never follows a reference to a missing file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.atlas.finished_land import FinishedLand, recorded_land
from core.atlas.image_records import LICENCE_PATH
from core.atlas.labels import Labels, labels_csv, read_labels, stored_labels
from core.atlas.manifest import (
    MANIFEST_PATH,
    PAGE_PATH,
    PAIRS_PATH,
    Counts,
    DataFile,
    LandFiles,
    Manifest,
    PhotographFiles,
    read_manifest,
)
from core.atlas.plan_files import SPEC_PATH
from core.atlas.public_spec import public_spec
from core.errors import RecordError, TransientStoreError
from core.gallery.index import (
    DETAIL_ROWS,
    DIGEST,
    Script,
    block_scripts,
    detail_script,
    groups_of,
    index_script,
    lookup_scripts,
)
from core.gallery.land import (
    is_land_published,
    land_files,
    land_paths,
    land_script,
    published_land,
    script_neurons,
    write_tiles,
)
from core.gallery.lines import Lines
from core.gallery.link_preview import link_preview
from core.gallery.page import pages
from core.gallery.photograph_scripts import SCORE_WORDS, Scripts
from core.gallery.photographs import (
    OtherNeurons,
    are_photographs_published,
    photograph_files,
    read_photographs,
    small_pictures,
)
from core.gallery.table import Table, lines_of, read_table
from core.machine.threads import in_threads
from core.store.store import Store, sweep

ReadLand = Callable[[Store], FinishedLand | None]
"""Return the land that the records of an atlas describe, or None if there is none or it is not finished."""

_ATTEMPTS = 10
_TILE = re.compile(r"land/[0-9a-f]{20}/.+")
_THREADS = 16  # writing or deleting an object of a bucket takes a round trip


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
    with Lines() as lines, Lines() as in_order:
        table = read_table(store, lines)
        land = read_land(store)
        before = None if land else published_land(store, present)
        if not (len(table) or land or before):
            raise RecordError(f"{store}: expected an atlas with records, found none; build it first")
        stored = _read_spec(store)
        spec = None if stored is None else public_spec(stored)
        data = _Data(store, present, stored_labels(store))
        data.add_photographs(table, _land_neurons(store, land, before), stored or {})
        if len(table):
            data.add_pairs(table, lines, in_order)
        if land:
            data.add_land(land)
        elif before:
            data.keep_land(*before)
        data.add_preview(table)
        if not store.swap(PAIRS_PATH, in_order.file(), versions[PAIRS_PATH]):
            return None
    manifest = data.manifest(name, spec)
    files = {MANIFEST_PATH: manifest.to_json(), **pages(manifest)}
    for path, content in files.items():
        if path not in versions:
            store.replace(path, content)
        elif not store.swap(path, content, versions[path]):
            return None
    named = {*(file.path for file in manifest.data_files), *data.land_paths}
    # Files that appeared after this call began may belong to a concurrent publisher, so they stay.
    old = sorted(present.difference(files, named))
    for _ in in_threads(store.delete, old, threads=_THREADS, held=2 * _THREADS):
        pass
    # A concurrent publisher may have deleted new files as leftovers of an earlier publication.
    return manifest if named.issubset([*store.list("data/"), *store.list("land/")]) else None


def _land_neurons(
    store: Store, land: FinishedLand | None, before: tuple[Manifest, LandFiles, set[str]] | None
) -> OtherNeurons | None:
    """Return the neurons of the land that is published: a finished one, or else the one that was published before."""
    if land:
        return OtherNeurons(land.land.neurons, land.model_digest)
    return OtherNeurons(script_neurons(store.read(before[1].data)), before[0].model_digest) if before else None


def is_current(store: Store, spec: dict[str, Any], records: int, read_land: ReadLand = recorded_land) -> bool:
    """Return whether manifest and page were published from this spec, this number of records and this land.

    Raises:
        SpecError: if the labels of the spec cannot be read.
    """
    if not (store.exists(MANIFEST_PATH) and store.exists(PAGE_PATH)):
        return False
    try:
        manifest = read_manifest(store)
    except RecordError:
        return False
    public = public_spec(spec)
    if manifest.format != 2 or manifest.spec != public or manifest.counts.pairs != records:
        return False
    labels = read_labels(Path(spec["labels"])) if spec.get("labels") else stored_labels(store)
    if manifest.labels != _labels_digest(labels):
        return False
    if (land := read_land(store)) and not is_land_published(land, manifest.land, labels):
        return False
    if not are_photographs_published(store, manifest.photographs):
        return False
    # The page shows the keys of the spec in their own sequence; the manifest has them sorted.
    as_published = manifest.model_copy(update={"spec": public})
    return store.read(PAGE_PATH) == pages(as_published)[PAGE_PATH]


class _Data:
    """Everything that is published about the pairs and the land.

    Scripts are written as soon as they are made, because all of them together take several gigabytes. Scripts that
    exist already stay, because their names have digests of their content. Tiles are written when their land is added.
    """

    def __init__(self, store: Store, present: Collection[str], labels: Labels) -> None:
        self.store = store
        self.labels = labels
        self.present = present
        self.index: DataFile | None = None
        self.shards: list[DataFile] = []
        self.details: list[DataFile] = []
        self.records = DataFile(path=PAIRS_PATH, sha256=hashlib.sha256().hexdigest(), bytes=0, pairs=0)
        self.preview: DataFile | None = None
        self.model: tuple[str, str] | None = None
        self.settings: dict[str, dict[str, Any]] = {}
        self.devices: set[str] = set()
        self.versions: dict[str, dict[str, str]] = {}
        self.failed = 0
        self.land: LandFiles | None = None
        self.land_paths: set[str] = set()
        self.photographs: PhotographFiles | None = None

    def add_photographs(self, table: Table, others: OtherNeurons | None, spec: Mapping[str, Any]) -> None:
        """Add what photographs say about the neurons and pairs of a table, and add its scores to the table.

        Args:
            others: further neurons, which may have no pairs.
            spec: the stored spec.
        """
        photographs = read_photographs(self.store, table, others)
        if photographs is None:
            return
        table.add_scores(photographs.strips.scores)
        pictures = small_pictures(self.store, photographs, spec)
        scripts = Scripts(photographs, table, pictures)
        files: list[DataFile] = []
        neurons, strips = self._write(scripts.of_neurons(), files), self._write(scripts.of_strips(), files)
        self._write([scripts.album(neurons, strips, self.store.exists(LICENCE_PATH))], files)
        self.photographs = photograph_files(photographs, pictures, files.pop(), files)

    def add_pairs(self, table: Table, lines: Lines, in_order: Lines) -> None:
        """Add the pairs of a table with at least one row, after its photographs.

        Args:
            lines: the lines of the records.
            in_order: is given the same lines in the order of the table, with their ends.
        """
        details = self._write(self._detail_scripts(table, lines, in_order), self.details)
        groups = [(group, self._write(block_scripts(table, group, details), self.shards)) for group in groups_of(table)]
        lookup = self._write(lookup_scripts(table), self.shards)
        index: list[DataFile] = []
        score_words = SCORE_WORDS if self.photographs else None
        self._write([index_script(table, groups, lookup, self.labels, score_words)], index)
        [self.index] = index
        self._add_facts(table)

    def _detail_scripts(self, table: Table, lines: Lines, in_order: Lines) -> Iterator[Script]:
        """Yield the scripts of whole records; copy the lines to *in_order* on the way, and note their digest."""
        whole = hashlib.sha256()
        for number, start in enumerate(range(0, len(table), DETAIL_ROWS)):
            part = lines_of(table, lines, slice(start, start + DETAIL_ROWS))
            text = b"".join(line + b"\n" for line in part)
            in_order.add(text)
            whole.update(text)
            yield detail_script(number, part)
        self.records = DataFile(path=PAIRS_PATH, sha256=whole.hexdigest(), bytes=in_order.bytes, pairs=len(table))

    def _write(self, scripts: Iterable[Script], files: list[DataFile]) -> list[str]:
        """Write scripts unless they exist, and add them to a list of files; return the digests in their names."""

        def write(script: Script) -> DataFile:
            if script.path not in self.present:
                self.store.replace(script.path, script.data)
            return DataFile(path=script.path, sha256=script.sha256, bytes=len(script.data), pairs=script.pairs)

        written = list(in_threads(write, scripts, threads=_THREADS, held=2 * _THREADS))
        files += written
        return [file.sha256[:DIGEST] for file in written]

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
        script = land_script(land, self.labels)
        self.land = land_files(land, index, script)
        self.land_paths = land_paths(self.land, index)
        self.store.replace(self.land.data, script)
        self.model = self.model or (land.model, land.model_digest)
        self._add_origin(land.devices, land.versions)

    def keep_land(self, before: Manifest, land: LandFiles, paths: set[str]) -> None:
        """Add the land of an earlier publication, whose files stay as they are."""
        self.land, self.land_paths = land, paths
        self.model = self.model or (before.model, before.model_digest)
        self._add_origin(before.devices, before.versions)

    def add_preview(self, table: Table) -> None:
        """Add the picture for links to the atlas, after its pairs and its land."""
        picture = link_preview(self.store, table, self.land_paths)
        if picture is not None:
            digest = hashlib.sha256(picture).hexdigest()
            path = f"data/preview-{digest[:10]}.jpg"
            if path not in self.present:
                self.store.replace(path, picture)
            self.preview = DataFile(path=path, sha256=digest, bytes=len(picture), pairs=0)

    def _add_origin(self, devices: Iterable[str], versions: Iterable[Mapping[str, str]]) -> None:
        self.devices.update(devices)
        for one in versions:
            self.versions[json.dumps(one, sort_keys=True)] = dict(one)

    def manifest(self, name: str, spec: dict[str, Any] | None) -> Manifest:
        """Return the manifest of what was added.

        Args:
            name: the atlas's name.
            spec: the stored spec, if there is one.
        """
        assert self.model is not None, "an atlas with neither pairs nor a land has no manifest"
        model, digest = self.model
        pairs = self.records.pairs
        return Manifest(
            name=name,
            spec=spec,
            model=model,
            model_digest=digest,
            settings=self.settings,
            counts=Counts(pairs=pairs, done=pairs - self.failed, failed=self.failed),
            devices=sorted(self.devices),
            versions=[self.versions[text] for text in sorted(self.versions)],
            index=self.index,
            shards=self.shards,
            details=self.details,
            records=self.records,
            land=self.land,
            preview=self.preview,
            photographs=self.photographs,
            labels=_labels_digest(self.labels),
        )


def _labels_digest(labels: Labels) -> str | None:
    return hashlib.sha256(labels_csv(labels)).hexdigest() if labels else None


def _read_spec(store: Store) -> dict[str, Any] | None:
    """Return the stored spec, or None if there is none."""
    if not store.exists(SPEC_PATH):
        return None
    try:
        spec = json.loads(store.read(SPEC_PATH))
    except ValueError:
        spec = None
    if not isinstance(spec, dict):
        raise RecordError(f"{store}/{SPEC_PATH}: expected a JSON object; build the atlas again to rewrite it")
    return spec
