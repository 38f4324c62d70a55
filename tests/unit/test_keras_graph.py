"""Keras models as people have them: models inside models, layers used twice, fixed sizes, tokens, files of Keras 2."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from core.errors import ModelError
from core.models.frozen_graph import FrozenGraph
from core.models.models import load
from core.spec import ModelSpec, Preprocess, TokensSpec

L = keras.layers


def saved(network: Any, folder: Path, suffix: str = ".keras", **keys: Any) -> FrozenGraph:
    """Return a Keras model as a spec with its file gives it."""
    path = folder / f"net{suffix}"
    network.save(path)
    model = load(ModelSpec(name="keras", file=str(path), **keys))
    assert isinstance(model, FrozenGraph)
    return model


def images(size: int, count: int = 2) -> tf.Tensor:
    return tf.random.stateless_uniform((count, size, size, 3), (0, 1))


def test_layers_of_a_model_inside_a_model_have_its_name_before_theirs(tmp_path: Path) -> None:
    """Transfer learning: a base inside a Sequential; augmentation does nothing."""
    base_input = keras.Input((None, None, 3))
    base = keras.Model(base_input, L.Conv2D(6, 3, name="deep")(L.Conv2D(4, 3, name="first")(base_input)), name="base")
    head = keras.Sequential([L.GlobalAveragePooling2D(), L.Dense(5, name="classes")], name="head")
    network = keras.Sequential([keras.Input((40, 40, 3)), L.RandomFlip(), L.Rescaling(1 / 255), base, head])

    model = saved(network, tmp_path, value_range=(0, 255))

    assert list(model.layers) == [
        *("rescaling", "base/first", "base/deep", "head/global_average_pooling2d", "head/classes"),
    ]
    x = images(33)
    expected = keras.Model(base_input, base.get_layer("deep").output)(x)
    np.testing.assert_allclose(model.activations(x, ["base/deep"])["base/deep"], expected, atol=1e-5)
    np.testing.assert_allclose(
        model.activations(x, ["head/classes"])["head/classes"], head(base(x)), atol=1e-5
    )  # nothing here needs 40 px


def test_every_call_of_a_layer_is_a_layer(tmp_path: Path) -> None:
    """A layer that is used twice computes two tensors."""
    shared, image = L.Conv2D(3, 3, padding="same", name="shared"), keras.Input((None, None, 3))
    network = keras.Model(image, shared(shared(image)))

    model = saved(network, tmp_path)

    x = images(16)
    found = model.activations(x, ["shared", "shared_1"])
    np.testing.assert_allclose(found["shared"], shared(x), atol=1e-5)
    np.testing.assert_allclose(found["shared_1"], shared(shared(x)), atol=1e-5)


def test_a_layer_with_an_activation_exists_before_it(tmp_path: Path) -> None:
    """Also if the activation is a chain of operations."""
    network = keras.Sequential([keras.Input((None, None, 3)), L.Conv2D(4, 1, activation="gelu", name="c"), L.ReLU()])

    model = saved(network, tmp_path)

    assert list(model.layers) == ["c_pre_relu", "c", "re_lu"]
    found = model.activations(images(8), ["c", "c_pre_relu"])
    np.testing.assert_allclose(found["c"], keras.activations.gelu(found["c_pre_relu"]), atol=1e-6)


def test_only_layers_that_need_the_models_size_see_images_resized_to_it(tmp_path: Path) -> None:
    """A convolution sees frames as they are, a dense layer behind a Flatten sees them at 30 px, together or alone."""
    network = keras.Sequential(
        [keras.Input((30, 30, 3)), L.Conv2D(4, 3, name="conv"), L.Flatten(name="flat"), L.Dense(5, name="classes")]
    )

    model = saved(network, tmp_path)

    assert model.own_size == (30, 30)
    assert "flat" not in model.layers  # its last axis is one of positions and channels
    assert model.sizes(50) == {"conv": (48, 48), "classes": None}
    x = images(50)
    both = model.activations(x, ["conv", "classes"])
    resized = tf.raw_ops.ResizeBilinear(images=x, size=(30, 30), half_pixel_centers=True)
    np.testing.assert_allclose(both["conv"], network.layers[0](x), atol=1e-5)
    np.testing.assert_allclose(both["classes"], network(resized), atol=1e-5)
    np.testing.assert_array_equal(both["classes"], model.activations(x, ["classes"])["classes"])


class _ClassToken(L.Layer):  # type: ignore[misc]
    """Never saved: the test freezes the model directly."""

    def call(self, tokens: Any) -> Any:
        first = tf.broadcast_to(tf.ones((1, 1, 8)), (tf.shape(tokens)[0], 1, 8))
        return tf.concat([first, tokens], 1)


def _transformer(*, class_token: bool) -> Any:
    image = keras.Input((24, 24, 3))
    tokens = L.Reshape((36, 8), name="tokens")(L.Conv2D(8, 4, 4, name="patches")(image))
    if class_token:
        tokens = _ClassToken(name="with_class")(tokens)
    attention = L.MultiHeadAttention(2, 4, name="attention")(tokens, tokens)
    mixed = L.Add(name="sum")([tokens, attention])
    return keras.Model(image, L.Dense(5, name="mlp")(L.LayerNormalization(name="norm")(mixed)))


def test_tokens_are_layers_whose_patches_form_the_grid(tmp_path: Path) -> None:
    """A layer of shape (batch, tokens, channels) is seen as (batch, height, width, channels)."""
    network = _transformer(class_token=False)

    model = saved(network, tmp_path)

    assert {layer: model.sizes(24)[layer] for layer in ("tokens", "attention", "norm", "mlp")} == dict.fromkeys(
        ("tokens", "attention", "norm", "mlp"), (6, 6)
    )
    assert model.has_tokens("mlp")
    assert not model.has_tokens("patches")
    x = images(24)
    np.testing.assert_allclose(model.activations(x, ["mlp"])["mlp"], tf.reshape(network(x), (2, 6, 6, 5)), atol=1e-5)


def test_class_tokens_are_left_out() -> None:
    """The graph shows how many tokens stand before the patches, also behind attention."""
    from core.models.keras_graph import keras_graph

    network = _transformer(class_token=True)
    graph = keras_graph(network, "net")
    contents = (graph.graph_def, "0" * 64)

    model = FrozenGraph(Path("net"), contents=contents, names=graph.names, own_size=graph.own_size)

    x = images(24)
    expected = tf.reshape(network(x)[:, 1:], (2, 6, 6, 5))
    np.testing.assert_allclose(model.activations(x, ["mlp"])["mlp"], expected, atol=1e-5)
    assert model.sizes(24)["attention"] == (6, 6)


def test_the_number_of_skipped_tokens_can_be_given(tmp_path: Path) -> None:
    """The tokens that are left form a grid, or else a column; the model's digest tells."""
    tokens = TokensSpec(skip=11)

    model = saved(_transformer(class_token=False), tmp_path, tokens=tokens)

    assert model.sizes(24)["mlp"] == (5, 5)
    assert model.reading["skipped_tokens"] == 11


