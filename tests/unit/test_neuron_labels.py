"""Names that people have given to neurons: their file, how an atlas keeps them, and how they are published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Isthmus
from published_data import index_of, names_of
from sample_records import RECORDS, atlas, make_spec

from core.atlas.labels import LABELS_PATH, labels_csv, read_labels, store_labels, stored_labels
from core.atlas.manifest import read_manifest
from core.atlas.plan_files import SPEC_PATH
from core.errors import RecordError, SpecError
from core.gallery.publish import is_current, publish
from core.neurons import Neuron
from core.store.store import DirectoryStore


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of labels; the first neuron has two, the last is not in the atlas."""
    path = tmp_path / "names.csv"
    path.write_text('Neuron, Label\nblock10:3,curves\nblock10:3,"fur, brown"\nblock9:9, Räder \n\nstem:7,none\n')
    return path


def test_labels_are_read_from_csv(file: Path) -> None:
    """A neuron may have several labels, the header and empty lines do not count, and spaces around a label go."""
    assert read_labels(file) == {
        Neuron("block10", 3): ("curves", "fur, brown"),
        Neuron("block9", 9): ("Räder",),
        Neuron("stem", 7): ("none",),
    }


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        (b"\xef\xbb\xbfstem:1,\xc3\xa9cart\r\n", ("écart",)),
        (b"\xef\xbb\xbfneuron,label\r\nstem:1,a\r\nstem:1,a", ("a",)),
        (b'"stem:1","say ""hi"""', ('say "hi"',)),
        ("stem:1,\u202e\u200d\U0001f98a".encode(), ("\u202e\u200d\U0001f98a",)),
        (b"stem:1," + b"x" * 200, ("x" * 200,)),
        (b'"Neuron";"Label"\r\n"stem:1";"fur, brown"\r\n;\r\n', ("fur, brown",)),
        (b"neuron\tlabel\n\nstem:1\tfur; brown\n \n", ("fur; brown",)),
    ],
)
def test_every_usual_form_of_csv_is_understood(tmp_path: Path, data: bytes, labels: tuple[str, ...]) -> None:
    """A byte order mark, other line ends, quotes, empty rows, repetitions and any characters but controls are fine.

    Columns may be separated by semicolons or tabs if the header is."""
    (tmp_path / "names.csv").write_bytes(data)

    assert read_labels(tmp_path / "names.csv") == {Neuron("stem", 1): labels}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"stem:1,a\nstem:2",
            ":2: expected two columns, neuron and label, got 1; separate them by a comma, and put a label",
        ),
        (
            b"stem:1,a,b",
            ":1: expected two columns, neuron and label, got 3; separate them by a comma, and put a label with a",
        ),
        (b"stem:1,a\nstem,b", ":2: expected a neuron as 'layer:channel' or a range as 'layer:first-last', got 'stem'"),
        (b"stem:0-3,b", ":1: expected one neuron such as 'block9_expand_pre_relu:17', got the range 'stem:0-3'"),
        (b"stem:1, ", ":1: expected a label, got nothing"),
        ("stem:1,\u200b \u2066".encode(), ":1: expected a label, got nothing"),
        ("stem:1,a\u2028b".encode(), ":1: expected a label without control characters, got 'a\\u2028b'"),
        (b"stem:1,a\nstem:1," + b"x" * 201, ":2: expected at most 200 characters, got 201"),
        (b'stem:1,"a\nb"', ":2: expected a label without control characters, got 'a\\nb'"),
        (b"stem:1,a\x01", ":1: expected a label without control characters, got 'a\\x01'"),
        (b"stem:1,a\nstem:2,\xff", ":2: expected UTF-8 text"),
        (b'stem:1,"a', ":1: expected CSV, unexpected end of data"),
        (b"stem:1," + b"x" * 200_000, ":1: expected CSV, field larger than field limit (131072)"),
        (b"stem:1,a\n" * 500_000, ": expected at most 4 MB of labels, the file is larger"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_line(tmp_path: Path, data: bytes, message: str) -> None:
    """The line says what was expected and what was found."""
    path = tmp_path / "names.csv"
    path.write_bytes(data)

    with pytest.raises(SpecError) as caught:
        read_labels(path)

    assert str(caught.value).startswith(f"labels {path}{message}")
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    """A missing file and a folder are named."""
    with pytest.raises(SpecError, match=r"none\.csv: expected a CSV file of neuron,label; No such file or directory"):
        read_labels(tmp_path / "none.csv")
    with pytest.raises(SpecError, match="expected a CSV file, it is a folder, a pipe or a device"):
        read_labels(tmp_path)


def test_an_atlas_keeps_labels_in_one_form(tmp_path: Path, file: Path) -> None:
    """The stored file has a header and is sorted; it reads back, and the same labels give the same bytes."""
    store = DirectoryStore(tmp_path / "atlas")
    labels = read_labels(file)
    assert stored_labels(store) == {}

    store_labels(store, labels)

    assert store.read(LABELS_PATH).decode() == (
        'neuron,label\nblock9:9,Räder\nblock10:3,curves\nblock10:3,"fur, brown"\nstem:7,none\n'
    )
    assert stored_labels(store) == labels
    assert labels_csv(stored_labels(store)) == labels_csv(dict(reversed(list(labels.items()))))


def test_damaged_labels_in_an_atlas_are_named(tmp_path: Path) -> None:
    """The error names the file, the line and what to do."""
    store = atlas(tmp_path, RECORDS)
    store.replace(LABELS_PATH, b"neuron,label\nstem\n")

    with pytest.raises(RecordError) as caught:
        publish(store, "small")

    assert str(caught.value).startswith(f"{store}/labels.csv:2: expected two columns")
    assert str(caught.value).endswith("; give the labels again with isthmus publish --labels FILE")


def test_the_index_has_the_labels_of_the_neurons_of_the_atlas(tmp_path: Path, file: Path) -> None:
    """Labels stand by the ids of neurons; neurons that the atlas does not have are ignored."""
    store = atlas(tmp_path / "atlas", RECORDS)
    assert "labels" not in index_of(store, publish(store, "small"))

    store_labels(store, read_labels(file))
    index = index_of(store, publish(store, "small"))

    names = names_of(index)
    assert {names[int(number)]: labels for number, labels in index["labels"].items()} == {
        "block9:9": ["Räder"],
        "block10:3": ["curves", "fur, brown"],
    }


def test_new_labels_must_be_published(tmp_path: Path, file: Path) -> None:
    """A gallery is current if it has the labels of the spec's file, or without such a file those of the atlas."""
    spec = json.loads(make_spec(labels=str(file)).to_json())
    without = json.loads(make_spec().to_json())
    store = atlas(tmp_path / "atlas", RECORDS)
    store.replace(SPEC_PATH, make_spec(labels=str(file)).to_json())
    store_labels(store, read_labels(file))
    manifest = publish(store, "small")

    assert "labels" not in (manifest.spec or {})
    assert is_current(store, spec, len(RECORDS))
    assert is_current(store, without, len(RECORDS))
    file.write_text("block10:3,other\n")
    assert not is_current(store, spec, len(RECORDS))
    assert is_current(store, without, len(RECORDS))
    store_labels(store, read_labels(file))
    assert not is_current(store, without, len(RECORDS))


def test_labels_are_published_without_a_build(isthmus: Isthmus, tmp_path: Path, file: Path) -> None:
    """The command keeps and publishes new labels; later publications have them too. A mistake changes nothing."""
    store = atlas(tmp_path / "atlas", RECORDS)

    assert isthmus("publish", str(store), "--labels", str(file)).code == 0
    assert isthmus("publish", str(store)).code == 0
    first = read_manifest(store)
    assert len(index_of(store, first)["labels"]) == 2
    file.write_text("stem")
    said = isthmus("publish", str(store), "--labels", str(file))

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"isthmus: labels {file}:1: expected two columns")
    assert read_manifest(store) == first


@pytest.mark.parametrize("command", ["build", "plan"])
def test_a_mistake_in_labels_is_told_before_anything_is_done(isthmus: Isthmus, tmp_path: Path, command: str) -> None:
    """Neither command creates the atlas."""
    (tmp_path / "names.csv").write_text("stem:1")
    (tmp_path / "atlas.yaml").write_text(
        f"name: small\noutput: {tmp_path}\nlabels: {tmp_path}/names.csv\npairs: {{select: all, neurons: [stem:0-1]}}\n"
    )

    said = isthmus(command, str(tmp_path / "atlas.yaml"))

    assert said.code == 2
    assert f"labels {tmp_path}/names.csv:1: expected two columns" in said.err
    assert not (tmp_path / "small").exists()
