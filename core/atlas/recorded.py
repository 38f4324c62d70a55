"""The records in a store, by key.

Records are large, so a caller passes a function that returns the part of each record to keep.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import PurePosixPath
from typing import TypeVar

from core.atlas.records import (
    BLOCK_RECORDS,
    IMAGE_RECORDS,
    PORTRAIT_RECORDS,
    RECORDS,
    BlockRecord,
    PortraitRecord,
    Record,
    blocks_from_ndjson,
    from_ndjson,
    lines_of_pairs,
    portraits_from_ndjson,
)
from core.store.store import Store

_View = TypeVar("_View")
_AnyRecord = TypeVar("_AnyRecord", Record, PortraitRecord, BlockRecord)


def read_records(
    store: Store, view: Callable[[Record], _View], failures: Counter[str] | None = None
) -> dict[str, _View]:
    """Return key -> view of the pair's record, in the order of the record files.

    Concurrent runs may both have recorded a pair. Then the first record counts, but a finished one replaces a failed
    one.

    Args:
        view: returns the part of a record to keep.
        failures: is given the number of failed records of each key.

    Raises:
        RecordError: if a record cannot be read.
    """
    return _read(store, RECORDS, from_ndjson, view, failures)


def read_lines(store: Store) -> Iterator[tuple[bytes, Record]]:
    """Yield each line of the record files of pairs, without its end, and its record; some pairs have several.

    Raises:
        RecordError: if a record cannot be read.
    """
    paths = list(store.list(RECORDS))
    for path, data in zip(paths, store.read_many(paths), strict=True):
        yield from lines_of_pairs(data, f"{store}/{path}")


def read_portraits(
    store: Store, view: Callable[[PortraitRecord], _View], failures: Counter[str] | None = None
) -> dict[str, _View]:
    """Return key -> view of the record of a portrait or canvas; the rest is the same as in `read_records`."""
    return _read(store, PORTRAIT_RECORDS, portraits_from_ndjson, view, failures)


def read_blocks(
    store: Store, view: Callable[[BlockRecord], _View], failures: Counter[str] | None = None
) -> dict[str, _View]:
    """Return key -> view of the record of a block of a land; the rest is the same as in `read_records`."""
    return _read(store, BLOCK_RECORDS, blocks_from_ndjson, view, failures)


def recorded_chunks(store: Store) -> set[str]:
    """Return the names of all chunks that have records."""
    paths = chain.from_iterable(map(store.list, (RECORDS, PORTRAIT_RECORDS, BLOCK_RECORDS, IMAGE_RECORDS)))
    return {PurePosixPath(path).stem for path in paths}


def _read(
    store: Store,
    folder: str,
    parse: Callable[[bytes, str], Iterator[_AnyRecord]],
    view: Callable[[_AnyRecord], _View],
    failures: Counter[str] | None,
) -> dict[str, _View]:
    views: dict[str, _View] = {}
    failed: set[str] = set()
    paths = list(store.list(folder))
    for path, data in zip(paths, store.read_many(paths), strict=True):
        for record in parse(data, f"{store}/{path}"):
            if failures is not None and record.status == "failed":
                failures[record.key] += 1
            if record.key in views and not (record.key in failed and record.status == "done"):
                continue
            views[record.key] = view(record)
            if record.status == "failed":
                failed.add(record.key)
            else:
                failed.discard(record.key)
    return views
