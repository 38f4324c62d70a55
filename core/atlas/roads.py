"""Roads, which are the strips between portraits, and the shortest route of roads from one neuron to another."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from core.atlas.recorded import read_records
from core.atlas.records import Key, Record
from core.errors import SpecError
from core.neurons import Neuron
from core.store.store import Store


class Road(NamedTuple):
    """A strip between two portraits: an edge that leads from its first end to its second, and can be reversed.

    Attributes:
        key: the key of the strip's sheet.
        ends: keys of the portraits of neuron a and of neuron b.
        neurons: a and b.
        distance: sum over the strip of the mean squared differences of neighbouring frames.
        is_reversed: whether it leads from neuron b to neuron a; ends and neurons are then those of b and a.
    """

    key: Key
    ends: tuple[Key, Key]
    neurons: tuple[str, str]
    frames: int
    distance: float
    is_reversed: bool = False

    def backwards(self) -> Road:
        """Return the same strip in the other direction."""
        return self._replace(ends=self.ends[::-1], neurons=self.neurons[::-1], is_reversed=not self.is_reversed)


def read_roads(store: Store) -> list[Road]:
    """Return a road for every finished strip of a walkable atlas.

    Raises:
        SpecError: if there is no such strip.
        RecordError: if a record cannot be read.
    """
    roads = [road for road in read_records(store, _road).values() if road is not None]
    if not roads:
        raise SpecError(f"{store}: expected an atlas that was built with strip: walk, found no strip between portraits")
    return roads


def shortest(roads: Iterable[Road], first: Neuron, last: Neuron) -> list[Road]:
    """Return the route from one neuron to another with the fewest roads, and among these with the smallest distance.

    Returns:
        the roads in the order of the route, each in the direction in which it begins where the one before ends.

    Raises:
        SpecError: if the neurons are the same, one of them has no strip, or there is no route between them.
    """
    if first == last:
        raise SpecError(f"expected two different neurons, got {first} twice")
    leaving: dict[Key, list[Road]] = {}
    portraits: dict[str, set[Key]] = {}  # a neuron has one on each canvas, and each seed has another canvas
    for road in roads:
        for directed in (road, road.backwards()):
            leaving.setdefault(directed.ends[0], []).append(directed)
            portraits.setdefault(directed.neurons[0], set()).add(directed.ends[0])
    for neuron in (first, last):
        if str(neuron) not in portraits:
            near = difflib.get_close_matches(str(neuron), portraits, n=4, cutoff=0) or sorted(portraits)[:4]
            raise SpecError(f"expected a neuron with a strip in this atlas, got {neuron}; similar: {', '.join(near)}")
    route = _search(leaving, portraits[str(first)], portraits[str(last)])
    if route is None:
        raise SpecError(
            f"no route from {first} to {last}: no strips join the parts of the atlas that they lie in; add pairs that "
            "do, or connect: true to pairs with select: nearest, which joins all neurons"
        )
    return route


def _search(leaving: Mapping[Key, Sequence[Road]], starts: Iterable[Key], goals: set[Key]) -> list[Road] | None:
    """Find the shortest route by Dijkstra's algorithm; its length is its number of roads, then its distance."""
    queue: list[tuple[int, float, Key]] = [(0, 0.0, start) for start in sorted(starts)]
    shortest = {start: (0, 0.0) for _, _, start in queue}
    reached_by: dict[Key, Road] = {}
    while queue:
        roads, distance, here = heapq.heappop(queue)
        if here in goals:
            return _route_to(here, reached_by)
        if (roads, distance) > shortest[here]:
            continue
        for road in leaving[here]:
            there, length = road.ends[1], (roads + 1, distance + road.distance)
            if there not in shortest or length < shortest[there]:
                shortest[there] = length
                reached_by[there] = road
                heapq.heappush(queue, (*length, there))
    return None


def _route_to(goal: Key, reached_by: Mapping[Key, Road]) -> list[Road]:
    route: list[Road] = []
    while goal in reached_by:
        route.append(reached_by[goal])
        goal = route[-1].ends[0]
    return route[::-1]


def _road(record: Record) -> Road | None:
    if record.portraits is None or record.status == "failed":
        return None
    return Road(record.key, record.portraits, (record.a, record.b), record.frames, sum(record.neighbour_distance))
