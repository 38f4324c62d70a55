"""Failures that a build renders again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from core.atlas.chunks import PlannedPair
from core.atlas.estimate import Outcome
from core.atlas.land_plan import PlannedBlock
from core.atlas.portrait_plan import PlannedCanvas, PlannedPortrait
from core.atlas.recorded import read_blocks, read_portraits, read_records
from core.atlas.records import AnyRecord
from core.store.store import Store

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


def count_failures(store: Store) -> dict[str, int]:
    """Return how often each pair, portrait, canvas and block has failed that was not rendered since, by its key.

    Raises:
        RecordError: if a record cannot be read.
    """
    failures: Counter[str] = Counter()
    done = {key for key, is_done in read_records(store, _is_done, failures).items() if is_done}
    done |= {key for key, is_done in read_portraits(store, _is_done, failures).items() if is_done}
    done |= {key for key, is_done in read_blocks(store, _is_done, failures).items() if is_done}
    return {key: count for key, count in failures.items() if key not in done}


def _is_done(record: AnyRecord) -> bool:
    return record.status == "done"
