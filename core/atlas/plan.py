"""The plan: the pairs and the blocks of a land of a spec that have no record yet, cut into chunks.

A walkable atlas is rendered in stages: first its canvas, then portraits, then the strips between them. Each stage needs
the results of the stage before. So a plan's chunks are those of the first incomplete stage, and the next plan has those
of the following one. A land has stages of its own, which are rendered beside these. Photographs come last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from core.atlas.again import repeated, settled
from core.atlas.chunks import (
    Chunk,
    Cutting,
    PlannedPair,
    canvas_chunk,
    images_chunk,
    pair_chunk,
    portrait_chunk,
)
from core.atlas.estimate import Basis, Outcome, mean_seconds, outcomes, pair_seconds
from core.atlas.image_plan import ImageProgress, image_progress
from core.atlas.keys import key_of, pair_keys
from core.atlas.land_progress import LandProgress, land_progress
from core.atlas.photograph_means import on_photographs
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
from core.machine import device
from core.models.model import Model
from core.models.models import digest, load, pinned
from core.neurons import Neuron, Pair
from core.spec import AtlasSpec, ModelSpec, RenderSettings, StripKind
from core.store.store import Store

_BYTES_PER_PIXEL = 2.4  # measured: PNG and WebP of finished strips together
_BYTES_PER_PORTRAIT_PIXEL = 14.0  # three numbers of four bytes, and a PNG


@dataclass(frozen=True)
class Plan:
    """The part of an atlas that is still to be rendered.

    Attributes:
        layers: all layers of the model, in order from the image on.
        model: with the sha256 of every file of directions, so that a worker with another file refuses it.
        settings: with the model's defaults written out.
        pairs: number of pairs in the spec.
        done: number of pairs in the spec that have a sheet.
        failures: the pairs in the spec that have failed, and the reason of each.
        recorded: number of records of pairs in the atlas, of every spec.
        stages: the chunks of every incomplete stage.
        pair_seconds, portrait_seconds: estimated time that a process takes for a pair, and for a portrait.
        land: the land of the spec, if it has one.
        images: the photographs of the spec, if it has some.
        basis: basis of pair_seconds. Without records of portraits, portrait_seconds is a frame's share of
            pair_seconds.
    """

    model: ModelSpec
    model_digest: str
    layers: tuple[str, ...]
    settings: RenderSettings
    pairs: int
    done: int
    failures: tuple[tuple[Pair, str], ...]
    recorded: int
    stages: tuple[tuple[Chunk, ...], ...]
    pair_seconds: float
    portrait_seconds: float
    basis: Basis
    land: LandProgress | None = None
    images: ImageProgress | None = None

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """The chunks that can be rendered now: those of the first incomplete stage."""
        return self.stages[0] if self.stages else ()

    @property
    def stage(self) -> str:
        """The name of the first incomplete stage, for messages."""
        kinds = {
            "the land": any(chunk.block for chunk in self.chunks),
            "the canvas of all portraits": any(chunk.canvas and not chunk.portraits for chunk in self.chunks),
            "portraits": any(chunk.portraits for chunk in self.chunks),
            "pairs": any(chunk.pairs for chunk in self.chunks),
            "photographs": any(chunk.images for chunk in self.chunks),
        }
        return " and ".join(kind for kind, is_there in kinds.items() if is_there)

    @property
    def failed(self) -> int:
        """The number of pairs in the spec that have failed."""
        return len(self.failures)

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
        """The number of pairs, portraits, canvases, blocks and photographs without a record."""
        rendered = self.missing + self.missing_portraits + len(self._missing_canvas) + self.missing_blocks
        return rendered + self.missing_images

    @property
    def missing_images(self) -> int:
        """The number of photographs without a record."""
        return self.images.missing_images if self.images else 0

    @property
    def missing_blocks(self) -> int:
        """The number of blocks of the land without a record."""
        return self.land.missing if self.land else 0

    @property
    def failed_blocks(self) -> int:
        """The number of blocks of the land that have failed."""
        return len(self.land.failures) if self.land else 0

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
    def chunk_seconds(self) -> dict[str, float]:
        """The name of each chunk that can be rendered now, and the estimated time that a process takes for it."""
        return {chunk.name: self._seconds(chunk) for chunk in self.chunks}

    def seconds(self, processes: int) -> float:
        """Return the estimated time for everything that is missing; a canvas keeps only one process busy."""
        canvas = sum(map(self._seconds, self._missing_canvas))
        shared = sum(self._seconds(chunk) for stage in self.stages for chunk in stage) - canvas
        return canvas + shared / processes

    def stored_bytes(self) -> int:
        """Return the estimated size in the store of everything that is missing."""
        strips = self.missing * self.settings.frames * _BYTES_PER_PIXEL
        land = self.land.stored_bytes if self.land else 0
        images = self.images.stored_bytes if self.images else 0
        return (
            land
            + images
            + int(self.settings.size_px**2 * (strips + self.missing_portraits * _BYTES_PER_PORTRAIT_PIXEL))
        )

    @property
    def _missing_canvas(self) -> tuple[Chunk, ...]:
        return tuple(chunk for chunk in self.chunks if chunk.canvas and not chunk.portraits)

    def _seconds(self, chunk: Chunk) -> float:
        if chunk.canvas and not chunk.portraits:
            return len(chunk.canvas.sample) * self.portrait_seconds
        if chunk.block and self.land:
            return self.land.block_seconds
        if chunk.images and self.images:
            return len(chunk.images.photographs) * self.images.image_seconds
        return len(chunk.pairs) * self.pair_seconds + len(chunk.portraits) * self.portrait_seconds


def make_plan(
    spec: AtlasSpec,
    store: Store,
    processes: int,
    *,
    adopted: Sequence[Sequence[Key]] = (),
    again: Mapping[str, int] | None = None,
    only_images: bool = False,
    relist: bool = True,
) -> Plan:
    """Compare the pairs, land and photographs of a spec with the store's records, and cut what is missing into chunks.

    Args:
        processes: number of processes that will render concurrently; chunks are small enough to keep all of them busy.
        adopted: the keys of each chunk in the plans of other builds at work; these chunks stay, and the rest is cut.
        again: `count_failures` at the start of the build; what has failed and not failed since then is missing.
        only_images: whether to plan the photographs alone, without pairs and land.
        relist: whether to look for photographs that the source has got since its list was made.

    Raises:
        SpecError: if the spec asks for something impossible.
        ModelError: if the model's weights are missing.
        RecordError: if a record cannot be read.
    """
    model = load(spec.model)
    model_digest, settings = digest(model), resolve_settings(spec.render, model)
    on_gpu = device.is_gpu(device.expected()) if spec.compute.renders_here else None
    again = again or {}
    images = image_progress(spec, model, model_digest, store, processes, on_gpu, relist=relist)
    seen = on_photographs(store, model, model_digest, images.evidence if images else None)
    selected = [] if only_images else select_pairs(spec, model, seen)
    pairs = [PlannedPair(pair, key) for pair, key in pair_keys(selected, model_digest, settings, model.derived)]
    if portraits := _plan_portraits(spec.strip, selected, model, store, model_digest, settings, on_gpu, again):
        pairs = [_between(portraits, planned) for planned in pairs]
    failures: Counter[str] = Counter()
    known = read_records(store, outcomes(model_digest, settings, spec.strip, on_gpu), failures)
    recorded = settled(known, failures, again)
    missing = [repeated(planned, again) for planned in pairs if planned.key not in recorded]
    seconds, basis = pair_seconds(recorded.values(), missing, model_digest, settings, on_gpu)
    portrait_seconds = (portraits and mean_seconds(portraits.recorded.values())) or seconds / settings.frames
    failed = _failed(pairs, recorded)
    land = None if only_images else land_progress(spec, model, model_digest, store, on_gpu, again, seen)
    cutting = Cutting(spec.compute.chunk_pairs, processes, adopted)
    return Plan(
        model=pinned(spec.model),
        model_digest=model_digest,
        layers=tuple(model.layers),
        settings=settings,
        pairs=len(pairs),
        done=len(pairs) - len(missing) - len(failed),
        failures=failed,
        recorded=len(known),
        stages=_all_stages(_stages(missing, portraits, seconds, portrait_seconds, cutting), land, images),
        pair_seconds=seconds,
        portrait_seconds=portrait_seconds,
        basis=basis,
        land=land,
        images=images,
    )


def _failed(pairs: Sequence[PlannedPair], recorded: Mapping[Key, Outcome]) -> tuple[tuple[Pair, str], ...]:
    """Return the pairs that have failed, and the reason of each."""
    reasons = ((planned.pair, recorded[planned.key].reason) for planned in pairs if planned.key in recorded)
    return tuple((pair, reason) for pair, reason in reasons if reason is not None)


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


def _plan_portraits(
    strip: StripKind,
    pairs: Sequence[Pair],
    model: Model,
    store: Store,
    model_digest: str,
    settings: RenderSettings,
    on_gpu: bool | None,
    again: Mapping[str, int],
) -> _Portraits | None:
    """Plan a canvas, and a portrait for each neuron, if strips need them; if the canvas has failed, none can follow."""
    if strip != "walk" or not pairs:
        return None
    canvas = plan_canvas(pairs, model, model_digest, settings)
    failures: Counter[str] = Counter()
    known = read_portraits(store, outcomes(model_digest, portrait_settings(settings), "walk", on_gpu), failures)
    recorded = settled(known, failures, again)
    failure = recorded[canvas.key].reason if canvas.key in recorded else None
    reason = None if failure is None else f"the canvas of all portraits failed: {failure}"
    neurons = sorted({neuron for pair in pairs for neuron in pair}, key=lambda neuron: neuron.order)
    portraits = (PlannedPortrait(each, portrait_key(canvas.key, each, model.derived), reason) for each in neurons)
    by_neuron = {planned.neuron: repeated(planned, again) for planned in portraits}
    return _Portraits(repeated(canvas, again), by_neuron, recorded)


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
    cutting: Cutting,
) -> tuple[tuple[Chunk, ...], ...]:
    """Cut what is missing into the chunks of each incomplete stage."""
    stages: list[list[Chunk]] = []
    if portraits is not None:
        stages.append([canvas_chunk(portraits.canvas)] if portraits.canvas_is_missing else [])
        parts = cutting.cut(portraits.missing, portrait_seconds)
        stages.append([portrait_chunk(part, portraits.canvas) for part in parts])
    stages.append([pair_chunk(part) for part in cutting.cut(missing, pair_seconds)])
    return tuple(tuple(stage) for stage in stages if stage)


def _all_stages(
    stages: Sequence[tuple[Chunk, ...]], land: LandProgress | None, images: ImageProgress | None
) -> tuple[tuple[Chunk, ...], ...]:
    """Return the stages of pairs with those of a land beside them, and the photographs after them."""
    blocks = land.stages if land else []
    rendered = ((*one, *other) for one, other in zip_longest(blocks, stages, fillvalue=()))
    return (*rendered, *([tuple(map(images_chunk, images.missing))] if images and images.missing else []))
