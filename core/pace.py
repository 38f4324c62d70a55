"""The pace: seconds that an update of a strip takes on this machine, kept from one rendering for the next plan.

It only makes estimates and chunks better, so nothing is said where it cannot be kept or read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from statistics import median_low
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from core import device
from core.errors import StoreError
from core.models import load
from core.neurons import Neuron, Pair
from core.packing import Packing, at_most
from core.portrait_files import Portrait
from core.records import Record
from core.spec import ModelSpec, RenderSettings
from core.store import DirectoryStore
from core.weights import cache_folder

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
    model_digest: str, layers: tuple[str, str], frames: int, size_px: int, strip: str = "pair"
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
            work = _work(alike[0].model_digest, layers, alike[0].frames, alike[0].size_px, alike[0].strip)
            _keep(work, median_low(record.seconds / record.settings["steps"] for record in alike))


def measure(
    model: ModelSpec,
    model_digest: str,
    settings: RenderSettings,
    pair: Pair,
    strip: str,
    *,
    pack: int | Literal["auto"],
    most: int,
) -> None:
    """Do a few updates of one pair here, as a strip of that kind, and keep the pace that they had.

    Args:
        pack: of `compute`: so many are updated at once, because on a GPU one alone takes many times as long.
        most: of them, if there are not more pairs to render.

    Raises:
        DeviceError: if the memory does not even suffice for one.
    """
    device.prepare()
    batch = min(most, at_most(pack, settings.frames, settings.size_px))
    packing = Packing(lambda strips: _Stopwatch(partial(_seconds_per_update, model, settings, strip, strips)), batch)
    seconds = next(packing.render([pair] * batch))
    _keep(_work(model_digest, pair.layers, settings.frames, settings.size_px, strip), seconds)


@dataclass(frozen=True)
class _Stopwatch:
    """A renderer whose results are the seconds of an update."""

    seconds: Callable[[Pair], float]

    def render(self, pairs: Sequence[Pair]) -> list[float]:
        return [self.seconds(pairs[0])] * len(pairs)


def _seconds_per_update(model: ModelSpec, settings: RenderSettings, strip: str, strips: int, pair: Pair) -> float:
    from core.strip import StripRenderer
    from core.walk import Walk, WalkRenderer

    if strip == "walk":
        portraits: dict[Neuron, Portrait] = {}  # the time is the same without any
        walk = Walk(pair, portraits.__getitem__)
        return WalkRenderer(load(model), pair.layers, settings, strips=strips).seconds_per_update(walk)
    return StripRenderer(load(model), pair.layers, settings, strips=strips).seconds_per_update(pair)


def _keep(work: dict[str, object], update_seconds: float) -> None:
    with suppress(StoreError):
        DirectoryStore(cache_folder()).replace(
            _path(work), json.dumps({**work, "update_seconds": update_seconds}).encode()
        )


def _work(model_digest: str, layers: tuple[str, str], frames: int, size_px: int, strip: str) -> dict[str, object]:
    """All that a pace is taken to depend on."""
    facts = {"model_digest": model_digest, "layers": layers, "frames": frames, "size_px": size_px, "strip": strip}
    return {"device": device.expected(), **facts}


def _path(work: dict[str, object]) -> str:
    return f"pace/{hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()[:20]}.json"