def test_a_network_of_one_channel_sees_the_luminance(tmp_path: Path) -> None:
    """As for x-rays and handwritten digits."""
    network = keras.Sequential([keras.Input((20, 20, 1)), L.Conv2D(4, 3, name="conv")])

    model = saved(network, tmp_path)

    x = images(20)
    luminance = tf.reduce_sum(x * [0.299, 0.587, 0.114], -1, keepdims=True)
    np.testing.assert_allclose(model.activations(x, ["conv"])["conv"], network(luminance), atol=1e-5)


def test_preprocessing_is_that_of_the_spec(tmp_path: Path) -> None:
    """Blue first, and less the mean, after the range of values."""
    network = keras.Sequential([keras.Input((None, None, 3)), L.Conv2D(4, 3, name="conv")])
    preprocess = Preprocess(mean=(1, 2, 3), std=(2,), channels="bgr")

    model = saved(network, tmp_path, value_range=(0, 255), preprocess=preprocess)

    x = images(9)
    expected = network((255 * x[..., ::-1] - [1.0, 2.0, 3.0]) / 2)
    np.testing.assert_allclose(model.activations(x, ["conv"])["conv"], expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("groups", [2, 6])
def test_grouped_convolutions_have_their_values_and_a_gradient(tmp_path: Path, groups: int) -> None:
    """Keras compiles them on CPUs, which a graph of plain operations cannot hold."""
    network = keras.Sequential(
        [keras.Input((None, None, 3)), L.Conv2D(6, 1), L.Conv2D(12, 3, groups=groups, activation="relu", name="g")]
    )

    model = saved(network, tmp_path)

    x = images(9)
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = model.activations(x, ["g"])["g"]
    np.testing.assert_allclose(found, network(x), atol=1e-5)
    assert float(tf.reduce_max(tf.abs(tape.gradient(found, x)))) > 0


def _as_keras_2(config: Any) -> Any:
    """Return a configuration with the keys and values that Keras 2 wrote."""
    if isinstance(config, list):
        return [_as_keras_2(one) for one in config]
    if not isinstance(config, dict):
        return config
    new = {key: _as_keras_2(value) for key, value in config.items()}
    inner = new.get("config")
    match new.get("class_name"):
        case "InputLayer":
            inner["batch_input_shape"] = inner.pop("batch_shape")
        case "BatchNormalization":
            inner["axis"] = [3]
            inner.pop("synchronized", None)
            inner.pop("renorm", None)
        case "DepthwiseConv2D":
            inner |= {"groups": 1, "kernel_initializer": None, "kernel_constraint": None}
        case "Functional":
            new["module"] = "tf_keras.src.engine.functional"
            inner["output_layers"] = [inner["output_layers"]]
    if isinstance(inner, dict) and isinstance(inner.get("dtype"), dict):
        inner["dtype"] = {"module": "keras.mixed_precision", "class_name": "Policy", "config": {"name": "float32"}}
    return new


def test_files_of_keras_2_and_hdf5_have_the_same_activations(tmp_path: Path) -> None:
    """The commonest files of the last ten years are read."""
    base_input = keras.Input((None, None, 3))
    base = keras.Model(base_input, L.ReLU()(L.Conv2D(4, 3, name="conv")(base_input)), name="base")
    network = keras.Sequential(
        [keras.Input((None, None, 3)), base, L.BatchNormalization(name="bn"), L.DepthwiseConv2D(3, name="dw")]
    )
    x = images(12)
    expected = network(x)
    np.testing.assert_allclose(saved(network, tmp_path, ".h5").activations(x, ["dw"])["dw"], expected, atol=1e-5)
    path = tmp_path / "of_2.keras"
    network.save(tmp_path / "of_3.keras")
    with zipfile.ZipFile(tmp_path / "of_3.keras") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, json.dumps(_as_keras_2(json.loads(data))) if name == "config.json" else data)
    with pytest.raises((TypeError, ValueError)):
        keras.saving.load_model(path)

    model = load(ModelSpec(name="keras", file=str(path)))

    np.testing.assert_allclose(model.activations(x, ["dw"])["dw"], expected, atol=1e-5)


def test_a_part_that_only_keras_2_reads_is_refused_with_the_commands_that_convert_it(tmp_path: Path) -> None:
    """Calls of TensorFlow inside a model of Keras 2 are parts of their own kind."""
    path = tmp_path / "net.keras"
    with zipfile.ZipFile(path, "w") as file:
        part = {"class_name": "TFOpLambda", "config": {"function": "math.multiply"}}
        file.writestr("config.json", json.dumps({"class_name": "Functional", "config": {"layers": [part]}}))

    with pytest.raises(
        ModelError, match=r"'TFOpLambda' can be read by Keras 2 only; convert it: 'pip install tf_keras'"
    ):
        load(ModelSpec(name="keras", file=str(path)))
