"""Images as Fourier spectra, scaled like those of natural images. After Lucid's `optvis/param/spatial.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from core.machine.device import has_gpu

_FFT_GAIN = 0.25  # Lucid divides by 4, chosen there by eye: colours then move about as fast as in pixel space


def rfft2d_freqs(height: int, width: int) -> NDArray[np.float64]:
    """Return the magnitudes of the frequencies of a real 2-D transform, in cycles per pixel.

    Returns:
        shape (height, width // 2 + 1), or (height, width // 2 + 2) for odd widths as in Lucid, whose transform makes
        one column too many and drops it.
    """
    columns = width // 2 + (2 if width % 2 else 1)
    return np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :columns])


def spectrum_scale(height: int, width: int, decay_power: float = 1.0) -> NDArray[np.float64]:
    """Return the factor of each frequency: like 1/f, as in natural images, so that all learn at similar rates.

    Returns:
        shape of `rfft2d_freqs(height, width)`.
    """
    frequencies = np.maximum(rfft2d_freqs(height, width), 1.0 / max(height, width))
    return np.sqrt(height * width) / frequencies**decay_power


def spectrum_to_image(spectrum: tf.Tensor, shape: Sequence[int], decay_power: float = 1.0) -> tf.Tensor:
    """Turn a scaled spectrum into pixels.

    Args:
        spectrum: shape (2, batch, channel, height, frequency), float32: real and imaginary parts, as in Lucid.
        shape: (batch, height, width, channel) of the result.

    Returns:
        float32, centred on 0, any range.
    """
    _, height, width, _ = shape
    planes = spectrum_to_planes(tf.transpose(spectrum, (1, 2, 3, 4, 0)), height, width, decay_power)
    return tf.transpose(planes, (0, 2, 3, 1))


def spectrum_to_planes(spectrum: tf.Tensor, height: int, width: int, decay_power: float = 1.0) -> tf.Tensor:
    """Turn a scaled spectrum into pixels, with axes in the order that needs no transpose.

    Args:
        spectrum: shape (batch, channel, height, frequency, 2): the last axis holds real and imaginary part, which lie
            in memory as a complex number does.

    Returns:
        shape (batch, channel, height, width).
    """
    scale = spectrum_scale(height, width, decay_power) * _FFT_GAIN
    made = 2 * (scale.shape[1] - 1)  # columns that the transform makes: one more than an odd width
    # A column stands for its mirror image too, except the first and, since the number is even, the last.
    mirrored = np.full(scale.shape[1], 2.0)
    mirrored[[0, -1]] = 1.0
    adjoint = tf.constant(np.stack([scale * mirrored / (height * made)] * 2, axis=-1), tf.float32)
    scale = tf.constant(np.stack([scale] * 2, axis=-1), tf.float32)

    @tf.custom_gradient
    def planes(spectrum: tf.Tensor) -> tuple[tf.Tensor, object]:
        frequencies = tf.bitcast(spectrum * scale, tf.complex64)
        if has_gpu():  # CPUs do not need it: it would take 1 % of a step there
            frequencies = hermitian_edges(frequencies)
        transformed = tf.signal.irfft2d(frequencies)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            # The transpose of the real transform is the transform itself. TensorFlow's own gradient takes several
            # passes more.
            frequencies = tf.signal.rfft2d(tf.pad(upstream, [(0, 0), (0, 0), (0, 0), (0, made - width)]))
            return tf.bitcast(frequencies, tf.float32) * adjoint

        return transformed[..., :width], gradient

    return planes(spectrum)


def hermitian_edges(frequencies: tf.Tensor) -> tf.Tensor:
    """Make the first and the last column of a half spectrum those of a real image.

    Args:
        frequencies: shape (..., height, frequency), complex64; the last frequency is half a wave per pixel.

    Returns:
        the same shape and type.

    In these two columns, rows k and -k stand for the same wave, so a real image has conjugate numbers there.
    TensorFlow's transform on CPUs uses the part that both numbers agree on and drops the rest, and so does this
    function. The transform on NVIDIA's GPUs (cuFFT) expects conjugate numbers. If they are not conjugate, it reads one,
    the other or both, depending on the batch.
    """
    edges = tf.stack([frequencies[..., 0], frequencies[..., -1]], axis=-1)
    mirrored = tf.math.conj(tf.roll(tf.reverse(edges, axis=[-2]), shift=1, axis=-2))
    edges = (edges + mirrored) / 2
    return tf.concat([edges[..., :1], frequencies[..., 1:-1], edges[..., 1:]], axis=-1)
