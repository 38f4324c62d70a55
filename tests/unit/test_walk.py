"""Small portraits and the strips between them: exact at the ends, traced once, and the same in every batch."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from batch_rounding import assert_same_in_batch
from walks import LAYER, RENDER

from core.atlas.portrait_plan import portrait_settings
from core.atlas.selection import resolve_settings
from core.method import objectives as o
from core.method.canvas import RenderedCanvas, find_canvas
from core.method.portraits import PortraitRenderer, RenderedPortrait
from core.method.strip import Strip
from core.method.walk_strip import Walk, WalkRenderer
from core.models.model import Model
from core.neurons import Neuron, Pair
from core.pictures.portrait import Portrait
from core.pictures.sheets import side_by_side, split
from core.spec import RenderSettings

OTHER = "block1_expand_pre_relu"
NEURONS = [Neuron(LAYER, channel) for channel in (3, 17, 5)]
SAMPLE = [*NEURONS[:2], Neuron(OTHER, 7)]


def settings(model: Model, **changes: Any) -> RenderSettings:
    return resolve_settings(RenderSettings.model_validate(RENDER | {"steps": 24} | changes), model)


@pytest.fixture(scope="module")
def canvas(model: Model) -> RenderedCanvas:
    return find_canvas(model, SAMPLE, portrait_settings(settings(model)))


def portraits_on(canvas: RenderedCanvas, model: Model, size: int) -> list[RenderedPortrait]:
    """Render portraits of all neurons in batches of *size*."""
    on = Portrait(canvas.colours, canvas.pixels)
    renderer = PortraitRenderer(model, LAYER, portrait_settings(settings(model)), on, portraits=size)
    batches = [renderer.render(NEURONS[first : first + size]) for first in range(0, len(NEURONS), size)]
    return [portrait for batch in batches for portrait in batch]


@pytest.fixture(scope="module")
def rendered(canvas: RenderedCanvas, model: Model) -> list[RenderedPortrait]:
    return portraits_on(canvas, model, 1)


@pytest.fixture(scope="module")
def portraits(rendered: list[RenderedPortrait], model: Model) -> dict[Neuron, Portrait]:
    """Portraits of the neurons, and for a neuron of another layer a reversed portrait, because any picture suffices."""
    found = {neuron: Portrait(one.colours, one.pixels) for neuron, one in zip(NEURONS, rendered, strict=True)}
    return found | {Neuron(OTHER, 7): Portrait(rendered[0].colours[::-1], rendered[0].pixels[::-1])}


def strips(model: Model, portraits: dict[Neuron, Portrait], *pairs: Pair, size: int = 1, **changes: Any) -> list[Strip]:
    renderer = renderer_of(model, pairs[0].layers, settings(model, **changes), size)
    return renderer.render([Walk(pair, portraits.__getitem__) for pair in pairs])


@lru_cache
def renderer_of(model: Model, layers: tuple[str, str], settings: RenderSettings, size: int) -> WalkRenderer:
    """Return a renderer that all tests share, so that it is traced once."""
    return WalkRenderer(model, layers, settings, strips=size)


def test_portraits_depend_neither_on_their_batch_nor_on_its_size(
    canvas: RenderedCanvas, rendered: list[RenderedPortrait], model: Model
) -> None:
    """Portraits share only the canvas, which is fixed, so each is the same alone and in a batch of two."""
    for alone, batched in zip(rendered, portraits_on(canvas, model, 2), strict=True):
        assert_same_in_batch(alone.pixels, batched.pixels)
        assert_same_in_batch(alone.colours, batched.colours)
        assert_same_in_batch(alone.objective, batched.objective)
        assert_same_in_batch(alone.activation, batched.activation)


def test_a_portrait_excites_its_neuron_and_lies_on_the_canvas(
    canvas: RenderedCanvas, rendered: list[RenderedPortrait], model: Model
) -> None:
    """A portrait excites its neuron more than the colours below it do, and its pixels are its colours, squashed."""
    below = (1 / (1 + np.exp(-canvas.colours))).astype(np.float32)
    bare = model.activations(below[None], {LAYER})[LAYER].numpy().mean((0, 1, 2))
    for neuron, portrait in zip(NEURONS, rendered, strict=True):
        assert portrait.activation > bare[neuron.channel] + 0.1
        assert portrait.failed_at is None
        # NumPy rounds the sigmoid differently.
        squashed = side_by_side(1 / (1 + np.exp(-portrait.colours))[None])
        np.testing.assert_allclose(portrait.pixels.astype(int), squashed, atol=1)
        distance, from_grey = (np.abs(portrait.colours - other).mean() for other in (canvas.colours, 0))
        assert distance < from_grey


def test_the_canvas_is_reproducible_and_has_low_frequencies_only(canvas: RenderedCanvas, model: Model) -> None:
    """A second search on the same sample, across layers, gives the same bits; another seed gives another canvas."""
    again = find_canvas(model, SAMPLE, portrait_settings(settings(model)))
    other = find_canvas(model, SAMPLE, portrait_settings(settings(model, seed=1)))

    np.testing.assert_array_equal(again.colours, canvas.colours)
    assert not np.array_equal(other.colours, canvas.colours)
    assert canvas.objective[-1] > canvas.objective[0]
    steps = np.abs(np.diff(canvas.colours, axis=0)).mean(axis=(1, 2))
    assert canvas.colours.std() > 0
    np.testing.assert_allclose(steps[0:-1:2].mean(), steps[1::2].mean(), rtol=0.5)  # no blocks of stored pixels


@pytest.mark.parametrize(
    "changes", [{}, {"frames": 3, "checkpoints": [4], "redirected_updates": 3}, {"alignment": {"weight": 0}}]
)
def test_a_strip_begins_and_ends_on_its_portraits_to_the_last_bit(
    model: Model, portraits: dict[Neuron, Portrait], changes: dict[str, Any]
) -> None:
    """The ends are the portraits' pixels in the finished strip and at every checkpoint, for every setting."""
    pair = Pair.of(*NEURONS[:2])

    [strip] = strips(model, portraits, pair, **changes)

    for frames in (strip.frames, *strip.checkpoints.values()):
        pixels = split(side_by_side(frames), len(frames))
        np.testing.assert_array_equal(pixels[0], portraits[pair.a].pixels)
        np.testing.assert_array_equal(pixels[-1], portraits[pair.b].pixels)
        assert all((inner != portraits[pair.a].pixels).any() for inner in pixels[1:-1])
    assert len(strip.checkpoints) == len(changes.get("checkpoints", []))


