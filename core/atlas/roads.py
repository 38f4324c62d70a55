"""Roads through an atlas: which portraits its strips join, and the shortest way from one neuron to another."""

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
    """A strip between two portraits, which may be walked from either end.

    Attributes:
        key: of the strip's sheet.
        ends: keys of the portraits of neuron a and of neuron b.
        neurons: a and b.
        distance: sum over the strip of the mean squared differences of neighbouring frames.
        turned: whether it is walked from neuron b to neuron a; ends and neurons are then those of b and a.
    """

    key: Key
    ends: tuple[Key, Key]
    neurons: tuple[str, str]
    frames: int
    distance: float
    turned: bool = False

    def backwards(self) -> Road:
        """The same strip, walked from its other end."""
        return self._replace(ends=self.ends[::-1], neurons=self.neurons[::-1], turned=not self.turned)


def read_roads(store: Store) -> list[Road]:
    """Every finished strip of a walkable atlas.

    Raises:
        SpecError: if there is none.
        RecordError: if a record cannot be read.
    """
    roads = [road for road in read_records(store, _road).values() if road is not None]
    if not roads:
        raise SpecError(f"{store}: expected an atlas that was built with strip: walk, found no strip between portraits")
    return roads


def shortest(roads: Iterable[Road], first: Neuron, last: Neuron) -> list[Road]:
    """The way from one neuron to another by the fewest strips; of equally few, that of the smallest summed distance.

    Returns:
        the strips in the order of the way, each turned so that it begins where the one before ends.

    Raises:
        SpecError: if the neurons are the same, one of them has no strip, or no way leads from one to the other.
    """
    if first == last:
        raise SpecError(f"expected two different neurons, got {first} twice")
    leaving: dict[Key, list[Road]] = {}
    portraits: dict[str, set[Key]] = {}  # a neuron has one for each canvas: another seed, say, gives another atlas
    for road in roads:
        for turned in (road, road.backwards()):
            leaving.setdefault(turned.ends[0], []).append(turned)
            portraits.setdefault(turned.neurons[0], set()).add(turned.ends[0])
    for neuron in (first, last):
        if str(neuron) not in portraits:
            near = difflib.get_close_matches(str(neuron), portraits, n=4, cutoff=0) or sorted(portraits)[:4]
            raise SpecError(f"expected a neuron with a strip in this atlas, got {neuron}; near are {', '.join(near)}")
    way = _search(leaving, portraits[str(first)], portraits[str(last)])
    if way is None:
        raise SpecError(
            f"no road from {first} to {last}: no strips join the parts of the atlas that they lie in; add pairs that "
            "do, or connect: true to pairs with select: nearest, which joins all neurons"
        )
    return way


def _search(leaving: Mapping[Key, Sequence[Road]], starts: Iterable[Key], goals: set[Key]) -> list[Road] | None:
    """Dijkstra's algorithm; the length of a way is its number of strips, and then its distance."""
    waiting: list[tuple[int, float, Key]] = [(0, 0.0, start) for start in sorted(starts)]
    shortest = {start: (0, 0.0) for _, _, start in waiting}
    came_by: dict[Key, Road] = {}
    while waiting:
        strips, distance, here = heapq.heappop(waiting)
        if here in goals:
            return _back(came_by, here)
        if (strips, distance) > shortest[here]:
            continue
        for road in leaving[here]:
            there, length = road.ends[1], (strips + 1, distance + road.distance)
            if there not in shortest or length < shortest[there]:
                shortest[there] = length
                came_by[there] = road
                heapq.heappush(waiting, (*length, there))
    return None


def _back(came_by: Mapping[Key, Road], goal: Key) -> list[Road]:
    way: list[Road] = []
    while goal in came_by:
        way.append(came_by[goal])
        goal = way[-1].ends[0]
    return way[::-1]


def _road(record: Record) -> Road | None:
    if record.portraits is None or record.status == "failed":
        return None
    return Road(record.key, record.portraits, (record.a, record.b), record.frames, sum(record.neighbour_distance))
