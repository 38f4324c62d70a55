"""Frozen TensorFlow graphs, Lucid's InceptionV1 among them, as untrusted input.

A graph can read and write files and call Python, so every node must be of a type that only computes, and nothing of
the file is given to TensorFlow's importer before all of it has been checked. A model is then cut behind the layers
that are asked for.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.arrays import Array
from core.errors import ModelError
from core.machine import device
from core.models.fan_in import stack_towers
from core.models.kind import ModelKind, check_file
from core.models.weights import local_weights
from core.spec import ModelSpec

if TYPE_CHECKING:
    import tensorflow as tf

_COMPUTING = """
    Abs Add AddN AddV2 ArgMax AvgPool BatchMatMul BatchMatMulV2 BatchNormWithGlobalNormalization BatchToSpaceND
    BiasAdd BroadcastTo Cast Concat ConcatV2 Const Conv2D DepthToSpace DepthwiseConv2dNative Div DivNoNan Elu Equal Erf
    Exp ExpandDims Floor FloorDiv FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 GatherV2 Greater GreaterEqual
    Identity IdentityN LRN LeakyRelu Less LessEqual Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul Max
    MaxPool MaxPoolV2 Maximum Mean Min Minimum MirrorPad Mul Neg NoOp Pack Pad PadV2 Placeholder PlaceholderWithDefault
    Pow Prod RealDiv Reciprocal Relu Relu6 Reshape ResizeBilinear ResizeNearestNeighbor Rsqrt Select SelectV2 Selu Shape
    Sigmoid Slice Softmax Softplus Softsign SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square SquaredDifference
    Squeeze StopGradient StridedSlice Sub Sum Tanh Tile Transpose Unpack
