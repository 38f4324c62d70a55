"""The scripts with the page's data: an index, blocks of columns, whole records, and a lookup of keys.

The page loads the index at once, and the other scripts when it needs their columns or records. Numbers in binary are
little-endian. All scripts have a digest of their content in their names, so that a new page never reads old data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from core.atlas.labels import Labels
from core.atlas.scores import PHOTO_SCORES, SCORES
from core.gallery.columns import float_column, key_column, rounded, script_json, u4_column, whole_column
from core.gallery.table import DONE, ENDS_UNKNOWN, Table, differences, table_neurons, ways_by_name

DIGEST = 10
"""Hex digits of a digest in a path."""
DETAIL_ROWS = 256
"""Whole records in a detail script: about 700 kB, which a reader loads to see one pair."""
KEY_ROWS = 4096
"""Rows of a block of keys, and the mean number of keys in a lookup script."""
COLUMN_ROWS = 65536
"""Rows of a block of other columns."""
FIRST_ROWS = 96
"""Rows whose columns are in the index: more than a first screen shows."""
_WHOLE = ("a", "b", "setting", "status", "frames", "size_px", "walk", "ends")
_NAMES = (*_WHOLE, "reason")
_SCORES = (*SCORES, *PHOTO_SCORES)


class Script(NamedTuple):
    """A script with data.

    Attributes:
        kind: its kind and number, the first part of its name.
        pairs: number of pairs that it is about.
    """

    kind: str
    data: bytes
    sha256: str
    pairs: int

    @property
    def digest(self) -> str:
        """The digest in the path."""
        return self.sha256[:DIGEST]

    @property
    def path(self) -> str:
        """The path, with a digest of the content."""
        return f"data/{self.kind}-{self.digest}.js"


class Group(NamedTuple):
    """Columns that are loaded together, in blocks of equal numbers of rows; only the last block may have fewer."""

    name: str
    columns: tuple[str, ...]
    rows: int


def groups_of(table: Table) -> list[Group]:
    """Return the groups of a table's columns: one group of all columns if they are few, so that one script has all."""
    scores = [name for name in _SCORES if not np.isnan(table.columns[name]).all()]
    if len(table) <= KEY_ROWS:
        return [Group("all", (*_NAMES, "key", *scores), KEY_ROWS)]
    named = [Group("names", _NAMES, COLUMN_ROWS), Group("key", ("key",), KEY_ROWS)]
    return named + [Group(name, (name,), COLUMN_ROWS) for name in scores]


def block_scripts(table: Table, group: Group, details: Sequence[str]) -> Iterator[Script]:
    """Yield the scripts of a group, block by block.

    Args:
        details: the digests of all detail scripts; a block with keys has those of its own rows.
    """
    for number, start in enumerate(range(0, len(table), group.rows)):
        rows = slice(start, min(start + group.rows, len(table)))
        columns = _columns(table, group.columns, rows)
        if "key" in group.columns:
            columns["details"] = details[start // DETAIL_ROWS : -(-rows.stop // DETAIL_ROWS)]
        data = f"isthmus.block({script_json(group.name)},{number},{script_json(columns)});\n".encode()
        yield make_script(group.name, number, data, rows.stop - rows.start)


def lookup_scripts(table: Table) -> Iterator[Script]:
    """Yield the scripts that find the rows of keys.

    Each has, in ascending order, the first 8 hex digits of keys as numbers, and their rows. Of N pairs there are
    B = max(1, ceil(N / 4096)) scripts; the number k is in script floor(k * B / 2^32).
    """
    starts = table.keys[:, :4].copy().view(">u4").ravel().astype(np.uint64)
    rows = np.argsort(starts, kind="stable")
    buckets = max(1, -(-len(table) // KEY_ROWS))
    bucket_of = starts[rows] * buckets >> np.uint64(32)
    ends = np.searchsorted(bucket_of, np.arange(buckets + 1))
    for number, (first, last) in enumerate(pairwise(ends.tolist())):
        part = rows[first:last]
        found = script_json(u4_column(starts[part])), script_json(u4_column(part.astype(np.uint64)))
        yield make_script("lookup", number, f"isthmus.lookup({number},{','.join(found)});\n".encode(), len(part))


def detail_script(number: int, lines: Sequence[bytes]) -> Script:
    """Return a script with whole records.

    Each record is the text of its line, so that a browser parses only the record that it shows.
    """
    texts = script_json([line.decode() for line in lines])
    return make_script("detail", number, f"isthmus.details({texts});\n".encode(), len(lines))


def index_script(
    table: Table,
    groups: Iterable[tuple[Group, Sequence[str]]],
    lookup: Sequence[str],
    labels: Labels,
    score_words: Mapping[str, Any] | None = None,
) -> Script:
    """Return the script that the page loads first; `docs/export.md` has its fields.

    Args:
        groups: the groups with the digests of their scripts.
        lookup: the digests of the lookup scripts.
        labels: labels of neurons; those of other neurons are left out.
        score_words: the words on the scores of photographs, if there are any.
    """
    columns = table.columns
    walks = columns["walk"] == 1
    ways, weights = ways_by_name(table), [way.weights for way in table.ways]
    known = [name for name in _SCORES if not np.isnan(columns[name]).all()]
    fields = {
        "pairs": len(table),
        "layers": table.layers,
        "neurons": table.neurons,
        **_labels(table, labels),
        **({"scores": score_words} if score_words else {}),
        "settings": list(ways),
        "differences": differences(ways.values()),
        **({"weights": weights} if len(set(weights)) > 1 else {}),
        "failed": int((columns["status"] != DONE).sum()),
        "walks": int(walks.sum()),
        "excited": bool((columns["ends"] != ENDS_UNKNOWN).any()),
        "roads": bool((walks & (columns["status"] == DONE)).any()),
        "ranges": {name: [rounded(float(end(columns[name]))) for end in (np.nanmin, np.nanmax)] for name in known},
        "groups": [{**group._asdict(), "digests": list(digests)} for group, digests in groups],
        "details": {"rows": DETAIL_ROWS},
        "lookup": list(lookup),
        "first": _columns(table, (*_NAMES, "key", *known), slice(0, min(FIRST_ROWS, len(table)))),
    }
    data = f"isthmus.index({script_json(fields)});\n".encode()
    return Script("index", data, hashlib.sha256(data).hexdigest(), len(table))


def _labels(table: Table, labels: Labels) -> dict[str, Any]:
    """Return the field with the labels of a table's neurons by their ids, or nothing if they have none."""
    neurons = enumerate(table_neurons(table))
    found = {str(number): list(labels[neuron]) for number, neuron in neurons if neuron in labels}
    return {"labels": found} if found else {}


def _columns(table: Table, names: Iterable[str], rows: slice) -> dict[str, Any]:
    """Return the columns of some rows."""
    kinds: Mapping[str, Callable[[Any], Any]] = {
        **dict.fromkeys(_WHOLE, whole_column),
        **dict.fromkeys(_SCORES, float_column),
    }
    columns = {name: kinds[name](table.columns[name][rows]) for name in names if name in kinds}
    if "reason" in names:
        columns["reason"] = {
            str(row - rows.start): table.reasons[row] for row in range(rows.start, rows.stop) if row in table.reasons
        }
    if "key" in names:
        columns["key"] = key_column(table.keys[rows])
    return columns


def make_script(kind: str, number: int, data: bytes, pairs: int) -> Script:
    """Return a script by its kind and number."""
    return Script(f"{kind}-{number:05d}", data, hashlib.sha256(data).hexdigest(), pairs)
