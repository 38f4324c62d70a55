"""The pace of this machine, as it is kept from one rendering for the next plan."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from sample_records import MODEL_DIGEST, make_record, make_spec

from core.atlas import pace
from core.atlas.chunks import PlannedChunk, PlannedPair
from core.atlas.plan import make_plan
from core.atlas.recorded import read_records
from core.atlas.records import Record
from core.machine import device
from core.neurons import Neuron, Pair
from core.rendering.chunk import render_chunk
from core.store.store import DirectoryStore

LAYERS = ("block5", "block7")


def records(*seconds: float, layers: tuple[str, str] = LAYERS) -> list[Record]:
    """Records of 256 updates of three frames of 64 px that took so long."""
    pairs = [Pair(Neuron(layers[0], channel), Neuron(layers[1], channel)) for channel in range(len(seconds))]
    return [make_record(PlannedPair(pair, "0" * 20), seconds=took) for pair, took in zip(pairs, seconds, strict=True)]


def remembered(layers: tuple[str, str] = LAYERS) -> float | None:
    return pace.remembered(MODEL_DIGEST, layers, 3, 64)


def only_file() -> Path:
    [file] = Path(os.environ["ISTHMUS_CACHE"]).rglob("*.json")
    return file


def test_a_pace_is_remembered_for_the_same_work_only() -> None:
    """Another model, other layers, more frames and larger ones take another time."""
    pace.remember(records(2.56, 2.56, 2.56))

    assert remembered() == pytest.approx(0.01)
    assert remembered(("block7", "block5")) is None
    assert pace.remembered("f" * 64, LAYERS, 3, 64) is None
    assert pace.remembered(MODEL_DIGEST, LAYERS, 4, 64) is None
    assert pace.remembered(MODEL_DIGEST, LAYERS, 3, 128) is None


def test_a_pace_belongs_to_a_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache folder that several machines share keeps one for each kind of device; a card is known by its name."""
    pace.remember(records(2.56, 2.56))
    card = tmp_path / "cards" / "0000:01:00.0" / "information"
    card.parent.mkdir(parents=True)
    card.write_text("Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 120\n")
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(device, "_DEVICE_FILES", tmp_path)
    assert device.expected() == "GPU"
    monkeypatch.setattr(device, "_CARDS", tmp_path / "cards")
    assert device.expected() == "NVIDIA H100 80GB HBM3"
    assert remembered() is None

    pace.remember(records(0.256, 0.256))

    assert remembered() == pytest.approx(0.001)


def test_the_first_pair_of_a_process_does_not_count() -> None:
    """It waits for the step to be compiled; a pair alone may be such a one, and leaves the pace as it was."""
    pace.remember(records(9.9, 2.56))
    assert remembered() == pytest.approx(0.01)

    pace.remember(records(9.9))
    assert remembered() == pytest.approx(0.01)

    pace.remember([*records(5.12, 5.12, 9.9, 5.12), *records(1.28, 1.28, layers=("stem", "stem"))])
    assert remembered() == pytest.approx(0.02)
    assert remembered(("stem", "stem")) == pytest.approx(0.005)


@pytest.mark.parametrize("damaged", [b"", b"{", b"\xff", b"[]", b"{}"])
def test_a_damaged_pace_counts_for_nothing(damaged: bytes) -> None:
    """A cache may be thrown away at any time; it is written anew by the next rendering."""
    pace.remember(records(2.56, 2.56))
    only_file().write_bytes(damaged)
    assert remembered() is None

    pace.remember(records(2.56, 2.56))
    assert remembered() == pytest.approx(0.01)


@pytest.mark.parametrize("seconds", [0, -1, "fast", None, 1e999])
def test_a_pace_that_cannot_be_counts_for_nothing(seconds: object) -> None:
    """A plan divides by it."""
    pace.remember(records(2.56, 2.56))
    only_file().write_text(json.dumps(json.loads(only_file().read_text()) | {"update_seconds": seconds}))

    assert remembered() is None


def test_where_a_pace_cannot_be_kept_nothing_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rendering goes on without; the folder may be a file, or on a disk that is read only."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "file"))

    pace.remember(records(2.56, 2.56))

    assert remembered() is None


def test_rendering_a_chunk_leaves_its_pace_for_the_next_plan(tmp_path: Path) -> None:
    """A new atlas on this machine is estimated by what another one took."""
    render = {
        "frames": 2, "size_px": 32, "steps": 4, "transforms": "none", "redirected_updates": 0,
        "alignment": {"weight": 0},
    }  # fmt: skip
    store = DirectoryStore(tmp_path / "one")
    spec = make_spec(["stem:0-2"], render=render, compute={"chunk_pairs": 3})
    plan = make_plan(spec, store, 1)
    assert plan.basis == "assumed"

    render_chunk(PlannedChunk(plan.model, plan.model_digest, plan.settings, plan.chunks[0]), store)

    took = sorted(read_records(store, lambda record: record.seconds).values())
    after = make_plan(spec, DirectoryStore(tmp_path / "other"), 1)
    assert (after.basis, after.pair_seconds) == ("device", pytest.approx(max(0.001, took[1])))
