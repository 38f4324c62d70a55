"""Labels: names that people have given to neurons, in a CSV file of the columns neuron and label.

An atlas keeps them in `labels.csv`, in one form: with a header, sorted by neuron, without repetitions.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from core.errors import RecordError, SpecError, counted, short
from core.neurons import Neuron
from core.store.store import Store

LABELS_PATH = "labels.csv"
_HEADER = ("neuron", "label")
_OTHER_SEPARATOR = re.compile(r'\s*"?neuron"?\s*([;\t])\s*"?label"?\s*[\r\n]', re.IGNORECASE)
"""The header of a file that does not separate its columns by commas, but as spreadsheets of many countries do."""
_LONGEST = 200  # characters of a label
_CONTROLS = ("Cc", "Zl", "Zp")  # control characters and ends of lines, as categories of Unicode
_UNSEEN = ("Cf", "Zs")  # characters of no width, and spaces
_MOST_BYTES = 4_000_000  # the index of the gallery has all labels, and every page loads it

Labels = Mapping[Neuron, Sequence[str]]
"""Neuron -> its labels in the sequence of the file."""


def read_labels(path: Path) -> Labels:
    """Read the labels in a file.

    Raises:
        SpecError: in one line with file and line, what was expected and what was found.
    """
    try:
        place = path.expanduser()
        if place.exists() and not place.is_file():  # reading a pipe or a device may never end
            raise SpecError(f"labels {path}: expected a CSV file, it is a folder, a pipe or a device")
        with place.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except (OSError, RuntimeError) as error:  # ~user names no user
        reason = getattr(error, "strerror", None) or error
        raise SpecError(f"labels {path}: expected a CSV file of neuron,label; {reason}") from None
    return _parse(data, f"labels {path}")


def stored_labels(store: Store) -> Labels:
    """Return the labels that an atlas keeps; none if it has no file of them.

    Raises:
        RecordError: if the file is damaged.
        StoreError: if the store cannot be read.
    """
    if not store.exists(LABELS_PATH):
        return {}
    try:
        return _parse(store.read(LABELS_PATH), f"{store}/{LABELS_PATH}")
    except SpecError as error:
        raise RecordError(f"{error}; give the labels again with isthmus publish --labels FILE") from None


def store_labels(store: Store, labels: Labels) -> None:
    """Keep labels in an atlas, in place of others.

    Raises:
        StoreError: if the store cannot be written.
    """
    store.replace(LABELS_PATH, labels_csv(labels))


def labels_csv(labels: Labels) -> bytes:
    """Return the file of labels that an atlas keeps; equal labels give equal bytes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    for neuron in sorted(labels, key=lambda neuron: neuron.order):
        writer.writerows((str(neuron), label) for label in labels[neuron])
    return text.getvalue().encode()


def _parse(data: bytes, source: str) -> Labels:
    if len(data) > _MOST_BYTES:
        raise SpecError(f"{source}: expected at most {_MOST_BYTES // 1_000_000} MB of labels, the file is larger")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SpecError(f"{source}:{line}: expected UTF-8 text") from None
    labels: dict[Neuron, dict[str, None]] = {}
    for line, neuron, label in _rows(text, source):
        try:
            parsed = Neuron.parse(neuron)
        except SpecError as error:
            raise SpecError(f"{source}:{line}: {error}") from None
        labels.setdefault(parsed, {})[_checked(label, f"{source}:{line}")] = None
    return {neuron: tuple(texts) for neuron, texts in labels.items()}


def _rows(text: str, source: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line, the neuron and the label of each row that is neither empty nor the header."""
    other = _OTHER_SEPARATOR.match(text)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=other[1] if other else ",")
    try:
        for number, row in enumerate(row for row in reader if any(cell.strip() for cell in row)):
            if number == 0 and tuple(cell.strip().lower() for cell in row) == _HEADER:
                continue
            if len(row) != 2:
                raise SpecError(
                    f"{source}:{reader.line_num}: expected two columns, neuron and label, got {len(row)}; "
                    "separate them by a comma, and put a label with a comma in double quotes"
                )
            yield reader.line_num, row[0], row[1]
    except csv.Error as error:
        raise SpecError(f"{source}:{reader.line_num}: expected CSV, {error}") from None


def _checked(label: str, source: str) -> str:
    label = label.strip()
    if all(unicodedata.category(character) in _UNSEEN for character in label):
        raise SpecError(f"{source}: expected a label, got nothing")
    if len(label) > _LONGEST:
        raise SpecError(f"{source}: expected at most {counted(_LONGEST, 'character')}, got {len(label)}")
    if any(unicodedata.category(character) in _CONTROLS for character in label):
        raise SpecError(f"{source}: expected a label without control characters, got {short(label)}")
    return label
