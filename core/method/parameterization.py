"""Differentiable images: variables, and the function from them to a picture.

A parameterization has `.variables` and is called without arguments to give its image, shape (batch, height, width,
channel). Parameterizations add with `+`, so the shared interpolation of the notebook is a sum of parts, some of which
all frames share. After Mordvintsev et al., "Differentiable Image Parameterizations" (Distill, 2018), and Lucid's
`optvis/param`.

Start values are drawn by NumPy from the *seed* given, so the same seed starts the same image on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from core.arrays import Array
from core.errors import ShapeError
from core.machine.device import has_gpu
from core.method.color import COLOR_CORRELATION, to_valid_rgb

KeyFrames = Literal["lucid", "symmetric"]
Shape = Sequence[int]
Seed = int | tuple[int, ...]

DEFAULT_SD = 0.01
_FFT_GAIN = 0.25  # Lucid divides by 4, chosen there by eye: colours then move about as fast as in pixel space


@dataclass(frozen=True)
class Parameterization:
    """Variables and the image that they stand for.

    Attributes:
        variables: what an optimizer changes.
        image: gives the image tensor from the variables' current values.
    """

    variables: tuple[tf.Variable, ...]
    image: Callable[[], tf.Tensor]

    def __call__(self) -> tf.Tensor:
        return self.image()

    def __add__(self, other: Parameterization) -> Parameterization:
        return Parameterization(self.variables + other.variables, lambda: self() + other())


def start_values(seed: Seed, shape: Shape, sd: float | None = None) -> Array:
    """Normal start values of a variable, float32, the same on every machine for the same seed."""
    noise = np.random.Generator(np.random.Philox(seed)).standard_normal(tuple(shape), dtype=np.float32)
    return noise * np.float32(sd or DEFAULT_SD)


@dataclass(frozen=True)
class SharedInterpolation(Parameterization):
    """The frames of strips.

    Attributes:
        by_position: the same image with its numbers in another order, shape (strip, height * width, frame * channel).
            The step of an atlas's strips goes on from there: a transpose of the whole image costs more than most of
            what else is done to it.
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


# Fourier spectrum ----------------------------------------------------------------------------------------------------


def rfft2d_freqs(height: int, width: int) -> NDArray[np.float64]:
    """Magnitudes of the frequencies of a real 2-D transform, in cycles per pixel.

    Returns:
        shape (height, width // 2 + 1), or (height, width // 2 + 2) for odd widths as in Lucid, whose transform makes
        one column too many and drops it.
    """
    columns = width // 2 + (2 if width % 2 else 1)
    return np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :columns])


def spectrum_scale(height: int, width: int, decay_power: float = 1.0) -> NDArray[np.float64]:
    """How strongly each frequency is scaled: like 1/f, as in natural images, so that all learn at similar rates.

    Returns:
        shape of `rfft2d_freqs(height, width)`.
    """
    frequencies = np.maximum(rfft2d_freqs(height, width), 1.0 / max(height, width))
    return np.sqrt(height * width) / frequencies**decay_power


def spectrum_to_image(spectrum: tf.Tensor, shape: Shape, decay_power: float = 1.0) -> tf.Tensor:
    """Turn a scaled spectrum into pixels.

    Args:
        spectrum: shape (2, batch, channel, height, frequency), float32: real and imaginary parts, as in Lucid.
        shape: (batch, height, width, channel) of the result.

    Returns:
        float32, centred on 0, any range.
    """
    _, height, width, _ = shape
    planes = _spectrum_to_planes(tf.transpose(spectrum, (1, 2, 3, 4, 0)), height, width, decay_power)
    return tf.transpose(planes, (0, 2, 3, 1))


