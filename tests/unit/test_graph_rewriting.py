"""Graphs are rewritten for inference: each computes what TensorFlow computes of the original one, for any batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from graphs import Graph, small_graph

from core.errors import ModelError
from core.models.frozen_graph import FrozenGraph
from core.models.graph_rewriting import functions
from core.models.graph_rewriting.inference import for_inference
from core.models.models import load
from core.spec import ModelSpec

v1 = tf.compat.v1
Array = np.ndarray
RANDOM = np.random.default_rng(5)
KERNEL = RANDOM.normal(size=(3, 3, 3, 8), scale=0.3).astype(np.float32)
SECOND = RANDOM.normal(size=(3, 3, 8, 6), scale=0.2).astype(np.float32)
IMAGES = RANDOM.uniform(size=(3, 16, 16, 3)).astype(np.float32)


def graph_of(build: Callable[[], object]) -> Any:
    """Return the GraphDef that TensorFlow 1's functions build."""
    with tf.Graph().as_default() as graph:
        build()
    return graph.as_graph_def()


def saved(folder: Path, graph_def: Any, **keys: Any) -> FrozenGraph:
    """Write a graph to a file and read it as a model."""
    path = folder / "net.pb"
    path.write_bytes(graph_def.SerializeToString())
    model = load(ModelSpec.model_validate({"name": "frozen-graph", "file": str(path), **keys}))
    assert isinstance(model, FrozenGraph)
    return model


def computed(model: FrozenGraph, *layers: str, images: Array = IMAGES) -> list[Array]:
    found = model.activations(tf.constant(images), layers)
    return [found[layer].numpy() for layer in layers]


def run(graph_def: Any, feeds: Mapping[str, Any], *tensors: str) -> list[Array]:
    """Return what TensorFlow computes of a graph as it is."""
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(graph_def, name="")
        with v1.Session(graph=graph) as session:
            found: list[Array] = session.run(list(tensors), feeds)
    return found


def image(*shape: int | None, dtype: Any = tf.float32, name: str = "images", batch: int | None = None) -> tf.Tensor:
    return v1.placeholder(dtype, (batch, *(shape or (None, None, 3))), name)


def convolved(x: tf.Tensor, name: str = "conv") -> tf.Tensor:
    return tf.nn.conv2d(x, KERNEL, 1, "SAME", name=name)


def near(found: Array, expected: Array, tolerance: float = 1e-5) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=tolerance * max(1, np.abs(expected).max()), rtol=0)


def test_a_graph_that_needs_nothing_comes_out_as_it_was() -> None:
    """It is the same object, so its pixels and the order of its layers are the same."""
    graph = small_graph().proto
    before = graph.SerializeToString()

    found = for_inference(graph)

    assert found.graph_def is graph
    assert graph.SerializeToString() == before
    assert (found.input_node, found.value_range, found.added) == ("input", None, frozenset())


# Conditions that are known for inference


def phase_of(kind: str) -> tf.Tensor:
    phase = v1.placeholder(tf.bool, (), "phase")
    default = v1.placeholder_with_default(False, (), "keras_learning_phase")
    yes = v1.placeholder_with_default(True, (), "evaluating")
    match kind:
        case "placeholder":
            return phase
        case "default":
            return default
        case "negated":
            return tf.logical_not(yes)
        case "and":
            return tf.logical_and(tf.logical_or(phase, yes), tf.logical_not(yes))
    raise AssertionError(kind)


def conditional(kind: str) -> None:
    """A batch norm and a dropout, each in a condition, one of them inside of another one."""
    v1.disable_control_flow_v2()
    x = convolved(image())
    phase = phase_of(kind)

    def normalised() -> tf.Tensor:
        return v1.nn.fused_batch_norm(x, np.ones(8, "f"), np.zeros(8, "f"), is_training=True)[0]

    scaled = v1.cond(phase, normalised, lambda: v1.cond(phase, lambda: x, lambda: x * 2.0), name="norm")
    kept = v1.cond(phase, lambda: scaled * tf.random.uniform(tf.shape(scaled)), lambda: scaled, name="drop")
    tf.nn.relu(kept, name="out")


@pytest.mark.parametrize("kind", ["placeholder", "default", "negated", "and"])
def test_the_branch_of_inference_is_taken_and_the_other_one_goes(tmp_path: Path, kind: str) -> None:
    """Neither the random numbers nor the statistics of the batch of the other branch are left."""
    graph = graph_of(lambda: conditional(kind))
    assert {"Switch", "Merge", "RandomUniform"} <= {node.op for node in graph.node}

    [found] = computed(saved(tmp_path, graph), "out")

    near(found, np.maximum(2 * tf.nn.conv2d(IMAGES, KERNEL, 1, "SAME").numpy(), 0))
    left = {node.op for node in for_inference(graph).graph_def.node}
    assert not left & {"Switch", "Merge", "RandomUniform", "FusedBatchNormV3"}


