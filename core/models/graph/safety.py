"""The safety of untrusted TensorFlow graphs: refusing what is not known to be safe, and importing within memory bounds.

A graph can read and write files and call Python, so every node must be of a type that only computes. Nothing of a file
is given to TensorFlow's importer before all of it has been checked. TensorFlow's importer computes some tensors itself,
so their sizes are checked while the graph is imported node by node.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import ModelError, one_line

if TYPE_CHECKING:
    import tensorflow as tf

COMPUTING_OPS = frozenset(
    """
    Abs Acos Acosh Add AddN AddV2 AdjustContrastv2 AdjustHue AdjustSaturation All Any ApproximateEqual ArgMax
    ArgMin Asin Asinh Atan Atan2 Atanh AvgPool AvgPool3D BatchMatMul BatchMatMulV2 BatchMatMulV3
    BatchNormWithGlobalNormalization BatchToSpace BatchToSpaceND BiasAdd BitwiseAnd BitwiseOr BitwiseXor
    BroadcastArgs BroadcastTo Cast Ceil CheckNumerics ClipByValue CombinedNonMaxSuppression Concat ConcatV2
    Const Conv2D Conv2DBackpropInput Conv3D Conv3DBackpropInputV2 Cos Cosh CropAndResize Cross Cumprod Cumsum
    CumulativeLogsumexp DataFormatDimMap DataFormatVecPermute DepthToSpace DepthwiseConv2dNative Dilation2D Div
    DivNoNan DynamicPartition DynamicStitch Einsum Elu EnsureShape Equal Erf Erfc Exp ExpandDims Expm1
    ExtractImagePatches FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel Fill
    Floor FloorDiv FloorMod FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Gather GatherNd GatherV2 Greater
    GreaterEqual HSVToRGB Identity IdentityN ImageProjectiveTransformV2 ImageProjectiveTransformV3 Inv Invert
    InvertPermutation IsFinite IsInf IsNan L2Loss LRN LeakyRelu LeftShift Less LessEqual LinSpace Log Log1p
    LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul MatrixBandPart MatrixDiag MatrixDiagPart
    MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3 MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3
    Max MaxPool MaxPool3D MaxPoolV2 MaxPoolWithArgmax Maximum Mean Min Minimum MirrorPad Mod Mul MulNoNan Neg
    NoOp NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5
    NotEqual OneHot OnesLike Pack Pad PadV2 Placeholder PlaceholderWithDefault Pow Prod QuantizeAndDequantizeV2
    QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 RGBToHSV RandomStandardNormal RandomUniform RandomUniformInt
    Range Rank RealDiv Reciprocal Relu Relu6 Reshape ResizeArea ResizeBicubic ResizeBilinear
    ResizeNearestNeighbor Reverse ReverseSequence ReverseV2 RightShift Rint Roll Round Rsqrt ScaleAndTranslate
    ScatterNd Select SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Sinh Size Slice Snapshot Softmax
    SoftmaxCrossEntropyWithLogits Softplus Softsign SpaceToBatch SpaceToBatchND SpaceToDepth
    SparseSoftmaxCrossEntropyWithLogits SparseToDense Split SplitV Sqrt Square SquaredDifference Squeeze
    StatelessRandomGetAlg StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg StatelessRandomNormal
    StatelessRandomNormalV2 StatelessRandomUniform StatelessRandomUniformFullInt StatelessRandomUniformFullIntV2
    StatelessRandomUniformInt StatelessRandomUniformIntV2 StatelessRandomUniformV2 StatelessTruncatedNormal
    StatelessTruncatedNormalV2 StopGradient StridedSlice Sub Sum Tan Tanh TensorScatterAdd TensorScatterUpdate
    Tile TopK TopKV2 Transpose TruncateDiv TruncateMod TruncatedNormal Unique UniqueV2 Unpack UnsortedSegmentMax
    UnsortedSegmentSum Where Xdivy Xlogy ZerosLike
    """.split()
)
"""The types of operation that only compute.

