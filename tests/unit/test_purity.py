"""Purity: strips, portraits and walks whose objective counts the angle of activations, by a cosine power."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from batch_rounding import assert_same_in_batch
from walks import RENDER

from core.arrays import Array
from core.atlas.portrait_plan import portrait_settings
from core.atlas.selection import resolve_settings
from core.errors import SpecError
from core.method import objectives as o
from core.method.network import Readout
from core.method.parameterization import shared_interpolation
from core.method.portraits import PortraitRenderer
from core.method.purity import Purity
from core.method.strip_renderer import StripRenderer
from core.method.subjects import Neurons, Subject, subject_of
from core.method.walk_strip import Walk, WalkRenderer
from core.models.model import Model
from core.models.models import load
from core.neurons import Neuron, Pair
from core.pictures.portrait import Portrait
from core.spec import ModelSpec, RenderSettings
from core.spec_file import parse_spec

LAYER = "block0"  # near the image, because the time for tracing a step grows with the depth
PAIRS = [Pair.of(Neuron(LAYER, a), Neuron(LAYER, b)) for a, b in ((3, 7), (1, 12))]
FRAMES = 4


def settings(model: Model, power: float, **changes: Any) -> RenderSettings:
    given = RENDER | {"frames": FRAMES, "steps": 24, "objective": {"cosine_power": power}} | changes
    return resolve_settings(RenderSettings.model_validate(given), model)


def cosine(image: Array, neuron: Neuron, model: Model) -> float:
    """Return the cosine of activations and a neuron, its mean over positions, each counted by its activation."""
    activations = model.activations(image[None], {neuron.layer})[neuron.layer].numpy()[0]
    along = np.maximum(activations[..., neuron.channel], 0)
    return float((along * along / np.linalg.norm(activations, axis=-1)).sum() / along.sum())


# The objective -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def derived(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The default network with directions of two layers, one of them with a bias."""
    folder = tmp_path_factory.mktemp("directions")
    dice = np.random.default_rng(5)
    np.save(folder / "mixed.npy", dice.normal(size=(3, 16)).astype(np.float32))
    np.savez(folder / "other.npz", W=dice.normal(size=(2, 32)).astype(np.float32), b=np.full(2, 9, np.float32))
    other = {"of": "stem", "file": str(folder / "other.npz"), "names": "W", "bias": "b"}
    layers = {"mixed": {"of": LAYER, "file": str(folder / "mixed.npy")}, "other": other}
    return load(ModelSpec.model_validate({"derived": layers}))


def direction_of(neuron: Neuron, model: Model) -> tuple[str, Array]:
    """Return the layer that a neuron's direction is of, and the direction."""
    if neuron.layer in model.derived:
        return model.derived[neuron.layer].of, model.derived[neuron.layer].rows([neuron.channel])[0, :-1]
    return neuron.layer, np.eye(model.layers[neuron.layer], dtype=np.float32)[neuron.channel]


@pytest.mark.parametrize(
    ("a", "b", "layers"),
    [
        (f"{LAYER}:3", f"{LAYER}:7", 1),
        (f"{LAYER}:3", "stem:7", 2),
        ("mixed:0", "mixed:2", 1),
        (f"{LAYER}:7", "mixed:1", 1),
        ("mixed:1", "other:0", 2),
    ],
)
def test_the_objective_with_lucids_mix_is_lucids(derived: Model, a: str, b: str, layers: int) -> None:
    """Each frame has the objective `direction` of its mixed direction, or two of them if there are two layers.

    The values of `direction` are those of Lucid's own code: see test_golden_parts. Channels and directions of one layer
    mix, and a bias does not count.
    """
    pair = Pair.of(Neuron.parse(a), Neuron.parse(b))
    once = {"schedule": "plain", "mix": "lucid", "steps": 1, "transforms": "none", "alignment": {"weight": 0}}
    chosen = settings(derived, 3, **once)

    [strip] = StripRenderer(derived, pair.layers, chosen).render([pair])

    seed = subject_of(chosen, *pair, derived=derived.derived).seed
    found = derived.activations(shared_interpolation(FRAMES, chosen.size_px, seed=seed)(), {LAYER, "stem"})
    (layer_a, row_a), (layer_b, row_b) = (direction_of(neuron, derived) for neuron in pair)
    expected = 0.0
    for frame, share in enumerate(np.linspace(0, 1, FRAMES)):
        mix = [(layer_a, (1 - share) * row_a), (layer_b, share * row_b)]
        if layer_a == layer_b:
            mix = [(layer_a, mix[0][1] + mix[1][1])]
        assert len(mix) == layers
        for layer, vector in mix:
            expected += float(o.direction(layer, vector, 3, batch=frame)(found.__getitem__))
    assert strip.objective[0] == pytest.approx(expected, rel=1e-4)