def test_a_loop_is_refused_in_one_line(tmp_path: Path) -> None:
    """The line says that it is a loop, and what to do."""

    def build() -> None:
        v1.disable_control_flow_v2()
        x = convolved(image())
        v1.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, y * 2), (tf.constant(0), x), name="loop")

    with pytest.raises(ModelError, match=r"not known to be safe: it is part of a loop; export .* as model\.input$"):
        saved(tmp_path, graph_of(build))


def test_a_graph_is_cut_behind_a_loop(tmp_path: Path) -> None:
    """Nodes that only the cut node needs are no part of the network any more."""

    def build() -> None:
        v1.disable_control_flow_v2()
        loop = v1.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, y * 2), (tf.constant(0), image(16, 16, 3)))
        tf.nn.relu(convolved(tf.identity(loop[1], "ready")), name="out")

    graph = graph_of(build)
    for tensor in ("ready", "ready:0"):
        [found] = computed(saved(tmp_path, graph, input=tensor), "out")
        near(found, run(graph, {"ready:0": IMAGES}, "out:0")[0])


def test_assertions_are_left_out(tmp_path: Path) -> None:
    """They are texts and conditions that no layer needs."""

    def build() -> None:
        x = image()
        with tf.control_dependencies([v1.assert_equal(tf.shape(x)[3], 3, message="channels")]):
            tf.nn.relu(convolved(x), name="out")

    graph = graph_of(build)
    assert any(node.op == "Assert" for node in graph.node)
    near(computed(saved(tmp_path, graph), "out")[0], np.maximum(run(graph, {"images:0": IMAGES}, "conv:0")[0], 0))


# Types


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float64])
def test_other_floats_become_float32(tmp_path: Path, dtype: Any) -> None:
    """Constants of half precision keep their values; the layers are those of float32."""

    def build() -> None:
        kernel = tf.constant(KERNEL.astype(dtype.as_numpy_dtype))
        x = tf.nn.conv2d(tf.cast(image(), dtype), kernel, 1, "SAME", name="conv")
        x = tf.nn.relu(x * tf.constant(0.5, dtype), name="half")
        tf.cast(tf.nn.conv2d(tf.cast(x, tf.float32), SECOND, 1, "SAME"), dtype, name="out")

    rounded = KERNEL.astype(dtype.as_numpy_dtype).astype(np.float32)
    half = np.maximum(0.5 * tf.nn.conv2d(IMAGES, rounded, 1, "SAME").numpy(), 0)

    found, out = computed(saved(tmp_path, graph_of(build)), "half", "out")

    near(found, half)
    near(out, tf.nn.conv2d(half, SECOND, 1, "SAME").numpy())
    assert found.dtype == np.float32


@pytest.mark.parametrize("given", [None, (0.0, 1.0)])
def test_integer_images_are_floats_from_0_to_255(tmp_path: Path, given: tuple[float, float] | None) -> None:
    """The graph's own scaling stays; a value range in the spec counts more than the type."""

    def build() -> None:
        x = tf.image.resize(tf.cast(image(dtype=tf.uint8, batch=1)[:, ::-1], tf.float32, name="ToFloat"), (8, 8))
        convolved(x / 127.5 - 1.0)

    graph = graph_of(build)
    keys = {} if given is None else {"value_range": given}

    [found] = computed(saved(tmp_path, graph, **keys), "conv")

    low, high = given or (0.0, 255.0)
    expected = [run(graph, {"ToFloat:0": (low + (high - low) * one)[None, ::-1]}, "conv:0")[0] for one in IMAGES]
    near(found, np.concatenate(expected))


# Inputs


def test_of_several_inputs_the_only_one_that_can_be_of_images_is_taken(tmp_path: Path) -> None:
    """Numbers become zeros, a probability to keep values becomes 1, and what has a default takes it."""

    def build() -> None:
        keep = v1.placeholder(tf.float32, name="keep_prob")
        numbers = v1.placeholder(tf.float32, (None, 7), "metadata")
        scale = v1.placeholder_with_default(3.0, (), "scale")
        v1.placeholder(tf.int64, (None,), "labels")
        x = convolved(image(16, 16, 3)) * scale
        x = x / keep * tf.floor(keep + tf.random.uniform(tf.shape(x)))
        weights = np.ones((7, 8), np.float32)
        tf.add(tf.reduce_mean(x, (1, 2)), numbers @ weights + 1.0, name="out")

    [found] = computed(saved(tmp_path, graph_of(build)), "out")

    near(found, 1 + 3 * tf.nn.conv2d(IMAGES, KERNEL, 1, "SAME").numpy().mean((1, 2)))


