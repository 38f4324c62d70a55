"""Derived layers in selections, keys, plans and strips: a direction is as good a neuron as a channel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from batch_rounding import assert_same_in_batch
from command_line import Isthmus
from numpy.typing import NDArray
from walks import RENDER, build

from core.atlas.keys import pair_keys
from core.atlas.land_plan import land_settings, plan_land
from core.atlas.mixing import check_mixing
from core.atlas.plan import make_plan
from core.atlas.plan_files import SPEC_PATH
from core.atlas.portrait_plan import plan_canvas, portrait_key
from core.atlas.recorded import read_portraits, read_records
from core.atlas.selection import resolve_settings, select_pairs
from core.errors import SpecError
from core.method import objectives as o
from core.method.land import BlockRenderer
from core.method.noise import noise_levels
from core.method.optimise import render as render_one
from core.method.parameterization import image
from core.method.strip import Strip
from core.method.strip_renderer import StripRenderer
from core.models.model import Model
from core.models.models import load, pinned
from core.neurons import Neuron, Pair
from core.pictures.land import Block, Land
from core.spec import AtlasSpec, DerivedLayers, LandSpec, ModelSpec, RenderSettings
from core.spec_file import parse_spec
from core.store.store import DirectoryStore

ACROSS = [
    Pair(Neuron("mixed", 1), Neuron("other", 2)),
    Pair(Neuron("mixed", 4), Neuron("other", 0)),
]
LAYER, CHANNELS = "block0", 16  # whole layers are computed for it, and so for its directions
DICE = np.random.default_rng(3)
TURN: NDArray[Any] = np.linalg.qr(DICE.normal(size=(CHANNELS, CHANNELS)))[0]
MATRICES = {
    "same": np.eye(CHANNELS),
    "turned": TURN,
    "back": TURN.T @ TURN.astype(np.float32),
    "mixed": DICE.normal(size=(6, CHANNELS)),
}


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """The default network with a layer for each matrix, and one of another layer."""
    folder = tmp_path_factory.mktemp("matrices")
    for name, matrix in MATRICES.items():
        np.save(folder / f"{name}.npy", matrix.astype(np.float32))
    np.savez(folder / "other.npz", W=DICE.normal(size=(4, 32)).astype(np.float32), b=np.ones(4, np.float32))
    derived = {name: {"of": LAYER, "file": str(folder / f"{name}.npy")} for name in MATRICES}
    other = {"of": "stem", "file": str(folder / "other.npz"), "names": "W", "bias": "b", "unit": True}
    return ModelSpec.model_validate({"derived": derived | {"other": other}})


@pytest.fixture(scope="module")
def derived(spec: ModelSpec) -> Model:
    return load(spec)


def settings(**changes: Any) -> RenderSettings:
    small = {"frames": 4, "size_px": 32, "steps": 8, "alignment": {"layers": ["stem", LAYER]}}
    return RenderSettings.model_validate(small | changes)


def pair_of(a: str, b: str) -> Pair:
    return Pair.of(Neuron.parse(a), Neuron.parse(b))


def render(model: Model, *pairs: Pair, strips: int = 1, **changes: Any) -> list[Strip]:
    return StripRenderer(model, pairs[0].layers, settings(**changes), strips=strips).render(pairs)


def atlas(spec: ModelSpec, **changes: Any) -> AtlasSpec:
    facts = {"name": "small", "model": spec.model_dump(mode="json"), "render": RENDER}
    return parse_spec(facts | changes, "here")


def nearest(spec: ModelSpec, model: Model, *neurons: str, k: int = 1, **more: Any) -> list[Pair]:
    return select_pairs(atlas(spec, pairs={"select": "nearest", "neurons": neurons, "k": k, **more}), model)


# Strips ---------------------------------------------------------------------------------------------------------------


def test_directions_along_the_axes_give_the_strips_of_the_layer_itself(model: Model, derived: Model) -> None:
    """Of a layer that is computed whole, frames and all numbers have the same bits."""
    [expected] = render(model, pair_of(f"{LAYER}:3", f"{LAYER}:12"))
    [found] = render(derived, pair_of("same:3", "same:12"))

    np.testing.assert_array_equal(found.frames, expected.frames)
    for name in ("objective", "activation_a", "activation_b", "neighbour_distance", "steps"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.noise == expected.noise
    assert found.layer_distance.keys() == expected.layer_distance.keys()


@pytest.mark.parametrize(("layer", "exact"), [("block1_expand_pre_relu", True), ("block1_expand", False)])
def test_after_an_update_a_selected_channel_and_its_axis_differ_at_most_by_rounding(
    model: Model, tmp_path: Path, layer: str, exact: bool
) -> None:
    """Of these layers, only two channels are computed; before a ReLU, the product with a direction takes as little."""
    np.save(tmp_path / "axes.npy", np.eye(96, dtype=np.float32))
    axes = load(ModelSpec.model_validate({"derived": {"axes": {"of": layer, "file": str(tmp_path / "axes.npy")}}}))
    once = {"frames": 2, "steps": 1, "redirected_updates": 0, "alignment": {"weight": 0}}

    [expected] = render(model, pair_of(f"{layer}:3", f"{layer}:40"), **once)
    [found] = render(axes, pair_of("axes:3", f"{layer}:40") if exact else pair_of("axes:3", "axes:40"), **once)

    assert model.can_select_channels([layer])
    assert axes.can_mix_channels([layer]) == exact
    np.testing.assert_allclose(found.frames, expected.frames, atol=0 if exact else 1e-5)
    np.testing.assert_allclose(found.activation_a, expected.activation_a, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.activation_b, expected.activation_b, rtol=1e-4, atol=1e-5)


def test_products_with_directions_that_are_computed_alone_are_those_of_the_whole_layer(model: Model) -> None:
    """Each has the same bits, however many there are, as the number of strips in a batch must not matter."""
    images = DICE.random((2, 32, 32, 3)).astype(np.float32)
    rows = DICE.normal(size=(9, 1280)).astype(np.float32)

    whole = model.activations(images, {"head_pre_relu"})["head_pre_relu"].numpy()
    alone = model.activations(images, {"head_pre_relu"}, channels=tf.constant(rows))["head_pre_relu"].numpy()
    two = model.activations(images, {"head_pre_relu"}, channels=tf.constant(rows[:2]))["head_pre_relu"].numpy()

    np.testing.assert_allclose(alone, whole @ rows.T, rtol=1e-3, atol=1e-3 * np.abs(alone).max())
    np.testing.assert_array_equal(two, alone[..., :2])


def test_a_rotation_and_its_inverse_come_back_to_the_same_strip(derived: Model) -> None:
    """The product of a rotation and its inverse is the identity up to rounding; the rotation alone is not."""
    few = {"steps": 2, "redirected_updates": 0, "frames": 2, "alignment": {"weight": 0}}
    same, back, turned = (render(derived, pair_of(f"{n}:3", f"{n}:12"), **few)[0] for n in ("same", "back", "turned"))

    np.testing.assert_allclose(back.frames, same.frames, atol=1e-3)
    assert np.abs(turned.frames - same.frames).max() > 0.1


@pytest.fixture(scope="module")
def across(derived: Model) -> StripRenderer:
    """A renderer of strips from a direction of one layer to a direction of another."""
    return StripRenderer(derived, ACROSS[0].layers, settings(frames=2))


def test_one_compiled_step_serves_all_pairs_of_the_same_layers(derived: Model, across: StripRenderer) -> None:
    """Directions are its inputs. A pair in a batch has the strip that it has alone, also across layers."""
    expected = [across.render([pair])[0] for pair in ACROSS]

    assert across.traces == 1  # no update is the 17th
    for strip, other in zip(expected, render(derived, *ACROSS, strips=2, frames=2), strict=True):
        assert_same_in_batch(strip.frames, other.frames)
    assert np.abs(expected[0].frames - expected[1].frames).max() > 0.05


def test_an_activation_is_the_mean_over_positions_of_the_product_plus_the_bias(
    derived: Model, across: StripRenderer
) -> None:
    """In every frame, for both ends, which are of different layers; the record's noise is that of the direction."""
    [strip] = across.render(ACROSS[:1])

    found = {layer: t.numpy().mean((1, 2)) for layer, t in derived.activations(strip.frames, {LAYER, "stem"}).items()}
    row = derived.derived["other"].rows([2])[0]
    np.testing.assert_allclose(strip.activation_a, found[LAYER] @ MATRICES["mixed"][1].astype("f4"), rtol=1e-4)
    np.testing.assert_allclose(strip.activation_b, found["stem"] @ row[:-1] + row[-1], rtol=1e-4)
    levels = noise_levels(derived, {"mixed", "other"}, 32)
    noise = derived.activations(image(32, sd=1.0, seed=0)(), {"mixed", "other"})
    for layer, activations in noise.items():
        assert (activations.numpy().mean((1, 2))[0] <= levels[layer].highest).all()
    assert strip.noise == (float(levels["mixed"].highest[1]), float(levels["other"].highest[2]))
    assert strip.objective[-1] > strip.objective[0]


