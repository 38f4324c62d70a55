"""A small walkable atlas, rendered chunk by chunk by the real functions: where roads meet, and what mends it."""

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
from walks import LAYER, RENDER, build, order, walk_spec

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

SPEC = walk_spec(render=RENDER | {"transforms": "none"})  # what files there are has nothing to do with views
FIRST, SECOND = Neuron(LAYER, 0), Neuron(LAYER, 1)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[DirectoryStore, list[ChunkResult]]:
    """The atlas, and what became of its chunks."""
    store = DirectoryStore(tmp_path_factory.mktemp("built") / "walk")
    results = build(SPEC, store)
    publish(store, SPEC.name)
    return store, results


@pytest.fixture
def store(built: tuple[DirectoryStore, list[ChunkResult]], tmp_path: Path) -> DirectoryStore:
    """A copy to be damaged."""
    shutil.copytree(built[0].root, tmp_path / "walk")
    return DirectoryStore(tmp_path / "walk")


def records_of(store: DirectoryStore) -> dict[str, Record]:
    return read_records(store, lambda record: record)


def portraits_of(store: DirectoryStore) -> dict[str, PortraitRecord]:
    return read_portraits(store, lambda record: record)


def files_of(store: DirectoryStore) -> dict[str, bytes]:
    return {path: store.read(path) for path in store.list("")}


def ends_meet(store: DirectoryStore) -> bool:
    """Whether the first and the last frame of every sheet are the portraits' pixels."""
    met = []
    for record in records_of(store).values():
        assert record.portraits is not None
        frames = split(decode(store.read(sheet_path(record.key))), record.frames)
        for frame, key in zip((frames[0], frames[-1]), record.portraits, strict=True):
            met.append(np.array_equal(frame, decode(store.read(portrait_path(key)))))
    return len(met) == 12 and all(met)


def test_every_strip_of_an_atlas_begins_and_ends_on_the_stored_portraits(store: DirectoryStore) -> None:
    """Pixel by pixel, so that any two strips of a neuron meet; records say which portraits those are."""
    portraits = portraits_of(store)

    assert ends_meet(store)
    for record in records_of(store).values():
        assert (record.strip, record.status) == ("walk", "done")
        assert record.portraits is not None
        assert [portraits[key].neuron for key in record.portraits] == [record.a, record.b]
    neurons = sorted(portrait.neuron or "" for portrait in portraits.values())
    assert neurons == ["", *(f"{LAYER}:{number}" for number in range(4))]


def test_chunks_tell_what_they_held(built: tuple[DirectoryStore, list[ChunkResult]]) -> None:
    """Portraits are counted as portraits, the canvas among them, and anybody can read that later."""
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
    """What ends a process at once."""


class DyingStore(DirectoryStore):
    """A store whose user dies before the second new file."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._grown = False
        self._one_at_a_time = Lock()

    def create(self, path: str, data: bytes) -> bool:
        with self._one_at_a_time:
            if self._grown and not self.exists(path):
                raise DiedError
            new = super().create(path, data)
            self._grown |= new
            return new


def test_a_build_that_dies_after_any_file_of_any_stage_completes_with_the_same_files(
    built: tuple[DirectoryStore, list[ChunkResult]], tmp_path: Path
) -> None:
    """With the canvas's colours but no picture, with both but no record, and so on through portraits and strips."""
    store = DirectoryStore(tmp_path / "walk")
    deaths: Counter[str] = Counter()
    while (plan := make_plan(SPEC, store, 1)).unrecorded:
        with suppress(DiedError):
            build(SPEC, DyingStore(store.root))
        deaths[plan.stage] += 1
    publish(store, SPEC.name)

    # one for each file of a picture, and for each record
    assert deaths == {"the canvas of all portraits": 3, "portraits": 10, "pairs": 15}
    assert verify(store).intact
    assert ends_meet(store)
    pictures = [f for f in files_of(built[0]) if "records" not in f and f.endswith((".png", ".webp", ".npy"))]
    assert len(pictures) == 22
    for path in pictures:
        assert store.read(path) == built[0].read(path), path