def _spectrum_to_planes(spectrum: tf.Tensor, height: int, width: int, decay_power: float = 1.0) -> tf.Tensor:
    """As `spectrum_to_image`, but with axes in the order that costs nothing to transform.

    Args:
        spectrum: shape (batch, channel, height, frequency, 2): the two parts side by side are a complex number.

    Returns:
        shape (batch, channel, height, width).
    """
    scale = spectrum_scale(height, width, decay_power) * _FFT_GAIN
    made = 2 * (scale.shape[1] - 1)  # columns that the transform gives: one more than an odd width
    # A column stands for its mirror image too, except the first and, since the number is even, the last.
    mirrored = np.full(scale.shape[1], 2.0)
    mirrored[[0, -1]] = 1.0
    adjoint = tf.constant(np.stack([scale * mirrored / (height * made)] * 2, axis=-1), tf.float32)
    scale = tf.constant(np.stack([scale] * 2, axis=-1), tf.float32)

    @tf.custom_gradient
    def planes(spectrum: tf.Tensor) -> tuple[tf.Tensor, object]:
        frequencies = tf.bitcast(spectrum * scale, tf.complex64)
        if has_gpu():  # CPUs do not need it, and it would cost them a hundredth of a step
            frequencies = hermitian_edges(frequencies)
        transformed = tf.signal.irfft2d(frequencies)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            # The transpose of the real transform is the transform itself; TensorFlow's own takes several passes more.
            frequencies = tf.signal.rfft2d(tf.pad(upstream, [(0, 0), (0, 0), (0, 0), (0, made - width)]))
            return tf.bitcast(frequencies, tf.float32) * adjoint

        return transformed[..., :width], gradient

    return planes(spectrum)


def hermitian_edges(frequencies: tf.Tensor) -> tf.Tensor:
    """Make the first and the last column of a half spectrum those of a real image.

    Args:
        frequencies: shape (..., height, frequency), complex64; a last frequency of half a wave a pixel.

    Returns:
        the same shape and type.

    In these two, rows k and -k stand for the same wave, so a real image has conjugate numbers there. TensorFlow's
    transform on CPUs takes what two numbers have in common and drops the rest, and so does this. The one on NVIDIA's
    GPUs (cuFFT) asks for conjugate numbers; of others it reads one, the other, or both, depending on the batch.
    """
    edges = tf.stack([frequencies[..., 0], frequencies[..., -1]], axis=-1)
    mirrored = tf.math.conj(tf.roll(tf.reverse(edges, axis=[-2]), shift=1, axis=-2))
    edges = (edges + mirrored) / 2
    return tf.concat([edges[..., :1], frequencies[..., 1:-1], edges[..., 1:]], axis=-1)


def fft_image(shape: Shape, sd: float | None = None, decay_power: float = 1.0, *, seed: int = 0) -> Parameterization:
    """An image parameterized by its Fourier spectrum.

    Args:
        shape: (batch, height, width, channel).
        sd: standard deviation of the start values; 0 and None mean 0.01, as in Lucid.
        decay_power: the spectrum falls with frequency to this power.

    Raises:
        ShapeError: if the shape has not four positive numbers.
    """
    batch, height, width, channels = _checked(shape, rank=4)
    start = start_values(seed, (2, batch, channels, *rfft2d_freqs(height, width).shape), sd)
    variable = tf.Variable(start, name="spectrum")
    return Parameterization((variable,), lambda: spectrum_to_image(variable, shape, decay_power))


def pixel_image(
    shape: Shape, sd: float | None = None, init_val: Array | None = None, *, seed: int = 0
) -> Parameterization:
    """An image parameterized by its pixels: noise, or *init_val* of the same shape."""
    start = start_values(seed, shape, sd) if init_val is None else np.asarray(init_val, np.float32)
    if start.shape != tuple(shape):
        raise ShapeError(f"pixel_image: expected init_val of shape {tuple(shape)}, got {start.shape}")
    variable = tf.Variable(start, name="pixels")
    return Parameterization((variable,), lambda: tf.convert_to_tensor(variable))


# Low resolution ------------------------------------------------------------------------------------------------------


