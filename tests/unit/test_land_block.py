"""Rendering a block of a land with the real network: what it shows, how neurons count, and how blocks meet."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from core.atlas.land_plan import land_settings
from core.method.land import BlockRenderer, known_colours
from core.method.land_goal import places, spreads
from core.models.models import load
from core.neurons import Neuron
from core.pictures.land import Block, Land, painted
from core.spec import LandSpec, ModelSpec, RenderSettings

LAYER = "block1_expand_pre_relu"  # 96 channels at half of the size
CELL_PX = 32
LAND = Land(tuple(Neuron(LAYER, n) for n in range(24)), 6, CELL_PX, 3, 3, CELL_PX // 4)


def settings_for(**changes: Any) -> RenderSettings:
    return land_settings(LandSpec(neurons=(f"{LAYER}:0-23",), cell_px=CELL_PX), RenderSettings(**changes))


class Scaled:
    """The default network with one channel's activations multiplied: the same neurons, one of them stronger."""

    def __init__(self, channel: int, factor: float) -> None:
        self._model = load(ModelSpec())
        self._factors = np.ones(self._model.layers[LAYER], np.float32)
        self._factors[channel] = factor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def can_select_channels(self, layers: Collection[str]) -> bool:
        return False

    def activations(self, images: tf.Tensor, layers: Collection[str], **options: Any) -> Mapping[str, tf.Tensor]:
        return {layer: t * self._factors for layer, t in self._model.activations(images, layers, **options).items()}


@pytest.fixture(scope="module")
def finished() -> dict[Block, Any]:
    """All blocks of the land, in their turns."""
    renderer = BlockRenderer(load(ModelSpec()), LAND, settings_for(steps=16))
    done: dict[Block, Any] = {}
    for block in sorted(LAND.blocks, key=lambda block: block.turn):
        pictures = {other: done[other].pixels for other in LAND.neighbours(block) if other in done}
        done[block] = renderer.render(LAND, block, pictures, seed=7)
    return done


