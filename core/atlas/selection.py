"""The pairs that a spec selects (listed, all, random or nearest), each once and checked against the model.

Neurons are near each other if the weights that feed them are alike, or if their activations on photographs correlate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import Array
from core.atlas.natural_strip import correlations
from core.errors import SpecError, counted, short
from core.models.model import Model
from core.models.models import check_layer, check_neuron
from core.neurons import Neuron, Pair, distinct_pairs, parse_range
from core.spec import Alignment, AllPairs, AtlasSpec, ListedPairs, NearestPairs, RandomPairs, RenderSettings

_MAX_PAIRS = 5_000_000
NEEDS_PHOTOGRAPHS = "the activations of two photographs or more, found none; run isthmus images SPEC first"

OnPhotographs = Callable[[str, Sequence[int]], NDArray[Any] | None]
"""Layer and channels -> their activations on photographs, shape (channel, image); None if there are none."""


def select_pairs(spec: AtlasSpec, model: Model, on_photographs: OnPhotographs | None = None) -> list[Pair]:
    """Return the pairs that a spec selects, each once, in the order of the spec; none if it has a land only.

    Args:
        on_photographs: what `by: activations` compares.

    Raises:
        SpecError: if a neuron does not exist, or there are fewer pairs than the selection asks for, or too many, or
            activations are compared that do not exist.
    """
    match spec.pairs:
        case ListedPairs(list=listed):
            return list(distinct_pairs(_listed(listed, model)))
        case AllPairs(neurons=written):
            neurons = _neurons(written, model)
            _check_count(_count_pairs(neurons))
            return [Pair.of(a, b) for a, b in combinations(neurons, 2)]
        case RandomPairs(neurons=written, n=n, seed=seed):
            return _random(_neurons(written, model), n, seed)
        case NearestPairs(neurons=written, k=k, connect=connect, by=by):
            neurons = _neurons(written, model)

            def likeness(members: Sequence[Neuron]) -> NDArray[np.float64]:
                if by == "weights":
                    return _similarity(members, model)
                return correlations(activations_of(members, on_photographs, "pairs.by"))

            return list(distinct_pairs(_nearest(neurons, k, model, likeness, connect)))
        case None:
            return []


def spec_neurons(spec: AtlasSpec, model: Model) -> list[Neuron]:
    """Return all neurons that a spec names, in pairs and land, each once, without selecting pairs.

    Raises:
        SpecError: if a neuron cannot be read or does not exist.
    """
    neurons: dict[Neuron, None] = {}
    match spec.pairs:
        case ListedPairs(list=listed):
            neurons.update(dict.fromkeys(neuron for pair in _listed(listed, model) for neuron in pair))
        case AllPairs(neurons=written) | RandomPairs(neurons=written) | NearestPairs(neurons=written):
            neurons.update(dict.fromkeys(listed_neurons(written, model, "pairs.neurons")))
    if spec.land is not None:
        neurons.update(dict.fromkeys(listed_neurons(spec.land.neurons, model, "land.neurons")))
    return list(neurons)


def resolve_settings(settings: RenderSettings, model: Model) -> RenderSettings:
    """Return the settings with the model's defaults written out, so that equal pictures have equal settings.

    Raises:
        UnknownLayerError: if an alignment layer does not exist.
        SpecError: if the model cannot compute with the precision.
    """
    if settings.precision == "bfloat16" and not model.supports_bfloat16:
        raise SpecError(
            f"render.precision: expected float32 or tf32, {model.name} does not compute in bfloat16; "
            "efficientnet-lite0 does"
        )
    alignment = settings.alignment
    if alignment.weight == 0:
        return settings.model_copy(update={"alignment": Alignment(layers=(), weight=0)})
    layers = tuple(model.alignment_layers) if alignment.layers is None else alignment.layers
    for number, layer in enumerate(layers):
        check_layer(model, layer, f"render.alignment.layers.{number}")
    return settings.model_copy(update={"alignment": alignment.model_copy(update={"layers": layers})})


def _listed(listed: Sequence[tuple[str, str]], model: Model) -> Iterator[tuple[Neuron, Neuron]]:
    for number, (first, second) in enumerate(listed):
        source = f"pairs.list.{number}"
        try:
            neurons = Neuron.parse(first), Neuron.parse(second)
            Pair.of(*neurons)
        except SpecError as error:
            raise SpecError(f"{source}: {error}") from None
        for neuron in neurons:
            check_neuron(model, neuron, source)
        yield neurons


def _neurons(written: Sequence[str], model: Model) -> list[Neuron]:
    """Return the neurons of a list of neurons and ranges, each once; at least two are required."""
    neurons = listed_neurons(written, model, "pairs.neurons")
    if len(neurons) < 2:
        raise SpecError(f"pairs.neurons: expected at least two neurons, got {', '.join(map(str, neurons))}")
    return neurons


def listed_neurons(written: Sequence[str], model: Model, key: str) -> list[Neuron]:
    """Return the neurons of a list of neurons and ranges, each once, in the order of the list.

    Args:
        key: the key of the spec that has the list, for messages.

    Raises:
        SpecError: if a neuron cannot be read or does not exist.
    """
    neurons: dict[Neuron, None] = {}
    for number, text in enumerate(written):
        source = f"{key}.{number}"
        try:
            layer, channels = parse_range(text)
        except SpecError as error:
            raise SpecError(f"{source}: {error}") from None
        check_neuron(model, Neuron(layer, channels[-1]), source)
        neurons.update(dict.fromkeys(Neuron(layer, channel) for channel in channels))
    return list(neurons)


def _count_pairs(neurons: Sequence[Neuron]) -> int:
    return len(neurons) * (len(neurons) - 1) // 2


def _check_count(count: int) -> None:
    if count > _MAX_PAIRS:
        raise SpecError(f"pairs: expected at most {_MAX_PAIRS:,} pairs in one atlas, got {count:,}; name fewer neurons")


def _random(neurons: Sequence[Neuron], n: int, seed: int) -> list[Pair]:
    count = _count_pairs(neurons)
    if n > count:
        raise SpecError(
            f"pairs.n: expected at most {count:,}, all pairs among {counted(len(neurons), 'neuron')}, got {n:,}"
        )
    _check_count(n)
    drawn = np.random.Generator(np.random.Philox(seed)).choice(count, n, replace=False)
    # Pair number p of neurons (i, j), i < j, with j major: p = j (j - 1) / 2 + i.
    later = ((1 + np.sqrt(1 + 8 * drawn.astype(np.float64))) / 2).astype(np.int64)
    later -= later * (later - 1) // 2 > drawn  # the square root may have been rounded up
    earlier = drawn - later * (later - 1) // 2
    return [Pair.of(neurons[i], neurons[j]) for i, j in zip(earlier, later, strict=True)]


Likeness = Callable[[Sequence[Neuron]], NDArray[np.float64]]
"""Neurons -> how alike they are, shape (neuron, neuron), symmetric."""


def activations_of(neurons: Sequence[Neuron], on_photographs: OnPhotographs | None, key: str) -> NDArray[Any]:
    """Return the activations of neurons on photographs, shape (neuron, image).

    Args:
        key: the key of the spec that asks for them, for messages.

    Raises:
        SpecError: if there are no photographs, or not for a layer of the neurons.
    """
    rows: dict[Neuron, Any] = {}
    for layer in dict.fromkeys(neuron.layer for neuron in neurons):
        members = [neuron for neuron in neurons if neuron.layer == layer]
        found = on_photographs(layer, [neuron.channel for neuron in members]) if on_photographs else None
        if found is None:
            raise SpecError(f"{key}: for {short(layer)}, expected {NEEDS_PHOTOGRAPHS}")
        rows.update(zip(members, found, strict=True))
    return np.stack([rows[neuron] for neuron in neurons])


def _nearest(
    neurons: Sequence[Neuron], k: int, model: Model, likeness: Likeness, connect: bool
) -> Iterator[tuple[Neuron, Neuron]]:
    """Yield pairs of each neuron with its k nearest, layer by layer; among equally near neurons the first listed wins.

    A layer and the layers that are derived from it count as one.

    Args:
        connect: add the nearest pairs that make each layer one connected component. Similarity is not defined between
            layers, so each layer is joined to the next by a pair of typical neurons: those with the largest sum of
            similarities to the neurons of their own layer.
    """
    by_layer: dict[str, list[Neuron]] = {}
    typical: list[Neuron] = []
    for neuron in neurons:
        by_layer.setdefault(_compared_in(neuron, model), []).append(neuron)
    for layer, members in by_layer.items():
        if len(members) <= k:
            raise SpecError(
                f"pairs.k: expected fewer neighbours than the {counted(len(members), 'neuron')} of {layer} can have "
                f"(at most {len(members) - 1}), got {k}"
            )
        similarity = likeness(members)
        typical.append(members[int(similarity.sum(axis=1).argmax())])
        np.fill_diagonal(similarity, -np.inf)
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
        edges = [(row, int(column)) for row, columns in enumerate(nearest) for column in columns]
        if connect:
            edges += missing_links(similarity, edges)
        for row, column in edges:
            yield members[row], members[column]
    if connect:
        yield from pairwise(sorted(typical, key=lambda neuron: neuron.order))


def _compared_in(neuron: Neuron, model: Model) -> str:
    """Return the layer in whose space a neuron is compared with others."""
    return model.derived[neuron.layer].of if neuron.layer in model.derived else neuron.layer


def _similarity(neurons: Sequence[Neuron], model: Model) -> NDArray[np.float64]:
    """Return the similarity of every neuron with every neuron, shape (neuron, neuron).

    All are channels of one layer, or directions in the space of its channels. Two channels are compared by the weights
    that feed them, all others by the cosine of their directions; that of a channel is its axis.
    """
    derived = [neuron.layer in model.derived for neuron in neurons]
    if not any(derived):
        return cosine_similarity(features(neurons, model))
    channels = [number for number, is_derived in enumerate(derived) if not is_derived]
    directions = np.zeros((len(neurons), model.layers[_compared_in(neurons[0], model)]), np.float32)
    directions[channels, [neurons[number].channel for number in channels]] = 1
    for layer in {neuron.layer for neuron in neurons} & model.derived.keys():
        places = [number for number, neuron in enumerate(neurons) if neuron.layer == layer]
        directions[places] = features([neurons[number] for number in places], model)
    similarity = cosine_similarity(directions)
    if channels:
        similarity[np.ix_(channels, channels)] = cosine_similarity(features([neurons[n] for n in channels], model))
    return similarity


def features(neurons: Sequence[Neuron], model: Model) -> Array:
    """Return what tells which neurons of one layer are alike: their directions, or the weights that feed them.

    Returns:
        shape (neuron, feature).
    """
    [layer] = {neuron.layer for neuron in neurons}
    channels = [neuron.channel for neuron in neurons]
    if layer in model.derived:
        return model.derived[layer].rows(channels)[:, :-1]
    return model.fan_in(layer)[channels]


def missing_links(similarity: NDArray[np.float64], edges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the edges of largest total similarity that, added to some edges, make one connected component.

    This is Kruskal's algorithm, started with the given edges: it joins the most similar nodes of different components
    until one component is left.

    Args:
        similarity: shape (node, node), symmetric.
        edges: the edges that exist already.
    """
    component = np.arange(len(similarity))
    for edge in edges:
        _join(component, *edge)
    missing = len(np.unique(component)) - 1
    first, second = np.nonzero(np.triu(component[:, None] != component[None, :]))
    nearest = np.argsort(-similarity[first, second], kind="stable")
    candidates = ((int(first[place]), int(second[place])) for place in nearest)
    return list(islice((edge for edge in candidates if _join(component, *edge)), missing))


def _join(component: NDArray[np.int_], first: int, second: int) -> bool:
    """Merge the components of two nodes; return whether they were different."""
    if component[first] == component[second]:
        return False
    component[component == component[second]] = component[first]
    return True


def cosine_similarity(rows: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the cosine of every row with every row, shape (row, row); with a row of zeros the cosine is 0."""
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    unit = rows / np.where(norms == 0, 1, norms)
    similarity: NDArray[np.float64] = unit @ unit.T
    return similarity
