"""The mix of two neurons: balance, even pace, alignment in units of the network, and neurons that nothing excites."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from core.arrays import Array
from core.atlas.selection import resolve_settings
from core.method.alignment import long_steps, relative_steps, variation, weighted_alignment
from core.method.between import BetweenRenderer
from core.method.ends import EndsRenderer
from core.method.mix import Mix, evenly_spaced
from core.method.noise import noise_levels
from core.method.objectives import alignment_factor
from core.method.strip import Strip
from core.method.strip_renderer import StripRenderer
from core.method.subjects import subject_of
from core.models.model import Model
from core.neurons import Neuron, Pair
from core.spec import Alignment, RenderSettings

LAYER = "block1_expand_pre_relu"
PAIR = Pair.of(Neuron(LAYER, 3), Neuron(LAYER, 40))
STEPS = 24
DEEP = "block9_expand_pre_relu"  # has channels with weights of nearly zero


def settings(model: Model, **changes: Any) -> RenderSettings:
    small: dict[str, Any] = {"frames": 4, "size_px": 32, "steps": STEPS, "alignment": {"layers": ["stem", "block0"]}}
    small["redirected_updates"] = STEPS  # in all updates of the ends, which is one trace less
    return resolve_settings(RenderSettings.model_validate(small | changes), model)


# The shares of frames ------------------------------------------------------------------------------------------------


def strips_with_steps(seed: int) -> tuple[Array, Array]:
    """Return rising shares of three strips of six frames, and squared steps between the frames."""
    random = np.random.default_rng(seed)
    inner = np.sort(random.uniform(size=(3, 4)), axis=1)
    shares = np.concatenate([np.zeros((3, 1)), inner, np.ones((3, 1))], axis=1).astype(np.float32)
    return shares, random.uniform(0.01, 3, size=(3, 5)).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_shares_move_to_equal_distances_along_the_strip(seed: int) -> None:
    """They are those that NumPy interpolates at equal distances, and both ends stay."""
    shares, steps = strips_with_steps(seed)

    found = evenly_spaced(tf.constant(shares), tf.constant(steps)).numpy()

    for strip, (share, step) in enumerate(zip(shares, steps, strict=True)):
        places = np.concatenate([[0], np.cumsum(np.sqrt(step))])
        expected = np.interp(np.linspace(0, places[-1], 6), places, share)
        np.testing.assert_allclose(found[strip], expected, atol=1e-5)
        np.testing.assert_array_equal(found[strip, [0, -1]], [0, 1])


def test_shares_of_a_strip_from_b_to_a_are_those_from_a_to_b() -> None:
    """A strip that is read from its other end moves in the same way."""
    shares, steps = strips_with_steps(7)

    there = evenly_spaced(tf.constant(shares), tf.constant(steps))
    back = evenly_spaced(tf.constant(1 - shares[:, ::-1]), tf.constant(steps[:, ::-1]))

    np.testing.assert_allclose(back, 1 - there.numpy()[:, ::-1], atol=1e-6)


@pytest.mark.parametrize("step", [0.0, 1e-12, 1.0, 1e12])
def test_equal_steps_leave_the_shares(step: float) -> None:
    """Steps of zero are equal steps too: frames that are all equal do not move."""
    shares, steps = strips_with_steps(1)

    np.testing.assert_allclose(
        evenly_spaced(tf.constant(shares), tf.constant(np.full_like(steps, step))), shares, atol=1e-6
    )


@pytest.mark.parametrize("place", range(5))
def test_a_step_of_zero_gives_finite_shares(place: int) -> None:
    """Two equal frames move apart; shares stay in order from 0 to 1."""
    shares, steps = strips_with_steps(2)
    steps[:, place] = 0

    found = evenly_spaced(tf.constant(shares), tf.constant(steps)).numpy()

    assert np.isfinite(found).all()
    assert (np.diff(found, axis=1) > 0).all()
    assert found.min() == 0
    assert found.max() == 1


# Balance -------------------------------------------------------------------------------------------------------------


def mix_of(model: Model, strips: int, **changes: Any) -> Mix:
    return Mix(model, PAIR.layers, settings(model, **changes), strips)


def test_both_neurons_gain_equally_after_balancing(model: Model) -> None:
    """Gains over the mean on noise, times the factors, are equal; neurons with equal gains keep their activations."""
    channels = tf.constant([[3, 40], [30, 70], [20, 33]])
    mean = np.take(noise_levels(model, {LAYER}, 32)[LAYER].mean, channels.numpy())
    highest = mix_of(model, 3).noise(channels).numpy()
    gains = highest - mean + np.array([[1, 9], [20, 0.5], [0, 0]], np.float32)
    gains[2] = gains[2].max() + 1

    factors, unit = mix_of(model, 3).balance(tf.constant(mean + gains, tf.float32), channels)

    gained = factors * gains
    np.testing.assert_allclose(gained[:, 0], gained[:, 1], rtol=1e-4)
    np.testing.assert_allclose(unit, 2 / (1 / gains).sum(axis=1), rtol=1e-4)  # the harmonic mean
    np.testing.assert_allclose(factors[2], 1, rtol=1e-4)


def test_a_strip_with_a_dead_neuron_is_not_balanced(model: Model) -> None:
    """If a neuron reaches no more than noise gives, both count as they are; other strips are balanced."""
    channels = tf.constant([[3, 40], [3, 40], [3, 40]])
    mix = mix_of(model, 3)
    noise = mix.noise(channels).numpy()
    reached = noise + np.array([[0, 9], [9, -1], [1, 9]], np.float32)

    factors, unit = mix.balance(tf.constant(reached), channels)

    np.testing.assert_array_equal(factors[:2], 1)
    assert factors[2, 0] > 1 > factors[2, 1]
    assert np.isfinite(unit).all()
    assert min(unit) > 0


def test_the_mix_of_lucid_takes_activations_as_they_are(model: Model) -> None:
    """All factors are 1, and its shares are in equal steps and do not move."""
    channels = tf.constant([[3, 40]])
    mix = mix_of(model, 1, mix="lucid")
    reached = mix.noise(channels) + tf.constant([[1.0, 9.0]])

    assert not mix.moves
    np.testing.assert_array_equal(mix.balance(reached, channels).factors, 1)
    np.testing.assert_allclose(mix.shares, [[0, 1 / 3, 2 / 3, 1]], rtol=1e-6)


# Alignment -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 3, 5, 4, 7), (2, 3, 7)])
def test_variation_is_the_variance_over_positions_or_over_channels(shape: tuple[int, ...]) -> None:
    """NumPy finds the same; a layer without positions has the variance over its channels."""
    t = np.random.default_rng(0).normal(3, 2, size=shape).astype(np.float32)
    axes = (2, 3) if len(shape) == 5 else (2,)

    np.testing.assert_allclose(variation(tf.constant(t)), t.var(axis=axes).reshape(2, -1).mean(axis=1), rtol=1e-5)


def test_the_steps_of_unrelated_frames_are_two() -> None:
    """In any layer, whatever its unit, unrelated frames differ by twice the variation; equal frames by nothing."""
    random = np.random.default_rng(0)
    layers = [tf.constant(scale * random.normal(size=(1, 3, 32, 32, 8)), tf.float32) for scale in (1e-3, 1, 1e3)]

    np.testing.assert_allclose(relative_steps(layers), 2, rtol=0.03)
    np.testing.assert_array_equal(relative_steps([tf.ones((1, 3, 4, 4, 2))]), 0)


def test_relative_alignment_does_not_depend_on_the_unit_of_a_layer() -> None:
    """Activations times 1000 cost the same share of the gain; in Lucid's scale they cost a million times as much."""
    layers = [tf.constant(np.random.default_rng(seed).normal(size=(2, 4, 5, 5, 3)), tf.float32) for seed in range(2)]
    large = [1000 * layers[0], layers[1]]
    factor, unit = alignment_factor(4, 5.0), tf.constant([1.0, 8.0])
    relative, lucid = (RenderSettings(alignment=Alignment(scale=scale)) for scale in ("relative", "lucid"))

    cost = weighted_alignment(layers, factor, relative, unit)
    assert (cost.numpy() < 0).all()
    np.testing.assert_allclose(weighted_alignment(large, factor, relative, unit), cost, rtol=1e-4)
    np.testing.assert_allclose(weighted_alignment(layers, factor, relative, 3 * unit), 3 * cost, rtol=1e-6)
    costs = [weighted_alignment([each], factor, lucid, unit) for each in (layers[0], large[0])]
    np.testing.assert_allclose(costs[1], 1e6 * costs[0], rtol=1e-4)


