"""Keys, plans and chunks, with records that the tests write."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sample_records import MODEL_DIGEST, make_record, make_spec

from core import METHOD_VERSION
from core.atlas import pace
from core.atlas.again import count_failures
from core.atlas.chunks import PlannedChunk, PlannedPair
from core.atlas.keys import pair_keys, settings_digest
from core.atlas.layer_order import read_layers
from core.atlas.plan import Plan, make_plan
from core.atlas.plan_files import chunk_names, keys_of_chunks, read_chunk, write_plan
from core.atlas.recorded import read_records
from core.atlas.records import Record, to_ndjson
from core.errors import IsthmusError, RecordError, StoreError
from core.machine import device
from core.models.model import Model
from core.models.models import digest, load
from core.neurons import Neuron, Pair
from core.spec import Alignment, AtlasSpec, ObjectiveSpec, RenderSettings
from core.store.store import DirectoryStore

PAIR = Pair(Neuron("block5", 0), Neuron("block5", 1))
LAYERS_TWO = ["block5:0-4", "block10:0-3"]  # 10 + 6 pairs within, 20 across


def key_of(settings: RenderSettings | None = None, *, pair: Pair = PAIR, model_digest: str = MODEL_DIGEST) -> str:
    [(_, key)] = pair_keys([pair], model_digest, settings or RenderSettings())
    return key


def planned_pairs(plan: Plan) -> list[PlannedPair]:
    return [planned for chunk in plan.chunks for planned in chunk.pairs]


def keys_of(spec: AtlasSpec, store: DirectoryStore) -> dict[Pair, str]:
    """Return pair -> key for all missing pairs."""
    return {planned.pair: planned.key for planned in planned_pairs(make_plan(spec, store, 2))}


def like(plan: Plan) -> dict[str, Any]:
    """Return the fields of a record of the same model and settings as the plan."""
    return {"model_digest": plan.model_digest, "settings_digest": settings_digest(plan.settings)}


def commit(store: DirectoryStore, name: str, *records: Record) -> None:
    assert store.create(f"records/{name}.ndjson", to_ndjson(records))


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    """An empty store whose folder does not exist yet."""
    return DirectoryStore(tmp_path / "atlas")


def test_a_key_is_the_start_of_a_digest_of_every_input_that_affects_pixels() -> None:
    """A key is the first 20 hex digits of the sha256 of canonical JSON, and does not depend on the process."""
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


@pytest.mark.parametrize(
    ("pair", "settings", "key"),
    [
        (PAIR, RenderSettings(), "a4705bb67b9e6ca420de"),
        (
            Pair(Neuron("block9_expand_pre_relu", 17), Neuron("block9_expand_pre_relu", 81)),
            RenderSettings(),
            "5799739988dbb31118ea",
        ),
        (
            Pair(Neuron('a"ä\\<é', 3), Neuron("b", 10**8)),
            RenderSettings(
                frames=4,
                seed=7,
                checkpoints=(8, 16),
                learning_rate=1e-3,
                alignment=Alignment(layers=("block5", 'Zelle ä"')),
            ),
            "dd5c24ebe30e565429f0",
        ),
    ],
)
def test_keys_do_not_change(pair: Pair, settings: RenderSettings, key: str) -> None:
    """A new version finds the strips of existing atlases; with other keys it would render all of them again."""
    assert METHOD_VERSION == 6, "a new method has new keys: update the keys of this test"
    assert key_of(settings, pair=pair) == key


OTHER_SETTINGS: dict[str, list[Any]] = {
    "frames": [5],
    "size_px": [112],
    "schedule": ["plain"],
    "steps": [65],
    "checkpoints": [(8,), (8, 16)],
    "seed": [1, 2**32 - 1],
    "learning_rate": [0.051],
    "sd": [0.031],
    "mix": ["lucid"],
    "sharing": [False],
    "key_frames": ["lucid"],
    "transforms": ["none"],
    "redirected_updates": [0],
    "alignment": [
        Alignment(layers=("block5",)),
        Alignment(layers=("block5", "block7")),
        Alignment(layers=("block7", "block5")),
        Alignment(weight=0.2),
        Alignment(scale="lucid"),
        Alignment(scale="lucid", weight=0.3),
        Alignment(decay=4),
    ],
    "objective": [ObjectiveSpec(cosine_power=1), ObjectiveSpec(cosine_power=1.5)],
    "precision": ["tf32", "bfloat16"],
    "xla": [True],
}


def test_every_setting_changes_the_key() -> None:
    """Every setting affects pixels, so it affects the key; a new setting needs a value in this test."""
    changed = [
        RenderSettings.model_validate(RenderSettings().model_dump() | {name: value})
        for name, values in OTHER_SETTINGS.items()
        for value in values
    ]

    assert set(OTHER_SETTINGS) == set(RenderSettings.model_fields)
    found = [key_of(), *map(key_of, changed)]
    assert len(set(found)) == len(found)


def test_another_model_or_pair_has_another_key() -> None:
    """The key depends on the weights and on both neurons."""
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
        {"render": {"frames": 6, "sd": 0.03, "steps": 64, "schedule": "fast", "alignment": {"weight": 0.3}}},
        {"render": {"alignment": {"layers": None, "decay": 5}}},
        {"render": {"alignment": {"layers": ["block5", "block7"]}}},
    ],
)
def test_what_changes_no_pixel_changes_no_key(store: DirectoryStore, change: dict[str, Any]) -> None:
    """Name, output and compute options do not affect the keys, and neither do defaults that are written out."""
    assert keys_of(make_spec(**change), store) == keys_of(make_spec(), store)


def test_without_weight_the_alignment_layers_do_not_matter(store: DirectoryStore) -> None:
    """With weight 0, every list of alignment layers gives the same keys."""
    off = [
        keys_of(make_spec(render={"alignment": {"weight": 0, "layers": layers}}), store)
        for layers in (None, [], ["stem"], ["stem", "head"])
    ]

    assert off[0] == off[1] == off[2] == off[3]
    assert not set(off[0].values()) & set(keys_of(make_spec(), store).values())


def test_the_key_does_not_depend_on_the_order_in_which_a_pair_is_written(store: DirectoryStore) -> None:
    """(b, a) has the key of (a, b)."""
    one, other = (
        make_spec(pairs={"select": "list", "list": [neurons]})
        for neurons in (["block10:3", "block9:4"], ["block9:4", "block10:3"])
    )

    assert keys_of(one, store) == keys_of(other, store)
    assert list(keys_of(one, store)) == [Pair(Neuron("block9", 4), Neuron("block10", 3))]


def test_with_an_empty_store_everything_is_missing(store: DirectoryStore) -> None:
    """The first plan has all pairs and the model's defaults written out, and making it writes nothing."""
    plan = make_plan(make_spec(LAYERS_TWO), store, 2)

    assert (plan.pairs, plan.done, plan.failed, plan.missing) == (36, 0, 0, 36)
    assert plan.model.name == "efficientnet-lite0"
    assert plan.model_digest == digest(load("efficientnet-lite0"))
    assert plan.settings.alignment.layers == ("block5", "block7")
    expected = pair_keys([planned.pair for planned in planned_pairs(plan)], plan.model_digest, plan.settings)
    assert {planned.pair: planned.key for planned in planned_pairs(plan)} == dict(expected)
    assert not store.root.exists()


