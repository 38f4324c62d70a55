"""The default model as an ONNX file: a real network, whose layers and pictures are those of the built-in one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parents[1]))
from onnx_graphs import OnnxGraph

from core.method.strip_renderer import StripRenderer
from core.models.efficientnet import BLOCKS, EfficientNetLite0
from core.models.frozen_graph import FrozenGraph
from core.models.models import load
from core.models.weight_files.torch_legacy import read_state_dict
from core.neurons import Neuron, Pair
from core.spec import Alignment, ModelSpec, RenderSettings

NORM = ("weight", "bias", "running_mean", "running_var")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[EfficientNetLite0, FrozenGraph]:
    """The built-in model, and the same network in a file; its layers have the same names."""
    built_in = load(EfficientNetLite0.name)
    assert isinstance(built_in, EfficientNetLite0)
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    path.write_bytes(in_onnx(read_state_dict(built_in.weights_file)).model().SerializeToString())
    # The network was trained on (255 * image - 127) / 128.
    found = load(ModelSpec(name="onnx", file=str(path), value_range=(-127 / 128, 1.0)))
    assert isinstance(found, FrozenGraph)
    return built_in, found


def in_onnx(state: Any) -> OnnxGraph:
    """Return the network as PyTorch's exporter writes it, with a module for each layer."""
    g = OnnxGraph(opset=17)

    def convolution(x: str, weights: str, norm: str, name: str, *, active: bool = True, **attributes: Any) -> str:
        kernel = g.constant(state[f"{weights}.weight"])
        x = g.node("Conv", x, kernel, name=f"/{name}/Conv", auto_pad="SAME_UPPER", **attributes)
        facts = [g.constant(state[f"{norm}.{part}"]) for part in NORM]
        x = g.node("BatchNormalization", x, *facts, name=f"/{name}/BatchNormalization", epsilon=1e-3)
        return str(g.node("Clip", x, g.constant(0.0), g.constant(6.0), name=f"/{name}/Clip")) if active else x

    x = convolution("image", "_conv_stem", "_bn0", "stem", strides=[2, 2])
    for number, block in enumerate(BLOCKS):
        before, prefix, strides = x, f"_blocks.{number}", [block.stride, block.stride]
        if block.expands:
            x = convolution(x, f"{prefix}._expand_conv", f"{prefix}._bn0", f"{block.name}_expand")
        name, group = f"{block.name}_depthwise", block.channels_inside
        x = convolution(x, f"{prefix}._depthwise_conv", f"{prefix}._bn1", name, strides=strides, group=group)
        x = convolution(x, f"{prefix}._project_conv", f"{prefix}._bn2", block.name, active=False)
        if block.residual:
            x = g.node("Add", x, before, name=f"/{block.name}/Add")
    x = convolution(x, "_conv_head", "_bn1", "head")
    mean = g.node("Flatten", g.node("GlobalAveragePool", x))
    g.node("Gemm", mean, *(g.constant(state[f"_fc.{part}"]) for part in NORM[:2]), transB=1, name="/logits/Gemm")
    return g


@pytest.mark.parametrize("size", [(64, 64), (97, 60)])
def test_every_layer_is_that_of_the_built_in_model(
    both: tuple[EfficientNetLite0, FrozenGraph], size: tuple[int, int]
) -> None:
    """All 83 of them, to 1e-4 of the largest value."""
    images = tf.constant(np.random.default_rng(0).uniform(size=(1, *size, 3)).astype(np.float32))
    built_in, found = (model.activations(images, EfficientNetLite0.layers) for model in both)

    assert len(built_in) == 83
    for layer, expected in built_in.items():
        assert np.abs(found[layer] - expected).max() <= 1e-4 * np.abs(expected).max(), layer


def test_an_update_gives_the_pictures_of_the_built_in_model(both: tuple[EfficientNetLite0, FrozenGraph]) -> None:
    """To rounding, after the first update; later ones let rounding grow."""
    aligned = Alignment(layers=EfficientNetLite0.alignment_layers)  # a file does not say which layers suit
    settings = RenderSettings(steps=1, redirected_updates=1, size_px=32, frames=3, alignment=aligned)
    pair = Pair.of(Neuron("block1", 3), Neuron("block1", 17))

    built_in, found = (StripRenderer(model, pair.layers, settings).render([pair])[0].frames for model in both)

    np.testing.assert_allclose(found, built_in, atol=1e-5)
