"""Networks whose images affect each other are refused, and so are layers without an axis of channels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from core.errors import ModelError
from core.method.network import network
from core.models.frozen_graph import FrozenGraph
from core.models.model import Model
from core.models.models import load
from core.models.traced import TracedNetwork
from core.spec import ModelSpec

Part = Callable[[tf.Tensor], tf.Tensor]
KERNEL = np.random.default_rng(3).normal(size=(3, 3, 3, 8)).astype(np.float32)


def convolved(images: tf.Tensor) -> tf.Tensor:
    return tf.nn.conv2d(images, KERNEL, 1, "SAME")


def frozen(folder: Path, part: Part, shape: tuple[int | None, ...] = (None, None, None, 3)) -> FrozenGraph:
    """Write a graph of one convolution and a part behind it, whose output is the layer `layer`, and read it."""
    signature = tf.function(
        lambda images: tf.identity(tf.nn.relu(part(convolved(images)), name="layer")), autograph=False
    ).get_concrete_function(tf.TensorSpec(shape, name="images"))
    graph = convert_variables_to_constants_v2(signature).graph.as_graph_def()
    path = folder / "net.pb"
    path.write_bytes(graph.SerializeToString())
    return FrozenGraph(path)


def batch_norm_in_training(x: tf.Tensor) -> tf.Tensor:
    return tf.compat.v1.nn.fused_batch_norm(x, np.ones(8, "f"), np.zeros(8, "f"), is_training=True)[0]


COUPLED: dict[str, Part] = {
    "batch norm": batch_norm_in_training,
    "mean over the batch": lambda x: x - tf.reduce_mean(x, axis=0, keepdims=True),
    "size of the batch": lambda x: x / tf.cast(tf.shape(x)[0], tf.float32),
    "norm over the batch": lambda x: x * tf.math.rsqrt(tf.reduce_sum(x**2)),
    "order of the batch": lambda x: x[::-1],
}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("part", COUPLED)
def test_a_graph_whose_images_affect_each_other_is_refused(tmp_path: Path, part: str, batch: int) -> None:
    """It would give other pictures in other batches under the same key. It is refused every time, before an update."""
    model = frozen(tmp_path, COUPLED[part])
    images = tf.fill((batch, 32, 32, 3), 0.5)

    for _ in range(2):
        with pytest.raises(ModelError, match=r"depend on one image alone, those of layer change by .* of their size"):
            tf.function(lambda: model.activations(images, ["layer"]), autograph=False)()


@pytest.mark.parametrize(
    "part",
    [
        lambda x: x,
        lambda x: 100 * x - tf.reduce_mean(x, axis=(1, 2), keepdims=True),
        lambda x: tf.floor(8 * x),
        lambda x: 0 * x,
    ],
)
def test_a_graph_of_independent_images_is_taken(tmp_path: Path, part: Part) -> None:
    """Rounding and steps of quantisation do not count, and neither do layers that are zero."""
    found = frozen(tmp_path, part).activations(tf.fill((4, 32, 32, 3), 0.5), ["layer"])

    assert found["layer"].shape == (4, 32, 32, 8)


def test_activations_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """A comparison with them is never true, so the pictures would be of nothing."""
    model = frozen(tmp_path, lambda x: tf.sqrt(-1 - x * x))

    with pytest.raises(ModelError, match="expected activations that are numbers, layer has others"):
        model.activations(tf.fill((2, 32, 32, 3), 0.5), ["layer"])


@pytest.mark.parametrize("layer", [keras.layers.BatchNormalization, lambda: keras.layers.Dropout(0.5)])
def test_a_keras_model_saved_in_training_mode_computes_for_inference(tmp_path: Path, layer: Callable[[], Any]) -> None:
    """Batch norm in training mode would couple images, and dropout would depend on chance."""
    image = keras.Input((None, None, 3))
    x = layer()(keras.layers.Conv2D(8, 3)(image), training=True)
    keras.Model(image, keras.layers.Conv2D(4, 3, name="last")(x)).save(tmp_path / "net.keras")
    model = load(ModelSpec(name="keras", file=str(tmp_path / "net.keras")))

    one, other = model.activations(tf.fill((2, 32, 32, 3), 0.5), ["last"])["last"].numpy()
    np.testing.assert_allclose(one, other, rtol=1e-5)  # convolutions may be rounded by the place in the batch


def test_layers_of_independent_images_are_checked_once() -> None:
    """The check costs one more trace where a layer is new, not for each size, kind of gradient or set of layers."""
    traced: list[tuple[Any, ...]] = []

    def trace(layers: Any, redirected: bool, shape: Any) -> Callable[[tf.Tensor], list[tf.Tensor]]:
        traced.append((tuple(layers), redirected, shape[0]))
        return lambda images: [images for _ in layers]

    net = TracedNetwork(trace, "net")
    for redirected in (True, False, True):
        for size_px in (32, 48):
            net.activations(tf.zeros((6, size_px, size_px, 3)), ["b", "a"], redirected)
    net.activations(tf.zeros((6, 32, 32, 3)), ["a"], True)

    once = (("a", "b"), False, 1)
    assert traced.count(once) == 1
    assert sorted(set(traced)) == sorted([once, (("a", "b"), False, 6), (("a", "b"), True, 6), (("a",), True, 6)])


def channels_first(x: tf.Tensor) -> tf.Tensor:
    return tf.transpose(x, (0, 3, 1, 2))


def test_channels_are_where_the_operations_say(tmp_path: Path) -> None:
    """A tensor with channels first is a layer of its channels, not of the columns of the image."""
    model: Model = frozen(tmp_path, channels_first, (None, 64, 64, 3))

    assert model.layers["layer"] == 8
    images = tf.random.stateless_uniform((2, 32, 32, 3), (0, 1))
    found = network(model, ["layer"])(images, False, None)["layer"]
    np.testing.assert_allclose(found, tf.nn.relu(convolved(images)), atol=1e-5)


@pytest.mark.parametrize("part", [lambda x: tf.reshape(x, (-1, 64 * 64 * 8)), lambda x: x[..., 0]])
def test_an_axis_that_depends_on_the_size_is_not_one_of_channels(tmp_path: Path, part: Part) -> None:
    """Flattened pictures, and rows of a picture, have no channels."""
    model: Model = frozen(tmp_path, part, (None, 64, 64, 3))

    assert list(model.layers) == [layer for layer in model.layers if layer.startswith("Conv2D")]