def test_a_derived_layer_may_be_aligned_and_is_a_layer_for_notebooks(derived: Model) -> None:
    """Whole derived layers are computed for alignment, and for objectives that name one."""
    one = {"frames": 2, "steps": 1, "redirected_updates": 0, "alignment": {"layers": ["turned"]}}
    [strip] = render(derived, pair_of(f"{LAYER}:1", "mixed:2"), **one)
    assert np.isfinite(strip.layer_distance["turned"]).all()

    found = render_one(derived, "mixed:2", image(32), checkpoints=(2,), redirected_updates=0)
    same = render_one(
        derived, o.direction(LAYER, MATRICES["mixed"][2]), image(32), checkpoints=(2,), redirected_updates=0
    )
    np.testing.assert_allclose(found.objective, same.objective, rtol=1e-4)


def test_directions_are_interpolated_as_channels_are() -> None:
    """Along axes it is the mix of two channels; the layers may differ."""
    layers = {"a": DICE.normal(size=(3, 2, 2, 4)).astype("f4"), "b": DICE.normal(size=(3, 5)).astype("f4")}
    axes = np.eye(5, dtype=np.float32)

    mixed = o.direction_interpolate("a", axes[2, :4], "b", 2 * axes[1])

    expected = o.channel_interpolate("a", 2, "b", 1)(layers.__getitem__)
    alone = o.channel_interpolate("a", 2, "a", 2)(layers.__getitem__)
    of_a = sum((1 - w) * layers["a"][i, :, :, 2].mean() for i, w in enumerate((0, 0.5, 1)))
    assert float(mixed(layers.__getitem__)) == pytest.approx(2 * float(expected) - of_a, rel=1e-5)
    assert float(alone) == pytest.approx(layers["a"][..., 2].mean((1, 2)).sum(), rel=1e-5)
    assert mixed.layers == {"a", "b"}


