"""The picture of one block of a land: one image, optimised for a mix of neurons that depends on the position.

At each position of the layer the objective is the mix of the neurons of the nearest places, with bilinear weights. The
views move the image, so the weights are taken where a view puts each position. Near finished blocks the image is a mix
with their pictures, which are constants, so the block grows towards what is there: see `core.atlas.land`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from core.arrays import Array, Pixels
from core.atlas.land import Block, Land
from core.method.color import COLOR_CORRELATION
from core.method.network import network
from core.method.noise import noise_levels
from core.method.parameterization import start_values
from core.method.renderer import Renderer, Subject
from core.method.spectrum import rfft2d_freqs, spectrum_to_planes
from core.method.transforms import resample_by_position
from core.models.model import Model
from core.pictures.sheets import side_by_side
from core.spec import RenderSettings

_LEAST_GAIN = 4.0
"""Standard deviations of the activation on noise that a neuron counts as gaining at least. Until it gains more, at the
start or because it is dead, it would otherwise count without bound."""


@dataclass(frozen=True)
class RenderedBlock:
    """The picture of a block.

    Attributes:
        pixels: shape (height, width, 3), uint8.
        objective: shape (update,): the objective before each update.
        seconds: time to render.
    """

    pixels: Pixels
    objective: Array
    seconds: float


class BlockRenderer:
    """Renders blocks of one land, one at a time.

    Args:
        land: all its neurons are of one layer of the model.
    """

    def __init__(self, model: Model, land: Land, settings: RenderSettings) -> None:
        self._land, self._settings = land, settings
        self._images = _BlockImage(land, settings)
        goal = _NeuronsByPlace(self._images, model, land, settings)
        self._places = goal.places
        self.renderer = Renderer(self._images, goal, settings, strips=1, neurons=goal.places, size=land.block_size_px)

    def render(
        self,
        block: Block,
        finished: Callable[[Block], Pixels | None],
        seed: int,
        progress: Callable[[int], None] = lambda updates: None,
    ) -> RenderedBlock:
        """Render a block.

        Args:
            finished: returns the picture of a neighbour that is finished, or None.
        """
        self._images.place(*known_around(self._land, block, finished))
        subject = Subject(tuple(n.channel for n in ring(self._land, block)), seed)
        [rendered] = self.renderer.render([subject], progress)
        return RenderedBlock(side_by_side(rendered.frames), rendered.objective, rendered.seconds)


import os
P = float(os.environ.get("P", 1.4))
EXP = float(os.environ.get("EXP", 1))
W2 = float(os.environ.get("W2", 1))
def logit(pixels):
    p = (np.asarray(pixels, np.float32) + 0.5) / 256
    return np.log(p / (1 - p))
def ring(land: Land, block: Block):
    """Return the neurons of a block's places and of the places around it, row by row."""
    top, left = block.row * land.block_rows, block.column * land.block_columns
    return [
        land.neurons[land.number_at(row, column)]
        for row in range(top - 1, top + land.block_rows + 1)
        for column in range(left - 1, left + land.block_columns + 1)
    ]


def known_around(land: Land, block: Block, finished: Callable[[Block], Pixels | None]) -> tuple[Array, Array]:
    """Return what finished neighbours contribute to a block's picture, and the share of the block itself.

    Returns:
        the weighted sum of their pixels, shape (height, width, 3), in [0, 1]; and 1 minus the sum of the weights, shape
        (height, width).
    """
    height, width = land.block_size_px
    total, known, weight = (np.zeros((height, width, n), np.float32) for n in (1, 3, 1))
    for other in (block, *land.neighbours(block)):
        here, there = _overlap(land, block, other)
        weights = land.block_weight[there][..., None]
        total[here] += weights**P
        if other != block and (picture := finished(other)) is not None:
            known[here] += weights * logit(picture[there])
            weight[here] += weights**P
    total = np.maximum(total, 1e-6)
    return known / total ** (1/P), (1 - (weight / total)[..., 0])**(1/P)


def _overlap(land: Land, block: Block, other: Block):
    """Return the slices of the pictures of two blocks that show the same part of the land."""
    here, there = [], []
    for size, first, second in zip(land.block_size_px, land.origin_px(block), land.origin_px(other), strict=True):
        low, high = max(first, second), min(first, second) + size
        here.append(slice(low - first, high - first))
        there.append(slice(low - second, high - second))
    return tuple(here), tuple(there)


