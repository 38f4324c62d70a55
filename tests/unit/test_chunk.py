"""Rendering a chunk with the real model: when its files are stored, and the effect of an error."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sample_records import make_spec

from core.atlas.chunks import PlannedChunk
from core.atlas.plan import make_plan
from core.atlas.recorded import read_records
from core.atlas.verify import verify
from core.errors import StoreError
from core.rendering.chunk import render_chunk
from core.store.store import DirectoryStore

TINY = {
    "size_px": 37, "frames": 2, "steps": 2, "checkpoints": [1], "redirected_updates": 0, "alignment": {"weight": 0},
}  # fmt: skip


def planned_for(store: DirectoryStore) -> PlannedChunk:
    """Return a chunk of six pairs."""
    plan = make_plan(make_spec(["stem:0-3"], render=TINY, compute={"chunk_pairs": 6}), store, 1)
    [chunk] = plan.chunks
    return PlannedChunk(plan.model, plan.model_digest, plan.settings, chunk)


class WaitingStore(DirectoryStore):
    """A store that writes the first picture only after a sheet of another pair has arrived."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.created: list[str] = []
        self.in_time = True
        self._lock = threading.Lock()
        self._other = threading.Event()

    def create(self, path: str, data: bytes) -> bool:
        with self._lock:
            self.created.append(path)
            first = self.created[0]
        if path == first:
            self.in_time = self._other.wait(60)
        elif path.startswith("sheets/") and path[:30] != first[:30]:
            self._other.set()
        return super().create(path, data)


def test_pictures_are_stored_while_the_next_pairs_are_rendered(tmp_path: Path) -> None:
    """Rendering does not wait for a slow store; records are in the order of the plan, stored after all pictures."""
    store = WaitingStore(tmp_path)
    planned = planned_for(store)

    result = render_chunk(planned, store)

    assert store.in_time
    assert (result.done, result.failed) == (6, 0)
    assert len(store.created) == 6 * 2 * 2 + 1
    assert store.created[-1] == f"records/{planned.chunk.name}.ndjson"
    assert list(read_records(store, view=lambda record: record.status)) == [pair.key for pair in planned.chunk.pairs]
    report = verify(store)
    assert (report.missing, report.damaged, report.extra) == (("index.html", "manifest.json"), (), ())


class FailingStore(DirectoryStore):
    """A store that raises an error after three previews."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.previews = 0

    def create(self, path: str, data: bytes) -> bool:
        self.previews += path.startswith("previews/")
        if path.startswith("previews/") and self.previews > 3:
            raise StoreError(f"{self}/{path}: could not write, no more room for previews")
        return super().create(path, data)


def test_an_error_of_the_store_is_raised_and_nothing_is_recorded(tmp_path: Path) -> None:
    """If a picture cannot be stored, in any of the storing threads, its chunk has no records."""
    store = FailingStore(tmp_path)

    with pytest.raises(StoreError, match="no more room for previews"):
        render_chunk(planned_for(store), store)

    assert list(store.list("records/")) == []
