"""Render processes and the tasks that use them."""

from __future__ import annotations

from concurrent.futures import Future
from queue import SimpleQueue

import pytest

from core.rendering.chunk import ChunkResult
from core.spec import Storage
from flows.engines import fork_server
from flows.engines.render_process import RenderProcess
from tasks.render import ProcessEndedError


def test_a_task_that_begins_after_its_process_was_ended_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the thread that begins a task and its first word to the process, a build may be stopped."""
    monkeypatch.setattr(fork_server, "start", lambda: None)  # which takes seconds
    process = RenderProcess()
    ended: SimpleQueue[Future[ChunkResult]] = SimpleQueue()

    process.end(kill=True)
    process.render("chunk", lambda render: render("atlas", Storage(), "plan", "chunk", 1), ended.put)

    assert isinstance(ended.get(timeout=60).exception(), ProcessEndedError)
