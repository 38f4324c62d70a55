"""The goal of a block of a land: the mix of the neurons of the nearest places, at each position of the layer.

Shares are bilinear. A view moves the image, so the shares are taken where the view has moved each position to. Each
neuron counts by what it gains over noise at its place, so that a strong neuron does not swallow its neighbours.

A layer whose positions spread over an image of any size is computed once for the whole picture. Other layers, such as
those without positions, tokens, and those of networks of one size, are computed for windows of the size of a place,
each of which is then one position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from core.method.network import NetworkFunction, network, read_layer
from core.method.noise import noise_levels
from core.method.objectives import mean_over_positions
from core.method.subjects import Neurons
from core.method.transforms import resample_by_position
from core.models.model import Model
from core.pictures.land import Land
from core.spec import RenderSettings

_LEAST_GAIN = 4.0
"""Standard deviations of the activation on noise that a neuron counts as gaining at least. Without a least gain, one
that gains nothing, at the start or because it is dead, would count without bound. Live neurons gain 29 and more."""
_LEAST_DEVIATION = 0.25  # share of a typical deviation in the layer; that of a dead neuron is 0
_SHARPNESS = 2.5
"""Power of the bilinear share with which a position counts for a neuron, so positions count more where a neuron is
alone. Measured on 64 neurons, activation at their places as a share of their own portraits': mean 0.83 and lowest
twentieth 0.72 with 1, 0.98 and 0.84 with 2, 1.02 and 0.85 with 2.5."""
_MIDDLE = 0.25  # cells: the activation at a place is the mean over positions up to this far from its centre
_EVEN = (0.7548776662466927, 0.5698402909980532)
"""Steps of a sequence that fills a square evenly, the inverse powers of the plastic number (Roberts 2018)."""
_SPREADS = 0.6  # a layer spreads if it has at least this share of the positions that a larger image should have


class _Found(NamedTuple):
    """Activations of a layer over a block.

    Attributes:
        activations: of the wanted channels, shape (row, column, channel).
        down, across: where each position lies, in places, shape (row, column): 0 is the centre of the first place of
            the ring around the block.
    """

    activations: tf.Tensor
    down: tf.Tensor
    across: tf.Tensor


class NeuronsByPlace:
    """The goal of a block.

    Args:
        by_position, image: return the picture of the block as it is now, by position and as an image.

    Attributes:
        width: see `core.method.subjects.Neurons`.
    """

    def __init__(
        self,
        by_position: Callable[[], tf.Tensor],
        image: Callable[[], tf.Tensor],
        model: Model,
        land: Land,
        settings: RenderSettings,
    ) -> None:
        self._by_position, self._image = by_position, image
        self._land, self._settings = land, settings
        self._layer, self.width = read_layer(model, land.layer)
        can = model.can_mix_channels if self.width else model.can_select_channels
        self._selects_channels = can({self._layer})
        self._network = network(model, {self._layer}, precision=settings.precision, xla=settings.xla)
        self._exact = network(model, {self._layer})
        self._spreads = spreads(model, land)
        levels = noise_levels(model, (land.layer,), settings.size_px)[land.layer]
        least = np.maximum(levels.deviation, _LEAST_DEVIATION * levels.typical)
        self._mean, self._highest = levels.mean, levels.highest.astype(np.float32)
        self._least = (_LEAST_GAIN * least + np.finfo(np.float32).tiny).astype(np.float32)

    def objective(self, step: tf.Tensor, redirected: bool, neurons: Neurons, views: tf.Tensor) -> tf.Tensor:
        size = self._land.block_size_px
        pixels, view = self._by_position(), None
        if self._settings.transforms == "standard":
            pixels, view = resample_by_position(pixels, size, views, size), views[0]
        found = self._found(self._network, tf.reshape(pixels, (1, *size, 3)), redirected, neurons, view, step)
        weights = _tents(found, self._land) ** _SHARPNESS
        gained = found.activations - tf.gather(self._mean, neurons.channels[0])
        # The line through 0 that fits the gain best as a function of the weight: the gain of a neuron by itself.
        fitted = tf.math.divide_no_nan(_over_positions(weights * gained), _over_positions(weights**2))
        gains = tf.stop_gradient(tf.maximum(fitted, tf.gather(self._least, neurons.channels[0])))
        # The geometric mean keeps the scale of the objective from update to update, whatever the neurons' own scales.
        unit = tf.exp(tf.reduce_mean(tf.math.log(gains)))
        mixed = tf.reduce_sum(_over_positions(weights * found.activations) / gains) * unit
        # As for a strip, the sum over frames, here places, of means over positions.
        return (mixed / self._positions_per_place(found.activations))[None]

    def measure(self, neurons: Neurons) -> Sequence[tf.Tensor]:
        """Return the activation of each neuron in the middle of its place, and its noise, each of shape (1, place)."""
        land = self._land
        found = self._found(self._exact, self._image(), False, neurons, None, None)
        rows, columns, _ = found.activations.shape
        middle = tf.reshape(
            _near(found.down, land.block_rows, land.block_size_px[0] / rows / land.cell_px)[..., :, None]
            * _near(found.across, land.block_columns, land.block_size_px[1] / columns / land.cell_px)[..., None, :],
            (rows, columns, -1),
        )
        means = tf.math.divide_no_nan(_over_positions(middle * found.activations), _over_positions(middle))
        return means[None], tf.gather(self._highest, neurons.channels)

    def _found(
        self,
        compute: NetworkFunction,
        images: tf.Tensor,
        redirected: bool,
        neurons: Neurons,
        view: tf.Tensor | None,
        step: tf.Tensor | None,
    ) -> _Found:
        """Return the activations of some neurons over the block.

        Args:
            images: the block, shape (1, height, width, 3).
            view: the view through which it is seen, shape (2, 3); None: as it is.
            step: number of the update, by which windows move; None: they lie on the places.
        """
        land = self._land
        shift = tf.zeros(2)
        if not self._spreads:
            if step is not None:
                shift = tf.math.floormod(0.5 + tf.cast(step + 1, tf.float32) * tf.constant(_EVEN), 1.0) - 0.5
                shift = tf.round(shift * land.cell_px)
            images = _windows(images, land, tf.cast(shift, tf.int32))
        wanted = neurons.directions[0, :, :-1] if self.width else neurons.channels[0]
        selects = self._selects_channels and compute is self._network
        found = compute(images, redirected, wanted if selects else None)[self._layer]
        if not selects:
            found = tf.tensordot(found, wanted, [[-1], [1]]) if self.width else tf.gather(found, wanted, axis=-1)
        if self.width:
            found += neurons.directions[0, :, -1]
        if self._spreads:
            rows, columns = found.shape[1:3]
            height, width = land.block_size_px
            y = (tf.range(rows, dtype=tf.float32) + 0.5) * (height / rows)
            x = (tf.range(columns, dtype=tf.float32) + 0.5) * (width / columns)
            return _Found(found[0], *places(y, x, view, land))
        rows, columns = land.block_rows, land.block_columns
        y = (tf.range(rows, dtype=tf.float32) + 0.5) * land.cell_px + land.margin_px + shift[0]
        x = (tf.range(columns, dtype=tf.float32) + 0.5) * land.cell_px + land.margin_px + shift[1]
        means = tf.reshape(mean_over_positions(found), (rows, columns, -1))
        return _Found(means, *places(y, x, view, land))

    def _positions_per_place(self, activations: tf.Tensor) -> float:
        if not self._spreads:
            return 1.0
        rows, columns, _ = activations.shape
        height, width = self._land.block_size_px
        return float(rows * columns * self._land.cell_px**2 / (height * width))


def spreads(model: Model, land: Land) -> bool:
    """Return whether the positions of the land's layer spread over images of any size, as those of convolutions do."""
    if model.has_tokens(land.layer):
        return False
    small, large = land.cell_px, max(land.block_size_px)
    few, many = (model.sizes(size)[land.layer] for size in (small, large))
    return few is not None and many is not None and many[0] >= _SPREADS * few[0] * large / small


