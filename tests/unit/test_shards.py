"""The gallery's data: what index and detail shards have, as a script gives it to the page."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sample_records import RECORDS, record_of

from core.atlas.records import Record, to_ndjson
from core.errors import RecordError
from core.gallery.shards import detail_shard, index_shard


def index_of(*records: Record) -> dict[str, Any]:
    """The columns of an index shard."""
    script = index_shard(records, ["data/detail-0.js"], 1000).decode()
    columns: dict[str, Any] = json.loads(script.removeprefix("isthmus.data(").removesuffix(");\n"))
    return columns


def test_an_index_shard_is_one_column_per_field() -> None:
    """Layers and settings are dictionaries, what all rows share stands once, and what failed pairs lack is null."""
    done = record_of("block9:9", "block10:5", activation_a=[1.23456789, 0.5, 0.0], layer_distance={"x": [1, 2]})
    failed = record_of("block9:10", "block9:12", "failed", settings_digest="f" * 20)

    assert index_of(done, failed) == {
        "pairs": 2,
        "layers": ["block9", "block10"],
        "settings": [done.settings_digest, "f" * 20],
        "details": ["data/detail-0.js"],
        "pairs_per_detail": 1000,
        "keys": done.key + failed.key,
        "a_layer": 0,
        "a_channel": [9, 10],
        "b_layer": [1, 0],
        "b_channel": [5, 12],
        "setting": [0, 1],
        "status": [0, 1],
        "walk": 0,
        "reason": {"1": failed.reason},
        "frames": 3,
        "size_px": 64,
        "activation_a": [1.235, None],
        "activation_b": [4.0, None],
        "smoothness": [0.015, None],
        "distance": [1.5, None],
        "balance": [pytest.approx(1 - (15 / 16 + (0.405 - 0.375) + 1) / 3, abs=2e-3), None],
        "objective": [12.5, None],
    }


def test_a_strip_between_portraits_is_marked() -> None:
    """Page and reader can tell the strips that meet from those with ends of their own."""
    pair, walk = record_of("stem:0", "stem:1"), record_of("stem:0", "stem:2", strip="walk")

    assert index_of(pair, walk)["walk"] == [0, 1]
    assert index_of(walk)["walk"] == 1


@pytest.mark.parametrize(
    ("a", "b", "balance"),
    [
        ([3.0, 3.0, 3.0], [7.0, 7.0, 7.0], 1.0),
        ([3.0, 0.0], [0.0, 5.0], 0.0),
        ([2.0, 1.0, 0.0], [0.0, 2.0, 4.0], 0.3333),
        ([2.0, -9.0], [-9.0, 4.0], 0.0),
        ([0.0, -1.0], [1.0, 2.0], None),
    ],
)
def test_balance_says_how_equally_both_neurons_are_excited(a: list[float], b: list[float], balance: float) -> None:
    """1 where every frame excites both alike, 0 where each excites one only; none where a neuron is never excited."""
    assert index_of(record_of("stem:0", "stem:1", activation_a=a, activation_b=b))["balance"] == balance


def test_a_detail_shard_has_every_record_as_it_was_written() -> None:
    """The page gets the lines themselves, byte for byte."""
    lines = to_ndjson(RECORDS).splitlines(keepends=True)

    script = detail_shard(lines).decode()

    texts = json.loads(script.removeprefix("isthmus.details(").removesuffix(");\n"))
    assert [text + "\n" for text in texts] == [line.decode() for line in lines]


def test_nothing_in_a_shard_can_end_a_script() -> None:
    """Whatever names and reasons contain, a shard is ASCII without an angle bracket that opens anything."""
    hostile = "</script><!--\u2028\u202e\U0001f98a'\"\\"
    record = record_of("stem:0", "stem:1", "failed", reason=hostile)

    for script in (index_shard([record], [], 1000), detail_shard([to_ndjson([record])])):
        assert script.isascii()
        assert b"<" not in script
    assert index_of(record)["reason"] == {"0": hostile}


def test_an_index_shard_names_the_key_of_a_record_without_a_neuron() -> None:
    """A neuron that is not written as one has no layer to be listed under."""
    record = RECORDS[0].model_copy(update={"a": "stem"})

    with pytest.raises(RecordError, match=rf"record {record.key}: expected a neuron as 'layer:channel', got 'stem'"):
        index_of(record)