class Scaled:
    """The real model, but activations in some layers are 1024 times as large, which rounds nothing."""

    def __init__(self, model: Model, layers: Collection[str]) -> None:
        self._model, self._scaled = model, layers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def activations(self, images: tf.Tensor, layers: Collection[str], **wanted: Any) -> dict[str, tf.Tensor]:
        found = self._model.activations(images, layers, **wanted)
        return {name: 1024 * t if name in self._scaled else t for name, t in found.items()}


@pytest.fixture(scope="module")
def strip(model: Model) -> Strip:
    [strip] = StripRenderer(model, PAIR.layers, settings(model)).render([PAIR])
    return strip


def test_a_network_with_large_activations_has_the_same_strips(model: Model, strip: Strip) -> None:
    """If the activations in the alignment layers are 1024 times as large, default settings mean the same."""
    large = Scaled(model, ("stem", "block0"))

    [other] = StripRenderer(large, PAIR.layers, settings(model)).render([PAIR])

    np.testing.assert_allclose(other.frames, strip.frames, atol=1e-4)
    np.testing.assert_allclose(other.steps, strip.steps, rtol=1e-3)


# Strips --------------------------------------------------------------------------------------------------------------


def test_balanced_strips_have_a_more_even_pace_than_those_of_lucids_mix(model: Model) -> None:
    """Between the same ends, the shares have moved, rise from 0 to 1, and the steps differ less."""
    pace = {}
    for kind in ("lucid", "balanced"):
        chosen = settings(model, frames=6, mix=kind)
        mix = Mix(model, PAIR.layers, chosen, 1)
        subject = subject_of(chosen, *PAIR)
        if kind == "lucid":
            renderer = EndsRenderer(model, PAIR.layers, chosen, mix, strips=1, checkpoints=())
            [ends] = renderer.render([subject], lambda updates: None)
        between = BetweenRenderer(model, PAIR.layers, chosen, mix, strips=1, checkpoints=())
        [strip] = between.render([subject], [ends.portraits])
        pace[kind] = strip.pace

    [shares] = mix.shares.numpy()
    assert shares[0] == 0
    assert shares[-1] == 1
    assert (np.diff(shares) > 0).all()
    assert np.abs(shares - np.linspace(0, 1, 6)).max() > 0.01
    assert pace["balanced"] < 0.8 * pace["lucid"]