def resize_matrix(out: int, stored: int) -> Array:
    """Linear interpolation along one axis as a matrix, shape (out, stored), in TensorFlow 1's legacy convention.

    Output i reads position i * stored / out, without a half-pixel shift and without anti-aliasing; what lies beyond
    the last stored value repeats it (`tf.image.resize_bilinear`, align_corners=False, half_pixel_centers=False).
    """
    position = np.arange(out, dtype=np.float32) * np.float32(stored / out)
    low = np.floor(position).astype(int)
    fraction = position - low
    matrix = np.zeros((out, stored), np.float32)
    rows = np.arange(out)
    matrix[rows, low] += 1 - fraction
    matrix[rows, np.minimum(low + 1, stored - 1)] += fraction
    return matrix


def key_frame_matrix(frames: int, stored: int, key_frames: KeyFrames) -> Array:
    """The weights of *stored* key frames in each of the frames, shape (frames, stored).

    `lucid` is Lucid's resize along the batch axis, in which the last key frame is reached early and repeated (two over
    six frames: 0, 1/3, 2/3, 1, 1, 1). `symmetric` spaces them evenly from the first frame to the last (0, .2, .4, .6,
    .8, 1), so that a strip run backwards is parameterized alike.
    """
    if key_frames == "lucid" or frames == 1:
        return resize_matrix(frames, stored)
    position = np.linspace(0, stored - 1, frames)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(stored))).astype(np.float32)


def resize_nd(t: tf.Tensor, shape: Shape) -> tf.Tensor:
    """Resize every axis of *t* whose size differs from *shape* by `resize_matrix`, the last axis first.

    The axes are independent, so their order changes rounding only; this one does the work on the fewest values.
    """
    for axis in reversed(range(len(shape))):
        if t.shape[axis] != shape[axis]:
            t = _along_axis(resize_matrix(shape[axis], t.shape[axis]), t, axis)
    return t


def lowres_tensor(
    shape: Shape,
    underlying_shape: Shape,
    offset: bool | int | Sequence[bool | int] | None = None,
    sd: float | None = None,
    *,
    seed: int = 0,
) -> Parameterization:
    """A tensor interpolated from a smaller one, along any of its axes; one stored frame is shared by all frames.

    Args:
        shape: of the result, any rank.
        underlying_shape: of the variable, same rank.
        offset: shift towards higher indices, per axis or one for all: True is half a stored cell, a number is
            elements of the result. The edge is repeated symmetrically.
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
    """The notebook's `interpolate_f`: a spectrum of its own for each frame, plus low-resolution terms that are shared.

    Args:
        strips: how many independent strips lie one after the other in the batch.
        key_frames: see `key_frame_matrix`.
        sharing: False leaves the low-resolution terms out, which gives independent frames.

    Returns:
        A parameterization of shape (strips * frames, size_px, size_px, 3), float32 in [0, 1], whose variables are the
        spectrum and then the terms in the order of `SHARED_LEVELS`: see `shared_colours`.
    """
    levels = SHARED_LEVELS if sharing else ()
    colours = shared_colours(frames, size_px, levels, strips=strips, key_frames=key_frames)
    for variable, value in zip(
        colours.variables, shared_start_values(colours.variables, [seed] * strips, sd), strict=True
    ):
        variable.assign(value)
    return squashed(colours, size_px, frames)


def shared_colours(
    frames: int,
    size_px: int,
    levels: Sequence[tuple[int, int]],
    *,
    strips: int = 1,
    key_frames: KeyFrames = "symmetric",
) -> Parameterization:
    """Spectra of frames plus low-resolution terms that they share, as colours of any range: see `squashed`.

    Args:
        levels: (stored frames, divisor of the size) of each term.

    Returns:
        A parameterization of pixels by position, shape (strips, size_px * size_px, frames * 3), whose variables are
        the spectrum, shape (strips * frames, 3, height, frequency, 2) with the real and the imaginary part last, and
        then the terms, each (strips * stored, 3, height, width). All are 0.
    """
    spectrum = tf.Variable(tf.zeros((strips * frames, 3, *rfft2d_freqs(size_px, size_px).shape, 2)), name="spectrum")
    terms = tuple(
        tf.Variable(tf.zeros((strips * stored, 3, size_px // divisor, size_px // divisor)), name="shared")
        for stored, divisor in levels
    )
    groups = {stored: [n for n, (each, _) in enumerate(levels) if each == stored] for stored, _ in levels}
    weights = [np.ones((frames, 1), np.float32) if n == 1 else key_frame_matrix(frames, n, key_frames) for n in groups]
    # From a frame's own plane and those of all key frames to its colours, in one product.
    mix = np.kron(np.concatenate([np.eye(frames, dtype=np.float32), *weights], axis=1).T, COLOR_CORRELATION.T)

    def by_position() -> tf.Tensor:
        own = _spectrum_to_planes(tf.convert_to_tensor(spectrum), size_px, size_px)
        # Interpolation along the batch is linear, so terms with as many key frames are summed before it.
        keys = [_resized_sum([terms[n] for n in members], size_px) for members in groups.values()]
        planes = tf.concat([tf.reshape(t, (strips, -1, size_px**2)) for t in (own, *keys)], axis=1)
        return _mixed(planes, mix)

    return Parameterization((spectrum, *terms), by_position)


def squashed(colours: Parameterization, size_px: int, frames: int) -> SharedInterpolation:
    """Frames from colours of any range, whose pixels are given by position."""

    def by_position() -> tf.Tensor:
        return tf.sigmoid(colours())

    return SharedInterpolation(
        colours.variables, lambda: frames_of(by_position(), (size_px, size_px), frames), by_position
    )


def shared_start_values(variables: Sequence[tf.Variable], seeds: Sequence[int], sd: float | None = None) -> list[Array]:
    """Start values for the variables of `shared_interpolation`, one seed per strip.

    A strip's values depend on its own seed alone, whichever strips lie beside it.
    """
    strips = len(seeds)

    def of_one(number: int, variable: tf.Variable, seed: int) -> Array:
        stored, *shape = variable.shape
        return start_values((seed, 0, number), (stored // strips, *shape), sd)

    return [
        np.concatenate([of_one(number, variable, seed) for seed in seeds]) for number, variable in enumerate(variables)
    ]


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
    """The usual image: a spectrum (or pixels) seen through decorrelated colours and a sigmoid.

    Args:
        size: width in pixels, and height unless that is given.
        alpha: add a fourth channel, not decorrelated.
        channels: that many channels, none of them decorrelated; excludes alpha.

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


