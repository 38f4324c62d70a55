"""The gallery's data: the contents of index and detail shards."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from sample_records import RECORDS, record_of

from core.atlas.records import Record, to_ndjson
from core.errors import RecordError
from core.gallery.shards import detail_shard, index_shard


def index_of(*records: Record) -> dict[str, Any]:
    """Return the columns of an index shard."""
    script = index_shard(records, ["data/detail-0.js"], 1000).decode()
    columns: dict[str, Any] = json.loads(script.removeprefix("isthmus.data(").removesuffix(");\n"))
    return columns


def test_an_index_shard_is_one_column_per_field() -> None:
    """Layers and settings are indices, a value that all rows share stands once, and missing values are null."""
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
        "crossing": [0.63, None],
        "pace": [1.5, None],
        "weaker_end": [1.0, None],
        "dead": [0, None],
    }


def test_a_strip_between_portraits_is_marked() -> None:
    """The column `walk` is 1 for strips between portraits and 0 for strips with ends of their own."""
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
    """Balance is 1 if every frame excites both, 0 if each excites only one, null if a neuron is never excited."""
    assert index_of(record_of("stem:0", "stem:1", activation_a=a, activation_b=b))["balance"] == balance


@pytest.mark.parametrize(
    ("changes", "weaker_end", "dead"),
    [
        ({"kept_a": 0.98765, "kept_b": 0.81239}, 0.8124, 0),
        ({"noise_a": 3.5, "kept_a": None}, 0.0, 1),
        ({"noise_b": 4.0, "kept_b": None}, 0.0, 2),
        ({"noise_a": 9.0, "noise_b": 9.0, "kept_a": None, "kept_b": None}, 0.0, 3),
        ({"reach_a": -1.0, "noise_a": -2.0, "kept_a": None}, None, 0),
        ({"noise_a": None, "noise_b": None, "kept_a": None, "kept_b": None}, None, None),
        ({"noise_a": None, "noise_b": 4.0, "kept_a": None, "kept_b": None}, 0.0, 2),
    ],
)
def test_the_weaker_end_is_zero_if_a_neuron_is_dead(
    changes: dict[str, float | None], weaker_end: float | None, dead: int | None
) -> None:
    """The weaker end is the smaller share, 0 with a dead neuron, null if unknown; `dead` has a bit for each neuron."""
    columns = index_of(record_of("stem:0", "stem:1", **changes))

    assert columns["weaker_end"] == weaker_end
    assert columns["dead"] == dead


def test_a_number_that_is_not_finite_is_null() -> None:
    """JSON has no infinity, so an infinite pace is unknown."""
    assert index_of(record_of("stem:0", "stem:1", pace=math.inf))["pace"] is None


def test_a_detail_shard_has_every_record_as_it_was_written() -> None:
    """A detail shard has the lines of the records, byte for byte."""
    lines = to_ndjson(RECORDS).splitlines(keepends=True)

    script = detail_shard(lines).decode()

    texts = json.loads(script.removeprefix("isthmus.details(").removesuffix(");\n"))
    assert [text + "\n" for text in texts] == [line.decode() for line in lines]


def test_nothing_in_a_shard_can_end_a_script() -> None:
    """For any names and reasons, a shard is ASCII and has no `<`."""
    hostile = "</script><!--\u2028\u202e\U0001f98a'\"\\"
    record = record_of("stem:0", "stem:1", "failed", reason=hostile)

    for script in (index_shard([record], [], 1000), detail_shard([to_ndjson([record])])):
        assert script.isascii()
        assert b"<" not in script
    assert index_of(record)["reason"] == {"0": hostile}


def test_a_record_with_a_malformed_neuron_is_named_by_its_key() -> None:
    """A neuron that is not written `layer:channel` is an error that names the record's key."""
    record = RECORDS[0].model_copy(update={"a": "stem"})

    with pytest.raises(RecordError, match=rf"record {record.key}: expected a neuron as 'layer:channel', got 'stem'"):
        index_of(record)
