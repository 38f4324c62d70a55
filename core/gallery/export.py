"""The pairs of an atlas as a table for other programs, CSV or Parquet; `docs/export.md` has the columns.

Rows are written one after the other, so that the memory has about a hundred bytes of each pair and no more.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Literal

import numpy as np

from core.atlas.ends import ends_in_words
from core.atlas.labels import Labels, stored_labels
from core.atlas.records import Record, preview_path, sheet_path
from core.atlas.scores import PHOTO_SCORES, SCORES, scores_of
from core.errors import RecordError, SpecError, short
from core.gallery.lines import Lines, told
from core.gallery.natural_strips import Scores
from core.gallery.photographs import read_scores
from core.gallery.table import Table, lines_of, read_table
from core.neurons import Neuron
from core.store.store import Store

Kind = Literal["text", "whole", "number", "texts", "numbers"]
COLUMNS: Mapping[str, Kind] = {
    "key": "text",
    "a": "text",
    "b": "text",
    "layer_a": "text",
    "channel_a": "whole",
    "layer_b": "text",
    "channel_b": "whole",
    "labels_a": "texts",
    "labels_b": "texts",
    "status": "text",
    "reason": "text",
    "strip": "text",
    "model": "text",
    "setting": "text",
    "seed": "whole",
    "frames": "whole",
    "size_px": "whole",
    **dict.fromkeys((*SCORES, *PHOTO_SCORES), "number"),
    "end_a": "text",
    "end_b": "text",
    "kept_a": "number",
    "kept_b": "number",
    "crossing": "number",
    "frame_activations_a": "numbers",
    "frame_activations_b": "numbers",
    "frame_differences": "numbers",
    "sheet": "text",
    "preview": "text",
}
"""Name of a column -> the kind of its values; any value may be missing."""
FORMATS = ("csv", "parquet")
Row = dict[str, Any]
_BATCH = 2048  # rows that are read, and that Parquet compresses together
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Characters with which a text begins that a spreadsheet would compute."""


def check_format(name: str) -> None:
    """Make sure that a table can be written in a format.

    Raises:
        SpecError: if there is no such format, or the package that writes it is not installed.
    """
    if name not in FORMATS:
        raise SpecError(f"--format: expected {' or '.join(FORMATS)}, got {short(name)}")
    if name == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise SpecError(
                "--format: parquet needs the packages of the extra 'parquet'; install isthmus[parquet], or write csv"
            ) from None


def export(store: Store, name: str, written: Lines) -> int:
    """Write the table of an atlas's pairs, in the order of the gallery; return the number of its rows.

    Args:
        name: one of `FORMATS`.
        written: is given the bytes of the table.

    Raises:
        RecordError: if there are no records, or a record or the labels of the atlas cannot be read.
        StoreError: if the store cannot be read, or there is no room for temporary files.
    """
    with Lines() as lines:
        table = read_table(store, lines)
        if not len(table):
            raise RecordError(f"{store}: expected an atlas with records of pairs, found none; build it first")
        write = _write_csv if name == "csv" else _write_parquet
        write(rows_of(table, lines, stored_labels(store), read_scores(store, table)), written)
    return len(table)


def rows_of(table: Table, lines: Lines, labels: Labels, photo_scores: Scores) -> Iterator[Row]:
    """Yield the rows of a table of pairs; scores have full precision.

    Args:
        photo_scores: the scores of photographs, as far as they are known.
    """
    for start in range(0, len(table), _BATCH):
        rows = slice(start, min(start + _BATCH, len(table)))
        for row, line in enumerate(lines_of(table, lines, rows), start):
            known = {name: float(values[row]) for name, values in photo_scores.items() if not np.isnan(values[row])}
            yield _row(Record.model_validate_json(line), labels, known)


def _row(record: Record, labels: Labels, photo_scores: Mapping[str, float]) -> Row:
    a, b = Neuron.parse(record.a), Neuron.parse(record.b)
    end_a, end_b = ends_in_words(record)
    has_picture = record.picture is not None
    values = {
        "key": record.key,
        "a": record.a,
        "b": record.b,
        "layer_a": a.layer,
        "channel_a": a.channel,
        "layer_b": b.layer,
        "channel_b": b.channel,
        "labels_a": list(labels.get(a, ())),
        "labels_b": list(labels.get(b, ())),
        "status": record.status,
        "reason": record.reason,
        "strip": record.strip,
        "model": record.model,
        "setting": record.settings_digest,
        "seed": record.seed,
        "frames": record.frames,
        "size_px": record.size_px,
        **dict(zip(SCORES, scores_of(record), strict=True)),
        **{name: photo_scores.get(name) for name in PHOTO_SCORES},
        "end_a": end_a,
        "end_b": end_b,
        "kept_a": record.kept_a,
        "kept_b": record.kept_b,
        "crossing": record.crossing,
        "frame_activations_a": record.activation_a,
        "frame_activations_b": record.activation_b,
        "frame_differences": record.neighbour_distance,
        "sheet": sheet_path(record.key) if has_picture else None,
        "preview": preview_path(record.key) if has_picture else None,
    }
    return {name: values[name] for name in COLUMNS}


def _write_csv(rows: Iterable[Row], written: Lines) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    in_cells: Mapping[Kind, Callable[[Any], Any]] = {
        "text": _harmless,
        "texts": _as_json,
        "numbers": _as_json,
        "whole": _same,
        "number": _same,
    }
    cells = {name: in_cells[kind] for name, kind in COLUMNS.items()}
    for row in rows:
        writer.writerow([cells[name](value) for name, value in row.items()])
        written.add(text.getvalue().encode())
        text.seek(0)
        text.truncate()


def _write_parquet(rows: Iterator[Row], written: Lines) -> None:
    import pyarrow
    from pyarrow import parquet

    types = {
        "text": pyarrow.string(),
        "whole": pyarrow.int64(),
        "number": pyarrow.float64(),
        "texts": pyarrow.list_(pyarrow.string()),
        "numbers": pyarrow.list_(pyarrow.float64()),
    }
    schema = pyarrow.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    with told(), parquet.ParquetWriter(written.file(), schema, compression="zstd") as writer:
        while batch := list(islice(rows, _BATCH)):
            writer.write_batch(pyarrow.RecordBatch.from_pylist(batch, schema=schema))


def _harmless(text: str | None) -> str | None:
    """Return a text that no spreadsheet takes for a formula: such a text gets an apostrophe before it."""
    return f"'{text}" if text is not None and text.startswith(_FORMULA) else text


def _as_json(values: Any) -> str:
    return json.dumps(values, ensure_ascii=False)


def _same(value: Any) -> Any:
    return value