def test_a_pair_with_a_record_is_not_planned_again(store: DirectoryStore) -> None:
    """Done and failed pairs are counted, and all others are missing."""
    first = planned_pairs(make_plan(make_spec(), store, 2))
    commit(store, "one", *map(make_record, first[:3]))
    commit(store, "two", make_record(first[3], "failed"))

    plan = make_plan(make_spec(), store, 2)

    assert (plan.pairs, plan.done, plan.failed, plan.missing) == (10, 3, 1, 6)
    assert planned_pairs(plan) == first[4:]


def test_a_finished_atlas_has_an_empty_plan(store: DirectoryStore) -> None:
    """If no pair is missing, there are no chunks."""
    commit(store, "all", *map(make_record, planned_pairs(make_plan(make_spec(), store, 2))))

    plan = make_plan(make_spec(), store, 2)

    assert plan.chunks == ()
    assert (plan.pairs, plan.done, plan.missing, plan.seconds(2), plan.stored_bytes()) == (10, 10, 0, 0, 0)


def test_records_of_other_pairs_do_not_count(store: DirectoryStore) -> None:
    """A smaller spec over a bigger atlas counts its own pairs only; for a bigger spec only new pairs are missing."""
    commit(store, "all", *map(make_record, planned_pairs(make_plan(make_spec(["block5:0-4"]), store, 2))))

    smaller, bigger = (make_plan(make_spec([neurons]), store, 2) for neurons in ("block5:0-2", "block5:0-5"))

    assert (smaller.pairs, smaller.done, smaller.missing) == (3, 3, 0)
    assert (bigger.pairs, bigger.done, bigger.missing) == (15, 10, 5)


