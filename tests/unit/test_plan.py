"""Keys, plans and chunks, with records that are written by hand."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from core import METHOD_VERSION
from core.errors import RecordError
from core.models import digest, load
from core.neurons import Neuron, Pair
from core.plan import ChunkOrder, Plan, PlannedPair, keys, make_plan, read_chunk, read_records, settings_digest
from core.records import Checkpoint, Record, to_ndjson
from core.spec import Alignment, AtlasSpec, RenderSettings, parse_spec
from core.store import DirectoryStore

PAIR = Pair(Neuron("block5", 0), Neuron("block5", 1))
MODEL_DIGEST = "0123456789abcdef" * 4
LAYERS_TWO = ["block5:0-4", "block10:0-3"]  # 10 + 6 pairs within, 20 across


def make_record(planned: PlannedPair, status: str = "done", **changes: Any) -> Record:
    """A record as a chunk writes it, but for the sheet that it tells of."""
    render = RenderSettings(frames=3, size_px=64)
    done = status == "done"
    facts: dict[str, Any] = {
        "key": planned.key,
        "a": str(planned.pair.a),
        "b": str(planned.pair.b),
        "status": status,
        "reason": None if done else "objective not finite at update 3; the last finite value was 1.5",
        "method": METHOD_VERSION,
        "model": "efficientnet-lite0",
        "model_digest": MODEL_DIGEST,
        "settings": render.model_dump(mode="json"),
        "settings_digest": settings_digest(render),
        "seed": render.seed,
        "frames": render.frames,
        "size_px": render.size_px,
        "checkpoints": [Checkpoint(step=render.steps, objective=12.5)] if done else [],
        "activation_a": [3.0, 2.0, 0.5] if done else [],
        "activation_b": [0.25, 1.5, 4.0] if done else [],
        "neighbour_distance": [0.01, 0.02] if done else [],
        "seconds": 2.0,
        "device": "CPU x86_64",
        "versions": {"isthmus": "0.1.0"},
    }
    return Record(**facts | changes)


def make_spec(neurons: Iterable[str] = ("block5:0-4",), **changes: Any) -> AtlasSpec:
    """A spec of all pairs among the neurons."""
    return parse_spec({"name": "small", "pairs": {"select": "all", "neurons": list(neurons)}, **changes}, "here")


def key_of(settings: RenderSettings | None = None, *, pair: Pair = PAIR, model_digest: str = MODEL_DIGEST) -> str:
    [(_, key)] = keys([pair], model_digest, settings or RenderSettings())
    return key


def planned_pairs(plan: Plan) -> list[PlannedPair]:
    return [planned for chunk in plan.chunks for planned in chunk.pairs]


def keys_of(spec: AtlasSpec, store: DirectoryStore) -> dict[Pair, str]:
    """Pair -> key for everything that is missing."""
    return {planned.pair: planned.key for planned in planned_pairs(make_plan(spec, store, 2))}


def commit(store: DirectoryStore, name: str, *records: Record) -> None:
    assert store.create(f"records/{name}.ndjson", to_ndjson(records))


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    """An empty store whose folder does not exist yet."""
    return DirectoryStore(tmp_path / "atlas")


def test_a_key_is_the_start_of_a_digest_of_all_that_makes_the_picture() -> None:
    """Anybody can compute a key: canonical JSON, sha256, twenty hex digits; nothing of this process is in it."""
    facts = {
        "method": METHOD_VERSION,
        "model": MODEL_DIGEST,
        "a": "block5:0",
        "b": "block5:1",
        "settings": json.loads(RenderSettings().model_dump_json()),
    }
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"))

    assert key_of() == key_of() == hashlib.sha256(canonical.encode()).hexdigest()[:20]
    assert re.fullmatch("[0-9a-f]{20}", key_of())


OTHER_SETTINGS: dict[str, list[Any]] = {
    "frames": [5],
    "size_px": [112],
    "steps": [257],
    "checkpoints": [(8,), (8, 16)],
    "seed": [1, 2**32 - 1],
    "learning_rate": [0.051],
    "sd": [0.011],
    "sharing": [False],
    "key_frames": ["lucid"],
    "transforms": ["none"],
    "redirected_updates": [0],
    "alignment": [
        Alignment(layers=("block5",)),
        Alignment(layers=("block5", "block7")),
        Alignment(layers=("block7", "block5")),
        Alignment(weight=0.2),
        Alignment(decay=4),
    ],
}


def test_every_setting_changes_the_key() -> None:
    """Whatever changes a pixel leads to another sheet; a setting that is new needs a value here."""
    changed = [
        RenderSettings.model_validate(RenderSettings().model_dump() | {name: value})
        for name, values in OTHER_SETTINGS.items()
        for value in values
    ]

    assert set(OTHER_SETTINGS) == set(RenderSettings.model_fields)
    found = [key_of(), *map(key_of, changed)]
    assert len(set(found)) == len(found)


def test_another_model_or_pair_has_another_key() -> None:
    """A key tells of the weights and of both neurons."""
    others = [
        key_of(model_digest="f" * 64),
        key_of(pair=Pair(Neuron("block5", 0), Neuron("block5", 2))),
        key_of(pair=Pair(Neuron("block5", 0), Neuron("block7", 1))),
        key_of(pair=Pair(Neuron("block4", 0), Neuron("block5", 1))),
    ]

    assert len({key_of(), *others}) == 5


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"output": "elsewhere"},
        {"compute": {"processes": 7, "chunk_pairs": 1}},
        {"render": {}},
        {"render": {"frames": 6, "sd": 0.01, "alignment": {"weight": 0.1}}},
        {"render": {"alignment": {"layers": None, "decay": 5}}},
        {"render": {"alignment": {"layers": ["block5", "block7"]}}},
    ],
)
def test_what_changes_no_pixel_changes_no_key(store: DirectoryStore, change: dict[str, Any]) -> None:
    """Name, place and division of labour are free, and so is writing out what is the default anyway."""
    assert keys_of(make_spec(**change), store) == keys_of(make_spec(), store)


def test_without_weight_the_alignment_layers_do_not_matter(store: DirectoryStore) -> None:
    """Alignment that is switched off is the same whatever it would be aligned to."""
    off = [
        keys_of(make_spec(render={"alignment": {"weight": 0, "layers": layers}}), store)
        for layers in (None, [], ["stem"], ["stem", "head"])
    ]

    assert off[0] == off[1] == off[2] == off[3]
    assert not set(off[0].values()) & set(keys_of(make_spec(), store).values())


def test_the_key_does_not_depend_on_the_order_in_which_a_pair_is_written(store: DirectoryStore) -> None:
    """(b, a) is found again as (a, b)."""
    one, other = (
        make_spec(pairs={"select": "list", "list": [neurons]})
        for neurons in (["block10:3", "block9:4"], ["block9:4", "block10:3"])
    )

    assert keys_of(one, store) == keys_of(other, store)
    assert list(keys_of(one, store)) == [Pair(Neuron("block9", 4), Neuron("block10", 3))]


def test_of_an_empty_store_everything_is_missing(store: DirectoryStore) -> None:
    """A first plan has all pairs, with the model's defaults written out, and making it writes nothing."""
    plan = make_plan(make_spec(LAYERS_TWO), store, 2)

    assert (plan.pairs, plan.done, plan.failed, plan.missing) == (36, 0, 0, 36)
    assert plan.model.name == "efficientnet-lite0"
    assert plan.model_digest == digest(load("efficientnet-lite0"))
    assert plan.settings.alignment.layers == ("block5", "block7")
    expected = keys([planned.pair for planned in planned_pairs(plan)], plan.model_digest, plan.settings)
    assert {planned.pair: planned.key for planned in planned_pairs(plan)} == dict(expected)
    assert not store.root.exists()


