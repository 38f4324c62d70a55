"""Differentiable images: variables, and the function from them to a picture.

A parameterization has `.variables`; a call without arguments returns its image, shape (batch, height, width, channel).
Parameterizations add with `+`, so the shared interpolation of the notebook is a sum of parts, some of which all frames
share. After Mordvintsev et al., "Differentiable Image Parameterizations" (Distill, 2018), and Lucid's
`optvis/param`.

Start values are drawn by NumPy from the *seed* given, so the same seed starts the same image on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.errors import ShapeError
from core.method.color import COLOR_CORRELATION, to_valid_rgb
from core.method.resize import KeyFrames, key_frame_matrix, resize_nd, resized_sum
from core.method.spectrum import rfft2d_freqs, spectrum_to_image, spectrum_to_planes

Shape = Sequence[int]
Seed = int | tuple[int, ...]

DEFAULT_SD = 0.01
_VECTOR = 16  # float32 values that the CPUs with the longest vectors compute at once


@dataclass(frozen=True)
class Parameterization:
    """Variables and the image that they stand for.

    Attributes:
        variables: what an optimizer changes.
        image: returns the image tensor for the variables' current values.
    """

    variables: tuple[tf.Variable, ...]
    image: Callable[[], tf.Tensor]

    def __call__(self) -> tf.Tensor:
        return self.image()

    def __add__(self, other: Parameterization) -> Parameterization:
        return Parameterization(self.variables + other.variables, lambda: self() + other())


def start_values(seed: Seed, shape: Shape, sd: float | None = None) -> Array:
    """Return normal start values of a variable, float32, the same on every machine for the same seed."""
    noise = np.random.Generator(np.random.Philox(seed)).standard_normal(tuple(shape), dtype=np.float32)
    return noise * np.float32(sd or DEFAULT_SD)


@dataclass(frozen=True)
class SharedInterpolation(Parameterization):
    """The frames of strips.

    Attributes:
        by_position: returns the same pixels by position, shape (strip, height * width, frame * channel). The step of
            an atlas's strips starts from these, because a transpose of the whole image costs more than most of the
            other operations on it.
    """

    by_position: Callable[[], tf.Tensor]


def frames_of(pixels: tf.Tensor, size: tuple[int, int], frames: int) -> tf.Tensor:
    """Turn pixels by position, shape (strip, height * width, frame * channel), into images.

    Args:
        size: height and width.

    Returns:
        shape (strip * frame, height, width, channel).
    """
    strips, _, width = pixels.shape
    channels = width // frames
    apart = tf.transpose(tf.reshape(pixels, (strips, size[0] * size[1], frames, channels)), (0, 2, 1, 3))
    return tf.reshape(apart, (strips * frames, *size, channels))


def fft_image(shape: Shape, sd: float | None = None, decay_power: float = 1.0, *, seed: int = 0) -> Parameterization:
    """Return an image parameterized by its Fourier spectrum.

    Args:
        shape: (batch, height, width, channel).
        sd: standard deviation of the start values; 0 and None mean 0.01, as in Lucid.
        decay_power: the spectrum falls with frequency to this power.

    Raises:
        ShapeError: unless the shape has four positive numbers.
    """
    batch, height, width, channels = _checked(shape, rank=4)
    start = start_values(seed, (2, batch, channels, *rfft2d_freqs(height, width).shape), sd)
    variable = tf.Variable(start, name="spectrum")
    return Parameterization((variable,), lambda: spectrum_to_image(variable, shape, decay_power))


def pixel_image(
    shape: Shape, sd: float | None = None, init_val: Array | None = None, *, seed: int = 0
) -> Parameterization:
    """Return an image parameterized by its pixels, which start as noise or as *init_val* of the same shape."""
    start = start_values(seed, shape, sd) if init_val is None else np.asarray(init_val, np.float32)
    if start.shape != tuple(shape):
        raise ShapeError(f"pixel_image: expected init_val of shape {tuple(shape)}, got {start.shape}")
    variable = tf.Variable(start, name="pixels")
    return Parameterization((variable,), lambda: tf.convert_to_tensor(variable))


def lowres_tensor(
    shape: Shape,
    underlying_shape: Shape,
    offset: bool | int | Sequence[bool | int] | None = None,
    sd: float | None = None,
    *,
    seed: int = 0,
) -> Parameterization:
    """Return a tensor interpolated from a smaller one along any of its axes; a single stored frame serves all frames.

    Args:
        shape: shape of the result, any rank.
        underlying_shape: shape of the variable, same rank.
        offset: shift towards higher indices, per axis or one for all axes. True is half a stored cell; a number counts
            elements of the result. The edge is mirrored.
        sd: standard deviation of the start values; 0 and None mean 0.01, as in Lucid.

    Raises:
        ShapeError: if the ranks differ or an offset is longer than its axis.
    """
    shape, underlying_shape = tuple(shape), tuple(underlying_shape)
    if len(shape) != len(underlying_shape):
        raise ShapeError(f"lowres_tensor: expected two shapes of one rank, got {shape} and {underlying_shape}")
    variable = tf.Variable(start_values(seed, underlying_shape, sd), name="lowres")
    offsets = _offsets(offset, shape, underlying_shape)

    def image() -> tf.Tensor:
        t = resize_nd(tf.convert_to_tensor(variable), shape)
        if any(offsets):
            t = tf.pad(t, [(step, 0) for step in offsets], "SYMMETRIC")
            t = t[tuple(slice(0, size) for size in shape)]
        return t

    return Parameterization((variable,), image)


def _offsets(
    offset: bool | int | Sequence[bool | int] | None, shape: tuple[int, ...], underlying: tuple[int, ...]
) -> list[int]:
    given = list(offset) if isinstance(offset, Sequence) else [offset or 0] * len(shape)
    if len(given) != len(shape):
        raise ShapeError(f"lowres_tensor: expected one offset for each of {len(shape)} axes, got {len(given)}")
    steps = [
        int(size / stored / 2) if step is True else int(step)
        for step, size, stored in zip(given, shape, underlying, strict=True)
    ]
    if any(step < 0 or step > size for step, size in zip(steps, shape, strict=True)):
        raise ShapeError(f"lowres_tensor: expected offsets from 0 to the size of their axis {shape}, got {steps}")
    return steps


# The notebook's shared parameterization ------------------------------------------------------------------------------

SHARED_LEVELS = ((1, 2), (1, 4), (1, 8), (2, 8), (1, 16), (2, 16))
"""(stored frames, divisor of the size) of the six low-resolution terms in the notebook's `interpolate_f`."""


