"""Rendering a chunk of portraits, or the canvas that they have in common."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from core import METHOD_VERSION
from core.arrays import BatchSize
from core.atlas.chunks import PlannedChunk
from core.atlas.keys import direction_digests, settings_digest
from core.atlas.portrait_plan import PlannedCanvas, PlannedPortrait, portrait_settings
from core.atlas.records import Key, PortraitFiles, PortraitRecord
from core.errors import DeviceError, RenderDivergedError
from core.machine import device
from core.machine.threads import in_threads
from core.models.models import load
from core.neurons import Neuron
from core.pictures.portrait import Portrait
from core.rendering import history
from core.rendering.batches import at_most
from core.rendering.portrait_files import read_portrait, store_portrait
from core.rendering.renderers import Portraits, renderer_for
from core.store.store import Store

if TYPE_CHECKING:
    from core.method.portraits import RenderedPortrait

_STORING_THREADS = 4


@dataclass(frozen=True)
class _Outcome:
    """The outcome of rendering a portrait or a canvas.

    Attributes:
        reason: reason of a failure, or None.
        activation: activation of the portrait's neuron; None for a canvas.
    """

    seconds: float = 0
    reason: str | None = None
    files: PortraitFiles | None = None
    activation: float | None = None
    history: tuple[float, ...] = ()


def render_canvas(canvas: PlannedCanvas, work: PlannedChunk, device_name: str, store: Store) -> list[PortraitRecord]:
    """Find a canvas, store it and return its record.

    Raises:
        DeviceError: if the device's memory does not suffice.
        StoreError: if the store cannot be written.
    """
    return [
        _record(
            _find_canvas(canvas, work, store),
            work,
            device_name,
            canvas.key,
            sample=[str(neuron) for neuron in canvas.sample],
        )
    ]


def _find_canvas(canvas: PlannedCanvas, work: PlannedChunk, store: Store) -> _Outcome:
    from tensorflow.errors import ResourceExhaustedError

    from core.method.canvas import find_canvas

    started = time.perf_counter()
    try:
        found = find_canvas(load(work.model), canvas.sample, portrait_settings(work.settings))
    except RenderDivergedError as error:
        return _Outcome(time.perf_counter() - started, reason=str(error))
    except ResourceExhaustedError:
        raise DeviceError(
            "the memory of the device does not suffice for the canvas; make render.size_px smaller"
        ) from None
    return _Outcome(
        found.seconds,
        files=store_portrait(store, canvas.key, Portrait(found.colours, found.pixels)),
        history=tuple(history.means(found.objective)),
    )


def render_portraits(
    canvas: PlannedCanvas, work: PlannedChunk, device_name: str, store: Store, batch_pairs: BatchSize
) -> list[PortraitRecord]:
    """Render the portraits of a chunk on their canvas, store them and return their records.

    Args:
        batch_pairs: portraits in a batch.

    Raises:
        DeviceError: if the device's memory does not suffice for one portrait.
        RecordError: if the canvas cannot be read.
        StoreError: if the store cannot be written.
    """

    def finish(rendered: tuple[PlannedPortrait, RenderedPortrait | None]) -> PortraitRecord:
        portrait, _ = rendered
        outcome = _store(*rendered, store)
        return _record(outcome, work, device_name, portrait.key, neuron=portrait.neuron, canvas=canvas.key)

    rendered = _portraits(canvas, work, store, batch_pairs)
    held = max(_STORING_THREADS, at_most(batch_pairs, 1, work.settings.size_px))  # a batch is finished together
    return list(in_threads(finish, rendered, threads=_STORING_THREADS, held=held))


def _portraits(
    canvas: PlannedCanvas, work: PlannedChunk, store: Store, batch_pairs: BatchSize
) -> Iterator[tuple[PlannedPortrait, RenderedPortrait | None]]:
    """Yield each portrait with its rendering, layer by layer, or with None if it cannot be rendered."""
    settings = portrait_settings(work.settings)
    possible = [portrait for portrait in work.chunk.portraits if portrait.reason is None]
    yield from ((portrait, None) for portrait in work.chunk.portraits if portrait.reason is not None)
    if not possible:
        return
    picture = read_portrait(store, canvas.key, settings.size_px)
    for layer, members in groupby(possible, lambda portrait: portrait.neuron.layer):
        alike = list(members)
        renderer = renderer_for(Portraits(layer, canvas.key, picture), work.model, settings, batch_pairs)
        yield from zip(alike, renderer.render([portrait.neuron for portrait in alike]), strict=True)


def _store(portrait: PlannedPortrait, rendered: RenderedPortrait | None, store: Store) -> _Outcome:
    """Store the files of a portrait, unless it failed, and return the outcome."""
    if rendered is None:
        return _Outcome(reason=portrait.reason)
    if rendered.failed_at is not None:
        return _Outcome(rendered.seconds, reason=history.failure(rendered.objective, rendered.failed_at))
    return _Outcome(
        rendered.seconds,
        files=store_portrait(store, portrait.key, Portrait(rendered.colours, rendered.pixels)),
        activation=rendered.activation,
        history=tuple(history.means(rendered.objective)),
    )


def _record(
    outcome: _Outcome,
    work: PlannedChunk,
    device_name: str,
    key: Key,
    *,
    neuron: Neuron | None = None,
    canvas: Key | None = None,
    sample: list[str] | None = None,
) -> PortraitRecord:
    settings = portrait_settings(work.settings)
    return PortraitRecord(
        key=key,
        neuron=None if neuron is None else str(neuron),
        direction=None if neuron is None else direction_digests([neuron], load(work.model).derived)[0],
        canvas=canvas,
        sample=sample or [],
        status="done" if outcome.files else "failed",
        reason=outcome.reason,
        method=METHOD_VERSION,
        model=work.model.name,
        model_digest=work.model_digest,
        settings=settings.model_dump(mode="json"),
        settings_digest=settings_digest(settings),
        files=outcome.files,
        activation=outcome.activation,
        history=list(outcome.history),
        seconds=round(outcome.seconds, 3),
        device=device_name,
        versions=device.versions(),
    )