def purity(model: Model, activations: tf.Tensor, power: float, mix: str, strips: int = 1) -> tuple[Array, Array, Array]:
    """Return objective and unit of strips of two frames, and the gradient of the objective."""
    chosen = settings(model, power, mix=mix, frames=2)
    reward = Purity(Readout(model, (LAYER, LAYER), (), chosen, strips), chosen)
    weights = [tf.constant([each] * strips) for each in ([0.5, 0.2], [1.5, 0.8])]
    with tf.GradientTape() as tape:
        tape.watch(activations)
        neurons = Neurons.of([Subject((3, 7), 0)] * strips, 0)
        objective, unit = reward({LAYER: activations}, neurons, weights, tf.fill([strips], 2.0))
    return objective.numpy(), unit.numpy(), tape.gradient(objective, activations).numpy()


def test_the_balanced_mix_keeps_the_objective_in_units_of_activation(model: Model) -> None:
    """It has the value of the mix without cosines, and in each frame the direction of the gradient of Lucid's form."""
    random = np.random.default_rng(0)
    activations = tf.constant(random.uniform(0, 2, size=(2, 5, 5, model.layers[LAYER])), tf.float32)

    balanced, unit, gradient = purity(model, activations, 3, "balanced")
    lucid, smaller, literal = purity(model, activations, 3, "lucid")

    a, b = (activations.numpy()[..., channel].mean(axis=(1, 2)) for channel in (3, 7))
    assert balanced[0] == pytest.approx(0.5 * a[0] + 1.5 * b[0] + 0.2 * a[1] + 0.8 * b[1], rel=1e-5)
    assert unit == 2
    assert lucid[0] < 0.3 * balanced[0]
    assert smaller[0] == pytest.approx(2 * lucid[0] / balanced[0], rel=0.2)  # frames do not count equally here
    for frame in range(2):
        of_frame = gradient[frame].ravel(), literal[frame].ravel()
        along = np.dot(*of_frame) / np.prod([np.linalg.norm(each) for each in of_frame])
        assert along == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("power", [1.5, 3])
def test_the_power_is_rounded_in_the_same_way_in_every_batch(model: Model, power: float) -> None:
    """A layer of 3 x 3 positions does not fill the groups of numbers that a processor raises to a power at once."""
    random = np.random.default_rng(1)
    activations = tf.constant(random.uniform(0, 2, size=(64, 2, 3, 3, model.layers[LAYER])), tf.float32)

    batch = purity(model, tf.reshape(activations, (128, 3, 3, -1)), power, "lucid", strips=64)
    alone = [purity(model, strip, power, "lucid") for strip in activations]

    for number in range(3):
        np.testing.assert_array_equal(batch[number], np.concatenate([each[number] for each in alone]))


@pytest.mark.parametrize("mix", ["balanced", "lucid"])
def test_inactive_positions_have_finite_gradients_that_excite_the_neurons(model: Model, mix: str) -> None:
    """Where all activations are 0, the length has no gradient; the neurons have one still, so that they can start."""
    objective, unit, gradient = purity(model, tf.zeros((2, 5, 5, model.layers[LAYER])), 2, mix)

    assert objective == 0
    assert np.isfinite(unit)
    assert np.isfinite(gradient).all()
    assert (gradient[..., [3, 7]] > 0).all()
    assert np.count_nonzero(gradient) == 2 * 5 * 5 * 2


# Strips, portraits and walks -----------------------------------------------------------------------------------------


