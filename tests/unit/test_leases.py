"""Leases: builds of one atlas hold chunks, the older build comes first, and dead builds hold nothing."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from core.atlas import leases
from core.atlas.leases import Leases
from core.store.store import DirectoryStore


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path)


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "process_count", lambda _processes: 2)


def build(store: DirectoryStore, processes: int = 2, renders_here: bool = True) -> Leases:
    """Return the leases of a build that has begun after those before."""
    made = Leases(store, renders_here, processes)
    made.keep()
    return made


def change(store: DirectoryStore, **fields: object) -> None:
    """Change fields of the only lease in a store."""
    [path] = store.list("plan/leases/")
    store.replace(path, json.dumps(json.loads(store.read(path)) | fields).encode())


def index(store: DirectoryStore, plan: str, *chunks: str) -> None:
    store.replace(f"{plan}/chunks.json", json.dumps({chunk: [] for chunk in chunks}).encode())


def test_a_chunk_that_another_build_holds_cannot_be_taken_until_it_is_released(store: DirectoryStore) -> None:
    """It makes no difference which of the builds is older."""
    older, younger = build(store, renders_here=False), build(store, renders_here=False)
    assert older.take("x")
    assert younger.take("y")
    assert not younger.take("x")
    assert not older.take("y")
    assert younger.elsewhere(["x", "y", "z"]) == {"x"}
    assert (older.taken, younger.taken) == (1, 1)

    older.release("x")
    assert older.take("z")  # the other build learns of the release with the next change
    assert younger.take("x")


def test_a_build_takes_nothing_before_it_has_adopted_the_plan_of_an_older_build(store: DirectoryStore) -> None:
    """Otherwise both would render the same pairs in chunks of different names."""
    older, younger = build(store, renders_here=False), build(store, renders_here=False)
    younger.begin("plan/b", younger.plans())
    older.begin("plan/a", older.plans())
    assert older.plans() == frozenset()
    assert not younger.take("x")

    adopted = younger.plans()
    younger.begin("plan/b", adopted)
    assert adopted == {"plan/a"}
    assert younger.take("x")
    assert older.take("y")


def test_a_lease_ends_with_its_build_with_its_process_and_with_time(store: DirectoryStore) -> None:
    """What a build held can be taken again."""
    other = build(store)
    held = other.take("x")
    mine = Leases(store, renders_here=True, processes=2)
    assert held
    assert [lease.chunks for lease in mine.others()] == [("x",)]

    [path] = store.list("plan/leases/")
    lease = json.loads(store.read(path))
    ended = subprocess.Popen(["true"])
    ended.wait()
    for change_ in (
        {"renewed": lease["renewed"] - 600},
        {"renewed": lease["renewed"] + 600},
        {"process": ended.pid},
        {"started": "1"},
    ):
        change(store, **change_)
        assert mine.others() == [], change_
        change(store, **lease)
        assert len(mine.others()) == 1
    change(store, machine="another", process=ended.pid)  # its processes cannot be seen from here
    assert len(mine.others()) == 1
    other.end()
    assert mine.others() == []
    assert list(store.list("plan/leases/")) == []


def test_a_second_build_on_busy_processors_leaves_the_plan_to_the_first(store: DirectoryStore) -> None:
    """It renders only what the older build's plan lacks; the older build does not care about the younger one."""
    older, younger = build(store), build(store)
    assert (older.room(), younger.room()) == (2, 0)
    assert younger.elsewhere(["x", "y"]) == {"x", "y"}  # the older build may still plan either

    index(store, "plan/a", "x", "z")
    older.begin("plan/a", frozenset())
    assert younger.elsewhere(["x", "y"]) == {"x"}
    assert older.elsewhere(["x", "y"]) == set()

    older.end()
    assert younger.room() == 2
    assert younger.elsewhere(["x", "y"]) == set()


@pytest.mark.parametrize(
    ("change_", "room"), [({"place": "other"}, 2), ({"machine": "other"}, 2), ({"processes": 1}, 1), ({}, 0)]
)
def test_only_builds_on_the_same_processors_take_room(
    store: DirectoryStore, change_: dict[str, object], room: int
) -> None:
    """Builds on other machines, or on other processors of this machine, share the work."""
    build(store)
    change(store, **change_)
    assert Leases(store, renders_here=True, processes=2).room() == room
    assert Leases(store, renders_here=False, processes=8).room() == 8


def test_waiting_ends_when_the_chunks_are_recorded_or_free(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build waits for chunks only as long as other builds render all of them."""
    older, younger = build(store, renders_here=False), build(store, renders_here=False)
    assert older.take("x")
    assert older.take("y")
    pauses = []

    def pause(_seconds: float) -> None:
        pauses.append(len(pauses))
        if len(pauses) == 1:
            store.create("records/x.ndjson", b"")
        elif len(pauses) == 2:
            older.end()

    monkeypatch.setattr(leases.time, "sleep", pause)
    younger.wait(["x", "y"])
    assert len(pauses) == 2
    younger.wait(["x", "y"])
    assert len(pauses) == 2


def test_damaged_leases_and_lost_stores_hold_nothing(store: DirectoryStore, tmp_path: Path) -> None:
    """Leases save work only, so an error of the store is not an error of the build."""
    store.replace("plan/leases/damaged.json", b"{")
    mine = build(store)
    assert mine.others() == []
    (tmp_path / "plan" / "leases").rename(tmp_path / "gone")
    (tmp_path / "plan" / "leases").touch()
    assert mine.take("x")
    assert mine.room() == 2
    mine.end()


def test_old_leases_of_killed_builds_are_deleted(store: DirectoryStore) -> None:
    """The next build deletes them."""
    build(store)
    change(store, started="1", renewed=time.time() - 7200)
    mine = build(store)
    assert len(list(store.list("plan/leases/"))) == 1
    mine.end()
