"""From the selection in a spec to pairs: listed, all, random or nearest; each pair once, all of them checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, islice, pairwise

import numpy as np
from numpy.typing import NDArray

from core.errors import SpecError
from core.models.models import Model, check_layer, check_neuron
from core.neurons import Neuron, Pair, distinct_pairs, parse_range
from core.spec import Alignment, AllPairs, AtlasSpec, ListedPairs, NearestPairs, RandomPairs, RenderSettings

_MOST_PAIRS = 5_000_000


def select_pairs(spec: AtlasSpec, model: Model) -> list[Pair]:
    """The pairs of a spec, without repetition, in the order in which the spec gives them.

    Raises:
        SpecError: if a neuron does not exist, or the selection asks for more pairs than there are.
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
        case NearestPairs(neurons=written, k=k, connect=connect):
            return list(distinct_pairs(_nearest(_neurons(written, model), k, model, connect)))


def resolve_settings(settings: RenderSettings, model: Model) -> RenderSettings:
    """The settings with the model's defaults written out, so that equal pictures have equal settings.

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
        where = f"pairs.list.{number}"
        try:
            neurons = Neuron.parse(first), Neuron.parse(second)
            Pair.of(*neurons)
        except SpecError as error:
            raise SpecError(f"{where}: {error}") from None
        for neuron in neurons:
            check_neuron(model, neuron, where)
        yield neurons


def _neurons(written: Sequence[str], model: Model) -> list[Neuron]:
    """All neurons of a list of neurons and ranges, each once; at least two."""
    neurons: dict[Neuron, None] = {}
    for number, text in enumerate(written):
        where = f"pairs.neurons.{number}"
        try:
            layer, channels = parse_range(text)
        except SpecError as error:
            raise SpecError(f"{where}: {error}") from None
        check_neuron(model, Neuron(layer, channels[-1]), where)
        neurons.update(dict.fromkeys(Neuron(layer, channel) for channel in channels))
    if len(neurons) < 2:
        raise SpecError(f"pairs.neurons: expected at least two neurons, got {', '.join(map(str, neurons))}")
    return list(neurons)


def _count_pairs(neurons: Sequence[Neuron]) -> int:
    return len(neurons) * (len(neurons) - 1) // 2


def _check_count(count: int) -> None:
    if count > _MOST_PAIRS:
        raise SpecError(
            f"pairs: expected at most {_MOST_PAIRS:,} pairs in one atlas, got {count:,}; name fewer neurons"
        )


def _random(neurons: Sequence[Neuron], n: int, seed: int) -> list[Pair]:
    count = _count_pairs(neurons)
    if n > count:
        raise SpecError(f"pairs.n: expected at most {count:,}, all pairs among {len(neurons):,} neurons, got {n:,}")
    _check_count(n)
    drawn = np.random.Generator(np.random.Philox(seed)).choice(count, n, replace=False)
    # Pair number p of neurons (i, j), i < j, with j major: p = j (j - 1) / 2 + i.
    later = ((1 + np.sqrt(1 + 8 * drawn.astype(np.float64))) / 2).astype(np.int64)
    later -= later * (later - 1) // 2 > drawn  # the root may have been rounded up
    earlier = drawn - later * (later - 1) // 2
    return [Pair.of(neurons[i], neurons[j]) for i, j in zip(earlier, later, strict=True)]


def _nearest(neurons: Sequence[Neuron], k: int, model: Model, connect: bool) -> Iterator[tuple[Neuron, Neuron]]:
    """Pairs of each neuron with its k nearest, layer by layer; of equally near ones the lower channel first.

    Args:
        connect: add to each layer the nearest pairs that make one whole of it. Similarity is not defined between
            layers, so each is joined to the next by a pair of the neurons that are most like the others of their own.
    """
    by_layer: dict[str, list[Neuron]] = {}
    typical: list[Neuron] = []
    for neuron in neurons:
        by_layer.setdefault(neuron.layer, []).append(neuron)
    for layer, members in by_layer.items():
        if len(members) <= k:
            raise SpecError(
                f"pairs.k: expected fewer neighbours than the {len(members)} neurons of {layer} can have "
                f"(at most {len(members) - 1}), got {k}"
            )
        similarity = cosine_similarity(model.fan_in(layer)[[neuron.channel for neuron in members]])
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


def missing_links(similarity: NDArray[np.float64], edges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The most similar pairs of different components, one after the other, until there is one component.

    This is Kruskal's algorithm, begun with some edges; so the sum of the similarities is as large as can be.

    Args:
        similarity: shape (node, node), symmetric.
        edges: that are there already.
    """
    component = np.arange(len(similarity))
    for edge in edges:
        _join(component, *edge)
    apart = len(np.unique(component)) - 1
    first, second = np.nonzero(np.triu(component[:, None] != component[None, :]))
    nearest = np.argsort(-similarity[first, second], kind="stable")
    candidates = ((int(first[place]), int(second[place])) for place in nearest)
    return list(islice((edge for edge in candidates if _join(component, *edge)), apart))


def _join(component: NDArray[np.int_], first: int, second: int) -> bool:
    """Make one component of those of two nodes; False if they are one already."""
    if component[first] == component[second]:
        return False
    component[component == component[second]] = component[first]
    return True


def cosine_similarity(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine of every row with every row, shape (row, row); a row of zeros is unlike all others."""
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    unit = rows / np.where(norms == 0, 1, norms)
    similarity: NDArray[np.float64] = unit @ unit.T
    return similarity
