"""InceptionV1 from PyTorch and safetensors files: the same network in each, and other networks refused by name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from graphs import inception_v1, small_graph
from numpy.typing import NDArray
from weights_files import State, legacy_file, safetensors_file, zip_file, zip_members

from core.errors import ModelError, UnknownLayerError
from core.models.frozen_graph import FrozenGraph
from core.models.inception import read_tensors
from core.models.inception_tensors import SHAPES, STYLES, graph_tensors, tensors_sha256
from core.models.models import check_layer, digest, load
from core.spec import ModelSpec

Tensors = Mapping[str, NDArray[np.float32]]

CONTAINERS: Mapping[str, Callable[[State], bytes]] = {
    "legacy": legacy_file,
    "zip": lambda state: zip_file(zip_members(state)),
    "safetensors": safetensors_file,
}


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    """Random weights by their names in the graph, of a scale that keeps activations as large as the images."""
    random = np.random.default_rng(0)
    scale = {name: np.sqrt(2 / np.prod(shape[:-1])) if len(shape) > 1 else 0.1 for name, shape in SHAPES.items()}
    return {name: random.standard_normal(shape, np.float32) * np.float32(scale[name]) for name, shape in SHAPES.items()}


def in_style(style: str, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
    """Return tensors under the keys of a style, in PyTorch's axis order unless the style is that of the graph."""
    order: dict[int, tuple[int, ...]] = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}
    if style == "Lucid":
        return dict(tensors)
    return {
        key: np.ascontiguousarray(tensors[name].transpose(order[tensors[name].ndim]))
        for name, key in STYLES[style].items()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tensors: Tensors) -> Path:
    """A folder with the same weights as a frozen graph, and in three other files whose names say nothing."""
    folder = tmp_path_factory.mktemp("inception")
    (folder / "graph").write_bytes(bytes(inception_v1(old_concat=True, tensors=tensors)))
    (folder / "lucent").write_bytes(legacy_file(in_style("Lucent", tensors)))
    (folder / "captum").write_bytes(zip_file(zip_members(in_style("Captum", tensors))))
    return folder


def network_in(file: Path) -> FrozenGraph:
    model = load(ModelSpec(name="inception-v1", file=str(file)))
    assert isinstance(model, FrozenGraph)
    return model


@pytest.fixture(scope="module")
def network(folder: Path) -> FrozenGraph:
    """The network from a PyTorch file."""
    return network_in(folder / "captum")


def test_the_table_of_tensors_has_the_known_totals() -> None:
    """InceptionV1 without auxiliary heads has 58 layers with weights and 7,066,380 values."""
    assert len(SHAPES) == 116
    assert sum(int(np.prod(shape)) for shape in SHAPES.values()) == 7_066_380
    assert SHAPES["mixed4b_1x1_w"] == (1, 1, 508, 160)
    assert SHAPES["softmax2_w"] == (1024, 1008)


def test_keys_are_those_of_the_published_files() -> None:
    """A stem, a bottleneck, a tower and the classifier, in each of the styles."""
    names = ("conv2d1_w", "mixed4a_3x3_bottleneck_b", "mixed5b_pool_reduce_w", "softmax2_b")

    assert {style: [keys[name] for name in names] for style, keys in STYLES.items()} == {
        "Lucid": list(names),
        "Lucent": [
            "conv2d1_pre_relu_conv.weight",
            "mixed4a_3x3_bottleneck_pre_relu_conv.bias",
            "mixed5b_pool_reduce_pre_relu_conv.weight",
            "softmax2_pre_activation_matmul.bias",
        ],
        "Captum": ["conv2.weight", "mixed4a.conv_3x3_reduce.bias", "mixed5b.pool_proj.weight", "fc.bias"],
        "Clarity": [
            "conv2d1.weight", "mixed4a._3x3.0.bias", "mixed5b._pool_reduce.1.weight", "softmax2_pre_activation.bias",
        ],
    }  # fmt: skip


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("style", STYLES)
def test_tensors_are_the_same_from_every_container_and_style(
    tmp_path: Path, tensors: Tensors, style: str, container: str
) -> None:
    """The kind of the file is told by its first bytes; values, names and digest do not depend on it."""
    file = tmp_path / "weights.pb"
    file.write_bytes(CONTAINERS[container](in_style(style, tensors)))

    found = read_tensors(file)

    assert found is not None
    assert found.keys() == tensors.keys()
    assert all(np.array_equal(found[name], tensors[name]) for name in tensors)
    assert tensors_sha256(found) == tensors_sha256(tensors)