class _BlockImage:
    """The picture of a block: its own spectrum, mixed with the pictures of finished neighbours."""

    def __init__(self, land: Land, settings: RenderSettings) -> None:
        self._sd = settings.sd
        self._size = height, width = land.block_size_px
        self._spectrum = tf.Variable(tf.zeros((1, 3, *rfft2d_freqs(height, width).shape, 2)))
        self._known = tf.Variable(tf.zeros((height * width, 3)), trainable=False)
        self._share = tf.Variable(tf.ones((height * width, 1)), trainable=False)
        self.variables = (self._spectrum,)

    def place(self, known: Array, share: Array) -> None:
        self._known.assign(known.reshape(-1, 3))
        self._share.assign(share.reshape(-1, 1))

    def start(self, seeds: Sequence[int]) -> None:
        self._spectrum.assign(start_values((seeds[0], 0, 0), self._spectrum.shape, self._sd))

    def by_position(self) -> tf.Tensor:
        """Return the pixels, shape (1, height * width, 3)."""
        planes = spectrum_to_planes(tf.convert_to_tensor(self._spectrum), *self._size)
        colours = tf.matmul(tf.reshape(planes, (3, -1)), COLOR_CORRELATION.T, transpose_a=True)
        return tf.sigmoid(self._known + self._share * colours)[None]

    def image(self) -> tf.Tensor:
        return tf.reshape(self.by_position(), (1, *self._size, 3))


class _NeuronsByPlace:
    """The mix of the neurons of the nearest places at each position of the layer."""

    def __init__(self, images: _BlockImage, model: Model, land: Land, settings: RenderSettings) -> None:
        self._images, self._land, self._settings = images, land, settings
        self._layer = land.layer
        self._network = network(model, {self._layer}, precision=settings.precision, xla=settings.xla)
        self._selects = model.can_select_channels({self._layer})
        levels = noise_levels(model, (self._layer,), settings.size_px)[self._layer]
        self._mean = levels.mean
        self._least = _LEAST_GAIN * np.maximum(levels.deviation, np.median(levels.deviation) / 4 + 1e-9)
        self.places = (land.block_rows + 2) * (land.block_columns + 2)

    def objective(self, step: tf.Tensor, redirected: bool, channels: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        size = self._land.block_size_px
        seen = self._images.by_position()
        if self._settings.transforms == "standard":
            seen = resample_by_position(seen, size, views, size)
        found = self._network(tf.reshape(seen, (1, *size, 3)), redirected, channels[0] if self._selects else None)
        t = found[self._layer]
        if not self._selects:
            t = tf.gather(t, channels[0], axis=-1)
        weights = self._weights(views[0], t.shape[1], t.shape[2]) ** W2
        activations = t[0]
        gained = activations - tf.gather(self._mean, channels[0])
        total = tf.reduce_sum(weights, axis=(0, 1))
        slope = tf.math.divide_no_nan(
            tf.reduce_sum(weights * gained, axis=(0, 1)), tf.reduce_sum(weights**2, axis=(0, 1))
        )
        gains = tf.stop_gradient(tf.maximum(slope, tf.gather(self._least.astype(np.float32), channels[0])))
        factors = tf.reduce_mean(gains) / gains * (tf.reduce_mean(gains) / gains) ** (EXP - 1)
        return tf.reduce_sum(factors * tf.reduce_sum(weights * activations, axis=(0, 1)))[None] / tf.reduce_sum(total)

    def measure(self, channels: tf.Tensor) -> Sequence[tf.Tensor]:
        return []

    def _weights(self, view: tf.Tensor, rows: int, columns: int) -> tf.Tensor:
        """Return the weight of each place at each position of the layer, shape (row, column, place)."""
        land = self._land
        height, width = land.block_size_px
        y = (tf.range(rows, dtype=tf.float32) + 0.5) * (height / rows) - 0.5
        x = (tf.range(columns, dtype=tf.float32) + 0.5) * (width / columns) - 0.5
        if self._settings.transforms == "standard":
            xs = view[0, 0] * x[None] + view[0, 1] * y[:, None] + view[0, 2]
            ys = view[1, 0] * x[None] + view[1, 1] * y[:, None] + view[1, 2]
        else:
            xs, ys = tf.meshgrid(x, y)
        # In places, counted from the centre of the first place of the ring.
        across = (xs + 0.5 - land.margin_px) / land.cell_px + 0.5
        down = (ys + 0.5 - land.margin_px) / land.cell_px + 0.5
        tent_x = tf.nn.relu(1 - tf.abs(across[..., None] - tf.range(land.block_columns + 2, dtype=tf.float32)))
        tent_y = tf.nn.relu(1 - tf.abs(down[..., None] - tf.range(land.block_rows + 2, dtype=tf.float32)))
        return tf.reshape(tent_y[..., :, None] * tent_x[..., None, :], (rows, columns, -1))
