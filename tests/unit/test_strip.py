"""Small strips: traced once, reproducible, and the same in every batch."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from batch_rounding import assert_same_in_batch

from core.atlas.selection import resolve_settings
from core.method import objectives as o
from core.method.parameterization import shared_interpolation
from core.method.strip import Strip
from core.method.strip_renderer import StripRenderer
from core.method.subjects import subject_of
from core.models.model import Model
from core.neurons import Neuron, Pair
from core.spec import RenderSettings

LAYER = "block1_expand_pre_relu"  # near the image, because the time for tracing a step grows with the depth
LUCID: dict[str, Any] = {
    "schedule": "plain",
    "mix": "lucid",
    "alignment": {"layers": ["stem", "block0"], "scale": "lucid"},
}
PAIRS = [Pair.of(Neuron(LAYER, a), Neuron(LAYER, b)) for a, b in ((3, 40), (30, 70), (20, 33))]


def settings(model: Model, **changes: Any) -> RenderSettings:
    small: dict[str, Any] = {"frames": 4, "size_px": 32, "steps": 24, "alignment": {"layers": ["stem", "block0"]}}
    small["redirected_updates"] = 24  # in all updates of the ends, which is one trace less
    return resolve_settings(RenderSettings.model_validate(small | changes), model)


def render(model: Model, *pairs: Pair, strips: int = 1, **changes: Any) -> list[Strip]:
    layers = (pairs[0].a.layer, pairs[0].b.layer)
    return StripRenderer(model, layers, settings(model, **changes), strips=strips).render(pairs)


@pytest.fixture(scope="module")
def renderer(model: Model) -> StripRenderer:
    return StripRenderer(model, (LAYER, LAYER), settings(model))


@pytest.fixture(scope="module")
def alone(renderer: StripRenderer) -> list[Strip]:
    """The strips of all pairs, each rendered in a batch of one."""
    return [renderer.render([pair])[0] for pair in PAIRS]


def test_pairs_across_layers_have_strips_and_another_pair_is_not_traced_again(model: Model) -> None:
    """The two layers may differ in size.

    Three traces serve all pairs of them: ends with redirected gradients and without, and frames between.
    """
    pairs = [Pair.of(Neuron("block0", a), Neuron("block1_depthwise", b)) for a, b in ((3, 7), (11, 90))]
    renderer = StripRenderer(model, pairs[0].layers, settings(model, steps=20, redirected_updates=4))

    for pair in pairs:
        [strip] = renderer.render([pair])
        assert strip.objective[-1] > strip.objective[0]

    assert renderer.traces == 3


def test_a_pair_gives_the_same_pixels_after_another_pair(renderer: StripRenderer) -> None:
    """Another pair leaves no state in the renderer: no values, no moments of the optimizer, no random state."""
    first = renderer.render(PAIRS[:1])[0]
    renderer.render(PAIRS[1:2])
    again = renderer.render(PAIRS[:1])[0]

    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.objective, again.objective)


def test_start_values_belong_to_the_pair_and_the_seed(model: Model) -> None:
    """Another pair or another seed of the spec has other start values; the same pair and seed have the same."""
    seeds = [
        subject_of(settings(model, seed=seed), *pair).seed
        for seed, pair in ((0, PAIRS[0]), (0, PAIRS[1]), (1, PAIRS[0]))
    ]

    assert len(set(seeds)) == 3
    assert subject_of(settings(model), *PAIRS[0]).seed == seeds[0]


def test_progress_is_reported_in_updates(renderer: StripRenderer) -> None:
    """The callback is called with the number of updates done: 24 of the ends, then 15 of the frames between."""
    reported: list[int] = []

    renderer.render(PAIRS[:1], reported.append)

    assert reported == [24, 39]


@pytest.mark.parametrize("key_frames", ["symmetric", "lucid"])
def test_the_objective_is_interpolation_plus_alignment(model: Model, key_frames: Any) -> None:
    """Before the first update of a batch of pairs across layers, each has the value of its objective alone.

    The two layers differ in size, and the updates raise the objective.
    """
    pairs = [Pair.of(Neuron("block0", a), Neuron("block1_depthwise", b)) for a, b in ((3, 7), (11, 90))]
    changes: dict[str, Any] = LUCID | {"key_frames": key_frames, "transforms": "none", "steps": 8}
    changes |= {"alignment": {"layers": ["stem", "block0"], "scale": "lucid", "weight": 0.7, "decay": 3}}
    batch = render(model, *pairs, strips=2, redirected_updates=0, **changes)

    for pair, strip in zip(pairs, batch, strict=True):
        seed = subject_of(settings(model, **changes), *pair).seed
        start = shared_interpolation(4, 32, key_frames=key_frames, seed=seed)
        objective = o.channel_interpolate(*pair.a, *pair.b) + 0.7 * (o.alignment("stem", 3) + o.alignment("block0", 3))
        found = model.activations(start(), objective.layers)

        assert strip.objective[0] == pytest.approx(float(objective(found.__getitem__)), rel=1e-4)
        assert strip.objective[-1] > strip.objective[0]


def strip_of(objective: list[float], frame: float = 0.5) -> Strip:
    """Return a strip with a history of the objective and three different frames, the last filled with *frame*."""
    frames = np.zeros((3, 2, 2, 3), np.float32)
    frames[1], frames[2] = 0.25, frame
    return Strip(
        frames=frames,
        objective=np.array(objective, np.float32),
        activation_a=np.array([3, 2, 1], np.float32),
        activation_b=np.array([0, 5, 7], np.float32),
        neighbour_distance=np.array([1, 2], np.float32),
        layer_distance={"block1": np.array([3, 4], np.float32)},
        steps=np.array([0.5, 0.6], np.float32),
        noise=(0.5, 0.25),
        checkpoints={2: frames / 2},
        seconds=1.0,
    )


def test_a_strip_backwards_runs_from_b_to_a() -> None:
    """Frames, activations, distances and checkpoints are reversed; the history of the objective is not."""
    strip = strip_of([1, 2, 3])
    turned = strip.backwards()

    np.testing.assert_array_equal(turned.frames, strip.frames[[2, 1, 0]])
    assert turned.activation_a.tolist() == [7, 5, 0]
    assert turned.activation_b.tolist() == [1, 2, 3]
    assert turned.neighbour_distance.tolist() == [2, 1]
    assert turned.layer_distance["block1"].tolist() == [4, 3]
    assert turned.steps.tolist() == strip.steps.tolist()[::-1]
    assert turned.noise == (0.25, 0.5)
    assert turned.crossing == pytest.approx(1 - strip.crossing)
    assert turned.pace == strip.pace
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
        ([1, 2, 3], np.nan, 3),  # the last update made the frames nan
    ],
)
def test_a_strip_failed_at_its_first_update_that_is_not_finite(
    objective: list[float], frame: float, failed_at: int | None
) -> None:
    """Updates count from 1; frames that are not finite are a failure of the last update."""
    assert strip_of(objective, frame).failed_at == failed_at


def test_strips_have_contrast_and_their_objective_rises(alone: list[Strip]) -> None:
    """Frames lie in [0, 1] and have contrast, the objective rises by over 1, and four frames have three distances."""
    strip = alone[0]

    assert strip.frames.shape == (4, 32, 32, 3)
    assert strip.frames.dtype == np.float32
    assert 0 <= strip.frames.min() < 0.2 < 0.8 < strip.frames.max() <= 1
    assert strip.objective.shape == (24 + 15,)
    assert strip.objective[23] > strip.objective[0] + 1
    assert strip.neighbour_distance.shape == (3,)
    assert strip.failed_at is None


def test_each_neuron_is_strongest_at_its_own_end(alone: list[Strip]) -> None:
    """Neuron a is more active in the first frame than in the last, and neuron b in the last than in the first."""
    for strip in alone:
        assert strip.activation_a[0] > strip.activation_a[-1]
        assert strip.activation_b[-1] > strip.activation_b[0]


def test_strips_do_not_depend_on_their_batch(model: Model, alone: list[Strip]) -> None:
    """Three pairs in a batch of four give the same pixels as each alone, in any place of the batch."""
    together = StripRenderer(model, (LAYER, LAYER), settings(model), strips=4)
    strips = together.render(PAIRS)
    turned = together.render(PAIRS[::-1])[::-1]

    assert len(strips) == 3
    for strip, *others in zip(strips, alone, turned, strict=True):
        for other in others:
            assert_same_in_batch(strip.frames, other.frames)
            assert_same_in_batch(strip.activation_a, other.activation_a)


def test_the_ends_do_not_depend_on_the_number_of_frames_between(model: Model, alone: list[Strip]) -> None:
    """The ends of a strip are finished before the frames between them begin, so more frames leave them as they are."""
    frames = 7

    [strip] = render(model, PAIRS[0], frames=frames)

    assert len(strip.frames) == frames
    for end in (0, -1):
        np.testing.assert_array_equal(strip.frames[end], alone[0].frames[end])
    np.testing.assert_allclose(strip.objective[:24] / frames, alone[0].objective[:24] / 4, rtol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        # all updates of the ends with redirected gradients, and of the frames between without: one trace less
        {"frames": 6, "size_px": 128, "steps": 4, "redirected_updates": 4, "alignment": {}},
        {"frames": 3, "size_px": 37, "steps": 4, "redirected_updates": 0},
    ],
)
def test_a_strip_of_standard_or_odd_size_does_not_depend_on_its_batch(model: Model, changes: Any) -> None:
    """A CPU gives the same bits, although TensorFlow folds constants and computes the last values of a tensor alone."""
    batch = render(model, *PAIRS[:2], strips=2, **changes)
    alone = StripRenderer(model, (LAYER, LAYER), settings(model, **changes))

    for pair, strip in zip(PAIRS[:2], batch, strict=True):
        [other] = alone.render([pair])
        assert_same_in_batch(strip.frames, other.frames)
        assert_same_in_batch(strip.objective, other.objective)


def test_the_layer_of_a_pair_can_be_aligned_before_its_relu(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both come from the same convolution: alignment sees all its channels, and the pairs need only their own."""
    target = LAYER.removesuffix("_pre_relu")
    pairs = [Pair.of(Neuron(target, a), Neuron(target, b)) for a, b in ((3, 5), (7, 9))]
    # without frames between the ends, which would be traced too
    aligned = {"frames": 2, "steps": 2, "redirected_updates": 0, "alignment": {"layers": [LAYER], "weight": 1.0}}
    selected = render(model, *pairs, strips=2, **aligned)
    monkeypatch.setattr(type(model), "can_select_channels", lambda *_: False)
    whole = render(model, *pairs, strips=2, **aligned)

    for strip, expected in zip(selected, whole, strict=True):
        np.testing.assert_allclose(strip.objective, expected.objective, rtol=1e-5)


