"""Planning a walkable atlas: keys that depend on the spec alone, and its stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from walks import LAYER, RENDER, walk_spec

from core.atlas.again import count_failures
from core.atlas.chunks import Chunk
from core.atlas.plan import Plan, make_plan
from core.atlas.plan_files import read_chunk, write_plan
from core.atlas.portrait_plan import PlannedCanvas, plan_canvas
from core.atlas.records import PortraitRecord, Record, records_path, to_ndjson
from core.errors import SpecError
from core.models.model import Model
from core.neurons import Neuron, Pair
from core.spec import AtlasSpec
from core.spec_file import parse_spec
from core.store.store import DirectoryStore


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    """An empty store."""
    return DirectoryStore(tmp_path / "walk")


def plan_of(store: DirectoryStore, **changes: Any) -> Plan:
    return make_plan(walk_spec(**changes), store, 1)


def canvas_of(plan: Plan) -> str:
    [chunk] = plan.stages[0]
    assert chunk.canvas is not None
    return chunk.canvas.key


def portraits_of(plan: Plan) -> dict[Neuron, str]:
    return {planned.neuron: planned.key for chunk in plan.stages[1] for planned in chunk.portraits}


def strips_of(plan: Plan) -> dict[Pair, str]:
    return {planned.pair: planned.key for planned in plan.missing_pairs}


def commit(store: DirectoryStore, chunk: Chunk, status: str = "done", seconds: float = 2.0) -> None:
    """Write the records of a chunk without its pictures."""
    reason = None if status == "done" else "objective not finite at update 1; there was none before"
    common: dict[str, Any] = {
        "status": status, "reason": reason, "method": 1, "model": "m", "model_digest": "f" * 64, "settings": {},
        "settings_digest": "0" * 20, "seconds": seconds, "device": "CPU x86_64", "versions": {},
    }  # fmt: skip
    records: list[Record | PortraitRecord] = [
        PortraitRecord(key=planned.key, neuron=str(planned.neuron), **common) for planned in chunk.portraits
    ]
    records += [
        Record(
            key=planned.key, a=str(planned.pair.a), b=str(planned.pair.b), strip="walk", portraits=planned.portraits,
            seed=0, frames=4, size_px=32, **common,
        )
        for planned in chunk.pairs
    ]  # fmt: skip
    if chunk.canvas and not chunk.portraits:
        records.append(PortraitRecord(key=chunk.canvas.key, **common))
    assert store.create(records_path(chunk.name), to_ndjson(records))


def commit_stage(store: DirectoryStore, plan: Plan, status: str = "done") -> None:
    for chunk in plan.chunks:
        commit(store, chunk, status)


def test_a_strip_between_portraits_has_another_key_than_one_with_ends_of_its_own(store: DirectoryStore) -> None:
    """An atlas may have both strips of a pair, and neither overwrites the other."""
    walk, pair = plan_of(store), make_plan(walk_spec(strip="pair"), store, 1)

    assert strips_of(walk).keys() == strips_of(pair).keys()
    assert not set(strips_of(walk).values()) & set(strips_of(pair).values())
    assert (len(pair.stages), pair.unrecorded) == (1, 6)


def test_a_bigger_spec_over_the_same_layers_keeps_everything(store: DirectoryStore) -> None:
    """Canvas, portraits and strips of the smaller spec are a part of the bigger one's, whatever is in the store."""
    small, big = plan_of(store), plan_of(store, neurons=f"{LAYER}:0-5", compute={})

    assert canvas_of(big) == canvas_of(small)
    assert portraits_of(small).items() < portraits_of(big).items()
    assert strips_of(small).items() < strips_of(big).items()
    commit_stage(store, small)
    assert (
        portraits_of(small).items()
        == {planned.neuron: planned.key for chunk in plan_of(store).chunks for planned in chunk.portraits}.items()
    )


