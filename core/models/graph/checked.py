"""A frozen graph that has passed the checks of untrusted graphs, and its parts.

Only the nodes that are asked for are imported into TensorFlow. If a graph has many weights, large ones are kept once
for all functions; constants of a graph would be copied several times for each function.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import TYPE_CHECKING, Any

from core.errors import ModelError
from core.models.graph.reached import reached
from core.models.graph.safety import (
    check_computed_constants,
    check_graph,
    import_part,
    inputs_of,
    node_name,
    plain_node,
    quoted,
    subgraph,
)

if TYPE_CHECKING:
    import tensorflow as tf

_LARGEST_SIZE_PX = 4096
_MANY_WEIGHTS_BYTES = 1 << 26
"""64 MiB. A function with constants of 34 MB took twice as long to trace as one with the same weights kept apart, and
its updates 4 % less, because TensorFlow prepares constant weights once."""
_LARGE_WEIGHTS_BYTES = 1 << 16


class CheckedGraph:
    """A frozen graph that only computes.

    Args:
        graph_def: a GraphDef, which is not trusted.
        wanted: the placeholder of images; None: the only one.
        source: name of the graph, for messages.

    Attributes:
        nodes: name -> node.
        order: the names of all nodes, each after those that it depends on.
        input_node: the placeholder of images.

    Raises:
        ModelError: if the graph is refused, or has no such input.
    """

    def __init__(self, graph_def: Any, wanted: str | None, source: str) -> None:
        self._source = source
        self.nodes: dict[str, Any] = {node.name: node for node in graph_def.node}
        if wanted is not None:
            self._find_input(wanted)
        self.order = check_graph(graph_def, source)
        large = [node for node in graph_def.node if _is_large(node)]
        many = sum(node.attr["value"].ByteSize() for node in graph_def.node if node.op == "Const") > _MANY_WEIGHTS_BYTES
        self._apart = frozenset(node.name for node in large if many)
        self._weights: dict[str, tf.Tensor] = {}
        self._graph_def = subgraph(graph_def, ())
        for node in graph_def.node:
            plain = self._graph_def.node.add()
            plain.CopyFrom(_stand_in(node) if node.name in self._apart else plain_node(node))
        self._parts: dict[str, Any] = {node.name: node for node in self._graph_def.node}
        self._shaped = self._parts | {node.name: _stand_in(node) for node in large}
        self.input_node = self._find_input(wanted)
        check_computed_constants(self._graph_def, self.order, source)

    def imported(
        self, names: Collection[str], image: tf.Tensor, *, with_weights: bool = False
    ) -> dict[str, tf.Operation]:
        """Put some nodes into TensorFlow's current graph; return node -> operation, in the order of the graph.

        Args:
            names: the nodes, with all that they depend on.
            image: the tensor that takes the place of the input.
            with_weights: whether the tensors shall be computed, and not only their shapes.

        Raises:
            UnfitError: if TensorFlow refuses them.
            ModelError: if they make larger tensors than a network does.
        """
        wanted = {*names, self.input_node}
        parts = self._parts if with_weights else self._shaped  # copying the weights would take most of the time
        part = subgraph(self._graph_def, (parts[name] for name in self.order if name in wanted))
        inputs = {self.input_node: image}
        if with_weights:
            inputs |= {name: self._weight(name) for name in self.order if name in self._apart and name in wanted}
        return import_part(part, inputs, self._source)

    def _weight(self, name: str) -> tf.Tensor:
        """Return a weight that is kept apart as a tensor of TensorFlow's current graph."""
        import tensorflow as tf

        values = self.nodes[name].attr["value"].tensor
        graph = tf.compat.v1.get_default_graph()
        if not hasattr(graph, "capture"):
            return tf.constant(tf.make_ndarray(values))
        if name not in self._weights:
            with tf.init_scope():
                self._weights[name] = tf.constant(tf.make_ndarray(values))
        return graph.capture(self._weights[name])

    def reached_from(self, names: Collection[str]) -> set[str]:
        """Return the names of some nodes and of all that they depend on."""
        return reached(names, lambda name: inputs_of(self.nodes[name]))

    @cached_property
    def fed_by_images(self) -> set[str]:
        """The nodes that depend on the images and on no other input."""
        fed, unfed = {self.input_node}, set[str]()
        for name in self.order:
            node = self.nodes[name]
            before = [node_name(name) for name in node.input]
            if (node.op == "Placeholder" and name != self.input_node) or not unfed.isdisjoint(before):
                unfed.add(name)
            elif not fed.isdisjoint(before):
                fed.add(name)
        return fed

    def _find_input(self, wanted: str | None) -> str:
        """Return the placeholder of the images: the *wanted* one, or the only one.

        Raises:
            ModelError: if there is no such placeholder, there are several, or it does not take float32.
        """
        placeholders = [name for name, node in self.nodes.items() if node.op.startswith("Placeholder")]
        found = ", ".join(map(quoted, placeholders[:5])) or "none"
        if wanted is None and len(placeholders) != 1:
            raise ModelError(
                f"{self._source}: expected one input node, found {found}; name the one for images as model.input"
            )
        name = placeholders[0] if wanted is None else wanted
        if name not in placeholders:
            raise ModelError(f"{self._source}: expected the input node {quoted(name)}, the graph's inputs are {found}")
        if self.nodes[name].attr["dtype"].type != 1:  # DT_FLOAT
            raise ModelError(
                f"{self._source}: expected an input of type float32, {quoted(name)} has another type; name a node "
                "behind it that has float images as model.input"
            )
        return name

    @property
    def input_sizes(self) -> tuple[int | None, int | None, int | None]:
        """Height, width and channels of the input, each None if the graph does not say."""
        dimensions = self.nodes[self.input_node].attr["shape"].shape.dim
        sizes = [int(dimension.size) for dimension in dimensions][1:] if len(dimensions) == 4 else [-1, -1, -1]
        height, width, channels = (size if 0 < size <= _LARGEST_SIZE_PX else None for size in sizes)
        return height, width, channels


def _is_large(node: Any) -> bool:
    """Return whether a node is a constant with many numbers."""
    tensor = node.attr["value"].tensor if node.op == "Const" else None
    return tensor is not None and tensor.dtype == 1 and tensor.ByteSize() > _LARGE_WEIGHTS_BYTES  # DT_FLOAT


def _stand_in(node: Any) -> Any:
    """Return a placeholder of the shape of a constant."""
    stand_in = type(node)(name=node.name, op="Placeholder", input=node.input)
    stand_in.attr["dtype"].type = node.attr["dtype"].type
    stand_in.attr["shape"].shape.CopyFrom(node.attr["value"].tensor.tensor_shape)
    return stand_in
