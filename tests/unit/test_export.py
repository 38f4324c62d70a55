"""The table of an atlas's pairs: its columns in CSV and Parquet, and what is refused."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import Isthmus
from sample_records import RECORDS, atlas, record_of

from core.atlas.labels import store_labels
from core.atlas.layer_order import write_layers
from core.atlas.records import Record
from core.atlas.scores import PHOTO_SCORES
from core.gallery.export import COLUMNS
from core.neurons import Neuron

DONE = record_of(
    "stem:1",
    "head:7",
    activation_a=[1 / 3, 0.1, -1e-300],
    kept_a=0.25,
    layer_distance={"stem": [1.5, 2.0], "head": [0.1, 0.2]},
    sheet_sha256="0" * 64,
    sheet_bytes=1,
    preview_sha256="1" * 64,
    preview_bytes=1,
)
FAILED = record_of("head:2", "head:10", "failed", strip="walk", seed=3)
HOSTILE = record_of("stem:0", "stem:1").model_copy(
    update={"a": "=cmd|'/c calc'!A0:1", "b": "@SUM(1):2", "status": "failed", "reason": "-1\n+2", "model": "+x"}
)


def table_of(isthmus: Isthmus, folder: Path, *records: Record) -> list[dict[str, str]]:
    """Return the rows of an atlas's CSV file."""
    store = atlas(folder / "atlas", records)
    store_labels(store, {Neuron("stem", 1): ("räder", 'a, "b"')})
    write_layers(store, records[0].model_digest, ["stem", "head"])
    assert isthmus("export", str(store), "-o", str(folder / "pairs.csv")).code == 0
    with (folder / "pairs.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_has_everything_about_a_pair(isthmus: Isthmus, tmp_path: Path) -> None:
    """Numbers have full precision, lists are JSON, and paths are those of the atlas."""
    [row] = table_of(isthmus, tmp_path, DONE)

    assert list(row) == list(COLUMNS)
    texts = {name: row.pop(name) for name, kind in COLUMNS.items() if kind == "text"}
    lists = {name: json.loads(row.pop(name)) for name, kind in COLUMNS.items() if kind in ("texts", "numbers")}
    assert texts == {
        "key": DONE.key,
        "a": "stem:1",
        "b": "head:7",
        "layer_a": "stem",
        "layer_b": "head",
        "status": "done",
        "reason": "",
        "strip": "pair",
        "model": "efficientnet-lite0",
        "setting": DONE.settings_digest,
        "end_a": "weak",
        "end_b": "strong",
        "sheet": f"sheets/{DONE.key[:2]}/{DONE.key}.png",
        "preview": f"previews/{DONE.key[:2]}/{DONE.key}.webp",
    }
    assert lists == {
        "labels_a": ["räder", 'a, "b"'],
        "labels_b": [],
        "frame_activations_a": [1 / 3, 0.1, -1e-300],
        "frame_activations_b": [0.25, 1.5, 4.0],
        "frame_differences": [0.01, 0.02],
    }
    assert [row.pop(score) for score in PHOTO_SCORES] == ["", ""]
    assert {name: float(value) for name, value in row.items()} == {
        "channel_a": 1,
        "channel_b": 7,
        "seed": 0,
        "frames": 3,
        "size_px": 64,
        "activation_a": 1 / 3,
        "activation_b": 4.0,
        "activation": (1 / 3 + 4.0) / 2,
        "smoothness": 0.015,
        "distance": pytest.approx(0.95),
        "balance": pytest.approx(1 - (15 / 16 + 0.075 + 1) / 3),
        "objective": 12.5,
        "weaker_end": 0.25,
        "off_centre": 0.13,
        "pace": 1.5,
        "kept_a": 0.25,
        "kept_b": 1.0,
        "crossing": 0.63,
    }


def test_rows_are_in_the_order_of_the_gallery(isthmus: Isthmus, tmp_path: Path) -> None:
    """Layers are in the order of the network, each pair has one row, and a failed one has a reason and no numbers."""
    again = FAILED.model_copy(update={"reason": "another"})
    rows = table_of(isthmus, tmp_path, FAILED, again, DONE, record_of("stem:1", "stem:2"))

    assert [(row["a"], row["b"]) for row in rows] == [("stem:1", "stem:2"), ("stem:1", "head:7"), ("head:2", "head:10")]
    failed = rows[-1]
    assert (failed["status"], failed["reason"], failed["strip"], failed["seed"]) == (
        "failed",
        FAILED.reason,
        "walk",
        "3",
    )
    empty = {name for name, kind in COLUMNS.items() if kind == "number"} | {"end_a", "end_b", "sheet", "preview"}
    assert {failed[name] for name in empty} == {""}


def test_no_spreadsheet_computes_a_text(isthmus: Isthmus, tmp_path: Path) -> None:
    """A text that begins like a formula has an apostrophe before it; negative numbers stay numbers."""
    negative = record_of("stem:0", "stem:3", activation_a=[-1.5, 0.0, 0.0])
    rows = {row["key"]: row for row in table_of(isthmus, tmp_path, negative, HOSTILE)}

    row = rows[HOSTILE.key]
    assert (row["a"], row["b"]) == ("'=cmd|'/c calc'!A0:1", "'@SUM(1):2")
    assert (row["layer_a"], row["layer_b"]) == ("'=cmd|'/c calc'!A0", "'@SUM(1)")
    assert (row["reason"], row["model"]) == ("'-1\n+2", "'+x")
    assert rows[negative.key]["activation_a"] == "-1.5"


def test_parquet_has_the_same_table(isthmus: Isthmus, tmp_path: Path) -> None:
    """Its columns have types, missing values are null, and texts are as they are."""
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = table_of(isthmus, tmp_path, DONE, FAILED, HOSTILE)
    file = tmp_path / "pairs.parquet"

    said = isthmus("export", str(tmp_path / "atlas"), "--format", "parquet", "-o", str(file), "--json")

    assert json.loads(said.out) == {"file": str(file), "pairs": 3}
    table = parquet.read_table(file)
    assert table.column_names == list(COLUMNS)
    types = {"text": "string", "whole": "int64", "number": "double"}
    assert {field.name: str(field.type) for field in table.schema if COLUMNS[field.name] in types} == {
        name: types[kind] for name, kind in COLUMNS.items() if kind in types
    }
    for row, written in zip(table.to_pylist(), rows, strict=True):
        assert {name: _in_csv(value) for name, value in row.items()} == written
    assert {row["a"] for row in table.to_pylist()} >= {HOSTILE.a}


def _in_csv(value: Any) -> str:
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    text = "" if value is None else str(value)
    return f"'{text}" if isinstance(value, str) and text[0] in "=+-@" else text


def test_the_file_is_named_by_the_atlas(isthmus: Isthmus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --output the table lands in the folder of the command, and nothing else does."""
    store = atlas(tmp_path / "small", RECORDS)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    assert isthmus("export", str(store)).out == "small.csv: 5 pairs\n"
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["small.csv"]


def test_what_cannot_be_written_is_refused(isthmus: Isthmus, tmp_path: Path) -> None:
    """An unknown format, a file that exists, a missing folder and an atlas without pairs are one line each."""
    store = atlas(tmp_path / "small", RECORDS)
    empty = atlas(tmp_path / "empty")
    empty.replace("plan/spec.json", b"{}")
    file = tmp_path / "pairs.csv"
    file.write_text("mine")

    for arguments, message in (
        ((str(store), "--format", "xls"), "--format: expected csv or parquet, got 'xls'"),
        (
            (str(store), "-o", str(file)),
            f"--output: expected a new file, {file} exists; remove it, or name another one",
        ),
        ((str(store), "--out", f"{tmp_path}/none/x.csv"), "--output: expected a file in an existing folder, "),
        ((str(empty), "-o", f"{tmp_path}/x.csv"), "/empty: expected an atlas with records of pairs, found none; "),
    ):
        said = isthmus("export", *arguments)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
        assert message in said.err
    assert file.read_text() == "mine"
    assert not (tmp_path / "x.csv").exists()


def test_without_pyarrow_parquet_is_refused_in_one_line(
    isthmus: Isthmus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line names the extra."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    said = isthmus("export", str(atlas(tmp_path / "small", RECORDS)), "--format", "parquet")

    assert said.code == 2
    assert "isthmus: --format: parquet needs the packages of the extra 'parquet'; install isthmus[parquet]" in said.err


def test_the_page_of_the_docs_has_every_column() -> None:
    """The table of columns names each of them once, with its type."""
    page = (Path(__file__).parents[2] / "docs/export.md").read_text()
    types = {"text": "text", "whole number": "whole", "number": "number"}
    types |= {"list of texts": "texts", "list of numbers": "numbers"}
    section = page.partition("## Columns")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|", section, re.MULTILINE)

    found = [(name, types[kind]) for names, kind in rows for name in re.findall(r"`(\w+)`", names)]
    assert sorted(found) == sorted(COLUMNS.items())
