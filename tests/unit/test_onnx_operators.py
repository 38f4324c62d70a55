"""Every operator that is translated from ONNX against onnxruntime, to 1e-5 of the largest value."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from onnx import helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[1]))
from onnx_graphs import OnnxGraph, oracle

from core.models.onnx_graph.file import OnnxFile
from core.models.onnx_graph.translation import translate
from core.models.onnx_graph.values import Tensor, in_order

RANDOM = np.random.default_rng(0)
Case = Callable[[OnnxGraph], Any]


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32) / 3


def conv(*kernel: int, **attributes: Any) -> Case:
    def build(g: OnnxGraph) -> Any:
        return g.node("Conv", "image", g.constant(weights(*kernel)), g.constant(weights(kernel[0])), **attributes)

    return build


def unary(operator: str, **attributes: Any) -> Case:
    return lambda g: g.node(operator, "image", **attributes)


def positive(operator: str) -> Case:
    return lambda g: g.node(operator, g.node("Abs", "image"))


def with_constant(operator: str, value: Any, *, first: bool = False, **attributes: Any) -> Case:
    def build(g: OnnxGraph) -> Any:
        c = g.constant(value)
        return g.node(operator, *((c, "image") if first else ("image", c)), **attributes)

    return build


def compared(operator: str) -> Case:
    def build(g: OnnxGraph) -> Any:
        return g.node("Where", g.node(operator, "image", g.constant(0.3)), "image", g.constant(weights(3, 1, 1)))

    return build


def reduced(operator: str, axes: list[int], keepdims: int) -> Case:
    return lambda g: g.node(operator, "image", g.constant(np.array(axes, np.int64)), keepdims=keepdims)


def tokens(g: OnnxGraph) -> str:
    """Patches of 4 pixels as (batch, tokens, 8 channels), the way transformers cut them."""
    patches = g.node("Conv", "image", g.constant(weights(8, 3, 4, 4)), strides=[4, 4])
    shape = g.node("Shape", patches)
    head = g.node("Slice", shape, g.ints(0), g.ints(2))
    flat = g.node("Reshape", patches, g.node("Concat", head, g.ints(-1), axis=0))
    return str(g.node("Transpose", flat, perm=[0, 2, 1]))


def linear(g: OnnxGraph) -> Any:
    return g.node("Add", g.node("MatMul", tokens(g), g.constant(weights(8, 5))), g.constant(weights(5)))


def layer_norm(g: OnnxGraph) -> Any:
    return g.node(
        "LayerNormalization", tokens(g), g.constant(weights(8)), g.constant(weights(8)), axis=-1, epsilon=1e-6
    )


def class_token(g: OnnxGraph) -> Any:
    t = tokens(g)
    batch = g.node("Gather", g.node("Shape", t), g.constant(np.array(0)))
    shape = g.node("Concat", g.node("Unsqueeze", batch, g.ints(0)), g.ints(1, 8), axis=0)
    return g.node("Concat", g.node("Expand", g.constant(weights(1, 1, 8)), shape), t, axis=1)


def attention(g: OnnxGraph) -> Any:
    t = tokens(g)
    q, k, v = (g.node("MatMul", t, g.constant(weights(8, n))) for n in (8, 8, 8))
    heads = []
    for part, perm in ((q, [0, 2, 1, 3]), (k, [0, 2, 3, 1]), (v, [0, 2, 1, 3])):
        split = g.node("Reshape", part, g.ints(0, -1, 2, 4))
        heads.append(g.node("Transpose", split, perm=perm))
    scores = g.node("Softmax", g.node("Mul", g.node("MatMul", heads[0], heads[1]), g.constant(0.5)), axis=-1)
    mixed = g.node("Transpose", g.node("MatMul", scores, heads[2]), perm=[0, 2, 1, 3])
    return g.node("Reshape", mixed, g.ints(0, -1, 8))


def group_norm_by_reshape(g: OnnxGraph) -> Any:
    c = g.node("Conv", "image", g.constant(weights(8, 3, 1, 1)))
    flat = g.node("Reshape", c, g.ints(0, 4, -1))
    normal = g.node("InstanceNormalization", flat, g.constant(np.ones(4)), g.constant(np.zeros(4)))
    back = g.node("Reshape", normal, g.node("Shape", c))
    return g.node("Mul", back, g.constant(weights(8, 1, 1)))


def squeeze_excite(g: OnnxGraph) -> Any:
    c = g.node("Conv", "image", g.constant(weights(8, 3, 1, 1)))
    mean = g.node("GlobalAveragePool", c)
    gate = g.node("Sigmoid", g.node("Conv", mean, g.constant(weights(8, 8, 1, 1))))
    return g.node("Mul", c, gate)


def classifier(g: OnnxGraph) -> Any:
    mean = g.node("Flatten", g.node("GlobalAveragePool", "image"))
    return g.node("Gemm", mean, g.constant(weights(5, 3)), g.constant(weights(5)), transB=1, alpha=0.5, beta=2.0)


def pixel_shuffle(mode: str) -> Case:
    def build(g: OnnxGraph) -> Any:
        return g.node("DepthToSpace", g.node("Conv", "image", g.constant(weights(8, 3, 1, 1))), blocksize=2, mode=mode)

    return build


def resized(mode: str, where: str, scales: list[float], **attributes: Any) -> Case:
    def build(g: OnnxGraph) -> Any:
        empty = g.constant(np.zeros(0, np.float32))
        factors = g.constant(np.array([1, 1, *scales], np.float32))
        return g.node("Resize", "image", empty, factors, mode=mode, coordinate_transformation_mode=where, **attributes)

    return build


def resized_to_another(g: OnnxGraph) -> Any:
    """To the size of another picture, as networks with a decoder do."""
    small = g.node("MaxPool", "image", kernel_shape=[2, 2], strides=[2, 2])
    size = g.node("Slice", g.node("Shape", "image"), g.ints(2), g.ints(4))
    head = g.node("Slice", g.node("Shape", small), g.ints(0), g.ints(2))
    empty = g.constant(np.zeros(0, np.float32))
    sizes = g.node("Concat", head, size, axis=0)
    return g.node("Resize", small, empty, empty, sizes, mode="linear", coordinate_transformation_mode="half_pixel")


def split_parts(g: OnnxGraph) -> Any:
    c = g.node("Conv", "image", g.constant(weights(8, 3, 1, 1)))
    a, b = g.node("Split", c, g.ints(3, 5), outputs=2, axis=1)
    return g.node("Concat", b, a, axis=1)


def channel_shuffle(g: OnnxGraph) -> Any:
    c = g.node("Conv", "image", g.constant(weights(8, 3, 1, 1)))
    size = g.node("Shape", c)
    height, width = (g.node("Slice", size, g.ints(axis), g.ints(axis + 1)) for axis in (2, 3))
    shape = g.node("Concat", g.ints(-1, 2, 4), height, width, axis=0)
    shuffled = g.node("Transpose", g.node("Reshape", c, shape), perm=[0, 2, 1, 3, 4])
    return g.node("Reshape", shuffled, size)


def batch_norm(g: OnnxGraph) -> Any:
    facts = [g.constant(value) for value in (weights(3), weights(3), weights(3), np.abs(weights(3)) + 0.1)]
    return g.node("BatchNormalization", "image", *facts)


def instance_norm(g: OnnxGraph) -> Any:
    return g.node("InstanceNormalization", "image", g.constant(weights(3)), g.constant(weights(3)))


def group_norm(g: OnnxGraph) -> Any:
    c = conv(6, 3, 1, 1)(g)
    return g.node("GroupNormalization", c, g.constant(weights(6)), g.constant(weights(6)), num_groups=3)


def prelu(g: OnnxGraph) -> Any:
    return g.node("PRelu", "image", g.constant(weights(3, 1, 1)))


def silu(g: OnnxGraph) -> Any:
    return g.node("Mul", "image", g.node("Sigmoid", "image"))


def einsum(g: OnnxGraph) -> Any:
    return g.node("Einsum", "image", g.constant(weights(3, 4)), equation="bchw,cd->bdhw")


def row(g: OnnxGraph) -> str:
    """Tokens as (batch, 8 channels, position)."""
    return str(g.node("Transpose", tokens(g), perm=[0, 2, 1]))


def row_conv(g: OnnxGraph) -> Any:
    return g.node("Conv", row(g), g.constant(weights(6, 8, 3)), g.constant(weights(6)), pads=[1, 2], strides=[2])


def heads(g: OnnxGraph) -> list[str]:
    return [str(g.node("MatMul", tokens(g), g.constant(weights(8, n)))) for n in (8, 8, 8)]


def padded_to_windows(g: OnnxGraph) -> Any:
    """What PyTorch's exporter makes of a pad that depends on the size of the image: pairs, last axis first."""
    size = g.node("Shape", "image")
    rests = []
    for axis in (2, 3):
        length = g.node("Gather", size, g.constant(np.array(axis)), axis=0)
        rest = g.node(
            "Mod",
            g.node("Sub", g.constant(np.array(7)), g.node("Mod", length, g.constant(np.array(7)))),
            g.constant(np.array(7)),
        )
        rests.append(g.node("Unsqueeze", rest, g.ints(0)))
    pairs = g.node("Concat", g.ints(0), rests[1], g.ints(0), rests[0], g.ints(0, 0, 0, 0), axis=0)
    pairs = g.node("Reshape", pairs, g.ints(-1, 2))
    turned = g.node("Slice", pairs, g.ints(-1), g.ints(-(2**63) + 1), g.ints(0), g.ints(-1))
    widths = g.node("Reshape", g.node("Transpose", turned, perm=[1, 0]), g.ints(-1))
    return g.node("Pad", "image", g.node("Cast", widths, to=7))


