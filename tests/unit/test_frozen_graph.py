"""Frozen graphs are untrusted: hostile and damaged graphs are refused in one line, and nothing of them runs."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from command_line import Isthmus
from graphs import FLOAT, INT32, STRING, TOWERS, Graph, inception_v1, small_graph

from core.errors import ModelError
from core.models.frozen_graph import FrozenGraph
from core.models.models import digest, load
from core.spec import ModelSpec

Array = np.ndarray

DEPTHS = {
    "conv2d0": 64, "conv2d1": 64, "conv2d2": 192, "mixed3a": 256, "mixed3b": 480, "mixed4a": 508, "mixed4b": 512,
    "mixed4c": 512, "mixed4d": 528, "mixed4e": 832, "mixed5a": 832, "mixed5b": 1024, "head0_bottleneck": 128,
    "nn0": 1024, "softmax0": 1008, "softmax2": 1008,
}  # fmt: skip


def reading(graph: Graph, trace: Path) -> None:
    graph.node("read", "ReadFile", graph.constant("name", b"/etc/passwd", object), types={})


def writing(graph: Graph, trace: Path) -> None:
    name, text = graph.constant("name", str(trace).encode(), object), graph.constant("text", b"here", object)
    graph.node("write", "WriteFile", name, text, types={})


def calling_python(graph: Graph, trace: Path) -> None:
    graph.node("call", "PyFunc", "first", token=b"pyfunc_0")


def unknown_operation(graph: Graph, trace: Path) -> None:
    graph.node("odd", "Frobnicate\nTwice", "first")


def constant_that_is_not_there(graph: Graph, trace: Path) -> None:
    graph.constant("huge", [0.0])
    del graph.proto.node[-1].attr["value"].tensor.tensor_shape.dim[:]
    graph.proto.node[-1].attr["value"].tensor.tensor_shape.dim.add(size=1 << 29)


def many_constants_that_are_not_there(graph: Graph, trace: Path) -> None:
    for number in range(100):
        graph.constant(f"large{number}", [0.0])
        graph.proto.node[-1].attr["value"].tensor.tensor_shape.dim[0].size = 1 << 20


def weights_that_are_no_numbers(graph: Graph, trace: Path) -> None:
    graph.node("sum", "BiasAdd", "first", graph.constant("bias", [0.0, np.nan, 0.0, 0.0]))


def constant_of_no_type(graph: Graph, trace: Path) -> None:
    graph.constant("odd", [0.0])
    graph.proto.node[-1].attr["value"].tensor.dtype = 99


def no_input(graph: Graph, trace: Path) -> None:
    graph.proto.node[0].CopyFrom(Graph().proto.node.add(name="input", op="Const"))
    graph.proto.node[0].attr["dtype"].type = FLOAT
    graph.proto.node[0].attr["value"].tensor.dtype = FLOAT


def two_inputs(graph: Graph, trace: Path) -> None:
    graph.image("other")


def input_of_text(graph: Graph, trace: Path) -> None:
    graph.proto.node[0].attr["dtype"].type = STRING


def functions(graph: Graph, trace: Path) -> None:
    graph.proto.library.function.add().signature.name = "f"


def circle(graph: Graph, trace: Path) -> None:
    graph.node("one", "Relu", "two")
    graph.node("two", "Relu", "one")


def same_name_twice(graph: Graph, trace: Path) -> None:
    graph.node("first", "Relu", "input")


def input_that_does_not_exist(graph: Graph, trace: Path) -> None:
    graph.node("lost", "Relu", "missing")


def output_that_does_not_exist(graph: Graph, trace: Path) -> None:
    graph.node("lost", "Relu", "first:7")


def name_of_another_scope(graph: Graph, trace: Path) -> None:
    graph.node("../x y", "Relu", "first")


def tiled(graph: Graph, trace: Path) -> None:
    multiples = graph.constant("multiples", [1, 1 << 12, 1 << 12, 1], np.int32)
    graph.node("tiled", "Tile", "first", multiples, types={"T": FLOAT, "Tmultiples": INT32})


def broadcast(graph: Graph, trace: Path) -> None:
    shape = graph.constant("shape", [1 << 20, 1 << 20], np.int32)
    value = graph.constant("value", [[1.0]])
    graph.node("wide", "BroadcastTo", value, shape, types={"T": FLOAT, "Tidx": INT32})


def padded(graph: Graph, trace: Path) -> None:
    paddings = graph.constant("paddings", [[0, 0], [0, 1 << 20], [0, 1 << 20], [0, 0]], np.int32)
    graph.node("padded", "Pad", "first", paddings, types={"T": FLOAT, "Tpaddings": INT32})


def enlarged(graph: Graph, trace: Path) -> None:
    size = graph.constant("size", [1 << 16, 1 << 16], np.int32)
    graph.node("enlarged", "ResizeBilinear", "first", size)


def multiplied(graph: Graph, trace: Path) -> None:
    column, row = graph.constant("column", np.ones((1 << 15, 1))), graph.constant("row", np.ones((1, 1 << 15)))
    graph.node("table", "MatMul", column, row)


def shape_of_a_huge_constant(graph: Graph, trace: Path) -> None:
    """To learn the shape of `shaped`, TensorFlow's importer would compute the tiled constant."""
    value, multiples = graph.constant("value", [1], np.int32), graph.constant("multiples", [1 << 29], np.int32)
    tiled = graph.node("tiled", "Tile", value, multiples, types={"T": INT32, "Tmultiples": INT32})
    begin, size = graph.constant("begin", [0], np.int32), graph.constant("size", [4], np.int32)
    shape = graph.node("shape", "Slice", tiled, begin, size, types={"T": INT32, "Index": INT32})
    graph.node("shaped", "Reshape", "first", shape, types={"T": FLOAT, "Tshape": INT32})


