"""A small walkable atlas, rendered chunk by chunk by the real functions: roads meet, and damage is repaired."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock

import numpy as np
import pytest
from walks import LAYER, RENDER, build, planned, walk_spec

from core.atlas.plan import make_plan
from core.atlas.recorded import read_portraits, read_records, recorded_chunks
from core.atlas.records import PortraitRecord, Record, colours_path, portrait_path, preview_path, sheet_path
from core.atlas.roads import read_roads, shortest
from core.atlas.route_picture import read_frames
from core.atlas.verify import repair, verify
from core.errors import RecordError
from core.gallery.publish import publish
from core.neurons import Neuron
from core.pictures.sheets import decode, split
from core.rendering.chunk import ChunkResult, read_result, render_chunk
from core.rendering.portrait_files import read_portrait
from core.store.store import DirectoryStore

SPEC = walk_spec(render=RENDER | {"transforms": "none"})  # faster, and the same files
FIRST, SECOND = Neuron(LAYER, 0), Neuron(LAYER, 1)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[DirectoryStore, list[ChunkResult]]:
    """The store of the atlas, and the results of its chunks."""
    store = DirectoryStore(tmp_path_factory.mktemp("built") / "walk")
    results = build(SPEC, store)
    publish(store, SPEC.name)
    return store, results


@pytest.fixture
def store(built: tuple[DirectoryStore, list[ChunkResult]], tmp_path: Path) -> DirectoryStore:
    """A copy of the atlas, which the test may damage."""
    shutil.copytree(built[0].root, tmp_path / "walk")
    return DirectoryStore(tmp_path / "walk")


def records_of(store: DirectoryStore) -> dict[str, Record]:
    return read_records(store, lambda record: record)


def portraits_of(store: DirectoryStore) -> dict[str, PortraitRecord]:
    return read_portraits(store, lambda record: record)


def files_of(store: DirectoryStore) -> dict[str, bytes]:
    return {path: store.read(path) for path in store.list("")}


def ends_meet(store: DirectoryStore) -> bool:
    """Return whether the first and the last frame of all six sheets are the portraits' pixels."""
    met = []
    for record in records_of(store).values():
        assert record.portraits is not None
        frames = split(decode(store.read(sheet_path(record.key))), record.frames)
        for frame, key in zip((frames[0], frames[-1]), record.portraits, strict=True):
            met.append(np.array_equal(frame, decode(store.read(portrait_path(key)))))
    return len(met) == 12 and all(met)


def test_every_strip_of_an_atlas_begins_and_ends_on_the_stored_portraits(store: DirectoryStore) -> None:
    """Any two strips of a neuron meet in the same pixels, and each record names the portraits at its ends."""
    portraits = portraits_of(store)

    assert ends_meet(store)
    for record in records_of(store).values():
        assert (record.strip, record.status) == ("walk", "done")
        assert record.portraits is not None
        assert [portraits[key].neuron for key in record.portraits] == [record.a, record.b]
    neurons = sorted(portrait.neuron or "" for portrait in portraits.values())
    assert neurons == ["", *(f"{LAYER}:{number}" for number in range(4))]


def test_the_result_of_a_chunk_counts_its_pairs_or_portraits(built: tuple[DirectoryStore, list[ChunkResult]]) -> None:
    """The canvas counts as a portrait, and reading the records later gives the same results."""
    store, results = built

    assert [(result.what, result.done, result.failed) for result in results] == [
        ("portraits", 1, 0),
        ("portraits", 2, 0),
        ("portraits", 2, 0),
        *[("pairs", 2, 0)] * 3,
    ]
    assert results[1].words.startswith("2 portraits in ")
    again = [read_result(store, chunk) for chunk in recorded_chunks(store)]
    assert sorted(map(repr, again)) == sorted(map(repr, results))


class DiedError(Exception):
    """The simulated death of the process."""


