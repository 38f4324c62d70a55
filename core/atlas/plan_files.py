"""The files of a plan in the store: one for each chunk, and an index.

A render task needs only the plan's path and the chunk's name, and reads no other chunk. The index is for other builds
of the same atlas.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from pydantic import TypeAdapter, ValidationError

from core.atlas.chunks import Chunk, PlannedChunk
from core.atlas.image_plan import write_images
from core.atlas.land_plan import write_land
from core.atlas.layer_order import write_layers
from core.atlas.plan import Plan
from core.atlas.records import Key
from core.errors import RecordError, StoreError, first_mistake
from core.store.store import Store

SPEC_PATH = "plan/spec.json"
_WRITERS = 16  # chunks that are written concurrently, because each write waits for a disk or network
_PLANNED_CHUNK = TypeAdapter(PlannedChunk)
_INDEX = TypeAdapter(dict[str, list[Key]])


def write_plan(store: Store, plan: Plan) -> None:
    """Write the chunks of a plan to the store, for `read_chunk`, and the order of the model's layers, for publishing.

    Writing the same plan again changes nothing.

    Raises:
        StoreError: if the store cannot be written.
    """
    folder = plan.path
    write_layers(store, plan.model_digest, plan.layers)
    if plan.land is not None:
        write_land(store, plan.land.planned)
    if plan.images is not None:
        write_images(store, plan.images)

    def write(chunk: Chunk) -> None:
        settings = plan.land.planned.settings if chunk.block and plan.land else plan.settings
        planned = PlannedChunk(plan.model, plan.model_digest, settings, chunk)
        store.replace(_chunk_path(folder, chunk.name), _PLANNED_CHUNK.dump_json(planned))

    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(write, plan.chunks))
    store.replace(_index_path(folder), json.dumps({chunk.name: chunk.keys for chunk in plan.chunks}).encode())


def chunk_names(store: Store, plan_path: str) -> frozenset[str]:
    """Return the names of the chunks of a written plan; none if the plan cannot be read."""
    return frozenset(_read_index(store, plan_path))


def keys_of_chunks(store: Store, plan_paths: Iterable[str]) -> list[list[Key]]:
    """Return the keys in each chunk of some written plans; a plan that cannot be read has none."""
    return [keys for path in plan_paths for keys in _read_index(store, path).values() if keys]


def _read_index(store: Store, plan_path: str) -> dict[str, list[Key]]:
    with suppress(StoreError, ValidationError):  # without another build's plan, some chunks are rendered twice
        return _INDEX.validate_json(store.read(_index_path(plan_path)))
    return {}


def read_chunk(store: Store, plan_path: str, name: str) -> PlannedChunk:
    """Read one chunk of a plan from the store.

    Raises:
        StoreError: if there is no such chunk.
        RecordError: if the file is damaged; the message names the first wrong field.
    """
    path = _chunk_path(plan_path, name)
    try:
        return _PLANNED_CHUNK.validate_json(store.read(path))
    except ValidationError as error:
        mistake = first_mistake(error, "the whole file")
        raise RecordError(
            f"{store}/{path}: expected a chunk of a plan, but {mistake}; build again to rewrite the file"
        ) from None


def _index_path(plan_path: str) -> str:
    return f"{plan_path}/chunks.json"


def _chunk_path(plan_path: str, name: str) -> str:
    return f"{plan_path}/{name}.json"
