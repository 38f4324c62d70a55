"""Builds in trouble: a full disk, an object store that fails for a while."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from job import SMALL, Job, finish, wait_for

sys.path.insert(0, str(Path(__file__).parents[1]))
from fault_proxy import Fault, FaultProxy
from seaweed import BUCKET, Seaweed, environment, serving

SLOW = SMALL | {"steps": 240}  # long enough to be interrupted


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 192 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        if os.environ.get("CI"):
            pytest.fail(f"expected to be allowed to mount a small disk: {mounted.stderr}")
        pytest.skip("mounting a small disk needs the right to do so")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_ends_the_build_in_one_line_and_room_lets_it_go_on(job: Job, small_disk: Path) -> None:
    """Earlier records stay and no partial file is left; with more room the same command completes."""
    job.write(output=str(small_disk), compute={"processes": 1, "chunk_pairs": 1})
    atlas = small_disk / "small"

    finished = job.run("build", str(job.spec_file))

    assert (finished.returncode, finished.stdout) == (2, "")
    assert len(finished.stderr.splitlines()) == 1
    assert finished.stderr.startswith(f"isthmus: {atlas}")
    assert "No space left on device; make room and run the same command again" in finished.stderr
    assert [path for path in atlas.rglob("*") if path.name.endswith(".tmp")] == []
    before = {path: path.read_bytes() for path in (*atlas.glob("records/*"), *atlas.glob("sheets/*/*"))}
    assert 0 < len(before) < 12

    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    assert job.build()["done"] == 6
    assert {path: path.read_bytes() for path in before} == before
    assert job.run_here("verify", str(atlas)).returncode == 0


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A real object store on this machine, with an empty bucket."""
    with serving(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


def test_a_build_waits_for_an_object_store_in_trouble(job: Job, seaweed: Seaweed) -> None:
    """A build completes in spite of refusals, broken connections, slow and lost answers and 20 s of silence."""
    with FaultProxy(seaweed.url).running() as proxy:
        job.environment |= environment(proxy.url)
        job.write(
            output=f"s3://{BUCKET}/trouble", render=SMALL | {"steps": 100}, compute={"processes": 1, "chunk_pairs": 1}
        )
        proxy.inject(Fault("refuse", times=4, method="PUT", path=".*sheets/.*"))
        proxy.inject(Fault("reset", times=3, method="PUT", path=".*previews/.*"))
        proxy.inject(Fault("drop", times=2, method="PUT", path=".*records/.*"))
        proxy.inject(Fault("slow", times=3, path=".*sheets/.*", seconds=2))
        build = job.start()

        def first_record() -> bool:
            return any(method == "PUT" and "/records/" in path for method, path in proxy.requests)

        wait_for(first_record, "the first record")
        proxy.die(20)
        output, complaints = finish(build)

    assert build.returncode == 0, complaints
    assert json.loads(output)["done"] == 6
    job.environment |= environment(seaweed.url)
    report = json.loads(job.run("verify", f"s3://{BUCKET}/trouble/small", "--json").stdout)
    assert (report["missing"], report["damaged"], report["extra"]) == ([], [], [])
    listed = seaweed.client().list_objects_v2(Bucket=BUCKET, Prefix="trouble/small/sheets/")["Contents"]
    assert len(listed) == 6