def test_a_block_of_a_land_of_axes_is_that_of_the_layer_itself(model: Model, derived: Model) -> None:
    """The objective of a block reads the directions of all its places, and those of the ring around it."""
    chosen = land_settings(LandSpec(neurons=("x:0",), cell_px=32, steps=3), RenderSettings(redirected_updates=0))
    blocks = []
    for each, layer in ((model, LAYER), (derived, "same")):
        land = Land(tuple(Neuron(layer, n) for n in range(9)), 3, 32, 3, 3, 8)
        blocks.append(BlockRenderer(each, land, chosen).render(land, Block(0, 0), {}, seed=3))

    expected, found = blocks
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    np.testing.assert_allclose(found.activation, expected.activation, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.noise, expected.noise)


# Keys and selections --------------------------------------------------------------------------------------------------


def test_a_key_depends_on_the_row_and_on_no_other(
    model: Model, spec: ModelSpec, derived: Model, tmp_path: Path
) -> None:
    """Keys of pairs, of portraits and of lands. Those of pairs without directions are the ones that they always had."""
    other = MATRICES["mixed"].astype(np.float32).copy()
    other[5] *= 2
    np.save(tmp_path / "other.npy", other)
    changed = load(ModelSpec.model_validate({"derived": {"mixed": {"of": LAYER, "file": str(tmp_path / "other.npy")}}}))
    pairs = [pair_of("mixed:0", "mixed:1"), pair_of("mixed:0", "mixed:5"), pair_of(f"{LAYER}:0", f"{LAYER}:1")]

    before, after = (
        [key for _, key in pair_keys(pairs, "f" * 64, settings(), each.derived)] for each in (derived, changed)
    )
    assert [one == another for one, another in zip(before, after, strict=True)] == [True, False, True]
    assert before[2] == next(pair_keys(pairs[2:], "f" * 64, settings()))[1]

    canvases = [plan_canvas(pairs[:2], each, "f" * 64, settings()) for each in (derived, changed)]
    assert canvases == [plan_canvas(pairs[2:], model, "f" * 64, settings())] * 2
    portraits = [
        [portrait_key("0" * 20, Neuron("mixed", n), each.derived) for n in (0, 5)] for each in (derived, changed)
    ]
    assert portraits[0][0] == portraits[1][0]
    assert portraits[0][1] != portraits[1][1]

    lands = [
        [
            plan_land(atlas(spec, land={"neurons": [neurons]}), each, "f" * 64, DirectoryStore(tmp_path / "x")).keys
            for neurons in ("mixed:0-4", "mixed:0-5")
        ]
        for each in (derived, changed)
    ]
    assert lands[0][0] == lands[1][0]
    assert set(lands[0][1].values()).isdisjoint(lands[1][1].values())


