"""The networks in frozen TensorFlow graphs, which are untrusted input.

`core.models.graph_safety` checks a graph before TensorFlow imports any of it. For every set of layers that is asked
for, only the nodes that these layers depend on are imported, so the other nodes neither run nor restrict the size of
the images.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.arrays import Array
from core.errors import ModelError
from core.machine import device
from core.models.fan_in import stack_towers
from core.models.feeding_weights import weights_feeding
from core.models.graph_safety import (
    UnfitError,
    check_computed_constants,
    check_graph,
    import_part,
    inputs_of,
    node_name,
    quoted,
    read_frozen_graph,
    subgraph,
    without_hints,
)
from core.models.kind import ModelKind, check_file
from core.models.layer_names import LayerNames
from core.models.preprocessing import Preprocessing
from core.models.tokens import Tokens
from core.models.traced import TracedNetwork
from core.models.weights import local_weights
from core.spec import ModelSpec

if TYPE_CHECKING:
    import tensorflow as tf

_MOST_UNFIT_LAYERS = 16
"""Give up after this many layers have rejected the size of the images; each is found by bisection."""
_DEFAULT_SIZE_PX = 224


class FrozenGraph:
    """A network in a frozen GraphDef.

    Args:
        weights_file: the `.pb` file, which is checked here and not trusted.
        contents: the graph and its sha256 in hex, if it was not read from a `.pb` file; it is checked as well.
        input_node: the graph's placeholder for images; may be omitted if there is only one placeholder.
        preprocessing: turns images into the values that the network expects.
        alignment_layers: layers whose activations keep landmarks in place well.
        names: layer -> node, if the layers have other names than their nodes; other nodes are then no layers.
        tokens: what is known about layers of tokens; None: layers without a grid of positions are no layers.
        unavailable: layer that cannot be computed -> why.

    Raises:
        ModelError: if the graph is refused, or has no such input.
    """

    supports_bfloat16 = False

    def __init__(
        self,
        weights_file: Path,
        *,
        name: str = "frozen-graph",
        contents: tuple[Any, str] | None = None,
        input_node: str | None = None,
        preprocessing: Preprocessing = Preprocessing(),  # noqa: B008
        alignment_layers: Sequence[str] = (),
        names: Mapping[str, str] | None = None,
        tokens: Tokens | None = None,
        unavailable: Mapping[str, str] | None = None,
    ) -> None:
        graph_def, self.weights_digest = contents or read_frozen_graph(weights_file)
        self._source = str(weights_file)
        self._order = check_graph(graph_def, self._source)
        self._graph_def = without_hints(graph_def)
        self._preprocessing, self._tokens = preprocessing, tokens
        self.unavailable = unavailable or {}
        self._traced = TracedNetwork(self._function, self._source)
        self._nodes: dict[str, Any] = {node.name: node for node in self._graph_def.node}
        self._names = LayerNames(self._nodes, names)
        self._input = self._find_input(input_node)
        check_computed_constants(self._graph_def, self._order, self._source)
        self.name = name
        self.alignment_layers = tuple(alignment_layers)

    @property
    def reading(self) -> Mapping[str, Any]:
        """Input node and value range, which change the activations as the weights do."""
        return {"input": self._input, **self._preprocessing.reading}

    @cached_property
    def layers(self) -> Mapping[str, int]:
        """Layer -> channels, in the graph's order: all outputs with positions and channels, or channels alone."""
        return {layer: channels for layer, (*_, channels) in self._shapes.items() if channels is not None}

    @cached_property
    def _shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Layer -> shape (height, width, channel) or (channel,), without the batch, at the network's size of images."""
        try:
            return self._shapes_at(self._size, self._order)
        except UnfitError:  # nodes after a reshape to a fixed size may fit another size of images, or none
            return self._shapes_at((None, None), self._order)

    def sizes(self, size_px: int) -> Mapping[str, tuple[int, int] | None]:
        """Return layer -> (height, width) for images of *size_px*; see `core.models.model.Model`."""
        sizes: dict[str, tuple[int, int] | None] = dict.fromkeys(self.layers)
        positioned = [layer for layer, shape in self._shapes.items() if len(shape) == 3]
        nodes = self._reached_from([node for layer in positioned for node in self._names.nodes(layer)])
        shapes = self._fitting_shapes((size_px, size_px), [name for name in self._order if name in nodes])
        for layer in positioned:
            match shapes.get(layer):
                case (int(height), int(width), _):
                    sizes[layer] = (height, width)
        return sizes

    def _fitting_shapes(self, size: tuple[int, int], names: list[str]) -> Mapping[str, tuple[int | None, ...]]:
        """Return the shapes of all nodes that do not depend on a node which rejects images of this size."""
        for _ in range(_MOST_UNFIT_LAYERS):
            try:
                return self._shapes_at(size, names)
            except UnfitError:
                fits, fails = 0, len(names)  # numbers of names; TensorFlow does not say which node failed
                while fails - fits > 1:
                    middle = (fits + fails) // 2
                    try:
                        self._shapes_at(size, names[:middle])
                        fits = middle
                    except UnfitError:
                        fails = middle
                unfit = {names[fits]}
                for name in names[fails:]:
                    if not unfit.isdisjoint(inputs_of(self._nodes[name])):
                        unfit.add(name)
                names = [name for name in names if name not in unfit]
        return {}

    def _shapes_at(
        self, size: tuple[int | None, int | None], names: Sequence[str]
    ) -> dict[str, tuple[int | None, ...]]:
        """Return layer -> shape without the batch, for images of this height and width.

        Raises:
            UnfitError: if one of the nodes rejects images of this size.
        """
        import tensorflow as tf

        graph = tf.Graph()
        with graph.as_default():
            image = self._preprocessing(tf.compat.v1.placeholder(tf.float32, (1, *size, 3)))
            import_part(self._cut(set(names) | {self._input}), self._input, image, self._source)
            found: dict[str, tuple[int | None, ...]] = {}
            for name in names:
                if name not in self._fed_by_images:
                    continue
                for layer in self._names.of(self._nodes[name]):
                    tensor = self._tensor(graph, layer)
                    shape = tensor.shape
                    if tensor.dtype == tf.float32 and shape.rank in (2, 4) and shape[-1] is not None:
                        found[layer] = tuple(shape[1:])
        return found

    def kind(self, layer: str) -> str:
        """Return the type of operation that computes a layer."""
        return str(self._names.node(layer).op)

    def fan_in(self, layer: str) -> Array:
        """Return the weights that feed a layer, shape (channel, weight), float32.

        Towers that are concatenated share no weights, so each has columns of its own.

        Raises:
            ModelError: if no weights feed the layer.
        """
        try:
            found = stack_towers([weights_feeding(self._nodes, node) for node in self._names.nodes(layer)])
        except ModelError as error:
            raise ModelError(f"{self._source}: no weights for {layer}: {error}") from None
        if len(found) != self.layers[layer]:
            raise ModelError(
                f"{self._source}: no weights for {layer}: expected {self.layers[layer]} channels, "
                f"found weights of {len(found)}"
            )
        return found

    def can_select_channels(self, layers: Collection[str]) -> bool:
        """Return False: only whole layers are computed."""
        return False

    def activations(
        self,
        images: tf.Tensor,
        layers: Collection[str],
        *,
        redirected: bool = False,
        channels: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Return layer -> activations, running only what these layers depend on; see `core.models.model.Model`.

        Raises:
            ModelError: if one of the layers rejects images of this size, or depends on the other images of the batch.
        """
        assert channels is None, "only whole layers"
        return self._traced.activations(images, layers, redirected)

    def _function(self, wanted: Sequence[str], redirected: bool, shape: Any) -> Any:
        """Return a function from images to layers. TensorFlow overrides gradients only inside a function."""
        import tensorflow as tf

        from core.models.operations.relu import REDIRECTED_GRADIENTS

        cut = self._cut(self._reached_from([node for layer in wanted for node in self._names.nodes(layer)]))

        def network(images: tf.Tensor) -> list[tf.Tensor]:
            graph = tf.compat.v1.get_default_graph()
            with graph.gradient_override_map(REDIRECTED_GRADIENTS if redirected else {}):
                import_part(cut, self._input, self._preprocessing(images), self._source)
            return [self._tensor(graph, layer) for layer in wanted]

        with tf.init_scope():
            return tf.compat.v1.wrap_function(network, [tf.TensorSpec(shape, tf.float32)])

    def _reached_from(self, names: Collection[str]) -> set[str]:
        """Return the names of some nodes and of all that they depend on."""
        reached: set[str] = set()
        ahead = list(names)
        while ahead:
            name = ahead.pop()
            if name not in reached:
                reached.add(name)
                ahead += inputs_of(self._nodes[name])
        return reached

    def _cut(self, names: Collection[str]) -> Any:
        """Return the part of the graph that has these nodes."""
        return subgraph(self._graph_def, (self._nodes[name] for name in self._order if name in names))

    def _tensor(self, graph: tf.Graph, layer: str) -> tf.Tensor:
        """Return a layer's tensor in a graph that its nodes have been imported into."""
        import tensorflow as tf

        parts = [graph.get_tensor_by_name(f"net/{node}:0") for node in self._names.nodes(layer)]
        found = parts[0] if len(parts) == 1 else tf.concat(parts, axis=-1)
        return self._tokens.seen_as_grid(found) if self._tokens and found.shape.rank == 3 else found

    @cached_property
    def _fed_by_images(self) -> set[str]:
        """The nodes that depend on the images and on no other input."""
        fed, unfed = {self._input}, set[str]()
        for name in self._order:
            node = self._nodes[name]
            before = [node_name(name) for name in node.input]
            if (node.op == "Placeholder" and name != self._input) or not unfed.isdisjoint(before):
                unfed.add(name)
            elif not fed.isdisjoint(before):
                fed.add(name)
        return fed

    def _find_input(self, wanted: str | None) -> str:
        """Return the placeholder of the images: the *wanted* one, or the only one.

        Raises:
            ModelError: if there is no such placeholder, there are several, or it does not take float32.
        """
        placeholders = [name for name, node in self._nodes.items() if node.op.startswith("Placeholder")]
        found = ", ".join(map(quoted, placeholders[:5])) or "none"
        if wanted is None and len(placeholders) != 1:
            raise ModelError(
                f"{self._source}: expected one input node, found {found}; name the one for images as model.input"
            )
        name = placeholders[0] if wanted is None else wanted
        if name not in placeholders:
            raise ModelError(f"{self._source}: expected the input node {quoted(name)}, the graph's inputs are {found}")
        if self._nodes[name].attr["dtype"].type != 1:  # DT_FLOAT
            raise ModelError(f"{self._source}: expected an input of type float32, {quoted(name)} has another type")
        return name

    @property
    def _size(self) -> tuple[int, int]:
        """Height and width that the network was made for, or 224 px if the graph does not say."""
        dimensions = self._nodes[self._input].attr["shape"].shape.dim
        sizes = [int(dimension.size) for dimension in dimensions][1:3] if len(dimensions) == 4 else []
        if len(sizes) == 2 and all(0 < size <= 4096 for size in sizes):
            return sizes[0], sizes[1]
        return _DEFAULT_SIZE_PX, _DEFAULT_SIZE_PX


def _load(spec: ModelSpec) -> FrozenGraph:
    weights = local_weights(spec)
    device.prepare()
    return FrozenGraph(weights, input_node=spec.input, preprocessing=Preprocessing.of(spec))


KIND = ModelKind(
    "frozen-graph",
    "any network in a frozen TensorFlow GraphDef, from `file`",
    _load,
    keys=("file", "sha256", "input", "value_range", "preprocess"),
    check=check_file,
)
