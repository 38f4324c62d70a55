"""The network of a Keras model, built by name or read from a file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from core.arrays import Array
from core.errors import ModelError, one_line
from core.models.fan_in import stack_towers
from core.models.keras_settings import keras_settings
from core.models.traced import TracedNetwork

if TYPE_CHECKING:
    import tensorflow as tf

_PASSING_ON = frozenset(
    """
    Activation BatchNormalization Dropout ELU LayerNormalization LeakyReLU PReLU ReLU Softmax
    """.split()
)
"""Layers that keep the channels of the layer before them."""


class KerasModel:
    """A Keras model with one image input.

    Args:
        network: the Keras model.
        name: its name in the spec.
        source: the path of its file or its name, for messages.
        weights_digest: sha256 of its weights, in hex.
        reading: everything but the weights that changes the activations.
        prepare: turns images in [0, 1] into the values that the network expects.
    """

    alignment_layers: Sequence[str] = ()
    unavailable: ClassVar[Mapping[str, str]] = {}
    supports_bfloat16 = False

    def __init__(
        self,
        network: Any,
        name: str,
        source: str,
        weights_digest: str,
        reading: Mapping[str, Any],
        prepare: Callable[[tf.Tensor], tf.Tensor],
    ) -> None:
        self.name = name
        self.weights_digest = weights_digest
        self.reading = reading
        self._network = network
        self._source = source
        self._prepare = prepare
        self._traced = TracedNetwork(self._function, source)

    @cached_property
    def layers(self) -> Mapping[str, int]:
        """Layer -> channels, named and ordered by Keras: all with positions and channels, or channels alone."""
        found = {}
        for layer in self._network.layers:
            output = getattr(layer, "output", None)  # a layer may have several outputs, or none
            shape: Sequence[int | None] = getattr(output, "shape", ())
            if hasattr(layer, "layers"):  # the output of a model inside this model is not one of this model
                continue
            if type(layer).__name__ != "InputLayer" and len(shape) in (2, 4) and (channels := shape[-1]) is not None:
                found[str(layer.name)] = int(channels)
        return found

    def kind(self, layer: str) -> str:
        """Return the name of a layer's class."""
        return type(self._network.get_layer(layer)).__name__

    def sizes(self, size_px: int) -> Mapping[str, tuple[int, int] | None]:
        """Return layer -> (height, width) for images of *size_px*; see `core.models.model.Model`."""
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
        """Return the weights that feed a layer, shape (channel, weight), float32.

        Layers that are concatenated share no weights, so each has columns of its own.

        Raises:
            ModelError: if no weights feed the layer.
        """
        blocks = list(_kernels_feeding(self._network.get_layer(layer)))
        if sum(block.shape[0] for block in blocks) != self.layers[layer]:
            raise ModelError(f"{self._source}: expected a layer that convolutions feed, found no weights for {layer}")
        return stack_towers(blocks)

    def can_select_channels(self, layers: Collection[str]) -> bool:
        """Return False: only whole layers are computed."""
        return False

    def activations(
        self,
        images: tf.Tensor,
        layers: Collection[str],
        *,
        redirected: bool = False,
        channels: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Return layer -> activations, running only what these layers depend on; see `core.models.model.Model`.

        Raises:
            ModelError: if the network does not take images of this size, or its activations depend on the other images
                of the batch.
        """
        assert channels is None, "only whole layers"
        return self._traced.activations(images, layers, redirected)

    @keras_settings()
    def _function(self, wanted: Sequence[str], redirected: bool, shape: Any) -> Any:
        """Return a function from images to layers. TensorFlow overrides gradients only inside a function."""
        import keras
        import tensorflow as tf

        from core.models.operations.relu import REDIRECTED_GRADIENTS

        try:
            cut = keras.Model(self._network.inputs, [self._network.get_layer(layer).output for layer in wanted])
        except ValueError as error:
            raise ModelError(
                f"{self._source}: expected layers that are computed from the model's input, {one_line(error)}"
            ) from None

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
                f"{self._source}: expected a network that takes images of {shape[1]} x {shape[2]} px, {one_line(error)}"
            ) from None


def _kernels_feeding(layer: Any) -> Iterator[Array]:
    """Yield for each concatenated layer the kernel of its last convolution, shape (channel, weight)."""
    while True:
        kernel = next((getattr(layer, key) for key in ("pointwise_kernel", "kernel") if hasattr(layer, key)), None)
        if kernel is not None:
            values: Array = kernel.numpy()
            if type(layer).__name__ == "DepthwiseConv2D":  # (h, w, channel, multiplier)
                values = values.reshape(*values.shape[:2], -1)
            yield np.moveaxis(values, -1, 0).reshape(values.shape[-1], -1)
            return
        before = layer.input if isinstance(layer.input, list) else [layer.input]
        # Keras has no public way from a tensor to the layer that makes it.
        makers = [tensor._keras_history.operation for tensor in before]
        if type(layer).__name__ == "Concatenate":
            for maker in makers:
                yield from _kernels_feeding(maker)
            return
        if type(layer).__name__ not in _PASSING_ON or len(makers) != 1:
            return
        layer = makers[0]
