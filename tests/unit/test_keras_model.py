"""Keras models by name and from files, and SavedModels: real ones, built here."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from core.atlas.selection import resolve_settings
from core.errors import ModelError, SpecError
from core.models.model import Model
from core.models.models import _load, digest, load
from core.spec import ModelSpec, RenderSettings

MOBILE = ModelSpec(name="keras:MobileNet", weights="none")  # has the fewest layers of all


def small_network(bias: float = 0.0) -> Any:
    """Return a network of two convolutions, `one` and `two`, with batch norm and a ReLU between them."""
    keras.utils.set_random_seed(1)
    image = keras.Input((None, None, 3), name="image")
    x = keras.layers.Conv2D(8, 3, padding="same", bias_initializer=keras.initializers.Constant(bias), name="one")(image)
    x = keras.layers.ReLU(name="relu")(keras.layers.BatchNormalization(name="norm")(x))
    return keras.Model(image, keras.layers.Conv2D(16, 3, strides=2, padding="same", name="two")(x))


def exported(network: Any, directory: Path) -> Path:
    with contextlib.redirect_stdout(io.StringIO()):
        network.export(directory, verbose=False)
    return directory


def gradient(model: Model, layer: str, *, redirected: bool) -> float:
    images = tf.random.stateless_uniform((2, 32, 32, 3), (0, 1))
    with tf.GradientTape() as tape:
        tape.watch(images)
        objective = tf.reduce_mean(model.activations(images, [layer], redirected=redirected)[layer])
        loss = -objective
    return float(tf.norm(tape.gradient(loss, images)))


def test_a_network_without_weights_is_always_the_same() -> None:
    """A network that is built again after others has the same digest, layer names and activations."""
    spec = ModelSpec(name="keras:MobileNetV3Small", weights="none")  # some of its layers are numbered by Keras
    images = tf.fill((1, 96, 96, 3), 0.3)

    first = load(spec)
    _load.cache_clear()
    load(MOBILE)
    again = load(spec)

    assert again is not first
    assert digest(first) == digest(again) != digest(load(MOBILE))
    assert list(first.layers) == list(again.layers)
    assert first.layers["re_lu"] == 16
    pair = [model.activations(images, ["re_lu"])["re_lu"].numpy() for model in (first, again)]
    np.testing.assert_array_equal(*pair)


def test_a_network_sees_images_as_its_family_prepares_them() -> None:
    """MobileNet expects values from -1 to 1, VGG16 blue first and ImageNet's mean subtracted."""
    images = tf.random.stateless_uniform((1, 32, 32, 3), (0, 1))

    for name, prepared in (
        ("keras:MobileNet", 2 * images - 1),
        ("keras:VGG16", 255 * images[..., ::-1] - [103.939, 116.779, 123.68]),
    ):
        model = load(ModelSpec(name=name, weights="none"))
        layer = {"keras:MobileNet": "conv1", "keras:VGG16": "block1_conv1"}[name]
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        build = getattr(keras.applications, name.removeprefix("keras:"))
        network = build(include_top=False, weights=None, input_shape=(None, None, 3))
        expected = keras.Model(network.inputs, network.get_layer(layer).output)(prepared, training=False)
        np.testing.assert_allclose(model.activations(images, [layer])[layer], expected, atol=2e-4)


def test_layers_have_channels_sizes_kinds_and_the_weights_that_feed_them() -> None:
    """Activations and normalisations are fed by the convolutions before them."""
    model = load(MOBILE)

    assert model.layers["conv_pw_2"] == model.layers["conv_pw_2_relu"] == 128
    assert model.kind("conv_pw_2_relu") == "ReLU"
    assert model.sizes(128)["conv_pw_2_relu"] == (32, 32)
    assert model.fan_in("conv_pw_2_relu").shape == (128, 64)
    assert model.fan_in("conv_dw_3_bn").shape == (128, 9)


