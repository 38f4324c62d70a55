"""SavedModels: what the signature needs decides, and nothing else of them is read or run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from core.errors import ModelError
from core.models.frozen_graph import FrozenGraph
from core.models.models import load
from core.spec import ModelSpec

v1 = tf.compat.v1
KERNEL = np.random.default_rng(2).normal(size=(3, 3, 3, 8), scale=0.3).astype(np.float32)
IMAGES = np.random.default_rng(4).uniform(size=(2, 16, 16, 3)).astype(np.float32)
MEAN = np.array([0.2, 0.3, 0.4], np.float32)
ANY = (None, None, None, 3)


def convolved(images: Any) -> np.ndarray:
    """Return what every network of this file computes in its layer `conv`."""
    found: np.ndarray = tf.nn.conv2d(images, KERNEL, 1, "SAME").numpy()
    return found


class Network(tf.Module):  # type: ignore[misc]
    """A network with variables of its own and of a part, and a captured constant.

    Args:
        body: returns the outputs, given the network and its inputs.
        inputs: shapes and types of the inputs.
    """

    def __init__(self, body: Callable[..., Any], *inputs: tf.TensorSpec) -> None:
        super().__init__()
        self.kernel = tf.Variable(KERNEL, name="kernel")
        self.part = tf.Module()
        self.part.kernel = tf.Variable(2 * KERNEL, name="kernel")
        self.mean = tf.constant(MEAN)
        self.counter = tf.Variable(0.0)
        self.seed = tf.random.Generator.from_seed(1)
        self.serve = tf.function(lambda *values: body(self, *values), input_signature=inputs, autograph=False)
        self.training = tf.function(self.train, input_signature=[tf.TensorSpec(ANY, tf.float32)], autograph=False)

    def conv(self, images: tf.Tensor) -> tf.Tensor:
        return tf.nn.conv2d(images, self.kernel, 1, "SAME", name="conv")

    def train(self, images: tf.Tensor) -> tf.Tensor:
        """Compute what only training needs: chance, and variables that change."""
        self.kernel.assign_add(self.kernel)
        tf.print("training")
        return self.conv(images) * self.seed.uniform(())


def saved(folder: Path, network: Network, signatures: Any = None, **keys: Any) -> FrozenGraph:
    """Save a network and read it as a model."""
    tf.saved_model.save(network, str(folder / "net"), signatures=signatures or network.serve)
    return read(folder, **keys)


def read(folder: Path, **keys: Any) -> FrozenGraph:
    model = load(ModelSpec.model_validate({"name": "saved-model", "file": str(folder / "net"), **keys}))
    assert isinstance(model, FrozenGraph)
    return model


def computed(model: FrozenGraph, layer: str) -> np.ndarray:
    return np.asarray(model.activations(tf.constant(IMAGES), [layer])[layer])


def near(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def images(dtype: Any = tf.float32, shape: Any = ANY, name: str = "images") -> tf.TensorSpec:
    return tf.TensorSpec(shape, dtype, name=name)


def test_functions_for_training_do_not_matter(tmp_path: Path) -> None:
    """They change variables, use chance and print; the signature uses two variables of one name and a constant.

    It also changes a variable that it does not read, as augmentations of Keras do with their seeds.
    """

    def body(network: Network, x: tf.Tensor) -> tf.Tensor:
        network.counter.assign_add(1.0)
        normal = tf.keras.layers.Identity()(x) - network.mean
        return tf.nn.relu(network.conv(normal) + tf.nn.conv2d(x, network.part.kernel, 1, "SAME"), name="out")

    model = saved(tmp_path, Network(body, images()))

    near(computed(model, "Identity"), np.maximum(convolved(IMAGES - MEAN) + 2 * convolved(IMAGES), 0))
    assert model.reading["input"] == "images"


@pytest.mark.parametrize("name", ["serve", "features"])
def test_the_only_signature_is_taken_whatever_its_name(tmp_path: Path, name: str) -> None:
    """Keras calls it `serve`."""
    network = Network(lambda network, x: network.conv(x), images())

    near(computed(saved(tmp_path, network, {name: network.serve}), "Identity"), convolved(IMAGES))


def test_a_signature_is_not_guessed(tmp_path: Path) -> None:
    """The line has the names that there are."""
    network = Network(lambda network, x: network.conv(x), images())

    with pytest.raises(
        ModelError, match=r"expected a SavedModel with the signature serving_default, it has 'one', 'two'$"
    ):
        saved(tmp_path, network, {"one": network.serve, "two": network.serve})


def test_images_are_found_among_inputs_and_may_be_bytes(tmp_path: Path) -> None:
    """Metadata is zero for each image, and integer images have values up to 255."""

    def body(network: Network, numbers: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        x = network.conv(tf.cast(x, tf.float32) / 255.0)
        return tf.concat([tf.nn.relu(numbers @ tf.ones((7, 2)) + 1.0), tf.reduce_mean(x, (1, 2))], 1)

    inputs = (images(tf.float32, (None, 7), "numbers"), images(tf.uint8, (1, None, None, 3)))
    model = saved(tmp_path, Network(body, *inputs))

    found = computed(model, "Identity")
    near(found[:, 2:], convolved(IMAGES).mean((1, 2)))
    np.testing.assert_array_equal(found[:, :2], 1)


def test_the_network_behind_a_loop_that_decodes_files_takes_images(tmp_path: Path) -> None:
    """The loop and the decoding are no part of the network; `input` names the place too."""

    def body(network: Network, contents: tf.Tensor) -> tf.Tensor:
        decode: Any = lambda one: tf.image.resize(tf.io.decode_jpeg(one, channels=3), (16, 16))  # noqa: E731
        decoded = tf.map_fn(decode, contents, fn_output_signature=tf.float32)
        return network.conv(tf.identity(decoded, "ready"))

    model = saved(tmp_path, Network(body, images(tf.string, (None,), "contents")))

    near(computed(model, "Identity"), convolved(IMAGES))
    near(
        computed(read(tmp_path, input="StatefulPartitionedCall/ready:0", value_range=(0, 255)), "Identity"),
        convolved(255 * IMAGES),
    )
    with pytest.raises(ModelError, match="expected the input node 'ready', the graph's inputs are 'contents'"):
        read(tmp_path, input="ready")


def test_a_network_of_channels_first_and_transposed_convolutions(tmp_path: Path) -> None:
    """Operations that only compute are taken, and channels are last."""

    def body(network: Network, x: tf.Tensor) -> tf.Tensor:
        x = tf.nn.conv2d(x, network.kernel, 1, "SAME", "NCHW", name="conv")
        x = tf.einsum("nchw,cd->ndhw", x, tf.eye(8, 5))
        x = tf.nn.conv2d_transpose(x, tf.ones((2, 2, 4, 5)), (tf.shape(x)[0], 4, 32, 32), 2, "SAME", "NCHW", name="up")
        return tf.nn.relu(x)

    model = saved(tmp_path, Network(body, images(shape=(None, 3, 16, 16))))

    near(computed(model, "StatefulPartitionedCall/conv"), convolved(IMAGES))
    expected = tf.nn.conv2d_transpose(convolved(IMAGES)[..., :5], tf.ones((2, 2, 4, 5)), (2, 32, 32, 4), 2, "SAME")
    near(computed(model, "StatefulPartitionedCall/up"), expected.numpy())


def version_1(folder: Path, *, variables: str) -> None:
    """Write a SavedModel of TensorFlow 1, without objects, for training and for serving."""
    with tf.Graph().as_default(), v1.Session() as session:
        v1.disable_control_flow_v2()
        x = v1.placeholder(tf.float32, ANY, "images")
        phase = v1.placeholder_with_default(False, (), "phase")
        with v1.variable_scope("net", use_resource=variables == "resource"):
            kernel = v1.get_variable("kernel", initializer=KERNEL)
        out = v1.cond(phase, lambda: x, lambda: tf.nn.conv2d(x, kernel, 1, "SAME"))
        out = tf.nn.relu(out, name="out")
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder / "net"))
        signature = v1.saved_model.predict_signature_def(
            {"images": x}, {"out": out, "classes": tf.as_string(tf.argmax(out, -1))}
        )
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.add_meta_graph(["serve", "gpu"], {"serving_default": signature})
        builder.save()


@pytest.mark.parametrize("variables", ["resource", "reference"])
def test_saved_models_of_tensorflow_1_are_read(tmp_path: Path, variables: str) -> None:
    """Their variables are read by name, their conditions are folded, and texts that they return do not matter."""
    version_1(tmp_path, variables=variables)

    near(computed(read(tmp_path), "out"), np.maximum(convolved(IMAGES), 0))


def test_a_variable_without_a_value_is_told(tmp_path: Path) -> None:
    """The line names the folder that should have it."""
    version_1(tmp_path, variables="resource")
    for file in (tmp_path / "net" / "variables").iterdir():
        file.unlink()

    with pytest.raises(ModelError, match="expected the value of the variable 'net/kernel' in its folder variables, "):
        read(tmp_path)


def changes_its_kernel(network: Network, x: tf.Tensor) -> tf.Tensor:
    network.kernel.assign_add(network.kernel)
    return network.conv(x)


@pytest.mark.parametrize(
    ("body", "operation"),
    [(changes_its_kernel, "AssignAddVariableOp"), (lambda network, x: network.train(x), "[A-Za-z2]*")],
)
def test_a_signature_that_trains_is_refused(tmp_path: Path, body: Callable[..., Any], operation: str) -> None:
    """What it does besides computing, and what it computes from that, is not left out silently."""
    network = Network(body, images())

    with pytest.raises(
        ModelError, match=rf"refused: node '.*' is of type '{operation}', which is not known to be safe"
    ):
        saved(tmp_path, network)