def test_two_inputs_of_images_are_not_guessed(tmp_path: Path) -> None:
    """The line lists them; the one that is named is taken, and the other one is black."""

    def build() -> None:
        tf.add(convolved(image(name="left")), convolved(image(name="right"), "other"), name="out")

    graph = graph_of(build)
    with pytest.raises(ModelError, match="expected one input node, found 'left', 'right'; name the one for images"):
        saved(tmp_path, graph)
    near(computed(saved(tmp_path, graph, input="right"), "out")[0], run(graph, {"right:0": IMAGES}, "other:0")[0])


def test_a_graph_that_decodes_files_takes_images_instead(tmp_path: Path) -> None:
    """The decoded image gets its batch later; images come as a batch, with the values of bytes."""

    def build() -> None:
        contents = v1.placeholder(tf.string, (), "DecodeJpeg/contents")
        decoded = tf.cast(tf.image.decode_jpeg(contents, channels=3, name="DecodeJpeg"), tf.float32)
        x = v1.image.resize_bilinear(tf.expand_dims(decoded, 0, name="batch"), (8, 8))
        convolved((x - 128.0) / 128.0)

    graph = graph_of(build)

    [found] = computed(saved(tmp_path, graph), "conv")

    near(found, np.concatenate([run(graph, {"batch:0": 255 * one[None]}, "conv:0")[0] for one in IMAGES]))


# Channels first


def in_layout(first: bool) -> None:
    """The same network with channels first or last: every operation that has a layout, and what goes around it."""
    layout = "NCHW" if first else "NHWC"
    space, axis = ((2, 3), 1) if first else ((1, 2), 3)

    def ordered(values: Any) -> list[Any]:
        batch, height, width, channels = values
        return [batch, channels, height, width] if first else [batch, height, width, channels]

    def along(values: Array) -> Array:
        return values[:, None, None] if first else values

    x = v1.placeholder(tf.float32, ordered((None, 16, 16, 3)), "images")
    x = tf.subtract(x, along(np.array([0.1, 0.2, 0.3], "f")), name="centred")
    x = tf.pad(x, ordered(((0, 0), (1, 1), (1, 0), (0, 0))), name="padded")
    x = tf.nn.conv2d(x, KERNEL, ordered((1, 1, 2, 1)), "VALID", layout, name="conv")
    x = tf.nn.bias_add(x, np.arange(8, dtype="f"), layout, name="biased")
    ones = np.linspace(0.5, 1.5, 8, dtype="f")
    x = v1.nn.fused_batch_norm(x, ones, ones, ones, ones, data_format=layout, is_training=False, name="bn")[0]
    x = tf.nn.relu(x, name="relu")
    deep = np.full((3, 3, 8, 1), 0.2, "f")
    strides = ordered((1, 1, 1, 1))
    y = tf.nn.depthwise_conv2d(x, deep, strides, "SAME", layout, ordered((1, 2, 2, 1))[2:] if first else (2, 2))
    x = tf.concat([x, tf.identity(y, "deep")], axis, name="joined")
    x = v1.nn.max_pool(x, ordered((1, 2, 1, 1)), ordered((1, 2, 1, 1)), "SAME", layout, name="pooled")
    one, other = tf.split(x, 2, axis, name="split")
    x = tf.add(one, tf.nn.sigmoid(tf.reduce_mean(other, space, keepdims=True)), name="gated")
    up = np.full((2, 2, 5, 8), 0.1, "f")
    size = tf.shape(x)
    sizes = tf.stack(ordered((size[0], 16, 16, 5)))
    up_strides = ordered((1, 2, 2, 1))
    z = v1.nn.conv2d_transpose(x, up, sizes, up_strides, "SAME", layout, name="up")
    tf.squeeze(v1.nn.avg_pool(z, ordered((1, 16, 16, 1)), strides, "VALID", layout), space, name="flat")
    tf.reshape(tf.reduce_mean(x, space, name="pooled_away"), (-1, 4, 2), name="pairs")
    rest = tf.transpose(z, (0, 2, 3, 1)) if first else z
    tf.add(tf.reshape(rest, (-1, 16 * 16, 5)), 1.0, name="tokens")