HOSTILE: dict[Callable[[Graph, Path], None], str] = {
    reading: "refused: node 'read' is of type 'ReadFile', which is not known to be safe",
    writing: "refused: node 'write' is of type 'WriteFile', which is not known to be safe",
    calling_python: "refused: node 'call' is of type 'PyFunc', which is not known to be safe",
    unknown_operation: r"refused: node 'odd' is of type 'Frobnicate\nTwice', which is not known to be safe",
    constant_that_is_not_there: "refused: node 'huge' claims 2,147,483,648 bytes that are not in the file",
    many_constants_that_are_not_there: "refused: its constants claim ",
    weights_that_are_no_numbers: "node 'bias' has weights that are not finite numbers",
    constant_of_no_type: "node 'odd' has a constant of an unknown type",
    no_input: "expected one input node, found none; name the one for images as model.input",
    two_inputs: "expected one input node, found 'input', 'other'; name the one for images as model.input",
    input_of_text: "expected an input of type float32, 'input' has another type",
    functions: "refused: the graph defines functions",
    circle: "refused: node 'one' depends on itself",
    same_name_twice: "refused: two nodes have the name 'first'",
    input_that_does_not_exist: "expected an input for node 'lost', 'missing' does not exist",
    output_that_does_not_exist: "expected a graph that TensorFlow can import, ",
    name_of_another_scope: "expected a graph that TensorFlow can import, ",
    tiled: "refused: node 'tiled' makes a tensor of shape ",
    broadcast: "refused: node 'wide' makes a tensor of shape ",
    padded: "refused: node 'padded' makes a tensor of shape ",
    enlarged: "refused: node 'enlarged' makes a tensor of shape ",
    multiplied: "refused: node 'table' makes a tensor of shape ",
    shape_of_a_huge_constant: "refused: node 'tiled' makes a tensor of shape ",
}


def refusal(path: Path) -> str:
    """Return the message that a file is refused with, without the file that it begins with."""
    with pytest.raises(ModelError) as caught:
        list(FrozenGraph(path).layers)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("attack", HOSTILE, ids=lambda attack: attack.__name__)
def test_a_hostile_graph_is_refused_in_one_line(tmp_path: Path, attack: Callable[[Graph, Path], None]) -> None:
    """The line names the node, no file appears, and memory does not grow."""
    graph = small_graph()
    attack(graph, tmp_path / "trace")
    file = tmp_path / "net.pb"
    file.write_bytes(bytes(graph))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    assert refusal(file).startswith(HOSTILE[attack])

    assert [path.name for path in tmp_path.iterdir()] == ["net.pb"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kilobytes


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) // 2], "expected a frozen graph (a binary GraphDef), got something else"),
        (lambda data: b"", "expected a frozen graph with nodes, found none"),
        (lambda data: b"this is no graph\n", "expected a frozen graph (a binary GraphDef), got something else"),
    ],
    ids=["truncated", "empty", "text"],
)
def test_a_file_that_is_not_a_graph_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    """Half a graph, an empty file and text are refused."""
    file = tmp_path / "net.pb"
    file.write_bytes(damage(bytes(small_graph())))

    assert refusal(file).startswith(message)


def test_the_message_for_a_missing_file_has_the_reason(tmp_path: Path) -> None:
    """A file that does not exist is refused with the operating system's reason."""
    assert refusal(tmp_path / "no.pb") == "expected a frozen graph, No such file or directory"


