"""The plan: the pairs of a spec that have no record yet, cut into chunks.

A plan is written to the store with an object for each chunk, so that whoever renders a chunk needs only the plan's
address and the chunk's name, and reads nothing of the others.

A walkable atlas is rendered in stages, a canvas, portraits, and the strips between them; each needs what the one before
has made, so a plan's chunks are those of the first stage that is not complete, and the next plan goes on from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError

from core.atlas import pace
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
from core.atlas.keys import key_of, keys, settings_digest
from core.atlas.portrait_plan import (
    PlannedCanvas,
    PlannedPortrait,
    plan_canvas,
    portrait_key,
    portrait_settings,
    walk_key,
)
from core.atlas.recorded import read_portraits, read_records
from core.atlas.records import Key, PortraitRecord, Record
from core.atlas.selection import resolve_settings, select_pairs
from core.errors import RecordError, first_mistake
from core.machine import device
from core.models.models import digest, load
from core.neurons import Neuron, Pair
from core.spec import AtlasSpec, ModelSpec, RenderSettings, StripKind
from core.store.store import Store

_WRITERS = 16  # chunks that are written at once, because each waits for its disk or network
_BYTES_PER_PIXEL = 2.4  # measured: PNG and WebP of finished strips together
_BYTES_PER_PORTRAIT_PIXEL = 14.0  # three numbers of four bytes, and a PNG

SPEC_PATH = "plan/spec.json"

Basis = Literal["atlas", "device", "assumed"]
"""Where an estimate of time comes from: records of this atlas, renderings on this device, or neither."""


@dataclass(frozen=True)
class Plan:
    """What is still to be rendered of an atlas.

    Attributes:
        settings: with the model's defaults written out.
        pairs: how many pairs the spec has in all.
        done, failed: how many of them have a record.
        recorded: how many records of pairs the atlas has in all, of whichever spec.
        stages: the chunks of every stage that is not complete.
        pair_seconds, portrait_seconds: about how long a process takes for a pair, and for a portrait.
        basis: where the former comes from; without a record the latter is a frame's share of it.
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
        """What can be rendered now: the first stage that is not complete."""
        return self.stages[0] if self.stages else ()

    @property
    def stage(self) -> str:
        """What these chunks hold, in words."""
        first = self.chunks[0]
        return "pairs" if first.pairs else "portraits" if first.portraits else "the canvas of all portraits"

    @property
    def missing_pairs(self) -> Iterator[PlannedPair]:
        return (planned for stage in self.stages for chunk in stage for planned in chunk.pairs)

    @property
    def missing(self) -> int:
        """How many pairs have no record."""
        return self.pairs - self.done - self.failed

    @property
    def missing_portraits(self) -> int:
        return sum(len(chunk.portraits) for stage in self.stages for chunk in stage)

    @property
    def unrecorded(self) -> int:
        """How many pairs, portraits and canvases have no record."""
        return self.missing + self.missing_portraits + len(self._missing_canvas)

    @property
    def chunk_seconds(self) -> float:
        """About how long a process takes for the longest of the chunks that can be rendered now."""
        return max(map(self._seconds, self.chunks))

    @property
    def path(self) -> str:
        """The plan's folder in the store: named by its content, of which names of chunks tell everything but this."""
        content = {
            "model": self.model.model_dump(mode="json"),
            "model_digest": self.model_digest,
            "settings": self.settings.model_dump(mode="json"),
            "chunks": [chunk.name for chunk in self.chunks],
        }
        return f"plan/{key_of(content)}"

    def seconds(self, processes: int) -> float:
        """About how long everything that is missing takes."""
        alone = sum(map(self._seconds, self._missing_canvas))
        shared = sum(self._seconds(chunk) for stage in self.stages for chunk in stage) - alone
        return alone + shared / processes

    def stored_bytes(self) -> int:
        """About how much what is missing takes in the store."""
        strips = self.missing * self.settings.frames * _BYTES_PER_PIXEL
        return int(self.settings.size_px**2 * (strips + self.missing_portraits * _BYTES_PER_PORTRAIT_PIXEL))

    @property
    def _missing_canvas(self) -> tuple[Chunk, ...]:
        return tuple(chunk for chunk in self.chunks if chunk.canvas and not chunk.portraits)

    def _seconds(self, chunk: Chunk) -> float:
        if chunk.canvas and not chunk.portraits:
            return len(chunk.canvas.sample) * self.portrait_seconds
        return len(chunk.pairs) * self.pair_seconds + len(chunk.portraits) * self.portrait_seconds


