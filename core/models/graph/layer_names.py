"""The layers of a frozen graph: the outputs of its nodes, and concatenations of several."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from core.models.graph.safety import node_name

_NOT_LAYERS = frozenset(("Const", "Placeholder", "PlaceholderWithDefault", "NoOp", "Shape", "Pack"))
_RELUS = ("Relu", "Relu6")
_CONCATENATIONS = ("Concat", "ConcatV2")
_PRE_RELU = "_pre_relu"


class LayerNames:
    """The names of a graph's layers.

    Args:
        nodes: name -> node.
        given: layer -> node, if the layers have other names than their nodes; other nodes are then no layers.
        added: nodes that are no layers, because the graph's author has not made them.
    """

    def __init__(
        self, nodes: Mapping[str, Any], given: Mapping[str, str] | None = None, added: Collection[str] = ()
    ) -> None:
        self._nodes = nodes
        self._added = added
        self._given = given
        self._of_node: dict[str, list[str]] = {}
        for layer, node in (given or {}).items():
            self._of_node.setdefault(node, []).append(layer)

    @property
    def given(self) -> Collection[str]:
        """The layers that have other names than their nodes."""
        return (self._given or {}).keys()

    def of(self, node: Any) -> Iterator[str]:
        """Yield the layers of a node: concatenated ReLUs also exist as their concatenation before the ReLUs."""
        if self._given is not None:
            yield from self._of_node.get(node.name, [])
            return
        if node.op in _NOT_LAYERS or node.name in self._added:
            return
        before = f"{node.name}{_PRE_RELU}"
        concatenates = node.op in _CONCATENATIONS and before not in self._nodes
        if concatenates and any(self._nodes[tower].op in _RELUS for tower in towers(node)):
            yield before
        yield node.name

    def nodes(self, layer: str) -> list[str]:
        """Return the nodes whose concatenation is the layer: the node itself, or each tower before its ReLU."""
        if self._given is not None:
            return [self._given[layer]]
        if layer in self._nodes:
            return [layer]
        return [
            node_name(self._nodes[tower].input[0]) if self._nodes[tower].op in _RELUS else tower
            for tower in towers(self.node(layer))
        ]

    def node(self, layer: str) -> Any:
        """Return the node that computes a layer, or that concatenates what it is the concatenation of."""
        if self._given is not None:
            return self._nodes[self._given[layer]]
        return self._nodes.get(layer) or self._nodes[layer.removesuffix(_PRE_RELU)]


def towers(node: Any) -> list[str]:
    """Return the nodes that are concatenated. The axis is the first input of `Concat`, the last of `ConcatV2`."""
    inputs = [node_name(name) for name in node.input if not name.startswith("^")]
    return inputs[1:] if node.op == "Concat" else inputs[:-1]
