"""The plan: the pairs of a spec that have no record yet, cut into chunks.

A plan is written to the store as one object for each chunk. A render task needs only the plan's path and the chunk's
name, and reads no other chunk.

A walkable atlas is rendered in stages: first its canvas, then portraits, then the strips between them. Each stage needs
the results of the stage before. So a plan's chunks are those of the first incomplete stage, and the next plan has those
of the following one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from core.atlas.chunks import (
    Chunk,
    Planned,
    PlannedChunk,
    PlannedPair,
    canvas_chunk,
    cut,
    cut_by_time,
    pair_chunk,
    portrait_chunk,
)
from core.atlas.estimate import Basis, Outcome, mean_seconds, outcomes, pair_seconds
from core.atlas.keys import key_of, pair_keys
from core.atlas.portrait_plan import (
    PlannedCanvas,
    PlannedPortrait,
    plan_canvas,
    portrait_key,
    portrait_settings,
    walk_key,
)
from core.atlas.recorded import read_portraits, read_records
from core.atlas.records import Key
from core.atlas.selection import resolve_settings, select_pairs
from core.errors import RecordError, first_mistake
from core.machine import device
from core.models.models import digest, load
from core.neurons import Neuron, Pair
from core.spec import AtlasSpec, ModelSpec, RenderSettings
from core.store.store import Store

_WRITERS = 16  # chunks that are written concurrently, because each write waits for a disk or network
_BYTES_PER_PIXEL = 2.4  # measured: PNG and WebP of finished strips together
_BYTES_PER_PORTRAIT_PIXEL = 14.0  # three numbers of four bytes, and a PNG

SPEC_PATH = "plan/spec.json"
_PLANNED_CHUNK = TypeAdapter(PlannedChunk)


@dataclass(frozen=True)
class Plan:
    """The part of an atlas that is still to be rendered.

    Attributes:
        settings: with the model's defaults written out.
        pairs: number of pairs in the spec.
        done, failed: numbers of pairs in the spec that have a record.
        recorded: number of records of pairs in the atlas, of every spec.
        stages: the chunks of every incomplete stage.
        pair_seconds, portrait_seconds: estimated time that a process takes for a pair, and for a portrait.
        basis: basis of pair_seconds. Without records of portraits, portrait_seconds is a frame's share of
            pair_seconds.
    """

    model: ModelSpec
    model_digest: str
    settings: RenderSettings
    pairs: int
    done: int
    failed: int
    recorded: int
    stages: tuple[tuple[Chunk, ...], ...]
    pair_seconds: float
    portrait_seconds: float
    basis: Basis

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """The chunks that can be rendered now: those of the first incomplete stage."""
        return self.stages[0] if self.stages else ()

    @property
    def stage(self) -> str:
        """The name of the first incomplete stage, for messages."""
        first = self.chunks[0]
        return "pairs" if first.pairs else "portraits" if first.portraits else "the canvas of all portraits"

    @property
    def missing(self) -> int:
        """The number of pairs without a record."""
        return self.pairs - self.done - self.failed

    @property
    def missing_pairs(self) -> Iterator[PlannedPair]:
        return (planned for stage in self.stages for chunk in stage for planned in chunk.pairs)

    @property
    def missing_portraits(self) -> int:
        """The number of portraits without a record."""
        return sum(len(chunk.portraits) for stage in self.stages for chunk in stage)

    @property
    def unrecorded(self) -> int:
        """The number of pairs, portraits and canvases without a record."""
        return self.missing + self.missing_portraits + len(self._missing_canvas)

    @property
    def path(self) -> str:
        """The plan's folder in the store; its name is a digest of model, settings and chunk names."""
        content = {
            "model": self.model.model_dump(mode="json"),
            "model_digest": self.model_digest,
            "settings": self.settings.model_dump(mode="json"),
            "chunks": [chunk.name for chunk in self.chunks],
        }
        return f"plan/{key_of(content)}"

    @property
    def chunk_seconds(self) -> float:
        """The estimated time that a process takes for the longest chunk of the first incomplete stage."""
        return max(map(self._seconds, self.chunks))

    def seconds(self, processes: int) -> float:
        """Return the estimated time for everything that is missing; a canvas keeps only one process busy."""
        canvas = sum(map(self._seconds, self._missing_canvas))
        shared = sum(self._seconds(chunk) for stage in self.stages for chunk in stage) - canvas
        return canvas + shared / processes

    def stored_bytes(self) -> int:
        """Return the estimated size in the store of everything that is missing."""
        strips = self.missing * self.settings.frames * _BYTES_PER_PIXEL
        return int(self.settings.size_px**2 * (strips + self.missing_portraits * _BYTES_PER_PORTRAIT_PIXEL))

    @property
    def _missing_canvas(self) -> tuple[Chunk, ...]:
        return tuple(chunk for chunk in self.chunks if chunk.canvas and not chunk.portraits)

    def _seconds(self, chunk: Chunk) -> float:
        if chunk.canvas and not chunk.portraits:
            return len(chunk.canvas.sample) * self.portrait_seconds
        return len(chunk.pairs) * self.pair_seconds + len(chunk.portraits) * self.portrait_seconds


