"""The kernels of a frozen graph: constants whose rows are the weights of one channel each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from core.arrays import Array
from core.models.graph.safety import node_name

KERNELS = frozenset(
    "BatchMatMul BatchMatMulV2 BatchMatMulV3 Conv2D Conv2DBackpropInput DepthwiseConv2dNative Einsum MatMul".split()
)


def kernel_rows(nodes: Mapping[str, Any], node: Any) -> Array | None:
    """Return the kernel of an operation, shape (channel, weight), or None if it is not a constant.

    A depthwise kernel, shape (height, width, in, multiplier), makes the channels of each input channel one after the
    other.
    """
    kernel = original(nodes, nodes[node_name(node.input[1])])
    if kernel.op != "Const":
        return None
    values: Array = constant_of(nodes, kernel.name, [])
    if node.op == "DepthwiseConv2dNative":
        return values.reshape(-1, values.shape[2] * values.shape[3]).T
    axis = _axis(node, values)
    return None if axis is None else np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)


def _axis(node: Any, values: Array) -> int | None:
    """Return the kernel's axis of the channels that an operation makes, or None if it has no such axis."""
    match node.op:
        case "Conv2D":
            return -1
        case "Conv2DBackpropInput":
            return 2  # the kernel of a transposed convolution is (height, width, out, in)
        case "MatMul":
            return 0 if node.attr["transpose_b"].b else -1
        case "Einsum":
            inputs, _, output = node.attr["equation"].s.decode().replace(" ", "").partition("->")
            letters = inputs.partition(",")[2]
            own = [letter for letter in output if letter in letters and letter not in inputs.partition(",")[0]]
            return letters.index(own[0]) if own == [output[-1]] else None
    if values.size != values.shape[-1] * values.shape[-2]:
        return None  # a product with a kernel for each image or part
    return -2 if node.attr["adj_y"].b else -1


def constant_of(nodes: Mapping[str, Any], name: str, otherwise: Any) -> Any:
    """Return the values of a constant as an array, or *otherwise* as an array if the node is none."""
    from tensorflow import make_ndarray

    node = original(nodes, nodes[name])
    return make_ndarray(node.attr["value"].tensor) if node.op == "Const" else np.asarray(otherwise)


def original(nodes: Mapping[str, Any], node: Any) -> Any:
    """Return the node that a node is another name of, or the node itself."""
    while node.op == "Identity":
        node = nodes[node_name(node.input[0])]
    return node
