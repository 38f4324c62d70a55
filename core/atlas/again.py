"""Failures that a build renders again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from core.atlas.chunks import PlannedPair
from core.atlas.estimate import Outcome
from core.atlas.land_plan import PlannedBlock
from core.atlas.portrait_plan import PlannedCanvas, PlannedPortrait

_Repeatable = TypeVar("_Repeatable", PlannedPair, PlannedPortrait, PlannedCanvas, PlannedBlock)


def settled(
    recorded: Mapping[str, Outcome], failures: Mapping[str, int], again: Mapping[str, int]
) -> dict[str, Outcome]:
    """Return the outcomes without the failures that are to be rendered again and have not been since.

    Args:
        failures: how often each key has failed.
        again: how often each key had failed when the build began that renders failures again.
    """
    return {
        key: outcome
        for key, outcome in recorded.items()
        if not (outcome.failed and key in again and failures[key] <= again[key])
    }


def repeated(planned: _Repeatable, again: Mapping[str, int]) -> _Repeatable:
    """Note how often something has failed, for the name of its chunk: the old name has records."""
    return replace(planned, failures=again[planned.key]) if planned.key in again else planned
