"""The progress of a land: which of its blocks are recorded, and the chunks of those that are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from core.atlas import pace
from core.atlas.again import repeated, settled
from core.atlas.chunks import Chunk, block_chunk
from core.atlas.estimate import Outcome, mean_seconds, outcomes
from core.atlas.land_plan import PlannedBlock, PlannedLand, plan_land
from core.atlas.recorded import read_blocks
from core.atlas.records import Key
from core.atlas.selection import OnPhotographs
from core.models.model import Model
from core.spec import AtlasSpec
from core.store.store import Store

_TURNS = 4
_COST = 1.6  # measured: the time of an update of a block, as a multiple of that assumed for as many pixels of a strip
_BYTES_PER_PIXEL = 2.8  # measured: the PNG of a block, and the tiles of its part of the pyramid


@dataclass(frozen=True)
class LandProgress:
    """A land and the outcomes of its blocks.

    Attributes:
        recorded: the outcomes of all blocks of lands in the atlas.
        block_seconds: estimated time that a process takes for a block.
        again: numbers of failures of the blocks that are to be rendered again.
    """

    planned: PlannedLand
    recorded: Mapping[Key, Outcome]
    block_seconds: float
    again: Mapping[str, int]

    @property
    def blocks(self) -> int:
        """The number of blocks."""
        return len(self.planned.blocks)

    @property
    def failures(self) -> list[tuple[PlannedBlock, str]]:
        """The blocks that have failed, and the reason of each."""
        outcomes = ((block, self.recorded[block.key].reason) for block in self.planned.blocks if self._has(block.key))
        return [(block, reason) for block, reason in outcomes if reason is not None]

    @property
    def missing(self) -> int:
        """The number of blocks without a record."""
        return sum(not self._has(block.key) for block in self.planned.blocks)

    @property
    def done(self) -> int:
        """The number of blocks that have a picture."""
        return self.blocks - self.missing - len(self.failures)

    @property
    def stages(self) -> list[tuple[Chunk, ...]]:
        """The chunks of every incomplete stage: blocks that do not touch, which need those of the stages before."""
        turns = (tuple(map(block_chunk, self._missing_in(turn))) for turn in range(_TURNS))
        return [chunks for chunks in turns if chunks]

    @property
    def stored_bytes(self) -> int:
        """The estimated size in the store of everything that is missing."""
        height, width = self.planned.land.block_size_px
        return int(self.missing * height * width * _BYTES_PER_PIXEL)

    def _missing_in(self, turn: int) -> Iterator[PlannedBlock]:
        for block in self.planned.blocks:
            if block.block.turn == turn and not self._has(block.key):
                yield repeated(replace(block, reason=self._reason(block)), self.again)

    def _reason(self, block: PlannedBlock) -> str | None:
        """Return why a block cannot be rendered, or None if it can."""
        for other, key in block.finished:
            if self._has(key) and self.recorded[key].failed:
                return f"block {other.row}, {other.column} of the land failed: {self.recorded[key].reason}"
        return None

    def _has(self, key: Key) -> bool:
        return key in self.recorded


def land_progress(
    spec: AtlasSpec,
    model: Model,
    model_digest: str,
    store: Store,
    on_gpu: bool | None,
    again: Mapping[str, int],
    on_photographs: OnPhotographs,
) -> LandProgress | None:
    """Compare the land of a spec with the records in the store; None without a land.

    Args:
        on_gpu: see `core.atlas.estimate.outcomes`.
        again: see `core.atlas.again.settled`.
        on_photographs: what `arrange: activations` compares.

    Raises:
        SpecError: if the neurons cannot have a land.
        RecordError: if a record cannot be read.
    """
    if spec.land is None:
        return None
    planned = plan_land(spec, model, model_digest, store, on_photographs)
    failures: Counter[str] = Counter()
    known = read_blocks(store, outcomes(model_digest, planned.settings, spec.strip, on_gpu), failures)
    recorded = settled(known, failures, again)
    seconds = mean_seconds(recorded.values()) or _assumed_seconds(planned, on_gpu=bool(on_gpu))
    return LandProgress(planned, recorded, seconds, again)


def _assumed_seconds(planned: PlannedLand, *, on_gpu: bool) -> float:
    height, width = planned.land.block_size_px
    cell_px = planned.land.cell_px
    cells = height * width / cell_px**2
    return _COST * planned.settings.steps * cells * pace.assumed(1, cell_px, on_gpu=on_gpu)
