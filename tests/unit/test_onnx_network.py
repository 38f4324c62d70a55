"""Networks in ONNX files: values, names, tokens, sizes, what has no translation, and files that cannot be trusted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tensorflow as tf
from command_line import Isthmus
from onnx import helper

sys.path.insert(0, str(Path(__file__).parents[1]))
from onnx_graphs import FLOAT, OnnxGraph, every_tensor, oracle

from core.errors import ModelError, SpecError
from core.models.frozen_graph import FrozenGraph
from core.models.models import check_layer, digest, load
from core.neurons import Neuron
from core.spec import ModelSpec, Preprocess

FILES = Path(__file__).parents[1] / "onnx"
VIT, CONVNEXT, EFFICIENTNET = (
    FILES / f"{name}.onnx" for name in ("test_vit.ts", "test_convnext.ts", "test_efficientnet_gn.dy")
)


def network(file: Path, **keys: Any) -> FrozenGraph:
    found = load(ModelSpec(name="onnx", file=str(file), **keys))
    assert isinstance(found, FrozenGraph)
    return found


def images(*size: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(size=(2, *size, 3)).astype(np.float32)


def saved(graph: OnnxGraph, folder: Path, *outputs: str) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(graph.model(outputs).SerializeToString())
    return path


def small(shape: tuple[Any, ...] = ("b", 3, "h", "w")) -> OnnxGraph:
    """A convolution and its activation."""
    graph = OnnxGraph(shape)
    kernel = np.random.default_rng(1).normal(size=(4, shape[1], 3, 3)).astype(np.float32)
    graph.node("Conv", "image", graph.constant(kernel), pads=[1, 1, 1, 1], name="/layer1/layer1.0/conv/Conv")
    graph.node("Relu", "conv_0_0", name="/layer1/layer1.0/Relu")
    return graph


@pytest.mark.parametrize(
    ("file", "sizes"), [(VIT, [(160, 160)]), (CONVNEXT, [(64, 64), (128, 64)]), (EFFICIENTNET, [(64, 64), (70, 97)])]
)
def test_every_layer_agrees_with_onnxruntime(file: Path, sizes: list[tuple[int, int]]) -> None:
    """Each layer has the values of its tensor, with the channels last; for tokens, without the class token."""
    model = network(file)
    every, names = every_tensor(onnx.load(file))
    layers = [layer for layer in model.layers if layer in names]
    assert len(layers) > 50

    for size in sizes:
        x = images(*size)
        expected = dict(zip(names, oracle(every, x.transpose(0, 3, 1, 2)), strict=True))
        found = model.activations(tf.constant(x), layers)

        for layer in layers:
            wanted, values = expected[layer], found[layer].numpy()
            if wanted.ndim == 4 and wanted.shape[1] == model.layers[layer]:
                wanted = wanted.transpose(0, 2, 3, 1)
            elif wanted.ndim == 3:
                wanted = wanted[:, wanted.shape[1] - values.shape[1] * values.shape[2] :].reshape(values.shape)
            assert values.shape == wanted.shape, layer
            assert np.abs(values - wanted).max() <= 1e-4 * np.abs(wanted).max(), layer


@pytest.mark.parametrize(
    ("file", "names"),
    [
        (VIT, "patch_embed.proj blocks.0.norm1 blocks.3.mlp.fc1 blocks.3.mlp.act blocks.5 norm head"),
        (CONVNEXT, "stem.0 stages.0.blocks.0.conv_dw stages.2.blocks.1.mlp.fc2 stages.3.downsample.1 head.fc"),
        (EFFICIENTNET, "conv_stem bn1.act blocks.2.0.conv_exp blocks.2.0.bn1.act_pre_relu blocks.3.0.se"),
    ],
)
def test_layers_are_called_by_the_paths_of_modules_and_by_tensors(file: Path, names: str) -> None:
    """Both of PyTorch's exporters are understood; a name of a module and one of a tensor may be of one layer."""
    model = network(file)

    assert set(names.split()) <= set(model.layers)
    tensors = {name for node in onnx.load(file).graph.node for name in node.output}
    assert len(tensors & set(model.layers)) > 50