def window_mask(g: OnnxGraph) -> Any:
    """A mask that is written row by row, as shifted windows have it, for images of any size."""
    length = g.node("Gather", g.node("Shape", "image"), g.constant(np.array(2)), axis=0)
    zeros = g.node(
        "ConstantOfShape",
        g.node("Unsqueeze", length, g.ints(0)),
        value=numpy_helper.from_array(np.zeros(1, np.float32)),
    )
    rows = g.node("Range", g.constant(np.array(0)), length, g.constant(np.array(1)))
    places = g.node("Unsqueeze", g.node("Slice", rows, g.ints(-7), g.ints(-3), g.ints(0)), g.ints(-1))
    mask = g.node("ScatterND", zeros, places, g.constant(np.array([1, 2, 3, 4], np.float32)))
    return g.node("Mul", "image", g.node("Unsqueeze", mask, g.ints(1)))


def half_size(g: OnnxGraph) -> Any:
    """Sizes times a number that is not whole, rounded down."""
    size = g.node("Slice", g.node("Shape", "image"), g.ints(2), g.ints(4))
    half = g.node("Cast", g.node("Floor", g.node("Mul", g.node("Cast", size, to=1), g.constant(0.7))), to=7)
    head = g.node("Slice", g.node("Shape", "image"), g.ints(0), g.ints(2))
    empty = g.constant(np.zeros(0, np.float32))
    wanted = g.node("Concat", head, half, axis=0)
    return g.node("Resize", "image", empty, empty, wanted, mode="linear", coordinate_transformation_mode="half_pixel")