def test_a_walk_over_a_neuron_has_its_portrait_once(store: DirectoryStore) -> None:
    """The middle frame of a road of two strips is the portrait of the neuron between."""
    roads = [road for road in read_roads(store) if {str(FIRST), str(SECOND)} != set(road.neurons)]

    way = shortest(roads, FIRST, SECOND)
    frames = read_frames(store, way)

    assert len(way) == 2
    assert len(frames) == 4 + 4 - 1
    np.testing.assert_array_equal(frames[3], decode(store.read(portrait_path(way[0].ends[1]))))


def test_what_was_just_built_is_intact_and_counts_every_file_once(store: DirectoryStore) -> None:
    """Six strips with a preview each, four portraits and a canvas in two files each, and three files of data."""
    report = verify(store)

    assert (report.checked, report.intact, report.extra, report.stale) == (6 * 2 + 5 * 2 + 3, True, (), ())


def damage(store: DirectoryStore, path: str) -> None:
    data = bytearray(store.read(path))
    data[len(data) // 2] ^= 1
    store.replace(path, bytes(data))


@pytest.mark.parametrize("harm", [damage, DirectoryStore.delete])
def test_a_spoilt_portrait_takes_its_strips_with_it_and_a_build_brings_all_back(
    store: DirectoryStore, harm: Callable[[DirectoryStore, str], None]
) -> None:
    """Whoever renders it again may round otherwise: no strip may stay that ends on the old one."""
    before = files_of(store)
    record = next(iter(records_of(store).values()))
    assert record.portraits is not None
    path = portrait_path(record.portraits[0])
    standing = {
        picture(other.key)
        for other in records_of(store).values()
        if record.portraits[0] in (other.portraits or ())
        for picture in (sheet_path, preview_path)
    }
    harm(store, path)

    report = verify(store)
    repair(store, report)

    assert (*report.missing, *report.damaged) == (path,)
    assert set(report.stale) == standing
    assert len(standing) == 6
    gone = set(before) - set(files_of(store))
    assert standing < gone
    assert {kind.partition("/")[0] for kind in gone - standing} == {"portraits", "records"}
    plan = make_plan(SPEC, store, 1)
    assert record.portraits[0] in {planned.key for chunk in plan.chunks for planned in chunk.portraits}
    build(SPEC, store)
    publish(store, SPEC.name)
    assert verify(store).intact
    assert ends_meet(store)
    assert {path: data for path, data in files_of(store).items() if path.endswith((".png", ".npy", ".webp"))} == {
        path: data for path, data in before.items() if path.endswith((".png", ".npy", ".webp"))
    }


def test_spoilt_colours_cost_a_portrait_only(store: DirectoryStore) -> None:
    """Strips stand on its picture; new ones need its colours, which are rendered again."""
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


def test_a_portrait_without_a_record_is_extra_and_is_used(store: DirectoryStore) -> None:
    """A killed chunk leaves such files, and the next run's record tells of them as they are."""
    portraits = [key for key, record in portraits_of(store).items() if record.neuron]
    records = [path for path in store.list("portraits/records/") if "portraits-" in path]
    before = files_of(store)
    for path in records:
        store.delete(path)

    assert verify(store).extra == tuple(sorted(map(colours_path, portraits)))  # strips still need the pictures
    build(SPEC, store)

    kept = {path: data for path, data in files_of(store).items() if path.endswith((".png", ".npy"))}
    assert kept == {path: data for path, data in before.items() if path.endswith((".png", ".npy"))}


def test_a_portrait_that_cannot_be_read_is_told_with_the_remedy(store: DirectoryStore) -> None:
    """No strip is made from half of it, and nothing that is stored there is trusted."""
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
    """The atlas gets done, and nobody tries again and again."""
    store = DirectoryStore(tmp_path / "walk")
    plan = make_plan(SPEC, store, 1)
    render_chunk(order(plan, plan.chunks[0]), store)
    plan = make_plan(SPEC, store, 1)
    first, second = plan.chunks
    hopeless = (replace(first.portraits[0], reason="objective not finite at update 1; there was none before"),)
    render_chunk(order(plan, replace(first, portraits=(*hopeless, *first.portraits[1:]))), store)
    render_chunk(order(plan, second), store)

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