def test_a_layer_exists_before_its_activation(tmp_path: Path) -> None:
    """The name of the layer before is the one that Lucid's users expect, and a module's layer is what it returns."""
    model = network(saved(small(), tmp_path))

    assert list(model.layers) == [
        "layer1.0.conv", "conv_0_0", "layer1.0_pre_relu", "layer1_pre_relu", "relu_1_0_pre_relu", "layer1.0", "layer1",
        "relu_1_0",
    ]  # fmt: skip
    found = model.activations(tf.constant(images(8, 8)), ["layer1.0.conv", "layer1.0_pre_relu", "layer1.0"])
    np.testing.assert_array_equal(found["layer1.0.conv"], found["layer1.0_pre_relu"])
    np.testing.assert_array_equal(np.maximum(found["layer1.0.conv"], 0), found["layer1.0"])
    assert model.fan_in("layer1.0").shape == (4, 27)


def gelu(g: OnnxGraph, x: str) -> str:
    bent = g.node("Add", g.node("Erf", g.node("Div", x, g.constant(2**0.5))), g.constant(1.0))
    return str(g.node("Mul", g.node("Mul", x, bent), g.constant(0.5)))


def gelu_by_tanh(g: OnnxGraph, x: str) -> str:
    cube = g.node("Mul", g.node("Pow", x, g.constant(3.0)), g.constant(0.044715))
    bent = g.node("Tanh", g.node("Mul", g.node("Add", x, cube), g.constant(0.7978846)))
    return str(g.node("Mul", g.node("Mul", x, g.constant(0.5)), g.node("Add", bent, g.constant(1.0))))


def hard_swish(g: OnnxGraph, x: str) -> str:
    cut = g.node("Clip", g.node("Add", x, g.constant(3.0)), g.constant(0.0), g.constant(6.0))
    return str(g.node("Div", g.node("Mul", x, cut), g.constant(6.0)))


TAKEN_APART: dict[str, Callable[[OnnxGraph, str], str]] = {
    "gelu": gelu,
    "gelu by tanh": gelu_by_tanh,
    "silu": lambda g, x: g.node("Mul", x, g.node("Sigmoid", x)),
    "hard swish": hard_swish,
    "hard swish by sigmoid": lambda g, x: g.node("Mul", g.node("HardSigmoid", x), x),
    "mish": lambda g, x: g.node("Mul", x, g.node("Tanh", g.node("Softplus", x))),
}


@pytest.mark.parametrize("kind", TAKEN_APART)
def test_a_layer_exists_before_an_activation_that_was_taken_apart(tmp_path: Path, kind: str) -> None:
    """The layer before is what the activation is of; a gate that another layer computes is no activation."""
    graph = small()
    active = TAKEN_APART[kind](graph, "conv_0_0")
    kernel = graph.constant(np.ones((4, 4, 1, 1)))
    gated = graph.node("Mul", active, graph.node("Sigmoid", graph.node("Conv", active, kernel)))
    model = network(saved(graph, tmp_path, gated))

    found = model.activations(tf.constant(images(8, 8)), ["conv_0_0", f"{active}_pre_relu"])
    np.testing.assert_array_equal(*found.values())
    assert f"{gated}_pre_relu" not in model.layers


def test_every_part_of_a_split_is_a_layer(tmp_path: Path) -> None:
    """Together they are what was split."""
    graph = small()
    first, second = graph.node("Split", "relu_1_0", graph.ints(1, 3), outputs=2, axis=1)
    graph.node("Relu", second)
    model = network(saved(graph, tmp_path, first, second))

    found = model.activations(tf.constant(images(8, 8)), ["layer1", first, second])

    assert (model.layers[first], model.layers[second]) == (1, 3)
    np.testing.assert_array_equal(np.concatenate([found[first], found[second]], -1), found["layer1"])


def test_tokens_are_a_grid_of_patches() -> None:
    """A network of 160 px with patches of 16 px has 10 x 10, whatever the size of the frames."""
    model = network(VIT)

    sizes = model.sizes(64)
    assert sizes["blocks.0"] == sizes["patch_embed"] == sizes["blocks.3.mlp.fc1"] == (10, 10)
    assert sizes["head"] is None
    assert (model.layers["blocks.0"], model.layers["blocks.3.mlp.fc1"]) == (64, 192)