def _along_axis(matrix: Array, t: tf.Tensor, axis: int) -> tf.Tensor:
    """Multiply one axis of *t* by a matrix (out, in), with a single batched matrix product and no transpose."""
    before, after = t.shape[:axis], t.shape[axis + 1 :]
    flat = tf.reshape(t, (int(np.prod(before)), t.shape[axis], int(np.prod(after))))
    return tf.reshape(tf.constant(matrix) @ flat, (*before, matrix.shape[0], *after))


def _mixed(planes: tf.Tensor, mix: Array) -> tf.Tensor:
    """Weighted sums of planes.

    Args:
        planes: shape (strip, plane, position).
        mix: shape (plane, sum).

    Returns:
        shape (strip, position, sum).
    """
    # A batched product would take 1.7 times as long on a CPU, and round otherwise for another number of strips.
    return tf.stack([tf.matmul(strip, mix, transpose_a=True) for strip in tf.unstack(planes)])


def _resized_sum(terms: Sequence[tf.Variable], size_px: int) -> tf.Tensor:
    """The sum of square images of several sizes, each resized to size_px.

    Args:
        terms: shape (batch, channel, height, width), each with its own height and width.

    Returns:
        shape (batch, channel, size_px, size_px): with the channels first every product is a large one.
    """
    matrices = [resize_matrix(size_px, term.shape[2]) for term in terms]
    wide = [tf.matmul(term, matrix, transpose_b=True) for term, matrix in zip(terms, matrices, strict=True)]
    # Along the height all are resized and summed in one product, with the matrices side by side.
    return tf.constant(np.concatenate(matrices, axis=1)) @ tf.concat(wide, axis=2)


def _checked(shape: Shape, rank: int) -> tuple[int, ...]:
    if len(shape) != rank or any(size < 1 for size in shape):
        raise ShapeError(f"expected a shape of {rank} positive sizes, got {tuple(shape)}")
    return tuple(shape)
