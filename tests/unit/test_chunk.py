"""Rendering a chunk with the real model: when its files are stored, and the effect of an error."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sample_records import make_spec

from core.atlas.chunks import PlannedChunk
from core.atlas.plan import make_plan
from core.atlas.recorded import read_records
from core.atlas.verify import verify
from core.errors import StoreError
from core.method.noise import noise_levels
from core.models.model import Model
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


def test_a_record_has_the_numbers_of_its_strip(tmp_path: Path, model: Model) -> None:
    """Crossing, pace, reach and the share that the ends keep follow from the activations; noise is the model's."""
    render = {"size_px": 32, "frames": 4, "steps": 4, "redirected_updates": 0, "alignment": {"layers": ["stem"]}}
    store = DirectoryStore(tmp_path)
    plan = make_plan(make_spec(["block0:0-1"], render=render), store, 1)
    [chunk] = plan.chunks

    render_chunk(PlannedChunk(plan.model, plan.model_digest, plan.settings, chunk), store)

    [record] = read_records(store, view=lambda record: record).values()
    a, b = np.array(record.activation_a), np.array(record.activation_b)
    assert (record.reach_a, record.reach_b) == (a.max(), b.max())
    highest = noise_levels(model, {"block0"}, 32)["block0"].highest
    assert (record.noise_a, record.noise_b) == tuple(map(float, highest[:2]))
    assert (record.dead_a, record.dead_b) == (False, False)
    assert b.max() > 1.05 * b[-1]  # so that the two shares differ
    assert (record.kept_a, record.kept_b) == (pytest.approx(a[0] / a.max()), pytest.approx(b[-1] / b.max()))
    place = np.linspace(0, 1, 1001)
    of_a, of_b = (a - a[-1]) / (a[0] - a[-1]), (b - b[0]) / (b[-1] - b[0])
    lead = np.interp(place, np.linspace(0, 1, 4), of_a - of_b)
    assert record.crossing == pytest.approx(place[np.argmax(lead <= 0)], abs=2e-3)
    steps = np.array(record.layer_distance["stem"])  # all in units of the same variation
    assert record.pace == pytest.approx(steps.max() / steps.min(), rel=1e-3)


def test_a_failed_pair_has_none_of_these_numbers(tmp_path: Path) -> None:
    """A record says nothing of a strip that has no pictures."""
    store = DirectoryStore(tmp_path)
    plan = make_plan(make_spec(["stem:0-1"], render=TINY), store, 1)
    [chunk] = plan.chunks
    impossible = replace(chunk, pairs=tuple(replace(pair, reason="it has no portrait") for pair in chunk.pairs))

    render_chunk(PlannedChunk(plan.model, plan.model_digest, plan.settings, impossible), store)

    [record] = read_records(store, view=lambda record: record).values()
    names = ("crossing", "pace", "reach_a", "reach_b", "kept_a", "kept_b", "noise_a", "noise_b")
    assert record.status == "failed"
    assert {getattr(record, name) for name in names} == {None}
    assert (record.dead_a, record.dead_b) == (False, False)