def test_strips_depend_neither_on_their_batch_nor_on_its_size(model: Model, portraits: dict[Neuron, Portrait]) -> None:
    """Each strip has its own start values, views and portraits, and earlier batches leave no state."""
    pairs = [Pair.of(NEURONS[0], other) for other in NEURONS[1:]]

    together = strips(model, portraits, *pairs, size=3)
    alone = [strips(model, portraits, pair)[0] for pair in (*pairs, pairs[0])]

    for one, other in zip([*together, together[0]], alone, strict=True):
        assert_same_in_batch(one.frames, other.frames)
        assert_same_in_batch(one.objective, other.objective)
        assert_same_in_batch(one.neighbour_distance, other.neighbour_distance)


def test_inner_frames_are_more_active_for_the_nearer_neuron(model: Model, portraits: dict[Neuron, Portrait]) -> None:
    """The objective rises, and the activation of b minus that of a is larger in the inner frame nearer to b."""
    [strip] = strips(model, portraits, Pair.of(*NEURONS[:2]), steps=24, transforms="none", mix="lucid")

    assert strip.objective[-1] > strip.objective[0] + 0.01
    assert strip.activation_b[2] - strip.activation_a[2] > strip.activation_b[1] - strip.activation_a[1]


def test_the_objective_is_interpolation_of_the_inner_frames_plus_alignment_with_the_ends(
    model: Model, portraits: dict[Neuron, Portrait]
) -> None:
    """The mean over two updates, each of which uses one end, is the objective of the whole strip without constants.

    The constants are the activations of the ends and the distance between the ends, which no update can change. The
    pairs go across layers and share a batch.
    """
    neurons = [(NEURONS[0], Neuron(OTHER, 7)), (NEURONS[1], Neuron(OTHER, 7))]
    pairs = [Pair.of(*pair) for pair in neurons]
    weighted = {"layers": ["stem", "block0"], "scale": "lucid", "weight": 0.7, "decay": 3}
    changes: dict[str, Any] = {"schedule": "plain", "mix": "lucid", "alignment": weighted}
    changes |= {"transforms": "none", "steps": 2}
    changes |= {"learning_rate": 1e-9}  # so that the finished frames are those before the updates

    batch = strips(model, portraits, *pairs, size=2, **changes)

    for pair, strip in zip(pairs, batch, strict=True):
        aligned = 0.7 * (o.alignment("stem", 3) + o.alignment("block0", 3))
        whole = o.channel_interpolate(*pair.a, *pair.b) + aligned
        found = model.activations(strip.frames, whole.layers)
        between_ends = [
            float(tf.reduce_mean((found[layer][0] - found[layer][-1]) ** 2)) for layer in weighted["layers"]
        ]
        constant = (
            strip.activation_a[0] + strip.activation_b[-1] - 0.7 * sum(between_ends) / 3 ** (len(strip.frames) - 1)
        )
        assert strip.objective[1] == pytest.approx(float(whole(found.__getitem__)) - constant, rel=1e-5, abs=1e-5)
        assert abs(strip.objective[0] - strip.objective[1]) > 1e-3


def test_a_portrait_whose_colours_are_nan_has_failed(canvas: RenderedCanvas, model: Model) -> None:
    """It fails at the last update where the ReLUs of the processor turn nan into 0, and at the first elsewhere."""
    broken = Portrait(np.full_like(canvas.colours, np.nan), canvas.pixels)
    renderer = PortraitRenderer(model, LAYER, portrait_settings(settings(model)), broken)

    [portrait] = renderer.render(NEURONS[:1])

    assert portrait.failed_at in (1, 24)
