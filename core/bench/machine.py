"""The machine that a benchmark runs on."""

from __future__ import annotations

import os
import platform
import resource
from dataclasses import dataclass
from pathlib import Path

from core.machine import device


@dataclass(frozen=True)
class Machine:
    """A machine and its load when a benchmark begins.

    Attributes:
        device: name of the device that renders.
        cores: CPU cores that this process may use.
        load: mean number of running processes over the last minute.
        versions: package -> version.
    """

    device: str
    cores: int
    load: float
    versions: dict[str, str]

    @classmethod
    def here(cls) -> Machine:
        """Describe this machine."""
        versions = {"python": platform.python_version(), **device.versions()}
        return cls(device.expected(), len(os.sched_getaffinity(0)), round(os.getloadavg()[0], 1), versions)


def process_mb() -> float:
    """Return the resident memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def process_peak_mb() -> float:
    """Return the largest resident memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
