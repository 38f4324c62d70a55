"""The translation of an ONNX graph, node by node, into a TensorFlow GraphDef with the channels last.

Nodes that depend on constants alone are computed here. What an operator without a translation makes is unknown, and so
is everything that depends on it; the rest of the graph stays usable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from core.errors import one_line, short
from core.models.onnx_graph import (
    activations,
    arithmetic,
    attention,
    convolutions,
    normalisation,
    parts,
    pictures,
    quantisation,
    shapes,
)
from core.models.onnx_graph.file import STANDARD, OnnxFile, stored_values
from core.models.onnx_graph.folding import FOLDED, fold, fresh_budget
from core.models.onnx_graph.node import Node
from core.models.onnx_graph.sizes import of_sizes
from core.models.onnx_graph.values import Constant, Sizes, Tensor, UnknownOperatorError, Value, in_order, known

Translation = Callable[..., "Value | tuple[Value, ...]"]

OPERATORS: Mapping[str, Translation] = {
    **dict.fromkeys(activations.UNARY, activations.unary),
    **dict.fromkeys(arithmetic.ELEMENTWISE, arithmetic.elementwise),
    **dict.fromkeys(arithmetic.REDUCTIONS, arithmetic.reduce),
    "AveragePool": convolutions.of_rows_too(convolutions.average_pool),
    "BatchNormalization": normalisation.batch_norm,
    "Cast": arithmetic.cast,
    "CastLike": arithmetic.cast_like,
    "Clip": activations.clip,
    "Concat": shapes.concat,
    "Attention": attention.attention,
    "ConstantOfShape": shapes.constant_of_shape,
    "Conv": convolutions.of_rows_too(convolutions.conv),
    "ConvTranspose": convolutions.of_rows_too(convolutions.conv_transpose),
    "CumSum": parts.cumsum,
    "DepthToSpace": pictures.depth_to_space,
    "Einsum": arithmetic.einsum,
    "DequantizeLinear": quantisation.dequantize,
    "Expand": shapes.expand,
    "Flatten": shapes.flatten,
    "Gather": parts.gather,
    "Gemm": arithmetic.gemm,
    "GatherElements": parts.gather_elements,
    "GatherND": parts.gather_nd,
    "GlobalAveragePool": convolutions.of_rows_too(convolutions.global_pool),
    "GlobalMaxPool": convolutions.of_rows_too(convolutions.global_pool),
    "GroupNormalization": normalisation.group_norm,
    "InstanceNormalization": normalisation.instance_norm,
    "LRN": normalisation.local_response,
    "LayerNormalization": normalisation.layer_norm,
    "LpNormalization": normalisation.lp_norm,
    "LogSoftmax": activations.softmax,
    "MatMul": arithmetic.matmul,
    "MaxPool": convolutions.of_rows_too(convolutions.max_pool),
    "MeanVarianceNormalization": normalisation.mean_variance,
    "OneHot": parts.one_hot,
    "Pad": pictures.pad,
    "QuantizeLinear": quantisation.quantize,
    "RMSNormalization": normalisation.layer_norm,
    "Range": parts.range_of,
    "Reshape": shapes.new_shape,
    "Resize": pictures.resize,
    "RotaryEmbedding": attention.rotary_embedding,
    "ScatterND": parts.scatter_nd,
    "Shape": shapes.shape,
    "Size": shapes.size,
    "Slice": parts.cut,
    "Softmax": activations.softmax,
    "SpaceToDepth": pictures.depth_to_space,
    "Split": parts.split,
    "Squeeze": shapes.squeeze,
    "Tile": shapes.tile,
    "Transpose": shapes.transpose,
    "Trilu": parts.trilu,
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
    _Translator(file.opset, fresh_budget(file.constants)).add(file.graph.node, values, unknown)
    return values, unknown


@dataclass(frozen=True)
class _Translator:
    """The translation of the nodes of a graph, and of graphs within it.

    Attributes:
        opset: version of the standard that the file was written for.
        budget: how many more values of constants may be computed; see `folding.fold`.
        depth: how many graphs this one is in.
    """

    opset: int
    budget: list[int]
    depth: int = 0

    def add(self, protos: Sequence[Any], values: dict[str, Value], unknown: dict[str, str]) -> None:
        """Add the values of all tensors that some nodes make, or the reasons why they are unknown."""
        for proto in protos:
            missing = next((item for item in proto.input if item in unknown), None)
            if missing is not None:
                unknown.update(dict.fromkeys(proto.output, unknown[missing]))
                continue
            try:
                if proto.domain not in STANDARD:
                    raise UnknownOperatorError("no translation of this operator")
                node = Node(proto.op_type, _attributes(proto), self.opset, len(proto.output))
                _check_counts(node)
                inputs = [values[item] if item else None for item in proto.input]
                if node.operator == "If":
                    outputs = self._branch(node, inputs[0], values, unknown)
                else:
                    outputs = self._outputs(proto, node, inputs)
            except UnknownOperatorError as error:
                reason = str(error)
            except _UNFIT as error:  # a damaged graph: shapes that do not agree, attributes or inputs that are missing
                reason = one_line(error) or "inputs that it does not take"
            else:
                values.update(zip(filter(None, proto.output), outputs, strict=False))
                continue
            where = f" at node {short(proto.name)}" if proto.name else ""
            unknown.update(dict.fromkeys(proto.output, f"operator {short(proto.op_type)}{where}: {reason}"))

    def _branch(
        self, node: Node, condition: Value | None, values: Mapping[str, Value], unknown: Mapping[str, str]
    ) -> Sequence[Value]:
        """Return the outputs of an `If`, which exporters write for a condition that sizes of tensors decide."""
        if self.depth >= _DEEPEST:
            raise UnknownOperatorError("graphs within graphs")
        chosen = node.attributes["then_branch" if known(condition, "a condition").item() else "else_branch"]
        inside, strange = dict(values), dict(unknown)
        inside |= {tensor.name: stored_values(tensor) for tensor in chosen.initializer}
        replace(self, depth=self.depth + 1).add(chosen.node, inside, strange)
        for entry in chosen.output:
            if entry.name in strange:
                raise UnknownOperatorError(strange[entry.name])
        return [inside[entry.name] for entry in chosen.output]

    def _outputs(self, proto: Any, node: Node, inputs: Sequence[Value | None]) -> Sequence[Value]:
        if node.operator == "Constant":
            return [_constant(node)]
        if node.operator in _SAME:
            assert inputs[0] is not None
            return [inputs[0]]
        inputs = [item.constant() if isinstance(item, Sizes) and item.are_known else item for item in inputs]
        constants = [item for item in inputs if item is None or isinstance(item, np.ndarray)]
        if node.operator in FOLDED and len(constants) == len(inputs):
            return fold(proto, self.opset, constants, self.budget)
        found = of_sizes(proto, node, inputs)
        if found is not None:
            return found
        if node.operator not in OPERATORS:
            raise UnknownOperatorError("no translation of this operator")
        made = OPERATORS[node.operator](node, *_tensors_where_needed(node.operator, inputs))
        return made if isinstance(made, tuple) else [made]


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


def _check_counts(node: Node) -> None:
    """Make sure that strides, sizes of windows and the like are such, because TensorFlow does not check all of them."""
    for name in _COUNTS:
        found = node.attributes.get(name, 1)
        for count in found if isinstance(found, Sequence) else [found]:
            if not isinstance(count, int) or not 1 <= count <= _LARGEST_COUNT:
                raise UnknownOperatorError(f"{name} of {short(count)}")


_OF_PICTURES = frozenset(
    """
    Cast CastLike Expand Flatten Gather GatherElements GatherND Pad ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin
    ReduceProd ReduceSum ReduceSumSquare Reshape Resize ScatterElements ScatterND Slice Split Squeeze Tile Transpose
    Trilu Unsqueeze Upsample
    """.split()
)
"""Operators whose first input is a tensor here."""
_TAKE_SIZES = frozenset(
    "ConstantOfShape Expand Pad Range Reshape Resize Shape Size Slice Split Squeeze Tile Unsqueeze Upsample".split()
)
"""Operators that take sizes as they are; for `_OF_PICTURES`, not as the first input."""


def _tensors_where_needed(operator: str, inputs: Sequence[Value | None]) -> list[Value | None]:
    """Turn sizes and lone constants into tensors for operators that compute with pixels."""
    found: list[Value | None] = []
    for place, item in enumerate(inputs):
        first = place == 0 and operator in _OF_PICTURES
        lone = isinstance(item, Sizes) and (operator not in _TAKE_SIZES or first)
        found.append(Tensor(in_order(item)) if lone or (first and isinstance(item, np.ndarray)) else item)  # type: ignore[arg-type]
    return found


def _constant(node: Node) -> Constant:
    for name, value in node.attributes.items():
        if name.startswith("value"):
            return np.asarray(value, np.float32) if name in ("value_float", "value_floats") else np.asarray(value)
    raise UnknownOperatorError("a constant without a value")
