"""Chunks that an unexpected exception ended. Each is told at once with its cause, and none is rendered again."""

from __future__ import annotations

from collections.abc import Iterable

from prefect import get_run_logger

from core.errors import UnfinishedError
from core.rendering.process import UnexpectedError

_TOLD = 3
"""Chunks that are told as errors, because all may fail alike; the log has the others too. If these are the first chunks
of a build, it ends."""


class Faults:
    """The chunks of a build, or of a shard, that failed by an unexpected exception; used within a flow run.

    Attributes:
        first: the cause of the first failure; None without failures.
    """

    def __init__(self) -> None:
        self.first: str | None = None
        self._chunks: set[str] = set()
        self._any_finished = False
        self._log = get_run_logger()

    def __bool__(self) -> bool:
        return bool(self._chunks)

    def chunk_finished(self) -> None:
        """Note that a chunk was rendered, so not every chunk fails."""
        self._any_finished = True

    def chunk_failed(self, chunk: str, error: UnexpectedError) -> None:
        """Tell a failed chunk with its cause.

        Raises:
            UnfinishedError: if the first three chunks all failed. The others would fail too, and would take their time.
        """
        self.first = self.first or str(error)
        self._chunks.add(chunk)
        tell = self._log.error if len(self._chunks) <= _TOLD else self._log.info
        tell("chunk %s failed by a fault of Isthmus or of a library, %s\n%s", chunk, error, error.traceback)
        if len(self._chunks) == _TOLD and not self._any_finished:
            raise UnfinishedError(f"the first {_TOLD} chunks all failed, the last one by {error}")

    def spare(self, chunks: Iterable[str]) -> tuple[str, ...]:
        """Return the chunks that have not failed."""
        return tuple(chunk for chunk in chunks if chunk not in self._chunks)
