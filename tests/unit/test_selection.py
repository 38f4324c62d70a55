"""The pairs of a selection, on the layers and weights of the real model."""

from __future__ import annotations

import math
import tracemalloc
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.atlas.selection import cosine_similarity, resolve_settings, select_pairs
from core.errors import SpecError, UnknownLayerError
from core.models.model import Model
from core.models.models import load
from core.neurons import Neuron, Pair
from core.spec import Alignment, RenderSettings
from core.spec_file import parse_spec, read_spec

MODEL = load("efficientnet-lite0")


def selected(**pairs: Any) -> list[Pair]:
    """Return the pairs of a selection."""
    return select_pairs(parse_spec({"name": "small", "pairs": pairs}, "here"), MODEL)


def written(*pairs: str) -> list[Pair]:
    """Parse pairs that are written `a b`, without ordering them."""
    return [Pair(*map(Neuron.parse, pair.split())) for pair in pairs]


def test_listed_pairs_keep_their_order() -> None:
    """The atlas has the pairs in the order in which the spec lists them."""
    listed = [["stem:9", "stem:10"], ["block5:1", "block5:0"], ["block5:0", "block5:2"]]

    assert selected(select="list", list=listed) == written("stem:9 stem:10", "block5:0 block5:1", "block5:0 block5:2")


def test_a_pair_that_is_listed_twice_is_one_pair() -> None:
    """Neither a repetition nor the reversed pair makes a second strip."""
    listed = [["block5:1", "block5:2"], ["block5:2", "block5:1"], ["stem:0", "stem:1"], [" block5:1 ", "block5:02"]]

    assert selected(select="list", list=listed) == written("block5:1 block5:2", "stem:0 stem:1")


def test_a_pair_across_layers_runs_from_the_first_layer_in_natural_order() -> None:
    """Numbers in layer names are compared as numbers: block9 comes before block10, however the pair is written."""
    for listed in (["block9:7", "block10:3"], ["block10:3", "block9:7"]):
        assert selected(select="list", list=[listed]) == written("block9:7 block10:3")


def test_layers_of_any_name_can_be_selected(tmp_path: Path) -> None:
    """Spaces, colons, slashes and quotes survive YAML, lists, ranges and the names in a record."""
    layers = {"block 1/conv:0": 9, " padded": 3, "a, b:0-9": 5}
    model = cast(Model, SimpleNamespace(layers=layers, unavailable={}, name="net"))
    spec = tmp_path / "spec.yaml"
    spec.write_text("""
        name: strange
        pairs: {select: all, neurons: ["block 1/conv:0:7-8", '" padded":2', "a, b:0-9:4"]}
    """)

    pairs = select_pairs(read_spec(spec), model)

    neurons = [Neuron("block 1/conv:0", 7), Neuron("block 1/conv:0", 8), Neuron(" padded", 2), Neuron("a, b:0-9", 4)]
    assert pairs == [Pair.of(a, b) for a, b in combinations(neurons, 2)]
    listed = parse_spec({"name": "n", "pairs": {"select": "list", "list": [list(map(str, p)) for p in pairs]}}, "here")
    assert select_pairs(listed, model) == pairs


def test_a_range_has_both_its_ends() -> None:
    """The range 3-5 has three channels."""
    assert selected(select="all", neurons=["block5:3-5"]) == written(
        "block5:3 block5:4", "block5:3 block5:5", "block5:4 block5:5"
    )


def test_all_pairs_are_those_within_and_across_layers_each_once() -> None:
    """A neuron in two overlapping ranges counts once."""
    pairs = selected(select="all", neurons=["block5:0-3", "block5:2-4", "block10:7", "block9:0-1"])

    neurons = [Neuron("block5", channel) for channel in range(5)] + [Neuron("block9", 0), Neuron("block9", 1)]
    neurons.append(Neuron("block10", 7))
    assert len(pairs) == len(set(pairs)) == math.comb(8, 2)
    assert set(pairs) == {Pair(a, b) for a, b in combinations(neurons, 2)}


