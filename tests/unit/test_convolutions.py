"""The convolutions with their own gradients give the same values and gradients as TensorFlow's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from core.machine import device
from core.models.efficientnet import EfficientNetLite0
from core.models.models import load
from core.models.operations.convolutions import can_halve, depthwise, halving, plain, pointwise

Array = NDArray[np.float32]
Convolution = Callable[[tf.Tensor], tf.Tensor]


def noise(*shape: int) -> Array:
    return np.random.Generator(np.random.Philox(len(shape))).standard_normal(shape, dtype=np.float32)


def value_and_gradient(convolution: Convolution, x: Array, upstream: Array) -> tuple[Array, Array]:
    with tf.GradientTape() as tape:
        watched = tf.constant(x)
        tape.watch(watched)
        y = convolution(watched)
        total = tf.reduce_sum(tf.reshape(y, upstream.shape) * upstream)
    return y.numpy().reshape(upstream.shape), tape.gradient(total, watched).numpy()


def assert_same(ours: Convolution, theirs: Convolution, x: Array, out: tuple[int, ...]) -> None:
    for found, expected in zip(
        value_and_gradient(ours, x, noise(*out)), value_and_gradient(theirs, x, noise(*out)), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_pointwise_convolution_is_a_product() -> None:
    kernel, bias = noise(1, 1, 5, 7), noise(7)
    assert_same(
        lambda x: pointwise(x, kernel[0, 0], bias), lambda x: plain(x, kernel, bias, 1), noise(2, 3, 4, 5), (2, 3, 4, 7)
    )


@pytest.mark.parametrize("size", [3, 5])
def test_the_gradient_of_a_depthwise_convolution_is_one_with_the_kernel_turned(size: int) -> None:
    """The gradient is right also for images that are lower than the kernel, because the padding is zeros."""
    kernel, bias = noise(size, size, 6, 1), noise(6)
    for height, width in ((8, 9), (2, 12)):
        shape = (2, height, width, 6)
        assert_same(
            lambda x: depthwise(x, kernel, bias),
            lambda x: plain(x, kernel, bias, 1, depthwise=True),
            noise(*shape),
            shape,
        )


@pytest.mark.parametrize(("height", "width"), [(8, 6), (2, 2), (2, 10)])
def test_a_halving_convolution_has_four_pixels_of_gradient_at_a_time(height: int, width: int) -> None:
    kernel, bias = noise(3, 3, 4, 5), noise(5)
    assert_same(
        lambda x: halving(x, kernel, bias),
        lambda x: plain(x, kernel, bias, 2),
        noise(3, height, width, 4),
        (3, height // 2, width // 2, 5),
    )


def test_only_images_of_even_and_known_size_are_halved() -> None:
    assert can_halve(tf.zeros((1, 8, 6, 3)))
    assert not can_halve(tf.zeros((1, 8, 7, 3)))

    @tf.function(autograph=False, input_signature=[tf.TensorSpec((1, None, 8, 3))])
    def of_any_height(x: tf.Tensor) -> tf.Tensor:
        assert not can_halve(x)
        return x

    of_any_height(tf.zeros((1, 8, 8, 3)))


@pytest.mark.parametrize("size_px", [64, 45])
def test_the_whole_network_is_that_of_plain_convolutions(size_px: int) -> None:
    """Activations in all kinds of layers and the gradient of the image are those of plain convolutions."""
    model = load("efficientnet-lite0")
    assert isinstance(model, EfficientNetLite0)
    layers = ("stem", "block0_depthwise_pre_relu", "block2", "block4_expand", "block5", "block7_expand_pre_relu")
    images = np.random.Generator(np.random.Philox(1)).random((2, size_px, size_px, 3), dtype=np.float32)

    def run(model: EfficientNetLite0) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        with tf.GradientTape() as tape:
            watched = tf.constant(images)
            tape.watch(watched)
            found = model.activations(watched, layers)
            total = tf.add_n([tf.reduce_mean(t**2) for t in found.values()])
        return found, tape.gradient(total, watched)

    found, gradient = run(model)
    expected, plain_gradient = run(EfficientNetLite0(model.weights_file, plain=True))
    assert set(found) == set(expected) == set(layers)
    for layer in layers:
        np.testing.assert_allclose(found[layer], expected[layer], atol=1e-4 * float(tf.reduce_max(expected[layer])))
    np.testing.assert_allclose(gradient, plain_gradient, atol=1e-4 * float(tf.reduce_max(tf.abs(plain_gradient))))


@pytest.mark.parametrize("layer", ["block3_expand", "block3_expand_pre_relu", "head"])
def test_selected_channels_are_those_of_the_whole_layer(layer: str) -> None:
    """Channels come in the given order, repeated if they are given twice; layers before the deepest stay whole."""
    model = load("efficientnet-lite0")
    images = tf.random.stateless_uniform((2, 64, 64, 3), (1, 2))
    whole = model.activations(images, [layer, "block1"])
    selected = model.activations(images, [layer, "block1"], channels=tf.constant([9, 2, 9]))

    assert model.can_select_channels([layer, "block1"])
    np.testing.assert_allclose(selected[layer], whole[layer].numpy()[..., [9, 2, 9]], atol=1e-5)
    np.testing.assert_array_equal(selected["block1"], whole["block1"])


@pytest.mark.parametrize(
    "layers",
    [["stem"], ["block3"], ["block3_depthwise"], ["logits"], ["head_pre_relu", "head"], ["block2_expand", "block3"]],
)
def test_no_channels_are_selected_where_others_need_the_whole_layer(layers: list[str]) -> None:
    """A layer before and after its ReLU is one convolution; for other kinds of layers selecting saves nothing."""
    model = load("efficientnet-lite0")
    assert isinstance(model, EfficientNetLite0)

    assert not model.can_select_channels(layers)
    assert not EfficientNetLite0(model.weights_file, plain=True).can_select_channels(["head"])


def test_a_gpu_gets_plain_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other forms have not been measured on GPUs."""
    model = load("efficientnet-lite0")
    monkeypatch.setattr(device, "has_gpu", lambda: True)
    with tf.Graph().as_default() as graph:
        model.activations(tf.zeros((1, 64, 64, 3)), ["block1"])

    assert not model.can_select_channels(["head"])
    assert sum(op.type in ("Conv2D", "DepthwiseConv2dNative") for op in graph.get_operations()) == 1 + 2 + 3