def test_pairs_of_logits_have_strips(model: Model) -> None:
    """A layer needs no positions."""
    cat_and_cup = Pair.of(Neuron("logits", 282), Neuron("logits", 967))
    small: dict[str, Any] = {"frames": 2, "transforms": "none", "alignment": {"weight": 0}}
    classes = render(model, cat_and_cup, steps=6, redirected_updates=0, **small)[0]

    assert classes.objective[-1] > classes.objective[0]


def test_sharing_and_alignment_bring_neighbours_closer(model: Model, alone: list[Strip]) -> None:
    """Independent frames differ most, frames that share their parameterization less, aligned frames least."""
    without: dict[str, Any] = {"alignment": {"weight": 0}}
    independent, shared = (render(model, PAIRS[0], **without, **change)[0] for change in ({"sharing": False}, {}))

    distances = [strip.neighbour_distance.mean() for strip in (alone[0], shared, independent)]
    assert distances[0] < distances[1] < distances[2], distances


def test_a_checkpoint_is_the_strip_after_that_number_of_updates(model: Model) -> None:
    """The frames kept after 8 of 20 updates equal those of a strip with 8 updates, to the last bit."""
    pair = Pair.of(Neuron("stem_pre_relu", 3), Neuron("stem_pre_relu", 17))
    small: dict[str, Any] = {"schedule": "plain", "redirected_updates": 0, "alignment": {"weight": 0}}
    kept = render(model, pair, steps=20, checkpoints=[8, 3], **small)[0]

    assert list(kept.checkpoints) == [3, 8]
    for step, frames in kept.checkpoints.items():
        np.testing.assert_array_equal(frames, render(model, pair, steps=step, **small)[0].frames)