def branch(g: OnnxGraph) -> Any:
    """A decision about the number of channels."""
    channels = g.node("Gather", g.node("Shape", "image"), g.constant(np.array(1)), axis=0)
    output = helper.make_empty_tensor_value_info("chosen")
    yes, no = (
        helper.make_graph([helper.make_node(operator, ["image"], ["chosen"])], "branch", [], [output])
        for operator in ("Relu", "Neg")
    )
    return g.node("If", g.node("Equal", channels, g.constant(np.array(3))), then_branch=yes, else_branch=no)


def fake_quantised(g: OnnxGraph) -> Any:
    facts = [g.constant(np.array([0.02, 0.03, 0.01], np.float32)), g.constant(np.array([0, 3, -5], np.int8))]
    return g.node("DequantizeLinear", g.node("QuantizeLinear", "image", *facts, axis=1), *facts, axis=1)


def quantised_kernel(g: OnnxGraph) -> Any:
    steps = g.constant(np.random.default_rng(0).integers(-99, 99, (5, 3, 3, 3)).astype(np.int8))
    facts = [g.constant(np.full(5, 0.01, np.float32)), g.constant(np.zeros(5, np.int8))]
    return g.node("Conv", "image", g.node("DequantizeLinear", steps, *facts, axis=0))


def rotary(interleaved: int) -> Case:
    def build(g: OnnxGraph) -> Any:
        image = g.node("Slice", "image", g.ints(0, 0), g.ints(16, 16), g.ints(2, 3))
        angles = np.random.default_rng(0).uniform(size=(2, 16, 8))
        return g.node(
            "RotaryEmbedding", image, g.constant(np.cos(angles)), g.constant(np.sin(angles)), interleaved=interleaved
        )

    return build