def test_a_network_of_one_size_sees_frames_resized_to_it() -> None:
    """The gradient with respect to the frame has the frame's size."""
    model, x = network(VIT), tf.constant(images(64, 64))
    resized = tf.image.resize(x, (160, 160))

    with tf.GradientTape() as tape:
        tape.watch(x)
        [found] = model.activations(x, ["blocks.1"]).values()
        objective = tf.reduce_mean(found[..., 3])
    [expected] = model.activations(resized, ["blocks.1"]).values()

    np.testing.assert_allclose(found, expected, atol=1e-5)
    gradient = tape.gradient(objective, x)
    assert gradient.shape == x.shape
    assert float(tf.reduce_min(tf.reduce_max(tf.abs(gradient), (1, 2, 3)))) > 0


@pytest.mark.parametrize(("file", "layer", "size"), [(VIT, "blocks.3", 160), (EFFICIENTNET, "blocks.2.0", 64)])
def test_the_gradient_is_that_of_finite_differences(file: Path, layer: str, size: int) -> None:
    """Along the gradient itself, to a hundredth."""
    model, x = network(file), tf.constant(images(size, size))

    def objective(at: Any) -> Any:
        return tf.reduce_mean(model.activations(at, [layer])[layer][..., 1] ** 2)

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = objective(x)
    gradient = tape.gradient(value, x)
    length = float(tf.norm(gradient))
    step = 0.02 * gradient / length

    difference = float(objective(x + step) - objective(x - step)) / 0.04

    assert difference == pytest.approx(length, rel=0.01)


def test_an_operator_without_translation_stops_only_what_lies_behind_it(tmp_path: Path) -> None:
    """The message names the operator and its node."""
    graph = small()
    strange = graph.node("Hardmax", "relu_1_0", name="/layer2/Hardmax")
    graph.node("Sigmoid", strange, name="/layer3/Sigmoid")
    model = network(saved(graph, tmp_path))

    assert {"layer1", "layer1.0.conv"} <= set(model.layers)
    for layer in ("layer2", "layer3"):
        assert layer not in model.layers
        with pytest.raises(SpecError) as refused:
            check_layer(model, layer, "pairs")
        assert str(refused.value) == (
            f"pairs: {layer} of onnx cannot be computed: operator 'Hardmax' at node '/layer2/Hardmax': no translation "
            "of this operator"
        )


@pytest.mark.parametrize("name", ["imagenet", "clip", "inception", "caffe"])
def test_images_are_preprocessed_as_the_network_expects(tmp_path: Path, name: str) -> None:
    """The values are those of images that were preprocessed before; the preprocessing is part of the digest."""
    file, x = saved(small(), tmp_path), images(8, 8)
    plain, model = network(file), network(file, preprocess=name)
    spec = ModelSpec.model_validate({"name": "onnx", "file": str(file), "preprocess": name})
    assert isinstance(spec.preprocess, Preprocess)
    order = x[..., ::-1] if name == "caffe" else x
    done = (order - np.array(spec.preprocess.mean, np.float32)) / np.array(spec.preprocess.std, np.float32)

    [found] = model.activations(tf.constant(x), ["layer1.0.conv"]).values()
    [expected] = plain.activations(tf.constant(done), ["layer1.0.conv"]).values()

    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert digest(model) != digest(plain)


def test_a_network_of_one_channel_sees_brightness(tmp_path: Path) -> None:
    """Frames have three channels."""
    model = network(saved(small(("b", 1, "h", "w")), tmp_path))
    grey = np.repeat(images(8, 8)[..., :1], 3, axis=-1)

    [found] = model.activations(tf.constant(grey), ["layer1"]).values()

    assert found.shape == (2, 8, 8, 4)


def external(folder: Path, location: str, offset: int = 0) -> Any:
    """A network whose kernel is in another file."""
    model = small().model()
    [kernel] = model.graph.initializer
    (folder / "weights.bin").write_bytes(kernel.raw_data)
    kernel.ClearField("raw_data")
    kernel.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset))):
        kernel.external_data.add(key=key, value=value)
    return model


