"""ONNX files that were damaged or made to harm: each is refused in one line, or works, with little memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[1]))
from onnx_graphs import FLOAT, OnnxGraph

from core.errors import ModelError
from core.models.onnx_model import onnx_network
from core.models.preprocessing import Preprocessing

NUMBERS = (0, -1, -5, 1 << 31, 1 << 62, -(1 << 62), 7, 1_000_000)
DAMAGES = ("bytes", "end", "attribute", "input", "operator", "size", "values", "arguments")


def whole() -> OnnxGraph:
    """A convolution, tokens, a linear layer, a normalisation, pads, a pool and another size."""
    graph, random = OnnxGraph(), np.random.default_rng(0)
    kernel = graph.constant(random.normal(size=(4, 3, 3, 3)))
    x = graph.node("Relu", graph.node("Conv", "image", kernel, pads=[1, 1, 1, 1], strides=[2, 2], dilations=[1, 1]))
    x = graph.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    x = graph.node("Pad", x, graph.ints(0, 0, 1, 1, 0, 0, 1, 1), graph.constant(0.5))
    empty = graph.constant(np.zeros(0, np.float32))
    x = graph.node("Resize", x, empty, graph.constant(np.array([1, 1, 2, 2])), mode="linear")
    shape = graph.node("Slice", graph.node("Shape", x), graph.ints(0), graph.ints(2), graph.ints(0))
    flat = graph.node("Reshape", x, graph.node("Concat", shape, graph.ints(-1), axis=0))
    tokens = graph.node("Transpose", flat, perm=[0, 2, 1])
    normal = graph.node(
        "LayerNormalization", tokens, graph.constant(np.ones(4)), graph.constant(np.zeros(4)), axis=-1, epsilon=1e-5
    )
    x = graph.node("MatMul", normal, graph.constant(random.normal(size=(4, 6))))
    x = graph.node("Mul", x, graph.node("Sigmoid", x))
    first, second = graph.node("Split", x, graph.ints(2, 4), outputs=2, axis=2)
    graph.node("Concat", second, first, graph.node("Gather", x, graph.ints(1, 0), axis=2), axis=2)
    return graph


def damaged(seed: int) -> bytes:
    """The network with one to three random damages of one kind."""
    random = np.random.default_rng(seed)
    model, kind = whole().model(), DAMAGES[seed % len(DAMAGES)]
    data = bytearray(model.SerializeToString())
    if kind == "bytes":
        for _ in range(random.integers(1, 20)):
            data[random.integers(len(data))] = random.integers(256)
        return bytes(data)
    if kind == "end":
        return bytes(data[: random.integers(len(data))])
    for _ in range(random.integers(1, 4)):
        damage(model.graph, kind, random)
    return bytes(model.SerializeToString())


def damage(graph: Any, kind: str, random: np.random.Generator) -> None:
    """Change one thing in a graph."""

    def one(items: Any) -> Any:
        return items[random.integers(len(items))]

    node, constant = one(graph.node), one(graph.initializer)
    if kind == "attribute":
        attribute = one(one([node for node in graph.node if node.attribute]).attribute)
        if attribute.ints:
            attribute.ints[random.integers(len(attribute.ints))] = one(NUMBERS)
        elif attribute.type == attribute.INT:
            attribute.i = one(NUMBERS)
        else:
            attribute.f = one((float("nan"), float("inf"), -1.0, 1e38))
    elif kind == "input":
        node.input[random.integers(len(node.input))] = one(graph.node).output[0]
    elif kind == "operator":
        node.op_type = one(graph.node).op_type
    elif kind == "size" and constant.dims:
        constant.dims[random.integers(len(constant.dims))] = one(NUMBERS)
    elif kind == "values":
        whole_numbers = one([item for item in graph.initializer if item.data_type == TensorProto.INT64])
        count = len(whole_numbers.raw_data) // 8
        whole_numbers.raw_data = np.array([one(NUMBERS) for _ in range(count)], np.int64).tobytes()
    else:
        del node.input[random.integers(len(node.input)) :]


@pytest.mark.parametrize("seed", range(100))
def test_a_damaged_file_is_refused_in_one_line_or_works(tmp_path: Path, seed: int) -> None:
    """Whatever was damaged, no other exception comes out, neither while it is opened nor when its layers are listed."""
    path = tmp_path / "net.onnx"
    path.write_bytes(damaged(seed))

    try:
        assert onnx_network(path, Preprocessing()).layers
    except ModelError as refused:
        assert str(refused).startswith(f"{path}: ")
        assert "\n" not in str(refused)
        assert len(str(refused)) < 900


def grown(build: Callable[[OnnxGraph], str]) -> Callable[[], bytes]:
    """A graph that adds a constant to the image after having made it large."""

    def make() -> bytes:
        graph = OnnxGraph()
        graph.node("Add", "image", graph.node("ReduceSum", build(graph), keepdims=0))
        return bytes(graph.model().SerializeToString())

    return make


def doubled(graph: OnnxGraph) -> str:
    name = graph.constant(np.ones(1 << 10))
    for _ in range(40):
        name = graph.node("Concat", name, name, axis=0)
    return name


def many_large(graph: OnnxGraph) -> str:
    parts = [graph.node("Expand", graph.constant(np.ones(1)), graph.ints(1 << 23)) for _ in range(40)]
    return str(graph.node("Sum", *parts))


def outer(graph: OnnxGraph) -> str:
    column, line = graph.constant(np.ones((1 << 14, 1))), graph.constant(np.ones((1, 1 << 14)))
    return str(graph.node("Mul", column, line))


def gathered(graph: OnnxGraph) -> str:
    return str(graph.node("Gather", graph.constant(np.ones((1, 1 << 14))), graph.constant(np.zeros(1 << 14, np.int64))))


def nested(depth: int) -> bytes:
    """Branches within branches."""
    output = helper.make_empty_tensor_value_info("y")
    inner = other = helper.make_graph([helper.make_node("Relu", ["image"], ["y"])], "inner", [], [output])
    for _ in range(depth):
        choice = helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=other)
        inner = helper.make_graph([choice], "inner", [], [output])
    inner.input.append(helper.make_tensor_value_info("image", FLOAT, ["b", 3, "h", "w"]))
    inner.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    return bytes(helper.make_model(inner, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString())


def with_attribute(tensor: Any) -> bytes:
    graph = OnnxGraph()
    size = graph.node("Shape", "image")
    graph.node("Mul", "image", graph.node("ConstantOfShape", size, value=tensor))
    return bytes(graph.model().SerializeToString())


def outside() -> Any:
    tensor = TensorProto(data_type=FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/hostname")
    return tensor


def twice() -> bytes:
    model = whole().model()
    model.graph.initializer.append(model.graph.initializer[0])
    return bytes(model.SerializeToString())


def unknown_type() -> bytes:
    model = whole().model()
    model.graph.initializer[0].data_type = 99
    return bytes(model.SerializeToString())


def many_attributes() -> bytes:
    graph = OnnxGraph()
    node = graph.node("Relu", "image")
    graph.nodes[-1].attribute.extend(helper.make_attribute(f"a{number}", [1] * 20) for number in range(5000))
    graph.node("Sigmoid", node)
    return bytes(graph.model().SerializeToString())


def picture(operator: str, *inputs: Any, **attributes: Any) -> Callable[[], bytes]:
    def make() -> bytes:
        graph = OnnxGraph()
        graph.node("Relu", graph.node(operator, "image", *map(graph.constant, inputs), **attributes))
        return bytes(graph.model().SerializeToString())

    return make


HARMFUL: dict[str, Callable[[], bytes]] = {
    "doubled": grown(doubled),
    "many large ones": grown(many_large),
    "an outer product": grown(outer),
    "a gather": grown(gathered),
    "a one-hot": grown(lambda g: g.node("OneHot", g.ints(1), g.ints(1 << 40), g.constant(np.array([0.0, 1.0])))),
    "branches in branches": lambda: nested(20),
    "a tensor in another file": lambda: with_attribute(outside()),
    "a tensor of 2^40 values": lambda: with_attribute(TensorProto(data_type=FLOAT, dims=[1 << 40])),
    "a constant twice": twice,
    "an unknown type": unknown_type,
    "tiles": picture("Tile", np.array([1, 1, 1 << 30, 1 << 30])),
    "pads": picture("Pad", np.array([0, 0, 1 << 30, 1 << 30, 0, 0, 0, 0])),
    "pixels": picture("Resize", np.zeros(0), np.array([1.0, 1.0, 1e9, 1e9])),
    "negative pixels": picture("Resize", np.zeros(0), np.array([1.0, 1.0, -2.0, float("nan")])),
    "a window": picture("MaxPool", kernel_shape=[1 << 40, 1]),
    "an axis": picture("Softmax", axis=1 << 40),
    "a cube": picture("Conv", np.ones((4, 3, 3, 3, 3))),
}


@pytest.mark.parametrize("kind", HARMFUL)
def test_a_file_that_asks_for_much_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    """Nothing of that size is computed: with it, the test would end for lack of memory."""
    path = tmp_path / "net.onnx"
    path.write_bytes(HARMFUL[kind]())

    with pytest.raises(ModelError) as refused:
        _ = onnx_network(path, Preprocessing()).layers

    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


def test_many_attributes_do_no_harm(tmp_path: Path) -> None:
    """Attributes that an operator does not have are left alone."""
    path = tmp_path / "net.onnx"
    path.write_bytes(many_attributes())

    assert len(onnx_network(path, Preprocessing()).layers) > 1
    assert onnx.load(path).graph.node[0].attribute
