"""The session of a build: the parts that the command line hands to the flow, or that the flow makes for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from core.atlas.leases import Leases
from core.machine.parallel import chunks_at_once
from core.rendering.chunk import ChunkResult
from core.spec import AtlasSpec
from core.store.store import open_store
from flows.engines.choice import engine_of
from flows.engines.engine import Engine, closing
from flows.outcome import BuildResult

_session: ContextVar[Session | None] = ContextVar("session of the build", default=None)


@dataclass(frozen=True)
class Session:
    """The parts of a build that live longer than its flow run.

    Attributes:
        engine: renders the chunks.
        leases: shares the chunks with other builds of the atlas.
        finished: called with the result of each chunk.
        ended: called at the end of the build, before Prefect's server is told; with None if it was interrupted.
    """

    spec: AtlasSpec
    engine: Engine
    leases: Leases
    finished: Callable[[ChunkResult], None]
    ended: Callable[[BuildResult | None], None]


@contextmanager
def open_session(
    spec: AtlasSpec,
    leases: Leases | None = None,
    finished: Callable[[ChunkResult], None] = lambda _result: None,
    ended: Callable[[BuildResult | None], None] = lambda _result: None,
) -> Iterator[Session]:
    """Yield a session for a spec, and end it.

    Within an `open_session` for the same spec this yields the session that is open already, and the outer call ends it.
    So the command line can begin an engine while the Prefect server still loads, and the flow then uses it.

    Args:
        leases: if the build has told other builds of itself already.
        finished, ended: as in `Session`.
    """
    already_open = _session.get()
    if already_open is not None and already_open.spec == spec:
        yield already_open
        return
    if leases is None:
        store = open_store(spec.uri, spec.storage)
        leases = Leases(store, spec.compute.renders_here, chunks_at_once(spec.compute) or 1)
    try:
        with closing(engine_of(spec.compute)) as engine:
            session = Session(spec, engine, leases, finished, ended)
            token = _session.set(session)
            try:
                yield session
            finally:
                _session.reset(token)
    finally:
        leases.end()
