"""Chunks: what one render task does, and how what is missing is cut into them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from core.atlas.keys import short_digest
from core.atlas.portrait_plan import PlannedCanvas, PlannedPortrait
from core.atlas.records import Key
from core.neurons import Pair
from core.spec import ModelSpec, RenderSettings, StripKind

_CHUNK_SECONDS = 60  # long against the cost of a task run, short against a night
_LAST_CHUNK_SECONDS = 10  # those at the end are shorter, so that nobody waits long for the last one
_MOST_CHUNKS = 2000  # what a Prefect server records without strain


@dataclass(frozen=True, slots=True)
class PlannedPair:
    """A pair and the key of its sheet.

    Attributes:
        portraits: keys of those that its strip begins and ends on, if the atlas is walkable.
        reason: why it cannot be rendered, if so.
    """

    pair: Pair
    key: Key
    portraits: tuple[Key, Key] | None = None
    reason: str | None = None

    @property
    def layers(self) -> tuple[str, str]:
        return self.pair.layers

    @property
    def strip(self) -> StripKind:
        """Whether its strip begins and ends on portraits."""
        return "pair" if self.portraits is None else "walk"


Planned = TypeVar("Planned", PlannedPair, PlannedPortrait)


@dataclass(frozen=True)
class Chunk:
    """What one task renders: pairs of one pair of layers, or portraits of one layer, or a canvas.

    Where there are too many layers for tasks of their own, there are several in a chunk.

    Attributes:
        name: made of its keys.
        canvas: that of its portraits; or, without any, the one to be rendered.
    """

    name: str
    pairs: tuple[PlannedPair, ...] = ()
    portraits: tuple[PlannedPortrait, ...] = ()
    canvas: PlannedCanvas | None = None


@dataclass(frozen=True)
class PlannedChunk:
    """All that is needed to render one chunk."""

    model: ModelSpec
    model_digest: str
    settings: RenderSettings
    chunk: Chunk


def cut_by_time(missing: Sequence[Planned], seconds: float, processes: int) -> list[tuple[Planned, ...]]:
    """Parts of about a minute, and shorter ones towards the end.

    Whoever is free takes half of its even share of what is left, if that is less than a minute (guided
    self-scheduling, Polychronopoulos and Kuck 1987). So all end at about the same time, even if some are slower.

    Args:
        seconds: that one takes.
    """
    shares = 2 * processes
    most = max(1, round(_CHUNK_SECONDS / seconds))
    least = max(1, min(most, round(_LAST_CHUNK_SECONDS / seconds), len(missing) // shares))
    parts = cut(missing, most, least=least, shares=shares)
    while len(parts) > _MOST_CHUNKS:
        most, least = 2 * most, 2 * least
        parts = cut(missing, most, least=least, shares=shares)
    return parts


def cut(
    missing: Sequence[Planned], most: int, *, least: int | None = None, shares: int = 1
) -> list[tuple[Planned, ...]]:
    """Parts of at most so many, or more where there would be too many parts; each within one layer or pair of layers.

    A part is as long as the others that could follow it in its layers, lest a small rest be left, which would end alone
    and need another size of batch.

    Args:
        least: if given, a part is also at most one of so many *shares* of all that is left, but not less than this.
    """
    by_layers: dict[tuple[str, ...], list[Planned]] = {}
    for planned in missing:
        by_layers.setdefault(planned.layers, []).append(planned)
    groups = list(by_layers.values())
    if len(groups) > _MOST_CHUNKS // 2:
        groups = [list(chain.from_iterable(groups))]
    # Every group may have a part more than its share; all have to share what then is left.
    most = max(most, math.ceil(len(missing) / (_MOST_CHUNKS - len(groups))))
    parts: list[tuple[Planned, ...]] = []
    left = len(missing)
    for members in groups:
        first = 0
        while first < len(members):
            size = most if least is None else min(most, max(least, math.ceil(left / shares)))
            rest = len(members) - first
            alike = math.ceil(rest / math.ceil(rest / size))
            parts.append(tuple(members[first : first + alike]))
            first += alike
            left -= alike
    return parts


def pair_chunk(pairs: tuple[PlannedPair, ...]) -> Chunk:
    return Chunk(_digest_of_keys(pairs), pairs)


def portrait_chunk(portraits: tuple[PlannedPortrait, ...], canvas: PlannedCanvas | None) -> Chunk:
    return Chunk(f"portraits-{_digest_of_keys(portraits)}", portraits=portraits, canvas=canvas)


def canvas_chunk(canvas: PlannedCanvas) -> Chunk:
    return Chunk(f"canvas-{canvas.key}", canvas=canvas)


def _digest_of_keys(planned: Iterable[PlannedPair | PlannedPortrait]) -> str:
    return short_digest("".join(each.key for each in planned).encode())