Operations that are not here read or write files, parse text or encoded images, call Python, hold resources, control
what runs, return memory that nothing has written, or are not known. Random ones are here: a layer that depends on
chance is refused when it is first computed.
"""
_GROWING_OPS = frozenset(
    """
    BroadcastTo CombinedNonMaxSuppression Conv2DBackpropInput Conv3DBackpropInputV2 CropAndResize DynamicStitch
    ExtractImagePatches Fill ImageProjectiveTransformV2 ImageProjectiveTransformV3 LinSpace MatrixDiagV2
    MatrixDiagV3 MirrorPad NonMaxSuppressionV4 NonMaxSuppressionV5 OneHot Pad PadV2 RandomStandardNormal
    RandomUniform RandomUniformInt Range ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor
    ScaleAndTranslate ScatterNd SpaceToBatch SpaceToBatchND SparseToDense StatelessRandomNormal
    StatelessRandomNormalV2 StatelessRandomUniform StatelessRandomUniformFullInt StatelessRandomUniformFullIntV2
    StatelessRandomUniformInt StatelessRandomUniformIntV2 StatelessRandomUniformV2 StatelessTruncatedNormal
    StatelessTruncatedNormalV2 Tile TruncatedNormal UnsortedSegmentMax UnsortedSegmentSum
    """.split()
)
"""The types of operation that can make a tensor of any size from small tensors, because the size is an input."""
_UNTAKEN = {
    **dict.fromkeys(
        ("Enter", "Exit", "LoopCond", "NextIteration", "RefEnter", "RefExit", "RefNextIteration"), "a loop"
    ),
    **dict.fromkeys(("While", "StatelessWhile", "For"), "a loop"),
    **dict.fromkeys(("RngReadAndSkip", "RngSkip", "StatefulUniformFullInt"), "an augmentation by chance"),
    **dict.fromkeys(
        ("Switch", "Merge", "If", "StatelessIf", "Case", "StatelessCase"), "a condition on computed values"
    ),
    **dict.fromkeys(
        "DecodeBmp DecodeGif DecodeImage DecodeJpeg DecodePng DecodeRaw ParseExample ParseExampleV2".split(),
        "the decoding of files",
    ),
    **dict.fromkeys(("VarHandleOp", "Variable", "VariableV2", "ReadVariableOp"), "a variable"),
}
"""Operation that people meet and that is refused -> what it is part of."""
_LARGEST_UNSTORED_BYTES = 1 << 24  # 16 MiB: bytes of one constant that the file need not hold, such as repeated values
_LARGEST_UNSTORED_TOTAL = 1 << 26  # 64 MiB: the same for all constants together
_LARGEST_TENSOR = 1 << 28  # values for one image: 1 GiB of float32, more than any network needs
_LARGEST_COMPUTED = 1 << 27  # values that do not depend on the images: TensorFlow may compute them at import


class UnfitError(ModelError):
    """TensorFlow cannot import a graph, perhaps only because it was made for images of another size."""


def read_frozen_graph(path: Path) -> tuple[Any, str]:
    """Return the GraphDef in a file, not yet checked, and the sha256 of the file in hex.

    Raises:
        ModelError: if there is no file, or it is not a GraphDef.
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


def check_graph(graph_def: Any, source: str) -> list[str]:
    """Make sure that a graph only computes, and that its constants take no more memory than the file justifies.

    Returns:
        the names of its nodes, each after those that it depends on; otherwise in the order of the file.

    Raises:
        ModelError: naming the first node that is refused.
    """
    if not graph_def.node:
        raise ModelError(f"{source}: expected a frozen graph with nodes, found none")
    if graph_def.library.function:
        raise ModelError(
            f"{source}: refused: the graph defines functions, as loops and recurrent layers do; export the network "
            "without them, or freeze it with its functions inlined"
        )
    nodes: dict[str, Any] = {}
    for node in graph_def.node:
        if node.op not in COMPUTING_OPS:
            raise ModelError(
                f"{source}: refused: node {quoted(node.name)} is of type {quoted(node.op)}, "
                f"which is not known to be safe{_part_of(node.op)}"
            )
        if node.name in nodes:
            raise ModelError(f"{source}: refused: two nodes have the name {quoted(node.name)}")
        nodes[node.name] = node
    unstored = 0
    for node in graph_def.node:
        for name in node.input:
            if node_name(name) not in nodes:
                raise ModelError(
                    f"{source}: expected an input for node {quoted(node.name)}, {quoted(name)} does not exist"
                )
        if node.op == "Const":
            unstored += _check_constant(node, source)
    if unstored > _LARGEST_UNSTORED_TOTAL:
        raise ModelError(f"{source}: refused: its constants claim {unstored:,} bytes that are not in the file")
    return _sorted(nodes, source)