def gathered(g: OnnxGraph) -> Any:
    """The largest value of each row, found by its place."""
    places = g.constant(np.array([[[[0, 2, -1]]]], np.int64))
    shape = g.node("Concat", g.node("Slice", g.node("Shape", "image"), g.ints(0), g.ints(3)), g.ints(1), axis=0)
    return g.node("GatherElements", "image", g.node("Expand", places, shape), axis=3)


def standardised_kernel(g: OnnxGraph) -> Any:
    """A batch normalisation of a kernel, in training mode, as networks without normalisation of pictures have it."""
    flat = g.constant(weights(1, 5, 27))
    facts = [g.constant(value) for value in (np.full(5, 0.3), np.zeros(5), np.zeros(5), np.ones(5))]
    normal, _, _ = g.node("BatchNormalization", flat, *facts, outputs=3, training_mode=1)
    return g.node("Conv", "image", g.node("Reshape", normal, g.ints(5, 3, 3, 3)))


def windows(g: OnnxGraph) -> Any:
    """Windows of 2 x 2 of a shifted picture whose channels are last."""
    picture = g.node(
        "Slice", g.node("Transpose", "image", perm=[0, 2, 3, 1]), g.ints(0, 0), g.ints(16, 16), g.ints(1, 2)
    )
    rolled = g.node(
        "Concat",
        g.node("Slice", picture, g.ints(3), g.ints(2**62), g.ints(1)),
        g.node("Slice", picture, g.ints(0), g.ints(3), g.ints(1)),
        axis=1,
    )
    batch = g.node("Slice", g.node("Shape", picture), g.ints(0), g.ints(1))
    apart = g.node("Reshape", rolled, g.node("Concat", batch, g.ints(8, 2, 8, 2, 3), axis=0))
    return g.node("Reshape", g.node("Transpose", apart, perm=[0, 1, 3, 2, 4, 5]), g.ints(-1, 4, 3))


def relative_bias(g: OnnxGraph) -> Any:
    """A table of biases by relative position, added to the scores of tokens."""
    patches = g.node("Slice", tokens(g), g.ints(0), g.ints(4), g.ints(1))
    scores = g.node("MatMul", patches, g.node("Transpose", patches, perm=[0, 2, 1]))
    places = g.constant(np.random.default_rng(0).integers(0, 7, 16))
    bias = g.node("Reshape", g.node("Gather", g.constant(weights(7, 1)), places), g.ints(1, 4, 4))
    return g.node("Softmax", g.node("Add", scores, bias), axis=-1)


def norm_of_channels(g: OnnxGraph) -> Any:
    """A layer normalisation over the channels of a picture."""
    last = g.node("Transpose", "image", perm=[0, 2, 3, 1])
    normal = g.node("LayerNormalization", last, g.constant(weights(3)), g.constant(weights(3)))
    return g.node(
        "Conv", g.node("Transpose", normal, perm=[0, 3, 1, 2]), g.constant(weights(4, 3, 2, 2)), strides=[2, 2]
    )


def blur_pool(g: OnnxGraph) -> Any:
    padded = g.node("Pad", "image", g.ints(0, 0, 1, 1, 0, 0, 1, 1), mode="reflect")
    return g.node("Conv", padded, g.constant(np.abs(weights(3, 1, 3, 3))), group=3, strides=[2, 2])


def one_hot(g: OnnxGraph) -> Any:
    length = g.node("Gather", g.node("Shape", "image"), g.constant(np.array(3)), axis=0)
    numbers = g.node(
        "Mod", g.node("Range", g.constant(np.array(0)), length, g.constant(np.array(1))), g.constant(np.array(3))
    )
    shares = g.node("OneHot", numbers, g.constant(np.array(3)), g.constant(np.array([0.1, 1], np.float32)))
    return g.node("MatMul", "image", shares)