class DyingStore(DirectoryStore):
    """A store that raises `DiedError` instead of writing its second new file."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._has_new_file = False
        self._one_at_a_time = Lock()

    def create(self, path: str, data: bytes) -> bool:
        with self._one_at_a_time:
            if self._has_new_file and not self.exists(path):
                raise DiedError
            new = super().create(path, data)
            self._has_new_file |= new
            return new


def test_a_build_that_dies_after_any_file_of_any_stage_completes_with_the_same_files(
    built: tuple[DirectoryStore, list[ChunkResult]], tmp_path: Path
) -> None:
    """For instance after the canvas's colours and before its picture, or after both and before the record."""
    store = DirectoryStore(tmp_path / "walk")
    deaths: Counter[str] = Counter()
    while (plan := make_plan(SPEC, store, 1)).unrecorded:
        with suppress(DiedError):
            build(SPEC, DyingStore(store.root))
        deaths[plan.stage] += 1
    publish(store, SPEC.name)

    # One death for each file of a picture and for each file of records.
    assert deaths == {"the canvas of all portraits": 3, "portraits": 10, "pairs": 15}
    assert verify(store).intact
    assert ends_meet(store)
    pictures = [f for f in files_of(built[0]) if "records" not in f and f.endswith((".png", ".webp", ".npy"))]
    assert len(pictures) == 22
    for path in pictures:
        assert store.read(path) == built[0].read(path), path


def test_a_route_shows_the_portrait_between_two_roads_once(store: DirectoryStore) -> None:
    """The frames of a route of two roads meet in one frame, which is the portrait of the neuron between."""
    roads = [road for road in read_roads(store) if {str(FIRST), str(SECOND)} != set(road.neurons)]

    route = shortest(roads, FIRST, SECOND)
    frames = read_frames(store, route)

    assert len(route) == 2
    assert len(frames) == 4 + 4 - 1
    np.testing.assert_array_equal(frames[3], decode(store.read(portrait_path(route[0].ends[1]))))


def test_a_new_atlas_is_intact_and_verify_checks_every_file_once(store: DirectoryStore) -> None:
    """Six strips, four portraits and a canvas have two files each, and six files are published data."""
    report = verify(store)

    assert (report.checked, report.intact, report.extra, report.stale) == (6 * 2 + 5 * 2 + 6, True, (), ())


