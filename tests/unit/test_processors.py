"""The processors that a process may use, tested with copies of the files that Linux has in /proc and /sys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.machine.parallel import process_count
from core.machine.processors import processors


@pytest.fixture(autouse=True)
def _eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def version_2(folder: Path, path: str, root: str = "/") -> None:
    """Write the files of a process in a control group of version 2; its tree is mounted at "mounted here"."""
    mounted = str(folder / r"mounted\040here")
    (folder / "cgroup").write_text(f"0::{path}\n", encoding="utf-8")
    (folder / "mountinfo").write_text(
        "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
        f"31 22 0:26 {root} {mounted} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
        encoding="utf-8",
    )


def limit(folder: Path, group: str, text: str, name: str = "cpu.max") -> None:
    (folder / "mounted here" / group).mkdir(parents=True, exist_ok=True)
    (folder / "mounted here" / group / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", 8), ("150000 100000\n", 2), ("100000 100000\n", 1), ("5000 100000\n", 1), ("900000 100000", 8),
        ("", 8), ("100000\n", 8), ("much less\n", 8), ("0 100000\n", 8), ("-1 100000\n", 8), ("100000 0\n", 8),
    ],
)  # fmt: skip
def test_a_quota_is_rounded_up(tmp_path: Path, text: str, expected: int) -> None:
    """A quota of 1.5 processors counts as 2. No quota, and text that is no quota, leave the affinity."""
    version_2(tmp_path, "/jobs/one")
    limit(tmp_path, "jobs/one", text)

    assert processors(tmp_path) == expected


@pytest.mark.parametrize("group", ["", "jobs", "jobs/one"])
def test_the_quotas_of_parents_count(tmp_path: Path, group: str) -> None:
    """The smallest quota of the group and its parents holds."""
    version_2(tmp_path, "/jobs/one")
    limit(tmp_path, "jobs/one", "600000 100000")
    limit(tmp_path, group, "300000 100000")

    assert processors(tmp_path) == 3


@pytest.mark.parametrize(("path", "root"), [("/", "/"), ("/../other", "/"), ("/docker/a", "/docker/a"), ("/x", "/y")])
def test_in_a_container_the_mounted_folder_is_the_group(tmp_path: Path, path: str, root: str) -> None:
    """A container sees its own group at the place of the mount, whatever the path of the process says."""
    version_2(tmp_path, path, root)
    limit(tmp_path, "", "200000 100000")

    assert processors(tmp_path) == 2


@pytest.mark.parametrize(("quota", "expected"), [("-1", 8), ("250000", 3)])
def test_version_1_has_two_files(tmp_path: Path, quota: str, expected: int) -> None:
    """Only the tree that has the controller `cpu` counts; the quota -1 is none."""
    (tmp_path / "cgroup").write_text("5:cpuset:/a\n4:cpu,cpuacct:/jobs/one\n1:name=systemd:/\n0::/\n", encoding="utf-8")
    (tmp_path / "mountinfo").write_text(
        f"40 22 0:27 / {tmp_path / 'other'} rw - cgroup cgroup rw,cpuset\n"
        f"41 22 0:28 / {tmp_path / 'mounted here'} rw - cgroup cgroup rw,cpu,cpuacct\n".replace(
            "mounted here", r"mounted\040here"
        ),
        encoding="utf-8",
    )
    limit(tmp_path, "jobs/one", quota, "cpu.cfs_quota_us")
    limit(tmp_path, "jobs/one", "100000\n", "cpu.cfs_period_us")

    assert processors(tmp_path) == expected


@pytest.mark.parametrize("mounts", [None, b"", b"x - cgroup2\n - \n", b"\xff\xfe\n"])
def test_files_that_are_missing_or_odd_mean_no_quota(tmp_path: Path, mounts: bytes | None) -> None:
    """Other systems than Linux, and sandboxes, have no such files, or have other text in them."""
    if mounts is not None:
        (tmp_path / "cgroup").write_bytes(b"\xff:no\n\n0::\n")
        (tmp_path / "mountinfo").write_bytes(mounts)

    assert processors(tmp_path) == 8


def test_without_gpus_a_process_renders_on_each_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting of a spec wins. CUDA_VISIBLE_DEVICES makes no GPU where there is none."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    monkeypatch.setattr("core.machine.parallel.processors", lambda: 5)

    assert (process_count(None), process_count(3)) == (5, 3)
