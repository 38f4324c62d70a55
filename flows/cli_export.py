"""`isthmus export`, which writes the pairs of an atlas as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from core.errors import SpecError, counted
from flows.options import Atlas, Json, check_output_folder, existing_store


def export(
    atlas: Atlas,
    form: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="csv, or parquet, which needs the extra parquet.")
    ] = "csv",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", "--out", help="File to write; by default the atlas's name.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the pairs of an atlas as a table, one row for each.

    The table has neurons, status, scores, activations and the paths of pictures. Only the records are read.
    """
    from core.gallery.export import check_format
    from core.gallery.export import export as write_table
    from core.gallery.lines import Lines
    from core.store.store import DirectoryStore

    check_format(form)
    store = existing_store(atlas)
    file = output or Path(f"{store.name}.{form}")
    check_output_folder(file)
    _refuse_existing(file)
    with Lines() as written:
        rows = write_table(store, form, written)
        # Another process may have created the file meanwhile.
        if not DirectoryStore(file.parent).swap(file.name, written.file(), None):
            _refuse_existing(file)
    if as_json:
        print(json.dumps({"file": str(file), "pairs": rows}))
    else:
        print(f"{file}: {counted(rows, 'pair')}")


def _refuse_existing(file: Path) -> None:
    if file.exists():
        raise SpecError(f"--output: expected a new file, {file} exists; remove it, or name another one")