def test_each_neuron_is_excited_at_its_own_place(finished: dict[Block, Any]) -> None:
    """For nearly all neurons their own place is one of the three best of all 24, and better than noise."""
    picture = painted(LAND, {block: done.pixels for block, done in finished.items()}, 0, 0, *LAND.size_px)
    found = load(ModelSpec()).activations(tf.constant(picture[None], tf.float32) / 255, {LAYER})[LAYER][0].numpy()
    cells = found[:, :, :24].reshape(4, CELL_PX // 2, 6, CELL_PX // 2, 24)[:, 4:12, :, 4:12].mean(axis=(1, 3))
    by_place = cells.reshape(24, 24)  # (place, neuron)
    better = (by_place > by_place.diagonal()).sum(axis=0)  # places at which a neuron is excited more than at its own
    assert (better < 3).mean() > 0.9
    at_own = {
        number: done.activation[inside]
        for block, done in finished.items()
        for number, inside in LAND.numbers_in(block).items()
    }
    noise = {n: done.noise[inside] for block, done in finished.items() for n, inside in LAND.numbers_in(block).items()}
    assert np.mean([at_own[n] > noise[n] for n in range(24)]) > 0.9
    # Measured on the block's own picture, of which the margins are not yet painted over.
    np.testing.assert_allclose([at_own[n] for n in range(24)], by_place.diagonal(), rtol=0.1, atol=0.05)


def test_a_block_continues_the_blocks_that_it_covers(finished: dict[Block, Any]) -> None:
    """At the edges of a later picture that lie on earlier ones, its pixels are theirs; so no edge shows."""
    pictures = {block: done.pixels for block, done in finished.items()}
    last = max(pictures, key=lambda block: block.turn)
    before = painted(LAND, {b: p for b, p in pictures.items() if b != last}, *LAND.origin_px(last), *LAND.block_size_px)
    for edge in (np.s_[0, : LAND.block_size_px[1] - 2 * LAND.margin_px], np.s_[: -2 * LAND.margin_px, 0]):
        difference = pictures[last][edge].astype(int) - before[edge]
        assert np.abs(difference).max() <= 3


def test_no_seam_is_left_between_blocks(finished: dict[Block, Any]) -> None:
    """Pixels and two layers change across the borders of blocks as much as in the same land rendered as one block.

    tests/bench/land_quality.py measures a whole layer, against the inside of blocks.
    """
    whole = Land(LAND.neurons, 6, CELL_PX, 4, 6, LAND.margin_px)
    at_once = BlockRenderer(load(ModelSpec()), whole, settings_for(steps=16)).render(whole, Block(0, 0), {}, seed=7)
    cut = painted(LAND, {block: done.pixels for block, done in finished.items()}, 0, 0, *LAND.size_px)
    uncut = painted(whole, {Block(0, 0): at_once.pixels}, 0, 0, *LAND.size_px)
    over = [_over_borders(picture) for picture in (cut, uncut)]
    for name in over[0]:
        assert 0.8 < over[0][name] / over[1][name] < 1.25, name


def _over_borders(picture: Any) -> dict[str, float]:
    """Return the mean difference of neighbouring positions near the borders of blocks, in pixels and in layers."""
    images = tf.constant(picture[None], tf.float32) / 255
    layers = {"pixels": images, **load(ModelSpec()).activations(images, {LAYER, "stem"})}
    found = {}
    for name, t in layers.items():
        values = t[0].numpy()
        near = [int(values.shape[0] / 4 * (3 + part)) for part in (-1 / 4, 1 / 4)]  # the overlap of two pictures
        steps = [np.abs(np.diff(values, axis=axis)).mean(axis=(1 - axis, 2))[slice(*near)].mean() for axis in (0, 1)]
        found[name] = float(np.mean(steps))
    return found


def test_the_factors_of_a_block_go_from_nothing_to_all() -> None:
    """All its own where no finished block is, nothing at an edge on a finished block, and no jump between."""
    pictures = {block: np.full((*LAND.block_size_px, 3), 200, np.uint8) for block in LAND.blocks if block.turn < 3}
    known, own = known_colours(LAND, Block(1, 1), pictures)
    inner = np.s_[2 * LAND.margin_px :, 2 * LAND.margin_px :]
    assert (own[inner] == 1).all()
    assert (known[inner] == 0).all()
    assert own[0, : LAND.block_size_px[1] - 2 * LAND.margin_px].max() < 0.05
    assert np.abs(np.diff(own[: -2 * LAND.margin_px, 40, 0])).max() < 0.3
    _, alone = known_colours(LAND, Block(0, 0), {})
    assert (alone == 1).all()


def test_a_stronger_neuron_does_not_swallow_its_neighbours() -> None:
    """If a channel of the network is 16 times as large, its neighbours reach the same: gains are what counts."""
    land = Land(tuple(Neuron(LAYER, n) for n in range(9)), 3, CELL_PX, 3, 3, CELL_PX // 4)
    settings = settings_for(steps=8, transforms="none")
    first, second = (
        BlockRenderer(Scaled(4, factor), land, settings).render(land, Block(0, 0), {}, seed=3).activation.ravel()  # type: ignore[arg-type]
        for factor in (1, 16)
    )
    others = np.arange(9) != 4
    np.testing.assert_allclose(second[others], first[others], rtol=0.1, atol=0.05 * np.abs(first).max())
    assert second[4] == pytest.approx(16 * first[4], rel=0.1)


def test_views_move_the_weights_with_the_picture() -> None:
    """A view that shifts the picture by one cell shifts the places of the layer's positions by one."""
    y = x = tf.range(8, dtype=tf.float32) * 16 + 8
    as_it_is = places(y, x, tf.constant([[1.0, 0, 0], [0, 1, 0]]), LAND)
    shifted = places(y, x, tf.constant([[1.0, 0, CELL_PX], [0, 1, 0]]), LAND)
    np.testing.assert_allclose(shifted[0], as_it_is[0], atol=1e-5)
    np.testing.assert_allclose(shifted[1], as_it_is[1] + 1, atol=1e-5)
    np.testing.assert_allclose(places(y, x, None, LAND), as_it_is, atol=1e-5)


class OfOneSize:
    """The default network as one without positions: a layer's means over images of one place."""

    def __init__(self) -> None:
        self._model = load(ModelSpec())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def can_select_channels(self, layers: Collection[str]) -> bool:
        return False

    def sizes(self, size_px: int) -> Mapping[str, tuple[int, int] | None]:
        return dict.fromkeys(self._model.layers)

    def activations(self, images: tf.Tensor, layers: Collection[str], **options: Any) -> Mapping[str, tf.Tensor]:
        assert tuple(images.shape[1:3]) == (CELL_PX, CELL_PX)
        found = self._model.activations(images, layers, **options)
        return {layer: tf.reduce_mean(t, axis=(1, 2)) for layer, t in found.items()}


def test_a_layer_without_positions_is_seen_through_windows() -> None:
    """Each neuron's place excites it more than most other places do; the network sees only windows of one place."""
    land = Land(tuple(Neuron(LAYER, n) for n in range(9)), 3, CELL_PX, 3, 3, CELL_PX // 4)
    model: Any = OfOneSize()
    block = BlockRenderer(model, land, settings_for(steps=24)).render(land, Block(0, 0), {}, seed=3)
    margin = land.margin_px
    cells = block.pixels[margin:-margin, margin:-margin].reshape(3, CELL_PX, 3, CELL_PX, 3).swapaxes(1, 2)
    images = tf.constant(cells.reshape(9, CELL_PX, CELL_PX, 3), tf.float32) / 255
    by_place = model.activations(images, {LAYER})[LAYER].numpy()[:, :9]
    np.testing.assert_allclose(block.activation.ravel(), by_place.diagonal(), rtol=0.05, atol=0.02)
    better = (by_place > by_place.diagonal()).sum(axis=0)
    assert (better < 2).mean() > 0.7
    assert not spreads(model, land)
    assert spreads(load(ModelSpec()), land)
