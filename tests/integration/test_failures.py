"""A build on a full disk."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from job import Job


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

    finished = job.run_loaded("build", str(job.spec_file))

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