def shared_interpolation(
    frames: int = 6,
    size_px: int = 128,
    *,
    strips: int = 1,
    sd: float | None = None,
    key_frames: KeyFrames = "symmetric",
    sharing: bool = True,
    seed: int = 0,
) -> SharedInterpolation:
    """Return the notebook's `interpolate_f`: a spectrum for each frame, plus low-resolution terms that frames share.

    Args:
        strips: number of independent strips, one after the other in the batch.
        key_frames: see `key_frame_matrix`.
        sharing: False leaves the low-resolution terms out, so that frames are independent.

    Returns:
        A parameterization of shape (strips * frames, size_px, size_px, 3), float32 in [0, 1], whose variables are the
        spectrum and then the terms in the order of `SHARED_LEVELS`: see `shared_colours`.
    """
    levels = SHARED_LEVELS if sharing else ()
    colours = shared_colours(frames, size_px, levels, strips=strips, key_frames=key_frames)
    start_shared(colours.variables, [seed] * strips, sd)
    return squashed(colours, size_px, frames)


def shared_colours(
    frames: int,
    size_px: int,
    levels: Sequence[tuple[int, int]],
    *,
    strips: int = 1,
    key_frames: KeyFrames = "symmetric",
) -> Parameterization:
    """Return spectra of frames plus low-resolution terms that they share, as colours of any range: see `squashed`.

    Args:
        levels: (stored frames, divisor of the size) of each term. A stored value covers *divisor* pixels in height and
            width whatever the size; if the divisor does not divide the size, the last values reach beyond the image.

    Returns:
        A parameterization of pixels by position, shape (strips, size_px * size_px, frames * 3), whose variables are
        the spectrum, shape (strips * frames, 3, height, frequency, 2) with the real and the imaginary part last, and
        then the terms, each of shape (strips * stored, 3, height, width). All values are 0.
    """
    spectrum = tf.Variable(tf.zeros((strips * frames, 3, *rfft2d_freqs(size_px, size_px).shape, 2)), name="spectrum")
    terms = tuple(
        tf.Variable(tf.zeros((strips * stored, 3, *[math.ceil(size_px / divisor)] * 2)), name="shared")
        for stored, divisor in levels
    )
    groups = {stored: [n for n, (each, _) in enumerate(levels) if each == stored] for stored, _ in levels}
    weights = [np.ones((frames, 1), np.float32) if n == 1 else key_frame_matrix(frames, n, key_frames) for n in groups]
    # One product makes a frame's colours from its own plane and the planes of all key frames.
    mix = np.kron(np.concatenate([np.eye(frames, dtype=np.float32), *weights], axis=1).T, COLOR_CORRELATION.T)

    def by_position() -> tf.Tensor:
        own = spectrum_to_planes(tf.convert_to_tensor(spectrum), size_px, size_px)
        # Interpolation along the batch is linear, so terms with the same number of key frames are summed before it.
        keys = [
            resized_sum([terms[n] for n in members], [levels[n][1] for n in members], size_px)
            for members in groups.values()
        ]
        planes = tf.concat([tf.reshape(t, (strips, -1, size_px**2)) for t in (own, *keys)], axis=1)
        return _mixed(planes, mix)

    return Parameterization((spectrum, *terms), by_position)


