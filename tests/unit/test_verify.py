"""Verifying and mending an atlas of three pairs in two chunks, whose sheets are noise."""

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
    """Write a strip of noise as a chunk does: what is there already stays."""
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
    """Do what rendering a chunk does to a store."""

    def finished(planned: PlannedPair) -> Record:
        halfway = Checkpoint(step=STEP, objective=1.0, picture=store_picture(store, planned.key, STEP))
        end = Checkpoint(step=256, objective=2.0)
        picture = store_picture(store, planned.key, None)
        return make_record(planned, checkpoints=[halfway, end], **picture.model_dump())

    store.create(f"records/{chunk.name}.ndjson", to_ndjson(map(finished, chunk.pairs)))


class Atlas:
    """A published atlas: where it is, and the two chunks that it was rendered in."""

    def __init__(self, root: Path) -> None:
        self.store = DirectoryStore(root)
        self.big, self.small = plan_of(self.store).chunks
        for chunk in (self.big, self.small):
            render(self.store, chunk)
        publish(self.store, SPEC.name)

    def files(self) -> dict[str, bytes]:
        return {path: self.store.read(path) for path in self.store.list("")}

    def flip(self, path: str) -> None:
        """Damage a file by one bit in its middle."""
        data = bytearray(self.store.read(path))
        data[len(data) // 2] ^= 1
        self.store.replace(path, bytes(data))

    def cut(self, path: str) -> None:
        """Damage a file by taking its end away."""
        self.store.replace(path, self.store.read(path)[:-10])

    def lose(self, path: str) -> None:
        self.store.delete(path)

    def path_of(self, kind: str) -> str:
        """A file of that kind; pictures are of the big chunk's first pair."""
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

    def mend(self) -> None:
        """Do what a build does after a repair: render what is missing, and publish if anything is."""
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


def test_what_was_just_built_is_intact(atlas: Atlas) -> None:
    """Three pairs have a sheet and a preview, at the end and halfway; and there are three data files."""
    report = verify(atlas.store)

    assert report == Report(checked=3 * 4 + 3, missing=(), damaged=(), extra=(), spoilt_records=())
    assert report.intact


def test_failed_pairs_promise_no_pictures(atlas: Atlas) -> None:
    """A record without a strip needs none to be intact."""
    atlas.store.create(
        "records/x.ndjson", to_ndjson([make_record(PlannedPair(atlas.big.pairs[0].pair, "0" * 20), "failed")])
    )

    assert verify(atlas.store).intact


@pytest.mark.parametrize("kind", [*PICTURES, *DATA, "manifest", "page"])
def test_what_is_missing_is_named(atlas: Atlas, kind: str) -> None:
    """Whatever an atlas needs is looked for."""
    path = atlas.path_of(kind)
    atlas.store.delete(path)

    report = verify(atlas.store)

    assert (report.missing, report.damaged, report.extra) == ((path,), (), ())
    assert report.spoilt_records == ((atlas.path_of("records"),) if kind in PICTURES else ())
    assert not report.intact


@pytest.mark.parametrize("kind", [*PICTURES, *DATA])
def test_what_is_damaged_is_named(atlas: Atlas, kind: str) -> None:
    """One bit is enough."""
    path = atlas.path_of(kind)
    atlas.flip(path)

    report = verify(atlas.store)

    assert (report.missing, report.damaged, report.extra) == ((), (path,), ())
    assert report.spoilt_records == ((atlas.path_of("records"),) if kind in PICTURES else ())
    assert not report.intact


def test_a_picture_without_a_record_is_extra_and_stays(atlas: Atlas) -> None:
    """A killed chunk leaves pictures that the next run uses, so they are neither damage nor rubbish."""
    left = [sheet_path("0" * 20), preview_path("0" * 20), sheet_path("0" * 20, STEP)]
    for path in left:
        atlas.store.create(path, b"left by a killed chunk")

    report = verify(atlas.store)
    repair(atlas.store, report)

    assert report.extra == tuple(sorted(left))
    assert report.intact
    assert all(map(atlas.store.exists, left))


@pytest.mark.parametrize("cut", [1, 100])
def test_a_record_file_that_is_cut_short_is_damaged(atlas: Atlas, cut: int) -> None:
    """The pairs of the file are planned again once it is removed, and their pictures wait for them."""
    path = atlas.path_of("records")
    atlas.store.replace(path, atlas.store.read(path)[: -cut - 1])
    before = atlas.files()

    report = verify(atlas.store)
    repair(atlas.store, report)

    assert (report.missing, report.damaged, report.spoilt_records) == ((), (path,), (path,))
    assert {extra.partition("/")[0] for extra in report.extra} == {"sheets", "previews"}
    assert set(before) - set(atlas.files()) == {path}
    assert [chunk.name for chunk in plan_of(atlas.store).chunks] == [atlas.big.name]


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("damage", [Atlas.flip, Atlas.lose])
def test_repair_removes_what_is_spoilt_and_nothing_else(atlas: Atlas, kind: str, damage: Damage) -> None:
    """A picture that is damaged or missing costs its chunk's records; everything sound stays as it is."""
    path = atlas.path_of(kind)
    before = atlas.files()
    damage(atlas, path)

    repair(atlas.store, verify(atlas.store))

    after = atlas.files()
    assert set(before) - set(after) == {path, atlas.path_of("records")}
    assert all(before[kept] == data for kept, data in after.items())
    plan = plan_of(atlas.store)
    assert plan.chunks == (atlas.big,)
    assert (plan.done, plan.missing) == (1, 2)


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        *((kind, Atlas.cut) for kind in [*DATA, "manifest"]),
        *((kind, Atlas.lose) for kind in [*DATA, "manifest", "page"]),
    ],
)
def test_repair_has_a_damaged_publication_published_anew(atlas: Atlas, kind: str, damage: Damage) -> None:
    """A build publishes when there is no manifest, so that goes; no pair needs to be rendered for it."""
    damage(atlas, atlas.path_of(kind))

    repair(atlas.store, verify(atlas.store))

    assert not atlas.store.exists(MANIFEST_PATH)
    assert plan_of(atlas.store).missing == 0


@pytest.mark.parametrize("kind", [*PICTURES, *DATA, "manifest", "records"])
def test_after_repair_and_a_build_the_atlas_is_as_before(atlas: Atlas, kind: str) -> None:
    """Nothing that was damaged leaves a trace."""
    before = atlas.files()
    atlas.cut(atlas.path_of(kind))

    repair(atlas.store, verify(atlas.store))
    atlas.mend()

    assert atlas.files() == before
    assert verify(atlas.store).intact


def test_repair_of_an_intact_atlas_changes_nothing(atlas: Atlas) -> None:
    """What is sound is left alone."""
    before = atlas.files()

    repair(atlas.store, verify(atlas.store))

    assert atlas.files() == before


def test_nothing_outside_the_atlas_is_ever_touched(atlas: Atlas) -> None:
    """Records and manifest may come from anywhere; a path that leads outside is damage, not an order to delete."""
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
