"""The outcome of a build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import UnfinishedError

if TYPE_CHECKING:
    from core.atlas.plan import Plan

_NAMED_FAILURES = 10


@dataclass(frozen=True)
class Failure:
    """A failed pair, and the reason of its failure."""

    pair: str
    reason: str


@dataclass(frozen=True)
class BuildResult:
    """Numbers of the pairs of a spec by their state.

    Attributes:
        rendered: number of pairs that this run has rendered, finished and failed ones; other builds may have rendered
            some at the same time.
        failures: the first ten failed pairs.
    """

    pairs: int
    done: int
    failed: int
    missing: int
    rendered: int
    failures: tuple[Failure, ...]

    @classmethod
    def of(cls, plan: Plan, rendered: int) -> BuildResult:
        """Return the outcome of a build, given its last plan."""
        failures = tuple(Failure(f"{pair.a} - {pair.b}", reason) for pair, reason in plan.failures[:_NAMED_FAILURES])
        return cls(plan.pairs, plan.done, plan.failed, plan.missing, rendered, failures)


class UnfinishedBuildError(UnfinishedError):
    """A build that could not render some pairs or portraits; the others are published."""

    def __init__(self, result: BuildResult, missing_portraits: int, cause: str | None) -> None:
        portraits = f" and {missing_portraits} portraits" if missing_portraits else ""
        reason = "; the log says why" if cause is None else f": {cause}"
        super().__init__(f"{result.missing} of {result.pairs} pairs{portraits} could not be rendered{reason}")
        self.result = result