def test_a_network_with_channels_first_is_the_same_with_channels_last(tmp_path: Path) -> None:
    """All layers have the names, channels and values of the network with channels last."""
    (tmp_path / "first").mkdir()
    first = saved(tmp_path / "first", graph_of(lambda: in_layout(True)))
    last = saved(tmp_path, graph_of(lambda: in_layout(False)))
    layers = ["centred", "padded", "conv", "biased", "bn", "relu", "deep", "joined", "pooled", "gated", "up", "flat"]

    for name, found, expected in zip(layers, computed(first, *layers), computed(last, *layers), strict=True):
        assert first.layers[name] == last.layers[name], name
        near(found, expected)
    near(*(computed(net, "pooled_away")[0] for net in (first, last)))
    assert not [name for name in first.layers if "channels_" in name]
    assert (first.reading["layout"], "layout" in last.reading) == (
        "channels last",
        False,
    )  # keys of old pictures differ
    np.testing.assert_array_equal(first.fan_in("biased"), last.fan_in("biased"))


def test_a_chain_with_channels_first_is_transposed_once() -> None:
    """Convolutions, biases, norms and activations cost no transposes between each other."""

    def build() -> None:
        x = tf.transpose(image(), (0, 3, 1, 2), name="to_first")
        for name, kernel in (("one", KERNEL), ("two", SECOND)):
            x = tf.nn.conv2d(x, kernel, 1, "SAME", "NCHW", name=name)
            x = tf.nn.relu(tf.nn.bias_add(x, np.zeros(kernel.shape[-1], "f"), "NCHW"))
        tf.reshape(x, (-1, 6 * 16 * 16), name="flat")

    graph = graph_of(build)
    rewritten = for_inference(graph).graph_def

    assert [node.name for node in rewritten.node if node.op == "Transpose"] == ["Relu_1/channels_first"]
    with tf.Graph().as_default():
        image_ = v1.placeholder(tf.float32, IMAGES.shape, "images")
        x = tf.nn.relu(tf.nn.conv2d(tf.nn.relu(tf.nn.conv2d(image_, KERNEL, 1, "SAME")), SECOND, 1, "SAME"))
        tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (-1, 6 * 16 * 16), name="flat")
        expected = run(v1.get_default_graph().as_graph_def(), {"images:0": IMAGES}, "flat:0")[0]
    near(run(rewritten, {"images:0": IMAGES}, "flat:0")[0], expected)


# Batches


def for_one_image() -> None:
    """Reshapes, a squeeze, a class token and sizes that say that there is one image."""
    x = convolved(image(16, 16, 3, batch=1))
    tokens = tf.reshape(x, (1, 256, 8), name="tokens")
    tf.reshape(tokens, (1, -1, 4), name="free")
    packed = tf.stack([1, tf.shape(x)[1] * 16, 8])
    tf.reshape(x, packed, name="packed")
    with_class = tf.concat([np.full((1, 1, 8), 0.5, "f"), tokens], 1, name="with_class")
    flat = tf.reshape(with_class, (257, 8))
    tf.reshape(flat @ np.eye(8, 4, dtype="f"), (1, 257, 4), name="projected")
    pooled = tf.squeeze(tf.reduce_mean(x, (1, 2), keepdims=True), name="squeezed")
    tf.add(tf.reshape(pooled, (1, 8)), 1.0, name="out")


def test_a_network_for_one_image_takes_a_batch(tmp_path: Path) -> None:
    """Each image of the batch has the activations that it has alone."""
    graph = graph_of(for_one_image)
    names = ["tokens:0", "free:0", "packed:0", "with_class:0", "projected:0", "out:0"]
    alone = [run(graph, {"images:0": one[None]}, *names) for one in IMAGES]

    found = _of_batch(graph, names)

    for part, expected in zip(found, zip(*alone, strict=True), strict=True):
        near(part, np.concatenate(expected))
    near(computed(saved(tmp_path, graph), "out")[0], found[-1])


def _of_batch(graph: Any, names: list[str]) -> list[Array]:
    """Return tensors of a rewritten graph for the whole batch."""
    rewritten = for_inference(graph).graph_def
    for node in rewritten.node:
        if node.op == "Placeholder":
            node.attr["shape"].shape.dim[0].size = -1
    return run(rewritten, {"images:0": IMAGES}, *names)


# Operations, functions, and graphs that stay refused


def test_identities_that_depend_on_images_are_layers(tmp_path: Path) -> None:
    """The names that authors give to blocks are layers; identities of weights are not."""

    def build() -> None:
        weights = tf.identity(KERNEL, "weights/read")
        tf.identity(tf.nn.conv2d(image(), weights, 1, "SAME"), "features/stage1")

    model = saved(tmp_path, graph_of(build))

    assert [name for name in model.layers if model.kind(name) == "Identity"] == ["features/stage1"]