def test_nearest_directions_have_the_largest_cosine(spec: ModelSpec, derived: Model) -> None:
    """Within a derived layer, across derived layers of one layer, and between these and the layer itself."""
    rows = MATRICES["mixed"] / np.linalg.norm(MATRICES["mixed"], axis=1, keepdims=True)
    cosines = rows @ rows.T - 2 * np.eye(6)
    within = {pair_of(f"mixed:{n}", f"mixed:{cosines[n].argmax()}") for n in range(6)}
    assert set(nearest(spec, derived, "mixed:0-5")) == within

    across = nearest(spec, derived, "same:3", f"turned:0-{CHANNELS - 1}")
    assert pair_of("same:3", f"turned:{TURN[:, 3].argmax()}") in across
    with_layer = nearest(spec, derived, f"{LAYER}:3", "mixed:0-5")
    assert pair_of(f"{LAYER}:3", f"mixed:{rows[:, 3].argmax()}") in with_layer

    joined = nearest(spec, derived, "mixed:0-5", "other:0-3", connect=True)
    assert {layer for pair in joined for layer in pair.layers} == {"mixed", "other"}
    assert any(pair.layers == ("mixed", "other") for pair in joined)


def test_channels_of_the_layer_itself_are_still_compared_by_their_weights(
    model: Model, spec: ModelSpec, derived: Model
) -> None:
    """Also beside directions, unless a direction is nearer."""
    alone = nearest(spec, model, f"{LAYER}:0-15")
    assert nearest(spec, derived, f"{LAYER}:0-15") == alone
    beside = nearest(spec, derived, f"{LAYER}:0-15", "mixed:0", k=2)
    assert set(alone) <= {*beside, *nearest(spec, derived, f"{LAYER}:0-15", k=2)}


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (
            {"select": "all", "neurons": ["mixed:4-6"]},
            "pairs.neurons.0: expected a channel of mixed from 0 to 5, got 6",
        ),
        (
            {"select": "list", "list": [["mixed:0", "mixxed:1"]]},
            "pairs.list.0: expected a layer of efficientnet-lite0, ",
        ),
        ({"select": "nearest", "neurons": ["mixed:0-3"], "k": 4}, "pairs.k: expected fewer neighbours than the 4 "),
    ],
)
def test_a_direction_that_is_not_there_is_refused(
    spec: ModelSpec, derived: Model, pairs: dict[str, Any], message: str
) -> None:
    """As a channel that is not there, before anything is spent."""
    with pytest.raises(SpecError) as caught:
        select_pairs(atlas(spec, pairs=pairs), derived)

    assert str(caught.value).startswith(message)