def test_strips_are_purer_at_both_ends_and_depend_neither_on_their_batch_nor_on_its_size(model: Model) -> None:
    """The cosine of each neuron at its end is higher than with a power of 0, and a batch of two changes no bit."""
    alone = StripRenderer(model, (LAYER, LAYER), settings(model, 2))
    plain = StripRenderer(model, (LAYER, LAYER), settings(model, 0, frames=2))  # the ends alone, which are the same
    batch = StripRenderer(model, (LAYER, LAYER), settings(model, 2), strips=2).render(PAIRS)

    for pair, batched in zip(PAIRS, batch, strict=True):
        [strip], [other] = alone.render([pair]), plain.render([pair])
        assert_same_in_batch(strip.frames, batched.frames)
        assert_same_in_batch(strip.objective, batched.objective)
        for neuron, end in zip(pair, (0, -1), strict=True):
            assert cosine(strip.frames[end], neuron, model) > cosine(other.frames[end], neuron, model) + 0.02


def test_portraits_and_the_frames_between_them_are_purer(model: Model) -> None:
    """The cosine of a portrait, and of the middle of a walk with the mix of both neurons, rise with the power."""
    pair, grey = PAIRS[0], np.zeros((RENDER["size_px"], RENDER["size_px"], 3), np.float32)
    canvas = Portrait(grey, np.full(grey.shape, 128, np.uint8))
    found = []
    portraits: dict[Neuron, Portrait] = {}
    for power in (0, 2):
        chosen = settings(model, power)
        renderer = PortraitRenderer(model, LAYER, portrait_settings(chosen), canvas, portraits=2)
        rendered = dict(zip(pair, renderer.render(pair), strict=True))
        portraits = portraits or {neuron: Portrait(one.colours, one.pixels) for neuron, one in rendered.items()}
        [strip] = WalkRenderer(model, pair.layers, chosen).render([Walk(pair, portraits.__getitem__)])
        of_portraits = [cosine(one.pixels.astype(np.float32) / 255, neuron, model) for neuron, one in rendered.items()]
        inner = [cosine(strip.frames[frame], neuron, model) for frame in (1, 2) for neuron in pair]
        found.append((of_portraits, inner))

    (portraits_0, inner_0), (portraits_2, inner_2) = found
    assert (np.array(portraits_2) > np.array(portraits_0) + 0.02).all()
    assert np.mean(inner_2) > np.mean(inner_0) + 0.01


# The setting ---------------------------------------------------------------------------------------------------------


def test_settings_without_a_power_are_written_as_before_the_setting_existed() -> None:
    """So keys and digests of existing atlases stay; a power is written, and read again."""
    zero, two = (RenderSettings.model_validate({"objective": {"cosine_power": power}}) for power in (0, 2))

    assert zero == RenderSettings()
    assert "objective" not in zero.model_dump(mode="json")
    assert "objective" not in zero.model_dump_json()
    assert two.model_dump(mode="json")["objective"] == {"cosine_power": 2}
    assert RenderSettings.model_validate_json(two.model_dump_json()) == two
    assert portrait_settings(two).objective == two.objective


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"render": {"objective": {"cosine_power": -1}}}, "cosine_power: expected greater than or equal to 0, got -1"),
        ({"render": {"objective": {"cosine_power": 17}}}, "cosine_power: expected less than or equal to 16, got 17"),
        ({"render": {"objective": {"power": 1}}}, "objective.power: unknown key (known: cosine_power)"),
        (
            {"render": {"objective": {"cosine_power": 2}}, "land": {"neurons": ["stem:0-7"]}},
            "cosine_power: expected 0, the default, with land, got 2; give the land an atlas of its own",
        ),
    ],
)
def test_a_wrong_power_is_refused_in_one_line(more: dict[str, Any], message: str) -> None:
    """The message has the key, what was expected and what was found; a land counts activations only."""
    with pytest.raises(SpecError) as error:
        parse_spec({"name": "a", "pairs": {"select": "all", "neurons": ["stem:0-7"]}} | more, "a.yaml")

    assert str(error.value).startswith("a.yaml: render.objective.")
    assert str(error.value).endswith(message)
