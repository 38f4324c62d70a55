"""Builds with a fault in the code: the cause is told at once, and work that fails alike is not repeated."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from job import Job

FAULT = "ValueError: a picture that no format can hold"
# Python imports this in every process that it starts. Pictures of the keys in `faulty` cannot be stored.
_FAULTY = """
import sys
from pathlib import Path
import core.store.store as stores

folder, keep_well = Path(__file__).parent, stores.keep

def keep_or_fail(store, path, data):
    key = Path(path).stem
    if path.startswith("sheets/") and key in (folder / "faulty").read_text().split():
        with (folder / "attempts").open("a") as attempts:
            print(key, file=attempts)
        raise ValueError("a picture that no format can hold")
    return keep_well(store, path, data)

for module in list(sys.modules.values()):  # some may have imported the function already
    if getattr(module, "__dict__", {}).get("keep") is keep_well:
        module.keep = keep_or_fail
"""


@pytest.fixture
def keys(job: Job) -> list[str]:
    """The keys of the job's pairs; from now on the job runs code whose faults the tests choose."""
    folder = job.folder / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_FAULTY)
    job.environment["PYTHONPATH"] = str(folder)
    job.write(compute={"processes": 1, "chunk_pairs": 1})
    from core.atlas.plan import make_plan
    from core.spec_file import read_spec
    from core.store.store import DirectoryStore

    return [planned.key for planned in make_plan(read_spec(job.spec_file), DirectoryStore(job.atlas), 1).missing_pairs]


def fail(job: Job, keys: list[str]) -> None:
    (job.folder / "site" / "faulty").write_text("\n".join(keys))


def attempts(job: Job) -> list[str]:
    return (job.folder / "site" / "attempts").read_text().split()


def told(stderr: str) -> list[Path]:
    """Make sure that every line tells a failed chunk; return the files with the tracebacks."""
    lines = stderr.splitlines()
    found = [re.fullmatch(rf"isthmus: chunk [0-9a-f]+ failed .*, {FAULT}; the traceback is in (.+)", x) for x in lines]
    assert all(found), stderr
    return [Path(match[1]) for match in found if match]


def test_a_faulty_pair_costs_no_other_pair_and_is_told_with_its_cause(job: Job, keys: list[str]) -> None:
    """The pairs of a chunk that failed get chunks of their own, and a chunk that failed is not rendered again."""
    fail(job, keys[2:3])
    job.write(compute={"processes": 1, "chunk_pairs": 6})

    build = job.run_loaded("build", str(job.spec_file), "--json")

    result: dict[str, Any] = json.loads(build.stdout)
    assert build.returncode == 1
    assert (result["done"], result["failed"], result["missing"], result["rendered"]) == (5, 0, 1, 5)
    assert job.records().keys() == set(keys) - {keys[2]}
    assert attempts(job) == [keys[2]] * 2  # with the others and alone
    [log] = set(told(build.stderr))
    assert log.parent == job.folder / "cache" / "logs"
    text = log.read_text()
    assert text.count(FAULT) == 4  # each time in the message and at the end of the traceback
    assert "in keep_or_fail" in text
    assert Path(result["page"]).is_file()


def test_a_build_that_fails_in_every_chunk_ends_soon_and_opens_nothing(job: Job, keys: list[str]) -> None:
    """Three chunks fail once each, and the others would fail too. Nothing is published, so no page is named."""
    fail(job, keys)

    build = job.run_loaded("build", str(job.spec_file))

    assert build.returncode == 1
    assert build.stdout == f"{job.atlas}: 0 rendered; 0 of 6 pairs done, 0 failed, 6 missing\n"
    assert len(attempts(job)) == len(set(attempts(job)))  # the fourth may have begun before its process was ended
    assert len(attempts(job)) in (3, 4)
    *chunks, end = build.stderr.splitlines()
    assert len(told("\n".join(chunks))) == 3
    assert end == f"isthmus: the first 3 chunks all failed, the last one by {FAULT}; publishing what there is"