def test_what_has_a_record_is_not_planned_again(store: DirectoryStore) -> None:
    """Done and failed pairs are counted, and the rest is missing."""
    first = planned_pairs(make_plan(make_spec(), store, 2))
    commit(store, "one", *map(make_record, first[:3]))
    commit(store, "two", make_record(first[3], "failed"))

    plan = make_plan(make_spec(), store, 2)

    assert (plan.pairs, plan.done, plan.failed, plan.missing) == (10, 3, 1, 6)
    assert planned_pairs(plan) == first[4:]


def test_a_finished_atlas_has_an_empty_plan(store: DirectoryStore) -> None:
    """Where nothing is missing there are no chunks."""
    commit(store, "all", *map(make_record, planned_pairs(make_plan(make_spec(), store, 2))))

    plan = make_plan(make_spec(), store, 2)

    assert plan.chunks == ()
    assert (plan.pairs, plan.done, plan.missing, plan.seconds(2), plan.sheet_bytes()) == (10, 10, 0, 0, 0)


def test_records_of_other_pairs_are_no_part_of_the_plan(store: DirectoryStore) -> None:
    """A smaller spec over a bigger atlas counts its own pairs only, and a bigger one misses only what is new."""
    commit(store, "all", *map(make_record, planned_pairs(make_plan(make_spec(["block5:0-4"]), store, 2))))

    smaller, bigger = (make_plan(make_spec([neurons]), store, 2) for neurons in ("block5:0-2", "block5:0-5"))

    assert (smaller.pairs, smaller.done, smaller.missing) == (3, 3, 0)
    assert (bigger.pairs, bigger.done, bigger.missing) == (15, 10, 5)


