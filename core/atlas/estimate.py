"""Estimates of time for a plan: from records of the atlas, else from this device's pace, else from an assumption."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Literal, NamedTuple

from core.atlas import pace
from core.atlas.chunks import PlannedPair
from core.atlas.keys import settings_digest
from core.atlas.records import AnyRecord, PortraitRecord, Record
from core.machine import device
from core.spec import RenderSettings, StripKind

Basis = Literal["atlas", "device", "assumed"]
"""The basis of an estimate: records of this atlas, earlier renderings on this device, or an assumption."""

_LEAST_SECONDS = 0.001  # a clock may have measured 0, and chunks are cut by a division by the estimate


class Outcome(NamedTuple):
    """The part of a record that planning needs.

    Attributes:
        reason: reason of the failure; None if the pair, portrait, canvas or block is done.
        seconds: rendering time; None if it says nothing about the time of the planned work.
    """

    reason: str | None
    seconds: float | None

    @property
    def failed(self) -> bool:
        return self.reason is not None


def outcomes(
    model_digest: str, settings: RenderSettings, strip: StripKind, on_gpu: bool | None
) -> Callable[[AnyRecord], Outcome]:
    """Return a function from a record to its outcome, for a plan with this model, settings and kind of strip.

    Canvases, and pairs that were not tried because a portrait had failed, say nothing about time.

    Args:
        on_gpu: whether this machine renders on a GPU; records from the other kind of device then say nothing about
            time. If it is None, other machines render, and all records count.
    """
    planned = model_digest, settings_digest(settings)

    def outcome(record: AnyRecord) -> Outcome:
        comparable = (record.model_digest, record.settings_digest) == planned
        comparable &= on_gpu is None or device.is_gpu(record.device) == on_gpu
        if isinstance(record, Record):
            comparable &= record.strip == strip
        elif isinstance(record, PortraitRecord):
            comparable &= record.neuron is not None
        reason = (record.reason or "no reason given") if record.status == "failed" else None
        return Outcome(reason, record.seconds if comparable and record.seconds > 0 else None)

    return outcome


def mean_seconds(recorded: Iterable[Outcome]) -> float | None:
    """Return the mean time of all outcomes that have a time, or None if no outcome has one."""
    seconds = [outcome.seconds for outcome in recorded if outcome.seconds is not None]
    return max(_LEAST_SECONDS, fmean(seconds)) if seconds else None


def pair_seconds(
    recorded: Iterable[Outcome],
    missing: Sequence[PlannedPair],
    model_digest: str,
    settings: RenderSettings,
    on_gpu: bool | None,
) -> tuple[float, Basis]:
    """Return the seconds that a process takes for one of the missing pairs, and the basis of that estimate."""
    from_records = mean_seconds(recorded)
    if from_records is not None:
        return from_records, "atlas"
    frames, size_px = settings.frames, settings.size_px
    kinds = Counter((planned.layers, planned.strip) for planned in missing)
    paces = {
        kind: pace.remembered(model_digest, kind[0], frames, size_px, kind[1], settings.schedule) for kind in kinds
    }
    known = [(seconds, kinds[kind]) for kind, seconds in paces.items() if seconds is not None]
    if known:
        update_seconds = sum(seconds * count for seconds, count in known) / sum(count for _, count in known)
        return max(_LEAST_SECONDS, settings.steps * update_seconds), "device"
    return settings.steps * pace.assumed(frames, size_px, on_gpu=bool(on_gpu)), "assumed"
