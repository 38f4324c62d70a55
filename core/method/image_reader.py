"""Reading photographs: one forward pass for all layers, and what is kept of each channel."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from core.arrays import Array, Pixels
from core.method.network import network, read_layer
from core.method.objectives import mean_over_positions
from core.models.model import Model

_FIELD_IMAGES = 4  # of noise; a position that a ReLU switches off for one of them is on for another


@dataclass(frozen=True)
class Read:
    """The activations of a layer that are kept, each of shape (image, channel).

    Attributes:
        mean: mean over the positions, float32.
        peak: the largest value of a position, float32.
        position: the first position with that value, row * width + column, int32.
        height, width: of the layer; 1 without positions.
    """

    mean: Array
    peak: Array
    position: NDArray[np.int32]
    height: int
    width: int


class ImageReader:
    """Computes some layers for batches of photographs.

    Args:
        layers: names of layers; the network is computed up to the deepest of them.
        kept: derived layer -> the channels of it that are computed; of other layers all are.
        size: height and width of the images.
        batch: number of images that share a forward pass.
    """

    def __init__(
        self,
        model: Model,
        layers: Collection[str],
        kept: Mapping[str, Sequence[int]],
        size: tuple[int, int],
        batch: int,
    ) -> None:
        self._layers = tuple(layers)
        self._directions = {layer: tf.constant(model.derived[layer].rows(rows)) for layer, rows in kept.items()}
        self._of = {layer: read_layer(model, layer)[0] for layer in layers}
        self._network = network(model, set(self._of.values()))
        self._size, self._batch = size, batch
        self._positions: dict[str, tuple[int, int]] = {}
        signature = [tf.TensorSpec((batch, *size, 3), tf.uint8)]
        self._compiled = tf.function(self._read, input_signature=signature, autograph=False)

    def __call__(self, images: Pixels) -> dict[str, Read]:
        """Return layer -> what is kept of it.

        Args:
            images: shape (batch, height, width, 3), uint8.
        """
        found = self._compiled(tf.constant(images))
        read = {}
        for layer, (mean, peak, position) in found.items():
            height, width = self._positions[layer]
            read[layer] = Read(mean.numpy(), peak.numpy(), position.numpy(), height, width)
        return read

    def fields(self) -> dict[str, tuple[int, int, int, int]]:
        """Return layer -> receptive field of a position: pixels up, left, down and right of its centre.

        This is the part of an image with a gradient of the middle position. It is the whole image if that is smaller
        than the receptive field, or if every position depends on all of it.
        """
        height, width = self._size
        noise = np.random.default_rng(0).uniform(size=(_FIELD_IMAGES, height, width, 3)).astype(np.float32)
        images = tf.constant(noise)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(images)
            found = self._activations(images)
            middles = {layer: self._middle(t) for layer, t in found.items()}
        fields = {}
        for layer, middle in middles.items():
            gradient = tape.gradient(middle, images)
            reached = None if gradient is None else np.abs(gradient.numpy()).max(axis=(0, 3)) > 0
            fields[layer] = self._around_middle(found[layer], reached)
        return fields

    def _read(self, images: tf.Tensor) -> dict[str, tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
        found = self._activations(tf.cast(images, tf.float32) / 255)
        kept = {}
        for layer, t in found.items():
            self._positions[layer] = _height_and_width(t)
            kept[layer] = (mean_over_positions(t), *_peak(t))
        return kept

    def _activations(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return layer -> activations; those of a derived layer are products with the directions that are kept."""
        found = self._network(images, False, None)
        return {layer: self._along(layer, found[self._of[layer]]) for layer in self._layers}

    def _along(self, layer: str, t: tf.Tensor) -> tf.Tensor:
        if layer not in self._directions:
            return t
        rows = self._directions[layer]
        return tf.tensordot(t, rows[:, :-1], axes=[[-1], [1]]) + rows[:, -1]

    def _middle(self, t: tf.Tensor) -> tf.Tensor:
        """Return a sum over the channels of the middle position, with weights that differ, so that none cancel."""
        height, width = _height_and_width(t)
        at_middle = t[:, height // 2, width // 2] if len(t.shape) == 4 else t
        return tf.reduce_sum(at_middle * tf.random.stateless_uniform(at_middle.shape, (0, 0), 0.5, 1))

    def _around_middle(self, t: tf.Tensor, reached: NDArray[np.bool_] | None) -> tuple[int, int, int, int]:
        height, width = self._size
        if reached is None or not reached.any():
            return height, width, height, width
        rows, columns = np.flatnonzero(reached.any(axis=1)), np.flatnonzero(reached.any(axis=0))
        in_layer = _height_and_width(t)
        y, x = ((places // 2 + 0.5) * pixels / places for places, pixels in zip(in_layer, self._size, strict=True))
        top, bottom = (height, height) if len(rows) == height else (y - rows[0], rows[-1] + 1 - y)
        left, right = (width, width) if len(columns) == width else (x - columns[0], columns[-1] + 1 - x)
        return tuple(int(np.ceil(side)) for side in (top, left, bottom, right))  # type: ignore[return-value]


def _height_and_width(t: tf.Tensor) -> tuple[int, int]:
    return (t.shape[1], t.shape[2]) if len(t.shape) == 4 else (1, 1)


def _peak(t: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the largest value of each image and channel, and the first position that has it.

    The maximum of each row is taken first, because looking for the position among all values takes several times as
    long.
    """
    if len(t.shape) != 4:
        return t, tf.zeros_like(t, tf.int32)
    batch, height, width, channels = t.shape
    by_row = tf.reduce_max(t, axis=2)
    row = tf.argmax(by_row, axis=1, output_type=tf.int32)
    rows = tf.range(batch, dtype=tf.int64)[:, None] * height + tf.cast(row, tf.int64)
    first = rows * width * channels + tf.range(channels, dtype=tf.int64)  # of each row, as an index into all values
    values = tf.gather(tf.reshape(t, (-1,)), first[:, :, None] + tf.range(width, dtype=tf.int64) * channels)
    column = tf.argmax(values, axis=2, output_type=tf.int32)
    return tf.reduce_max(by_row, axis=1), row * width + column
