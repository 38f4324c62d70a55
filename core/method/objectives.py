"""Objectives: functions from activations to a scalar that is maximised.

An `Objective` is called with `activations`, a function from layer name to that layer's activations, shape (frame,
height, width, channel) or (frame, class), and returns a scalar. It also knows which layers it reads, so that the model
can be cut after the deepest one. Objectives add, subtract and scale: `channel(a, 1) + 0.1 * alignment(b)`.
Definitions are those of Lucid's `optvis/objectives.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Real

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.neurons import Neuron

Activations = Callable[[str], tf.Tensor]
BatchSlice = int | slice | None

INPUT = "input"
"""A layer that every model has: the finished image before any transform, values in [0, 1]."""

LEAST_COSINE = 0.1
"""The least cosine by which activations count, as in Lucid."""

_FARTHEST_ALIGNED = 4  # Lucid compares frames up to four apart
_LEAST_SQUARE = 1e-30  # of a length; without it, the gradient at positions where a ReLU layer is inactive would be nan


@dataclass(frozen=True)
class Objective:
    """A scalar function of activations, with the layers that it reads and a readable description."""

    value: Callable[[Activations], tf.Tensor]
    layers: frozenset[str]
    description: str

    def __call__(self, activations: Activations) -> tf.Tensor:
        return self.value(activations)

    def __add__(self, other: Objective | float) -> Objective:
        other = _as_objective(other)
        return Objective(
            lambda activations: self(activations) + other(activations),
            self.layers | other.layers,
            f"{self.description} + {other.description}",
        )

    def __mul__(self, other: Objective | float) -> Objective:
        other = _as_objective(other)
        return Objective(
            lambda activations: self(activations) * other(activations),
            self.layers | other.layers,
            f"({self.description}) * ({other.description})",
        )

    def __neg__(self) -> Objective:
        return -1.0 * self

    def __sub__(self, other: Objective | float) -> Objective:
        return self + -1.0 * _as_objective(other)

    def __rsub__(self, other: Objective | float) -> Objective:
        return _as_objective(other) - self

    __radd__ = __add__
    __rmul__ = __mul__

    @staticmethod
    def of(written: str | Objective) -> Objective:
        """Return an objective as it is, or read `layer:n` as that channel."""
        return written if isinstance(written, Objective) else channel(*Neuron.parse(written))

    @staticmethod
    def sum(objectives: Iterable[Objective]) -> Objective:
        """Return the sum of one or more objectives; Python's `sum(...)` works too."""
        first, *rest = objectives
        for objective in rest:
            first = first + objective
        return first


def _as_objective(number: Objective | float) -> Objective:
    if isinstance(number, Objective):
        return number
    if not isinstance(number, Real):
        raise TypeError(f"expected an objective or a number, got {type(number).__name__}")
    constant = float(number)
    return Objective(lambda _activations: tf.constant(constant), frozenset(), f"{constant:g}")


def channel(layer: str, n: int, batch: BatchSlice = None) -> Objective:
    """Return the mean activation of channel *n* over positions and the frames that *batch* selects, all by default."""
    return Objective(
        lambda activations: tf.reduce_mean(_frames(activations(layer), batch)[..., n]),
        frozenset({layer}),
        f"channel {layer}:{n}",
    )


def neuron(layer: str, n: int, x: int | None = None, y: int | None = None, batch: BatchSlice = None) -> Objective:
    """Return the mean over frames of channel *n* at row *x* and column *y* as in Lucid, the centre by default."""
    return Objective(
        lambda activations: tf.reduce_mean(_position(_frames(activations(layer), batch), x, y)[..., n]),
        frozenset({layer}),
        f"neuron {layer}:{n}",
    )


def direction(layer: str, vec: Array, cossim_pow: float = 0, batch: BatchSlice = None) -> Objective:
    """Return the mean over positions of the inner product with a direction, shape (channel,).

    With *cossim_pow* p each position is weighted by max(0.1, cosine)^p, with the cosine of activation and direction.
    """
    vector = tf.constant(vec, tf.float32)
    return Objective(
        lambda activations: _along(_frames(activations(layer), batch), vector, cossim_pow),
        frozenset({layer}),
        f"direction in {layer}",
    )


