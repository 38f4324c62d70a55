"""Chunks, each the work of one render task, and the cutting of missing pairs and portraits into chunks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from core.atlas.image_plan import PlannedImages
from core.atlas.keys import short_digest
from core.atlas.land_plan import PlannedBlock
from core.atlas.portrait_plan import PlannedCanvas, PlannedPortrait
from core.atlas.records import Key
from core.neurons import Pair
from core.spec import ModelSpec, RenderSettings, StripKind

_CHUNK_SECONDS = 60  # long compared with the cost of a task run, short compared with a night
_LAST_CHUNK_SECONDS = 10  # the last chunks are shorter, so that the end of a build does not wait long for one process
_MAX_CHUNKS = 2000  # task runs that a Prefect server records without strain


@dataclass(frozen=True, slots=True)
class PlannedPair:
    """A pair and the key of its strip.

    Attributes:
        portraits: keys of the portraits that the strip begins and ends on; None if it has ends of its own.
        reason: why the strip cannot be rendered; None if it can.
        failures: how often the pair has failed, if it is rendered again for that; otherwise 0.
    """

    pair: Pair
    key: Key
    portraits: tuple[Key, Key] | None = None
    reason: str | None = None
    failures: int = 0

    @property
    def layers(self) -> tuple[str, str]:
        return self.pair.layers

    @property
    def strip(self) -> StripKind:
        """The kind of strip: with ends of its own, or between portraits."""
        return "pair" if self.portraits is None else "walk"


@dataclass(frozen=True)
class Chunk:
    """The work of one render task: pairs of the same two layers, portraits of one layer, a canvas, a land's block, or
    photographs.

    If there are too many layers for chunks of their own, a chunk spans several layers.

    Attributes:
        name: a digest of the keys, and of the numbers of failures, so that a failed pair can be rendered again.
        canvas: the canvas of the portraits; without portraits, the canvas to render.
    """

    name: str
    pairs: tuple[PlannedPair, ...] = ()
    portraits: tuple[PlannedPortrait, ...] = ()
    canvas: PlannedCanvas | None = None
    block: PlannedBlock | None = None
    images: PlannedImages | None = None

    @property
    def keys(self) -> list[Key]:
        """The keys of the pairs or portraits to render; none for a canvas, block or photographs, which are not cut."""
        return [pair.key for pair in self.pairs] or [portrait.key for portrait in self.portraits]


@dataclass(frozen=True)
class PlannedChunk:
    """A chunk with everything else that rendering it needs."""

    model: ModelSpec
    model_digest: str
    settings: RenderSettings
    chunk: Chunk


def pair_chunk(pairs: tuple[PlannedPair, ...]) -> Chunk:
    return Chunk(_digest_of_keys(pairs), pairs)


def portrait_chunk(portraits: tuple[PlannedPortrait, ...], canvas: PlannedCanvas) -> Chunk:
    return Chunk(f"portraits-{_digest_of_keys(portraits)}", portraits=portraits, canvas=canvas)


def canvas_chunk(canvas: PlannedCanvas) -> Chunk:
    return Chunk(f"canvas-{canvas.key}{'-again' * canvas.failures}", canvas=canvas)


def block_chunk(block: PlannedBlock) -> Chunk:
    return Chunk(f"block-{block.key}{'-again' * block.failures}", block=block)


def images_chunk(images: PlannedImages) -> Chunk:
    return Chunk(f"images-{images.key}", images=images)


Planned = TypeVar("Planned", PlannedPair, PlannedPortrait)


def cut_by_time(missing: Sequence[Planned], seconds: float, processes: int) -> list[tuple[Planned, ...]]:
    """Cut missing pairs or portraits into parts of about a minute, with shorter parts towards the end.

    This is guided self-scheduling (Polychronopoulos and Kuck 1987): a part takes a minute, or half of an even share of
    what remains if that is less. So all processes end at about the same time, even if some are slower.

    Args:
        seconds: time for each pair or portrait.
        processes: number of processes that render concurrently.
    """
    shares = 2 * processes
    largest = max(1, round(_CHUNK_SECONDS / seconds))
    smallest = max(1, min(largest, round(_LAST_CHUNK_SECONDS / seconds), len(missing) // shares))
    parts = cut(missing, largest, smallest=smallest, shares=shares)
    while len(parts) > _MAX_CHUNKS:
        largest, smallest = 2 * largest, 2 * smallest
        parts = cut(missing, largest, smallest=smallest, shares=shares)
    return parts


def cut(
    missing: Sequence[Planned], largest: int, *, smallest: int | None = None, shares: int = 1
) -> list[tuple[Planned, ...]]:
    """Cut missing pairs or portraits into parts that each lie within one layer or pair of layers.

    The parts of the same layers are nearly equal. So no short remainder needs a batch size of its own, or is rendered
    when all other processes have ended. If there would be more than 2000 parts, parts are larger than *largest*; if
    there are more than 1000 groups of layers, parts span layers.

    Args:
        largest: upper bound on the pairs or portraits in a part.
        smallest: if given, a second upper bound is one of *shares* equal shares of what remains, but at least this
            number.
    """
    groups = _by_layers(missing)
    # Each group may have one part more than its share, so the groups share the number of parts that is left over.
    largest = max(largest, math.ceil(len(missing) / (_MAX_CHUNKS - len(groups))))
    parts: list[tuple[Planned, ...]] = []
    remaining = len(missing)
    for group in groups:
        start = 0
        while start < len(group):
            limit = largest if smallest is None else min(largest, max(smallest, math.ceil(remaining / shares)))
            remaining_in_group = len(group) - start
            size = math.ceil(remaining_in_group / math.ceil(remaining_in_group / limit))
            parts.append(tuple(group[start : start + size]))
            start += size
            remaining -= size
    return parts


@dataclass(frozen=True)
class Cutting:
    """The rules by which missing pairs and portraits are cut into chunks.

    Attributes:
        chunk_pairs: pairs in a chunk; None: about a minute's work.
        adopted: the keys in each chunk of the plans of other builds.
    """

    chunk_pairs: int | None
    processes: int
    adopted: Sequence[Sequence[Key]]

    def cut(self, missing: Sequence[Planned], seconds: float) -> list[tuple[Planned, ...]]:
        """Cut what takes *seconds* each: first the parts that other builds have cut, then the rest."""
        by_key: dict[Key, Planned] = {planned.key: planned for planned in missing}
        parts: list[tuple[Planned, ...]] = []
        for keys in self.adopted:
            if all(key in by_key for key in keys):
                parts.append(tuple(by_key.pop(key) for key in keys))
        rest = list(by_key.values())
        if self.chunk_pairs:
            return parts + cut(rest, self.chunk_pairs)
        return parts + cut_by_time(rest, seconds, self.processes)


def _by_layers(missing: Sequence[Planned]) -> list[list[Planned]]:
    """Group missing pairs or portraits by layers; return one group if there would be too many."""
    groups: dict[tuple[str, ...], list[Planned]] = {}
    for planned in missing:
        groups.setdefault(planned.layers, []).append(planned)
    if len(groups) > _MAX_CHUNKS // 2:
        return [list(chain.from_iterable(groups.values()))]
    return list(groups.values())


def _digest_of_keys(planned: Iterable[PlannedPair | PlannedPortrait]) -> str:
    return short_digest("".join(each.key + "!" * each.failures for each in planned).encode())
