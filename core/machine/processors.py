"""The number of processors that this process may use."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_PROCESS = Path("/proc/self")


def processors(process: Path = _PROCESS) -> int:
    """Return the processors of this process: those of its CPU affinity, or fewer if a control group has a CPU quota.

    A quota is the processor time that a group of processes may take in a period. Containers and job schedulers set
    quotas. A quota of 1.5 processors counts as 2. Files that are missing or unreadable mean that there is no quota.

    Args:
        process: the folder of this process in /proc.
    """
    return max(1, min([len(os.sched_getaffinity(0)), *_quotas(process)]))


def _quotas(process: Path) -> Iterator[int]:
    """Yield the quotas of the control groups that this process is in, in processors, rounded up."""
    for folder in _folders(process):
        for read in (_quota_of_version_2, _quota_of_version_1):
            try:
                quota, period = read(folder)
            except (OSError, ValueError):  # there is no such file, or its quota is the word max
                continue
            if quota > 0 and period > 0:  # version 1 has the quota -1 for none
                yield -(-quota // period)


def _quota_of_version_2(folder: Path) -> tuple[int, int]:
    quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
    return int(quota), int(period)


def _quota_of_version_1(folder: Path) -> tuple[int, int]:
    quota, period = ((folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period"))
    return int(quota), int(period)


def _folders(process: Path) -> Iterator[Path]:
    """Yield the folders of the control groups that limit processors: those of this process and their parents."""
    try:
        paths = dict(_paths((process / "cgroup").read_text(encoding="utf-8", errors="surrogateescape")))
        mounts = (process / "mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for mount in mounts:
        before, _, after = mount.partition(" - ")
        fields, (kind, *options) = before.split(), after.split() or [""]
        if len(fields) < 5 or not (kind == "cgroup2" or (kind == "cgroup" and "cpu" in options[-1].split(","))):
            continue
        root, mounted = PurePosixPath(_unescaped(fields[3])), Path(_unescaped(fields[4]))
        path = paths.get(kind, root)
        # In a container the path may lie outside of what is mounted. Then the mounted folder is the container's group.
        inside = path.relative_to(root) if path.is_relative_to(root) and ".." not in path.parts else PurePosixPath()
        yield mounted
        for parent in [inside, *inside.parents][: len(inside.parts)]:
            yield mounted / parent


def _paths(lines: str) -> Iterator[tuple[str, PurePosixPath]]:
    """Yield (kind of the file system, path of this process's group in it) from the lines of /proc/self/cgroup."""
    for line in lines.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers or "cpu" in controllers.split(","):
            yield ("cgroup" if controllers else "cgroup2"), PurePosixPath(path)


def _unescaped(path: str) -> str:
    r"""Return a path of /proc/self/mountinfo, which has spaces and backslashes as octal numbers such as \040."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), path)
