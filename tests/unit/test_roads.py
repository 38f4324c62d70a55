"""The shortest route against a search through all routes, and the pairs that connect a graph."""

from __future__ import annotations

from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_records import make_record

from core.atlas.chunks import PlannedPair
from core.atlas.records import Record, to_ndjson
from core.atlas.roads import Road, read_roads, shortest
from core.atlas.selection import missing_links, select_pairs
from core.errors import SpecError
from core.models.model import Model
from core.neurons import Neuron, Pair
from core.spec_file import parse_spec
from core.store.store import DirectoryStore

NODES = 6


def neuron(number: int) -> Neuron:
    return Neuron("stem", number)


def road(a: int, b: int, distance: float, atlas: int = 0) -> Road:
    """A strip between the portraits of two neurons; another number of the atlas stands for another canvas."""
    key = f"{atlas:02d}{a:09d}{b:09d}"
    return Road(key, (f"{atlas:02d}{a:018d}", f"{atlas:02d}{b:018d}"), (f"stem:{a}", f"stem:{b}"), 4, distance)


graphs = st.dictionaries(
    st.tuples(st.integers(0, NODES - 1), st.integers(0, NODES - 1)).filter(lambda edge: edge[0] < edge[1]),
    st.integers(1, 9),
)


@settings(deadline=None, max_examples=150)
@given(graphs)
def test_the_route_has_the_fewest_roads_and_among_these_the_smallest_distance(
    graph: dict[tuple[int, int], int],
) -> None:
    """The route is compared with every possible route; each road begins at the portrait where the one before ends."""
    roads = [road(a, b, distance) for (a, b), distance in graph.items()]
    both_directions = graph | {(b, a): distance for (a, b), distance in graph.items()}
    lengths = [
        (len(nodes) - 1, sum(both_directions[edge] for edge in pairwise(nodes)))
        for count in range(2, NODES + 1)
        for nodes in permutations(range(NODES), count)
        if nodes[0] == 0 and nodes[-1] == 1 and all(edge in both_directions for edge in pairwise(nodes))
    ]
    if not lengths:
        with pytest.raises(SpecError, match=r"no route from stem:0 to stem:1|expected a neuron with a strip"):
            shortest(roads, neuron(0), neuron(1))
        return

    route = shortest(roads, neuron(0), neuron(1))

    assert (len(route), sum(strip.distance for strip in route)) == min(lengths)
    assert (route[0].neurons[0], route[-1].neurons[1]) == ("stem:0", "stem:1")
    assert all(one.ends[1] == other.ends[0] for one, other in pairwise(route))
    assert all(strip.is_reversed == (strip.neurons[0] > strip.neurons[1]) for strip in route)


def test_roads_on_two_canvases_do_not_meet() -> None:
    """A neuron has a portrait on each canvas. A route stays on one canvas, the one with the shorter route."""
    roads = [road(0, 2, 1, atlas=1), road(2, 1, 1, atlas=2)]
    with pytest.raises(SpecError, match="no route from stem:0 to stem:1: "):
        shortest(roads, neuron(0), neuron(1))

    roads += [road(2, 1, 3, atlas=1), road(0, 2, 2, atlas=2)]

    assert {strip.ends[0][:2] for strip in shortest(roads, neuron(0), neuron(1))} == {"02"}


def test_an_impossible_route_is_reported_with_similar_neurons() -> None:
    """One line says what was expected."""
    roads = [road(10, 11, 1)]

    with pytest.raises(SpecError, match="expected two different neurons, got stem:10 twice"):
        shortest(roads, neuron(10), neuron(10))
    with pytest.raises(SpecError, match="expected a neuron with a strip in this atlas, got stem:12; similar: stem:1"):
        shortest(roads, neuron(10), neuron(12))


def test_only_finished_strips_between_portraits_are_roads(tmp_path: Path) -> None:
    """Neither a strip with ends of its own nor a failed one is a road."""
    store = DirectoryStore(tmp_path)

    def record(number: int, status: str = "done", **changes: Any) -> Record:
        planned = PlannedPair(Pair(Neuron("stem", 0), Neuron("stem", number)), f"{number:020x}")
        return make_record(planned, status, **changes)

    walk = {"strip": "walk", "portraits": ("0" * 20, "1" * 20)}
    store.create("records/pair.ndjson", to_ndjson([record(1)]))
    with pytest.raises(SpecError, match="expected an atlas that was built with strip: walk, found no strip between"):
        read_roads(store)

    store.create("records/walk.ndjson", to_ndjson([record(2, "failed", **walk), record(3, **walk)]))

    assert read_roads(store) == [Road(f"{3:020x}", ("0" * 20, "1" * 20), ("stem:0", "stem:3"), 3, pytest.approx(0.03))]


def components(nodes: int, joined: list[tuple[int, int]]) -> int:
    """Count connected components by walking from node to node."""
    unseen, count = set(range(nodes)), 0
    while unseen:
        count += 1
        reached = [unseen.pop()]
        while reached:
            here = reached.pop()
            near = {b if a == here else a for a, b in joined if here in (a, b)} & unseen
            unseen -= near
            reached += near
    return count


@settings(deadline=None, max_examples=100)
@given(st.integers(2, 7), st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6))), st.integers(0, 2**32 - 1))
def test_missing_links_connect_a_graph_with_the_fewest_and_most_similar_pairs(
    nodes: int, joined: list[tuple[int, int]], seed: int
) -> None:
    """There is one link less than there were components, and no link can be replaced by a more similar one."""
    joined = [(a, b) for a, b in joined if a < nodes and b < nodes and a != b]
    values = np.random.default_rng(seed).random((nodes, nodes))
    similarity = values + values.T

    links = missing_links(similarity, joined)

    assert len(links) == components(nodes, joined) - 1
    assert components(nodes, [*joined, *links]) == 1
    for link in links:
        rest = [*joined, *(other for other in links if other != link)]
        others = [(a, b) for a in range(nodes) for b in range(a) if components(nodes, [*rest, (a, b)]) == 1]
        assert similarity[link] == max(similarity[other] for other in others)


def test_connect_makes_the_nearest_pairs_of_real_layers_one_component(model: Model) -> None:
    """With one neighbour each, the neurons of a layer form many components; one more link joins the two layers."""

    def pairs(connect: bool) -> list[Pair]:
        neurons = ["block5_expand_pre_relu:0-59", "block2:0-9"]
        chosen = {"select": "nearest", "neurons": neurons, "k": 1, "connect": connect}
        return select_pairs(parse_spec({"name": "near", "pairs": chosen}, "here"), model)

    def count_components(chosen: list[Pair]) -> int:
        numbers = {one: number for number, one in enumerate(sorted({one for pair in chosen for one in pair}))}
        assert len(numbers) == 70
        return components(70, [(numbers[pair.a], numbers[pair.b]) for pair in chosen])

    apart, joined = pairs(connect=False), pairs(connect=True)

    assert count_components(apart) > 10
    assert count_components(joined) == 1
    assert set(apart) < set(joined)
    assert len(joined) == len(apart) + count_components(apart) - 1
    assert sum(pair.a.layer != pair.b.layer for pair in joined) == 1
    assert len(joined) == len(set(joined))