def test_the_digest_is_that_of_the_weights(folder: Path, network: FrozenGraph, tensors: Tensors) -> None:
    """Two containers have one digest, another value has another; a frozen graph has the digest of its file."""
    graph = network_in(folder / "graph")
    changed = {**tensors, "conv2d0_b": tensors["conv2d0_b"] + np.float32(1e-3)}

    assert digest(network_in(folder / "lucent")) == digest(network)
    assert tensors_sha256(changed) != tensors_sha256(tensors) == network.weights_digest
    assert graph.weights_digest == hashlib.sha256((folder / "graph").read_bytes()).hexdigest()
    assert graph.reading == network.reading
    assert digest(graph) != digest(network)


def test_activations_are_those_of_the_frozen_graph(folder: Path, network: FrozenGraph) -> None:
    """All layers of the two graphs have the same names and order, and equal activations, the classes included."""
    graph = network_in(folder / "graph")
    images = tf.random.stateless_uniform((1, 224, 224, 3), (0, 1))

    assert list(network.layers.items()) == list(graph.layers.items())
    found, expected = (one.activations(images, list(graph.layers)) for one in (network, graph))

    for layer in graph.layers:
        np.testing.assert_array_equal(found[layer], expected[layer], layer)
    assert found["softmax2"].shape == (1, 1008)
    assert found["mixed4a_pre_relu"].numpy().min() < 0 < found["mixed5b"].numpy().std() < 100


def test_local_response_normalisation_is_that_of_the_trained_network(network: FrozenGraph) -> None:
    """Each value is divided by (2 + 1e-4 * squares of the 11 channels around it) ** 0.5."""
    images = tf.random.stateless_uniform((1, 64, 64, 3), (2, 3))
    found = network.activations(images, ["maxpool0", "localresponsenorm0", "conv2d2", "localresponsenorm1"])

    for before, after in (("maxpool0", "localresponsenorm0"), ("conv2d2", "localresponsenorm1")):
        x = found[before].numpy().astype(np.float64)
        padded = np.pad(x**2, ((0, 0), (0, 0), (0, 0), (5, 5)))
        squares = sum(padded[..., shift : shift + x.shape[-1]] for shift in range(11))
        np.testing.assert_allclose(found[after], x / np.sqrt(2 + 1e-4 * squares), rtol=1e-5)
        assert squares.max() > 2e4  # large enough to matter


@pytest.mark.parametrize(
    ("size_px", "expected"),
    [(125, [63, 32, 16, 8, 4]), (130, [65, 33, 17, 9, 5]), (154, [77, 39, 20, 10, 5]), (128, [64, 32, 16, 8, 4])],
)
def test_sizes_are_those_of_tensorflows_padding(network: FrozenGraph, size_px: int, expected: list[int]) -> None:
    """Odd sizes are rounded up at every step; ports to PyTorch round some of them down."""
    sizes = network.sizes(size_px)

    assert [sizes[name] for name in ("conv2d0", "maxpool0", "maxpool1", "maxpool4", "maxpool10")] == [
        (size, size) for size in expected
    ]


@pytest.mark.parametrize("layer", ["head0_bottleneck", "nn0", "nn1_pre_relu", "softmax0", "softmax1_pre_activation"])
def test_a_layer_of_an_auxiliary_head_is_refused_with_the_reason(network: FrozenGraph, layer: str) -> None:
    """The files have no weights for them; the message says which file has."""
    with pytest.raises(UnknownLayerError, match=f"{layer} of inception-v1 cannot be computed: the file has no weights"):
        check_layer(network, layer, "pairs")


def test_a_frozen_graph_of_another_network_is_refused(tmp_path: Path) -> None:
    """Its layers are others, so it would be seen with the wrong values for black and white."""
    graph = small_graph()
    (tmp_path / "net.pb").write_bytes(bytes(graph))

    with pytest.raises(ModelError, match="whose layer mixed3a has 256 channels, found no such layer; use model"):
        network_in(tmp_path / "net.pb")


# Other networks and damaged tensors; zeros take no memory -------------------------------------------------------------


def zeros(*shape: int) -> NDArray[np.float32]:
    return np.broadcast_to(np.float32(0), shape)


