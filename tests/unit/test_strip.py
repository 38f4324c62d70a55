"""Strips on the fast path, small: traced once, reproducible, packed without mixing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from core.atlas.selection import resolve_settings
from core.method import objectives as o
from core.method.parameterization import shared_interpolation
from core.method.strip import Strip, StripRenderer, pair_seed
from core.models.models import Model
from core.neurons import Neuron, Pair
from core.spec import Alignment, RenderSettings

LAYER = "block1_expand_pre_relu"  # near the image: what a step costs to trace grows with the depth
PAIRS = [Pair.of(Neuron(LAYER, a), Neuron(LAYER, b)) for a, b in ((3, 40), (30, 70), (20, 33))]


def settings(model: Model, **changes: Any) -> RenderSettings:
    small = {"frames": 4, "size_px": 32, "steps": 24, "alignment": {"layers": ["stem", "block0"]}}
    return resolve_settings(RenderSettings.model_validate(small | changes), model)


def render(model: Model, *pairs: Pair, strips: int = 1, **changes: Any) -> list[Strip]:
    layers = (pairs[0].a.layer, pairs[0].b.layer)
    return StripRenderer(model, layers, settings(model, **changes), strips=strips).render(pairs)


@pytest.fixture(scope="module")
def renderer(model: Model) -> StripRenderer:
    return StripRenderer(model, (LAYER, LAYER), settings(model))


@pytest.fixture(scope="module")
def alone(renderer: StripRenderer) -> list[Strip]:
    """The strips of all pairs, each rendered by itself."""
    return [renderer.render([pair])[0] for pair in PAIRS]


def test_a_second_pair_of_the_same_layers_is_not_traced_again(renderer: StripRenderer) -> None:
    """The channels are tensors: what was traced with redirected gradients and without serves every pair."""
    renderer.render(PAIRS[:1])
    renderer.render(PAIRS[1:2])

    assert renderer.traces == 2


def test_the_same_pair_gives_the_same_pixels_whatever_was_rendered_between(renderer: StripRenderer) -> None:
    """Nothing is left behind by another pair: no value, no moment of the optimiser, no random state."""
    first = renderer.render(PAIRS[:1])[0]
    renderer.render(PAIRS[1:2])
    again = renderer.render(PAIRS[:1])[0]

    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.objective, again.objective)


def test_start_values_belong_to_the_pair_and_the_seed(model: Model) -> None:
    """Another pair or another seed of the spec draws other numbers, and the same ones draw the same."""
    seeds = [
        pair_seed(settings(model, seed=seed), pair) for seed, pair in ((0, PAIRS[0]), (0, PAIRS[1]), (1, PAIRS[0]))
    ]

    assert len(set(seeds)) == 3
    assert pair_seed(settings(model), PAIRS[0]) == seeds[0]


def test_progress_is_told_in_updates(renderer: StripRenderer) -> None:
    """The callback hears of the last update, and of no more than there are."""
    told: list[int] = []

    renderer.render(PAIRS[:1], told.append)

    assert told == [24]


@pytest.mark.parametrize("key_frames", ["symmetric", "lucid"])
def test_the_objective_is_interpolation_plus_alignment(model: Model, key_frames: Any) -> None:
    """Before the first update, of packed pairs across layers, it is what the objectives themselves give each alone.

    The two layers differ in size, and the updates raise the objective.
    """
    pairs = [Pair.of(Neuron("block0", a), Neuron("block1_depthwise", b)) for a, b in ((3, 7), (11, 90))]
    weighted = {"layers": ["stem", "block0"], "weight": 0.7, "decay": 3}
    changes: dict[str, Any] = {"key_frames": key_frames, "alignment": weighted, "transforms": "none", "steps": 8}
    packed = render(model, *pairs, strips=2, redirected_updates=0, **changes)

    for pair, strip in zip(pairs, packed, strict=True):
        start = shared_interpolation(4, 32, key_frames=key_frames, seed=pair_seed(settings(model, **changes), pair))
        objective = o.channel_interpolate(*pair.a, *pair.b) + 0.7 * (o.alignment("stem", 3) + o.alignment("block0", 3))
        found = model.activations(start(), objective.layers)

        assert strip.objective[0] == pytest.approx(float(objective(found.__getitem__)), rel=1e-4)
        assert strip.objective[-1] > strip.objective[0]


def strip_of(objective: list[float], frame: float = 0.5) -> Strip:
    """A strip of three frames that differ, the last of some value, with this course of the objective."""
    frames = np.zeros((3, 2, 2, 3), np.float32)
    frames[1], frames[2] = 0.25, frame
    return Strip(
        frames=frames,
        objective=np.array(objective, np.float32),
        activation_a=np.array([3, 2, 1], np.float32),
        activation_b=np.array([0, 5, 7], np.float32),
        neighbour_distance=np.array([1, 2], np.float32),
        layer_distance={"block1": np.array([3, 4], np.float32)},
        checkpoints={2: frames / 2},
        seconds=1.0,
    )


def test_a_strip_backwards_has_everything_turned_round() -> None:
    """Frames, activations, distances and checkpoints run from b to a; the course of the objective stays."""
    strip = strip_of([1, 2, 3])
    turned = strip.backwards()

    np.testing.assert_array_equal(turned.frames, strip.frames[[2, 1, 0]])
    assert turned.activation_a.tolist() == [7, 5, 0]
    assert turned.activation_b.tolist() == [1, 2, 3]
    assert turned.neighbour_distance.tolist() == [2, 1]
    assert turned.layer_distance["block1"].tolist() == [4, 3]
    np.testing.assert_array_equal(turned.checkpoints[2], strip.checkpoints[2][[2, 1, 0]])
    assert turned.objective.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(turned.backwards().frames, strip.frames)


@pytest.mark.parametrize(
    ("objective", "frame", "failed_at"),
    [
        ([1, 2, 3], 0.5, None),
        ([1, np.nan, np.nan], 0.5, 2),
        ([np.nan, 1, 2], 0.5, 1),
        ([1, 2, -np.inf], 0.5, 3),
        ([1, 2, 3], np.nan, 3),  # the last update itself broke the frames
    ],
)
def test_a_strip_failed_at_the_first_update_that_was_no_number(
    objective: list[float], frame: float, failed_at: int | None
) -> None:
    """Updates count from 1, and frames that are no numbers are a failure of the last."""
    assert strip_of(objective, frame).failed_at == failed_at


def test_strips_are_pictures_whose_objective_rose(alone: list[Strip]) -> None:
    """Frames lie in [0, 1] and have contrast; the objective ends far above its start; there is a distance less than
    frames."""
    strip = alone[0]

    assert strip.frames.shape == (4, 32, 32, 3)
    assert strip.frames.dtype == np.float32
    assert 0 <= strip.frames.min() < 0.2 < 0.8 < strip.frames.max() <= 1
    assert strip.objective.shape == (24,)
    assert strip.objective[-1] > strip.objective[0] + 1
    assert strip.neighbour_distance.shape == (3,)
    assert strip.failed_at is None


def test_each_neuron_is_strongest_at_its_own_end(alone: list[Strip]) -> None:
    """The first frame excites a more than the last does, and the last excites b more than the first does."""
    for strip in alone:
        assert strip.activation_a[0] > strip.activation_a[-1]
        assert strip.activation_b[-1] > strip.activation_b[0]


def test_packed_strips_do_not_mix(model: Model, alone: list[Strip]) -> None:
    """Three pairs in one batch of four look as each does alone, in whichever place of the batch they lie."""
    packed = StripRenderer(model, (LAYER, LAYER), settings(model), strips=4)
    strips = packed.render(PAIRS)
    turned = packed.render(PAIRS[::-1])[::-1]

    assert len(strips) == 3
    for strip, *others in zip(strips, alone, turned, strict=True):
        for other in others:
            np.testing.assert_array_equal(strip.frames, other.frames)
            np.testing.assert_array_equal(strip.activation_a, other.activation_a)


def test_a_packed_strip_of_standard_size_is_the_strip_alone(model: Model) -> None:
    """To the last bit on a CPU: how TensorFlow joins constants must not depend on how large the batch is."""
    standard = {"frames": 6, "size_px": 128, "steps": 4, "redirected_updates": 0, "alignment": {}}
    packed = render(model, *PAIRS[:2], strips=2, **standard)
    alone = StripRenderer(model, (LAYER, LAYER), settings(model, **standard))

    for pair, strip in zip(PAIRS[:2], packed, strict=True):
        [other] = alone.render([pair])
        np.testing.assert_array_equal(strip.frames, other.frames)
        np.testing.assert_array_equal(strip.objective, other.objective)


def test_a_layer_may_be_aligned_before_its_relu(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is the same convolution, of which alignment needs all channels, not only those of the pairs."""
    target = LAYER.removesuffix("_pre_relu")
    pairs = [Pair.of(Neuron(target, a), Neuron(target, b)) for a, b in ((3, 5), (7, 9))]
    aligned = {"steps": 2, "redirected_updates": 0, "alignment": {"layers": [LAYER], "weight": 1.0}}
    packed = render(model, *pairs, strips=2, **aligned)
    monkeypatch.setattr(type(model), "can_select_channels", lambda *_: False)
    whole = render(model, *pairs, strips=2, **aligned)

    for strip, expected in zip(packed, whole, strict=True):
        np.testing.assert_allclose(strip.objective, expected.objective, rtol=1e-5)


