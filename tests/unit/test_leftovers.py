"""Temporary files of killed processes: the next publish or build deletes them when they are an hour old."""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
import time
from pathlib import Path

import pytest
from command_line import Isthmus
from sample_records import RECORDS
from seaweed import BUCKET, Seaweed

from core.atlas.records import to_ndjson
from core.machine import leftovers
from core.machine.environment import temporary_folder
from core.machine.leftovers import sweep_machine
from core.spec import Storage
from core.store.store import open_store, sweep

HEX = "0123456789abcdef" * 2
LEFT = [
    f"atlas/records/.a.ndjson.{HEX}.tmp",
    f"atlas/sheets/ab/.abc.png.{HEX}.tmp",
    f"atlas/sheets/ab/.{HEX}.tmp",
    "atlas/.manifest.json.lock.tmp",
    "atlas/.index.html.claim.tmp",
    f"atlas/.probe.{HEX}.tmp",
    f".probe.{HEX}.tmp",
]
KEPT = ["atlas/.notes.tmp", "atlas/.tmp", "atlas/a.tmp", f"other/.a.{HEX}.tmp", f".a.{HEX}.tmp"]


def make_older(*paths: Path, seconds: float = 3700) -> None:
    for path in paths:
        os.utime(path, (time.time() - seconds,) * 2)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize("as_json", [True, False])
def test_publishing_deletes_what_killed_writers_have_left(isthmus: Isthmus, tmp_path: Path, as_json: bool) -> None:
    """`verify` counts these files. Young ones, which may be in use, and files of other programs stay."""
    touch(*(tmp_path / path for path in (*LEFT, *KEPT)))
    (tmp_path / "atlas" / "records" / "a.ndjson").write_bytes(to_ndjson(RECORDS))
    young = [tmp_path / "atlas" / "data" / f".young.{HEX}.tmp", tmp_path / "atlas" / ".young.lock.tmp"]
    touch(*young)
    make_older(*(tmp_path / path for path in (*LEFT, *KEPT)))

    before = isthmus("verify", "atlas", *(["--json"] if as_json else []))
    assert isthmus("publish", "atlas").code == 0
    after = isthmus("verify", "atlas", "--json")

    assert json.loads(after.out)["temporary"] == 0
    told = "7 temporary files of killed processes, which the next build or publish deletes"
    assert json.loads(before.out)["temporary"] == 7 if as_json else told in before.out
    assert not [path for path in LEFT if (tmp_path / path).exists()]
    assert all((tmp_path / path).exists() for path in KEPT)
    assert all(path.exists() for path in young)


def test_a_probe_that_was_left_in_a_bucket_is_deleted(
    seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A bucket has no other temporary objects, because every object is written by one call."""
    for variable, value in seaweed.environment.items():
        monkeypatch.setenv(variable, value)
    store = open_store(f"s3://{BUCKET}/{tmp_path.name}/left", Storage(endpoint_url=seaweed.url))
    for path in (f"plan/probe-{HEX}", "plan/spec.json", "records/a.ndjson"):
        store.replace(path, b"{}")

    assert sweep(store) == 0
    monkeypatch.setattr("core.store.s3.OLD_SECONDS", -60.0)

    assert list(store.leftovers()) == [f"plan/probe-{HEX}"]
    assert sweep(store) == 1
    assert list(store.list("")) == ["plan/spec.json", "records/a.ndjson"]


def test_a_store_that_does_not_exist_has_no_leftovers(tmp_path: Path) -> None:
    """Nothing is written."""
    assert sweep(open_store(str(tmp_path / "new" / "atlas"))) == 0
    assert not list(tmp_path.iterdir())


def test_the_cache_is_swept_but_for_what_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partial download is kept for a week, because it is resumed; a lock stays while a process holds it."""
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path))
    left = [tmp_path / path for path in (f".a.{HEX}.tmp", f"pace/.b.json.{HEX}.tmp", "c.lock", "old.part")]
    kept = [tmp_path / path for path in ("held.lock", "new.part", "pace/b.json", "a.pb", "prefect/3-sqlite-3")]
    touch(*left, *kept)
    make_older(*left, *kept)
    make_older(tmp_path / "old.part", seconds=8 * 24 * 3600)
    with (tmp_path / "held.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        assert sweep_machine() == len(left)

    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


def test_homes_of_temporary_servers_are_swept_but_for_those_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home is in use as long as the process that has created it lives, however long its build takes."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    used = temporary_folder("")
    left, foreign = tmp_path / "isthmus-prefect-killed", tmp_path / "isthmus-other"
    touch(*(folder / "prefect.db" for folder in (used, left, foreign)))
    young = tmp_path / "isthmus-prefect-young"
    young.mkdir()
    make_older(used, left, foreign)

    assert sweep_machine() == 1

    assert sorted(tmp_path.iterdir()) == sorted([foreign, used, young])
    assert re.fullmatch(r"isthmus-prefect-\w+", used.name)


def test_a_file_that_vanishes_meanwhile_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two publishers may sweep at once."""
    store = open_store(str(tmp_path))
    touch(tmp_path / f".a.{HEX}.tmp", tmp_path / f".b.{HEX}.tmp")
    make_older(*tmp_path.iterdir())
    found = store.leftovers()
    (tmp_path / f".b.{HEX}.tmp").unlink()

    assert [store.delete(path) for path in found] == [None]
    assert not leftovers.is_old(tmp_path / "gone")