def _part_of(operation: str) -> str:
    """Return what a refused operation belongs to and what to do, if that is known."""
    part = _UNTAKEN.get(operation)
    if part is None:
        return ""
    return f": it is part of {part}; export the network without it, or name a node behind it as model.input"


def _check_constant(node: Any, source: str) -> int:
    """Make sure that a constant can be read and is finite; return how many of its bytes are not in the file."""
    from tensorflow import as_dtype, make_ndarray

    tensor = node.attr["value"].tensor
    name = quoted(node.name)
    try:
        dtype = as_dtype(tensor.dtype)
        claimed = math.prod(dimension.size for dimension in tensor.tensor_shape.dim) * dtype.size
    except (TypeError, ValueError):
        raise ModelError(f"{source}: node {name} has a constant of an unknown type") from None
    stored = tensor.ByteSize() + 64
    if any(dimension.size < 0 for dimension in tensor.tensor_shape.dim) or claimed > max(
        stored, _LARGEST_UNSTORED_BYTES
    ):
        raise ModelError(f"{source}: refused: node {name} claims {claimed:,} bytes that are not in the file")
    if dtype.is_floating:
        try:
            values = make_ndarray(tensor)
            finite = np.isfinite(values if values.dtype.itemsize >= 4 else values.astype(np.float32)).all()
        except (TypeError, ValueError, IndexError):
            raise ModelError(f"{source}: node {name} has a constant that cannot be read") from None
        if not finite:
            raise ModelError(f"{source}: node {name} has weights that are not finite numbers")
    return max(0, int(claimed) - int(stored))


def _sorted(nodes: Mapping[str, Any], source: str) -> list[str]:
    """Return the names of nodes, each after those that it depends on."""
    done: dict[str, None] = {}
    for start in nodes:
        open_nodes: dict[str, Iterator[str]] = {} if start in done else {start: inputs_of(nodes[start])}
        while open_nodes:
            name, inputs = next(reversed(open_nodes.items()))
            before = next((before for before in inputs if before not in done), None)
            if before is None:
                del open_nodes[name]
                done[name] = None
            elif before in open_nodes:
                raise ModelError(f"{source}: refused: node {quoted(before)} depends on itself")
            else:
                open_nodes[before] = inputs_of(nodes[before])
    return list(done)


def plain_node(node: Any) -> Any:
    """Return a copy of a node without its device, shapes and other hints from the program that wrote it."""
    plain = type(node)(name=node.name, op=node.op, input=node.input)
    for key, value in node.attr.items():
        if not key.startswith("_"):
            plain.attr[key].CopyFrom(value)
    return plain


def subgraph(graph_def: Any, nodes: Iterable[Any]) -> Any:
    """Return a graph of copies of some nodes of another graph."""
    part = type(graph_def)()
    part.versions.CopyFrom(graph_def.versions)
    part.node.extend(nodes)
    return part


def check_computed_constants(graph_def: Any, order: Sequence[str], source: str) -> None:
    """Make sure that tensors which do not depend on any input stay small.

    To learn the shape of one tensor, TensorFlow's importer may compute others that do not depend on an input. Their
    nodes are therefore imported one after another, each only when those before it are known to be small.

    Args:
        order: the names of the graph's nodes, each after those that it depends on.

    Raises:
        ModelError: naming the first node that is refused.
    """
    import tensorflow as tf

    nodes = {node.name: node for node in graph_def.node}
    constants, computed = _computed_without_input(nodes, order)
    tensors: dict[str, tf.Tensor] = {}
    with tf.Graph().as_default():
        for names in (constants, *([name] for name in computed)):
            part = subgraph(graph_def, (nodes[name] for name in names))
            for node in part.node:
                inputs = [name for name in node.input if not name.startswith("^")]
                del node.input[:]
                node.input.extend(inputs)
            known = {_port(name): tensors.get(_port(name)) for node in part.node for name in node.input}
            if missing := [name for name, tensor in known.items() if tensor is None]:
                reason = f"{quoted(missing[0])} does not exist"
                raise ModelError(f"{source}: expected a graph that TensorFlow can import, {reason}")
            for node, operation in zip(part.node, _operations(part, known, source), strict=True):
                _check_outputs(node.name, operation, _LARGEST_COMPUTED, source, growing=True)
                tensors.update({f"{node.name}:{port}": tensor for port, tensor in enumerate(operation.outputs)})