CASES: dict[str, tuple[int, Case]] = {
    "standardised kernel": (18, standardised_kernel),
    "windows": (18, windows),
    "relative bias": (18, relative_bias),
    "norm of channels": (18, norm_of_channels),
    "blur pool": (18, blur_pool),
    "OneHot": (18, one_hot),
    "Conv of a row": (18, row_conv),
    "Conv of a row depthwise": (
        18, lambda g: g.node("Conv", row(g), g.constant(weights(8, 1, 3)), group=8, pads=[1, 1]),
    ),
    "MaxPool of a row": (18, lambda g: g.node("MaxPool", row(g), kernel_shape=[3], strides=[2], pads=[1, 1])),
    "AveragePool of a row": (18, lambda g: g.node("AveragePool", row(g), kernel_shape=[3], strides=[2])),
    "GlobalAveragePool of a row": (18, lambda g: g.node("GlobalAveragePool", row(g))),
    "ConvTranspose of a row": (
        18, lambda g: g.node("ConvTranspose", row(g), g.constant(weights(8, 4, 2)), strides=[2]),
    ),
    "Attention": (23, lambda g: g.node("Attention", *heads(g), q_num_heads=2, kv_num_heads=2)),
    "Attention causal": (
        23, lambda g: g.node("Attention", *heads(g), q_num_heads=4, kv_num_heads=4, is_causal=1, scale=0.3),
    ),
    "Attention softcap": (23, lambda g: g.node("Attention", *heads(g), q_num_heads=2, kv_num_heads=2, softcap=0.5)),
    "RotaryEmbedding": (23, rotary(0)),
    "RotaryEmbedding interleaved": (23, rotary(1)),
    "pad to windows": (18, padded_to_windows),
    "window mask": (18, window_mask),
    "sizes times a share": (18, half_size),
    "If": (18, branch),
    "fake quantisation": (18, fake_quantised),
    "quantised kernel": (18, quantised_kernel),
    "GatherElements": (18, gathered),
    "GatherND": (18, lambda g: g.node("GatherND", "image", g.constant(np.array([[0, 1], [1, -1]], np.int64)))),
    "Einsum of heads": (18, lambda g: g.node("Einsum", "image", "image", equation="...ij, ...kj -> ...ik")),
    "Trilu": (18, unary("Trilu")),
    "Trilu above": (18, lambda g: g.node("Trilu", "image", g.constant(np.array(2)), upper=1)),
    "Trilu below": (18, lambda g: g.node("Trilu", "image", g.constant(np.array(-2)), upper=0)),
    "CumSum": (18, lambda g: g.node("CumSum", "image", g.constant(np.array(1)), reverse=1)),
    "CumSum exclusive": (18, lambda g: g.node("CumSum", "image", g.constant(np.array(3)), exclusive=1)),
    "Mod": (18, with_constant("Mod", 0.7, fmod=1)),
    "Sign": (18, unary("Sign")),
    "Round": (18, lambda g: g.node("Round", g.node("Mul", "image", g.constant(3.0)))),
    "IsNaN": (18, lambda g: g.node("Where", g.node("IsNaN", g.node("Log", "image")), g.constant(0.0), "image")),
    "Shrink": (18, unary("Shrink", lambd=0.4, bias=0.1)),
    "Sin": (18, unary("Sin")),
    "Cos": (18, unary("Cos")),
    **{
        operator: (18, lambda g, operator=operator: g.node(
            "Where",
            g.node(operator, g.node("Greater", "image", g.constant(0.3)), g.node("Less", "image", g.constant(0.9))),
            "image",
            g.constant(0.0),
        ))
        for operator in ("And", "Or", "Xor")
    },
    "Not": (
        18,
        lambda g: g.node("Where", g.node("Not", g.node("Less", "image", g.constant(0.3))), "image", g.constant(1.0)),
    ),
    "LpNormalization": (18, unary("LpNormalization", axis=1)),
    "LpNormalization 1": (18, unary("LpNormalization", axis=-1, p=1)),
    "MeanVarianceNormalization": (18, unary("MeanVarianceNormalization", axes=[2, 3])),
    "Resize cubic": (18, resized("cubic", "half_pixel", [2, 2])),
    "Resize cubic odd": (18, resized("cubic", "pytorch_half_pixel", [0.6, 1.7], cubic_coeff_a=-0.5)),
    "Resize cubic aligned": (18, resized("cubic", "align_corners", [2, 1.5])),
    "Conv": (18, conv(5, 3, 3, 3)),
    "Conv same": (18, conv(5, 3, 3, 3, pads=[1, 1, 1, 1])),
    "Conv even kernel": (18, conv(5, 3, 2, 4, pads=[0, 1, 1, 2])),
    "Conv strides": (18, conv(5, 3, 3, 3, pads=[1, 1, 1, 1], strides=[2, 2])),
    "Conv uneven": (18, conv(5, 3, 3, 5, pads=[0, 2, 1, 1], strides=[1, 2])),
    "Conv dilated": (18, conv(5, 3, 3, 3, pads=[2, 2, 2, 2], dilations=[2, 2])),
    "Conv SAME_UPPER": (18, conv(5, 3, 4, 4, auto_pad="SAME_UPPER", strides=[2, 2])),
    "Conv SAME_LOWER": (18, conv(5, 3, 4, 4, auto_pad="SAME_LOWER", strides=[3, 3])),
    "Conv VALID": (18, conv(5, 3, 3, 3, auto_pad="VALID")),
    "Conv depthwise": (18, conv(3, 1, 3, 3, pads=[1, 1, 1, 1], group=3)),
    "Conv depthwise multiplied": (18, conv(6, 1, 3, 3, pads=[1, 1, 1, 1], group=3, strides=[2, 2])),
    "Conv depthwise uneven strides": (18, conv(6, 1, 3, 3, group=3, strides=[1, 2])),
    "Conv depthwise dilated": (18, conv(3, 1, 3, 3, pads=[2, 2, 2, 2], group=3, dilations=[2, 2])),
    "Conv grouped": (18, lambda g: g.node("Conv", conv(6, 3, 1, 1)(g), g.constant(weights(4, 3, 3, 3)), group=2)),
    "ConvTranspose": (18, with_constant("ConvTranspose", weights(3, 4, 2, 2), strides=[2, 2])),
    "ConvTranspose padded": (
        18,
        with_constant("ConvTranspose", weights(3, 4, 4, 4), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
    ),
    "ConvTranspose grouped": (18, with_constant("ConvTranspose", weights(3, 2, 3, 3), group=3, pads=[1, 0, 1, 0])),
    "MaxPool": (18, unary("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])),
    "MaxPool ceil": (18, unary("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)),
    "MaxPool ceil padded": (18, unary("MaxPool", kernel_shape=[2, 2], strides=[3, 3], pads=[1, 1, 0, 0], ceil_mode=1)),
    "MaxPool same": (18, unary("MaxPool", kernel_shape=[3, 3], pads=[1, 1, 1, 1])),
    "MaxPool dilated": (18, unary("MaxPool", kernel_shape=[2, 2], dilations=[2, 2])),
    "AveragePool": (18, unary("AveragePool", kernel_shape=[2, 2], strides=[2, 2])),
    "AveragePool padded": (18, unary("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])),
    "AveragePool counted": (
        19,
        unary("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1),
    ),
    "AveragePool ceil": (19, unary("AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)),
    "AveragePool ceil counted": (
        19,
        unary("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, ceil_mode=1, count_include_pad=1),
    ),
    "GlobalAveragePool": (18, unary("GlobalAveragePool")),
    "GlobalMaxPool": (18, unary("GlobalMaxPool")),
    "BatchNormalization": (18, batch_norm),
    "InstanceNormalization": (18, instance_norm),
    "GroupNormalization": (21, group_norm),
    "LayerNormalization": (18, layer_norm),
    "RMSNormalization": (23, lambda g: g.node("RMSNormalization", tokens(g), g.constant(weights(8)), axis=-1)),
    "LRN": (18, lambda g: g.node("LRN", conv(8, 3, 1, 1)(g), size=5, alpha=0.1, beta=0.6, bias=2.0)),
    "group norm by reshape": (18, group_norm_by_reshape),
    "squeeze and excite": (18, squeeze_excite),
    "classifier": (18, classifier),
    "linear": (18, linear),
    "class token": (18, class_token),
    "attention": (18, attention),
    "channel shuffle": (18, channel_shuffle),
    "split": (18, split_parts),
    "silu": (18, silu),
    "PRelu": (18, prelu),
    "Einsum": (18, einsum),
    "DepthToSpace DCR": (18, pixel_shuffle("DCR")),
    "DepthToSpace CRD": (18, pixel_shuffle("CRD")),
    "Relu": (18, unary("Relu")),
    "Clip 0 6": (18, lambda g: g.node("Clip", "image", g.constant(0.0), g.constant(6.0))),
    "Clip": (18, lambda g: g.node("Clip", "image", g.constant(-0.5), g.constant(0.7))),
    "Clip below": (18, lambda g: g.node("Clip", "image", g.constant(0.0))),
    "LeakyRelu": (18, unary("LeakyRelu", alpha=0.2)),
    "LeakyRelu default": (18, unary("LeakyRelu")),
    "Elu": (18, unary("Elu")),
    "Elu alpha": (18, unary("Elu", alpha=0.5)),
    "Celu": (18, unary("Celu", alpha=0.7)),
    "Selu": (18, unary("Selu")),
    "Gelu": (20, unary("Gelu")),
    "Gelu tanh": (20, unary("Gelu", approximate="tanh")),
    "Erf": (18, unary("Erf")),
    "Sigmoid": (18, unary("Sigmoid")),
    "HardSigmoid": (18, unary("HardSigmoid")),
    "HardSigmoid torch": (18, unary("HardSigmoid", alpha=1 / 6, beta=0.5)),
    "HardSwish": (18, unary("HardSwish")),
    "Mish": (18, unary("Mish")),
    "Softplus": (18, unary("Softplus")),
    "Softsign": (18, unary("Softsign")),
    "ThresholdedRelu": (18, unary("ThresholdedRelu", alpha=0.4)),
    "Tanh": (18, unary("Tanh")),
    "Exp": (18, unary("Exp")),
    "Abs": (18, unary("Abs")),
    "Neg": (18, unary("Neg")),
    "Floor": (18, unary("Floor")),
    "Ceil": (18, unary("Ceil")),
    "Log": (18, positive("Log")),
    "Sqrt": (18, positive("Sqrt")),
    "Reciprocal": (18, positive("Reciprocal")),
    "Softmax": (18, unary("Softmax", axis=1)),
    "LogSoftmax": (18, unary("LogSoftmax", axis=-1)),
    "Add": (18, with_constant("Add", weights(3, 1, 1))),
    "Add row": (18, with_constant("Add", weights(1))),
    "Sub from": (18, with_constant("Sub", weights(1, 3, 1, 1), first=True)),
    "Mul": (18, with_constant("Mul", 0.3)),
    "Div": (18, with_constant("Div", 0.3)),
    "Pow": (18, with_constant("Pow", 2.0)),
    "Max": (18, lambda g: g.node("Max", "image", g.constant(0.1), g.node("Neg", "image"))),
    "Min": (18, lambda g: g.node("Min", "image", g.constant(0.1))),
    "Mean": (18, lambda g: g.node("Mean", "image", g.node("Abs", "image"), g.node("Neg", "image"))),
    "Sum": (18, lambda g: g.node("Sum", "image", g.node("Abs", "image"), "image")),
    "Greater": (18, compared("Greater")),
    "Less": (18, compared("Less")),
    "GreaterOrEqual": (18, compared("GreaterOrEqual")),
    "LessOrEqual": (18, compared("LessOrEqual")),
    **{
        f"{operator} {axes} {keepdims}": (18, reduced(operator, axes, keepdims))
        for operator in ("ReduceMean", "ReduceMax", "ReduceL2")
        for axes, keepdims in (([2, 3], 1), ([2, 3], 0), ([1], 1), ([1], 0), ([-1], 0))
    },
    "ReduceSum": (18, reduced("ReduceSum", [2, 3], 1)),
    "ReduceMin": (18, reduced("ReduceMin", [1], 1)),
    "ReduceProd": (18, reduced("ReduceProd", [1], 0)),
    "ReduceL1": (18, reduced("ReduceL1", [1], 0)),
    "ReduceSumSquare": (18, reduced("ReduceSumSquare", [1, 2], 0)),
    "ReduceLogSumExp": (18, reduced("ReduceLogSumExp", [3], 1)),
    "ReduceMean attribute": (13, unary("ReduceMean", axes=[2, 3])),
    "Transpose": (18, unary("Transpose", perm=[0, 3, 1, 2])),
    "Slice": (18, lambda g: g.node("Slice", "image", g.ints(1, 2), g.ints(-1, 9), g.ints(2, 3), g.ints(1, 2))),
    "Slice channels": (18, lambda g: g.node("Slice", "image", g.ints(1), g.ints(2**62), g.ints(1))),
    "Slice backwards": (18, lambda g: g.node("Slice", "image", g.ints(-1), g.ints(-(2**62)), g.ints(1), g.ints(-1))),
    "Gather channel": (18, lambda g: g.node("Gather", "image", g.constant(np.array(1)), axis=1)),
    "Gather channels": (18, lambda g: g.node("Gather", "image", g.ints(2, 0), axis=1)),
    "Squeeze": (18, lambda g: g.node("Squeeze", g.node("GlobalMaxPool", "image"), g.ints(2, 3))),
    "Unsqueeze": (18, lambda g: g.node("Unsqueeze", g.node("ReduceMean", "image", g.ints(2), keepdims=0), g.ints(1))),
    "Tile": (18, lambda g: g.node("Tile", "image", g.ints(1, 2, 1, 3))),
    "Pad": (18, lambda g: g.node("Pad", "image", g.ints(0, 0, 1, 2, 0, 0, 3, 0), g.constant(0.5))),
    "Pad reflect": (18, lambda g: g.node("Pad", "image", g.ints(0, 0, 1, 2, 0, 0, 3, 1), mode="reflect")),
    "Pad edge": (18, lambda g: g.node("Pad", "image", g.ints(0, 0, 1, 2, 0, 0, 3, 0), mode="edge")),
    "Pad crops": (18, lambda g: g.node("Pad", "image", g.ints(0, 0, -1, 0, 0, 0, 2, -2))),
    "Pad channels": (18, lambda g: g.node("Pad", "image", g.ints(0, 1, 0, 0, 0, 2, 0, 0))),
    "Resize nearest": (18, resized("nearest", "asymmetric", [2, 2], nearest_mode="floor")),
    "Resize nearest torch": (18, resized("nearest", "half_pixel", [2, 3])),
    "Resize linear": (18, resized("linear", "half_pixel", [2, 2])),
    "Resize linear smaller": (18, resized("linear", "pytorch_half_pixel", [0.5, 0.5])),
    "Resize linear odd": (18, resized("linear", "half_pixel", [0.4, 1.7])),
    "Resize asymmetric": (18, resized("linear", "asymmetric", [1.5, 0.7])),
    "Resize nearest odd": (18, resized("nearest", "half_pixel", [1.3, 0.6], nearest_mode="round_prefer_ceil")),
    "Resize nearest ceil": (18, resized("nearest", "asymmetric", [0.7, 1.6], nearest_mode="ceil")),
    "Resize aligned": (18, resized("linear", "align_corners", [2, 2])),
    "Resize to another": (18, resized_to_another),
    "Cast": (18, lambda g: g.node("Cast", g.node("Cast", "image", to=7), to=1)),
    "Identity": (18, unary("Identity")),
    "Dropout": (18, unary("Dropout")),
}  # fmt: skip


EVEN = ("Conv", "MaxPool", "AveragePool", "Resize", "DepthToSpace")
"""The cases of these names divide the picture, and are tried with an even size too."""


@pytest.mark.parametrize("case", CASES)
def test_an_operator_computes_what_onnxruntime_computes(case: str) -> None:
    """The graph is translated once, for images of any size."""
    opset, build = CASES[case]
    graph = OnnxGraph(opset=opset)
    output = build(graph)
    model = graph.model([output])
    network = translated(model, output)

    for size in [(25, 18), (24, 24)] if case.startswith(EVEN) else [(25, 18)]:
        image = RANDOM.normal(size=(2, 3, *size)).astype(np.float32)
        [expected] = oracle(model, image)
        found = network(image)
        assert found.shape == expected.shape, size
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max(), size


def test_swish_is_the_image_times_a_sigmoid() -> None:
    """The last version of onnxruntime for Python 3.10 does not know this operator of version 24."""
    graph = OnnxGraph(opset=24)
    output = unary("Swish", alpha=0.7)(graph)
    image = RANDOM.normal(size=(2, 3, 9, 8)).astype(np.float32)

    found = translated(graph.model([output]), output)(image)

    np.testing.assert_allclose(found, image / (1 + np.exp(-0.7 * image)), rtol=1e-5, atol=1e-6)


def translated(model: Any, output: str) -> Callable[[np.ndarray], np.ndarray]:
    """Translate a graph; return the function from an image to the values of one of the graph's tensors."""
    constants = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    file = OnnxFile(model.graph, model.opset_import[0].version, constants, "")

    @tf.function(autograph=False, input_signature=[tf.TensorSpec((None, None, None, 3))])
    def network(images: tf.Tensor) -> tf.Tensor:
        values, unknown = translate(file, images, True)
        assert not unknown, str(unknown)
        value = values[output]
        assert isinstance(value, Tensor)
        return in_order(value)

    def values_of(image: np.ndarray) -> np.ndarray:
        found: np.ndarray = network(image.transpose(0, 2, 3, 1)).numpy()
        return found

    return values_of
