"""The number of chunks that are rendered at once."""

from __future__ import annotations

from core.machine import device
from core.machine.processors import processors
from core.spec import Compute


def process_count(processes: int | None) -> int:
    """Return how many processes render on this machine: *processes*, or else one per GPU, or else one per processor."""
    return processes or len(device.gpus()) or processors()


def chunks_at_once(compute: Compute) -> int | None:
    """Return how many chunks are rendered at once, or None if that depends on a Ray cluster elsewhere."""
    if compute.engine == "work-pool":
        return chunks_on_workers(compute)
    return process_count(compute.processes) if compute.renders_here else compute.processes


def chunks_on_workers(compute: Compute) -> int:
    """Return how many chunks the workers of a work pool render at once; without `processes`, one each is assumed."""
    return compute.shards_in_flight * (compute.processes or 1)
