"""Verifying and repairing an atlas of three pairs in two chunks, whose sheets are noise."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sample_records import make_record, make_spec

from core.atlas.chunks import Chunk, PlannedPair
from core.atlas.manifest import MANIFEST_PATH
from core.atlas.plan import Plan, make_plan
from core.atlas.records import Checkpoint, Picture, Record, preview_path, sheet_path, to_ndjson
from core.atlas.verify import Report, repair, verify
from core.gallery.publish import publish
from core.pictures.sheets import encode_png, encode_webp, side_by_side
from core.store.store import DirectoryStore

SPEC = make_spec(["block5:0-2"], compute={"chunk_pairs": 2})
STEP = 8


def plan_of(store: DirectoryStore) -> Plan:
    return make_plan(SPEC, store, 1)


def store_picture(store: DirectoryStore, key: str, step: int | None) -> Picture:
    """Write a strip of noise as rendering a chunk does: existing files stay."""
    frames = np.random.default_rng(int(key[:8], 16) + (step or 0)).random((3, 16, 16, 3), np.float32)
    sheet, preview = encode_png(side_by_side(frames)), encode_webp(side_by_side(frames))
    store.create(sheet_path(key, step), sheet)
    store.create(preview_path(key, step), preview)
    return Picture(
        sheet_sha256=hashlib.sha256(sheet).hexdigest(),
        sheet_bytes=len(sheet),
        preview_sha256=hashlib.sha256(preview).hexdigest(),
        preview_bytes=len(preview),
    )


def render(store: DirectoryStore, chunk: Chunk) -> None:
    """Write the files that rendering a chunk writes."""

    def finished(planned: PlannedPair) -> Record:
        halfway = Checkpoint(step=STEP, objective=1.0, picture=store_picture(store, planned.key, STEP))
        end = Checkpoint(step=256, objective=2.0)
        picture = store_picture(store, planned.key, None)
        return make_record(planned, checkpoints=[halfway, end], **picture.model_dump())

    store.create(f"records/{chunk.name}.ndjson", to_ndjson(map(finished, chunk.pairs)))


class Atlas:
    """A published atlas: its store, and its two chunks."""

    def __init__(self, root: Path) -> None:
        self.store = DirectoryStore(root)
        self.big, self.small = plan_of(self.store).chunks
        for chunk in (self.big, self.small):
            render(self.store, chunk)
        publish(self.store, SPEC.name)

    def files(self) -> dict[str, bytes]:
        return {path: self.store.read(path) for path in self.store.list("")}

    def flip(self, path: str) -> None:
        """Flip one bit in the middle of a file."""
        data = bytearray(self.store.read(path))
        data[len(data) // 2] ^= 1
        self.store.replace(path, bytes(data))

    def truncate(self, path: str) -> None:
        """Remove the last 10 bytes of a file."""
        self.store.replace(path, self.store.read(path)[:-10])

    def delete(self, path: str) -> None:
        self.store.delete(path)

    def path_of(self, kind: str) -> str:
        """Return the path of a file of this kind; pictures are those of the big chunk's first pair."""
        key = self.big.pairs[0].key
        data = list(self.store.list("data/"))
        return {
            "sheet": sheet_path(key),
            "preview": preview_path(key),
            "sheet of a checkpoint": sheet_path(key, STEP),
            "preview of a checkpoint": preview_path(key, STEP),
            "records": f"records/{self.big.name}.ndjson",
            "details": data[0],
            "shard": data[1],
            "pairs": data[2],
            "manifest": "manifest.json",
            "page": "index.html",
        }[kind]

    def rebuild(self) -> None:
        """Do what a build does after a repair: render what is missing; publish if anything was missing."""
        chunks = plan_of(self.store).chunks
        for chunk in chunks:
            render(self.store, chunk)
        if chunks or not self.store.exists(MANIFEST_PATH):
            publish(self.store, SPEC.name)


Damage = Callable[[Atlas, str], None]


@pytest.fixture
def atlas(tmp_path: Path) -> Atlas:
    return Atlas(tmp_path / "small")


PICTURES = ["sheet", "preview", "sheet of a checkpoint", "preview of a checkpoint"]
DATA = ["details", "shard", "pairs"]


def test_a_new_atlas_is_intact(atlas: Atlas) -> None:
    """Three pairs have a sheet and a preview, at the end and at a checkpoint, and there are six data files."""
    report = verify(atlas.store)

    assert report == Report(checked=3 * 4 + 6, missing=(), damaged=(), extra=(), spoilt_records=())
    assert report.intact


def test_failed_pairs_need_no_pictures(atlas: Atlas) -> None:
    """A record of a failed pair names no picture, so none is missing."""
    atlas.store.create(
        "records/x.ndjson", to_ndjson([make_record(PlannedPair(atlas.big.pairs[0].pair, "0" * 20), "failed")])
    )

    assert verify(atlas.store).intact