def test_other_settings_make_everything_missing_again(store: DirectoryStore) -> None:
    """Strips of other settings do not count."""
    commit(store, "all", *map(make_record, planned_pairs(make_plan(make_spec(), store, 2))))

    plan = make_plan(make_spec(render={"seed": 1}), store, 2)

    assert (plan.pairs, plan.done, plan.missing) == (10, 0, 10)


@pytest.mark.parametrize("order", [("done", "failed"), ("failed", "done")])
def test_a_finished_record_of_a_pair_counts_before_a_failed_one(store: DirectoryStore, order: tuple[str, str]) -> None:
    """This holds for any order of the files. If both records are finished, the first one counts."""
    [planned] = [PlannedPair(PAIR, key_of())]
    for name, status in zip(("a", "b"), order, strict=True):
        commit(store, name, make_record(planned, status))
    commit(store, "c", make_record(planned, seconds=9.0))

    assert read_records(store, lambda record: (record.status, record.seconds)) == {planned.key: ("done", 2.0)}


@pytest.mark.parametrize("chunk_pairs", [1, 4, 7, 1000])
def test_chunks_hold_every_pair_once_and_one_pair_of_layers_each(store: DirectoryStore, chunk_pairs: int) -> None:
    """A chunk needs only one compiled step, and has at most the requested number of pairs."""
    plan = make_plan(make_spec(LAYERS_TWO, compute={"chunk_pairs": chunk_pairs}), store, 2)

    assert sum(len(chunk.pairs) for chunk in plan.chunks) == 36
    assert len({planned.pair for planned in planned_pairs(plan)}) == 36
    assert all(1 <= len(chunk.pairs) <= chunk_pairs for chunk in plan.chunks)
    assert all(len({(p.pair.a.layer, p.pair.b.layer) for p in chunk.pairs}) == 1 for chunk in plan.chunks)
    assert len({chunk.name for chunk in plan.chunks}) == len(plan.chunks)
    assert len(plan.chunks) == sum(math.ceil(pairs / chunk_pairs) for pairs in (10, 6, 20))


def test_chunks_take_about_a_minute_and_keep_all_processes_busy(store: DirectoryStore) -> None:
    """A chunk has many cheap pairs or few expensive ones, and there are at least two chunks for each process."""

    def largest(processes: int, **render: Any) -> int:
        plan = make_plan(make_spec(["head:0-19"], render=render), store, processes)
        return max(len(chunk.pairs) for chunk in plan.chunks)

    assert largest(2, steps=240) == 10  # 6 s for each pair
    assert largest(2, steps=2400) == 1
    assert largest(2, steps=1) == math.ceil(190 / 4)
    assert largest(10, steps=1) == math.ceil(190 / 20)


@pytest.mark.parametrize(
    ("processes", "steps", "sizes"),
    [
        (2, 400, [6] * 28 + [6, 4, 3, 3, 2, 1, 1, 1, 1]),  # 10 s for each pair: the last chunks are single pairs
        (2, 40, [48, 36, 27, 20, 15, 11, 9, 8, 8, 8]),  # 1 s for each pair: about 10 are worth a task run
        (1, 1, [95, 95]),
    ],
)
def test_chunks_get_shorter_towards_the_end(
    store: DirectoryStore, processes: int, steps: int, sizes: list[int]
) -> None:
    """The last chunks take 10 s, or one pair if that takes longer, so all processes end at about the same time."""
    plan = make_plan(make_spec(["head:0-19"], render={"steps": steps}), store, processes)

    assert [len(chunk.pairs) for chunk in plan.chunks] == sizes


