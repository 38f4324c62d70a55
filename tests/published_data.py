"""The data of a published gallery, decoded from its scripts as the page does it."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import numpy as np

from core.atlas.manifest import Manifest
from core.store.store import Store

Call = tuple[str, list[Any]]


def called(script: bytes) -> Call:
    """Return the function that a script calls, and its arguments."""
    match = re.fullmatch(rb"isthmus\.([a-z]+)\((.*)\);\n", script)
    assert match
    return match[1].decode(), json.loads(b"[" + match[2] + b"]")


def values(column: Any, rows: int) -> list[Any]:
    """Return the values of a column: numbers, texts of keys, and None for unknown ones."""
    if not isinstance(column, list):
        return [column] * rows
    kind, data = column[0], base64.b64decode(column[1], validate=True)
    if kind == "key":
        return [data[at : at + 10].hex() for at in range(0, len(data), 10)]
    numbers = np.frombuffer(data, f"<{kind}").tolist()
    return [None if number != number else number for number in numbers]


def index_of(store: Store, manifest: Manifest) -> dict[str, Any]:
    """Return the fields of the index."""
    assert manifest.index
    name, [fields] = called(store.read(manifest.index.path))
    assert name == "index"
    return dict(fields)


def columns_of(store: Store, manifest: Manifest) -> dict[str, list[Any]]:
    """Return name -> values of all columns, read from all blocks; `reason` has None for pairs that are done."""
    index = index_of(store, manifest)
    columns: dict[str, list[Any]] = {}
    for group in index["groups"]:
        for number, digest in enumerate(group["digests"]):
            name, [owner, place, block] = called(store.read(f"data/{group['name']}-{number:05d}-{digest}.js"))
            assert (name, owner, place) == ("block", group["name"], number)
            rows = min(group["rows"], index["pairs"] - number * group["rows"])
            for column in group["columns"]:
                if column == "reason":
                    found = [block["reason"].get(str(row)) for row in range(rows)]
                else:
                    found = values(block[column], rows)
                assert len(found) == rows
                columns.setdefault(column, []).extend(found)
    return columns


def names_of(index: dict[str, Any]) -> list[str]:
    """Return the names of neurons by their ids."""
    layers = zip(index["layers"], index["neurons"], strict=True)
    return [f"{layer}:{channel}" for layer, channels in layers for channel in channels]
