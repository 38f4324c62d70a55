"""The pace of this machine, measured by one rendering for the next plan."""

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
from core.spec import RenderSettings
from core.store.store import DirectoryStore

LAYERS = ("block5", "block7")


def records(*seconds: float, layers: tuple[str, str] = LAYERS) -> list[Record]:
    """Return records of 64 updates of three frames of 64 px that took these seconds."""
    pairs = [Pair(Neuron(layers[0], channel), Neuron(layers[1], channel)) for channel in range(len(seconds))]
    return [make_record(PlannedPair(pair, "0" * 20), seconds=each) for pair, each in zip(pairs, seconds, strict=True)]


def remembered(layers: tuple[str, str] = LAYERS) -> float | None:
    return pace.remembered(MODEL_DIGEST, layers, 3, 64)


def only_file() -> Path:
    [file] = Path(os.environ["ISTHMUS_CACHE"]).rglob("*.json")
    return file


def test_a_pace_is_remembered_for_the_same_work_only() -> None:
    """Another model, other layers, more frames or larger frames have no pace yet."""
    pace.remember(records(0.64, 0.64, 0.64))

    assert remembered() == pytest.approx(0.01)
    assert remembered(("block7", "block5")) is None
    assert pace.remembered("f" * 64, LAYERS, 3, 64) is None
    assert pace.remembered(MODEL_DIGEST, LAYERS, 4, 64) is None
    assert pace.remembered(MODEL_DIGEST, LAYERS, 3, 128) is None


def test_each_schedule_has_a_pace_of_its_own() -> None:
    """An update of `plain` changes all frames, one of `fast` only the ends, so neither estimates the other."""
    pace.remember(records(0.64, 0.64))
    assert pace.remembered(MODEL_DIGEST, LAYERS, 3, 64, schedule="plain") is None

    plain = RenderSettings.model_validate({"frames": 3, "size_px": 64, "schedule": "plain"})
    assert plain.steps == 256
    pace.remember([each.model_copy(update={"settings": plain.model_dump(mode="json")}) for each in records(7.68, 7.68)])

    assert pace.remembered(MODEL_DIGEST, LAYERS, 3, 64, schedule="plain") == pytest.approx(0.03)
    assert remembered() == pytest.approx(0.01)


def test_a_pace_belongs_to_a_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache folder that several machines share keeps a pace for each kind of device; a GPU is known by its name."""
    pace.remember(records(0.64, 0.64))
    gpu = tmp_path / "cards" / "0000:01:00.0" / "information"
    gpu.parent.mkdir(parents=True)
    gpu.write_text("Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 120\n")
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(device, "_DEVICE_FILES", tmp_path)
    assert device.expected() == "GPU"
    monkeypatch.setattr(device, "_CARDS", tmp_path / "cards")
    assert device.expected() == "NVIDIA H100 80GB HBM3"
    assert remembered() is None

    pace.remember(records(0.064, 0.064))

    assert remembered() == pytest.approx(0.001)


def test_the_first_pair_of_a_process_does_not_count() -> None:
    """The first pair's time includes compiling the step. A single pair may be the first one, so it is ignored."""
    pace.remember(records(9.9, 0.64))
    assert remembered() == pytest.approx(0.01)

    pace.remember(records(9.9))
    assert remembered() == pytest.approx(0.01)

    pace.remember([*records(1.28, 1.28, 9.9, 1.28), *records(0.32, 0.32, layers=("stem", "stem"))])
    assert remembered() == pytest.approx(0.02)
    assert remembered(("stem", "stem")) == pytest.approx(0.005)


@pytest.mark.parametrize("damaged", [b"", b"{", b"\xff", b"[]", b"{}"])
def test_a_damaged_pace_is_ignored(damaged: bytes) -> None:
    """A cache may be deleted at any time; the next rendering writes it again."""
    pace.remember(records(0.64, 0.64))
    only_file().write_bytes(damaged)
    assert remembered() is None

    pace.remember(records(0.64, 0.64))
    assert remembered() == pytest.approx(0.01)


@pytest.mark.parametrize("seconds", [0, -1, "fast", None, 1e999])
def test_an_impossible_pace_is_ignored(seconds: object) -> None:
    """A plan divides by the pace, so it must be a positive number."""
    pace.remember(records(0.64, 0.64))
    only_file().write_text(json.dumps(json.loads(only_file().read_text()) | {"update_seconds": seconds}))

    assert remembered() is None


def test_a_pace_that_cannot_be_written_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If the cache folder is a file, or is on a read-only disk, rendering continues."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "file"))

    pace.remember(records(0.64, 0.64))

    assert remembered() is None


def test_rendering_a_chunk_keeps_its_pace_for_the_next_plan(tmp_path: Path) -> None:
    """A new atlas on this machine is estimated from the time that another one took."""
    render = {
        "frames": 2, "size_px": 32, "steps": 4, "transforms": "none", "redirected_updates": 0,
        "alignment": {"weight": 0},
    }  # fmt: skip
    store = DirectoryStore(tmp_path / "one")
    spec = make_spec(["stem:0-2"], render=render, compute={"chunk_pairs": 3})
    plan = make_plan(spec, store, 1)
    assert plan.basis == "assumed"

    render_chunk(PlannedChunk(plan.model, plan.model_digest, plan.settings, plan.chunks[0]), store)

    seconds = sorted(read_records(store, lambda record: record.seconds).values())
    after = make_plan(spec, DirectoryStore(tmp_path / "other"), 1)
    assert (after.basis, after.pair_seconds) == ("device", pytest.approx(max(0.001, seconds[1])))