def make_plan(spec: AtlasSpec, store: Store, processes: int) -> Plan:
    """Compare the pairs of a spec with the records in the store, and cut what is missing into chunks.

    Args:
        processes: number of processes that will render concurrently; chunks are small enough to keep all of them busy.

    Raises:
        SpecError: if the spec asks for something impossible.
        ModelError: if the model's weights are missing.
        RecordError: if a record cannot be read.
    """
    model = load(spec.model)
    model_digest = digest(model)
    settings = resolve_settings(spec.render, model)
    on_gpu = device.is_gpu(device.expected()) if spec.compute.renders_here else None

    selected = select_pairs(spec, model)
    pairs = [PlannedPair(pair, key) for pair, key in pair_keys(selected, model_digest, settings)]
    portraits = None
    if spec.strip == "walk":
        outcome = outcomes(model_digest, portrait_settings(settings), spec.strip, on_gpu)
        canvas = plan_canvas(selected, model, model_digest, settings)
        portraits = _plan_portraits(selected, canvas, read_portraits(store, outcome))
        pairs = [_between(portraits, planned) for planned in pairs]

    recorded = read_records(store, outcomes(model_digest, settings, spec.strip, on_gpu))
    missing = [planned for planned in pairs if planned.key not in recorded]
    failed = sum(recorded[planned.key].failed for planned in pairs if planned.key in recorded)
    seconds, basis = pair_seconds(recorded.values(), missing, model_digest, settings, on_gpu)
    portrait_seconds = (portraits and mean_seconds(portraits.recorded.values())) or seconds / settings.frames
    return Plan(
        model=spec.model,
        model_digest=model_digest,
        settings=settings,
        pairs=len(pairs),
        done=len(pairs) - len(missing) - failed,
        failed=failed,
        recorded=len(recorded),
        stages=_stages(missing, portraits, seconds, portrait_seconds, spec.compute.chunk_pairs, processes),
        pair_seconds=seconds,
        portrait_seconds=portrait_seconds,
        basis=basis,
    )


@dataclass(frozen=True)
class _Portraits:
    """The canvas and the portraits that a walkable atlas needs, and the outcomes that are recorded."""

    canvas: PlannedCanvas
    by_neuron: Mapping[Neuron, PlannedPortrait]
    recorded: Mapping[Key, Outcome]

    @property
    def canvas_is_missing(self) -> bool:
        return self.canvas.key not in self.recorded

    @property
    def missing(self) -> list[PlannedPortrait]:
        return [planned for planned in self.by_neuron.values() if planned.key not in self.recorded]


def _plan_portraits(pairs: Iterable[Pair], canvas: PlannedCanvas, recorded: Mapping[Key, Outcome]) -> _Portraits:
    """Plan a portrait for each neuron; if the canvas has failed, no portrait can be rendered."""
    failure = recorded[canvas.key].reason if canvas.key in recorded else None
    reason = None if failure is None else f"the canvas of all portraits failed: {failure}"
    neurons = sorted({neuron for pair in pairs for neuron in pair}, key=lambda neuron: neuron.order)
    by_neuron = {neuron: PlannedPortrait(neuron, portrait_key(canvas.key, neuron), reason) for neuron in neurons}
    return _Portraits(canvas, by_neuron, recorded)


def _between(portraits: _Portraits, planned: PlannedPair) -> PlannedPair:
    """Plan the pair's strip between portraits instead; if one of these has failed, the strip cannot be rendered."""
    a, b = (portraits.by_neuron[neuron].key for neuron in planned.pair)
    reasons = [
        f"the portrait of {neuron} failed: {portraits.recorded[key].reason}"
        for neuron, key in zip(planned.pair, (a, b), strict=True)
        if key in portraits.recorded and portraits.recorded[key].failed
    ]
    return PlannedPair(planned.pair, walk_key(planned.key, (a, b)), (a, b), next(iter(reasons), None))


def _stages(
    missing: Sequence[PlannedPair],
    portraits: _Portraits | None,
    pair_seconds: float,
    portrait_seconds: float,
    chunk_pairs: int | None,
    processes: int,
) -> tuple[tuple[Chunk, ...], ...]:
    """Cut what is missing into the chunks of each incomplete stage."""

    def cut_up(planned: Sequence[Planned], seconds: float) -> list[tuple[Planned, ...]]:
        return cut(planned, chunk_pairs) if chunk_pairs else cut_by_time(planned, seconds, processes)

    stages: list[list[Chunk]] = []
    if portraits is not None:
        stages.append([canvas_chunk(portraits.canvas)] if portraits.canvas_is_missing else [])
        stages.append([portrait_chunk(part, portraits.canvas) for part in cut_up(portraits.missing, portrait_seconds)])
    stages.append([pair_chunk(part) for part in cut_up(missing, pair_seconds)])
    return tuple(tuple(stage) for stage in stages if stage)


def write_plan(store: Store, plan: Plan) -> None:
    """Write the chunks of a plan to the store, for `read_chunk`; writing the same plan again changes nothing.

    Raises:
        StoreError: if the store cannot be written.
    """
    folder = plan.path

    def write(chunk: Chunk) -> None:
        planned = PlannedChunk(plan.model, plan.model_digest, plan.settings, chunk)
        store.replace(_chunk_path(folder, chunk.name), _PLANNED_CHUNK.dump_json(planned))

    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(write, plan.chunks))


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


def _chunk_path(plan_path: str, name: str) -> str:
    return f"{plan_path}/{name}.json"
