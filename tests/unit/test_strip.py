"""Strips on the fast path, small: traced once, reproducible, packed without mixing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from core.models import Model
from core.neurons import Neuron, Pair
from core.selection import resolve_settings
from core.spec import Alignment, RenderSettings
from core.strip import Strip, StripRenderer

LAYER = "block3_expand_pre_relu"
PAIRS = [Pair.of(Neuron(LAYER, a), Neuron(LAYER, b)) for a, b in ((3, 40), (17, 81), (5, 120))]


def settings(model: Model, **changes: Any) -> RenderSettings:
    small = {"frames": 4, "size_px": 64, "steps": 24, "alignment": {"layers": ["block1", "block2"]}}
    return resolve_settings(RenderSettings.model_validate(small | changes), model)


def render(model: Model, *pairs: Pair, strips: int = 1, **changes: Any) -> list[Strip]:
    layers = (pairs[0].a.layer, pairs[0].b.layer)
    return StripRenderer(model, layers, settings(model, **changes), strips=strips).render(pairs)


@pytest.fixture(scope="module")
def renderer(model: Model) -> StripRenderer:
    return StripRenderer(model, (LAYER, LAYER), settings(model))


def test_a_second_pair_of_the_same_layers_is_not_traced_again(renderer: StripRenderer) -> None:
    """The channels are tensors: one trace serves every pair."""
    renderer.render(PAIRS[:1])
    renderer.render(PAIRS[1:2])

    assert renderer.traces == 1


def test_the_same_pair_gives_the_same_pixels_whatever_was_rendered_between(renderer: StripRenderer) -> None:
    """Nothing is left behind by another pair: no value, no moment of the optimiser, no random state."""
    first = renderer.render(PAIRS[:1])[0]
    renderer.render(PAIRS[1:2])
    again = renderer.render(PAIRS[:1])[0]

    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.objective, again.objective)


def test_strips_are_pictures_whose_objective_rose(renderer: StripRenderer) -> None:
    """Frames lie in [0, 1] and have contrast; the objective ends far above its start; there is a distance less than
    frames."""
    strip = renderer.render(PAIRS[:1])[0]

    assert strip.frames.shape == (4, 64, 64, 3)
    assert strip.frames.dtype == np.float32
    assert 0 <= strip.frames.min() < 0.2 < 0.8 < strip.frames.max() <= 1
    assert strip.objective.shape == (24,)
    assert strip.objective[-1] > strip.objective[0] + 1
    assert strip.neighbour_distance.shape == (3,)
    assert strip.failed_at is None


def test_each_neuron_is_strongest_at_its_own_end(renderer: StripRenderer) -> None:
    """The first frame excites a more than the last does, and the last excites b more than the first does."""
    for strip in (renderer.render([pair])[0] for pair in PAIRS):
        assert strip.activation_a[0] > strip.activation_a[-1]
        assert strip.activation_b[-1] > strip.activation_b[0]


def test_packed_strips_do_not_mix(model: Model) -> None:
    """Three pairs in one batch of four look as each does alone."""
    packed = render(model, *PAIRS, strips=4, steps=8)

    assert len(packed) == 3
    for pair, strip in zip(PAIRS, packed, strict=True):
        alone = render(model, pair, steps=8)[0]
        np.testing.assert_allclose(strip.frames, alone.frames, atol=1 / 255)
        np.testing.assert_allclose(strip.activation_a, alone.activation_a, rtol=1e-2, atol=1e-2)


def test_neurons_of_different_layers_and_of_the_logits_have_strips_too(model: Model) -> None:
    """The two layers may differ in size, and need not have positions."""
    across = render(model, Pair.of(Neuron("block1", 3), Neuron("block4_expand_pre_relu", 7)), steps=16)[0]
    classes = render(model, Pair.of(Neuron("logits", 282), Neuron("logits", 967)), steps=6, frames=2)[0]

    assert across.objective[-1] > across.objective[0]
    assert classes.objective[-1] > classes.objective[0]


def test_sharing_and_alignment_bring_neighbours_closer(model: Model) -> None:
    """Independent frames differ most, shared ones less, aligned ones least."""
    independent, shared, aligned = (
        render(model, PAIRS[0], steps=48, **change)[0].neighbour_distance.mean()
        for change in (
            {"sharing": False, "alignment": Alignment(weight=0)},
            {"alignment": Alignment(weight=0)},
            {"alignment": Alignment(layers=("block1", "block2"), weight=1.0)},
        )
    )

    assert aligned < shared < independent


def test_a_checkpoint_is_the_strip_that_fewer_updates_give(model: Model) -> None:
    """The frames kept after eight of twenty updates are those of a strip with eight, to the last bit."""
    kept = render(model, PAIRS[0], steps=20, checkpoints=[8, 3])[0]

    assert list(kept.checkpoints) == [3, 8]
    for step, frames in kept.checkpoints.items():
        np.testing.assert_array_equal(frames, render(model, PAIRS[0], steps=step)[0].frames)


def test_distances_are_those_of_the_finished_frames(model: Model) -> None:
    """Neighbour distances in pixels and in the alignment layers agree with NumPy's of the frames themselves."""
    strip = render(model, PAIRS[0])[0]
    found = model.activations(tf.constant(strip.frames), ["block1", "block2"])

    def distance(t: Any) -> Any:
        return (np.diff(np.asarray(t, np.float64), axis=0) ** 2).mean(axis=(1, 2, 3))

    np.testing.assert_allclose(strip.neighbour_distance, distance(strip.frames), rtol=1e-4)
    assert list(strip.layer_distance) == ["block1", "block2"]
    for layer, distances in strip.layer_distance.items():
        np.testing.assert_allclose(distances, distance(found[layer]), rtol=1e-3)


def test_without_transforms_the_frames_are_seen_as_they_are(model: Model) -> None:
    """`transforms: none` gives other pixels than the standard views, and a higher objective on what it sees."""
    plain = render(model, PAIRS[0], transforms="none")[0]
    viewed = render(model, PAIRS[0])[0]

    assert not np.array_equal(plain.frames, viewed.frames)
    assert plain.objective[-1] > viewed.objective[-1]


class Breaking:
    """The real model, except that what it makes of a dark first strip is not a number."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def activations(
        self, images: tf.Tensor, layers: Collection[str], *, redirected: bool = False
    ) -> dict[str, tf.Tensor]:
        found = self._model.activations(images, layers, redirected=redirected)
        first_strip = tf.reshape(tf.range(images.shape[0]) < images.shape[0] // 2, (-1, 1, 1, 1))
        bright = tf.math.reduce_std(images[: images.shape[0] // 2]) > 0.15
        return {name: tf.where(first_strip & bright, np.nan, t) for name, t in found.items()}


def test_a_strip_that_breaks_is_told_apart_from_its_neighbour(model: Model) -> None:
    """When one strip's objective stops being a number, its update is known and the strip beside it goes on."""
    broken, sound = StripRenderer(Breaking(model), (LAYER, LAYER), settings(model), strips=2).render(PAIRS[:2])

    assert broken.failed_at is not None
    assert 1 < broken.failed_at <= 24
    assert np.isfinite(broken.objective[: broken.failed_at - 1]).all()
    assert sound.failed_at is None
    assert np.isfinite(sound.frames).all()
