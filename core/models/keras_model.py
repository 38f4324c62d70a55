"""Keras models: the networks of keras.applications by name, and whatever was saved as a `.keras` file.

A `.keras` file can name any class of any module and carry Python code, so its configuration is read here first, and
Keras gets to see it only if all of it is made of Keras's own layers without a will of their own.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import os
import re
import sys
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.arrays import Array
from core.errors import ModelError, SpecError
from core.models.fan_in import stack_towers
from core.models.weights import file_sha256

if TYPE_CHECKING:
    import tensorflow as tf

_PASSING_ON = frozenset(
    (
        "Activation",
        "BatchNormalization",
        "Dropout",
        "ELU",
        "LayerNormalization",
        "LeakyReLU",
        "PReLU",
        "ReLU",
        "Softmax",
    )
)
"""Layers whose channels are those of the layer before."""
_WILFUL = frozenset(
    """
    FlaxLayer Hashing IntegerLookup JaxLayer Lambda StringLookup TFSMLayer TextVectorization TorchModuleWrapper
    """.split()
)
"""Keras's own layers that run code of the file, or read other files that it names."""


_ONE_SIZE = ("NASNetLarge", "NASNetMobile")
"""Networks that Keras can only build for images of one size."""
_PLAIN = frozenset(("__keras_tensor__", "__tuple__"))
"""What Keras writes of plain values; it writes code as `__lambda__`."""