def test_weights_beside_the_file_are_read_and_are_part_of_the_digest(tmp_path: Path) -> None:
    """The digest changes with the other file."""
    path = tmp_path / "net.onnx"
    path.write_bytes(external(tmp_path, "weights.bin").SerializeToString())
    model = network(path)
    before = model.weights_digest
    [found] = model.activations(tf.constant(images(8, 8)), ["layer1"]).values()
    assert float(tf.reduce_max(found)) > 0

    data = bytearray((tmp_path / "weights.bin").read_bytes())
    data[0] ^= 1
    (tmp_path / "weights.bin").write_bytes(data)
    from core.models.onnx_model import onnx_network
    from core.models.preprocessing import Preprocessing

    assert onnx_network(path, Preprocessing()).weights_digest != before


def edited(change: Callable[[Any], object]) -> Callable[[Path], bytes]:
    def make(_folder: Path) -> bytes:
        model = small().model()
        change(model)
        return bytes(model.SerializeToString())

    return make


def huge(operator: str) -> Callable[[Path], bytes]:
    """A graph that asks for a constant of 2^40 values."""

    def make(_folder: Path) -> bytes:
        graph = OnnxGraph()
        size = graph.ints(1 << 20, 1 << 20)
        if operator == "ConstantOfShape":
            made = graph.node(operator, size)
        elif operator == "Range":
            made = graph.node(operator, graph.constant(0.0), graph.constant(1e12), graph.constant(1.0))
        else:
            made = graph.node(operator, graph.constant(np.ones((1, 1))), size)
        graph.node("Add", "image", graph.node("ReduceSum", made, keepdims=0))
        return bytes(graph.model().SerializeToString())

    return make


def negative_size(model: Any) -> None:
    model.graph.initializer[0].dims[0] = -4


def missing_values(model: Any) -> None:
    model.graph.initializer[0].dims[0] = 1 << 40


def wrong_size(model: Any) -> None:
    model.graph.initializer[0].dims[0] = 5


def not_finite(model: Any) -> None:
    model.graph.initializer[0].raw_data = np.full((4, 3, 3, 3), np.nan, np.float32).tobytes()


HOSTILE: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "empty": (lambda _: b"", "expected an ONNX file with a graph"),
    "noise": (lambda _: np.random.default_rng(0).bytes(5000), "expected an ONNX file"),
    "text": (lambda _: b"hello, this is not a network", "expected an ONNX file"),
    "cut": (lambda _: small().model().SerializeToString()[:-40], "expected an ONNX file"),
    "negative size": (edited(negative_size), "has a negative size"),
    "values that are not there": (edited(missing_values), "values that are not in the file"),
    "another number of values": (edited(wrong_size), "cannot be read"),
    "weights that are no numbers": (edited(not_finite), "not finite"),
    "old operators": (edited(lambda m: setattr(m.opset_import[0], "version", 3)), "operators of version 11 to "),
    "operators of the future": (edited(lambda m: setattr(m.opset_import[0], "version", 900)), "operators of version "),
    "an input from nowhere": (edited(lambda m: m.graph.node[1].input.__setitem__(0, "x")), "made before their use"),
    "a circle": (edited(lambda m: m.graph.node[0].input.__setitem__(0, "relu_1_0")), "made before their use"),
    "a tensor twice": (edited(lambda m: m.graph.node[1].output.__setitem__(0, "conv_0_0")), "computed twice"),
    "functions": (edited(lambda m: m.functions.add(name="f", domain="x")), "without functions"),
    "two inputs": (
        edited(lambda m: m.graph.input.append(helper.make_tensor_value_info("y", FLOAT, [1]))), "expected one input",
    ),
    "whole numbers": (
        edited(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", onnx.TensorProto.INT64)),
        "expected an input of floats or bytes",
    ),
    "seven channels": (
        edited(lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 7)), "of 3 channels",
    ),
    "a kernel for other channels": (
        edited(lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 1)), "found none",
    ),
    "a stride of 2^62": (
        edited(lambda m: m.graph.node[0].attribute.append(helper.make_attribute("strides", [1 << 62, 1]))),
        "strides of ",
    ),
    "a group of 0": (
        edited(lambda m: m.graph.node[0].attribute.append(helper.make_attribute("group", 0))), "group of 0",
    ),
    "outside": (lambda folder: external(folder, "../weights.bin").SerializeToString(), "in a file beside it"),
    "absolute": (lambda folder: external(folder, "/etc/hostname").SerializeToString(), "in a file beside it"),
    "no such file": (lambda folder: external(folder, "none.bin").SerializeToString(), "in a file beside it"),
    "a folder": (lambda folder: external(folder, ".").SerializeToString(), "in a file beside it"),
    "past the end": (lambda folder: external(folder, "weights.bin", 10).SerializeToString(), "cannot be read"),
    "far past the end": (lambda folder: external(folder, "weights.bin", 1 << 60).SerializeToString(), "ends before"),
    "before the start": (lambda folder: external(folder, "weights.bin", -4).SerializeToString(), "ends before"),
    **{f"huge {operator}": (huge(operator), "of that size") for operator in ("ConstantOfShape", "Expand", "Range")},
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_that_cannot_be_trusted_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    """The line begins with the path and has the reason."""
    make, reason = HOSTILE[kind]
    path = tmp_path / "net.onnx"
    path.write_bytes(make(tmp_path))

    with pytest.raises(ModelError) as refused:
        network(path)

    assert str(refused.value).startswith(f"{path}: ")
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 700