@pytest.mark.parametrize(
    ("changes", "canvas", "strips"),
    [
        ({"neurons": f"{LAYER}:0-3 stem:0"}, False, False),
        ({"render": RENDER | {"seed": 1}}, False, False),
        ({"render": RENDER | {"steps": 4}}, False, False),
        ({"render": RENDER | {"size_px": 48}}, False, False),
        ({"render": RENDER | {"frames": 5}}, True, False),
        ({"render": RENDER | {"alignment": {"weight": 0}}}, False, False),
        ({"render": RENDER | {"alignment": {"layers": ["stem"], "scale": "lucid"}}}, False, False),
        ({"render": RENDER | {"mix": "lucid"}}, True, False),
        ({"render": RENDER | {"schedule": "plain"}}, False, False),
        ({"render": RENDER | {"checkpoints": [1]}}, True, False),
        ({"compute": {"chunk_pairs": 1}}, True, True),
    ],
)
def test_settings_of_the_canvas_change_every_strip_but_settings_of_strips_no_canvas(
    store: DirectoryStore, changes: dict[str, Any], canvas: bool, strips: bool
) -> None:
    """Layers, seed, schedule, size and alignment affect portraits; frames, mix and checkpoints affect strips only."""
    before, after = plan_of(store), plan_of(store, **changes)
    pair = next(iter(strips_of(before)))

    assert (canvas_of(before) == canvas_of(after)) is canvas
    assert (portraits_of(before)[pair.a] == portraits_of(after)[pair.a]) is canvas
    assert (strips_of(before)[pair] == strips_of(after)[pair]) is strips


def test_the_sample_of_a_canvas_is_drawn_from_all_channels_of_its_layers(model: Model) -> None:
    """Each layer has the same number of different neurons, 16 in all; with more than 16 layers, each has one."""

    def sample(layers: list[str]) -> PlannedCanvas:
        pairs = [Pair.of(Neuron(layer, 0), Neuron(layer, 1)) for layer in layers]
        return plan_canvas(pairs, model, "f" * 64, walk_spec().render)

    for layers, per_layer in ((["block5"], 16), (["block5", "stem"], 8), (list(model.layers)[:20], 1)):
        drawn = sample(layers).sample
        assert [neuron.layer for neuron in drawn].count(layers[-1]) == per_layer
        assert len(set(drawn)) == len(drawn) == per_layer * len(layers)
        assert all(neuron.channel < model.layers[neuron.layer] for neuron in drawn)
    assert sample(["block5", "stem"]) == sample(["stem", "block5"])


def test_stages_are_planned_one_after_another_with_correct_counts(store: DirectoryStore) -> None:
    """Pairs are missing until their strips are recorded, and each stage lowers the number of unrecorded items."""
    plan = plan_of(store)
    stages = []
    while plan.chunks:
        stages.append((plan.stage, len(plan.chunks), plan.missing, plan.missing_portraits, plan.unrecorded, plan.done))
        assert plan.seconds(1) > 0
        assert min(plan.chunk_seconds.values()) > 0
        commit_stage(store, plan)
        plan = plan_of(store)

    assert stages == [
        ("the canvas of all portraits", 1, 6, 4, 11, 0),
        ("portraits", 2, 6, 4, 10, 0),
        ("pairs", 3, 6, 0, 6, 0),
    ]
    assert (plan.pairs, plan.done, plan.missing, plan.missing_portraits, plan.unrecorded) == (6, 6, 0, 0, 0)
    assert (plan.seconds(1), plan.stored_bytes()) == (0, 0)


def test_a_failed_portrait_fails_its_strips_and_no_others(store: DirectoryStore) -> None:
    """A strip on a failed portrait is planned with a reason and will be recorded as failed; others are rendered."""
    commit_stage(store, plan_of(store))
    portraits = plan_of(store)
    commit(store, portraits.chunks[0], "failed")
    commit(store, portraits.chunks[1])

    plan = plan_of(store)

    failed = {str(planned.neuron) for planned in portraits.chunks[0].portraits}
    for planned in plan.missing_pairs:
        failed_ends = [str(neuron) for neuron in planned.pair if str(neuron) in failed]
        assert (planned.reason is not None) == bool(failed_ends)
        if planned.reason:
            assert planned.reason == (
                f"the portrait of {failed_ends[0]} failed: objective not finite at update 1; there was none before"
            )
    assert (plan.stage, plan.missing) == ("pairs", 6)


