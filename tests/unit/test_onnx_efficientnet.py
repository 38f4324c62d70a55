"""The default model as an ONNX file: a real network, whose layers and pictures are those of the built-in one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parents[1]))
from batch_rounding import rounds_alike
from onnx_graphs import OnnxGraph

from core.method.strip_renderer import StripRenderer
from core.method.walk_strip import Walk, WalkRenderer
from core.models.efficientnet import BLOCKS, EfficientNetLite0
from core.models.frozen_graph import FrozenGraph
from core.models.models import load
from core.models.weight_files.torch_legacy import read_state_dict
from core.neurons import Neuron, Pair
from core.pictures.portrait import Portrait
from core.pictures.sheets import side_by_side
from core.spec import Alignment, ModelSpec, RenderSettings

PAIR = Pair.of(Neuron("block1", 3), Neuron("block1", 17))
SMALL: dict[str, Any] = {
    "redirected_updates": 1, "size_px": 32, "frames": 3,
    "alignment": Alignment(layers=EfficientNetLite0.alignment_layers),  # a file does not say which layers suit
}  # fmt: skip
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
    """All frames of a strip agree to rounding after the first update; later ones let rounding grow.

    Where convolutions are rounded by their batch, the update of a pixel with hardly any gradient differs more.
    """
    plain = RenderSettings(schedule="plain", steps=1, **SMALL)

    built_in, found = (StripRenderer(model, PAIR.layers, plain).render([PAIR])[0].frames for model in both)

    np.testing.assert_allclose(found, built_in, atol=1e-5 if rounds_alike() else 0.005)


def test_an_update_between_two_ends_gives_the_pictures_of_the_built_in_model(
    both: tuple[EfficientNetLite0, FrozenGraph],
) -> None:
    """The ends are given, because their pixels are rounded to 8 bits, where rounding of a model can change a value."""
    near = Alignment(layers=("stem", "block0"))  # the other test aligns deep layers, which take longer to trace
    fast = RenderSettings(steps=1, **SMALL | {"alignment": near})
    ends = {neuron: portrait(neuron.channel) for neuron in PAIR}

    built_in, found = (
        WalkRenderer(model, PAIR.layers, fast).render([Walk(PAIR, ends.__getitem__)])[0] for model in both
    )

    np.testing.assert_allclose(found.frames, built_in.frames, atol=1e-5)
    np.testing.assert_allclose(found.noise, built_in.noise, rtol=1e-4)


def portrait(seed: int) -> Portrait:
    colours = np.random.default_rng(seed).normal(size=(32, 32, 3)).astype(np.float32)
    return Portrait(colours, side_by_side(1 / (1 + np.exp(-colours))[None]))