class KerasModel:
    """A Keras model of one image input.

    Args:
        network: the model.
        where: where it comes from, for messages.
        reading: what changes the activations besides the weights.
        prepare: from images in [0, 1] to what the network expects.
    """

    alignment_layers: Sequence[str] = ()
    supports_bfloat16 = False

    def __init__(
        self,
        network: Any,
        name: str,
        where: str,
        weights_digest: str,
        reading: Mapping[str, Any],
        prepare: Callable[[tf.Tensor], tf.Tensor],
    ) -> None:
        self.name = name
        self.weights_digest = weights_digest
        self.reading = reading
        self._network = network
        self._where = where
        self._prepare = prepare
        self._functions: dict[tuple[Any, ...], Any] = {}

    @cached_property
    def layers(self) -> Mapping[str, int]:
        """Layer -> channels, as Keras names and orders them: whatever has positions and channels, or channels alone."""
        found = {}
        for layer in self._network.layers:
            output = getattr(layer, "output", None)  # a layer may have several, or none
            shape: Sequence[int | None] = getattr(output, "shape", ())
            if type(layer).__name__ != "InputLayer" and len(shape) in (2, 4) and (channels := shape[-1]) is not None:
                found[str(layer.name)] = int(channels)
        return found

    def kind(self, layer: str) -> str:
        """The class of a layer."""
        return type(self._network.get_layer(layer)).__name__

    def sizes(self, size_px: int) -> Mapping[str, tuple[int, int] | None]:
        """Layer -> height and width for images of some size; None where it has no positions, or no such size."""
        names = tuple(self.layers)
        try:
            outputs = self._function(names, False, (1, size_px, size_px, 3)).outputs
        except ModelError:
            return dict.fromkeys(names)
        shapes = [output.shape for output in outputs]
        return {
            name: (int(shape[1]), int(shape[2])) if shape.rank == 4 and None not in shape[1:3] else None
            for name, shape in zip(names, shapes, strict=True)
        }

    def fan_in(self, layer: str) -> Array:
        """The weights that feed a layer, shape (channel, weight), float32.

        Layers that are concatenated share no weights, so each has columns of its own.

        Raises:
            ModelError: if no weights feed the layer.
        """
        blocks = list(_kernels_feeding(self._network.get_layer(layer)))
        if sum(block.shape[0] for block in blocks) != self.layers[layer]:
            raise ModelError(f"{self._where}: expected a layer that convolutions feed, cannot tell what feeds {layer}")
        return stack_towers(blocks)

    def can_select_channels(self, layers: Collection[str]) -> bool:
        """Never; see `core.models.models.Model`."""
        return False

    def activations(
        self,
        images: tf.Tensor,
        layers: Collection[str],
        *,
        redirected: bool = False,
        channels: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Run the network up to the layers that are asked for; see `core.models.models.Model`.

        Raises:
            ModelError: if the network does not take images of this size.
        """
        assert channels is None, "only whole layers"
        wanted = tuple(sorted(set(layers)))
        key = (wanted, redirected, tuple(images.shape))
        if key not in self._functions:
            self._functions[key] = self._function(wanted, redirected, images.shape)
        return dict(zip(wanted, self._functions[key](images), strict=True))

    def _function(self, wanted: Sequence[str], redirected: bool, shape: Any) -> Any:
        """The cut network as a function of its own: gradients can only be overridden across such a border."""
        import keras
        import tensorflow as tf

        from core.models.operations.relu import REDIRECTED_GRADIENTS

        cut = keras.Model(self._network.inputs, [self._network.get_layer(layer).output for layer in wanted])

        def network(images: tf.Tensor) -> list[tf.Tensor]:
            graph = tf.compat.v1.get_default_graph()
            with graph.gradient_override_map(REDIRECTED_GRADIENTS if redirected else {}):
                outputs = cut(self._prepare(images), training=False)
            return [tf.identity(output) for output in (outputs if isinstance(outputs, list) else [outputs])]

        try:
            with tf.init_scope():
                return tf.compat.v1.wrap_function(network, [tf.TensorSpec(shape, tf.float32)])
        except ValueError as error:
            raise ModelError(
                f"{self._where}: expected a network that takes images of {shape[1]} x {shape[2]} px, {_one_line(error)}"
            ) from None


def application(name: str, weights: str) -> KerasModel:
    """A network of keras.applications without its classifier, with the preprocessing of its family.

    Args:
        name: `keras:NAME`.
        weights: `imagenet`, downloaded by Keras unless it has them, or `none`: random ones, always the same.

    Raises:
        SpecError: if Keras has no network of that name.
        ModelError: if the weights cannot be downloaded.
    """
    import keras

    wanted = name.removeprefix("keras:")
    known = [known for known in dir(keras.applications) if known[0].isupper() and known not in _ONE_SIZE]
    if wanted not in known:
        near = ", ".join(difflib.get_close_matches(wanted, known, n=4, cutoff=0.4) or known[:4])
        raise SpecError(f"model.name: expected a network of keras.applications, got {wanted!r}; near are {near}")
    build = getattr(keras.applications, wanted)
    preprocess = sys.modules[build.__module__].preprocess_input
    keras.utils.clear_session()  # names of layers count up from here, whatever was built before
    keras.utils.set_random_seed(0)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras shows its download there
            network = build(
                include_top=False, weights=None if weights == "none" else weights, input_shape=(None, None, 3)
            )
    except Exception as error:  # Keras raises a bare Exception when a download fails
        if weights == "none":
            raise ModelError(f"model {name}: Keras could not build it, {_one_line(error)}") from None
        raise ModelError(f"model {name}: its weights could not be had, {_one_line(error)}; {_remedy(error)}") from None
    return KerasModel(
        network,
        name,
        f"model {name}",
        _weights_digest(network),
        {"name": name, "weights": weights},
        lambda images: preprocess(255.0 * images),
    )


def saved_in_file(path: Path, value_range: tuple[float, float]) -> KerasModel:
    """A model that was saved as a `.keras` file, of Keras's own layers alone.

    Args:
        value_range: what the network expects for image values 0 and 1.

    Raises:
        ModelError: if it is no such file, or has layers that run code of the file.
    """
    _check_file(path)
    import keras

    keras.utils.clear_session()
    try:
        network = keras.saving.load_model(path, safe_mode=True, compile=False)
    except Exception as error:  # whatever a damaged file may provoke
        raise ModelError(f"{path}: expected a model that Keras can load, {_one_line(error)}") from None
    inputs = getattr(network, "inputs", None) or []
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[-1] != 3:
        shapes = ", ".join(str(tuple(one.shape)) for one in inputs) or "none"
        raise ModelError(f"{path}: expected a model with one input of shape (batch, height, width, 3), found {shapes}")
    low, high = value_range
    reading = {"name": "keras", "value_range": [low, high]}
    return KerasModel(
        network, "keras", str(path), file_sha256(path), reading, lambda images: low + (high - low) * images
    )


def _check_file(path: Path) -> None:
    """Make sure that a `.keras` file names nothing but harmless parts of Keras.

    Raises:
        ModelError: naming the first part that is refused.
    """
    try:
        with zipfile.ZipFile(path) as file:
            config = json.loads(file.read("config.json"))
    except OSError as error:
        raise ModelError(f"{path}: expected a .keras file, {error.strerror}") from None
    except (zipfile.BadZipFile, KeyError, ValueError, RecursionError):
        raise ModelError(f"{path}: expected a .keras file (of Keras 3), got something else or a damaged one") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path}: expected a .keras file, its config.json has no model")
    config.pop("compile_config", None)  # not used: the model is not compiled
    for part in _mappings(config):
        name = part.get("class_name")
        if not isinstance(name, str):
            continue
        module = part.get("module")
        registered = part.get("registered_name")
        custom = isinstance(registered, str) and ">" in registered
        if name in _WILFUL or name == "function" or (name.startswith("__") and name not in _PLAIN) or custom:
            raise ModelError(f"{path}: refused: it has a part {name[:80]!r}, which runs code or reads files of its own")
        if module is not None and not (isinstance(module, str) and re.fullmatch(r"keras(\.[a-z_.]+)?", module)):
            raise ModelError(f"{path}: refused: its part {name[:80]!r} is of {str(module)[:80]!r}, not of Keras")


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    """All mappings in a JSON value, however deep."""
    ahead = [value]
    while ahead:
        one = ahead.pop()
        if isinstance(one, dict):
            yield one
            ahead += one.values()
        elif isinstance(one, list):
            ahead += one


def _kernels_feeding(layer: Any) -> Iterator[Array]:
    """Per concatenated part: the kernel that it comes from, shape (channel, weight)."""
    while True:
        kernel = next((getattr(layer, key) for key in ("pointwise_kernel", "kernel") if hasattr(layer, key)), None)
        if kernel is not None:
            values: Array = kernel.numpy()
            if type(layer).__name__ == "DepthwiseConv2D":  # (h, w, channel, multiplier)
                values = values.reshape(*values.shape[:2], -1)
            yield np.moveaxis(values, -1, 0).reshape(values.shape[-1], -1)
            return
        before = layer.input if isinstance(layer.input, list) else [layer.input]
        # Keras offers no public way from a tensor to the layer that makes it.
        makers = [tensor._keras_history.operation for tensor in before]
        if type(layer).__name__ == "Concatenate":
            for maker in makers:
                yield from _kernels_feeding(maker)
            return
        if type(layer).__name__ not in _PASSING_ON or len(makers) != 1:
            return
        layer = makers[0]


def _weights_digest(network: Any) -> str:
    digest = hashlib.sha256()
    for variable in network.weights:
        values = np.ascontiguousarray(variable.numpy())
        digest.update(f"{variable.path}:{values.dtype}:{values.shape}:".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _remedy(error: Exception) -> str:
    """Where Keras looks for the file that it tried to download."""
    folder = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "models"
    address = re.search(r"https?://\S+", str(error))
    file = Path(address.group().rstrip(":.,")).name if address else "the file"
    return f"download it by hand and put it at {folder / file}, or write weights: none"


def _one_line(error: Exception) -> str:
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."