def _computed_without_input(nodes: Mapping[str, Any], order: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the nodes that are computed from constants alone, after the constants that they are computed from."""
    fed: set[str] = set()
    computed: dict[str, None] = {}
    constants: set[str] = set()
    for name in order:
        node = nodes[name]
        if node.op.startswith("Placeholder") or not fed.isdisjoint(inputs_of(node)):
            fed.add(name)
        elif node.op not in ("Const", "NoOp"):
            computed[name] = None
            constants.update(before for before in inputs_of(node) if nodes[before].op == "Const")
    return [name for name in order if name in constants], list(computed)


def import_part(graph_def: Any, inputs: Mapping[str, tf.Tensor], source: str) -> dict[str, tf.Operation]:
    """Put a part of a checked graph into TensorFlow's current graph.

    Args:
        inputs: node -> tensor that takes the place of its output; the first is of images.

    Returns:
        node -> TensorFlow's operation, in the order of the graph.

    Raises:
        UnfitError: if TensorFlow refuses it.
        ModelError: if it makes larger tensors than a network does.
    """
    image = next(iter(inputs.values()))
    size_is_known = image.shape.is_fully_defined()
    largest = _LARGEST_TENSOR * max(1, image.shape[0] or 1)
    operations = _operations(graph_def, {f"{name}:0": tensor for name, tensor in inputs.items()}, source)
    for node, operation in zip(graph_def.node, operations, strict=True):
        _check_outputs(node.name, operation, largest, source, growing=size_is_known and node.op in _GROWING_OPS)
    return {node.name: operation for node, operation in zip(graph_def.node, operations, strict=True)}


def _operations(graph_def: Any, inputs: Mapping[str, tf.Tensor], source: str) -> list[tf.Operation]:
    """Import a graph with some of its tensors replaced; return TensorFlow's operations for its nodes."""
    import tensorflow as tf

    names = [node.name for node in graph_def.node]
    try:
        operations: list[tf.Operation] = tf.graph_util.import_graph_def(graph_def, inputs, names, name="net")
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise UnfitError(f"{source}: expected a graph that TensorFlow can import, {one_line(error)}") from None
    return operations


def _check_outputs(name: str, operation: tf.Operation, largest: int, source: str, *, growing: bool) -> None:
    """Make sure that a node makes no tensor of more than *largest* values, nor of unknown size if it is *growing*."""
    for output in operation.outputs:
        sizes = output.shape.as_list() if output.shape.rank is not None else [None]
        if (growing and None in sizes) or math.prod(size for size in sizes if size is not None) > largest:
            raise ModelError(
                f"{source}: refused: node {quoted(name)} makes a tensor of shape {output.shape}, "
                f"expected at most {largest:,} values"
            )


def inputs_of(node: Any) -> Iterator[str]:
    """Yield the names of the nodes that a node depends on."""
    return map(node_name, node.input)


def node_name(tensor: str) -> str:
    """Return the node of an input, which may be written `^node` or `node:1`."""
    return tensor.removeprefix("^").partition(":")[0]


def _port(tensor: str) -> str:
    """Return the full name of an input, which may be written `node` if it is the node's first output."""
    return tensor if ":" in tensor else f"{tensor}:0"


def quoted(name: str) -> str:
    """Return a name from a graph in quotes, in one line of at most 82 characters and escapes."""
    return repr(name if len(name) <= 80 else f"{name[:77]}...")
