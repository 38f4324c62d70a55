"""How much is rendered at once."""

from __future__ import annotations

import os

from core.machine import device
from core.spec import Compute

DEPLOYMENT = "render-shard/gpu"
WORKERS = 4
SHARD_MINUTES = 10.0
"""What a spec means that leaves these keys of `compute` out."""


def process_count(compute: Compute) -> int:
    """Chunks at once on this machine: the number asked for, or else one per GPU, or else one per core."""
    return compute.processes or len(device.gpus()) or len(os.sched_getaffinity(0))


def chunks_at_once(compute: Compute) -> int:
    """Chunks at once in all, as far as that can be known before the work is begun."""
    if compute.engine == "work-pool":
        return (compute.workers or WORKERS) * (compute.processes or 1)
    return process_count(compute)
