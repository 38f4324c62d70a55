"""The weights that feed a layer of a frozen graph, found by walking back from it to the last convolutions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from core.arrays import Array
from core.models.graph_safety import node_name
from core.models.layer_names import towers

_KERNELS = {"Conv2D": -1, "DepthwiseConv2dNative": 2, "MatMul": -1, "BatchMatMulV2": -1}
"""Operation with a kernel -> the kernel's axis of the channels that it makes."""
_PASSING = frozenset(
    "BiasAdd Elu Erf Identity LeakyRelu Relu Relu6 Selu Sigmoid Softmax Softplus Softsign Tanh".split()
)
"""Operations that change the values of a channel and not which channel they are of."""
_WITH_CONSTANT = frozenset("Add AddV2 Mul RealDiv Sub Maximum Minimum".split())
"""The same, if all inputs but one are constants."""


def weights_feeding(nodes: Mapping[str, Any], name: str) -> Iterator[Array]:
    """Yield the kernels that feed a node, one for each tower that is concatenated, shape (channel, weight).

    Nothing is yielded for a tower that no kernel feeds alone, such as a sum of two branches.
    """
    from tensorflow import make_ndarray

    node = nodes[name]
    if node.op in ("Concat", "ConcatV2"):
        for tower in towers(node):
            yield from weights_feeding(nodes, tower)
        return
    while node.op not in _KERNELS:
        inputs = [nodes[node_name(tensor)] for tensor in node.input if not tensor.startswith("^")]
        if node.op in _WITH_CONSTANT:
            inputs = [before for before in inputs if _original(nodes, before).op != "Const"]
            if len(inputs) != 1:
                return
        elif node.op not in _PASSING or not inputs:
            return
        node = inputs[0]
    kernel = _original(nodes, nodes[node_name(node.input[1])])
    if kernel.op != "Const":
        return
    values = make_ndarray(kernel.attr["value"].tensor)
    axis = _KERNELS[node.op]
    yield np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)


def _original(nodes: Mapping[str, Any], node: Any) -> Any:
    """Return the node that a node is another name of, or the node itself."""
    while node.op == "Identity":
        node = nodes[node_name(node.input[0])]
    return node
