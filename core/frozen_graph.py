"""Frozen TensorFlow graphs, Lucid's InceptionV1 among them, as untrusted input.

A graph can read and write files and call Python, so every node must be of a type that only computes, and nothing of
the file is given to TensorFlow's importer before all of it has been checked. A model is then cut behind the layers
that are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelError

if TYPE_CHECKING:
    import tensorflow as tf

Array = NDArray[np.float32]

_COMPUTING_OPS = frozenset(
    """
    Abs Add AddN AddV2 ArgMax AvgPool AvgPool3D BatchMatMul BatchMatMulV2 BatchNormWithGlobalNormalization
    BatchToSpaceND BiasAdd BroadcastTo Cast Concat ConcatV2 Const Conv2D DepthToSpace DepthwiseConv2dNative Div
    DivNoNan Elu Equal Erf Exp ExpandDims Floor FloorDiv FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3
    GatherV2 Greater GreaterEqual Identity IdentityN LRN LeakyRelu Less LessEqual Log Log1p LogSoftmax
    LogicalAnd LogicalNot LogicalOr MatMul Max MaxPool MaxPoolV2 Maximum Mean Min Minimum MirrorPad Mul Neg NoOp
    Pack Pad PadV2 Placeholder PlaceholderWithDefault Pow Prod RealDiv Reciprocal Relu Relu6 Reshape
    ResizeBilinear ResizeNearestNeighbor Rsqrt Select SelectV2 Selu Shape Sigmoid Slice Softmax Softplus
    Softsign SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square SquaredDifference Squeeze StopGradient
    StridedSlice Sub Sum Tanh Tile Transpose Unpack
    """.split()
)
_NOT_LAYERS = frozenset("Const Placeholder PlaceholderWithDefault NoOp Shape Identity StridedSlice Pack".split())
_LARGEST_UNSTORED_BYTES = 1 << 24  # a constant may stand for so many bytes that are not in the file
_DEFAULT_SIZE_PX = 224


class FrozenGraph:
    """A network in a frozen GraphDef.

    Args:
        weights_file: the `.pb` file.
        input_node: its placeholder; may be left out if there is only one.
        value_range: what the network expects for image values 0 and 1.
        alignment_layers: layers whose activations keep landmarks in place well.
    """

    def __init__(
        self,
        weights_file: Path,
        *,
        name: str = "frozen-graph",
        input_node: str | None = None,
        value_range: tuple[float, float] = (0.0, 1.0),
        alignment_layers: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.weights_file = weights_file
        self.alignment_layers = tuple(alignment_layers)
        self._value_range = value_range
        self._wanted_input = input_node
        self._functions: dict[tuple[Any, ...], Any] = {}

    @cached_property
    def layers(self) -> Mapping[str, int]:
        """Layer -> channels, in the graph's order: whatever has positions and channels, or channels alone."""
        return {layer: shape[-1] for layer, shape in self.shapes.items()}

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Layer -> shape at the network's own size, without the batch: (height, width, channel) or (channel,)."""
        import tensorflow as tf

        graph = tf.Graph()
        with graph.as_default():
            image = tf.compat.v1.placeholder(tf.float32, (1, *self._size, 3))
            self._import(self._graph_def, image)
            found = {}
            for node in self._graph_def.node:
                if node.op in _NOT_LAYERS:
                    continue
                for layer in self._names_of(node):
                    shape = self._tensor(graph, layer).shape
                    if shape.rank in (2, 4) and None not in shape[1:]:
                        found[layer] = tuple(int(size) for size in shape[1:])
        return found

    def kind(self, layer: str) -> str:
        """The type of operation that computes a layer."""
        node = self._nodes.get(layer) or self._nodes[layer.removesuffix("_pre_relu")]
        return str(node.op)

    def fan_in(self, layer: str) -> Array:
        """The weights that feed a layer, shape (channel, weight), float32.

        Towers that are concatenated share no weights, so each has columns of its own.

        Raises:
            ModelError: if no weights feed the layer.
        """
        blocks = list(self._weights_feeding(layer))
        if sum(block.shape[0] for block in blocks) != self.layers[layer]:
            raise ModelError(
                f"{self.weights_file}: expected a layer that convolutions feed, cannot tell what feeds {layer}"
            )
        fan_in = np.zeros((self.layers[layer], sum(block.shape[1] for block in blocks)), np.float32)
        row = column = 0
        for block in blocks:
            fan_in[row : row + block.shape[0], column : column + block.shape[1]] = block
            row, column = row + block.shape[0], column + block.shape[1]
        return fan_in

    def activations(
        self, images: tf.Tensor, layers: Collection[str], *, redirected: bool = False
    ) -> dict[str, tf.Tensor]:
        """Run the network up to the layers that are asked for; see `core.models.Model`."""
        wanted = tuple(sorted(set(layers)))
        key = (wanted, redirected, tuple(images.shape))
        if key not in self._functions:
            self._functions[key] = self._function(wanted, redirected, images.shape)
        return dict(zip(wanted, self._functions[key](images), strict=True))

    def _function(self, wanted: tuple[str, ...], redirected: bool, shape: tf.TensorShape) -> Any:
        """The cut network as a function of its own: gradients can only be overridden across such a border."""
        import tensorflow as tf

        from core.relu import REDIRECTED_GRADIENTS

        needed = sorted({node for layer in wanted for node in self._nodes_behind(layer)})
        cut = self._cut_behind(needed)

        def network(images: tf.Tensor) -> list[tf.Tensor]:
            low, high = self._value_range
            graph = tf.compat.v1.get_default_graph()
            with graph.gradient_override_map(REDIRECTED_GRADIENTS if redirected else {}):
                self._import(cut, low + (high - low) * images)
            return [self._tensor(graph, layer) for layer in wanted]

        with tf.init_scope():
            return tf.compat.v1.wrap_function(network, [tf.TensorSpec(shape, tf.float32)])

    def _cut_behind(self, needed: Collection[str]) -> Any:
        """The part of the graph that some nodes depend on."""
        reached: set[str] = set()
        ahead = list(needed)
        while ahead:
            name = ahead.pop()
            if name not in reached:
                reached.add(name)
                ahead += [_node_name(before) for before in self._nodes[name].input]
        cut = type(self._graph_def)()
        cut.versions.CopyFrom(self._graph_def.versions)
        cut.node.extend(node for node in self._graph_def.node if node.name in reached)
        return cut

    def _import(self, graph_def: Any, image: tf.Tensor) -> None:
        import tensorflow as tf

        try:
            tf.graph_util.import_graph_def(graph_def, {f"{self._input}:0": image}, name="net")
        except ValueError as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{self.weights_file}: expected a graph that TensorFlow can import, {reason}") from None

    def _tensor(self, graph: tf.Graph, layer: str) -> tf.Tensor:
        import tensorflow as tf

        if layer in self._nodes:
            return graph.get_tensor_by_name(f"net/{layer}:0")
        return tf.concat([graph.get_tensor_by_name(f"net/{node}:0") for node in self._nodes_behind(layer)], axis=-1)

    def _names_of(self, node: Any) -> Iterator[str]:
        """A node's own name, and for concatenated ReLUs that of their concatenation before the ReLUs."""
        before = f"{node.name}_pre_relu"
        concatenates = node.op in ("Concat", "ConcatV2") and before not in self._nodes
        if concatenates and any(self._nodes[tower].op in ("Relu", "Relu6") for tower in self._towers(node)):
            yield before
        yield node.name

    def _nodes_behind(self, layer: str) -> list[str]:
        """The nodes whose concatenation is the layer: itself, or each tower before its ReLU."""
        if layer in self._nodes:
            return [layer]
        towers = self._towers(self._nodes[layer.removesuffix("_pre_relu")])
        return [
            _node_name(self._nodes[tower].input[0]) if self._nodes[tower].op in ("Relu", "Relu6") else tower
            for tower in towers
        ]

    def _towers(self, node: Any) -> list[str]:
        """What a concatenation concatenates: the axis comes first in old graphs and last in new ones."""
        inputs = [_node_name(name) for name in node.input if not name.startswith("^")]
        return inputs[1:] if node.op == "Concat" else inputs[:-1]

    def _weights_feeding(self, layer: str) -> Iterator[Array]:
        """Per tower: the kernel of the convolution that it comes from, shape (channel, weight)."""
        from tensorflow import make_ndarray

        for name in self._nodes_behind(layer):
            node = self._nodes[name]
            if node.op in ("Concat", "ConcatV2"):
                for tower in self._towers(node):
                    yield from self._weights_feeding(tower)
                continue
            while node.op not in ("Conv2D", "DepthwiseConv2dNative", "MatMul"):
                if node.op not in ("Relu", "Relu6", "BiasAdd", "Identity", "Softmax") or not node.input:
                    return
                node = self._nodes[_node_name(node.input[0])]
            kernel = self._nodes[_node_name(node.input[1])]
            while kernel.op == "Identity":
                kernel = self._nodes[_node_name(kernel.input[0])]
            if kernel.op != "Const":
                return
            values = make_ndarray(kernel.attr["value"].tensor)
            axis = 2 if node.op == "DepthwiseConv2dNative" else -1
            yield np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)

    @cached_property
    def _nodes(self) -> dict[str, Any]:
        return {node.name: node for node in self._graph_def.node}

    @cached_property
    def _input(self) -> str:
        placeholders = [node.name for node in self._graph_def.node if node.op.startswith("Placeholder")]
        if self._wanted_input is not None:
            if self._wanted_input not in placeholders:
                raise ModelError(
                    f"{self.weights_file}: expected the input node {self._wanted_input!r}, "
                    f"the graph's inputs are {', '.join(placeholders) or 'none'}"
                )
            return self._wanted_input
        if len(placeholders) != 1:
            raise ModelError(
                f"{self.weights_file}: expected one input node, found {', '.join(placeholders) or 'none'}; "
                "name the one for images as model.input"
            )
        return str(placeholders[0])

    @cached_property
    def _size(self) -> tuple[int, int]:
        dimensions = self._nodes[self._input].attr["shape"].shape.dim
        sizes = [int(dimension.size) for dimension in dimensions][1:3] if len(dimensions) == 4 else []
        if len(sizes) == 2 and all(0 < size <= 4096 for size in sizes):
            return sizes[0], sizes[1]
        return _DEFAULT_SIZE_PX, _DEFAULT_SIZE_PX

    @cached_property
    def _graph_def(self) -> Any:
        """The checked graph, without devices and other hints of the machine that wrote it."""
        from google.protobuf.message import DecodeError
        from tensorflow.core.framework import graph_pb2

        graph_def = graph_pb2.GraphDef()
        try:
            graph_def.ParseFromString(self.weights_file.read_bytes())
        except OSError as error:
            raise ModelError(f"{self.weights_file}: expected a frozen graph, {error.strerror}") from None
        except DecodeError:
            raise ModelError(
                f"{self.weights_file}: expected a frozen graph (a binary GraphDef), got something else or a damaged one"
            ) from None
        check_graph(graph_def, str(self.weights_file))
        for node in graph_def.node:
            node.device = ""
        return graph_def