"""
COMPUTING_OPS = frozenset(_COMPUTING.split())
"""The types of operation that do nothing but compute."""
_NOT_LAYERS = frozenset(("Const", "Placeholder", "PlaceholderWithDefault", "NoOp", "Shape", "Identity", "Pack"))
_GROWING_OPS = frozenset(
    ("BroadcastTo", "MirrorPad", "Pad", "PadV2", "ResizeBilinear", "ResizeNearestNeighbor", "SpaceToBatchND", "Tile")
)
"""What can make a tensor as large as it likes of small ones, by a number that is computed."""
_LARGEST_UNSTORED_BYTES = 1 << 24  # a constant may stand for so many bytes that are not in the file
_LARGEST_UNSTORED_TOTAL = 1 << 26  # and all constants together for so many
_LARGEST_TENSOR = 1 << 28  # values for one image: more is no network, but an attack on the memory
_LARGEST_COMPUTED_CONSTANT = 1 << 27  # values that do not depend on the images: TensorFlow computes them at import
_MOST_UNFIT_LAYERS = 16  # so many layers that do not take a size are looked for, one by one
_DEFAULT_SIZE_PX = 224


class _UnfitError(ModelError):
    """TensorFlow cannot import a graph, perhaps only because the images are of another size than it was made for."""


class FrozenGraph:
    """A network in a frozen GraphDef.

    Args:
        weights_file: the `.pb` file, which is checked here and not trusted.
        contents: a graph that has been read of something else, and the sha256 in hex of that; checked as well.
        input_node: its placeholder; may be left out if there is only one.
        value_range: what the network expects for image values 0 and 1.
        alignment_layers: layers whose activations keep landmarks in place well.

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
        value_range: tuple[float, float] = (0.0, 1.0),
        alignment_layers: Sequence[str] = (),
    ) -> None:
        graph_def, self.weights_digest = contents or read_frozen_graph(weights_file)
        self._where = str(weights_file)
        self._order = check_graph(graph_def, self._where)
        self._graph_def = _without_hints(graph_def)
        self._value_range = value_range
        self._functions: dict[tuple[Any, ...], Any] = {}
        self._nodes: dict[str, Any] = {node.name: node for node in self._graph_def.node}
        self._input = self._find_input(input_node)
        self._check_computed_constants()
        self.name = name
        self.alignment_layers = tuple(alignment_layers)

    @property
    def reading(self) -> Mapping[str, Any]:
        """What changes the activations besides the weights."""
        return {"input": self._input, "value_range": list(self._value_range)}

    @cached_property
    def layers(self) -> Mapping[str, int]:
        """Layer -> channels, in the graph's order: whatever has positions and channels, or channels alone."""
        return {layer: channels for layer, (*_, channels) in self._shapes.items() if channels is not None}

    @cached_property
    def _shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """Layer -> shape without the batch, (height, width, channel) or (channel,); sizes at the network's own size."""
        try:
            return self._shapes_at(self._size, self._order)
        except _UnfitError:  # what lies behind a reshape to a fixed size may fit another size, or none at all
            return self._shapes_at((None, None), self._order)

    def sizes(self, size_px: int) -> Mapping[str, tuple[int, int] | None]:
        """Layer -> height and width for images of some size; None where it has no positions, or no such size."""
        sizes: dict[str, tuple[int, int] | None] = dict.fromkeys(self.layers)
        positioned = [layer for layer, shape in self._shapes.items() if len(shape) == 3]
        nodes = self._reached_from([node for layer in positioned for node in self._nodes_behind(layer)])
        shapes = self._fitting_shapes((size_px, size_px), [name for name in self._order if name in nodes])
        for layer in positioned:
            match shapes.get(layer):
                case (int(height), int(width), _):
                    sizes[layer] = (height, width)
        return sizes

    def _fitting_shapes(self, size: tuple[int, int], names: list[str]) -> Mapping[str, tuple[int | None, ...]]:
        """As `_shapes_at`, without the nodes that do not take images of this size and what depends on them."""
        for _ in range(_MOST_UNFIT_LAYERS):
            try:
                return self._shapes_at(size, names)
            except _UnfitError:
                fits, fails = 0, len(names)  # how many of the names: TensorFlow does not say which node it was
                while fails - fits > 1:
                    middle = (fits + fails) // 2
                    try:
                        self._shapes_at(size, names[:middle])
                        fits = middle
                    except _UnfitError:
                        fails = middle
                unfit = {names[fits]}
                for name in names[fails:]:
                    if not unfit.isdisjoint(_sources(self._nodes[name])):
                        unfit.add(name)
                names = [name for name in names if name not in unfit]
        return {}

    def _shapes_at(
        self, size: tuple[int | None, int | None], names: Sequence[str]
    ) -> dict[str, tuple[int | None, ...]]:
        import tensorflow as tf

        graph = tf.Graph()
        with graph.as_default():
            image = tf.compat.v1.placeholder(tf.float32, (1, *size, 3))
            self._import(self._cut(set(names) | {self._input}), image)
            found: dict[str, tuple[int | None, ...]] = {}
            for name in names:
                if name not in self._fed_by_images or self._nodes[name].op in _NOT_LAYERS:
                    continue
                for layer in self._names_of(self._nodes[name]):
                    tensor = self._tensor(graph, layer)
                    shape = tensor.shape
                    if tensor.dtype == tf.float32 and shape.rank in (2, 4) and shape[-1] is not None:
                        found[layer] = tuple(shape[1:])
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
            raise ModelError(f"{self._where}: expected a layer that convolutions feed, cannot tell what feeds {layer}")
        return stack_towers(blocks)

    def can_select_channels(self, layers: Collection[str]) -> bool:
        """Never; see `core.models.models.Model`."""
        return False

    def activations(
        self,
        images: tf.Tensor,
        layers: Collection[str],
        *,
        redirected: bool = False,
        channels: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Run the network up to the layers that are asked for; see `core.models.models.Model`."""
        assert channels is None, "only whole layers"
        wanted = tuple(sorted(set(layers)))
        key = (wanted, redirected, tuple(images.shape))
        if key not in self._functions:
            self._functions[key] = self._function(wanted, redirected, images.shape)
        return dict(zip(wanted, self._functions[key](images), strict=True))

    def _function(self, wanted: tuple[str, ...], redirected: bool, shape: tf.TensorShape) -> Any:
        """The cut network as a function of its own: gradients can only be overridden across such a border."""
        import tensorflow as tf

        from core.models.operations.relu import REDIRECTED_GRADIENTS

        cut = self._cut(self._reached_from([node for layer in wanted for node in self._nodes_behind(layer)]))

        def network(images: tf.Tensor) -> list[tf.Tensor]:
            low, high = self._value_range
            graph = tf.compat.v1.get_default_graph()
            with graph.gradient_override_map(REDIRECTED_GRADIENTS if redirected else {}):
                self._import(cut, low + (high - low) * images)
            return [self._tensor(graph, layer) for layer in wanted]

        with tf.init_scope():
            return tf.compat.v1.wrap_function(network, [tf.TensorSpec(shape, tf.float32)])

    def _reached_from(self, names: Collection[str]) -> set[str]:
        """Some nodes and all that they depend on."""
        reached: set[str] = set()
        ahead = list(names)
        while ahead:
            name = ahead.pop()
            if name not in reached:
                reached.add(name)
                ahead += _sources(self._nodes[name])
        return reached

    def _cut(self, names: Collection[str]) -> Any:
        """The part of the graph that has these nodes."""
        cut = type(self._graph_def)()
        cut.versions.CopyFrom(self._graph_def.versions)
        cut.node.extend(self._nodes[name] for name in self._order if name in names)
        return cut

    def _import(self, graph_def: Any, image: tf.Tensor) -> None:
        """Put a part of the graph into TensorFlow's current graph, as `net/...`.

        Raises:
            ModelError: if TensorFlow refuses it, or it makes larger tensors than a network does.
        """
        known = image.shape.is_fully_defined()
        largest = _LARGEST_TENSOR * max(1, image.shape[0] or 1)
        operations = self._operations(graph_def, {f"{self._input}:0": image})
        for node, operation in zip(graph_def.node, operations, strict=True):
            self._check_outputs(node.name, operation, largest, known and node.op in _GROWING_OPS)

    def _operations(self, graph_def: Any, inputs: Mapping[str, tf.Tensor]) -> list[tf.Operation]:
        """TensorFlow's operations for the nodes of a graph, which it has imported with some tensors replaced."""
        import tensorflow as tf

        names = [node.name for node in graph_def.node]
        try:
            operations: list[tf.Operation] = tf.graph_util.import_graph_def(graph_def, inputs, names, name="net")
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise _UnfitError(
                f"{self._where}: expected a graph that TensorFlow can import, {' '.join(str(error).split())[:200]}"
            ) from None
        return operations

    def _check_computed_constants(self) -> None:
        """Make sure that what does not depend on any input stays small.

        To learn the shape of one tensor, TensorFlow's importer may compute others that do not depend on an input; so
        these are imported one after another, each only when those before it are known to be small.
        """
        import tensorflow as tf

        fed: set[str] = set()
        computed: dict[str, None] = {}
        constants: set[str] = set()
        for name in self._order:
            node = self._nodes[name]
            if node.op.startswith("Placeholder") or not fed.isdisjoint(_sources(node)):
                fed.add(name)
            elif node.op not in ("Const", "NoOp"):
                computed[name] = None
                constants.update(source for source in _sources(node) if self._nodes[source].op == "Const")
        tensors: dict[str, tf.Tensor] = {}
        with tf.Graph().as_default():
            for names in (constants, *([name] for name in computed)):
                part = self._cut(names)
                for node in part.node:
                    inputs = [source for source in node.input if not source.startswith("^")]
                    del node.input[:]
                    node.input.extend(inputs)
                known = {_port(source): tensors.get(_port(source)) for node in part.node for source in node.input}
                if missing := [source for source, tensor in known.items() if tensor is None]:
                    reason = f"{_short(missing[0])} does not exist"
                    raise ModelError(f"{self._where}: expected a graph that TensorFlow can import, {reason}")
                for node, operation in zip(part.node, self._operations(part, known), strict=True):
                    self._check_outputs(node.name, operation, _LARGEST_COMPUTED_CONSTANT, growing=True)
                    tensors.update({f"{node.name}:{port}": tensor for port, tensor in enumerate(operation.outputs)})

    def _check_outputs(self, name: str, operation: tf.Operation, largest: int, growing: bool) -> None:
        """Make sure that a node makes no larger tensors than a network does, and, if it can grow, none of any size."""
        for output in operation.outputs:
            sizes = output.shape.as_list() if output.shape.rank is not None else [None]
            if (growing and None in sizes) or math.prod(size for size in sizes if size is not None) > largest:
                raise ModelError(
                    f"{self._where}: refused: node {_short(name)} makes a tensor of shape {output.shape}, "
                    f"expected at most {largest:,} values"
                )

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
    def _fed_by_images(self) -> set[str]:
        """The nodes that depend on the images, and on no other input."""
        fed, starving = {self._input}, set[str]()
        for name in self._order:
            node = self._nodes[name]
            before = [_node_name(source) for source in node.input]
            if (node.op == "Placeholder" and name != self._input) or not starving.isdisjoint(before):
                starving.add(name)
            elif not fed.isdisjoint(before):
                fed.add(name)
        return fed

    def _find_input(self, wanted: str | None) -> str:
        placeholders = [name for name, node in self._nodes.items() if node.op.startswith("Placeholder")]
        found = ", ".join(map(_short, placeholders[:5])) or "none"
        if wanted is None and len(placeholders) != 1:
            raise ModelError(
                f"{self._where}: expected one input node, found {found}; name the one for images as model.input"
            )
        name = placeholders[0] if wanted is None else wanted
        if name not in placeholders:
            raise ModelError(f"{self._where}: expected the input node {_short(name)}, the graph's inputs are {found}")
        if self._nodes[name].attr["dtype"].type != 1:  # DT_FLOAT
            raise ModelError(f"{self._where}: expected an input of type float32, {_short(name)} has another type")
        return name

    @property
    def _size(self) -> tuple[int, int]:
        dimensions = self._nodes[self._input].attr["shape"].shape.dim
        sizes = [int(dimension.size) for dimension in dimensions][1:3] if len(dimensions) == 4 else []
        if len(sizes) == 2 and all(0 < size <= 4096 for size in sizes):
            return sizes[0], sizes[1]
        return _DEFAULT_SIZE_PX, _DEFAULT_SIZE_PX


def read_frozen_graph(path: Path) -> tuple[Any, str]:
    """The GraphDef in a file, not yet checked, and the sha256 of the file.

    Raises:
        ModelError: if there is no file, or another kind of file.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework import graph_pb2

    graph_def = graph_pb2.GraphDef()
    try:
        data = path.read_bytes()
        graph_def.ParseFromString(data)
    except OSError as error:
        raise ModelError(f"{path}: expected a frozen graph, {error.strerror}") from None
    except DecodeError:
        raise ModelError(
            f"{path}: expected a frozen graph (a binary GraphDef), got something else or a damaged one"
        ) from None
    return graph_def, hashlib.sha256(data).hexdigest()


def check_graph(graph_def: Any, where: str) -> list[str]:
    """Make sure that a graph only computes, and that importing it takes no more memory than it has reason to.

    Returns:
        the names of its nodes, each after those that it depends on; otherwise in the order of the file.

    Raises:
        ModelError: naming the first node that is refused.
    """
    if not graph_def.node:
        raise ModelError(f"{where}: expected a frozen graph with nodes, found none")
    if graph_def.library.function:
        raise ModelError(f"{where}: refused: the graph defines functions; freeze it with its functions inlined")
    nodes: dict[str, Any] = {}
    for node in graph_def.node:
        if node.op not in COMPUTING_OPS:
            raise ModelError(
                f"{where}: refused: node {_short(node.name)} is of type {_short(node.op)}, "
                "which is not known to be safe"
            )
        if node.name in nodes:
            raise ModelError(f"{where}: refused: two nodes have the name {_short(node.name)}")
        nodes[node.name] = node
    unstored = 0
    for node in graph_def.node:
        for name in node.input:
            if _node_name(name) not in nodes:
                raise ModelError(
                    f"{where}: expected an input for node {_short(node.name)}, {_short(name)} does not exist"
                )
        if node.op == "Const":
            unstored += _check_constant(node, where)
    if unstored > _LARGEST_UNSTORED_TOTAL:
        raise ModelError(f"{where}: refused: its constants claim {unstored:,} bytes that are not in the file")
    return _sorted(nodes, where)


def _sorted(nodes: Mapping[str, Any], where: str) -> list[str]:
    """Names of nodes, each after those that it depends on."""
    done: dict[str, None] = {}
    for start in nodes:
        open_nodes: dict[str, Iterator[str]] = {} if start in done else {start: _sources(nodes[start])}
        while open_nodes:
            name, sources = next(reversed(open_nodes.items()))
            source = next((source for source in sources if source not in done), None)
            if source is None:
                del open_nodes[name]
                done[name] = None
            elif source in open_nodes:
                raise ModelError(f"{where}: refused: node {_short(source)} depends on itself")
            else:
                open_nodes[source] = _sources(nodes[source])
    return list(done)


def _sources(node: Any) -> Iterator[str]:
    return map(_node_name, node.input)


def _check_constant(node: Any, where: str) -> int:
    """Make sure that a constant is what it claims to be; gives how many of its bytes are not in the file."""
    from tensorflow import as_dtype, make_ndarray

    tensor = node.attr["value"].tensor
    name = _short(node.name)
    try:
        dtype = as_dtype(tensor.dtype)
        claimed = math.prod(dimension.size for dimension in tensor.tensor_shape.dim) * dtype.size
    except (TypeError, ValueError):
        raise ModelError(f"{where}: node {name} has a constant of an unknown type") from None
    stored = tensor.ByteSize() + 64
    if any(dimension.size < 0 for dimension in tensor.tensor_shape.dim) or claimed > max(
        stored, _LARGEST_UNSTORED_BYTES
    ):
        raise ModelError(f"{where}: refused: node {name} claims {claimed:,} bytes that are not in the file")
    if dtype.is_floating:
        try:
            finite = np.isfinite(make_ndarray(tensor).astype(np.float64)).all()
        except (TypeError, ValueError, IndexError):
            raise ModelError(f"{where}: node {name} has a constant that cannot be read") from None
        if not finite:
            raise ModelError(f"{where}: node {name} has weights that are not finite numbers")
    return max(0, int(claimed) - int(stored))


def _without_hints(graph_def: Any) -> Any:
    """A copy of a graph without devices, shapes and other hints of the program that wrote it."""
    plain = type(graph_def)()
    plain.CopyFrom(graph_def)
    for node in plain.node:
        node.device = ""
        for key in [key for key in node.attr if key.startswith("_")]:
            del node.attr[key]
    return plain


def _node_name(tensor: str) -> str:
    """The node of an input, which may be written `^node` or `node:1`."""
    return tensor.removeprefix("^").partition(":")[0]


def _port(source: str) -> str:
    """The tensor of an input, which may be written `node` if it is the node's first."""
    return source if ":" in source else f"{source}:0"


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def _load(spec: ModelSpec) -> FrozenGraph:
    weights = local_weights(spec)
    device.prepare()
    return FrozenGraph(weights, input_node=spec.input, value_range=spec.value_range or (0.0, 1.0))


KIND = ModelKind(
    "frozen-graph",
    "any network in a frozen TensorFlow GraphDef, from `file`",
    _load,
    keys=("file", "sha256", "input", "value_range"),
    check=check_file,
)
