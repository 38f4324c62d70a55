"""The pace: seconds that an update of a strip takes on this machine, measured by one rendering for the next plan.

An update is one of `render.steps`: with schedule `fast` it is an update of the ends and its share of the updates of the
frames between them.

The pace only improves estimates and chunks, so errors of reading or writing it are ignored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from statistics import median_low

from pydantic import BaseModel, Field, ValidationError

from core.atlas.records import Record
from core.errors import StoreError
from core.machine import device
from core.machine.environment import cache_folder
from core.neurons import Neuron
from core.spec import RenderSettings, Schedule, StripKind
from core.store.store import DirectoryStore

_ASSUMED_SECONDS = 0.025  # measured: six frames of 128 px, one core, the first ten blocks of EfficientNet-Lite0
_ASSUMED_PIXELS = 6 * 128 * 128
_ASSUMED_GPU_SPEEDUP = 20  # over one core; cautious, because an H200 was measured 60 times as fast


_START_SECONDS = 13.0  # measured: a build of 40 pairs on a CPU, without the rendering
_GPU_START_SECONDS = 50.0  # measured: until the first batch of a build on an H200


class _Pace(BaseModel):
    """A file in the cache folder; its other fields are for human readers."""

    update_seconds: float = Field(gt=0, allow_inf_nan=False)


def assumed(frames: int, size_px: int, *, on_gpu: bool = False) -> float:
    """Return the assumed seconds for an update of a strip on a CPU core, or on a slow GPU, if none were measured."""
    return _ASSUMED_SECONDS * frames * size_px**2 / _ASSUMED_PIXELS / (_ASSUMED_GPU_SPEEDUP if on_gpu else 1)


def start_seconds(*, on_gpu: bool) -> float:
    """Return the measured seconds of a build in which nothing is rendered."""
    return _GPU_START_SECONDS if on_gpu else _START_SECONDS


def remembered(
    model_digest: str,
    layers: tuple[str, str],
    frames: int,
    size_px: int,
    strip: StripKind = "pair",
    schedule: Schedule = "fast",
) -> float | None:
    """Return the last measured seconds for an update of a strip between two layers on this machine, or None."""
    try:
        data = DirectoryStore(cache_folder()).read(_path(_work(model_digest, layers, frames, size_px, strip, schedule)))
        return _Pace.model_validate_json(data).update_seconds
    except (StoreError, ValidationError):
        return None


def remember(records: Sequence[Record]) -> None:
    """Store the pace of pairs that this process has just rendered one after the other.

    In a process, the first pair of its layers takes longer, because the step is compiled first, and so do all pairs of
    a first batch. So the pace is the median, or the lower median of an even number of pairs; a single pair is ignored.
    """
    by_layers: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.seconds == 0:  # the pair was not tried
            continue
        by_layers.setdefault((Neuron.parse(record.a).layer, Neuron.parse(record.b).layer), []).append(record)
    for layers, rendered in by_layers.items():
        if len(rendered) > 1:
            first = rendered[0]
            seconds = median_low(record.seconds / record.settings["steps"] for record in rendered)
            settings = RenderSettings.model_validate(first.settings)
            keep(first.model_digest, layers, first.frames, first.size_px, first.strip, settings.schedule, seconds)


def keep(
    model_digest: str,
    layers: tuple[str, str],
    frames: int,
    size_px: int,
    strip: StripKind,
    schedule: Schedule,
    update_seconds: float,
) -> None:
    """Store a measured pace, for `remembered`."""
    work = _work(model_digest, layers, frames, size_px, strip, schedule)
    with suppress(StoreError):
        DirectoryStore(cache_folder()).replace(
            _path(work), json.dumps({**work, "update_seconds": update_seconds}).encode()
        )


def _work(
    model_digest: str, layers: tuple[str, str], frames: int, size_px: int, strip: StripKind, schedule: Schedule
) -> dict[str, object]:
    """Return everything that a pace is assumed to depend on."""
    facts = {"model_digest": model_digest, "layers": layers, "frames": frames, "size_px": size_px}
    return {"device": device.expected(), **facts, "strip": strip, "schedule": schedule}


def _path(work: dict[str, object]) -> str:
    return f"pace/{hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()[:20]}.json"