@pytest.mark.parametrize("kind", [*PICTURES, *DATA, "manifest", "page"])
def test_a_missing_file_is_reported(atlas: Atlas, kind: str) -> None:
    """Every kind of file that an atlas needs is checked."""
    path = atlas.path_of(kind)
    atlas.store.delete(path)

    report = verify(atlas.store)

    assert (report.missing, report.damaged, report.extra) == ((path,), (), ())
    assert report.spoilt_records == ((atlas.path_of("records"),) if kind in PICTURES else ())
    assert not report.intact


@pytest.mark.parametrize("kind", [*PICTURES, *DATA])
def test_a_damaged_file_is_reported(atlas: Atlas, kind: str) -> None:
    """One flipped bit is found."""
    path = atlas.path_of(kind)
    atlas.flip(path)

    report = verify(atlas.store)

    assert (report.missing, report.damaged, report.extra) == ((), (path,), ())
    assert report.spoilt_records == ((atlas.path_of("records"),) if kind in PICTURES else ())
    assert not report.intact


def test_a_picture_without_a_record_is_extra_and_stays(atlas: Atlas) -> None:
    """A killed chunk leaves pictures that the next run uses, so they are reported and not deleted."""
    extra = [sheet_path("0" * 20), preview_path("0" * 20), sheet_path("0" * 20, STEP)]
    for path in extra:
        atlas.store.create(path, b"left by a killed chunk")

    report = verify(atlas.store)
    repair(atlas.store, report)

    assert report.extra == tuple(sorted(extra))
    assert report.intact
    assert all(map(atlas.store.exists, extra))


@pytest.mark.parametrize("bytes_lost", [1, 100])
def test_a_truncated_record_file_is_damaged(atlas: Atlas, bytes_lost: int) -> None:
    """Repair deletes the file, so its pairs are planned again; their pictures stay."""
    path = atlas.path_of("records")
    atlas.store.replace(path, atlas.store.read(path)[: -bytes_lost - 1])
    before = atlas.files()

    report = verify(atlas.store)
    repair(atlas.store, report)

    assert (report.missing, report.damaged, report.spoilt_records) == ((), (path,), (path,))
    assert {path.partition("/")[0] for path in report.extra} == {"sheets", "previews"}
    assert set(before) - set(atlas.files()) == {path}
    assert [chunk.name for chunk in plan_of(atlas.store).chunks] == [atlas.big.name]


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("damage", [Atlas.flip, Atlas.delete])
def test_repair_deletes_a_damaged_picture_and_the_records_that_name_it(atlas: Atlas, kind: str, damage: Damage) -> None:
    """A damaged or missing picture costs the records of its chunk; every other file stays the same."""
    path = atlas.path_of(kind)
    before = atlas.files()
    damage(atlas, path)

    repair(atlas.store, verify(atlas.store))

    after = atlas.files()
    assert set(before) - set(after) == {path, atlas.path_of("records")}
    assert all(before[path] == data for path, data in after.items())
    plan = plan_of(atlas.store)
    assert plan.chunks == (atlas.big,)
    assert (plan.done, plan.missing) == (1, 2)


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        *((kind, Atlas.truncate) for kind in [*DATA, "manifest"]),
        *((kind, Atlas.delete) for kind in [*DATA, "manifest", "page"]),
    ],
)
def test_after_repair_a_damaged_publication_is_published_again(atlas: Atlas, kind: str, damage: Damage) -> None:
    """A build publishes if there is no manifest, so repair deletes it; no pair is rendered again."""
    damage(atlas, atlas.path_of(kind))

    repair(atlas.store, verify(atlas.store))

    assert not atlas.store.exists(MANIFEST_PATH)
    assert plan_of(atlas.store).missing == 0


@pytest.mark.parametrize("kind", [*PICTURES, *DATA, "manifest", "records"])
def test_after_repair_and_a_build_the_atlas_is_as_before(atlas: Atlas, kind: str) -> None:
    """Every file has the same bytes as before the damage."""
    before = atlas.files()
    atlas.truncate(atlas.path_of(kind))

    repair(atlas.store, verify(atlas.store))
    atlas.rebuild()

    assert atlas.files() == before
    assert verify(atlas.store).intact


def test_repair_of_an_intact_atlas_changes_nothing(atlas: Atlas) -> None:
    """No file is written or deleted."""
    before = atlas.files()

    repair(atlas.store, verify(atlas.store))

    assert atlas.files() == before


def test_no_file_outside_the_atlas_is_touched(atlas: Atlas) -> None:
    """Records and manifest may come from anywhere, so a path that leads out of the atlas is reported as damage."""
    outside = atlas.store.root.parent / "precious.png"
    outside.write_bytes(b"precious")
    key, record = atlas.big.pairs[0].key, atlas.path_of("records")
    atlas.store.replace(record, atlas.store.read(record).replace(key.encode(), b"../../../precious"))
    manifest = atlas.store.read("manifest.json")
    atlas.store.replace("manifest.json", manifest.replace(b"data/pairs.ndjson", b"data/../../precious.png"))

    report = verify(atlas.store)
    repair(atlas.store, report)

    assert report.damaged == ("manifest.json", record)
    assert outside.read_bytes() == b"precious"
