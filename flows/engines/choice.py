"""The engine that a spec names. No other module of a build depends on the kind of engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from core.spec import Compute
from flows.engines.engine import Engine, closing
from flows.engines.local import LocalEngine
from flows.engines.ray_cluster import RayEngine
from flows.engines.work_pool import WorkPoolEngine

_open: ContextVar[tuple[Compute, Engine] | None] = ContextVar("engine of the build", default=None)


@contextmanager
def open_engine(compute: Compute) -> Iterator[Engine]:
    """Yield the engine that a spec names, and close it at the end.

    Within an `open_engine` of the same settings this yields the engine that is open already, and the outer call closes
    it. So the command line can begin an engine while the Prefect server still loads, and the flow then uses it.
    """
    already_open = _open.get()
    if already_open is not None and already_open[0] == compute:
        yield already_open[1]
        return
    with closing(_engine_of(compute)) as engine:
        token = _open.set((compute, engine))
        try:
            yield engine
        finally:
            _open.reset(token)


def _engine_of(compute: Compute) -> Engine:
    if compute.engine == "ray":
        return RayEngine(compute)
    if compute.engine == "work-pool":
        return WorkPoolEngine(compute)
    return LocalEngine(compute.processes)
