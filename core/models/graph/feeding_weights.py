"""The weights that feed a layer of a frozen graph, found by walking back from it to the last kernels.

The walk follows the path of values: through activations, normalisations, pools, gates and residual sums. A channel of a
sum is fed by both branches, whose weights stand side by side.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from core.arrays import Array
from core.errors import ModelError
from core.models.graph.kernels import KERNELS, constant_of, kernel_rows
from core.models.graph.layer_names import towers
from core.models.graph.safety import node_name, quoted

_MOST_VALUES = 1 << 28  # 1 GiB of float32
_PASSING = frozenset(
    """
    Abs AvgPool BiasAdd Cast ClipByValue Elu Erf Exp ExpandDims Identity LRN LeakyRelu Log Log1p MaxPool
    MirrorPad Neg Pad PadV2 Pow Relu Relu6 Reshape ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor
    Rsqrt Selu Sigmoid Softmax Softplus Softsign Sqrt Square Squeeze StopGradient Tanh
    """.split()
)
"""Operations that change the values of a channel and not which channel they are of: the first input is followed."""
_NORMALISING = frozenset(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"))
_SUMS = frozenset("Add AddN AddV2 Maximum Minimum SelectV2 SquaredDifference Sub".split())
_PRODUCTS = frozenset("DivNoNan Mul RealDiv".split())
_FIXED = frozenset("OnesLike Rank Shape Size ZerosLike".split())  # whatever the values of their inputs are
_CONCATENATIONS = frozenset(("Concat", "ConcatV2"))
_SAME_CHANNELS = ([0, 3, 1, 2], [0, 2, 3, 1], [0, 2, 1], [0, 1, 3, 2, 4, 5])
"""Transposes that move all channels together: channels first and last, and windows."""


@dataclass(frozen=True)
class _Block:
    """The rows of one kernel that feed some neighbouring channels; *factors* are those of normalisations."""

    first: int
    rows: Array
    factors: Array

    def moved(self, channels: int) -> _Block:
        return replace(self, first=self.first + channels)


@dataclass(frozen=True)
class Feed:
    """All kernels that feed a tensor. A statistic, such as the mean over all channels, has no channels."""

    channels: int
    blocks: Mapping[tuple[str, ...], _Block]


_STATISTIC = Feed(0, {})


class FeedingWeights:
    """The weights that feed the nodes of a graph; each node is visited once.

    Args:
        nodes: name -> node.
    """

    def __init__(self, nodes: Mapping[str, Any]) -> None:
        self._nodes = nodes
        self._found: dict[str, Feed] = {}
        self._variable: dict[str, bool] = {}

    def weights(self, name: str) -> Array:
        """Return the weights that feed a node, shape (channel, weight), float32.

        Each kernel has columns of its own, which are 0 for channels that it does not feed.

        Raises:
            ModelError: as `feed` does, or if the weights need more than 1 GiB.
        """
        feed = self.feed(name)
        columns = sum(block.rows.shape[1] for block in feed.blocks.values())
        if feed.channels * columns > _MOST_VALUES:
            raise ModelError(f"{feed.channels:,} channels with {columns:,} weights each need more than 1 GiB")
        found = np.zeros((feed.channels, columns), np.float32)
        column = 0
        for block in feed.blocks.values():
            height, width = block.rows.shape
            found[block.first : block.first + height, column : column + width] = block.rows * block.factors[:, None]
            column += width
        return found

    def feed(self, name: str) -> Feed:
        """Return the kernels that feed a node, found without recursion: networks are deeper than Python's stack.

        Raises:
            ModelError: if the walk back ends at a node that is no kernel, or finds none; the message names the node.
        """
        self._start = name
        waiting = [name]
        while waiting:
            node = self._nodes[waiting[-1]]
            sources = [] if node.op in KERNELS else self._sources(node)
            missing = [source for source in sources if source not in self._found]
            if missing:
                waiting += missing
                continue
            self._found[waiting.pop()] = self._combined(node, sources)
        if not self._found[name].blocks:
            raise ModelError(f"the walk back from {quoted(name)} finds statistics of all channels only")
        return self._found[name]

    def _sources(self, node: Any) -> list[str]:
        """Return the inputs that the values of a node come from."""
        inputs = _inputs(node)
        if node.op in _PASSING or node.op in _NORMALISING or node.op == "Mean":
            return inputs[:1]
        if node.op == "Transpose" and constant_of(self._nodes, inputs[1], []).tolist() in _SAME_CHANNELS:
            return inputs[:1]
        if node.op in _CONCATENATIONS:
            return towers(node) if self._joins_channels(node) else self._variables(towers(node))
        if node.op in _SUMS | _PRODUCTS:
            found = self._variables(inputs[1:] if node.op == "SelectV2" else inputs)
            if len(found) == 2 and node.op in ("Sub", *_PRODUCTS):
                first, second = found
                # x - mean(x), x * gate(x) and x * sigmoid(x) are values of x.
                if self._depends(second, first):
                    return [first]
                if self._depends(first, second):
                    return [second]
            if found:
                return list(dict.fromkeys(found))
        raise self._end(node, "which mixes channels" if inputs else "where no weights come from")

    def _combined(self, node: Any, sources: list[str]) -> Feed:
        """Return what feeds a node from what feeds its sources."""
        if node.op in KERNELS:
            rows = kernel_rows(self._nodes, node)
            if rows is None:
                raise self._end(node, "whose kernel is not a constant")
            return Feed(len(rows), {(node.name,): _Block(0, rows, np.ones(len(rows), np.float32))})
        feeds = [self._found[source] for source in sources]
        if node.op == "Mean" and not {*constant_of(self._nodes, _inputs(node)[1], [-1]).ravel().tolist()} <= {1, 2}:
            return _STATISTIC
        if node.op in _CONCATENATIONS and self._joins_channels(node):
            return _side_by_side(feeds)
        feeds = [feed for feed in feeds if feed.blocks] or [_STATISTIC]
        if len({feed.channels for feed in feeds}) > 1:
            raise self._end(node, "whose inputs differ in channels")
        blocks: dict[tuple[str, ...], _Block] = {}
        for key, block in ((key, block) for feed in feeds for key, block in feed.blocks.items()):
            blocks.setdefault(key, block)
        return self._scaled(node, Feed(feeds[0].channels, blocks))

    def _scaled(self, node: Any, feed: Feed) -> Feed:
        """Return a feed times the constants by which a node multiplies the channels, if it does."""
        constants = [constant_of(self._nodes, name, [1.0]).ravel() for name in _inputs(node)[1:]]
        if node.op in _NORMALISING:
            factors = constants[0] / np.sqrt(constants[3] + node.attr["epsilon"].f)
        elif node.op in _PRODUCTS:
            factors = constant_of(self._nodes, _inputs(node)[0], [1.0]).ravel() * 1.0
            if constants[0].size == feed.channels:
                factors = constants[0] if node.op == "Mul" else 1 / np.where(constants[0] == 0, 1, constants[0])
        else:
            return feed
        if factors.size != feed.channels:
            return feed

        def scaled(block: _Block) -> _Block:
            own = factors[block.first : block.first + len(block.rows)]
            return replace(block, factors=(block.factors * own).astype(np.float32))

        return replace(feed, blocks={key: scaled(block) for key, block in feed.blocks.items()})

    def _joins_channels(self, node: Any) -> bool:
        """Return whether a concatenation is one of channels, and not one of tokens, along axis 1."""
        axis = _inputs(node)[0 if node.op == "Concat" else -1]
        return bool(constant_of(self._nodes, axis, -1) != 1)

    def _variables(self, names: list[str]) -> list[str]:
        """Return those nodes whose values depend on an input of the graph."""
        return [name for name in names if self._is_variable(name)]

    def _is_variable(self, name: str) -> bool:
        waiting = [name]
        while waiting:
            last = waiting[-1]
            node = self._nodes[last]
            inputs = [] if node.op in _FIXED else _inputs(node)
            missing = [each for each in inputs if each not in self._variable]
            if missing and last not in self._variable:
                waiting += missing
                continue
            waiting.pop()
            is_input = node.op.startswith("Placeholder")
            self._variable[last] = is_input or any(self._variable[each] for each in inputs)
        return self._variable[name]

    def _depends(self, name: str, on: str) -> bool:
        """Return whether the values of a node depend on another node; the nearest nodes are looked at first."""
        seen, waiting = {name}, deque([name])
        while waiting:
            here = waiting.popleft()
            if here == on:
                return True
            for before in _inputs(self._nodes[here]):
                if before not in seen:
                    seen.add(before)
                    waiting.append(before)
        return False

    def _end(self, node: Any, why: str) -> ModelError:
        start, end = quoted(self._start), quoted(node.name)
        return ModelError(f"the walk back from {start} ends at node {end} of type {node.op}, {why}")


def _inputs(node: Any) -> list[str]:
    """Return the names of the nodes whose values a node takes."""
    return [node_name(name) for name in node.input if not name.startswith("^")]


def _side_by_side(feeds: list[Feed]) -> Feed:
    """Return the feed of concatenated towers; they share no weights, so each has columns of its own."""
    blocks: dict[tuple[str, ...], _Block] = {}
    channels = 0
    for number, feed in enumerate(feeds):
        blocks |= {(str(number), *key): block.moved(channels) for key, block in feed.blocks.items()}
        channels += feed.channels
    return Feed(channels, blocks)