def test_other_settings_make_everything_missing_again(store: DirectoryStore) -> None:
    """A changed setting asks for other pictures and never takes the old ones for them."""
    commit(store, "all", *map(make_record, planned_pairs(make_plan(make_spec(), store, 2))))

    plan = make_plan(make_spec(render={"seed": 1}), store, 2)

    assert (plan.pairs, plan.done, plan.missing) == (10, 0, 10)


@pytest.mark.parametrize("order", [("done", "failed"), ("failed", "done")])
def test_of_two_records_of_a_pair_the_finished_one_counts(store: DirectoryStore, order: tuple[str, str]) -> None:
    """Whichever file is read first, done beats failed; of two finished ones the first counts."""
    [planned] = [PlannedPair(PAIR, key_of())]
    for name, status in zip(("a", "b"), order, strict=True):
        commit(store, name, make_record(planned, status))
    commit(store, "c", make_record(planned, seconds=9.0))

    [record] = read_records(store)

    assert (record.status, record.seconds) == ("done", 2.0)


@pytest.mark.parametrize("chunk_pairs", [1, 4, 7, 1000])
def test_chunks_hold_every_pair_once_and_one_pair_of_layers_each(store: DirectoryStore, chunk_pairs: int) -> None:
    """A chunk needs one compiled step only, and is no bigger than asked for."""
    plan = make_plan(make_spec(LAYERS_TWO, compute={"chunk_pairs": chunk_pairs}), store, 2)

    assert sum(len(chunk.pairs) for chunk in plan.chunks) == 36
    assert len({planned.pair for planned in planned_pairs(plan)}) == 36
    assert all(1 <= len(chunk.pairs) <= chunk_pairs for chunk in plan.chunks)
    assert all(len({(p.pair.a.layer, p.pair.b.layer) for p in chunk.pairs}) == 1 for chunk in plan.chunks)
    assert len({chunk.name for chunk in plan.chunks}) == len(plan.chunks)
    assert len(plan.chunks) == sum(math.ceil(pairs / chunk_pairs) for pairs in (10, 6, 20))


def test_chunks_are_made_for_about_half_a_minute_and_for_all_processes(store: DirectoryStore) -> None:
    """Cheap pairs come many to a chunk, expensive ones few, and everybody gets at least two chunks."""

    def largest(processes: int, **render: Any) -> int:
        plan = make_plan(make_spec(["head:0-19"], render=render), store, processes)
        return max(len(chunk.pairs) for chunk in plan.chunks)

    assert largest(2, steps=240) == 5  # 6 seconds each
    assert largest(2, steps=2400) == 1
    assert largest(2, steps=1) == math.ceil(190 / 4)
    assert largest(10, steps=1) == math.ceil(190 / 20)


