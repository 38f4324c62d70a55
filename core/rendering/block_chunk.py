"""Rendering a block of a land, its picture and its record."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

from core import METHOD_VERSION
from core.atlas.chunks import PlannedChunk
from core.atlas.finished_land import block_reader
from core.atlas.keys import settings_digest
from core.atlas.land_plan import PlannedBlock, read_land
from core.atlas.records import BlockRecord, NeuronAtPlace, block_path
from core.errors import DeviceError
from core.machine import device
from core.models.models import load
from core.pictures.land import Land
from core.pictures.sheets import encode_png
from core.rendering import history
from core.spec import ModelSpec, RenderSettings
from core.store.store import Store, keep

if TYPE_CHECKING:
    from core.method.land import BlockRenderer, RenderedBlock


def render_block(planned: PlannedBlock, work: PlannedChunk, device_name: str, store: Store) -> list[BlockRecord]:
    """Render a block, store its picture and return its record.

    Raises:
        DeviceError: if the device's memory does not suffice.
        RecordError: if the land, or the picture of a finished block, cannot be read.
        StoreError: if the store cannot be read or written.
    """
    land = read_land(store, planned.land)
    if planned.reason is not None:
        return [_record(planned, land, work, device_name, planned.reason, None)]
    rendered = _render(planned, land, work, store)
    if rendered.failed_at is not None:
        reason = history.failure(rendered.objective, rendered.failed_at)
        return [_record(planned, land, work, device_name, reason, rendered)]
    picture = keep(store, block_path(planned.key), encode_png(rendered.pixels))
    return [_record(planned, land, work, device_name, None, rendered, picture)]


def _render(planned: PlannedBlock, land: Land, work: PlannedChunk, store: Store) -> RenderedBlock:
    from tensorflow.errors import ResourceExhaustedError

    read = block_reader(store, land, {other: block_path(key) for other, key in planned.finished})
    finished = {other: read(other) for other, _ in planned.finished}
    layout = (land.cell_px, land.block_rows, land.block_columns, land.margin_px)
    seed = int.from_bytes(hashlib.sha256(f"{work.settings.seed} {planned.key}".encode()).digest()[:8], "big")
    try:
        renderer = _renderer(work.model, work.settings, land.layer, layout)
        return renderer.render(land, planned.block, finished, seed)
    except ResourceExhaustedError:
        raise DeviceError(
            "the memory of the device does not suffice for a block of the land; make land.cell_px smaller"
        ) from None


@lru_cache(maxsize=1)
def _renderer(
    model: ModelSpec, settings: RenderSettings, layer: str, layout: tuple[int, int, int, int]
) -> BlockRenderer:
    """Return a renderer, which is traced once per process, for all blocks of one layout."""
    from core.method.land import BlockRenderer
    from core.neurons import Neuron

    cell_px, rows, columns, margin_px = layout
    one_block = Land((Neuron(layer, 0),) * (rows * columns), columns, cell_px, rows, columns, margin_px)
    return BlockRenderer(load(model), one_block, settings)


def _record(
    planned: PlannedBlock,
    land: Land,
    work: PlannedChunk,
    device_name: str,
    reason: str | None,
    rendered: RenderedBlock | None,
    picture: bytes | None = None,
) -> BlockRecord:
    neurons = []
    if rendered is not None and picture is not None:
        neurons = [
            NeuronAtPlace(
                neuron=str(land.neurons[number]),
                row=land.place_of(number)[0],
                column=land.place_of(number)[1],
                activation=float(rendered.activation[inside]),
                noise=float(rendered.noise[inside]),
            )
            for number, inside in land.numbers_in(planned.block).items()
        ]
    return BlockRecord(
        key=planned.key,
        land=planned.land,
        row=planned.block.row,
        column=planned.block.column,
        status="failed" if reason else "done",
        reason=reason,
        method=METHOD_VERSION,
        model=work.model.name,
        model_digest=work.model_digest,
        settings=work.settings.model_dump(mode="json"),
        settings_digest=settings_digest(work.settings),
        neurons=neurons,
        picture_sha256=None if picture is None else hashlib.sha256(picture).hexdigest(),
        picture_bytes=None if picture is None else len(picture),
        history=[] if rendered is None else list(history.means(rendered.objective)),
        seconds=0 if rendered is None else round(rendered.seconds, 3),
        device=device_name,
        versions=device.versions(),
    )