def test_weights_behind_a_link_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    """A link may point anywhere, so what counts is where it leads."""
    (tmp_path / "inside").mkdir()
    model = external(tmp_path, "link.bin")
    (tmp_path / "inside" / "link.bin").symlink_to(tmp_path / "weights.bin")
    path = tmp_path / "inside" / "net.onnx"
    path.write_bytes(model.SerializeToString())

    with pytest.raises(ModelError, match="in a file beside it"):
        network(path)


def test_the_command_lists_layers_of_a_file(isthmus: Isthmus) -> None:
    """With number of channels, size and operation."""
    said = isthmus("models", "layers", "onnx", "--file", str(VIT))

    assert said.code == 0
    [line] = [line for line in said.out.splitlines() if line.startswith("blocks.3.mlp.fc1 ")]
    assert line.split()[1:8] == ["192", "channels", "10x10", "10x10", "at", "160x160", "px"]
    assert line.split()[8:] == ["AddV2", "tokens", "align", "nearest"]


@pytest.mark.parametrize(
    ("preprocess", "message"),
    [
        ("resnet", "preprocess: expected imagenet, clip, inception, caffe or a mapping of mean, std and channels"),
        (7, "preprocess: expected imagenet, clip, inception, caffe or a mapping of mean, std and channels"),
        ({"mena": [0]}, "preprocess.mena: unknown key; did you mean 'mean'? (known: mean, std, channels)"),
        ({"mean": [0, 1]}, "preprocess.mean: expected one number or three, got [0.0, 1.0]"),
        ({"std": [0]}, "preprocess.std: expected numbers greater than 0, got [0.0]"),
        ({"channels": "rbg"}, "preprocess.channels: expected 'rgb', 'bgr' or 'grey', got 'rbg'"),
    ],
)
def test_a_mistake_in_preprocessing_is_named(preprocess: Any, message: str) -> None:
    """The line has the key and what was expected."""
    from core.spec_file import parse_model

    with pytest.raises(SpecError) as refused:
        parse_model({"name": "onnx", "file": "net.onnx", "preprocess": preprocess}, "model")

    assert str(refused.value).startswith(f"model: {message}")


def test_a_neuron_of_a_module_can_be_written() -> None:
    """Paths of modules have dots; the channel comes after the colon."""
    assert Neuron.parse("blocks.3.mlp.fc1:7") == Neuron("blocks.3.mlp.fc1", 7)
    assert Neuron.parse("/blocks/blocks.3/mlp/fc1/Add_output_0:7").channel == 7