_ORDER = TypeAdapter(PlannedChunk)


def make_plan(spec: AtlasSpec, store: Store, processes: int) -> Plan:
    """Compare the spec's pairs with the records in the store.

    Args:
        processes: how many will render at once; the chunks are small enough to keep them all busy.

    Raises:
        SpecError: if the spec asks for something impossible.
        ModelError: if the model's weights are missing.
        RecordError: if a record cannot be read.
    """
    model = load(spec.model)
    settings = resolve_settings(spec.render, model)
    model_digest = digest(model)
    pairs = select_pairs(spec, model)
    rendered_here = spec.compute.renders_here
    recorded = read_records(store, _comparison(model_digest, settings, spec.strip, rendered_here))
    keyed = [PlannedPair(pair, key) for pair, key in keys(pairs, model_digest, settings)]
    canvas, portraits, recorded_portraits = None, {}, {}
    if spec.strip == "walk":
        canvas = plan_canvas(pairs, model, model_digest, settings)
        compare = _comparison(model_digest, portrait_settings(settings), "walk", rendered_here)
        recorded_portraits = read_portraits(store, compare)
        portraits = _plan_portraits(pairs, canvas, recorded_portraits)
        keyed = [_between(planned, portraits, recorded_portraits) for planned in keyed]
    missing = [planned for planned in keyed if planned.key not in recorded]
    failed = sum(recorded[planned.key].failed for planned in keyed if planned.key in recorded)
    on_gpu = rendered_here and device.is_gpu(device.expected())
    pair_seconds, basis = _pair_seconds(model_digest, settings, spec.strip, recorded.values(), missing, on_gpu=on_gpu)
    portrait_seconds = _mean_seconds(recorded_portraits.values()) or pair_seconds / settings.frames
    missing_portraits = [planned for planned in portraits.values() if planned.key not in recorded_portraits]

    def parts_of(planned: Sequence[Planned], seconds: float) -> list[tuple[Planned, ...]]:
        if spec.compute.chunk_pairs:
            return cut(planned, spec.compute.chunk_pairs)
        return cut_by_time(planned, seconds, processes)

    stages = [
        [canvas_chunk(canvas)] if canvas and canvas.key not in recorded_portraits else [],
        [portrait_chunk(few, canvas) for few in parts_of(missing_portraits, portrait_seconds)],
        [pair_chunk(few) for few in parts_of(missing, pair_seconds)],
    ]
    return Plan(
        model=spec.model,
        model_digest=model_digest,
        settings=settings,
        pairs=len(keyed),
        done=len(keyed) - len(missing) - failed,
        failed=failed,
        recorded=len(recorded),
        stages=tuple(tuple(stage) for stage in stages if stage),
        pair_seconds=pair_seconds,
        portrait_seconds=portrait_seconds,
        basis=basis,
    )


def write_plan(store: Store, plan: Plan) -> None:
    """Write a plan to the store, for `read_chunk`; one that is there already is written again and stays the same.

    Raises:
        StoreError: if the store cannot be written.
    """
    folder = plan.path

    def write(chunk: Chunk) -> None:
        order = PlannedChunk(plan.model, plan.model_digest, plan.settings, chunk)
        store.replace(_chunk_path(folder, chunk.name), _ORDER.dump_json(order))

    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(write, plan.chunks))


def read_chunk(store: Store, plan_path: str, name: str) -> PlannedChunk:
    """Read one chunk of a plan that was written to the store.

    Raises:
        StoreError: if there is no such chunk.
        RecordError: naming the first field that is not as it should be.
    """
    path = _chunk_path(plan_path, name)
    try:
        return _ORDER.validate_json(store.read(path))
    except ValidationError as error:
        mistake = first_mistake(error, "the whole file")
        raise RecordError(
            f"{store}/{path}: expected a chunk of a plan, but {mistake}; build again to write it anew"
        ) from None


