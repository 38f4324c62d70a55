"""The model as a step reads it: activations of whole layers, and mean activations of each strip's own neurons."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import tensorflow as tf

from core.errors import ModelError, counted
from core.machine import device
from core.method.objectives import mean_over_positions
from core.method.subjects import Neurons
from core.models.model import Model
from core.spec import Precision, RenderSettings

NetworkFunction = Callable[[tf.Tensor, bool, tf.Tensor | None], dict[str, tf.Tensor]]
"""Function of images, of whether ReLU gradients are redirected, and of the channels or directions to compute; returns
layer -> activations."""


def network(
    model: Model, layers: Collection[str], *, precision: Precision = "float32", xla: bool = False
) -> NetworkFunction:
    """Return the model as a step uses it: a function from images to their activations in some layers.

    The function's second argument says whether ReLU gradients are redirected. The third lists the only channels to
    compute of the deepest layer, or directions to compute in their place; None stands for all channels.

    Images and activations are float32, whatever the precision in between. XLA compiles nothing on CPUs, where it was
    measured to make convolutions 40 times slower.
    """
    inside = tf.bfloat16 if precision == "bfloat16" else tf.float32

    def activations(images: tf.Tensor, redirected: bool, channels: tf.Tensor | None) -> dict[str, tf.Tensor]:
        found = model.activations(tf.cast(images, inside), layers, redirected=redirected, channels=channels)
        if channels is None:
            _check_channels(model, found, images.shape[1])
        return {layer: tf.cast(t, tf.float32) for layer, t in found.items()}

    if xla and device.has_gpu():
        return tf.function(activations, jit_compile=True, autograph=False)
    return activations


def _check_channels(model: Model, found: Mapping[str, tf.Tensor], size_px: int) -> None:
    """Make sure that the last axis of each layer has the channels that the model lists.

    Raises:
        ModelError: naming the first layer whose last axis depends on the size of the images, so it is not an axis of
            channels.
    """
    for layer, t in found.items():
        if t.shape[-1] != model.layers[layer]:
            expected = counted(model.layers[layer], "channel")
            raise ModelError(
                f"model {model.name}: expected {expected} of {layer}, found {t.shape[-1]} for "
                f"images of {size_px} px; the last axis of this layer depends on the size, so choose another layer"
            )


def read_layer(model: Model, layer: str) -> tuple[str, int]:
    """Return the layer to compute for the neurons of a layer, and the width of their rows of directions.

    For a derived layer that is the layer that its directions are of; the width is 0 for any other.
    """
    if layer not in model.derived:
        return layer, 0
    of = model.derived[layer].of
    return of, model.layers[of] + 1


class Readout:
    """Reads, for a batch of strips, the mean activations of each strip's own neurons and the aligned layers.

    Args:
        layers: the layer of each neuron of a strip: of a and of b, or of the one neuron of a portrait.
        aligned: layers whose activations are read whole.
        strips: strips in a batch.

    Attributes:
        width: see `core.method.subjects.Neurons`.
    """

    def __init__(
        self, model: Model, layers: Sequence[str], aligned: Sequence[str], settings: RenderSettings, strips: int
    ) -> None:
        self.layers = tuple(layers)
        self.aligned = tuple(aligned)
        self.strips = strips
        self._model = model
        self._read, widths = zip(*(read_layer(model, layer) for layer in layers), strict=True)
        self._derived = [width > 0 for width in widths]
        self.width = max(widths)
        read = {*self._read, *aligned}
        deepest = max(read, key=list(model.layers).index)
        # Decided without the batch size, so that a strip is rounded the same way in every batch.
        whole = settings.objective.cosine_power > 0  # the angle is that of all channels
        alone = {deepest} == set(self._read) and deepest not in aligned and not whole
        can = model.can_mix_channels if self.width else model.can_select_channels
        self._selects_channels = alone and can(read)
        self._network = network(model, read, precision=settings.precision, xla=settings.xla)

    def __call__(
        self, images: tf.Tensor, neurons: Neurons, redirected: bool
    ) -> tuple[Mapping[str, tf.Tensor], list[tf.Tensor]]:
        """Return the activations of the layers that are read whole, and the neurons' mean activations.

        Args:
            images: shape (strip * frame, height, width, 3), float32 in [0, 1].
            neurons: those of each strip, in the order of the layers.
            redirected: whether ReLUs have the gradient of `core.models.operations.relu`.

        Returns:
            layer -> activations, shape (strip * frame, ...); and for each neuron the means, shape (strip, frame).
        """
        if not self._selects_channels:
            found = self._network(images, redirected, None)
            return found, self._means(neurons, found)
        # A single neuron is computed twice. With one column TensorFlow would compute a product with a vector, which is
        # rounded differently from the product of matrices in a larger batch.
        wanted = neurons.channels
        if self.width:
            wanted = tf.stack([self._wanted(neurons, place) for place in range(len(self.layers))], axis=1)
        columns = tf.repeat(wanted, 2, axis=1) if len(self.layers) == 1 else wanted
        found = self._network(images, redirected, tf.reshape(columns, (-1, *columns.shape[2:])))
        # Every strip has the channels of all strips. Its own are taken out before any mean: how a mean is rounded
        # depends on how many values lie side by side.
        of_all = tf.reshape(found.pop(self._read[0]), (self.strips, -1, self.strips, columns.shape[1]))
        own = tf.reduce_sum(of_all * tf.eye(self.strips)[:, None, :, None], axis=2)
        by_frame = tf.reshape(own, (self.strips, images.shape[0] // self.strips, -1, columns.shape[1]))
        means = tf.unstack(tf.reduce_mean(by_frame, axis=2), axis=2)[: len(self.layers)]
        return found, [self._with_bias(mean, neurons, place) for place, mean in enumerate(means)]

    def exact(self, images: tf.Tensor, neurons: Neurons) -> tuple[Mapping[str, tf.Tensor], list[tf.Tensor]]:
        """Return the same as a call, but computed from whole layers in float32, to measure finished images."""
        found = network(self._model, {*self._read, *self.aligned})(images, False, None)
        return found, self._means(neurons, found)

    def by_strip(self, t: tf.Tensor) -> tf.Tensor:
        """Reshape (strip * frame, ...) to (strip, frame, ...)."""
        return tf.reshape(t, (self.strips, t.shape[0] // self.strips, *t.shape[1:]))

    def directions(self, neurons: Neurons) -> list[tuple[str, tf.Tensor]]:
        """Return each neuron's direction: the layer that it is of, and that of each strip, shape (strip, channel)."""
        return [(layer, self._wanted(neurons, place)) for place, layer in enumerate(self._read)]

    def _means(self, neurons: Neurons, found: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        """Return the mean activations of the neurons from whole layers.

        The mean of products with a direction is the product with the mean, so a direction takes the place of the one
        and zeros that pick a channel.
        """
        means = {layer: mean_over_positions(found[layer]) for layer in set(self._read)}  # with a gradient for each
        activations = []
        for place, layer in enumerate(self._read):
            wanted = self._wanted(neurons, place)[:, None]
            activation = tf.reduce_sum(self.by_strip(means[layer]) * wanted, axis=2)
            activations.append(self._with_bias(activation, neurons, place))
        return activations

    def _wanted(self, neurons: Neurons, place: int) -> tf.Tensor:
        """Return the direction of each strip's neuron at a place, shape (strip, channel); a channel's is an axis."""
        size = self._model.layers[self._read[place]]
        if self._derived[place]:
            return neurons.directions[:, place, :size]
        return tf.one_hot(neurons.channels[:, place], size)

    def _with_bias(self, activation: tf.Tensor, neurons: Neurons, place: int) -> tf.Tensor:
        return activation + neurons.directions[:, place, -1:] if self._derived[place] else activation
