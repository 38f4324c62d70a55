"""The engine that a spec names. No other module of a build depends on the kind of engine."""

from __future__ import annotations

from core.spec import Compute
from flows.engines.engine import Engine
from flows.engines.local import LocalEngine
from flows.engines.ray_cluster import RayEngine
from flows.engines.work_pool import WorkPoolEngine


def engine_of(compute: Compute) -> Engine:
    """Return the engine that a spec names; nothing is started."""
    if compute.engine == "ray":
        return RayEngine(compute)
    if compute.engine == "work-pool":
        return WorkPoolEngine(compute)
    return LocalEngine(compute.processes)