class Still(Mix):
    """A mix whose shares stay in equal steps, so that a strip's frames are those that its objective is about."""

    def move(self, steps: tf.Tensor) -> None:
        pass


def test_the_objective_between_two_ends_is_the_balanced_mix_plus_relative_alignment(model: Model) -> None:
    """NumPy finds the same number on the frames themselves, which the update, at a tiny rate, leaves as they are.

    The first update compares the inner frames with the end of a, and counts these differences twice.
    """
    aligned = {"layers": ["stem", "block0"], "weight": 0.7, "decay": 3}
    chosen = settings(model, steps=1, transforms="none", learning_rate=1e-9, alignment=aligned)
    mix = Still(model, PAIR.layers, chosen, 1)
    subject = subject_of(chosen, *PAIR)
    ends = EndsRenderer(model, PAIR.layers, settings(model), mix, strips=1, checkpoints=())
    [portraits] = [each.portraits for each in ends.render([subject], lambda updates: None)]

    between = BetweenRenderer(model, PAIR.layers, chosen, mix, strips=1, checkpoints=())
    [strip] = between.render([subject], [portraits])

    found = {name: t.numpy() for name, t in model.activations(strip.frames, {LAYER, "stem", "block0"}).items()}
    a, b = (found[LAYER][..., neuron.channel].mean(axis=(1, 2)) for neuron in PAIR)
    mean = noise_levels(model, {LAYER}, 32)[LAYER].mean
    gain_a, gain_b = a[0] - mean[PAIR.a.channel], b[-1] - mean[PAIR.b.channel]
    balanced = [(1 - w) * 2 * gain_b * a[i] + w * 2 * gain_a * b[i] for i, w in ((1, 1 / 3), (2, 2 / 3))]
    cost = 0.0
    for t in (found["stem"][:3], found["block0"][:3]):
        apart = {(0, 1): 2 / 3, (0, 2): 2 / 9, (1, 2): 1 / 3}  # weight of every two of the first three frames
        differences = sum(weight * ((t[i] - t[j]) ** 2).mean() for (i, j), weight in apart.items())
        cost += differences / t.var(axis=(1, 2)).mean()
    steps = np.mean(
        [
            [((t[i + 1] - t[i]) ** 2).mean() / t.var(axis=(1, 2)).mean() for i in range(2)]
            for t in (found["stem"][:3], found["block0"][:3])
        ],
        axis=0,
    )
    excess = np.maximum(steps / steps.mean() - 1, 0) @ steps  # long steps cost four times their excess
    gained = 2 * gain_a * gain_b / (gain_a + gain_b)
    expected = sum(balanced) / (gain_a + gain_b) - (0.7 * cost / 2 + 4 * 0.7 / 3 * excess) * gained
    assert min(gain_a, gain_b) > 0.5
    assert strip.objective[0] == pytest.approx(expected, rel=1e-4)