def test_the_last_chunk_is_not_a_small_remainder(store: DirectoryStore) -> None:
    """The chunks of the same layers are nearly equal, so a GPU does not need another batch size for the last one."""
    plan = make_plan(make_spec(LAYERS_TWO, render={"steps": 240}, compute={"chunk_pairs": 9}), store, 1)

    assert [len(chunk.pairs) for chunk in plan.chunks] == [5, 5, 7, 7, 6, 6]  # 10, 20 and 6 pairs


@pytest.mark.parametrize(("engine", "seconds"), [("local", 64 * 0.025 / 20), ("work-pool", 64 * 0.025)])
def test_a_gpu_is_not_assumed_to_be_as_slow_as_a_core(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, engine: str, seconds: float
) -> None:
    """For rendering elsewhere, on an unknown device, the time of a core is assumed."""
    monkeypatch.setattr(device, "expected", lambda: "NVIDIA H200")

    plan = make_plan(make_spec(compute={"engine": engine}), store, 1)

    assert (plan.basis, plan.pair_seconds) == ("assumed", pytest.approx(seconds))


@pytest.mark.parametrize("layers", [1, 44, 45, 63])
def test_there_are_never_more_than_two_thousand_chunks(store: DirectoryStore, model: Model, layers: int) -> None:
    """Every chunk is a task run that the server stores, so the number is bounded for any chunk size and any layers."""
    channels = 70 if layers == 1 else 2
    neurons = [f"{layer}:0-{channels - 1}" for layer in list(model.layers)[-layers:]]

    plan = make_plan(make_spec(neurons, compute={"chunk_pairs": 1}), store, 2)

    assert plan.missing == plan.pairs == len(set(planned_pairs(plan))) > 2000
    assert len({(p.pair.a.layer, p.pair.b.layer) for p in planned_pairs(plan)}) == layers * (layers + 1) // 2
    assert 500 < len(plan.chunks) <= 2000


def test_chunks_of_many_processes_get_shorter_towards_the_end_too(store: DirectoryStore) -> None:
    """If there would be too many chunks, all are longer, and the last ones still shorter than the first."""
    plan = make_plan(make_spec(["head:0-199"], render={"steps": 400}), store, 500)  # 10 s for each pair
    sizes = [len(chunk.pairs) for chunk in plan.chunks]

    assert sum(sizes) == plan.pairs == 19900
    assert len(sizes) <= 2000
    assert sizes[-1] <= sizes[0] / 2


def test_the_name_of_a_chunk_depends_on_its_keys_alone(store: DirectoryStore) -> None:
    """A chunk of the same pairs has the same name, so its records are written once; other pairs have another name."""

    def names(**changes: Any) -> set[str]:
        plan = make_plan(make_spec(compute={"chunk_pairs": 4}, **changes), store, 2)
        return {chunk.name for chunk in plan.chunks}

    assert names() == names(name="other")
    assert not names() & names(render={"seed": 1})


def test_a_chunk_is_read_as_it_was_planned(store: DirectoryStore) -> None:
    """A render task needs only the plan's path and the chunk's name."""
    plan = make_plan(make_spec(LAYERS_TWO, render={"sd": 0.013}, compute={"chunk_pairs": 4}), store, 2)
    write_plan(store, plan)

    for chunk in plan.chunks:
        assert read_chunk(store, plan.path, chunk.name) == PlannedChunk(
            plan.model, plan.model_digest, plan.settings, chunk
        )
    with pytest.raises(StoreError, match=r"nothing\.json: could not read, No such file or directory"):
        read_chunk(store, plan.path, "nothing")


def test_a_plan_leaves_the_order_of_the_layers(store: DirectoryStore) -> None:
    """Publishing finds all layers of the model in the store, in order from the image on."""
    plan = make_plan(make_spec(), store, 1)
    write_plan(store, plan)

    assert read_layers(store, plan.model_digest) == list(load(plan.model).layers)
    assert read_layers(store, "0" * 64) == []