def _chunk_path(plan_path: str, name: str) -> str:
    return f"{plan_path}/{name}.json"


class _Recorded(NamedTuple):
    """What a plan needs of a record.

    Attributes:
        reason: why it failed, if so.
        seconds: that it took; None if those of the plan would take another time.
    """

    reason: str | None
    seconds: float | None

    @property
    def failed(self) -> bool:
        return self.reason is not None


def _comparison(
    model_digest: str, settings: RenderSettings, strip: StripKind, rendered_here: bool
) -> Callable[[Record | PortraitRecord], _Recorded]:
    """What to keep of records when pairs of this model and these settings are planned, or portraits.

    Those that this machine will render do not take as long on a GPU as on a CPU; those that others will, take what
    others took. What was not tried, because a portrait had failed, and canvases, tell nothing about time.
    """
    wanted = model_digest, settings_digest(settings)
    on_gpu = device.is_gpu(device.expected())

    def compare(record: Record | PortraitRecord) -> _Recorded:
        alike = (record.model_digest, record.settings_digest) == wanted
        alike &= not rendered_here or device.is_gpu(record.device) == on_gpu
        alike &= record.strip == strip if isinstance(record, Record) else record.neuron is not None
        reason = (record.reason or "no reason given") if record.status == "failed" else None
        return _Recorded(reason, record.seconds if alike and record.seconds > 0 else None)

    return compare


def _plan_portraits(
    pairs: Iterable[Pair], canvas: PlannedCanvas, recorded: Mapping[Key, _Recorded]
) -> dict[Neuron, PlannedPortrait]:
    """The portraits of all neurons of some pairs; none of them can be rendered if their canvas has failed."""
    failed = recorded[canvas.key].reason if canvas.key in recorded else None
    reason = failed and f"the canvas of all portraits failed: {failed}"
    neurons = sorted({neuron for pair in pairs for neuron in pair}, key=lambda neuron: neuron.order)
    return {neuron: PlannedPortrait(neuron, portrait_key(canvas.key, neuron), reason) for neuron in neurons}


def _between(
    planned: PlannedPair, portraits: Mapping[Neuron, PlannedPortrait], recorded: Mapping[Key, _Recorded]
) -> PlannedPair:
    """A pair whose strip begins and ends on portraits; it cannot be rendered if one of these has failed."""
    a, b = (portraits[neuron].key for neuron in planned.pair)
    failed = [
        f"the portrait of {neuron} failed: {recorded[key].reason}"
        for neuron, key in zip(planned.pair, (a, b), strict=True)
        if key in recorded and recorded[key].failed
    ]
    return PlannedPair(planned.pair, walk_key(planned.key, (a, b)), (a, b), next(iter(failed), None))


def _mean_seconds(recorded: Iterable[_Recorded]) -> float | None:
    took = [record.seconds for record in recorded if record.seconds is not None]
    return max(0.001, fmean(took)) if took else None


def _pair_seconds(
    model_digest: str,
    settings: RenderSettings,
    strip: StripKind,
    recorded: Iterable[_Recorded],
    missing: Sequence[PlannedPair],
    *,
    on_gpu: bool,
) -> tuple[float, Basis]:
    """What pairs like the missing ones took, or else what they should take."""
    took = _mean_seconds(recorded)
    if took:
        return took, "atlas"
    layers = Counter(planned.pair.layers for planned in missing)
    paces = {pair: pace.remembered(model_digest, pair, settings.frames, settings.size_px, strip) for pair in layers}
    known = [(seconds, layers[pair]) for pair, seconds in paces.items() if seconds is not None]
    if known:
        update_seconds = sum(seconds * pairs for seconds, pairs in known) / sum(pairs for _, pairs in known)
        return max(0.001, settings.steps * update_seconds), "device"
    return settings.steps * pace.assumed(settings.frames, settings.size_px, on_gpu=on_gpu), "assumed"
