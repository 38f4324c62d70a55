"""The networks in frozen TensorFlow graphs, which are untrusted input.

`core.models.graph.safety` checks a graph before TensorFlow imports any of it. For every set of layers that is asked
for, only the nodes that these layers depend on are imported, so the other nodes neither run nor restrict the size of
the images.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from core.arrays import Array
from core.errors import ModelError
from core.machine import device
from core.models.graph.batch_statistics import behind_batch_statistics
from core.models.graph.checked import CheckedGraph
from core.models.graph.fan_in import stack_towers
from core.models.graph.feeding_weights import FeedingWeights
from core.models.graph.layer_names import LayerNames
from core.models.graph.layers import GraphLayers
from core.models.graph.safety import quoted, read_frozen_graph
from core.models.graph_rewriting.inference import for_inference
from core.models.kind import ModelKind, check_file
from core.models.preprocessing import Preprocessing
from core.models.traced import TracedNetwork
from core.models.weights import local_weights
from core.spec import ModelSpec

if TYPE_CHECKING:
    import tensorflow as tf

    from core.models.directions import Directions


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
        default_range: whether a graph of integer images tells the value range, if the user has not given one.

    Raises:
        ModelError: if the graph is refused, or has no such input.
    """

    derived: ClassVar[Mapping[str, Directions]] = {}
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
        self._graph = CheckedGraph(rewritten.graph_def, rewritten.input_node or input_node, self._source)
        if default_range and rewritten.value_range is not None:
            preprocessing = replace(preprocessing, value_range=rewritten.value_range)
        self._skipped_tokens, self._kinds = skipped_tokens, kinds or {}
        self._channels_moved = rewritten.channels_moved
        self._traced = TracedNetwork(self._function, self._source)
        self._names = LayerNames(self._graph.nodes, names, rewritten.added)
        self._preprocessing = preprocessing.fitted(self._graph.input_sizes[-1], self._source)
        self._found = GraphLayers(self._graph, self._names, self._preprocessing, own_size, skipped_tokens)
        self._uncomputable = {**(unavailable or {}), **self._layers_of_batch_statistics()}
        self.name = name
        self.alignment_layers = tuple(alignment_layers)

    @property
    def reading(self) -> Mapping[str, Any]:
        """Input node, layout, preprocessing and tokens, which change the activations as the weights do."""
        layout = {"layout": "channels last"} if self._channels_moved else {}
        tokens = {} if self._skipped_tokens is None else {"skipped_tokens": self._skipped_tokens}
        return {"input": self._graph.input_node, **layout, **self._preprocessing.reading, **tokens}

    @property
    def own_size(self) -> tuple[int, int] | None:
        """Height and width of the images that the network was made for; see `core.models.model.Model`."""
        return self._found.own_size

    @cached_property
    def layers(self) -> Mapping[str, int]:
        """Layer -> channels, in the graph's order: all outputs with positions and channels, or channels alone.

        Raises:
            ModelError: if there is none.
        """
        found = {
            layer: shape[-1]
            for layer, shape in self._found.shapes.items()
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
        nodes = behind_batch_statistics(self._graph.nodes, self._graph.order)
        return {
            layer: f"node {quoted(norm)} normalises by the statistics of a batch; export the network for inference"
            for name, norm in nodes.items()
            for layer in self._names.of(self._graph.nodes[name])
        }

    def sizes(self, size_px: int) -> Mapping[str, tuple[int, int] | None]:
        """Return layer -> (height, width) for images of *size_px*; see `core.models.model.Model`."""
        return self._sizes(self._found.shapes_for((size_px, size_px), self.layers))

    @property
    def own_sizes(self) -> Mapping[str, tuple[int, int] | None]:
        """Layer -> (height, width) for images of the network's own size; see `core.models.model.Model`."""
        return self._sizes(self._found.shapes) if self._found.own_size else {}

    def _sizes(self, shapes: Mapping[str, tuple[int | None, ...]]) -> dict[str, tuple[int, int] | None]:
        sizes: dict[str, tuple[int, int] | None] = dict.fromkeys(self.layers)
        for layer in sizes:
            match shapes.get(layer):
                case (int(height), int(width), _):
                    sizes[layer] = (height, width)
        return sizes

    def has_tokens(self, layer: str) -> bool:
        """Return whether the positions of a layer are tokens; see `core.models.model.Model`."""
        return layer in self._found.shapes and layer in self._found.token_layers

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
            found = self._found.tensors(batch, layers)
            # The first session of a process makes its threads, and their number changes how sums are rounded.
            config = tf.compat.v1.ConfigProto(
                device_count={"GPU": 0},
                intra_op_parallelism_threads=tf.config.threading.get_intra_op_parallelism_threads(),
                inter_op_parallelism_threads=tf.config.threading.get_inter_op_parallelism_threads(),
            )
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
        if (why := self.why_no_fan_in(layer)) is not None:
            raise ModelError(f"{self._source}: no weights for {layer}: {why}")
        found = stack_towers([self._feeding.weights(node) for node in self._names.nodes(layer)])
        if len(found) != self.layers[layer]:
            raise ModelError(
                f"{self._source}: no weights for {layer}: expected {self.layers[layer]} channels, "
                f"found weights of {len(found)}"
            )
        return found

    def why_no_fan_in(self, layer: str) -> str | None:
        """Return why no weights that feed a layer are found, or None if they are; see `core.models.model.Model`."""
        try:
            for node in self._names.nodes(layer):
                self._feeding.feed(node)
        except ModelError as error:
            return str(error)
        return None

    @cached_property
    def _feeding(self) -> FeedingWeights:
        return FeedingWeights(self._graph.nodes)

    def can_select_channels(self, layers: Collection[str]) -> bool:
        """Return False: only whole layers are computed."""
        return False

    def can_mix_channels(self, layers: Collection[str]) -> bool:
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
                found = self._found.tensors(images, wanted)
            return [self._among(found, layer, shape) for layer in wanted]

        with tf.init_scope():
            return tf.compat.v1.wrap_function(network, [tf.TensorSpec(shape, tf.float32)])

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