def test_neurons_of_the_logits_have_strips_too(model: Model) -> None:
    """A layer needs no positions."""
    cat_and_cup = Pair.of(Neuron("logits", 282), Neuron("logits", 967))
    small: dict[str, Any] = {"frames": 2, "transforms": "none", "alignment": {"weight": 0}}
    classes = render(model, cat_and_cup, steps=6, redirected_updates=0, **small)[0]

    assert classes.objective[-1] > classes.objective[0]


def test_sharing_and_alignment_bring_neighbours_closer(model: Model) -> None:
    """Independent frames differ most, shared ones less, aligned ones least."""
    independent, shared, aligned = (
        render(model, PAIRS[0], steps=48, redirected_updates=0, **change)[0].neighbour_distance.mean()
        for change in (
            {"sharing": False, "alignment": Alignment(weight=0)},
            {"alignment": Alignment(weight=0)},
            {"alignment": Alignment(layers=("stem", "block0"), weight=1.0)},
        )
    )

    assert aligned < shared < independent


def test_a_checkpoint_is_the_strip_that_fewer_updates_give(model: Model) -> None:
    """The frames kept after eight of twenty updates are those of a strip with eight, to the last bit."""
    pair = Pair.of(Neuron("stem_pre_relu", 3), Neuron("stem_pre_relu", 17))
    small: dict[str, Any] = {"frames": 2, "redirected_updates": 0, "alignment": {"weight": 0}}
    kept = render(model, pair, steps=20, checkpoints=[8, 3], **small)[0]

    assert list(kept.checkpoints) == [3, 8]
    for step, frames in kept.checkpoints.items():
        np.testing.assert_array_equal(frames, render(model, pair, steps=step, **small)[0].frames)


