"""How many processes render at once on this machine."""

from __future__ import annotations

import os

from core import device
from core.spec import Compute


def process_count(compute: Compute) -> int:
    """The number asked for, or else one per GPU, or else one per core that this process may use."""
    return compute.processes or device.gpu_count() or len(os.sched_getaffinity(0))