def test_quantisation_aware_networks_have_gradients(tmp_path: Path) -> None:
    """Fake quantisation only computes, and its gradient passes within its range."""

    def build() -> None:
        x = tf.quantization.fake_quant_with_min_max_vars(convolved(image()), -4.0, 4.0, name="quantised")
        tf.quantization.fake_quant_with_min_max_vars_per_channel(x, [-4.0] * 8, [4.0] * 8, name="each")

    model = saved(tmp_path, graph_of(build))
    images = tf.Variable(IMAGES)
    with tf.GradientTape() as tape:
        out = tf.reduce_sum(model.activations(images, ["each"])["each"])

    assert np.abs(tape.gradient(out, images)).max() > 0


def test_calls_of_functions_are_inlined(tmp_path: Path) -> None:
    """Nodes of a function are called by the node that calls it."""

    def build() -> None:
        @tf.function(autograph=False)
        def inner(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            mean, variance = tf.nn.moments(x, (1, 2), keepdims=True)
            return x - mean, variance

        @tf.function(autograph=False)
        def outer(x: tf.Tensor) -> tf.Tensor:
            centred, variance = inner(x)
            return tf.concat(tf.split(centred, 2, 3)[::-1], 3, name="swapped") + variance

        tf.identity(outer(convolved(image())), "out")

    graph = graph_of(build)
    assert graph.library.function

    model = saved(tmp_path, graph)

    near(computed(model, "out")[0], run(graph, {"images:0": IMAGES}, "out:0")[0])
    assert model.layers["PartitionedCall/swapped"] == 8


def test_batch_statistics_stop_only_what_lies_behind_them(tmp_path: Path) -> None:
    """Layers before stay usable, and those behind are named with the reason."""

    def build() -> None:
        x = convolved(image())
        x = v1.nn.fused_batch_norm(x, np.ones(8, "f"), np.zeros(8, "f"), is_training=True, name="bn1")[0]
        tf.nn.relu(x, name="relu1")

    model = saved(tmp_path, graph_of(build))

    assert dict(model.layers) == {"conv": 8}
    assert model.unavailable["relu1"].startswith("node 'bn1' normalises by the statistics of a batch; export")


def test_a_network_without_layers_is_an_error(tmp_path: Path) -> None:
    """An empty list would look like success."""

    def build() -> None:
        tf.argmax(image(), -1, name="classes")

    with pytest.raises(ModelError, match="expected a network with layers, found none"):
        saved(tmp_path, graph_of(build)).layers  # noqa: B018


def hostile(change: Callable[[Graph], object]) -> Any:
    graph = small_graph()
    change(graph)
    return graph.proto


HOSTILE: dict[str, tuple[Any, str]] = {
    "circle of merges": (
        lambda graph: (
            graph.node("merge", "Merge", "first", "next", N=2),
            graph.node("next", "NextIteration", "merge"),
        ),
        "'merge' is of type 'Merge', which is not known to be safe: it is part of a condition on computed values",
    ),
    "switch without inputs": (lambda graph: graph.node("switch", "Switch"), "is of type 'Switch', which is not known"),
    "reshape in a circle": (
        lambda graph: (graph.node("a", "Reshape", "b", "b"), graph.node("b", "Reshape", "a", "a")),
        "node 'a' depends on itself",
    ),
    "channels first without inputs": (
        lambda graph: graph.node("lost", "Conv2D", data_format=b"NCHW", strides=[1, 1, 1, 1], padding=b"SAME"),
        "expected a graph that TensorFlow can import",
    ),
    "function that calls itself": (lambda graph: _endless(graph), "refused: the graph defines functions"),
}


def _endless(graph: Graph) -> None:
    function = graph.proto.library.function.add()
    function.signature.name = "endless"
    function.node_def.add(name="again", op="endless")
    function.node_def.add(name="more", op="endless")
    graph.node("start", "endless")


@pytest.mark.parametrize("attack", HOSTILE)
def test_hostile_graphs_stay_refused_in_one_line(tmp_path: Path, attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be rewritten is left as it is, for the checks to refuse."""
    monkeypatch.setattr(functions, "_MOST_NODES", 2000)  # reached sooner than the real bound
    change, message = HOSTILE[attack]

    with pytest.raises(ModelError) as caught:
        saved(tmp_path, hostile(change)).layers  # noqa: B018

    assert message in str(caught.value)
    assert str(caught.value).isprintable()
