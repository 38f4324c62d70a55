"""A small atlas with a land, rendered chunk by chunk by the real functions: stages, damage, failures and publishing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.atlas.chunks import PlannedChunk
from core.atlas.finished_land import recorded_land
from core.atlas.land_plan import plan_land, read_planned_land
from core.atlas.plan import Plan, make_plan
from core.atlas.plan_files import read_chunk, write_plan
from core.atlas.recorded import read_blocks
from core.atlas.records import BlockRecord, block_path, records_path, to_ndjson
from core.atlas.verify import is_atlas, repair, verify
from core.errors import RecordError, SpecError
from core.gallery.publish import publish
from core.models.models import digest, load
from core.rendering.chunk import ChunkResult, render_chunk
from core.spec import AtlasSpec
from core.spec_file import parse_spec
from core.store.store import DirectoryStore, Store
from flows.health import check_health, summary

LAYER = "block0_depthwise_pre_relu"  # 32 channels
LAND: dict[str, Any] = {"neurons": [f"{LAYER}:0-31"], "cell_px": 32, "steps": 2, "columns": 6}
PAIR = {"select": "list", "list": [[f"{LAYER}:0", f"{LAYER}:1"]]}
RENDER = {"frames": 3, "size_px": 32, "steps": 2, "redirected_updates": 0, "alignment": {"weight": 0}}


def spec_of(**changes: Any) -> AtlasSpec:
    return parse_spec({"name": "land", "pairs": PAIR, "land": LAND, "render": RENDER} | changes, "here")


SPEC = spec_of()


def build(spec: AtlasSpec, store: Store) -> list[ChunkResult]:
    """Plan, write the plan and render it from its files, as a build does, until nothing is missing."""
    results = []
    while (plan := make_plan(spec, store, 1)).chunks:
        write_plan(store, plan)
        results += [render_chunk(read_chunk(store, plan.path, chunk.name), store) for chunk in plan.chunks]
    return results


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> DirectoryStore:
    """An atlas with one pair and a land of four blocks."""
    store = DirectoryStore(tmp_path_factory.mktemp("built") / "land")
    build(SPEC, store)
    publish(store, SPEC.name)
    return store


@pytest.fixture
def store(built: DirectoryStore, tmp_path: Path) -> DirectoryStore:
    """A copy of the atlas, which the test may damage."""
    shutil.copytree(built.root, tmp_path / "land")
    return DirectoryStore(tmp_path / "land")


def records_of(store: Store) -> dict[str, BlockRecord]:
    return read_blocks(store, lambda record: record)


def chunk_files(store: Store) -> dict[str, bytes]:
    return {path: store.read(path) for path in store.list("land/blocks/")}


def test_a_land_is_rendered_in_stages_beside_the_pairs(tmp_path: Path) -> None:
    """Each stage has the blocks that need those before; pairs are rendered with the first; the estimate counts all."""
    plan = make_plan(SPEC, DirectoryStore(tmp_path), 2)
    assert [sum(chunk.block is not None for chunk in stage) for stage in plan.stages] == [1, 1, 1, 1]
    assert [len(stage) for stage in plan.stages] == [2, 1, 1, 1]
    assert plan.stage == "the land and pairs"
    assert plan.land is not None
    assert (plan.land.blocks, plan.land.missing, plan.unrecorded) == (4, 4, 5)
    alone = make_plan(spec_of(land=None), DirectoryStore(tmp_path), 2)
    assert plan.seconds(1) == pytest.approx(alone.seconds(1) + 4 * plan.land.block_seconds)
    assert plan.stored_bytes() > alone.stored_bytes() + 4 * 112 * 112


def test_records_say_where_every_neuron_is_and_what_it_reaches(built: DirectoryStore) -> None:
    """Every neuron has one place; the published numbers compare it with the end of its strip, if it has one."""
    places = [place for record in records_of(built).values() for place in record.neurons]
    assert sorted((place.row, place.column) for place in places) == [divmod(n, 6) for n in range(32)]
    assert len({place.neuron for place in places}) == 32
    land = recorded_land(built)
    assert land is not None
    compared = {str(neuron): share for neuron, share in zip(land.land.neurons, land.compared, strict=True)}
    ends = [compared.pop(f"{LAYER}:{n}") for n in (0, 1)]
    assert any(share is not None for share in ends)
    assert set(compared.values()) == {None}
    assert verify(built).intact
    assert is_atlas(built)


def test_the_same_blocks_in_any_order_and_after_any_loss(built: DirectoryStore, store: DirectoryStore) -> None:
    """A block that was lost is rendered again with the same bytes, and nothing else is."""
    before = chunk_files(store)
    lost = sorted(store.list("land/records/"))[1:3]
    for path in lost:
        store.delete(path)
    results = build(SPEC, store)
    assert sorted(records_path(result.chunk) for result in results) == lost
    assert chunk_files(store) == before == chunk_files(built)


def test_damage_is_found_and_repaired(store: DirectoryStore) -> None:
    """A damaged picture of a block is named; repairing and building again gives the same land."""
    before = chunk_files(store)
    [damaged, *_] = sorted(before)
    store.replace(damaged, b"nothing")
    report = verify(store)
    assert report.damaged == (damaged,)
    repair(store, report)
    assert len(build(SPEC, store)) == 1
    publish(store, SPEC.name)
    assert chunk_files(store) == before
    assert verify(store).intact


def test_a_block_that_needs_a_damaged_one_says_so(store: DirectoryStore) -> None:
    """A picture of a finished block that cannot be read ends the chunk in one line, and leaves no record."""
    planned = read_planned_land(store)
    assert planned is not None
    last = planned.blocks[-1]
    assert len(last.finished) == 3
    store.delete(records_path(f"block-{last.key}"))
    store.replace(block_path(last.finished[0][1]), b"nothing")
    plan = make_plan(SPEC, store, 1)
    with pytest.raises(RecordError, match="expected the picture of a block"):
        render_chunk(planned_chunk(plan), store)
    assert not store.exists(records_path(f"block-{last.key}"))


def planned_chunk(plan: Plan) -> PlannedChunk:
    assert plan.land is not None
    return PlannedChunk(plan.model, plan.model_digest, plan.land.planned.settings, plan.chunks[0])


def test_blocks_that_need_a_failed_block_fail_with_its_reason_and_are_rendered_again(store: DirectoryStore) -> None:
    """A failure is told with its cause, the land is not published, and a build that repeats failures mends it."""
    planned = read_planned_land(store)
    assert planned is not None
    before = chunk_files(store)
    first, *others = planned.blocks
    for block in planned.blocks:
        store.delete(records_path(f"block-{block.key}"))
    failed = records_of_failure(SPEC, store, first.key)
    store.create(records_path(f"block-{first.key}"), to_ndjson([failed]))
    build(SPEC, store)
    plan = make_plan(SPEC, store, 1)
    assert plan.failed_blocks == 4
    assert plan.land is not None
    reasons = {block.key: reason for block, reason in plan.land.failures}
    assert all("the objective was not finite" in reasons[block.key] for block in others)
    assert recorded_land(store) is None
    again = dict.fromkeys(reasons, 1)
    while (plan := make_plan(SPEC, store, 1, again=again)).chunks:
        for chunk in plan.chunks:
            assert plan.land is not None
            render_chunk(PlannedChunk(plan.model, plan.model_digest, plan.land.planned.settings, chunk), store)
    assert make_plan(SPEC, store, 1).failed_blocks == 0
    assert chunk_files(store) == before


def records_of_failure(spec: AtlasSpec, store: Store, key: str) -> BlockRecord:
    planned = plan_land(spec, load(spec.model), digest(load(spec.model)), store)
    return BlockRecord(
        key=key,
        land=planned.blocks[0].land,
        row=0,
        column=0,
        status="failed",
        reason="the objective was not finite",
        method=6,
        model=spec.model.name,
        model_digest=digest(load(spec.model)),
        settings=planned.settings.model_dump(mode="json"),
        settings_digest="0",
        seconds=0,
        device="CPU",
        versions={},
    )


def test_only_what_changes_a_land_changes_its_keys(tmp_path: Path) -> None:
    """Settings of strips alone keep the keys of a land; its own settings, its neurons and its model's do not."""
    store, model = DirectoryStore(tmp_path), load(SPEC.model)

    def keys(**changes: Any) -> list[str]:
        return [block.key for block in plan_land(spec_of(**changes), model, digest(model), store).blocks]

    first = keys()
    assert keys(render=RENDER | {"frames": 5, "steps": 9, "size_px": 64}, pairs=None, compute={"processes": 1}) == first
    for other in (
        {"land": LAND | {"steps": 3}},
        {"land": LAND | {"cell_px": 40}},
        {"land": LAND | {"neurons": [f"{LAYER}:0-30"]}},
        {"land": LAND | {"arrange": "given"}},
        {"render": RENDER | {"seed": 1}},
        {"render": RENDER | {"sd": 0.02}},
    ):
        assert not set(keys(**other)) & set(first)


