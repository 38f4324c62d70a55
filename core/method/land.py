"""The picture of one block of a land: one image, optimised for a mix of neurons that depends on the position.

Where it covers blocks that are finished, the image is a mix with their pictures, which are constants, so the block
grows towards what is there. `core.method.land_goal` has the goal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from core.arrays import Array, Pixels
from core.method.color import COLOR_CORRELATION
from core.method.land_goal import NeuronsByPlace
from core.method.parameterization import start_values
from core.method.renderer import Renderer, first_failure
from core.method.spectrum import rfft2d_freqs, spectrum_to_planes
from core.method.subjects import Subject
from core.models.model import Model
from core.pictures.land import Block, Land, painted
from core.pictures.sheets import side_by_side
from core.spec import RenderSettings

_POWER = 8.0
"""p of `known_colours`. Measured on 64 neurons, the mean difference of neighbouring pixels in the middle of overlaps,
as a share of that inside blocks: 0.72 with 1.4, 0.78 with 2, 0.88 with 3, 0.96 with 6."""
_FASTER = 1.1
"""Factor of the learning rate, with which a land has nearly the contrast of portraits; its spectrum has more waves."""


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
        faster = settings.model_copy(update={"learning_rate": _FASTER * settings.learning_rate})
        self._images = BlockImage(land, settings)
        goal = NeuronsByPlace(self._images.by_position, self._images.image, model, land, settings)
        neurons = (land.block_rows + 2) * (land.block_columns + 2)
        self._directions = model.derived.get(land.layer)
        self._renderer = Renderer(
            self._images, goal, faster, strips=1, neurons=neurons, width=goal.width, size=land.block_size_px
        )

    def render(self, land: Land, block: Block, finished: Mapping[Block, Pixels], seed: int) -> RenderedBlock:
        """Render a block.

        Args:
            finished: the pictures of the overlapping blocks that are finished.
        """
        self._images.place(*known_colours(land, block, finished))
        channels = tuple(neuron.channel for neuron in land.around(block))
        rows = {} if self._directions is None else dict(enumerate(self._directions.rows(channels)))
        [rendered] = self._renderer.render([Subject(channels, seed, rows)])
        shape = (land.block_rows + 2, land.block_columns + 2)
        activation, noise = (t.reshape(shape)[1:-1, 1:-1] for t in rendered.measured)
        pixels = side_by_side(np.nan_to_num(rendered.frames))
        failed_at = first_failure(rendered.objective, rendered.frames)
        return RenderedBlock(pixels, rendered.objective, activation, noise, failed_at, rendered.seconds)


def known_colours(land: Land, block: Block, finished: Mapping[Block, Pixels]) -> tuple[Array, Array]:
    """Return what finished blocks contribute to the colours of a block's picture, and the factor of its own.

    Colours are those before the sigmoid that makes pixels. The p-th powers of the two factors sum to 1. With p = 1 they
    would sum to 1 themselves, and two textures would lose contrast where they are mixed. Their own contrast there is
    low anyway, because the smaller its factor, the more slowly a block's own part grows.

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


class BlockImage:
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