@settings(deadline=None)
@given(count=st.integers(2, 32), share=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_random_pairs_have_the_requested_number_and_are_all_different(count: int, share: float, seed: int) -> None:
    """Pairs are drawn among the neurons, without repetition, and the same seed draws the same pairs."""
    n = max(1, round(share * math.comb(count, 2)))
    selection: dict[str, Any] = {"select": "random", "neurons": [f"stem:0-{count - 1}"], "n": n, "seed": seed}

    pairs = selected(**selection)

    assert len(pairs) == len(set(pairs)) == n
    assert set(pairs) <= set(selected(select="all", neurons=selection["neurons"]))
    assert pairs == selected(**selection)


@settings(deadline=None, max_examples=10)
@given(count=st.integers(2, 100), seed=st.integers(0, 2**32 - 1))
def test_drawing_as_many_pairs_as_exist_draws_all_pairs(count: int, seed: int) -> None:
    """No pair is left out and none is drawn twice, so every pair can be drawn."""
    neurons = [f"head:0-{count - 1}"]

    pairs = selected(select="random", neurons=neurons, n=math.comb(count, 2), seed=seed)

    assert sorted(pairs) == sorted(selected(select="all", neurons=neurons))


def test_another_seed_draws_other_pairs() -> None:
    """The seed of the selection decides which pairs are drawn."""
    first, second = (selected(select="random", neurons=["head:0-199"], n=50, seed=seed) for seed in (0, 1))

    assert set(first) != set(second)


def test_random_pairs_are_spread_evenly() -> None:
    """Each of 100 neurons is expected in 20 of 1000 pairs, with a standard deviation of 4.4."""
    pairs = [pair for seed in range(10) for pair in selected(select="random", neurons=["head:0-99"], n=100, seed=seed)]

    drawn = np.bincount([neuron.channel for pair in pairs for neuron in pair], minlength=100)
    assert drawn.sum() == 2000
    assert drawn.min() >= 20 - 5 * 4.4
    assert drawn.max() <= 20 + 5 * 4.4
    assert 0.5 < drawn[:50].sum() / drawn[50:].sum() < 2


@pytest.mark.parametrize("layer", ["stem", "block9_expand_pre_relu", "block9_depthwise", "block9", "logits"])
def test_nearest_pairs_are_those_of_the_largest_cosine(layer: str) -> None:
    """For every kind of layer, the pairs agree with cosines computed one by one in double precision."""
    channels, k = [3, 1, *range(8, 28)], 3
    weights = MODEL.fan_in(layer).astype(np.float64)

    def cosine(i: int, j: int) -> float:
        dots = (math.fsum(weights[p] * weights[q]) for p, q in ((i, j), (i, i), (j, j)))
        between, of_i, of_j = dots
        return between / math.sqrt(of_i * of_j)

    expected = [
        Pair.of(Neuron(layer, i), Neuron(layer, j))
        for i in channels
        for j in sorted((j for j in channels if j != i), key=lambda j: -cosine(i, j))[:k]
    ]

    pairs = selected(select="nearest", neurons=[f"{layer}:{channel}" for channel in channels], k=k)

    assert pairs == list(dict.fromkeys(expected))


def test_nearest_pairs_stay_within_their_layers() -> None:
    """Weights of different layers cannot be compared, so neighbours are searched within a layer."""
    pairs = selected(select="nearest", neurons=["block5:0-5", "stem:0-5"], k=2)

    together = [
        *selected(select="nearest", neurons=["block5:0-5"], k=2),
        *selected(select="nearest", neurons=["stem:0-5"], k=2),
    ]
    assert pairs == together
    assert len(pairs) >= 12  # each of 12 neurons has two pairs, and a pair belongs to at most two neurons


def test_a_channel_without_weights_has_cosine_0_with_all_others() -> None:
    """A row of zeros has cosine 0 with every row, itself included, and never NaN."""
    similarity = cosine_similarity(np.array([[0, 0], [3, 4], [-6, -8]], np.float32))

    np.testing.assert_allclose(similarity, [[0, 0, 0], [0, 1, -1], [0, -1, 1]], atol=1e-12)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({"select": "list", "list": [["stem:0", "stem:1"], ["block5:0", "block5:40-41"]]},
         "pairs.list.1: expected one neuron such as 'block9_expand_pre_relu:17', got the range 'block5:40-41'"),
        ({"select": "list", "list": [["block5:0", "block5:0"]]},
         "pairs.list.0: expected two different neurons, got block5:0 twice"),
        ({"select": "list", "list": [["block5:0", "block5"]]},
         "pairs.list.0: expected a neuron as 'layer:channel' or a range as 'layer:first-last', got 'block5'"),
        ({"select": "list", "list": [["block5:0", "block5:-1"]]},
         "pairs.list.0: expected a neuron as 'layer:channel' or a range as 'layer:first-last', got 'block5:-1'"),
        ({"select": "list", "list": [["stem:0", "stem:1"], ["stem:32", "stem:1"]]},
         "pairs.list.1: expected a channel of stem from 0 to 31, got 32"),
        ({"select": "all", "neurons": ["stem:0-3", "stem:30-32"]},
         "pairs.neurons.1: expected a channel of stem from 0 to 31, got 32"),
        ({"select": "all", "neurons": ["stem:0-3", "stem:9-5"]},
         "pairs.neurons.1: expected a range 'layer:first-last' with first <= last, got 'stem:9-5'"),
        ({"select": "all", "neurons": ["a:1234567890"]},
         "pairs.neurons.0: expected a neuron as 'layer:channel' or a range as 'layer:first-last', got 'a:1234567890'"),
        ({"select": "all", "neurons": ["stem:3"]}, "pairs.neurons: expected at least two neurons, got stem:3"),
        ({"select": "nearest", "neurons": ["stem:3-3", "stem:3"]},
         "pairs.neurons: expected at least two neurons, got stem:3"),
        ({"select": "random", "neurons": ["stem:0-3"], "n": 7},
         "pairs.n: expected at most 6, all pairs among 4 neurons, got 7"),
        ({"select": "nearest", "neurons": ["stem:0-3", "block5:0-1"], "k": 2},
         "pairs.k: expected fewer neighbours than the 2 neurons of block5 can have (at most 1), got 2"),
        ({"select": "all", "neurons": ["head:0-1279", "head_pre_relu:0-1279", "block15_expand:0-1151"]},
         "pairs: expected at most 5,000,000 pairs in one atlas, got 6,887,616; name fewer neurons"),
    ],
)  # fmt: skip
def test_an_impossible_selection_is_reported_with_its_key_in_the_spec(pairs: dict[str, Any], message: str) -> None:
    """One line has the key in the spec, what was expected, and what was found."""
    with pytest.raises(SpecError) as caught:
        selected(**pairs)

    assert str(caught.value) == message