class CountingStore(DirectoryStore):
    """A store that records the size of every read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.bytes_read: list[int] = []

    def read(self, path: str) -> bytes:
        data = super().read(path)
        self.bytes_read.append(len(data))
        return data


def test_reading_a_chunk_reads_no_other_chunk(tmp_path: Path) -> None:
    """One object is read, and its size does not grow with the number of chunks."""
    store = CountingStore(tmp_path)
    reads = []
    for channels in (3, 40):
        plan = make_plan(make_spec([f"head:0-{channels - 1}"], compute={"chunk_pairs": 2}), store, 2)
        write_plan(store, plan)
        assert len(plan.chunks) == math.ceil(channels * (channels - 1) / 4)
        store.bytes_read.clear()
        read_chunk(store, plan.path, plan.chunks[0].name)
        reads.append(store.bytes_read.copy())

    assert len(reads[0]) == len(reads[1]) == 1
    assert reads[0] == pytest.approx(reads[1], abs=8)  # channels with more digits


@pytest.mark.parametrize(
    ("damage", "field"),
    [
        (lambda data: b"", "the whole file"),
        (lambda data: data[:-9], "the whole file"),
        (lambda data: b"\xff" + data, "the whole file"),
        (lambda data: data.replace(b'"block5",', b'"block5":', 1), "the whole file"),
        (lambda data: data.replace(b'["block5",0]', b'["block5"]', 1), "chunk.pairs.0.pair.0.1"),
        (lambda data: data.replace(b'"steps":64', b'"steps":"many"'), "settings.steps"),
        (lambda data: data.replace(b'"key":"', b'"key":"../'), "chunk.pairs.0.key"),
        (lambda data: data.replace(b'"model_digest"', b'"digest"'), "model_digest"),
    ],
)
def test_a_damaged_plan_is_reported_with_its_field_and_rewritten_by_the_next_build(
    store: DirectoryStore, damage: Callable[[bytes], bytes], field: str
) -> None:
    """One line names the file and the remedy, and the remedy works."""
    plan = make_plan(make_spec(compute={"chunk_pairs": 4}), store, 2)
    write_plan(store, plan)
    path = f"{plan.path}/{plan.chunks[0].name}.json"
    intact = store.read(path)
    assert damage(intact) != intact
    store.replace(path, damage(intact))

    with pytest.raises(RecordError) as caught:
        read_chunk(store, plan.path, plan.chunks[0].name)

    assert str(caught.value).startswith(f"{store}/{path}: expected a chunk of a plan, but {field}: ")
    assert str(caught.value).endswith("; build again to rewrite the file")
    assert len(str(caught.value).splitlines()) == 1
    write_plan(store, plan)
    assert store.read(path) == intact


def test_a_plan_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    """An error in one of the writing threads is raised as an error of one line."""
    (tmp_path / "plan").touch()
    store = DirectoryStore(tmp_path)

    with pytest.raises(IsthmusError, match="could not write, "):
        write_plan(store, make_plan(make_spec(), store, 2))


def test_the_path_of_a_plan_is_a_digest_of_its_content(store: DirectoryStore) -> None:
    """An equal plan writes the same files; another plan never overwrites them."""
    plans = [make_plan(make_spec(render={"seed": seed}), store, 2) for seed in (0, 0, 1)]

    assert plans[0].path == plans[1].path != plans[2].path
    assert plans[0].path.startswith("plan/")


def test_the_estimate_falls_with_processes_and_with_finished_pairs(store: DirectoryStore) -> None:
    """Twice the processes take half the time, and finished pairs take no time."""
    plan = make_plan(make_spec(), store, 2)
    assert plan.seconds(1) == pytest.approx(2 * plan.seconds(2)) == pytest.approx(10 * 64 * 0.025)
    assert plan.stored_bytes() == pytest.approx(10 * 6 * 128 * 128 * 2.4)

    commit(store, "one", *(make_record(planned, seconds=4.5, **like(plan)) for planned in planned_pairs(plan)[:5]))
    rest = make_plan(make_spec(), store, 2)

    assert rest.seconds(1) == pytest.approx(5 * 4.5)
    assert rest.stored_bytes() == pytest.approx(plan.stored_bytes() / 2, abs=1)


def test_an_estimate_uses_the_best_available_measurement(store: DirectoryStore) -> None:
    """The first estimate is assumed; later ones use this machine's pace for the layers, then this atlas's records."""
    spec = make_spec(["block5:0-2", "block7:0-2"])  # 3 + 3 pairs within a layer, 9 across
    first = make_plan(spec, store, 2)
    assert (first.basis, first.pair_seconds) == ("assumed", pytest.approx(64 * 0.025))

    within, across = (
        [p for p in planned_pairs(first) if (p.pair.a.layer == p.pair.b.layer) is same] for same in (True, False)
    )
    rendered_here = {"frames": 6, "size_px": 128, "settings": {"steps": 64}, **like(first)}
    pace.remember([make_record(planned, seconds=64.0, **rendered_here) for planned in across])
    assert make_plan(spec, store, 2).pair_seconds == pytest.approx(64)
    pace.remember([make_record(planned, seconds=128.0, **rendered_here) for planned in within])
    from_pace = make_plan(spec, store, 2)
    assert (from_pace.basis, from_pace.pair_seconds) == ("device", pytest.approx((9 * 64 + 6 * 128) / 15))
    assert make_plan(make_spec(render={"size_px": 64}), store, 2).basis == "assumed"

    commit(store, "one", make_record(PlannedPair(PAIR, "0" * 20), seconds=3.0, **like(first)))
    commit(store, "two", make_record(PlannedPair(PAIR, "1" * 20), seconds=5.0, **like(first)))
    recorded = make_plan(spec, store, 2)
    assert (recorded.done, recorded.basis, recorded.pair_seconds) == (0, "atlas", pytest.approx(4))


@pytest.mark.parametrize(
    "change", [{"settings_digest": "f" * 20}, {"model_digest": "f" * 64}, {"device": "NVIDIA H100 80GB HBM3"}]
)
def test_records_of_other_work_are_not_used_for_the_estimate(store: DirectoryStore, change: dict[str, str]) -> None:
    """Another model, other settings or the other kind of device take another time."""
    plan = make_plan(make_spec(), store, 2)
    first = planned_pairs(plan)[0]
    commit(store, "one", make_record(first, seconds=3.0, **like(plan) | change))

    assert make_plan(make_spec(), store, 2).basis == "assumed"


def test_the_estimate_for_workers_elsewhere_uses_their_records(store: DirectoryStore) -> None:
    """A machine without a GPU, which only plans, estimates from the records of workers with GPUs."""
    compute = {"engine": "work-pool"}
    plan = make_plan(make_spec(compute=compute), store, 4)
    first = planned_pairs(plan)[0]
    commit(store, "one", make_record(first, seconds=0.5, device="NVIDIA H100 80GB HBM3", **like(plan)))

    rest = make_plan(make_spec(compute=compute), store, 4)
    assert (rest.basis, rest.pair_seconds) == ("atlas", pytest.approx(0.5))


def test_the_estimate_for_a_gpu_uses_records_of_gpus(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records of pairs that a CPU rendered say nothing about the time of a GPU."""
    first, second, *_ = planned_pairs(plan := make_plan(make_spec(), store, 2))
    commit(store, "one", make_record(first, seconds=9.0, **like(plan)))
    commit(store, "two", make_record(second, seconds=0.5, device="NVIDIA H100 80GB HBM3", **like(plan)))
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(device, "_DEVICE_FILES", tmp_path)

    assert make_plan(make_spec(), store, 2).pair_seconds == 0.5