def squashed(colours: Parameterization, size_px: int, frames: int) -> SharedInterpolation:
    """Return frames in [0, 1] from colours of any range, given by position: a sigmoid squashes the colours."""

    def by_position() -> tf.Tensor:
        return _sigmoid_of_each(colours())

    return SharedInterpolation(
        colours.variables, lambda: frames_of(by_position(), (size_px, size_px), frames), by_position
    )


def shared_start_values(variables: Sequence[tf.Variable], seeds: Sequence[int], sd: float | None = None) -> list[Array]:
    """Return start values for the variables of `shared_interpolation`, from one seed per strip.

    A strip's values depend on its own seed alone, not on the other strips of the batch.
    """
    strips = len(seeds)

    def of_one(number: int, variable: tf.Variable, seed: int) -> Array:
        stored, *shape = variable.shape
        return start_values((seed, 0, number), (stored // strips, *shape), sd)

    return [
        np.concatenate([of_one(number, variable, seed) for seed in seeds]) for number, variable in enumerate(variables)
    ]


def start_shared(variables: Sequence[tf.Variable], seeds: Sequence[int], sd: float | None = None) -> None:
    """Give the variables of `shared_interpolation` their start values, from one seed per strip."""
    for variable, value in zip(variables, shared_start_values(variables, seeds, sd), strict=True):
        variable.assign(value)


def image(
    size: int,
    height: int | None = None,
    batch: int = 1,
    sd: float | None = None,
    *,
    decorrelate: bool = True,
    fft: bool = True,
    alpha: bool = False,
    channels: int | None = None,
    seed: int = 0,
) -> Parameterization:
    """Return Lucid's usual image: a spectrum (or pixels) seen through decorrelated colours and a sigmoid.

    Args:
        size: width in pixels, and height unless that is given.
        alpha: add a fourth channel, not decorrelated.
        channels: number of channels, none of them decorrelated; excludes alpha.

    Returns:
        A parameterization of shape (batch, height, size, channels), float32 in [0, 1].
    """
    if alpha and channels is not None:
        raise ShapeError(f"image: expected alpha or channels, got both (alpha=True, channels={channels})")
    shape = (batch, height or size, size, channels or (4 if alpha else 3))
    base = fft_image(shape, sd, seed=seed) if fft else pixel_image(shape, sd, seed=seed)

    def valid() -> tf.Tensor:
        if channels is not None:
            return tf.sigmoid(base())
        rgb = to_valid_rgb(base()[..., :3], decorrelate=decorrelate)
        return tf.concat([rgb, tf.sigmoid(base()[..., 3:])], axis=-1) if alpha else rgb

    return Parameterization(base.variables, valid)


# -------------------------------------------------------------------------------------------------------------------


def _mixed(planes: tf.Tensor, mix: Array) -> tf.Tensor:
    """Return weighted sums of planes.

    Args:
        planes: shape (strip, plane, position).
        mix: shape (plane, sum).

    Returns:
        shape (strip, position, sum).
    """
    # A batched product would take 1.7 times as long on a CPU, and its rounding would depend on the number of strips.
    return tf.stack([tf.matmul(strip, mix, transpose_a=True) for strip in tf.unstack(planes)])


def _sigmoid_of_each(strips: tf.Tensor) -> tf.Tensor:
    """Return the sigmoid, rounded in the same way in every batch; the strip is the first axis."""
    if math.prod(strips.shape[1:]) % _VECTOR == 0:
        return tf.sigmoid(strips)
    # A CPU computes the last values of a tensor, which do not fill a vector, one by one and rounds them differently.
    return tf.stack([tf.sigmoid(strip) for strip in tf.unstack(strips)])


def _checked(shape: Shape, rank: int) -> tuple[int, ...]:
    if len(shape) != rank or any(size < 1 for size in shape):
        raise ShapeError(f"expected a shape of {rank} positive sizes, got {tuple(shape)}")
    return tuple(shape)