def test_a_layer_that_does_not_vary_costs_nothing() -> None:
    """If all activations of an alignment layer are equal, no step is nan, and none is long."""
    steps = relative_steps([tf.ones((2, 4, 3, 3, 5))])

    np.testing.assert_array_equal(steps, 0)
    np.testing.assert_array_equal(long_steps(steps, RenderSettings(), tf.ones(2)), 0)


# Noise and dead neurons ----------------------------------------------------------------------------------------------


def test_noise_levels_are_the_same_on_every_call(model: Model) -> None:
    """They are a fact about the model; the highest is above the mean; another size has other levels."""
    first, again, other = (noise_levels(model, {"stem", LAYER}, size_px)[LAYER] for size_px in (32, 32, 48))

    np.testing.assert_array_equal(first.mean, again.mean)
    np.testing.assert_array_equal(first.highest, again.highest)
    assert (first.highest > first.mean).all()
    assert not np.array_equal(first.mean, other.mean)
    assert first.mean.shape == (model.layers[LAYER],)


class Watched:
    """The real model, which keeps the images that it has seen."""

    def __init__(self, model: Model) -> None:
        self.seen: list[Array] = []
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def activations(self, images: tf.Tensor, layers: Collection[str], **wanted: Any) -> dict[str, tf.Tensor]:
        self.seen.extend(images.numpy())
        return self._model.activations(images, layers, **wanted)


def test_the_images_of_noise_have_the_contrast_of_finished_frames(model: Model) -> None:
    """With eight different images of that contrast, a neuron that they do not excite less than a strip is dead.

    The levels are the mean and the highest of the eight activations; the highest has a thousandth for rounding.
    """
    watched = Watched(model)

    levels = noise_levels(watched, {"stem"}, 48)["stem"]

    seen = np.array(watched.seen)
    assert seen.shape == (8, 48, 48, 3)
    assert len({image.tobytes() for image in seen}) == 8
    assert 0.15 < seen.std(axis=(1, 2)).mean() < 0.3
    means = np.concatenate([model.activations(image[None], {"stem"})["stem"].numpy().mean((1, 2)) for image in seen])
    np.testing.assert_allclose(levels.mean, means.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(levels.highest, 1.001 * means.max(axis=0), rtol=1e-4, atol=1e-5)


def test_a_dead_neuron_has_a_strip_whose_record_says_so(model: Model) -> None:
    """A channel of the real network that does not depend on the image is dead; its excited partner is not."""
    levels = noise_levels(model, {DEEP}, 32)[DEEP]
    spread = (levels.highest - levels.mean) / np.abs(levels.mean)
    dead = int(np.argmin(spread))
    live = int(np.argmax(spread))
    assert spread[dead] < 1.01e-3  # the tolerance alone
    pair = Pair.of(Neuron(DEEP, dead), Neuron(DEEP, live))
    chosen = settings(model, frames=3, alignment={"layers": ["stem"]})

    [strip] = StripRenderer(model, pair.layers, chosen).render([pair])
    if pair.a.channel == live:
        strip = strip.backwards()

    assert strip.failed_at is None
    assert strip.frames.std() > 0.05
    assert strip.dead == (True, False)
    assert strip.crossing is None
    assert strip.kept[0] is None
    assert 0 < strip.kept[1] <= 1
    assert strip.pace >= 1