def test_a_record_of_zero_seconds_is_accepted(store: DirectoryStore) -> None:
    """A clock may have measured 0 s; the plan is made nevertheless."""
    first = planned_pairs(make_plan(make_spec(), store, 2))
    commit(store, "one", make_record(first[0], seconds=0, **like(make_plan(make_spec(), store, 2))))

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
def test_a_damaged_record_file_is_reported_with_file_line_and_field(
    store: DirectoryStore, line: bytes, message: str
) -> None:
    """Without the damaged file finished pairs would be rendered again, so planning stops with an error."""
    store.create("records/x.ndjson", to_ndjson([make_record(PlannedPair(PAIR, key_of()))]) + line + b"\n")

    with pytest.raises(RecordError) as caught:
        make_plan(make_spec(), store, 2)

    assert str(caught.value).startswith(f"{store}/records/x.ndjson line 2: {message}")
    assert str(caught.value).endswith("move the file away and build again to render its pairs again")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("key", ["", "0" * 19, "0" * 21, "G" * 20, "../../../../etc/pass", "0" * 20 + "\n"])
def test_a_record_with_an_invalid_key_is_refused(key: str) -> None:
    """Keys become parts of paths, and records may come from anywhere."""
    with pytest.raises(ValueError, match="String should match pattern"):
        make_record(PlannedPair(PAIR, key))