def test_alignment_layers_and_defaults_are_those_of_the_network(derived: Model, model: Model) -> None:
    """Settings that are written out are the same, and so are the keys of other pairs."""
    assert resolve_settings(RenderSettings(), derived) == resolve_settings(RenderSettings(), model)


# Atlases --------------------------------------------------------------------------------------------------------------


def test_a_walk_between_directions_has_records_with_their_digests(
    spec: ModelSpec, derived: Model, tmp_path: Path
) -> None:
    """Names of neurons are those of the spec. Other directions under these names are refused, more directions are not.

    The canvas excites channels of the layer, so directions can be added to an atlas.
    """
    store = DirectoryStore(tmp_path / "small")
    walk = atlas(spec, strip="walk", pairs={"select": "list", "list": [["mixed:0", "same:2"]]})

    results = build(walk, store)

    assert [(result.done, result.failed) for result in results] == [(1, 0), (1, 0), (1, 0), (1, 0)]
    [record] = read_records(store, lambda record: record).values()
    assert (record.a, record.b) == ("mixed:0", "same:2")
    assert record.directions == (derived.derived["mixed"].digest(0), derived.derived["same"].digest(2))
    portraits = read_portraits(store, lambda record: (record.neuron, record.direction, record.sample)).values()
    assert {each[:2] for each in portraits if each[0]} == {
        ("mixed:0", record.directions[0]),
        ("same:2", record.directions[1]),
    }
    [sample] = [each[2] for each in portraits if each[0] is None]
    assert {neuron.partition(":")[0] for neuron in sample} == {LAYER}

    store.replace(SPEC_PATH, walk.to_json())
    matrix = MATRICES["mixed"].astype(np.float32).copy()
    for row, refused in ((5, False), (0, True)):
        matrix[row] += 1
        np.save(tmp_path / f"{row}.npy", matrix)
        each = {name: known for name, known in (spec.derived or {}).items() if name != "mixed"}
        each["mixed"] = each["same"].model_copy(update={"file": str(tmp_path / f"{row}.npy")})
        other = walk.model_copy(update={"model": spec.model_copy(update={"derived": DerivedLayers(each)})})
        if not refused:
            assert check_mixing(other, store) == ()
            assert make_plan(other, store, 1).chunks == ()
            continue
        with pytest.raises(SpecError) as caught:
            check_mixing(other, store)
        assert str(caught.value) == (
            f"model.derived.mixed: the atlas at {store} has another direction under the name mixed:0; "
            "give mixed another name, or give the spec another name or output"
        )


def test_a_plan_names_the_file_by_its_sha256(spec: ModelSpec, tmp_path: Path) -> None:
    """So a worker anywhere refuses another file; the spec need not have it."""
    pairs = {"select": "all", "neurons": ["mixed:0-2"]}
    plan = make_plan(atlas(spec, pairs=pairs), DirectoryStore(tmp_path), 1)

    assert plan.model == pinned(spec)
    assert all(each.sha256 for each in (plan.model.derived or {}).values())


def test_preview_takes_the_model_of_a_spec(isthmus: Isthmus, tmp_path: Path) -> None:
    """The neurons of its derived layers can be named."""
    np.save(tmp_path / "d.npy", MATRICES["mixed"].astype(np.float32))
    model = {"derived": {"sae": {"of": LAYER, "file": "d.npy"}}}
    pairs = {"select": "all", "neurons": ["sae:0-1"]}
    (tmp_path / "atlas.yaml").write_text(json.dumps({"name": "small", "model": model, "pairs": pairs}))

    said = isthmus("preview", "sae:0", "sae:6", "--model", "atlas.yaml")

    assert (said.code, said.err) == (2, "isthmus: preview: expected a channel of sae from 0 to 5, got 6\n")
