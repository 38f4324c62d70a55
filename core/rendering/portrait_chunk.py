"""Rendering a chunk of portraits, or the canvas that they have in common."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from core import METHOD_VERSION
from core.arrays import BatchSize
from core.atlas.chunks import PlannedChunk
from core.atlas.keys import settings_digest
from core.atlas.portrait_plan import PlannedCanvas, PlannedPortrait, portrait_settings
from core.atlas.records import PortraitRecord
from core.errors import DeviceError, RenderDivergedError
from core.machine import device
from core.machine.threads import in_threads
from core.models.models import load
from core.pictures.portrait import Portrait
from core.rendering import history
from core.rendering.batches import at_most
from core.rendering.portrait_files import read_portrait, store_portrait
from core.rendering.renderers import Canvas, portrait_packing
from core.store.store import Store

if TYPE_CHECKING:
    from core.method.portraits import RenderedPortrait

_STORING_THREADS = 4


def render_canvas(canvas: PlannedCanvas, order: PlannedChunk, where: str, store: Store) -> list[PortraitRecord]:
    """Find a canvas and store it; gives its record.

    Args:
        where: the device, in words.

    Raises:
        DeviceError: if the device's memory does not suffice.
        StoreError: if the store cannot be written.
    """
    from tensorflow.errors import ResourceExhaustedError

    from core.method.portraits import find_canvas

    facts = {"key": canvas.key, "sample": [str(neuron) for neuron in canvas.sample]}
    started = time.perf_counter()
    try:
        found = find_canvas(load(order.model), canvas.sample, portrait_settings(order.settings))
    except RenderDivergedError as error:
        return [_record(order, where, time.perf_counter() - started, status="failed", reason=str(error), **facts)]
    except ResourceExhaustedError:
        raise DeviceError(
            f"the memory of the device does not suffice for the canvas, {len(canvas.sample)} images at once; "
            "make render.size_px smaller"
        ) from None
    files = store_portrait(store, canvas.key, Portrait(found.colours, found.pixels))
    means = history.means(found.objective)
    return [_record(order, where, found.seconds, status="done", files=files, history=means, **facts)]


def render_portraits(
    canvas: PlannedCanvas, order: PlannedChunk, where: str, store: Store, batch_pairs: BatchSize
) -> list[PortraitRecord]:
    """Render the portraits of a chunk on their canvas and store them; gives their records.

    Args:
        where: the device, in words.
        batch_pairs: how many portraits share a batch.

    Raises:
        DeviceError: if the device's memory does not suffice for one portrait.
        RecordError: if the canvas cannot be read.
        StoreError: if the store cannot be written.
    """

    def finish(rendered: tuple[PlannedPortrait, RenderedPortrait | None]) -> PortraitRecord:
        return _finish(*rendered, canvas, order, where, store)

    rendered = _portraits(canvas, order, store, batch_pairs)
    held = max(_STORING_THREADS, at_most(batch_pairs, 1, order.settings.size_px))  # those of a batch come all at once
    return list(in_threads(finish, rendered, threads=_STORING_THREADS, held=held))


def _portraits(
    canvas: PlannedCanvas, order: PlannedChunk, store: Store, batch_pairs: BatchSize
) -> Iterator[tuple[PlannedPortrait, RenderedPortrait | None]]:
    """Render portraits, those of one layer after those of another; None for those that cannot be rendered."""
    settings = portrait_settings(order.settings)
    possible = [planned for planned in order.chunk.portraits if planned.reason is None]
    yield from ((planned, None) for planned in order.chunk.portraits if planned.reason is not None)
    if not possible:
        return
    colours = Canvas(canvas.key, read_portrait(store, canvas.key, settings.size_px).colours)
    for layer, members in groupby(possible, lambda planned: planned.neuron.layer):
        alike = list(members)
        packing = portrait_packing(order.model, layer, settings, colours, batch_pairs)
        yield from zip(alike, packing.render([planned.neuron for planned in alike]), strict=True)


def _finish(
    planned: PlannedPortrait,
    rendered: RenderedPortrait | None,
    canvas: PlannedCanvas,
    order: PlannedChunk,
    where: str,
    store: Store,
) -> PortraitRecord:
    facts = {"key": planned.key, "neuron": str(planned.neuron), "canvas": canvas.key}
    if rendered is None:
        return _record(order, where, 0, status="failed", reason=planned.reason, **facts)
    if rendered.failed_at is not None:
        reason = history.failure(rendered.objective, rendered.failed_at)
        return _record(order, where, rendered.seconds, status="failed", reason=reason, **facts)
    return _record(
        order,
        where,
        rendered.seconds,
        status="done",
        files=store_portrait(store, planned.key, Portrait(rendered.colours, rendered.pixels)),
        activation=rendered.activation,
        history=history.means(rendered.objective),
        **facts,
    )


def _record(order: PlannedChunk, where: str, seconds: float, **facts: Any) -> PortraitRecord:
    settings = portrait_settings(order.settings)
    return PortraitRecord(
        method=METHOD_VERSION,
        model=order.model.name,
        model_digest=order.model_digest,
        settings=settings.model_dump(mode="json"),
        settings_digest=settings_digest(settings),
        seconds=round(seconds, 3),
        device=where,
        versions=device.versions(),
        **facts,
    )
