"""The picture of a block of a land: one image, optimised for a mix of neurons that depends on the position.

At each position of the layer the objective is the mix of the neurons of the nearest places, with bilinear weights. A
view moves the image, so the weights are taken where the view has moved each position to. Each neuron counts by what it
gains over noise at its place, so that a strong neuron does not swallow its neighbours. Near blocks that are finished
the image is a mix with their pictures, which are constants, so the block grows towards what is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from core.arrays import Array, Pixels
from core.method.color import COLOR_CORRELATION
from core.method.network import network
from core.method.noise import noise_levels
from core.method.parameterization import start_values
from core.method.renderer import Renderer, Subject, first_failure
from core.method.spectrum import rfft2d_freqs, spectrum_to_planes
from core.method.transforms import resample_by_position
from core.models.model import Model
from core.pictures.land import Block, Land, painted
from core.pictures.sheets import side_by_side
from core.spec import RenderSettings

_LEAST_GAIN = 4.0
"""Standard deviations of the activation on noise that a neuron counts as gaining at least. Without a least gain, one
that gains nothing, at the start or because it is dead, would count without bound. Live neurons gain 29 and more."""
_LEAST_DEVIATION = 0.25  # share of the layer's median deviation; that of a dead neuron is 0
_POWER = float(__import__("os").environ.get("P", 1.4))
_SHARPNESS = float(__import__("os").environ.get("W2", 2))
_MIDDLE = 0.25  # cells: the activation at a place is the mean over positions up to this far from its centre


@dataclass(frozen=True)
class RenderedBlock:
    """The picture of a block.

    Attributes:
        pixels: shape (height, width, 3), uint8.
        objective: shape (update,): the objective before each update.
        activation: shape (row, column): of each place's neuron, the mean over the middle of its place.
        noise: shape (row, column): the largest mean activation of each place's neuron on images of noise.
        failed_at: the update whose objective was not finite, counted from 1, or None.
        seconds: time to render.
    """

    pixels: Pixels
    objective: Array
    activation: Array
    noise: Array
    failed_at: int | None
    seconds: float


class BlockRenderer:
    """Renders blocks of lands of one layer and one geometry, one at a time.

    Args:
        land: one of these lands.
        settings: of lands, see `core.atlas.land_plan.land_settings`.
    """

    def __init__(self, model: Model, land: Land, settings: RenderSettings) -> None:
        self._images = _BlockImage(land, settings)
        self._goal = _NeuronsByPlace(self._images, model, land, settings)
        neurons = (land.block_rows + 2) * (land.block_columns + 2)
        self._renderer = Renderer(
            self._images, self._goal, settings, strips=1, neurons=neurons, size=land.block_size_px
        )

    def render(self, land: Land, block: Block, finished: Mapping[Block, Pixels], seed: int) -> RenderedBlock:
        """Render a block.

        Args:
            finished: the pictures of the overlapping blocks that are finished.
        """
        self._images.place(*known_colours(land, block, finished))
        channels = tuple(neuron.channel for neuron in land.around(block))
        [rendered] = self._renderer.render([Subject(channels, seed)])
        shape = (land.block_rows + 2, land.block_columns + 2)
        activation, noise = (t.reshape(shape)[1:-1, 1:-1] for t in rendered.measured)
        pixels = side_by_side(np.nan_to_num(rendered.frames))
        failed_at = first_failure(rendered.objective, rendered.frames)
        return RenderedBlock(pixels, rendered.objective, activation, noise, failed_at, rendered.seconds)


def known_colours(land: Land, block: Block, finished: Mapping[Block, Pixels]) -> tuple[Array, Array]:
    """Return what finished blocks contribute to the colours of a block's picture, and the factor of its own.

    Colours are those before the sigmoid that makes pixels. With the block's weight w against that of the finished ones,
    the factors are w and 1 - w, each to the power of 1 / p and so that the sum of their p-th powers is 1: with p = 1
    textures that have nothing to do with each other lose contrast, and with p = 2 those that agree gain. Blocks are
    somewhere between, because a block grows towards those that are finished.

    Returns:
        the part of the finished colours, shape (height, width, 3); and the factor of the block's own colours, shape
        (height, width, 1), in [0, 1].
    """
    others = np.zeros((*land.block_size_px, 1), np.float32)
    for other in finished:
        here, there = land.overlap(block, other)
        others[here] += land.weight[there][..., None] ** _POWER
    mine = land.weight[..., None] ** _POWER
    share = np.divide(mine, mine + others, out=np.ones_like(mine), where=others > 0)
    so_far = painted(land, finished, *land.origin_px(block), *land.block_size_px)
    known = np.where(others > 0, (1 - share) ** (1 / _POWER) * _colours_of(so_far), 0)
    return known.astype(np.float32), share ** (1 / _POWER)


def _colours_of(pixels: Pixels) -> Array:
    """Return the colours of pixels, float32; each of the 256 values stands for the middle of its range."""
    values = (np.arange(256, dtype=np.float64) + 0.5) / 256
    colours: Array = np.log(values / (1 - values)).astype(np.float32)[pixels]
    return colours


class _BlockImage:
    """The picture of a block: its own spectrum, mixed with the pictures of finished blocks."""

    def __init__(self, land: Land, settings: RenderSettings) -> None:
        self._sd = settings.sd
        self._size = height, width = land.block_size_px
        self._spectrum = tf.Variable(tf.zeros((1, 3, *rfft2d_freqs(height, width).shape, 2)))
        self._known = tf.Variable(tf.zeros((height * width, 3)), trainable=False)
        self._own = tf.Variable(tf.ones((height * width, 1)), trainable=False)
        self.variables = (self._spectrum,)

    def place(self, known: Array, own: Array) -> None:
        """Place the block among finished ones; the arguments are the results of `known_colours`."""
        self._known.assign(known.reshape(-1, 3))
        self._own.assign(own.reshape(-1, 1))

    def start(self, seeds: Sequence[int]) -> None:
        [seed] = seeds
        self._spectrum.assign(start_values((seed, 0, 0), self._spectrum.shape, self._sd))

    def by_position(self) -> tf.Tensor:
        """Return the pixels by position, shape (1, height * width, 3), in [0, 1]."""
        planes = spectrum_to_planes(tf.convert_to_tensor(self._spectrum), *self._size)
        colours = tf.matmul(tf.reshape(planes, (3, -1)), COLOR_CORRELATION.T, transpose_a=True)
        return tf.sigmoid(self._known + self._own * colours)[None]

    def image(self) -> tf.Tensor:
        return tf.reshape(self.by_position(), (1, *self._size, 3))


class _NeuronsByPlace:
    """The mix of the neurons of the nearest places, at each position of the layer."""

    def __init__(self, images: _BlockImage, model: Model, land: Land, settings: RenderSettings) -> None:
        self._images, self._land, self._settings = images, land, settings
        self._layer = land.layer
        self._network = network(model, {land.layer}, precision=settings.precision, xla=settings.xla)
        self._exact = network(model, {land.layer})
        self._selects_channels = model.can_select_channels({land.layer})
        levels = noise_levels(model, (land.layer,), settings.size_px)[land.layer]
        least = np.maximum(levels.deviation, _LEAST_DEVIATION * np.median(levels.deviation))
        self._mean, self._highest = levels.mean, levels.highest
        self._least = (_LEAST_GAIN * least + np.finfo(np.float32).tiny).astype(np.float32)

    def objective(self, step: tf.Tensor, redirected: bool, channels: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        size = self._land.block_size_px
        seen, view = self._images.by_position(), None
        if self._settings.transforms == "standard":
            seen, view = resample_by_position(seen, size, views, size), views[0]
        images = tf.reshape(seen, (1, *size, 3))
        found = self._network(images, redirected, channels[0] if self._selects_channels else None)[self._layer]
        activations = (found if self._selects_channels else tf.gather(found, channels[0], axis=-1))[0]
        down, across = self._places_of(activations.shape[0], activations.shape[1], view)
        weights = _tents(down, across, self._land) ** _SHARPNESS
        gained = activations - tf.gather(self._mean, channels[0])
        # The line through 0 that fits the gain best as a function of the weight: the gain of a neuron by itself.
        fitted = tf.math.divide_no_nan(_over_positions(weights * gained), _over_positions(weights**2))
        gains = tf.stop_gradient(tf.maximum(fitted, tf.gather(self._least, channels[0])))
        # The geometric mean keeps the scale of the objective from update to update, whatever the neurons' own scales.
        unit = tf.exp(tf.reduce_mean(tf.math.log(gains)))
        mixed = tf.reduce_sum(_over_positions(weights * activations) / gains) * unit
        # As for a strip, the sum over frames, here places, of means over positions.
        return (mixed / self._positions_per_place(activations))[None]

    def measure(self, channels: tf.Tensor) -> Sequence[tf.Tensor]:
        """Return the activation of each neuron in the middle of its place, and its noise, each of shape (1, place)."""
        found = tf.gather(self._exact(self._images.image(), False, None)[self._layer], channels[0], axis=-1)[0]
        rows, columns = found.shape[0], found.shape[1]
        land = self._land
        down, across = self._places_of(rows, columns, None)
        middle = tf.reshape(
            _near(down, land.block_rows, land.block_size_px[0] / rows / land.cell_px)[..., :, None]
            * _near(across, land.block_columns, land.block_size_px[1] / columns / land.cell_px)[..., None, :],
            (rows, columns, -1),
        )
        means = tf.math.divide_no_nan(_over_positions(middle * found), _over_positions(middle))
        return means[None], tf.gather(self._highest.astype(np.float32), channels)

    def _positions_per_place(self, activations: tf.Tensor) -> float:
        rows, columns = activations.shape[:2]
        height, width = self._land.block_size_px
        return float(rows * columns * self._land.cell_px**2 / (height * width))

    def _places_of(self, rows: int, columns: int, view: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Return where each position of the layer lies, in places down and across; each has the shape (row, column).

        The first place of the ring around the block has its centre at 0.
        """
        land = self._land
        height, width = land.block_size_px
        y = ((tf.range(rows, dtype=tf.float32) + 0.5) * (height / rows) - 0.5)[:, None]
        x = ((tf.range(columns, dtype=tf.float32) + 0.5) * (width / columns) - 0.5)[None, :]
        if view is None:
            x, y = x + tf.zeros_like(y), y + tf.zeros_like(x)
        else:
            x, y = (view[axis, 0] * x + view[axis, 1] * y + view[axis, 2] for axis in (0, 1))
        down, across = (((t + 0.5 - land.margin_px) / land.cell_px + 0.5) for t in (y, x))
        return down, across


def _tents(down: tf.Tensor, across: tf.Tensor, land: Land) -> tf.Tensor:
    """Return the bilinear weight of each place at each position, shape (row, column, place)."""
    along = [
        tf.nn.relu(1 - tf.abs(t[..., None] - tf.range(count + 2, dtype=tf.float32)))
        for t, count in ((down, land.block_rows), (across, land.block_columns))
    ]
    return tf.reshape(along[0][..., :, None] * along[1][..., None, :], (*down.shape, -1))


def _near(t: tf.Tensor, count: int, spacing: float) -> tf.Tensor:
    """Return 1 for the places whose middle a position belongs to, 0 for the others, shape (row, column, place).

    Args:
        t: the positions, shape (row, column), in places.
        count: places of the block.
        spacing: distance of two positions; where the layer is coarse, at least the nearest position belongs to a place.
    """
    places = tf.range(count + 2, dtype=tf.float32)
    return tf.cast(tf.abs(t[..., None] - places) <= max(_MIDDLE, spacing / 2), tf.float32)


def _over_positions(t: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(t, axis=(0, 1))
