"""Nodes that depend on constants alone, computed while a graph is translated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core.models.onnx_graph.values import Constant, UnknownOperatorError

FOLDED = frozenset(
    """
    Abs Add And BitShift Cast CastLike Ceil Clip Concat ConstantOfShape Cos CumSum Div Equal Erf Exp
    Expand EyeLike Flatten Floor Gather GatherElements GatherND Greater GreaterOrEqual IsNaN Less LessOrEqual Log MatMul
    Max Min Mod Mul Neg NonZero Not OneHot Or Pow Range Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare Relu Reshape Round ScatterElements ScatterND Shape Sigmoid Sign Sin Size Slice Softmax
    Split Sqrt Squeeze Sub Sum Tanh Tile TopK Transpose Trilu Unsqueeze Where Xor
    """.split()
)
"""Operators that are computed here."""
_LARGEST = 1 << 24  # values that a node may make of few
_SAME_SIZE = frozenset(
    """
    Cast CastLike Ceil Clip Concat CumSum EyeLike Flatten Floor GatherElements IsNaN NonZero ReduceL2 ReduceMax
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Reshape Round ScatterElements ScatterND Shape Sign Size
    Slice Softmax Split Squeeze TopK Transpose Trilu Unsqueeze
    """.split()
)


def fold(proto: Any, opset: int, inputs: Sequence[Constant | None], budget: list[int]) -> list[Constant]:
    """Return the outputs of a node.

    Args:
        proto: the node, whose operator is in `FOLDED`.
        budget: one number: how many more bytes may be made for this graph, which is lowered.

    Raises:
        UnknownOperatorError: if it cannot be computed here, or makes more values than that.
    """
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    given = [item for item in inputs if item is not None]
    if budget[0] < 0 or _values_made(proto, given) > _LARGEST + 2 * sum(item.size for item in given):
        raise UnknownOperatorError("a range of that size" if proto.op_type == "Range" else "a constant of that size")
    feeds = {name: item for name, item in zip(proto.input, inputs, strict=True) if name}
    untyped = helper.make_tensor_type_proto(0, None)
    graph = helper.make_graph(
        [proto],
        "fold",
        [helper.make_value_info(name, untyped) for name in feeds],
        [helper.make_value_info(name, untyped) for name in proto.output],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        with np.errstate(all="ignore"):
            found = ReferenceEvaluator(model).run(None, feeds)
    except Exception as error:  # it has no common class for what it refuses
        raise UnknownOperatorError(f"{type(error).__name__} for constants") from None
    made = [np.asarray(item) for item in found]
    budget[0] -= sum(item.nbytes for item in made if not any(np.may_share_memory(item, part) for part in given))
    return made


def fresh_budget(constants: Mapping[str, Constant]) -> list[int]:
    """Return the budget of a graph: some bytes, and twice those that it has itself."""
    return [8 * _LARGEST + 2 * sum(constant.nbytes for constant in constants.values())]


def _values_made(proto: Any, inputs: Sequence[Constant]) -> int:
    """Return an upper bound on the number of values that a node makes."""
    operator = proto.op_type
    total = sum(item.size for item in inputs) + 1
    if operator == "Range":
        start, end, step = (float(item.reshape(-1)[0]) for item in inputs)
        count = abs((end - start) / step) if step else math.inf
        return int(min(count, 1e18)) + 1 if not math.isnan(count) else 1 << 60
    if operator == "ConstantOfShape":
        return math.prod(map(int, inputs[0].reshape(-1)))
    if operator == "Expand":
        return int(math.prod(np.broadcast_shapes(inputs[0].shape, [int(item) for item in inputs[1].reshape(-1)])))
    if operator == "Tile":
        return int(inputs[0].size) * math.prod(abs(int(item)) for item in inputs[1].reshape(-1))
    if operator == "OneHot":
        return int(inputs[0].size) * abs(int(inputs[1].reshape(-1)[0]))
    if operator == "MatMul":
        return int(math.prod(inputs[0].shape[:-1]) * math.prod((*inputs[1].shape[:-2], *inputs[1].shape[-1:])))
    if operator == "Gather":
        axis = next((attribute.i for attribute in proto.attribute if attribute.name == "axis"), 0)
        return int(inputs[1].size * (inputs[0].size // max(1, inputs[0].shape[axis])))
    if operator == "GatherND":
        depth = inputs[1].shape[-1] if inputs[1].ndim else 1
        return int(inputs[1].size) * math.prod(inputs[0].shape[depth:])
    if operator in _SAME_SIZE:
        return total
    together: int = math.prod(np.broadcast_shapes(*(item.shape for item in inputs)))
    return together