@pytest.mark.parametrize("command", ["plan", "build"])
def test_the_command_line_refuses_a_hostile_graph_with_exit_code_2(
    isthmus: Isthmus, tmp_path: Path, command: str
) -> None:
    """Neither the graph nor the build writes a file."""
    graph = small_graph()
    writing(graph, tmp_path / "trace")
    Path("net.pb").write_bytes(bytes(graph))
    Path("atlas.yaml").write_text(
        "name: bad\nmodel: {name: frozen-graph, file: net.pb}\npairs: {select: all, neurons: ['first:0-1']}\n"
    )

    said = isthmus(command, "atlas.yaml")

    assert (said.code, said.out) == (2, "")
    assert said.err == "isthmus: net.pb: " + HOSTILE[writing] + "\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["atlas.yaml", "net.pb"]


def test_how_a_graph_is_read_is_part_of_its_digest(tmp_path: Path) -> None:
    """Another value range or other weights give another digest; another path to the same file does not."""
    first, copy, other = (tmp_path / name for name in ("first.pb", "copy.pb", "other.pb"))
    for path in (first, copy):
        path.write_bytes(bytes(small_graph()))
    changed = small_graph()
    changed.node("second", "Relu", "first")
    other.write_bytes(bytes(changed))

    def digest_of(**keys: object) -> str:
        return digest(load(ModelSpec.model_validate({"name": "frozen-graph", **keys})))

    assert digest_of(file=str(first)) == digest_of(file=str(copy), input="input", value_range=(0, 1))
    assert (
        len({digest_of(file=str(first)), digest_of(file=str(first), value_range=(-1, 1)), digest_of(file=str(other))})
        == 3
    )


@pytest.fixture(scope="module", params=[True, False], ids=["Concat", "ConcatV2"])
def inception(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FrozenGraph:
    """InceptionV1 with random weights, with `Concat` or with `ConcatV2`."""
    file = tmp_path_factory.mktemp("inception") / "net.pb"
    file.write_bytes(bytes(inception_v1(old_concat=request.param)))
    model = load(ModelSpec(name="inception-v1", file=str(file)))
    assert isinstance(model, FrozenGraph)
    return model


def test_inception_has_lucids_layers(inception: FrozenGraph) -> None:
    """Names and channels are Lucid's, and each concatenation also exists before its ReLUs."""
    assert {layer: inception.layers[layer] for layer in DEPTHS} == DEPTHS
    assert all(inception.layers[f"{layer}_pre_relu"] == DEPTHS[layer] for layer in TOWERS)
    assert list(inception.alignment_layers) == ["mixed3b", "mixed4a"]
    assert inception.sizes(128)["mixed4a_pre_relu"] == (8, 8)


def test_a_concatenation_before_its_relus_is_that_of_its_towers(inception: FrozenGraph) -> None:
    """`mixed4a_pre_relu` is the four towers before ReLU, in the order of `mixed4a`."""
    images = tf.random.stateless_uniform((1, 64, 64, 3), (0, 1))
    towers = [f"mixed4a_{tower}_pre_relu" for tower in ("1x1", "3x3", "5x5", "pool_reduce")]
    found = inception.activations(images, ["mixed4a", "mixed4a_pre_relu", *towers])

    before = np.concatenate([found[tower] for tower in towers], axis=-1)

    np.testing.assert_array_equal(found["mixed4a_pre_relu"], before)
    np.testing.assert_array_equal(found["mixed4a"], np.maximum(before, 0))
    assert before.min() < 0
    assert inception.fan_in("mixed4a_pre_relu").shape == (508, 480 + 9 * 96 + 25 * 16 + 480)


@pytest.mark.parametrize("size_px", [96, 128, 224])
def test_inception_takes_images_of_any_size(inception: FrozenGraph, size_px: int) -> None:
    """The graph is cut after a layer, so its heads of fixed size do not matter."""
    found = inception.activations(tf.fill((2, size_px, size_px, 3), 0.5), ["mixed4a_pre_relu"])["mixed4a_pre_relu"]

    assert tuple(found.shape) == (2, size_px // 16, size_px // 16, 508)


def test_the_layers_of_a_head_take_images_of_one_size(inception: FrozenGraph) -> None:
    """A class can be rendered only at the size that the head was made for."""
    assert inception.activations(tf.fill((1, 224, 224, 3), 0.5), ["softmax2"])["softmax2"].shape == (1, 1008)
    with pytest.raises(ModelError, match="expected a graph that TensorFlow can import"):
        inception.activations(tf.fill((1, 128, 128, 3), 0.5), ["softmax2"])