@pytest.mark.parametrize("stage", [0, 1], ids=["canvas", "portraits"])
def test_what_has_failed_is_planned_again_with_all_that_it_made_fail(store: DirectoryStore, stage: int) -> None:
    """A build that asks for it renders a failed canvas or portrait again, then what depends on it, and no more.

    The chunks have new names, because the old ones have records.
    """
    for number in range(3):
        commit_stage(store, plan_of(store), "done" if number < stage else "failed")
    done, names = plan_of(store), set(store.list("portraits/records/"))
    assert (done.chunks, done.failed) == ((), 6)

    again = count_failures(store)
    repeated = []
    while (plan := make_plan(walk_spec(), store, 1, again=again)).chunks:
        assert not any(records_path(chunk.name) in names for chunk in plan.chunks)
        repeated.append(sum(len(chunk.pairs) + len(chunk.portraits) or 1 for chunk in plan.chunks))
        assert not any(planned.reason for chunk in plan.chunks for planned in (*chunk.pairs, *chunk.portraits))
        commit_stage(store, plan)

    assert repeated == [1, 4, 6][stage:]
    assert (plan.done, plan.failed) == (6, 0)


def test_a_failed_canvas_fails_every_portrait(store: DirectoryStore) -> None:
    """All portraits are planned with the reason, so the build ends."""
    commit_stage(store, plan_of(store), "failed")

    plan = plan_of(store)

    assert plan.stage == "portraits"
    for chunk in plan.chunks:
        for planned in chunk.portraits:
            assert planned.reason is not None
            assert planned.reason.startswith("the canvas of all portraits failed: objective not finite at update 1")


def test_every_kind_of_chunk_can_be_written_and_read(store: DirectoryStore) -> None:
    """A render task reads the chunk that was planned."""
    while (plan := plan_of(store)).chunks:
        write_plan(store, plan)
        for chunk in plan.chunks:
            assert read_chunk(store, plan.path, chunk.name).chunk == chunk
        commit_stage(store, plan)


def test_without_records_a_portrait_is_estimated_as_a_frame_of_a_strip(store: DirectoryStore) -> None:
    """The canvas is estimated as the portraits of its sample, which one process renders."""
    plan = plan_of(store)
    assert plan.portrait_seconds == pytest.approx(plan.pair_seconds / 4)
    assert plan.seconds(2) == pytest.approx(
        16 * plan.portrait_seconds + (4 * plan.portrait_seconds + 6 * plan.pair_seconds) / 2
    )
    assert list(plan.chunk_seconds.values()) == [pytest.approx(16 * plan.portrait_seconds)]


def refusal(**render: Any) -> str:
    with pytest.raises(SpecError) as caught:
        walk_spec(render=RENDER | render)
    return str(caught.value)


def test_settings_without_meaning_between_portraits_are_refused() -> None:
    """One line says what was expected; for strips with ends of their own these settings are accepted."""
    assert refusal(frames=2) == "here: render.frames: expected at least 3 with strip: walk, got 2"
    assert refusal(sharing=False) == "here: render.sharing: expected True, the default, with strip: walk, got False"
    assert refusal(key_frames="lucid") == (
        "here: render.key_frames: expected 'symmetric', the default, with strip: walk, got 'lucid'"
    )
    assert walk_spec(strip="pair", render=RENDER | {"frames": 2, "sharing": False}).strip == "pair"
    with pytest.raises(SpecError, match="here: strip: expected 'pair' or 'walk', got 'run'"):
        walk_spec(strip="run")


def test_the_default_kind_of_strip_is_pair() -> None:
    """Older specs, which do not have the key, keep their meaning."""
    spec: AtlasSpec = parse_spec({"name": "old", "pairs": {"select": "all", "neurons": ["stem:0-1"]}}, "here")

    assert spec.strip == "pair"