def direction_neuron(
    layer: str,
    vec: Array,
    x: int | None = None,
    y: int | None = None,
    cossim_pow: float = 0,
    batch: BatchSlice = None,
) -> Objective:
    """Return `direction` at one position: row *x* and column *y* as in Lucid, the centre by default."""
    vector = tf.constant(vec, tf.float32)
    return Objective(
        lambda activations: _along(_position(_frames(activations(layer), batch), x, y), vector, cossim_pow),
        frozenset({layer}),
        f"direction in one position of {layer}",
    )


def deepdream(layer: str) -> Objective:
    """Return the mean square of a layer, which amplifies what the layer already sees."""
    return Objective(
        lambda activations: tf.reduce_mean(activations(layer) ** 2), frozenset({layer}), f"deepdream {layer}"
    )


def diversity(layer: str) -> Objective:
    """Return the similarity of frames in style; with a negative weight they become different.

    It is the sum over pairs of different frames of the inner product of their Gram matrices, each scaled to length 1,
    divided by the number of frames. The Gram matrix of features F, shape (position, channel), is F^T F.
    """

    def value(activations: Activations) -> tf.Tensor:
        t = activations(layer)
        features = tf.reshape(t, (t.shape[0], -1, t.shape[-1]))
        grams = tf.reshape(tf.matmul(features, features, transpose_a=True), (t.shape[0], -1))
        grams = tf.nn.l2_normalize(grams, axis=1, epsilon=1e-10)
        products = tf.matmul(grams, grams, transpose_b=True)
        return (tf.reduce_sum(products) - tf.linalg.trace(products)) / t.shape[0]

    return Objective(value, frozenset({layer}), f"diversity {layer}")


def l1(layer: str = INPUT, constant: float = 0) -> Objective:
    """Return the sum of the distances from *constant*."""
    return Objective(
        lambda activations: tf.reduce_sum(tf.abs(activations(layer) - constant)), frozenset({layer}), f"L1 {layer}"
    )


def l2(layer: str = INPUT, constant: float = 0, epsilon: float = 1e-6) -> Objective:
    """Return the Euclidean distance from *constant*, smoothed by *epsilon* at zero."""
    return Objective(
        lambda activations: tf.sqrt(epsilon + tf.reduce_sum((activations(layer) - constant) ** 2)),
        frozenset({layer}),
        f"L2 {layer}",
    )


def total_variation(layer: str = INPUT) -> Objective:
    """Return the sum over frames of the absolute differences of neighbouring positions, horizontal and vertical."""
    return Objective(
        lambda activations: tf.reduce_sum(tf.image.total_variation(activations(layer))),
        frozenset({layer}),
        f"total variation {layer}",
    )


def channel_interpolate(layer1: str, n1: int, layer2: str, n2: int) -> Objective:
    """Return a linear mix of two channels per frame, from only the first to only the second, summed over frames.

    Frame i of N has (1 - w) * channel 1 + w * channel 2 with w = i / (N - 1), each a mean over positions. A single
    frame has w = 0 (Lucid gives nan). The layers may differ in size.
    """

    def value(activations: Activations) -> tf.Tensor:
        t1, t2 = activations(layer1), activations(layer2)
        weights = interpolation_weights(t1.shape[0])
        return tf.reduce_sum((1 - weights) * mean_over_positions(t1)[:, n1] + weights * mean_over_positions(t2)[:, n2])

    return Objective(value, frozenset({layer1, layer2}), f"interpolate {layer1}:{n1} to {layer2}:{n2}")


def direction_interpolate(layer1: str, vec1: Array, layer2: str, vec2: Array) -> Objective:
    """Return `channel_interpolate` for two directions, shape (channel,): each activation is an inner product with one.

    The directions may be of different layers.
    """
    first, second = tf.constant(vec1, tf.float32), tf.constant(vec2, tf.float32)

    def value(activations: Activations) -> tf.Tensor:
        t1, t2 = activations(layer1), activations(layer2)
        weights = interpolation_weights(t1.shape[0])
        along1, along2 = (tf.linalg.matvec(mean_over_positions(t), vec) for t, vec in ((t1, first), (t2, second)))
        return tf.reduce_sum((1 - weights) * along1 + weights * along2)

    return Objective(value, frozenset({layer1, layer2}), f"interpolate directions in {layer1} and {layer2}")


def alignment(layer: str, decay_ratio: float = 2) -> Objective:
    """Return minus the differences between frames in a layer: a positive weight keeps landmarks in place.

    It is - sum over distances d = 1..4 of sum over i of mean((A[i] - A[i + d])^2) / decay_ratio^d, the mean being over
    positions and channels.
    """

    def value(activations: Activations) -> tf.Tensor:
        t = activations(layer)
        return frame_alignment(t[None], alignment_factor(t.shape[0], decay_ratio))[0]

    return Objective(value, frozenset({layer}), f"alignment {layer} (decay {decay_ratio:g})")


