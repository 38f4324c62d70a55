"""The outcome of a build."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.errors import UnfinishedError

if TYPE_CHECKING:
    from core.atlas.plan import Plan

_NAMED_FAILURES = 10


@dataclass(frozen=True)
class Failure:
    """A failed pair, or a failed block of the land, and the reason of its failure."""

    pair: str
    reason: str


@dataclass(frozen=True)
class BuildResult:
    """Numbers of the pairs of a spec, of the blocks of its land, and of its photographs, by their state.

    Attributes:
        rendered, blocks_rendered: numbers of pairs and blocks that this run has rendered, finished and failed ones;
            other builds may have rendered some at the same time.
        failures: the first ten failed pairs, then the first ten failed blocks.
        blocks: number of blocks of the land; 0 without a land.
        images, images_read: number of files in the list of photographs, and of those that were read.
        images_skipped: number of files that are no photographs, by reason.
    """

    pairs: int
    done: int
    failed: int
    missing: int
    rendered: int
    failures: tuple[Failure, ...]
    blocks: int = 0
    blocks_done: int = 0
    blocks_failed: int = 0
    blocks_rendered: int = 0
    images: int = 0
    images_read: int = 0
    images_skipped: dict[str, int] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """True if nothing has failed and nothing is missing."""
        done = self.blocks == self.blocks_done and self.images == self.images_read
        return done and not (self.failed or self.missing)

    @property
    def is_something(self) -> bool:
        """True if anything has a record."""
        return bool(self.done or self.failed or self.blocks_done or self.blocks_failed)

    @classmethod
    def of(cls, plan: Plan, rendered: int, blocks_rendered: int = 0) -> BuildResult:
        """Return the outcome of a build, given its last plan."""
        failures = [Failure(f"{pair.a} - {pair.b}", reason) for pair, reason in plan.failures[:_NAMED_FAILURES]]
        land, images = plan.land, plan.images
        if land is not None:
            failed = land.failures[:_NAMED_FAILURES]
            failures += [Failure(f"block {b.block.row}, {b.block.column} of the land", reason) for b, reason in failed]
        return cls(
            plan.pairs,
            plan.done,
            plan.failed,
            plan.missing,
            rendered,
            tuple(failures),
            blocks=land.blocks if land else 0,
            blocks_done=land.done if land else 0,
            blocks_failed=len(land.failures) if land else 0,
            blocks_rendered=blocks_rendered,
            images=images.images if images else 0,
            images_read=images.images - images.missing_images if images else 0,
            images_skipped=images.left_out if images else {},
        )


class UnfinishedBuildError(UnfinishedError):
    """A build that could not render some pairs, portraits or blocks of a land; the others are published."""

    def __init__(self, result: BuildResult, missing_portraits: int, cause: str | None) -> None:
        portraits = f" and {missing_portraits} portraits" if missing_portraits else ""
        reason = "; the log says why" if cause is None else f": {cause}"
        blocks = result.blocks - result.blocks_done - result.blocks_failed
        land = f" and {blocks} of {result.blocks} blocks of the land" if blocks else ""
        images = result.images - result.images_read
        read = f" and {images} of {result.images} photographs" if images else ""
        super().__init__(
            f"{result.missing} of {result.pairs} pairs{portraits}{land}{read} could not be rendered{reason}"
        )
        self.result = result
