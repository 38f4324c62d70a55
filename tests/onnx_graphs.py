"""Small ONNX graphs for tests, and what onnxruntime computes with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

FLOAT = onnx.TensorProto.FLOAT
Array = np.ndarray


class OnnxGraph:
    """A graph that grows node by node; it takes one image, (batch, channel, height, width).

    Args:
        shape: of the input; a name stands for a size that is not fixed.
    """

    def __init__(self, shape: Sequence[Any] = ("b", 3, "h", "w"), opset: int = 18) -> None:
        self._input = helper.make_tensor_value_info("image", FLOAT, list(shape))
        self._opset = opset
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        """Add a constant and return its name."""
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def ints(self, *values: int) -> str:
        """Add a vector of whole numbers and return its name."""
        return self.constant(np.array(values, np.int64))

    def node(self, operator: str, *inputs: str, outputs: int = 1, name: str = "", **attributes: Any) -> Any:
        """Add a node and return the names of its outputs, or the name of its only one."""
        made = [f"{operator.lower()}_{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), made, name=name, **attributes))
        return made[0] if outputs == 1 else made

    def model(self, outputs: Sequence[str] = ()) -> Any:
        """Return the graph as a ModelProto, with the last node's output for its own unless others are named."""
        names = outputs or list(self.nodes[-1].output)[:1]
        found = [onnx.helper.make_empty_tensor_value_info(name) for name in names]
        graph = helper.make_graph(self.nodes, "net", [self._input], found, self.constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self._opset)])
        made.ir_version = min(made.ir_version, 10)
        return made


def oracle(model: Any, image: Array) -> list[Array]:
    """Return what onnxruntime computes for the outputs of a model, without optimising its graph."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[Array] = session.run(None, {session.get_inputs()[0].name: image})
    return found


def every_tensor(model: Any) -> tuple[Any, list[str]]:
    """Return a copy of a model all of whose tensors are outputs, and their names."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    names = [name for node in copy.graph.node for name in node.output if name]
    del copy.graph.output[:]
    copy.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    return copy, names