# What the functions above share with the fast path --------------------------------------------------------------------


def interpolation_weights(frames: int) -> Array:
    """Return the second neuron's share in each frame, 0 to 1 in equal steps, shape (frame,)."""
    return np.linspace(0, 1, frames, dtype=np.float32)


def mean_over_positions(t: tf.Tensor) -> tf.Tensor:
    """Reduce (batch, height, width, channel) to (batch, channel); return a layer without positions as it is."""
    return t if len(t.shape) == 2 else tf.reduce_mean(t, axis=(1, 2))


def lengths(t: tf.Tensor) -> tf.Tensor:
    """Return the Euclidean lengths along the last axis; the gradient of a length of 0 is 0."""
    return tf.sqrt(tf.maximum(tf.reduce_sum(t**2, axis=-1), _LEAST_SQUARE))


def counted_by_cosine(products: tf.Tensor, length: tf.Tensor, direction: tf.Tensor, power: float) -> tf.Tensor:
    """Return inner products of activations with a direction, each times max(0.1, cosine)^power as in Lucid.

    Args:
        length: lengths of the activations.
        direction: length of the direction.
    """
    cosine = products / (1e-4 + length) / (1e-4 + direction)
    return products * tf.maximum(LEAST_COSINE, cosine) ** power


def alignment_factor(frames: int, decay_ratio: float, *, first: float = 1.0) -> Array:
    """Return a matrix R with |R A|^2 = sum over pairs of frames of weight * (A[i] - A[j])^2 for every A.

    The sum is a quadratic form whose matrix is the Laplacian of the graph of compared frames. Its eigenvectors,
    scaled by the roots of their eigenvalues, are the rows of R; the constant vector, with eigenvalue 0, drops out. One
    small product then replaces a difference for each of the pairs.

    Args:
        first: weight of the differences from the first frame.

    Returns:
        shape (frame - 1, frame), float32.
    """
    apart = np.abs(np.subtract.outer(np.arange(frames), np.arange(frames)))
    compared = (apart >= 1) & (apart <= _FARTHEST_ALIGNED)
    weights = np.where(compared, 1.0 / np.power(float(decay_ratio), apart), 0.0)
    weights[0] *= first
    weights[:, 0] *= first
    laplacian = np.diag(weights.sum(axis=1)) - weights
    values, vectors = np.linalg.eigh(laplacian)
    return (np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T)[1:].astype(np.float32)


def frame_alignment(t: tf.Tensor, factor: tf.Tensor | Array) -> tf.Tensor:
    """Return the value of `alignment` for several strips at once.

    Args:
        t: activations, shape (strip, frame, ...).
        factor: see `alignment_factor`.

    Returns:
        shape (strip,), at most 0.
    """
    flat = tf.reshape(t, (*t.shape[:2], -1))
    # The factor includes the division for the mean. After the squares, the divisor would be a constant as large as the
    # activations. TensorFlow folds such a constant into others if it is small enough, so rounding would depend on the
    # batch.
    numbers = tf.cast(tf.shape(flat)[2], tf.float32)
    differences = tf.matmul(factor / tf.sqrt(numbers), flat)
    # The last axis is summed first: many small squares lose no precision that way.
    return -tf.reduce_sum(tf.reduce_sum(differences**2, axis=2), axis=1)


def _frames(t: tf.Tensor, batch: BatchSlice) -> tf.Tensor:
    if isinstance(batch, int):
        batch = slice(batch, batch + 1)
    return t if batch is None else t[batch]


def _position(t: tf.Tensor, x: int | None, y: int | None) -> tf.Tensor:
    """Reduce (frame, height, width, channel) to (frame, channel) at row *x* and column *y*, the centre by default."""
    if len(t.shape) == 2:
        return t
    row = tf.shape(t)[1] // 2 if x is None else x
    column = tf.shape(t)[2] // 2 if y is None else y
    return t[:, row, column]


def _along(t: tf.Tensor, vector: tf.Tensor, cossim_pow: float) -> tf.Tensor:
    product = tf.reduce_sum(t * vector, axis=-1)
    if cossim_pow == 0:
        return tf.reduce_mean(product)
    return tf.reduce_mean(counted_by_cosine(product, lengths(t), lengths(vector), cossim_pow))
