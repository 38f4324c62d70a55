"""The translation of an ONNX graph, node by node, into a TensorFlow GraphDef with the channels last.

Nodes that depend on constants alone are computed here. What an operator without a translation makes is unknown, and so
is everything that depends on it; the rest of the graph stays usable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from core.errors import one_line, short
from core.models.onnx_graph import activations, arithmetic, convolutions, normalisation, pictures, shapes
from core.models.onnx_graph.file import STANDARD, OnnxFile, stored_values
from core.models.onnx_graph.node import Node
from core.models.onnx_graph.values import Constant, Sizes, Tensor, UnknownOperatorError, Value, in_order, known

Translation = Callable[..., "Value | tuple[Value, ...]"]

OPERATORS: Mapping[str, Translation] = {
    **dict.fromkeys(activations.UNARY, activations.unary),
    **dict.fromkeys(arithmetic.ELEMENTWISE, arithmetic.elementwise),
    **dict.fromkeys(arithmetic.REDUCTIONS, arithmetic.reduce),
    "AveragePool": convolutions.average_pool,
    "BatchNormalization": normalisation.batch_norm,
    "Cast": arithmetic.cast,
    "CastLike": arithmetic.cast_like,
    "Clip": activations.clip,
    "Concat": shapes.concat,
    "ConstantOfShape": shapes.constant_of_shape,
    "Conv": convolutions.conv,
    "ConvTranspose": convolutions.conv_transpose,
    "DepthToSpace": pictures.depth_to_space,
    "Einsum": arithmetic.einsum,
    "Expand": shapes.expand,
    "Flatten": shapes.flatten,
    "Gather": shapes.gather,
    "Gemm": arithmetic.gemm,
    "GlobalAveragePool": convolutions.global_pool,
    "GlobalMaxPool": convolutions.global_pool,
    "GroupNormalization": normalisation.group_norm,
    "InstanceNormalization": normalisation.instance_norm,
    "LRN": normalisation.local_response,
    "LayerNormalization": normalisation.layer_norm,
    "LogSoftmax": activations.softmax,
    "MatMul": arithmetic.matmul,
    "MaxPool": convolutions.max_pool,
    "Pad": pictures.pad,
    "RMSNormalization": normalisation.layer_norm,
    "Reshape": shapes.new_shape,
    "Resize": pictures.resize,
    "Shape": shapes.shape,
    "Size": shapes.size,
    "Slice": shapes.cut,
    "Softmax": activations.softmax,
    "SpaceToDepth": pictures.depth_to_space,
    "Split": shapes.split,
    "Squeeze": shapes.squeeze,
    "Tile": shapes.tile,
    "Transpose": shapes.transpose,
    "Unsqueeze": shapes.unsqueeze,
    "Upsample": pictures.resize,
    "Where": arithmetic.where,
}
"""Name of an operator -> its translation, called with the node and the values of its inputs."""
_SAME = ("Identity", "Dropout")
_UNFIT = (ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError)
_COUNTS = ("blocksize", "dilations", "group", "kernel_shape", "num_groups", "size", "strides")
_LARGEST_COUNT = 1 << 12  # of pixels or channels, in one attribute; more would overflow within TensorFlow
_DEEPEST = 4  # branches within branches
_LARGEST_FOLDED = 1 << 24  # values of a constant that is computed while translating


def translate(file: OnnxFile, image: Any, channels_first: bool) -> tuple[dict[str, Value], dict[str, str]]:
    """Put the translation of a graph into TensorFlow's current graph.

    Args:
        image: placeholder of shape (batch, height, width, channel).
        channels_first: whether the graph itself takes the channels first.

    Returns:
        name of a tensor -> its value; and name of a tensor -> why it is unknown, for what has no translation.
    """
    name = next(entry.name for entry in file.graph.input if entry.name not in file.constants)
    values: dict[str, Value] = dict(file.constants)
    values[name] = Tensor(image, channels_first, 1 if channels_first else 3)
    unknown: dict[str, str] = {}
    _translate_nodes(file.graph.node, file.opset, values, unknown)
    return values, unknown


def _translate_nodes(
    protos: Sequence[Any], opset: int, values: dict[str, Value], unknown: dict[str, str], depth: int = 0
) -> None:
    """Add the values of all tensors that some nodes make, or the reasons why they are unknown."""
    for proto in protos:
        missing = next((item for item in proto.input if item in unknown), None)
        if missing is not None:
            unknown.update(dict.fromkeys(proto.output, unknown[missing]))
            continue
        try:
            if proto.domain not in STANDARD:
                raise UnknownOperatorError("no translation of this operator")
            node = Node(proto.op_type, _attributes(proto), opset, len(proto.output))
            _check_counts(node)
            if proto.op_type == "If":
                outputs = _branch(proto, node, values, unknown, depth)
            else:
                outputs = _outputs(proto, node, [values[item] if item else None for item in proto.input])
        except UnknownOperatorError as error:
            reason = str(error)
        except _UNFIT as error:  # a damaged graph: shapes that do not agree, attributes or inputs that are missing
            reason = one_line(error)
        else:
            values.update(zip(filter(None, proto.output), outputs, strict=False))
            continue
        where = f" at node {short(proto.name)}" if proto.name else ""
        unknown.update(dict.fromkeys(proto.output, f"operator {short(proto.op_type)}{where}: {reason}"))


def _attributes(proto: Any) -> dict[str, Any]:
    """Return the attributes of a node: numbers, text, lists, arrays and graphs."""
    from onnx import helper

    found: dict[str, Any] = {}
    for attribute in proto.attribute:
        value = helper.get_attribute_value(attribute)
        if attribute.type == attribute.TENSOR:
            value = stored_values(value)
        found[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return found


def _branch(proto: Any, node: Node, values: dict[str, Value], unknown: dict[str, str], depth: int) -> Sequence[Value]:
    """Return the outputs of an `If`, which exporters write for a condition that the sizes of tensors decide."""
    if depth >= _DEEPEST:
        raise UnknownOperatorError("graphs within graphs")
    chosen = node.attributes["then_branch" if known(values[proto.input[0]], "a condition").item() else "else_branch"]
    inside, strange = dict(values), dict(unknown)
    for tensor in chosen.initializer:
        inside[tensor.name] = stored_values(tensor)
    _translate_nodes(chosen.node, node.opset, inside, strange, depth + 1)
    for entry in chosen.output:
        if entry.name in strange:
            raise UnknownOperatorError(strange[entry.name])
    return [inside[entry.name] for entry in chosen.output]


def _check_counts(node: Node) -> None:
    """Make sure that strides, sizes of windows and the like are such, because TensorFlow does not check all of them."""
    for name in _COUNTS:
        found = node.attributes.get(name, 1)
        for count in found if isinstance(found, Sequence) else [found]:
            if not isinstance(count, int) or not 1 <= count <= _LARGEST_COUNT:
                raise UnknownOperatorError(f"{name} of {short(count)}")


def _outputs(proto: Any, node: Node, inputs: Sequence[Value | None]) -> Sequence[Value]:
    if node.operator == "Constant":
        return [_constant(node)]
    if node.operator in _SAME:
        assert inputs[0] is not None
        return [inputs[0]]
    if all(
        item is None or isinstance(item, np.ndarray) or (isinstance(item, Sizes) and item.are_known) for item in inputs
    ):
        folded = _fold(proto, node, inputs)
        if folded is not None:
            return folded
    if node.operator in shapes.SIZE_ARITHMETIC and _are_sizes(inputs):
        return [shapes.sizes_arithmetic(node, *(item for item in inputs if item is not None))]
    if node.operator not in OPERATORS:
        raise UnknownOperatorError("no translation of this operator")
    found = OPERATORS[node.operator](node, *_tensors_where_needed(node.operator, inputs))
    return found if isinstance(found, tuple) else [found]


_TAKE_SIZES = frozenset(
    """
    Cast CastLike Pad ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Resize Slice Split Squeeze Tile Unsqueeze
    Upsample
    """.split()
)
"""Operators that take sizes as they are, but no constant for their first input."""
_TAKE_ALL = frozenset("Concat ConstantOfShape Expand Gather Reshape Shape Size".split())
"""Operators that take sizes and constants as they are."""


def _tensors_where_needed(operator: str, inputs: Sequence[Value | None]) -> list[Value | None]:
    """Turn sizes and lone constants into tensors for operators that compute with pixels."""
    if operator in _TAKE_SIZES and isinstance(inputs[0], np.ndarray):
        return [Tensor(in_order(inputs[0])), *inputs[1:]]
    if operator in _TAKE_SIZES | _TAKE_ALL:
        return list(inputs)
    return [Tensor(in_order(item)) if isinstance(item, Sizes) else item for item in inputs]


def _are_sizes(inputs: Sequence[Value | None]) -> bool:
    """Return whether all inputs are sizes or small whole numbers."""
    return any(isinstance(item, Sizes) for item in inputs) and all(
        isinstance(item, Sizes) or (isinstance(item, np.ndarray) and item.dtype.kind in "iub" and item.ndim <= 1)
        for item in inputs
    )


def _constant(node: Node) -> Constant:
    for name, value in node.attributes.items():
        if name.startswith("value"):
            return np.asarray(value, np.float32) if name in ("value_float", "value_floats") else np.asarray(value)
    raise UnknownOperatorError("a constant without a value")


def _fold(proto: Any, node: Node, inputs: Sequence[Value | None]) -> Sequence[Value] | None:
    """Return the outputs of a node whose inputs are all known, or None if they cannot be computed here."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    if node.operator not in _FOLDED:
        return None
    known = [item.constant() if isinstance(item, Sizes) else item for item in inputs]
    if proto.op_type in ("ConstantOfShape", "Expand", "Tile"):
        target = known[0] if proto.op_type == "ConstantOfShape" else known[1]
        if math.prod(int(item) for item in np.asarray(target).reshape(-1)) > _LARGEST_FOLDED:
            raise UnknownOperatorError("a constant of that size")
    if proto.op_type == "Range":
        start, end, step = (float(item) for item in known)  # type: ignore[arg-type]
        if not step or abs((end - start) / step) > _LARGEST_FOLDED:
            raise UnknownOperatorError("a range of that size")
    feeds = {name: item for name, item in zip(proto.input, known, strict=True) if name}
    graph = helper.make_graph(
        [proto],
        "fold",
        [helper.make_value_info(name, helper.make_tensor_type_proto(0, None)) for name in feeds],
        [helper.make_value_info(name, helper.make_tensor_type_proto(0, None)) for name in proto.output],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", node.opset)])
    try:
        found = ReferenceEvaluator(model).run(None, feeds)
    except Exception as error:  # it has no common class for what it refuses
        raise UnknownOperatorError(f"{type(error).__name__} for constants") from None
    return [np.asarray(item) for item in found]


_FOLDED = frozenset(
    """
    Abs Add And Cast CastLike Ceil Concat ConstantOfShape CumSum Div Equal Erf Exp Expand Flatten Floor Gather
    GatherElements GatherND Greater GreaterOrEqual Less LessOrEqual Log MatMul Max Min Mod Mul Neg Not OneHot Or
    Pow Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Reshape ScatterND Shape Sigmoid
    Sign Sin Cos Size Slice Split Sqrt Squeeze Sub Tanh Tile Transpose Trilu Unsqueeze Where Xor
    """.split()
)
