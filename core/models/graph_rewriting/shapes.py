"""Facts about the shapes of tensors that a graph states, without computing all shapes."""

from __future__ import annotations

from collections.abc import Sequence

from core.models.graph.safety import inputs_of, node_name
from core.models.graph_rewriting.nodes import Nodes, data_inputs, edges, sizes_of

PICTURES = frozenset(
    """
    AvgPool BatchToSpaceND Conv2D Conv2DBackpropInput DepthToSpace DepthwiseConv2dNative FusedBatchNorm FusedBatchNormV2
    FusedBatchNormV3 LRN MaxPool MaxPoolV2 ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor SpaceToDepth
    """.split()
)
"""Operations that make a tensor with an axis for images, two for positions and one for channels."""
UNARY = frozenset(
    """
    Abs Cast Ceil CheckNumerics Elu Erf Exp FakeQuantWithMinMaxArgs Floor Identity LeakyRelu Log Log1p Neg OnesLike
    Reciprocal Relu Relu6 Rint Round Rsqrt Selu Sigmoid Sign Softplus Softsign Sqrt Square StopGradient Tanh ZerosLike
    """.split()
)
"""Operations from each value of one tensor to the value at its place."""
BINARY = frozenset(
    "Add AddV2 Div DivNoNan FloorDiv FloorMod Maximum Minimum Mul Pow RealDiv SquaredDifference Sub".split()
)
"""The same of two tensors, the smaller of which is repeated along axes."""
REDUCTIONS = frozenset("All Any Max Mean Min Prod Sum".split())
PADS = frozenset(("Pad", "PadV2", "MirrorPad"))
_MOST_STEPS = 1000
"""Upper bound on the nodes that are looked at to find the rank of a tensor."""
_SAME_RANK = (
    UNARY | PADS | frozenset(("Transpose", "ReverseV2", "Tile", "BiasAdd", "Softmax", "FakeQuantWithMinMaxVars"))
)


def rank(nodes: Nodes, tensor: str) -> int | None:
    """Return the number of axes of a tensor, or None if the nodes before it do not tell."""
    more = 0
    for _ in range(_MOST_STEPS):
        node = nodes[node_name(tensor)]
        inputs = edges(node)
        if node.op in PICTURES:
            return 4 + more
        if node.op == "MatMul":
            return 2 + more
        if node.op in ("Placeholder", "PlaceholderWithDefault"):
            sizes = sizes_of(node)
            return None if sizes is None else len(sizes) + more
        if node.op == "Const":
            return len(node.attr["value"].tensor.tensor_shape.dim) + more if "value" in node.attr else None
        if node.op == "Reshape":
            shape = nodes.integers(inputs[1]) if len(inputs) == 2 else None
            return None if shape is None else len(shape) + more
        if not inputs:
            return None
        tensor = inputs[0]
        if node.op in REDUCTIONS:
            if not node.attr["keep_dims"].b if "keep_dims" in node.attr else True:
                axes = nodes.integers(inputs[1]) if len(inputs) == 2 else None
                if axes is None:
                    return None
                more -= len(axes)
        elif node.op == "ExpandDims":
            more += 1
        elif node.op == "Squeeze" and "squeeze_dims" in node.attr and node.attr["squeeze_dims"].list.i:
            more -= len(node.attr["squeeze_dims"].list.i)
        elif node.op in BINARY and len(inputs) == 2:
            tensor = inputs[1] if nodes.original(inputs[0]).op == "Const" else inputs[0]
        elif node.op not in _SAME_RANK and node.op not in ("ConcatV2", "AddN"):
            return None
    return None


def in_order(nodes: Nodes) -> list[str] | None:
    """Return the names of all nodes, each after those that it depends on, or None if there is a cycle."""
    left = {name: len(set(inputs_of(nodes[name]))) for name in nodes}
    consumers = nodes.consumers()
    found = [name for name, count in left.items() if count == 0]
    for name in found:
        for user in consumers[name]:
            left[user] -= 1
            if left[user] == 0:
                found.append(user)
    return found if len(found) == len(left) else None


def axes_of(nodes: Nodes, tensor: str, count: int) -> Sequence[int] | None:
    """Return constant axes of a tensor of *count* axes, counted from the first one, or None."""
    axes = nodes.integers(tensor)
    return None if axes is None or any(not -count <= axis < count for axis in axes) else [axis % count for axis in axes]


def depends_on(nodes: Nodes, names: set[str], name: str) -> bool:
    """Return whether a node takes a value of one of some nodes."""
    return not names.isdisjoint(data_inputs(nodes[name]))