def test_distances_are_those_of_the_finished_frames(model: Model, alone: list[Strip]) -> None:
    """Neighbour distances in pixels and in the alignment layers agree with NumPy's of the frames themselves."""
    strip = alone[0]
    found = model.activations(tf.constant(strip.frames), ["stem", "block0", LAYER])

    def distance(t: Any) -> Any:
        return (np.diff(np.asarray(t, np.float64), axis=0) ** 2).mean(axis=(1, 2, 3))

    np.testing.assert_allclose(strip.neighbour_distance, distance(strip.frames), rtol=1e-4)
    assert list(strip.layer_distance) == ["stem", "block0"]
    for layer, distances in strip.layer_distance.items():
        np.testing.assert_allclose(distances, distance(found[layer]), rtol=1e-3)
    for activation, neuron in zip((strip.activation_a, strip.activation_b), PAIRS[0], strict=True):
        expected = np.asarray(found[LAYER], np.float64)[..., neuron.channel].mean(axis=(1, 2))
        np.testing.assert_allclose(activation, expected, rtol=1e-3, atol=1e-3)


def test_without_transforms_the_frames_are_seen_as_they_are(model: Model, alone: list[Strip]) -> None:
    """`transforms: none` gives other pixels than the standard views, and a higher objective on what it sees."""
    plain = render(model, PAIRS[0], transforms="none")[0]

    assert not np.array_equal(plain.frames, alone[0].frames)
    assert plain.objective[-1] > alone[0].objective[-1]


class Breaking:
    """The real model, except that what it makes of a first strip with much contrast is not a number.

    Its gradients are numbers, or, if it *diverges*, are not either, which spoils the strip's pixels with the update.
    """

    def __init__(self, model: Model, *, diverges: bool) -> None:
        self.contrast = tf.Variable(0.15)  # a variable, so that it changes without another trace
        self._model = model
        self._diverges = diverges

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def activations(self, images: tf.Tensor, layers: Collection[str], **wanted: Any) -> dict[str, tf.Tensor]:
        found = self._model.activations(images, layers, **wanted)
        first_strip = tf.reshape(tf.range(images.shape[0]) < images.shape[0] // 2, (-1, 1, 1, 1))
        contrasty = tf.math.reduce_std(images[: images.shape[0] // 2]) > self.contrast
        broken = first_strip & contrasty
        if self._diverges:
            return {name: t * tf.where(broken, np.nan, 1.0) for name, t in found.items()}
        return {name: tf.where(broken, np.nan, t) for name, t in found.items()}


@pytest.mark.parametrize("diverges", [False, True])
def test_a_strip_that_breaks_is_told_apart_from_its_neighbour(model: Model, diverges: bool) -> None:
    """When one strip's objective stops being a number, its update is known and the strip beside it knows nothing."""
    breaking = Breaking(model, diverges=diverges)
    renderer = StripRenderer(breaking, (LAYER, LAYER), settings(model, redirected_updates=0), strips=2)

    broken, sound = renderer.render(PAIRS[:2])
    breaking.contrast.assign(1.0)  # more than any image has
    unbroken, undisturbed = renderer.render(PAIRS[:2])

    assert broken.failed_at is not None
    assert 1 < broken.failed_at <= 24
    assert np.isfinite(broken.objective[: broken.failed_at - 1]).all()
    assert np.isnan(broken.frames).any() == diverges
    assert unbroken.failed_at is None
    assert sound.failed_at is None
    np.testing.assert_array_equal(sound.frames, undisturbed.frames)