def _windows(images: tf.Tensor, land: Land, shift: tf.Tensor) -> tf.Tensor:
    """Return windows of the size of a place, one for each place of a block, shape (place, cell_px, cell_px, 3).

    Args:
        images: the block, shape (1, height, width, 3).
        shift: by how many pixels the windows lie below and right of the places, at most half a place in any direction.
    """
    cell_px, rows, columns = land.cell_px, land.block_rows, land.block_columns
    beyond = cell_px - land.margin_px
    padded = tf.pad(images[0] - 0.5, [(beyond, beyond), (beyond, beyond), (0, 0)]) + 0.5
    first = shift + beyond + land.margin_px
    cut = tf.slice(padded, [first[0], first[1], 0], [rows * cell_px, columns * cell_px, 3])
    apart = tf.transpose(tf.reshape(cut, (rows, cell_px, columns, cell_px, 3)), (0, 2, 1, 3, 4))
    return tf.reshape(apart, (rows * columns, cell_px, cell_px, 3))


def places(y: tf.Tensor, x: tf.Tensor, view: tf.Tensor | None, land: Land) -> tuple[tf.Tensor, tf.Tensor]:
    """Return where points lie, in places down and across, each of shape (row, column).

    Args:
        y, x: rows and columns of the points in what is seen, in pixels from its top left corner.
        view: the view through which the block is seen; None: as it is.
    """
    down, across = y[:, None] - 0.5 + tf.zeros_like(x), x[None, :] - 0.5 + tf.zeros_like(y)[:, None]
    if view is not None:
        across, down = (view[axis, 0] * across + view[axis, 1] * down + view[axis, 2] for axis in (0, 1))
    down, across = ((t + 0.5 - land.margin_px) / land.cell_px + 0.5 for t in (down, across))
    return down, across


def _tents(found: _Found, land: Land) -> tf.Tensor:
    """Return the bilinear share of each place at each position, shape (row, column, place)."""
    along = [
        tf.nn.relu(1 - tf.abs(t[..., None] - tf.range(count + 2, dtype=tf.float32)))
        for t, count in ((found.down, land.block_rows), (found.across, land.block_columns))
    ]
    return tf.reshape(along[0][..., :, None] * along[1][..., None, :], (*found.down.shape, -1))


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