def test_a_model_that_needs_float32_says_so() -> None:
    """The message names the precisions that the model supports."""
    mobile = load(MOBILE)

    with pytest.raises(SpecError, match=r"render\.precision: expected float32 or tf32, keras:MobileNet does not"):
        resolve_settings(RenderSettings(precision="bfloat16"), mobile)
    assert resolve_settings(RenderSettings(precision="tf32"), mobile).precision == "tf32"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("keras:MobileNetV9", "model.name: expected a network of keras.applications, got 'MobileNetV9'; similar: "),
        ("keras:NASNetMobile", "model.name: expected a network of keras.applications, got 'NASNetMobile'; similar: "),
        ("keras:mobilenet", "model.name: expected a network of keras.applications, got 'mobilenet'; similar: "),
    ],
)
def test_the_message_for_an_unknown_network_lists_similar_names(name: str, message: str) -> None:
    """Names are case-sensitive, as in keras.applications."""
    with pytest.raises(SpecError) as caught:
        load(ModelSpec(name=name, weights="none"))

    assert str(caught.value).startswith(message)


def test_a_keras_file_and_its_saved_model_give_the_networks_activations(tmp_path: Path) -> None:
    """A `.keras` file and a SavedModel, with a value range, give the same activations as the network itself."""
    network = small_network()
    network.save(tmp_path / "net.keras")
    exported(network, tmp_path / "net")
    images = tf.random.stateless_uniform((2, 48, 48, 3), (0, 1))
    expected = network(10 * images - 5, training=False)

    for name, file in (("keras", "net.keras"), ("saved-model", "net")):
        model = load(ModelSpec(name=name, file=str(tmp_path / file), value_range=(-5, 5)))
        layer = [layer for layer, channels in model.layers.items() if channels == 16][-1]
        np.testing.assert_allclose(model.activations(images, [layer])[layer], expected, atol=1e-4)
        assert model.sizes(128)[layer] == (64, 64)
        assert digest(model) != digest(load(ModelSpec(name=name, file=str(tmp_path / file))))


@pytest.mark.parametrize("form", ["keras", "saved-model"])
def test_the_gradient_passes_through_dead_relus_while_it_is_redirected(tmp_path: Path, form: str) -> None:
    """A bias that makes every unit dead leaves no gradient unless it is redirected."""
    network = small_network(bias=-1e3)
    network.save(tmp_path / "net.keras")
    exported(network, tmp_path / "net")
    model = load(ModelSpec(name=form, file=str(tmp_path / {"keras": "net.keras", "saved-model": "net"}[form])))
    layer = next(layer for layer in model.layers if layer == "relu" or layer.endswith("/Relu"))

    assert gradient(model, layer, redirected=False) == 0
    assert gradient(model, layer, redirected=True) > 0


def _lambda() -> Any:
    image = keras.Input((None, None, 3))
    return keras.Model(image, keras.layers.Lambda(lambda x: x * 2)(image))


@keras.saving.register_keras_serializable(package="Mine")
class _Custom(keras.layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return x


def _custom() -> Any:
    image = keras.Input((None, None, 3))
    return keras.Model(image, keras.layers.Conv2D(3, 1)(_Custom()(image)))


def _narrow() -> Any:
    image = keras.Input((7,))
    return keras.Model(image, keras.layers.Dense(3)(image))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (_lambda, "refused: it has a part '"),
        (_custom, "refused: it has a part '_Custom', which runs code or reads files of its own"),
        (_narrow, "expected a model with one input of shape (batch, height, width, 3), found (None, 7)"),
    ],
)
def test_a_keras_file_with_code_or_without_images_is_refused(
    tmp_path: Path, build: Callable[[], Any], message: str
) -> None:
    """Lambda layers and classes that are not Keras's own are refused before Keras loads the file."""
    file = tmp_path / "net.keras"
    build().save(file)

    with pytest.raises(ModelError) as caught:
        load(ModelSpec(name="keras", file=str(file)))

    assert str(caught.value).startswith(f"{file}: {message}")