def test_distances_and_activations_are_measured_on_the_finished_frames(model: Model, alone: list[Strip]) -> None:
    """Neighbour distances in pixels and in the alignment layers, and activations, agree with NumPy on the frames."""
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


def test_without_transforms_the_model_sees_the_frames_themselves(model: Model, alone: list[Strip]) -> None:
    """`transforms: none` gives other pixels than the standard views, and a higher objective."""
    plain = render(model, PAIRS[0], transforms="none")[0]

    assert not np.array_equal(plain.frames, alone[0].frames)
    assert plain.objective[-1] > alone[0].objective[-1]


class Breaking:
    """The real model, but if the first strip of a batch has much contrast, its activations are nan.

    Both attributes are variables, because they change between calls of the traced function.

    Attributes:
        contrast: more than this is much.
        diverges: whether the gradients of the first strip are nan too, so that the update makes its pixels nan.
    """

    def __init__(self, model: Model) -> None:
        self.contrast = tf.Variable(1.0)
        self.diverges = tf.Variable(False)
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def activations(self, images: tf.Tensor, layers: Collection[str], **wanted: Any) -> dict[str, tf.Tensor]:
        found = self._model.activations(images, layers, **wanted)
        first_strip = tf.reshape(tf.range(images.shape[0]) < images.shape[0] // 2, (-1, 1, 1, 1))
        much_contrast = tf.math.reduce_std(images[: images.shape[0] // 2]) > self.contrast
        broken = first_strip & much_contrast
        with_gradient, without = broken & self.diverges, broken & ~self.diverges
        return {name: tf.where(without, np.nan, t * tf.where(with_gradient, np.nan, 1.0)) for name, t in found.items()}


@pytest.mark.parametrize("changes", [{}, LUCID], ids=["ends first", "all frames at once"])
def test_a_failed_strip_does_not_affect_the_other_strips_of_its_batch(model: Model, changes: dict[str, Any]) -> None:
    """The update at which a strip's objective became nan is known, and the strip beside it keeps its pixels.

    This holds whether or not the gradients of the failed strip, and so its pixels, become nan too.
    """
    breaking = Breaking(model)
    # No image has more contrast than the limit is at first: the renderer needs the activations of random images.
    renderer = StripRenderer(breaking, (LAYER, LAYER), settings(model, redirected_updates=0, **changes), strips=2)
    unbroken, undisturbed = renderer.render(PAIRS[:2])
    assert unbroken.failed_at is None

    breaking.contrast.assign(0.15)
    for diverges in (False, True):
        breaking.diverges.assign(diverges)
        broken, sound = renderer.render(PAIRS[:2])
        assert broken.failed_at is not None
        assert 1 < broken.failed_at <= 24
        assert np.isfinite(broken.objective[: broken.failed_at - 1]).all()
        assert np.isnan(broken.frames).any() or not diverges
        assert sound.failed_at is None
        np.testing.assert_array_equal(sound.frames, undisturbed.frames)