def test_the_chunks_of_another_build_are_adopted_and_only_the_rest_is_cut(store: DirectoryStore) -> None:
    """So two builds with the same missing pairs, or with some of them, have chunks of the same names."""
    other = make_plan(make_spec(neurons=LAYERS_TWO, compute={"chunk_pairs": 7}), store, 2)
    write_plan(store, other)
    adopted = keys_of_chunks(store, [other.path])
    assert chunk_names(store, other.path) == {chunk.name for chunk in other.chunks}
    assert chunk_names(store, "plan/none") == frozenset()
    assert keys_of_chunks(store, ["plan/none"]) == []

    same = make_plan(make_spec(neurons=LAYERS_TWO), store, 16, adopted=adopted)
    assert same.chunks == other.chunks

    first = other.chunks[0]
    commit(store, first.name, *(make_record(planned, **like(other)) for planned in first.pairs))
    more = make_plan(make_spec(neurons=["block5:0-5", *LAYERS_TWO[1:]]), store, 2, adopted=adopted)
    names = {chunk.name for chunk in more.chunks}
    assert names >= {chunk.name for chunk in other.chunks[1:]}
    assert first.name not in names
    assert len(planned_pairs(more)) == len({planned.key for planned in planned_pairs(more)}) == more.missing

    commit(store, "apart", make_record(other.chunks[1].pairs[0], **like(other)))  # a chunk is adopted as a whole
    rest = make_plan(make_spec(neurons=LAYERS_TWO), store, 2, adopted=adopted)
    assert other.chunks[1].name not in {chunk.name for chunk in rest.chunks}
    assert len(planned_pairs(rest)) == rest.missing == other.missing - len(first.pairs) - 1


def test_failed_pairs_are_planned_again_once_for_a_build_that_asks_for_it(store: DirectoryStore) -> None:
    """The chunk has a new name, because the old one has records; a pair that has failed once more is failed."""
    spec = make_spec()
    plan = make_plan(spec, store, 2)
    [bad, *good] = planned_pairs(plan)
    commit(store, plan.chunks[0].name, make_record(bad, "failed"), *(make_record(each) for each in good))
    again = count_failures(store)
    assert again == {bad.key: 1}
    assert (make_plan(spec, store, 2).missing, make_plan(spec, store, 2).failed) == (0, 1)
    assert make_plan(spec, store, 2).failures == ((bad.pair, make_record(bad, "failed").reason),)

    retried = make_plan(spec, store, 2, again=again)
    assert (retried.missing, retried.failed) == (1, 0)
    [chunk] = retried.chunks
    assert [planned.key for planned in chunk.pairs] == [bad.key]
    write_plan(store, retried)
    assert read_chunk(store, retried.path, chunk.name).chunk == chunk

    commit(store, chunk.name, make_record(bad, "failed"))
    assert (make_plan(spec, store, 2, again=again).missing, make_plan(spec, store, 2, again=again).failed) == (0, 1)
    third = make_plan(spec, store, 2, again=count_failures(store))
    [next_chunk] = third.chunks
    assert next_chunk.name not in (chunk.name, plan.chunks[0].name)
    commit(store, next_chunk.name, make_record(bad))
    assert count_failures(store) == {}
    assert make_plan(spec, store, 2).failures == ()