def captum(**changes: NDArray[np.float32] | None) -> dict[str, NDArray[np.float32]]:
    """Return weights of zeros in Captum's style; a change of None takes a tensor out. `__` stands for a dot."""
    order: dict[int, tuple[int, ...]] = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}
    state = {
        key: zeros(*(SHAPES[name][axis] for axis in order[len(SHAPES[name])])) for name, key in STYLES["Captum"].items()
    }
    state |= {key.replace("__", "."): values for key, values in changes.items() if values is not None}
    return {key: values for key, values in state.items() if changes.get(key.replace(".", "__"), values) is not None}


OTHERS: Mapping[str, tuple[dict[str, NDArray[np.float32]], str]] = {
    "torchvision": (
        {"conv1.conv.weight": zeros(64, 3, 7, 7), "inception4a.branch1.conv.weight": zeros(192, 480, 1, 1)},
        "found torchvision's googlenet, which has batch normalisation (it has a tensor 'inception4a.branch1.conv.wei",
    ),
    "TF-Slim": (
        {"InceptionV1/Mixed_4b/Branch_0/Conv2d_0a_1x1/BatchNorm/beta": zeros(192)},
        "found TF-Slim's InceptionV1, which has batch normalisation",
    ),
    "batch norm": (
        captum(conv1__bn__weight=zeros(64)),
        "found a network with batch normalisation (it has a tensor 'con",
    ),
    "InceptionV3": ({"Mixed_7b.branch1x1.conv.weight": zeros(320, 1280, 1, 1)}, "found InceptionV3"),
    "Caffe": ({"inception_4a_1x1.weight": zeros(192, 480, 1, 1)}, "found BVLC's GoogLeNet of Caffe"),
    "Caffe in Captum's names": (
        captum(mixed4a__conv_3x3__weight=zeros(208, 96, 3, 3)),
        "found BVLC's GoogLeNet of Caffe, whose mixed4a has 512 channels; docs/models.md has the files",
    ),
    "Places365": (
        captum(fc__weight=zeros(365, 1024), mixed4a__conv_3x3__weight=zeros(208, 96, 3, 3), aux1__fc2__bias=zeros(365)),
        "found GoogLeNet for MIT's Places365, which has 365 classes",
    ),
    "something else": (
        {"layer1.weight": zeros(3, 3)},
        "expected the 116 tensors of InceptionV1, found 1 tensors such a",
    ),
    "nothing": ({}, "found none; save the weights with torch.save(model.state_dict(), FILE)"),
    "a missing tensor": (captum(fc__bias=None), "expected InceptionV1 with a tensor fc.bias, found none of this name"),
    "a missing first tensor": (
        captum(conv1__weight=None),
        "expected InceptionV1 with a tensor conv1.weight, found none",
    ),
    "another tensor": (captum(mixed6a__weight=zeros(1)), "InceptionV1 with 116 tensors, found another one, 'mixed6a.w"),
    "another shape": (
        captum(mixed3a__conv_1x1__weight=zeros(64, 192, 3, 3)),
        "expected a tensor mixed3a.conv_1x1.weight of shape (64, 192, 1, 1), got (64, 192, 3, 3)",
    ),
    "the graph's axis order": (
        captum(conv1__weight=zeros(7, 7, 3, 64)),
        "expected a tensor conv1.weight of shape (64, 3, 7, 7), got (7, 7, 3, 64)",
    ),
    "another type": (
        captum(fc__bias=np.zeros(1008, np.int64)),
        "expected a tensor fc.bias of float32 values, got int64",
    ),
    "no number": (
        captum(fc__bias=np.full(1008, np.nan, np.float32)),
        "fc.bias has weights that are not finite numbers",
    ),
    "infinity": (captum(fc__bias=np.full(1008, np.inf, np.float32)), "fc.bias has weights that are not finite numbers"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_network_is_refused_by_name(other: str) -> None:
    """One line says which network it is, or which tensor is wrong."""
    state, expected = OTHERS[other]

    with pytest.raises(ModelError) as caught:
        graph_tensors(state, "net.pth")

    assert str(caught.value).startswith("net.pth: ")
    assert str(caught.value).isprintable()
    assert expected in str(caught.value)


def test_untrained_heads_of_captum_are_ignored() -> None:
    """Captum's network may have auxiliary heads, which are not part of the weights."""
    found = graph_tensors(captum(aux1__conv__weight=zeros(128, 508, 1, 1), aux2__fc1__bias=zeros(1024)), "net.pth")

    assert {name: array.shape for name, array in found.items()} == dict(SHAPES)