def damage(store: DirectoryStore, path: str) -> None:
    data = bytearray(store.read(path))
    data[len(data) // 2] ^= 1
    store.replace(path, bytes(data))


@pytest.mark.parametrize("harm", [damage, DirectoryStore.delete])
def test_repair_removes_a_damaged_portrait_with_its_strips_and_a_build_renders_them_again(
    store: DirectoryStore, harm: Callable[[DirectoryStore, str], None]
) -> None:
    """Another machine may round the new portrait differently, so no strip that ends on the old one may stay."""
    before = files_of(store)
    record = next(iter(records_of(store).values()))
    assert record.portraits is not None
    path = portrait_path(record.portraits[0])
    strips_on_it = {
        picture(other.key)
        for other in records_of(store).values()
        if record.portraits[0] in (other.portraits or ())
        for picture in (sheet_path, preview_path)
    }
    harm(store, path)

    report = verify(store)
    repair(store, report)

    assert (*report.missing, *report.damaged) == (path,)
    assert set(report.stale) == strips_on_it
    assert len(strips_on_it) == 6
    gone = set(before) - set(files_of(store))
    assert strips_on_it < gone
    assert {kind.partition("/")[0] for kind in gone - strips_on_it} == {"portraits", "records"}
    plan = make_plan(SPEC, store, 1)
    assert record.portraits[0] in {portrait.key for chunk in plan.chunks for portrait in chunk.portraits}
    build(SPEC, store)
    publish(store, SPEC.name)
    assert verify(store).intact
    assert ends_meet(store)
    assert {path: data for path, data in files_of(store).items() if path.endswith((".png", ".npy", ".webp"))} == {
        path: data for path, data in before.items() if path.endswith((".png", ".npy", ".webp"))
    }


def test_damaged_colours_of_a_portrait_leave_its_strips_valid(store: DirectoryStore) -> None:
    """Existing strips need only the portrait's picture; the colours, which new strips need, are rendered again."""
    before = files_of(store)
    record = next(iter(records_of(store).values()))
    assert record.portraits is not None
    path = colours_path(record.portraits[0])
    damage(store, path)

    report = verify(store)
    repair(store, report)

    assert (report.missing, report.damaged, report.stale) == ((), (path,), ())
    assert set(before) - set(files_of(store)) == {path, *report.spoilt_records}
    assert all(spoilt.startswith("portraits/records/portraits-") for spoilt in report.spoilt_records)
    build(SPEC, store)
    assert store.read(path) == before[path]


def test_a_portrait_without_a_record_is_extra_and_a_build_keeps_it(store: DirectoryStore) -> None:
    """A killed chunk leaves such files, and the next run records them unchanged."""
    portraits = [key for key, record in portraits_of(store).items() if record.neuron]
    records = [path for path in store.list("portraits/records/") if "portraits-" in path]
    before = files_of(store)
    for path in records:
        store.delete(path)

    assert verify(store).extra == tuple(sorted(map(colours_path, portraits)))  # strips still use the pictures
    build(SPEC, store)

    kept = {path: data for path, data in files_of(store).items() if path.endswith((".png", ".npy"))}
    assert kept == {path: data for path, data in before.items() if path.endswith((".png", ".npy"))}


def test_a_portrait_that_cannot_be_read_is_an_error_with_a_remedy(store: DirectoryStore) -> None:
    """A file that is cut off, is no picture, has another size or is missing is refused, so no strip is made from it."""
    record = next(iter(records_of(store).values()))
    assert record.portraits is not None
    key = record.portraits[0]
    for path, data in (
        (colours_path(key), b"\x93NUMPY"),
        (portrait_path(key), b"no picture"),
        (colours_path(key), store.read(portrait_path(key))),
    ):
        whole = store.read(path)
        store.replace(path, data)
        with pytest.raises(RecordError, match=r": expected part of a portrait, .*; run isthmus verify --repair, and"):
            read_portrait(store, key, 32)
        store.replace(path, whole)
    with pytest.raises(RecordError, match=r"expected part of a portrait, found numbers of shape \(32, 32, 3\)"):
        read_portrait(store, key, 64)
    store.delete(portrait_path(key))
    with pytest.raises(RecordError, match=r"\.png: expected part of a portrait, found nothing"):
        read_portrait(store, key, 32)


def test_strips_on_a_failed_portrait_are_recorded_with_its_reason_and_the_rest_is_rendered(tmp_path: Path) -> None:
    """The build ends: a strip on a failed portrait counts as failed and is not planned again."""
    store = DirectoryStore(tmp_path / "walk")
    plan = make_plan(SPEC, store, 1)
    render_chunk(planned(plan, plan.chunks[0]), store)
    plan = make_plan(SPEC, store, 1)
    first, second = plan.chunks
    failed_before = (replace(first.portraits[0], reason="objective not finite at update 1; there was none before"),)
    render_chunk(planned(plan, replace(first, portraits=(*failed_before, *first.portraits[1:]))), store)
    render_chunk(planned(plan, second), store)

    results = build(SPEC, store)

    failed = f"{LAYER}:0"
    assert sum(result.failed for result in results) == 3
    assert sum(result.done for result in results) == 3
    for record in records_of(store).values():
        assert (record.status == "failed") == (failed in (record.a, record.b))
        if record.status == "failed":
            assert record.reason == (
                f"the portrait of {failed} failed: objective not finite at update 1; there was none before"
            )
            assert record.seconds == 0
    assert make_plan(SPEC, store, 1).failed == 3
    assert set(verify(store).missing) == {"index.html", "manifest.json"}