@pytest.mark.parametrize(
    "pairs",
    [{"select": "list", "list": [["stem:0", "blok9:1"]]}, {"select": "all", "neurons": ["blok9:1-2"]}],
)
def test_an_unknown_layer_is_reported_with_similar_names(pairs: dict[str, Any]) -> None:
    """The message names similar layers, and the command that lists all layers."""
    with pytest.raises(UnknownLayerError) as caught:
        selected(**pairs)

    message = str(caught.value)
    assert message.startswith("pairs.")
    assert ".0: expected a layer of efficientnet-lite0, got 'blok9'; similar: block9, " in message
    assert message.endswith(f"('isthmus models layers efficientnet-lite0' lists all {len(MODEL.layers)})")
    assert len(message.splitlines()) == 1


def test_a_range_that_is_far_too_long_is_refused_before_it_is_expanded() -> None:
    """A typing error costs a message, not all memory."""
    tracemalloc.start()
    try:
        with pytest.raises(SpecError, match="expected a channel of stem from 0 to 31, got 3000000"):
            selected(select="all", neurons=["stem:0-3000000"])
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_the_defaults_of_the_model_are_written_out() -> None:
    """Settings without alignment layers get the default layers of the model."""
    resolved = resolve_settings(RenderSettings(), MODEL)

    assert resolved == RenderSettings(alignment=Alignment(layers=("block5", "block7")))


def test_given_alignment_layers_are_kept() -> None:
    """Settings that are complete stay the same."""
    settings = RenderSettings(alignment=Alignment(layers=("block3", "stem"), weight=2))

    assert resolve_settings(settings, MODEL) == settings


def test_an_unknown_alignment_layer_is_reported_with_its_position() -> None:
    """The message has the number of the layer in the list, and its name."""
    settings = RenderSettings(alignment=Alignment(layers=("block5", "block99")))

    with pytest.raises(UnknownLayerError) as caught:
        resolve_settings(settings, MODEL)

    assert str(caught.value).startswith(
        "render.alignment.layers.1: expected a layer of efficientnet-lite0, got 'block99'"
    )
    assert len(str(caught.value).splitlines()) == 1
