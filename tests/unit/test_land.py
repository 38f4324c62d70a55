"""The geometry of lands, their layouts, and the arrangement of their neurons."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.atlas.arrangement import arrange, cosines, neighbour_cosine
from core.atlas.land_plan import lay_out
from core.models.models import load
from core.neurons import Neuron
from core.pictures.land import Block, Land
from core.spec import ModelSpec


def land_of(neurons: int, columns: int | None = None) -> Land:
    """Return a land in the layout that a spec gets, with small cells."""
    wide, block_rows, block_columns = lay_out(neurons, columns)
    return Land(tuple(Neuron("stem", n) for n in range(neurons)), wide, 8, block_rows, block_columns, 2)


@settings(max_examples=40, deadline=None)
@given(neurons=st.integers(2, 150), columns=st.none() | st.integers(1, 40))
def test_blocks_cover_a_land_with_weights_that_sum_to_one(neurons: int, columns: int | None) -> None:
    """Within the land every pixel is made of blocks whose weights sum to 1, away from its outer margin."""
    land = land_of(neurons, columns)
    height, width = land.size_px
    sums = np.zeros((height, width))
    for block in land.blocks:
        y, x = land.origin_px(block)
        weight = land.weight
        rows, cols = slice(max(y, 0), min(y + len(weight), height)), slice(max(x, 0), min(x + weight.shape[1], width))
        sums[rows, cols] += weight[rows.start - y : rows.stop - y, cols.start - x : cols.stop - x]
    assert sums.min() > 0
    inner = sums[2 : max(3, height - 2), 2 : max(3, width - 2)]
    np.testing.assert_allclose(inner, 1, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(neurons=st.integers(2, 400))
def test_blocks_of_one_stage_do_not_touch(neurons: int) -> None:
    """Every block is rendered after all finished blocks that it overlaps, and beside none of its own stage."""
    land = land_of(neurons)
    blocks = list(land.blocks)
    for block in blocks:
        overlapping = {o for o in blocks if o != block and all(s.start < s.stop for s in land.overlap(block, o)[0])}
        assert overlapping == set(land.neighbours(block))
        assert block.turn not in {other.turn for other in overlapping}


@settings(max_examples=60, deadline=None)
@given(neurons=st.integers(2, 3000))
def test_every_neuron_has_one_place_and_belongs_to_one_block(neurons: int) -> None:
    """No neuron is lost between blocks; a layout wastes few pixels and is about as wide as high."""
    columns, block_rows, block_columns = lay_out(neurons)
    land = Land(tuple(Neuron("a", n) for n in range(neurons)), columns, 8, block_rows, block_columns, 2)
    numbers = [number for block in land.blocks for number in land.numbers_in(block)]
    assert sorted(numbers) == list(range(neurons))
    rendered = sum(1 for _ in land.blocks) * math.prod(land.block_size_px)
    assert rendered / (neurons * 8 * 8) < (1.36 if neurons >= 400 else 2.2)
    assert neurons < 4 or 0.5 <= land.columns / land.rows <= 2


def test_the_neurons_around_a_block_continue_those_at_the_edge() -> None:
    """Beyond the land the nearest place continues, and a place that is left over belongs to the neuron above."""
    land = Land(
        tuple(Neuron("a", n) for n in range(7)), columns=3, cell_px=8, block_rows=3, block_columns=3, margin_px=2
    )
    around = np.reshape([neuron.channel for neuron in land.around(Block(0, 0))], (5, 5))
    np.testing.assert_array_equal(
        around, [[0, 0, 1, 2, 2], [0, 0, 1, 2, 2], [3, 3, 4, 5, 5], [6, 6, 4, 5, 5], [6, 6, 4, 5, 5]]
    )


def test_neighbours_on_a_land_are_alike() -> None:
    """In a real layer the mean cosine of neighbours is many times that of a random arrangement, and always the same."""
    features = load(ModelSpec()).fan_in("block5_expand_pre_relu")
    likeness, columns = cosines(features), 16
    at = arrange(features, columns)
    assert sorted(at) == list(range(len(features)))
    at_random = np.random.default_rng(0).permutation(len(features))
    assert neighbour_cosine(likeness, at, columns) > 10 * abs(neighbour_cosine(likeness, at_random, columns))
    assert at == arrange(features, columns)


def test_an_order_that_exists_is_found() -> None:
    """Vectors that change evenly over a grid are arranged nearly as well as on that grid."""
    down, across = np.divmod(np.arange(120), 12)
    centres = np.random.default_rng(1).uniform((0, 0), (10, 12), (60, 2))
    features = np.exp(-((down[:, None] - centres[:, 0]) ** 2 + (across[:, None] - centres[:, 1]) ** 2) / 8)
    shuffled = np.random.default_rng(2).permutation(120)
    found = arrange(features[shuffled], 12)
    likeness = cosines(features)
    best = neighbour_cosine(likeness, range(120), 12)
    assert neighbour_cosine(likeness, shuffled[found], 12) > 0.9 * best


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_few_neurons_and_neurons_without_weights_are_arranged_too(count: int) -> None:
    """Vectors of zeros, and numbers that are not finite, are like no other and do no harm."""
    features = np.zeros((count, 3), np.float32)
    features[0] = np.nan
    assert sorted(arrange(features, 2)) == list(range(count))