def test_an_arrangement_is_kept_from_build_to_build(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stored places are used again without arranging anew, and places as given are those of the spec."""
    from core.atlas import land_plan

    planned = read_planned_land(store)
    monkeypatch.setattr(land_plan, "arrange", None)
    model = load(SPEC.model)
    assert plan_land(SPEC, model, digest(model), store) == planned
    given = plan_land(spec_of(land=LAND | {"arrange": "given"}), model, digest(model), store)
    assert [neuron.channel for neuron in given.land.neurons] == list(range(32))


@pytest.mark.parametrize(
    ("land", "message"),
    [
        ({"neurons": [f"{LAYER}:0-3", "stem:1"]}, "land.neurons: expected neurons of one layer, got"),
        ({"neurons": [f"{LAYER}:0"]}, "land.neurons: expected at least two neurons, got block0_depthwise_pre_relu:0"),
        ({"neurons": [f"{LAYER}:0-99"]}, "land.neurons.0: "),
        ({"neurons": ["nothing"]}, "land.neurons.0: expected a neuron as 'layer:channel'"),
    ],
)
def test_neurons_that_cannot_have_a_land_are_refused(tmp_path: Path, land: dict[str, Any], message: str) -> None:
    """In one line, before anything is written."""
    with pytest.raises(SpecError) as caught:
        make_plan(spec_of(land=LAND | land), DirectoryStore(tmp_path / "new"), 1)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_an_atlas_may_have_a_land_alone(tmp_path: Path) -> None:
    """Without pairs, and whatever `strip` says, a land is rendered and published."""
    spec = spec_of(pairs=None, strip="walk", land={"neurons": [f"{LAYER}:0-3"], "cell_px": 32, "steps": 1})
    store = DirectoryStore(tmp_path / "land")
    [result] = build(spec, store)
    assert (result.what, result.done) == ("blocks", 1)
    manifest = publish(store, spec.name)
    assert (manifest.counts.pairs, manifest.land and manifest.land.neurons) == (0, 4)
    assert json.loads(manifest.to_json())["land"]["neurons"] == 4
    assert verify(store).intact
    assert np.isfinite([place.activation for record in records_of(store).values() for place in record.neurons]).all()


def test_verify_knows_that_blocks_are_missing(store: DirectoryStore) -> None:
    """An atlas whose pairs are all done is unfinished while a block of its land has no record."""
    assert check_health(store, SPEC, verify(store), ()).state == "complete"
    store.delete(sorted(store.list("land/records/"))[0])

    report = verify(store)
    health = check_health(store, SPEC, report, ())

    assert health.state == "unfinished"
    assert health.progress is not None
    assert (health.progress.missing, health.facts()["land"]) == (
        0,
        {"blocks": 4, "done": 3, "failed": 0, "missing": 1},
    )
    assert "1 of 1 pair, 3 of 4 blocks of the land have records" in "\n".join(summary(store, report, health))
