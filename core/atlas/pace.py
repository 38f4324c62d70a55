"""The pace: seconds that an update of a strip takes on this machine, kept from one rendering for the next plan.

It only makes estimates and chunks better, so nothing is said where it cannot be kept or read.
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
from core.models.weights import cache_folder
from core.neurons import Neuron
from core.spec import StripKind
from core.store.store import DirectoryStore

_ASSUMED_SECONDS = 0.025  # measured: six frames of 128 px on one core to the tenth block of EfficientNet-Lite0
_ASSUMED_PIXELS = 6 * 128 * 128
_ASSUMED_FASTER = 20  # a GPU than a core, to be careful: an H200 was 60 times as fast


class _Pace(BaseModel):
    """A file in the cache folder; what else is in it is for people."""

    update_seconds: float = Field(gt=0, allow_inf_nan=False)


def assumed(frames: int, size_px: int, *, on_gpu: bool = False) -> float:
    """Seconds for an update of a strip where nothing has been measured: those of a CPU core, or of a slow GPU."""
    return _ASSUMED_SECONDS * frames * size_px**2 / _ASSUMED_PIXELS / (_ASSUMED_FASTER if on_gpu else 1)


def remembered(
    model_digest: str, layers: tuple[str, str], frames: int, size_px: int, strip: StripKind = "pair"
) -> float | None:
    """Seconds for an update of a strip of some kind between two layers as last measured here, or None."""
    try:
        data = DirectoryStore(cache_folder()).read(_path(_work(model_digest, layers, frames, size_px, strip)))
        return _Pace.model_validate_json(data).update_seconds
    except (StoreError, ValidationError):
        return None


def remember(records: Sequence[Record]) -> None:
    """Keep the pace of pairs that have just been rendered here, one after the other.

    The first pair of its layers in a process takes longer, because it waits for the step to be compiled, and so do all
    pairs of a first batch. So the median counts, of two the lower, and a single pair tells nothing.
    """
    by_layers: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.seconds == 0:  # not tried
            continue
        by_layers.setdefault((Neuron.parse(record.a).layer, Neuron.parse(record.b).layer), []).append(record)
    for layers, alike in by_layers.items():
        if len(alike) > 1:
            one = alike[0]
            seconds = median_low(record.seconds / record.settings["steps"] for record in alike)
            keep(one.model_digest, layers, one.frames, one.size_px, one.strip, seconds)


def keep(
    model_digest: str, layers: tuple[str, str], frames: int, size_px: int, strip: StripKind, update_seconds: float
) -> None:
    """Keep a pace that has been measured, for `remembered`."""
    work = _work(model_digest, layers, frames, size_px, strip)
    with suppress(StoreError):
        DirectoryStore(cache_folder()).replace(
            _path(work), json.dumps({**work, "update_seconds": update_seconds}).encode()
        )


def _work(model_digest: str, layers: tuple[str, str], frames: int, size_px: int, strip: StripKind) -> dict[str, object]:
    """All that a pace is taken to depend on."""
    facts = {"model_digest": model_digest, "layers": layers, "frames": frames, "size_px": size_px, "strip": strip}
    return {"device": device.expected(), **facts}


def _path(work: dict[str, object]) -> str:
    return f"pace/{hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()[:20]}.json"