def test_the_name_of_a_chunk_is_made_of_its_keys(store: DirectoryStore) -> None:
    """The same pairs in a chunk give the same name, so that its records are written once; others give another."""

    def names(**changes: Any) -> set[str]:
        plan = make_plan(make_spec(compute={"chunk_pairs": 4}, **changes), store, 2)
        return {chunk.name for chunk in plan.chunks}

    assert names() == names(name="other")
    assert not names() & names(render={"seed": 1})


def test_a_chunk_is_read_as_it_was_planned(store: DirectoryStore) -> None:
    """Whoever renders a chunk needs only the plan's address and the chunk's name."""
    plan = make_plan(make_spec(LAYERS_TWO, render={"sd": 0.013}, compute={"chunk_pairs": 4}), store, 2)
    store.create(plan.path, plan.to_ndjson())

    for chunk in plan.chunks:
        assert read_chunk(store, plan.path, chunk.name) == ChunkOrder(
            plan.model, plan.model_digest, plan.settings, chunk
        )
    with pytest.raises(RecordError, match="expected the chunk nothing, the plan has none of that name"):
        read_chunk(store, plan.path, "nothing")


def test_the_name_of_a_plan_is_made_of_its_content(store: DirectoryStore) -> None:
    """A round that plans the same writes the same file; another plan never overwrites it."""
    plans = [make_plan(make_spec(render={"seed": seed}), store, 2) for seed in (0, 0, 1)]

    assert plans[0].path == plans[1].path != plans[2].path
    assert plans[0].path.startswith("plan/")


def test_the_estimate_falls_with_processes_and_with_what_is_done(store: DirectoryStore) -> None:
    """Twice the processes take half the time, and finished pairs take none."""
    plan = make_plan(make_spec(), store, 2)
    assert plan.seconds(1) == pytest.approx(2 * plan.seconds(2)) == pytest.approx(10 * 256 * 0.025)
    assert plan.sheet_bytes() == pytest.approx(10 * 6 * 128 * 128 * 2.4)

    commit(store, "one", *(make_record(planned, seconds=4.5) for planned in planned_pairs(plan)[:5]))
    rest = make_plan(make_spec(), store, 2)

    assert rest.seconds(1) == pytest.approx(5 * 4.5)
    assert rest.sheet_bytes() == pytest.approx(plan.sheet_bytes() / 2, abs=1)


def test_pairs_that_took_no_time_at_all_can_be_planned_for(store: DirectoryStore) -> None:
    """A clock may have said zero seconds; that is no reason to fail."""
    first = planned_pairs(make_plan(make_spec(), store, 2))
    commit(store, "one", make_record(first[0], seconds=0))

    assert make_plan(make_spec(), store, 2).missing == 9


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "expected a record, but the whole line: "),
        (b"{", "expected a record, but the whole line: "),
        (b"\xff\xfe", "expected a record, but the whole line: "),
        (b"{}", "expected a record, but key: Field required"),
        (b"[1]", "expected a record, but the whole line: "),
    ],
)
def test_a_damaged_record_file_is_told_with_file_line_and_field(
    store: DirectoryStore, line: bytes, message: str
) -> None:
    """Planning on top of a damaged file would render again what is there, so it stops and says where."""
    store.create("records/x.ndjson", to_ndjson([make_record(PlannedPair(PAIR, key_of()))]) + line + b"\n")

    with pytest.raises(RecordError) as caught:
        make_plan(make_spec(), store, 2)

    assert str(caught.value).startswith(f"{store}/records/x.ndjson line 2: {message}")
    assert str(caught.value).endswith("move the file away and build again to render its pairs anew")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("key", ["", "0" * 19, "0" * 21, "G" * 20, "../../../../etc/pass", "0" * 20 + "\n"])
def test_a_record_whose_key_is_no_key_is_refused(key: str) -> None:
    """Keys become paths, and records may come from anywhere."""
    with pytest.raises(ValueError, match="String should match pattern"):
        make_record(PlannedPair(PAIR, key))
