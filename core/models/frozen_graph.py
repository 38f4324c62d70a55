"""The networks in frozen TensorFlow graphs, which are untrusted input.

`core.models.graph_safety` checks a graph before TensorFlow imports any of it. For every set of layers that is asked
for, only the nodes that these layers depend on are imported, so the other nodes neither run nor restrict the size of
the images.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.arrays import Array
from core.errors import ModelError
from core.machine import device
from core.models.batch_statistics import behind_batch_statistics
from core.models.fan_in import stack_towers
from core.models.feeding_weights import weights_feeding
from core.models.graph_rewriting.inference import for_inference
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
from core.models.layouts import layouts
from core.models.preprocessing import Preprocessing
from core.models.traced import TracedNetwork
from core.models.views import view
from core.models.weights import local_weights
from core.spec import ModelSpec

if TYPE_CHECKING:
    import tensorflow as tf

_MOST_UNFIT_LAYERS = 16
"""Give up after this many layers have rejected the size of the images; each is found by bisection."""
_DEFAULT_SIZE_PX = 224
_LARGEST_SIZE_PX = 4096


class FrozenGraph:
    """A network in a frozen GraphDef.

    Args:
        weights_file: the `.pb` file, which is checked here and not trusted.
        contents: the graph and its sha256 in hex, if it was not read from a `.pb` file; it is checked as well.
        input_node: the node whose place images take; may be omitted if only one placeholder can be of images.
        preprocessing: turns images into the values that the network expects.
        alignment_layers: layers whose activations keep landmarks in place well.
        names: layer -> node, if the layers have other names than their nodes; other nodes are then no layers.
        kinds: layer -> its kind, where that says more than the type of its node.
        own_size: height and width of the images that the network was made for, if its input does not say.
        skipped_tokens: number of tokens before those of patches, if the graph does not show it.
        unavailable: layer that cannot be computed -> why.
        default_range: whether a graph of integer images tells the value range, because nobody has given it.

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
        kinds: Mapping[str, str] | None = None,
        own_size: tuple[int, int] | None = None,
        skipped_tokens: int | None = None,
        unavailable: Mapping[str, str] | None = None,
        default_range: bool = False,
    ) -> None:
        graph_def, self.weights_digest = contents or read_frozen_graph(weights_file)
        self._source = str(weights_file)
        rewritten = for_inference(graph_def, input_node)
        self._order = check_graph(rewritten.graph_def, self._source)
        self._graph_def = without_hints(rewritten.graph_def)
        if default_range and rewritten.value_range is not None:
            preprocessing = replace(preprocessing, value_range=rewritten.value_range)
        self._skipped_tokens, self._kinds = skipped_tokens, kinds or {}
        self._own_size = own_size
        self._token_layers: set[str] = set()
        self._traced = TracedNetwork(self._function, self._source)
        self._nodes: dict[str, Any] = {node.name: node for node in self._graph_def.node}
        self._names = LayerNames(self._nodes, names, rewritten.added)
        self._input = self._find_input(rewritten.input_node or input_node)
        self._preprocessing = preprocessing.fitted(self._input_sizes[-1], self._source)
        self._uncomputable = {**(unavailable or {}), **self._layers_of_batch_statistics()}
        check_computed_constants(self._graph_def, self._order, self._source)
        self.name = name
        self.alignment_layers = tuple(alignment_layers)

    @property
    def reading(self) -> Mapping[str, Any]:
        """Input node, preprocessing and tokens, which change the activations as the weights do."""
        tokens = {} if self._skipped_tokens is None else {"skipped_tokens": self._skipped_tokens}
        return {"input": self._input, **self._preprocessing.reading, **tokens}

    @property
    def own_size(self) -> tuple[int, int] | None:
        """Height and width of the images that the network was made for; see `core.models.model.Model`."""
        height, width, _ = self._input_sizes
        of_input = None if height is None or width is None else (height, width)
        return self._preprocessing.size or of_input or self._own_size

    @cached_property
    def layers(self) -> Mapping[str, int]:
        """Layer -> channels, in the graph's order: all outputs with positions and channels, or channels alone.

        Raises:
            ModelError: if there is none.
        """
        found = {
            layer: shape[-1]
            for layer, shape in self._shapes.items()
            if shape[-1] is not None and layer not in self._uncomputable
        }
        if not found:
            reason = next(iter(self._uncomputable.values()), "no node makes float32 channels from the images")
            raise ModelError(f"{self._source}: expected a network with layers, found none; {reason}")
        return found

    @cached_property
    def unavailable(self) -> Mapping[str, str]:
        """Layer that cannot be computed, or that has no axis of channels -> why."""
        without = "no axis of its output is known to be one of channels"
        return {
            **dict.fromkeys([layer for layer in self._names.given if layer not in self.layers], without),
            **self._uncomputable,
        }

    def _layers_of_batch_statistics(self) -> dict[str, str]:
        """Return layer -> why it depends on the other images of a batch, as far as nodes tell it."""
        nodes = behind_batch_statistics(self._nodes, self._order)
        return {
            layer: f"node {quoted(norm)} normalises by the statistics of a batch; export the network for inference"
            for name, norm in nodes.items()
            for layer in self._names.of(self._nodes[name])
        }

    @cached_property
    def _shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Layer -> shape (height, width, channel) or (channel,), without the batch, at the network's size of images."""
        try:
            return self._shapes_at(self.own_size or (_DEFAULT_SIZE_PX, _DEFAULT_SIZE_PX), self._order)
        except UnfitError:  # nodes after a reshape to a fixed size may fit another size of images, or none
            return self._shapes_at((None, None), self._order)

    def sizes(self, size_px: int) -> Mapping[str, tuple[int, int] | None]:
        """Return layer -> (height, width) for images of *size_px*; see `core.models.model.Model`."""
        shapes = self._fitting((size_px, size_px), self.layers)
        return self._sizes({**self._shapes, **shapes} if self.own_size else shapes)

    @property
    def own_sizes(self) -> Mapping[str, tuple[int, int] | None]:
        """Layer -> (height, width) for images of the network's own size; see `core.models.model.Model`."""
        return self._sizes(self._shapes) if self.own_size else {}

    def _sizes(self, shapes: Mapping[str, tuple[int | None, ...]]) -> dict[str, tuple[int, int] | None]:
        sizes: dict[str, tuple[int, int] | None] = dict.fromkeys(self.layers)
        for layer in sizes:
            match shapes.get(layer):
                case (int(height), int(width), _):
                    sizes[layer] = (height, width)
        return sizes

    def has_tokens(self, layer: str) -> bool:
        """Return whether the positions of a layer are tokens; see `core.models.model.Model`."""
        return layer in self._shapes and layer in self._token_layers

    def _fitting(self, size: tuple[int, int], layers: Iterable[str]) -> Mapping[str, tuple[int | None, ...]]:
        """Return the shapes of those layers that images of this size have with all their channels."""
        nodes = self._reached_from([node for layer in layers for node in self._names.nodes(layer)])
        shapes = self._fitting_shapes(size, [name for name in self._order if name in nodes])
        return {layer: shapes[layer] for layer in layers if shapes.get(layer, (None,))[-1] == self.layers[layer]}

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
            operations = import_part(self._cut(set(names) | {self._input}), self._input, image, self._source)
            layers = [
                layer for name in names if name in self._fed_by_images for layer in self._names.of(self._nodes[name])
            ]
            views = self._views(operations, layers, image)
        return {layer: tuple(tensor.shape[1:]) for layer, tensor in views.items()}

    @property
    def value_range(self) -> tuple[float, float]:
        """Values of black and of white, before means are subtracted."""
        return self._preprocessing.value_range

    def node(self, layer: str) -> str:
        """Return the node that computes a layer."""
        return str(self._names.node(layer).name)

    def operation(self, layer: str) -> str:
        """Return the type of TensorFlow's operation that computes a layer."""
        return str(self._names.node(layer).op)

    def computed_on_cpu(self, images: Array, layers: Sequence[str]) -> list[Array]:
        """Return the activations of some layers, computed without claiming a GPU.

        Args:
            images: shape (batch, height, width, 3) in [0, 1].
        """
        import tensorflow as tf

        with tf.Graph().as_default():
            batch = tf.constant(images)
            found = self._computed(batch, layers)
            config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
            config.graph_options.rewrite_options.disable_meta_optimizer = True  # it drops tensors that are asked for
            with tf.compat.v1.Session(config=config) as session:
                activations: list[Array] = session.run([found[layer] for layer in layers])
        return activations

    def kind(self, layer: str) -> str:
        """Return the type of operation that computes a layer."""
        return self._kinds.get(layer) or self.operation(layer)

    def fan_in(self, layer: str) -> Array:
        """Return the weights that feed a layer, shape (channel, weight), float32.

        Towers that are concatenated share no weights, so each has columns of its own.

        Raises:
            ModelError: if no weights feed the layer.
        """
        blocks = [block for node in self._names.nodes(layer) for block in weights_feeding(self._nodes, node)]
        if sum(block.shape[0] for block in blocks) != self.layers[layer]:
            raise ModelError(f"{self._source}: expected a layer that convolutions feed, found no weights for {layer}")
        return stack_towers(blocks)

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

        def network(images: tf.Tensor) -> list[tf.Tensor]:
            graph = tf.compat.v1.get_default_graph()
            with graph.gradient_override_map(REDIRECTED_GRADIENTS if redirected else {}):
                found = self._computed(images, wanted)
            return [self._among(found, layer, shape) for layer in wanted]

        with tf.init_scope():
            return tf.compat.v1.wrap_function(network, [tf.TensorSpec(shape, tf.float32)])

    def _computed(self, images: tf.Tensor, wanted: Sequence[str]) -> dict[str, tf.Tensor]:
        """Return layer -> tensor, in TensorFlow's current graph."""
        found: dict[str, tf.Tensor] = {}
        for layers, preprocessing in self._parts(wanted, tuple(images.shape[1:3])):
            cut = self._cut(self._reached_from([node for layer in layers for node in self._names.nodes(layer)]))
            image = preprocessing(images)
            operations = import_part(cut, self._input, image, self._source)
            found |= self._views(operations, layers, image)
        return found

    def _parts(self, wanted: Sequence[str], size: tuple[int, int]) -> list[tuple[Sequence[str], Preprocessing]]:
        """Return the layers that take images of this size, and those that need images of the network's own size.

        Every layer is thus the same function of the images, whatever other layers are wanted.
        """
        if self._preprocessing.size is not None or self.own_size in (None, size):
            return [(wanted, self._preprocessing)]
        fitting = self._fitting(size, wanted)
        resized = replace(self._preprocessing, size=self.own_size)
        parts = (
            ([layer for layer in wanted if layer in fitting], self._preprocessing),
            ([layer for layer in wanted if layer not in fitting], resized),
        )
        return [(layers, preprocessing) for layers, preprocessing in parts if layers]

    def _among(self, found: Mapping[str, tf.Tensor], layer: str, shape: Any) -> tf.Tensor:
        """Return a layer's tensor.

        Raises:
            ModelError: if the layer has no axis of channels for images of this shape.
        """
        if layer not in found:
            raise ModelError(
                f"{self._source}: expected a layer with every image and with channels, {layer} is none for images of "
                f"{shape[1]} x {shape[2]} px; choose another layer, or another size_px"
            )
        return found[layer]

    def _views(
        self, operations: Mapping[str, tf.Operation], layers: Iterable[str], image: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Return layer -> tensor with its channels last, without those layers that have no axis of channels.

        Args:
            operations: node -> operation of an imported part of the graph.
            image: what was imported for the input.
        """
        import tensorflow as tf

        found = layouts(operations.values(), image, image.shape[0])
        patches = list(dict.fromkeys(layout.patches for layout in found.values() if layout.patches))
        views: dict[str, tf.Tensor] = {}
        for layer in layers:
            tensors = [operations[node].outputs[0] for node in self._names.nodes(layer)]
            parts = [view(tensor, found.get(tensor.name), patches, self._skipped_tokens) for tensor in tensors]
            if any(part is None for part in parts):
                continue
            views[layer] = parts[0] if len(parts) == 1 else tf.concat(parts, axis=-1)
            if tensors[0].shape.rank == 3:
                self._token_layers.add(layer)
        return views

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
    def _input_sizes(self) -> tuple[int | None, int | None, int | None]:
        """Height, width and channels of the input, each None if the graph does not say."""
        dimensions = self._nodes[self._input].attr["shape"].shape.dim
        sizes = [int(dimension.size) for dimension in dimensions][1:] if len(dimensions) == 4 else [-1, -1, -1]
        height, width, channels = (size if 0 < size <= _LARGEST_SIZE_PX else None for size in sizes)
        return height, width, channels


def _load(spec: ModelSpec) -> FrozenGraph:
    weights = local_weights(spec)
    device.prepare()
    return FrozenGraph(
        weights,
        input_node=spec.input,
        preprocessing=Preprocessing.of(spec),
        skipped_tokens=spec.skipped_tokens,
        default_range=spec.value_range is None,
    )


KIND = ModelKind(
    "frozen-graph",
    "any network in a frozen TensorFlow GraphDef, from `file`",
    _load,
    keys=("file", "sha256", "input", "value_range", "preprocess", "tokens"),
    check=check_file,
)