def check_graph(graph_def: Any, where: str) -> None:
    """Make sure that a graph only computes, and that importing it takes no more memory than it has reason to.

    Raises:
        ModelError: naming the first node that is refused.
    """
    if not graph_def.node:
        raise ModelError(f"{where}: expected a frozen graph with nodes, found none")
    if graph_def.library.function:
        raise ModelError(f"{where}: refused: the graph defines functions; freeze it with its functions inlined")
    names = {node.name for node in graph_def.node}
    for node in graph_def.node:
        if node.op not in _COMPUTING_OPS:
            raise ModelError(
                f"{where}: refused: node {node.name!r} is of type {node.op}, which is not known to be safe"
            )
        for name in node.input:
            if _node_name(name) not in names:
                raise ModelError(f"{where}: expected an input for node {node.name!r}, {name!r} does not exist")
        if node.op == "Const":
            _check_constant(node, where)


def _check_constant(node: Any, where: str) -> None:
    from tensorflow import as_dtype, make_ndarray

    tensor = node.attr["value"].tensor
    try:
        dtype = as_dtype(tensor.dtype)
        claimed = math.prod(dimension.size for dimension in tensor.tensor_shape.dim) * dtype.size
    except (TypeError, ValueError):
        raise ModelError(f"{where}: node {node.name!r} has a constant of an unknown type") from None
    if any(dimension.size < 0 for dimension in tensor.tensor_shape.dim) or claimed > max(
        tensor.ByteSize() + 64, _LARGEST_UNSTORED_BYTES
    ):
        raise ModelError(f"{where}: refused: node {node.name!r} claims {claimed:,} bytes that are not in the file")
    if dtype.is_floating:
        try:
            finite = np.isfinite(make_ndarray(tensor)).all()
        except (TypeError, ValueError):
            raise ModelError(f"{where}: node {node.name!r} has a constant that cannot be read") from None
        if not finite:
            raise ModelError(f"{where}: node {node.name!r} has weights that are not finite numbers")


def _node_name(tensor: str) -> str:
    """The node of an input, which may be written `^node` or `node:1`."""
    return tensor.removeprefix("^").partition(":")[0]
