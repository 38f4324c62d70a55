"""The gallery's data: the contents of its scripts."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_data import called, columns_of, index_of, names_of, values
from sample_records import RECORDS, atlas, record_of

from core.atlas.ends import A_DEAD, A_WEAK, B_DEAD, B_WEAK, ends_of
from core.atlas.labels import Labels
from core.atlas.manifest import PAIRS_PATH
from core.atlas.records import Record, to_ndjson
from core.atlas.scores import SCORES, scores_of
from core.errors import RecordError
from core.gallery.columns import float_column, rounded_values, whole_column
from core.gallery.index import Script, block_scripts, detail_script, groups_of, index_script, lookup_scripts
from core.gallery.publish import publish
from core.gallery.table import Rows, Table, differences, ways_by_name


def table_of(records: Sequence[Record], order: dict[str, int] | None = None) -> Table:
    """Return the table of records whose lines are kept one after the other, 10 bytes each."""
    rows = Rows()
    for number, record in enumerate(records):
        rows.add(record, 10 * number, 10)
    return rows.table(order or {})


def scripts_of(table: Table, labels: Labels | None = None) -> list[Script]:
    """Return the blocks, the lookup and the index of a table."""
    groups = [(group, list(block_scripts(table, group, []))) for group in groups_of(table)]
    lookup = list(lookup_scripts(table))
    digests = [(group, [script.digest for script in scripts]) for group, scripts in groups]
    index = index_script(table, digests, [script.digest for script in lookup], labels or {})
    return [*(script for _, scripts in groups for script in scripts), *lookup, index]


def score(name: str, record: Record) -> float | None:
    return scores_of(record)[SCORES.index(name)]


# ---- columns


def test_a_column_of_equal_values_is_one_number() -> None:
    """Equal values stand once; unknown ones are null."""
    assert whole_column(np.array([7, 7], np.uint32)) == 7
    assert float_column(np.array([0.1, 0.1])) == 0.1
    assert float_column(np.array([math.nan, math.nan])) is None


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [([0, 255], "u1"), ([256, 0], "u2"), ([0, 65535], "u2"), ([65536, 0], "u4"), ([0, 2**32 - 1], "u4")],
)
def test_whole_numbers_take_as_few_bytes_as_the_largest_needs(numbers: list[int], kind: str) -> None:
    """The type is the smallest that has room, and the numbers are little-endian in base64."""
    column = whole_column(np.array(numbers, np.uint32))

    assert column[0] == kind
    assert base64.b64decode(column[1]) == struct.pack(f"<2{ {'u1': 'B', 'u2': 'H', 'u4': 'I'}[kind] }", *numbers)


def test_floats_are_f4_and_unknown_ones_are_nan() -> None:
    """Floats are little-endian, and NaN where a value is not known."""
    kind, data = float_column(np.array([1.5, math.nan]))

    assert kind == "f4"
    assert struct.unpack("<2f", base64.b64decode(data)) == (1.5, pytest.approx(math.nan, nan_ok=True))


def test_values_are_rounded_to_four_digits() -> None:
    """In f4, values of any size and sign are as Python writes them with four digits; what has no room is unknown."""
    dice = np.random.default_rng(0)
    numbers = dice.uniform(-10, 10, 2000) * 10.0 ** dice.integers(-37, 37, 2000)
    numbers = np.concatenate([numbers, [0.0, 1000.0, 999.96, 0.00099996, 1e-5, 123456.0, -0.1]])

    in_digits = np.array([float(f"{number:.4g}") for number in numbers])
    assert (rounded_values(numbers).astype("f4") == in_digits.astype("f4")).all()
    assert float_column(np.array([8.701000000000001e-32])) == 8.701e-32
    assert np.isnan(rounded_values(np.array([math.inf, -math.inf, math.nan, 1e39, -1e300]))).all()


# ---- the scripts


def test_one_script_has_all_columns_of_a_small_atlas(tmp_path: Path) -> None:
    """A row has ids of neurons, an index of its settings, its ends, scores, and its reason if it failed."""
    done = record_of("block9:9", "block10:5", activation_a=[1.23456789, 0.5, 0.0], layer_distance={"x": [1, 2]})
    failed = record_of("block9:10", "block9:12", "failed", settings_digest="f" * 20, strip="walk")
    store = atlas(tmp_path, [failed, done])

    manifest = publish(store, "small")

    index = index_of(store, manifest)
    [detail] = manifest.details
    [script] = [file.path for file in manifest.shards if file.path.startswith("data/all-00000-")]
    assert called(store.read(script))[1][2]["details"] == [detail.path[-13:-3]]
    names = names_of(index)
    columns = columns_of(store, manifest)
    assert names == ["block9:9", "block9:10", "block9:12", "block10:5"]
    assert columns.pop("balance") == [pytest.approx(1 - (15 / 16 + (0.405 - 0.375) + 1) / 3, abs=2e-3), None]
    assert columns == {
        "a": [names.index("block9:9"), names.index("block9:10")],
        "b": [names.index("block10:5"), names.index("block9:12")],
        "setting": [index["settings"].index(record.settings_digest) for record in (done, failed)],
        "status": [0, 1],
        "frames": [3, 3],
        "size_px": [64, 64],
        "walk": [0, 1],
        "ends": [0, 255],
        "reason": [None, failed.reason],
        "key": [done.key, failed.key],
        **{
            name: [pytest.approx(value, rel=1e-6), None]
            for name, value in {
                "activation_a": 1.235,
                "activation_b": 4.0,
                "activation": 2.617,
                "smoothness": 0.015,
                "distance": 1.5,
                "objective": 12.5,
                "weaker_end": 1.0,
                "off_centre": 0.13,
                "pace": 1.5,
            }.items()
        },
    }


def test_the_index_tells_what_the_atlas_has(tmp_path: Path) -> None:
    """The index has layers, channels, settings, counts, ranges, and where the columns are."""
    records = [
        record_of("stem:3", "head:0", pace=2.0, crossing=None),
        record_of("stem:1", "head:0", pace=3.00004, crossing=None, strip="walk"),
        record_of("stem:1", "head:7", "failed", strip="walk"),
    ]
    store = atlas(tmp_path, records)

    manifest = publish(store, "small")

    index = index_of(store, manifest)
    first = index.pop("first")
    ranges = index.pop("ranges")
    [group] = index.pop("groups")
    [lookup] = index.pop("lookup")
    assert index == {
        "pairs": 3,
        "layers": ["head", "stem"],
        "neurons": [[0, 7], [1, 3]],
        "settings": [records[0].settings_digest],
        "differences": [""],
        "failed": 1,
        "walks": 2,
        "excited": True,
        "roads": True,
        "details": {"rows": 256},
    }
    assert ranges["pace"] == [2.0, 3.0]
    assert "off_centre" not in ranges  # no pair has it
    assert "off_centre" not in group["columns"]
    assert (group["name"], group["rows"]) == ("all", 4096)
    assert {file.path for file in manifest.shards} == {
        f"data/all-00000-{group['digests'][0]}.js",
        f"data/lookup-00000-{lookup}.js",
    }
    columns = columns_of(store, manifest)
    reasons = first.pop("reason")
    assert [reasons.get(str(row)) for row in range(3)] == columns.pop("reason")
    assert {name: values(column, 3) for name, column in first.items()} == columns


def test_an_atlas_without_roads_or_measured_ends_says_so() -> None:
    """A failed strip between portraits is no road; ends that were not measured are unknown."""
    table = table_of([record_of("stem:0", "stem:1", "failed", strip="walk"), record_of("stem:0", "stem:2", "failed")])

    [fields] = called(scripts_of(table)[-1].data)[1]

    assert (fields["roads"], fields["excited"], fields["ranges"]) == (False, False, {})


@pytest.fixture(scope="module")
def many() -> list[Record]:
    """More records than a block of 4096 pairs has."""
    return [
        record_of(
            f"stem:{channel // 100}", f"head:{channel}", "failed" if channel % 1000 == 17 else "done", pace=1 + channel
        )
        for channel in range(4200)
    ]


def test_a_large_atlas_has_groups_of_columns(tmp_path: Path, many: list[Record]) -> None:
    """With more than 4096 pairs, keys and each score have scripts of their own, and details are named with the keys."""
    store = atlas(tmp_path, many)

    manifest = publish(store, "small")

    index = index_of(store, manifest)
    sizes = {group["name"]: (group["columns"], group["rows"], len(group["digests"])) for group in index["groups"]}
    names = ["a", "b", "setting", "status", "frames", "size_px", "walk", "ends", "reason"]
    scores = [name for name in SCORES if name != "distance"]  # no record has it
    assert sizes == {
        "names": (names, 65536, 1),
        "key": (["key"], 4096, 2),
        **{name: ([name], 65536, 1) for name in scores},
    }
    columns = columns_of(store, manifest)
    pairs = [json.loads(line) for line in store.read(PAIRS_PATH).splitlines()]
    assert columns["key"] == [pair["key"] for pair in pairs]
    assert [names_of(index)[number] for number in columns["b"]] == [pair["b"] for pair in pairs]
    assert columns["reason"] == [pair["reason"] for pair in pairs]
    assert columns["pace"] == [pair["pace"] and pytest.approx(pair["pace"], abs=0.5) for pair in pairs]
    assert [file.pairs for file in manifest.details] == [256] * 16 + [104]
    digests = [file.path[-13:-3] for file in manifest.details]
    [_, keys] = [group for group in index["groups"] if group["name"] in ("names", "key")]
    blocks = [called(store.read(f"data/key-{k:05d}-{digest}.js"))[1][2] for k, digest in enumerate(keys["digests"])]
    assert [block["details"] for block in blocks] == [digests[:16], digests[16:]]
    for number, digest in enumerate(digests):
        [lines] = called(store.read(f"data/detail-{number:05d}-{digest}.js"))[1]
        assert [json.loads(line)["key"] for line in lines] == columns["key"][256 * number : 256 * number + 256]
    assert len(values(index["first"]["a"], 96)) == 96


def test_every_key_is_found_in_the_lookup(many: list[Record]) -> None:
    """Keys are spread over scripts by their first digits; equal first digits are in the sequence of their rows."""
    same = [record_of("stem:0", f"head:{channel}", key="8" * 8 + f"{channel:012d}") for channel in range(3)]
    table = table_of([*many, *same])

    scripts = list(lookup_scripts(table))

    assert len(scripts) == 2
    buckets = [called(script.data)[1] for script in scripts]
    assert [number for number, _, _ in buckets] == [0, 1]
    lookup = [(values(starts, 0), values(rows, 0)) for _, starts, rows in buckets]
    for row, key in enumerate(table.keys):
        start = int.from_bytes(key[:4].tobytes(), "big")
        starts, rows = lookup[start * len(scripts) // 2**32]
        if row % 100 == 0 or start == 0x88888888:
            assert row in [found for found, other in zip(rows, starts, strict=True) if other == start]
            assert starts == sorted(starts)
    equal = [row for start, row in zip(starts, rows, strict=True) if start == 0x88888888]
    assert equal == sorted(equal)
    assert sum(script.pairs for script in scripts) == len(table)


def test_a_lookup_may_have_no_keys() -> None:
    """If no key falls into a script, its numbers are empty."""
    records = [record_of("stem:0", f"head:{channel}", key=f"0000{channel:016d}") for channel in range(4097)]

    first, second = lookup_scripts(table_of(records))

    assert (first.pairs, second.pairs) == (4097, 0)
    assert called(second.data) == ("lookup", [1, ["u4", ""], ["u4", ""]])


def test_layers_are_in_the_order_of_the_network() -> None:
    """Layers whose places are known come first, in their order; others follow in the natural order of names."""
    records = [record_of("zebra:1", "early:2"), record_of("block10:0", "late:5"), record_of("block9:0", "late:5")]

    table = table_of(records, {"unused": 0, "zebra": 1, "late": 2, "early": 3})

    assert table.layers == ["zebra", "late", "early", "block9", "block10"]
    assert table.neurons == [[1], [5], [2], [0], [0]]
    assert table.columns["a"].tolist() == [0, 3, 4]
    assert table.columns["b"].tolist() == [2, 1, 1]


def test_settings_are_told_by_their_differences() -> None:
    """Only what differs is named, also within a setting; a single settings has no difference."""
    one = {"steps": 64, "seed": 0, "alignment": {"weight": 0.1, "layers": None}, "mix": "even"}
    other = {"steps": 64, "seed": 1, "alignment": {"weight": 0.1, "layers": ["a"]}, "mix": "even", "new": True}

    assert differences([one, other]) == [
        "alignment.layers none, new not set, seed 0",
        'alignment.layers ["a"], new true, seed 1',
    ]
    assert differences([one]) == [""]


def test_other_weights_and_methods_count_as_other_settings() -> None:
    """Pairs of the same settings, but of other weights or another version of the method, are told apart."""
    record = record_of("stem:0", "stem:1")
    other_weights, newer = (
        record.model_copy(update={"key": "1" * 20, "model_digest": "f" * 64}),
        record.model_copy(update={"key": "2" * 20, "method": record.method + 1}),
    )
    digest, weights, method = record.settings_digest, record.model_digest, record.method

    assert list(ways_by_name(table_of([record]))) == [digest]
    ways = ways_by_name(table_of([record, other_weights]))
    assert list(ways) == [f"{digest}-{weights[:8]}", f"{digest}-{'f' * 8}"]
    assert differences(ways.values()) == [f"weights {weights[:8]}", f"weights {'f' * 8}"]
    ways = ways_by_name(table_of([record, newer]))
    assert differences(ways.values()) == [f"method {method}", f"method {method + 1}"]

    table = table_of([other_weights, newer, record])
    [fields] = called(scripts_of(table)[-1].data)[1]
    assert fields["weights"] == [weights, weights, "f" * 64]
    named = [(weights[:8], method), (weights[:8], method + 1), ("f" * 8, method)]
    assert fields["settings"] == [f"{digest}-{short}-{number}" for short, number in named]
    assert table.columns["setting"][[key[0] == 0x11 for key in table.keys]].tolist() == [2]
    [fields] = called(scripts_of(table_of([record]))[-1].data)[1]
    assert "weights" not in fields


def test_a_record_whose_sizes_have_no_room_is_named_by_its_key() -> None:
    """A damaged record with a negative or huge number of frames is one line, not a traceback."""
    for frames in (-1, 2**32):
        record = record_of("stem:0", "stem:1", frames=frames)
        with pytest.raises(RecordError, match=f"record {record.key}: expected frames and size_px from 0 to 4294967295"):
            table_of([record])


# ---- scores and ends


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
    found = score("balance", record_of("stem:0", "stem:1", activation_a=a, activation_b=b))
    assert found == (None if balance is None else pytest.approx(balance, abs=1e-4))


@pytest.mark.parametrize(
    ("changes", "weaker_end", "ends"),
    [
        ({"kept_a": 0.98765, "kept_b": 0.81239}, 0.81239, 0),
        ({"noise_a": 3.5, "kept_a": None}, 0.0, A_DEAD),
        ({"noise_b": 4.0, "kept_b": None}, 0.0, B_DEAD),
        ({"noise_a": 9.0, "noise_b": 9.0, "kept_a": None, "kept_b": None}, 0.0, A_DEAD | B_DEAD),
        ({"kept_a": 0.5, "kept_b": 0.49}, 0.49, B_WEAK),
        ({"kept_a": 0.1, "noise_b": 4.0, "kept_b": None}, 0.0, A_WEAK | B_DEAD),
        ({"activation_a": [0.0, 1.0, 3.0]}, 1.0, A_WEAK),
        ({"activation_b": [3.0, 1.0, -1.0]}, 1.0, B_WEAK),
        ({"activation_b": [-3.0, -1.0, 1.0]}, 1.0, 0),  # the end of b is the last frame
        ({"reach_a": -1.0, "noise_a": -2.0, "kept_a": None, "activation_a": [-1.0, -1.5, -3.0]}, None, A_WEAK),
        ({"noise_a": None, "noise_b": None, "kept_a": None, "kept_b": None}, None, None),
        ({"noise_a": None, "noise_b": 4.0, "kept_a": None, "kept_b": None}, 0.0, B_DEAD),
        ({"noise_a": None, "kept_a": None, "activation_a": [-0.5, 0.0, 0.0]}, None, A_WEAK),
    ],
)
def test_ends_are_dead_or_weak(changes: dict[str, Any], weaker_end: float | None, ends: int | None) -> None:
    """The weaker end is the smaller share, 0 with a dead neuron, None if unknown; `ends` has bits for each neuron."""
    record = record_of("stem:0", "stem:1", **changes)

    assert score("weaker_end", record) == weaker_end
    assert ends_of(record) == ends


def test_a_number_that_is_not_finite_is_null() -> None:
    """An infinite pace is unknown."""
    assert score("pace", record_of("stem:0", "stem:1", pace=math.inf)) is None


def test_a_detail_script_has_every_record_as_it_was_written() -> None:
    """A detail script has the lines of the records, byte for byte."""
    lines = to_ndjson(RECORDS).splitlines()

    name, [texts] = called(detail_script(0, lines).data)

    assert name == "details"
    assert texts == [line.decode() for line in lines]


def test_nothing_in_a_script_can_end_it() -> None:
    """For any names and reasons, a script is ASCII and has no `<`."""
    hostile = "</script><!--\u2028\u202e\U0001f98a'\"\\"
    record = record_of("stem:0", "</script>:1", "failed", reason=hostile, settings={"a": hostile})
    table = table_of([record, record_of("stem:0", "stem:2")])

    scripts = [*scripts_of(table), detail_script(0, [to_ndjson([record])])]
    for script in scripts:
        assert script.data.isascii()
        assert b"<" not in script.data
    assert called(scripts[0].data)[1][2]["reason"] == {"0": hostile}
    [index] = called(scripts[-2].data)[1]
    assert index["layers"] == ["</script>", "stem"]


def test_a_record_with_a_malformed_neuron_is_named_by_its_key() -> None:
    """A neuron that is not written `layer:channel` is an error that names the record's key."""
    record = RECORDS[0].model_copy(update={"a": "stem"})

    with pytest.raises(RecordError, match=rf"record {record.key}: expected a neuron as 'layer:channel', got 'stem'"):
        table_of([record])
