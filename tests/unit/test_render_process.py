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


@pytest.fixture
def ended_process(monkeypatch: pytest.MonkeyPatch) -> RenderProcess:
    """A process that was ended before it was needed."""
    monkeypatch.setattr(fork_server, "start", lambda: None)  # which takes seconds
    process = RenderProcess()
    process.end(kill=True)
    return process


def test_a_task_that_begins_after_its_process_was_ended_is_told_so(ended_process: RenderProcess) -> None:
    """Between the thread that begins a task and its first word to the process, a build may be stopped."""
    assert isinstance(_error_of_a_task(ended_process), ProcessEndedError)


def test_a_task_whose_process_was_ended_before_it_heard_of_it_is_told_so(
    ended_process: RenderProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that still loads has not begun what it was asked for, so this is taken back."""
    taken_back = Future[ChunkResult]()
    taken_back.cancel()
    monkeypatch.setattr(ended_process, "_submit", lambda *_: taken_back)

    assert isinstance(_error_of_a_task(ended_process), ProcessEndedError)


def _error_of_a_task(process: RenderProcess) -> BaseException | None:
    ended: SimpleQueue[Future[ChunkResult]] = SimpleQueue()
    process.render("chunk", lambda render: render("atlas", Storage(), "plan", "chunk", 1), ended.put)
    return ended.get(timeout=60).exception()