@pytest.mark.parametrize(
    "part",
    [
        {"module": "os", "class_name": "system", "config": {"command": "touch trace"}},
        {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "elsewhere"}},
        {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "function"},
        {"class_name": "__lambda__", "config": {"value": "!"}},
    ],
    ids=lambda part: part["class_name"],
)
def test_a_part_of_another_module_is_refused_however_deep(tmp_path: Path, part: dict[str, Any]) -> None:
    """Parts at every depth of a configuration are checked."""
    whole, file = tmp_path / "whole.keras", tmp_path / "net.keras"
    small_network().save(whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(file, "w") as changed:
        for name in source.namelist():
            data = source.read(name)
            if name == "config.json":
                config = json.loads(data)
                config["config"]["layers"][1]["config"]["kernel_initializer"] = part
                data = json.dumps(config).encode()
            changed.writestr(name, data)

    with pytest.raises(ModelError, match="refused: i") as caught:
        load(ModelSpec(name="keras", file=str(file)))

    assert str(caught.value).isprintable()
    assert not (tmp_path / "trace").exists()


def test_damaged_files_are_refused_in_one_line(tmp_path: Path) -> None:
    """Half a file, text, and a file without weights are refused in one line that begins with the file."""
    whole = tmp_path / "whole.keras"
    small_network().save(whole)
    half, text, bare = (tmp_path / f"{name}.keras" for name in ("half", "text", "bare"))
    half.write_bytes(whole.read_bytes()[:2000])
    text.write_text("no model")
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(bare, "w") as changed:
        changed.writestr("config.json", source.read("config.json"))
    directory = tmp_path / "directory"
    directory.mkdir()
    (directory / "saved_model.pb").write_text("no model")

    for name, file in (("keras", half), ("keras", text), ("keras", bare), ("saved-model", directory)):
        with pytest.raises(ModelError) as caught:
            load(ModelSpec(name=name, file=str(file)))
        assert str(caught.value).isprintable()
        assert str(caught.value).startswith(str(file))


class _Module(tf.Module):  # type: ignore[misc]
    """A module for a SavedModel, with or without an operation that is refused."""

    def __init__(self, extra: str, file: Path) -> None:
        super().__init__()
        self.kernel = tf.Variable(tf.ones((3, 3, 3, 4)))
        self.extra, self.file = extra, str(file)

    @tf.function(  # type: ignore[untyped-decorator]
        autograph=False, input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32, name="image")]
    )
    def network(self, image: tf.Tensor) -> tf.Tensor:
        if self.extra == "write":
            tf.io.write_file(self.file, "here")
        if self.extra == "python":
            image = tf.ensure_shape(tf.py_function(lambda x: x, [image], tf.float32), image.shape)
        if self.extra == "loop":
            image = tf.while_loop(lambda x: tf.reduce_sum(x) > 0, lambda x: [x - 1], [image])[0]
        return tf.nn.relu(tf.nn.conv2d(image, self.kernel, 1, "SAME"))


@pytest.mark.parametrize(("extra", "kind"), [("write", "WriteFile"), ("python", "EagerPyFunc"), ("loop", "While")])
def test_a_saved_model_that_does_more_than_compute_is_refused(tmp_path: Path, extra: str, kind: str) -> None:
    """Operations in functions are checked too, and nothing of the SavedModel runs."""
    module = _Module(extra, tmp_path / "trace")
    tf.saved_model.save(module, str(tmp_path / "net"), signatures=module.network)

    with pytest.raises(ModelError, match=f"is of type '[A-Za-z]*{kind}', which is not known to be safe"):
        load(ModelSpec(name="saved-model", file=str(tmp_path / "net")))

    assert not (tmp_path / "trace").exists()


def test_a_saved_model_with_a_table_or_without_a_signature_is_refused(tmp_path: Path) -> None:
    """A SavedModel is refused if TensorFlow would run something while loading it."""
    module = _Module("", tmp_path)
    tf.saved_model.save(module, str(tmp_path / "bare"), signatures={})
    (tmp_path / "words.txt").write_text("a 1\nb 2\n")
    module.table = tf.lookup.StaticVocabularyTable(
        tf.lookup.TextFileInitializer(str(tmp_path / "words.txt"), tf.string, 0, tf.int64, 1, delimiter=" "), 1
    )
    tf.saved_model.save(module, str(tmp_path / "table"), signatures=module.network)

    with pytest.raises(ModelError, match="expected a SavedModel with the signature serving_default, it has none"):
        load(ModelSpec(name="saved-model", file=str(tmp_path / "bare")))
    with pytest.raises(ModelError, match=r"table/saved_model.pb: refused: "):
        load(ModelSpec(name="saved-model", file=str(tmp_path / "table")))
    with pytest.raises(ModelError, match=r"expected the directory of a SavedModel, .* has no saved_model.pb"):
        load(ModelSpec(name="saved-model", file=str(tmp_path)))
