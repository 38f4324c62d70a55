"""Comparison of strips that were rendered alone and in a batch, which are equal to the last bit on most processors.

On processors without AVX-512 for neural networks (VNNI), TensorFlow computes some convolutions with Eigen, which rounds
the last positions of a batch differently. ReLUs and Adam then amplify the difference.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf

from core.method.network import network
from core.models.models import load
from core.spec import ModelSpec

_CLOSE = 0.04  # mean difference as a share of the largest value: up to 0.022 was measured, and 0.1 for another strip


@lru_cache
def rounds_alike() -> bool:
    """Return whether the first layers of the default network, and their gradients, are the same in any batch here."""
    layer = "block1_expand_pre_relu"
    of_images = network(load(ModelSpec()), {layer})

    def computed(images: Any) -> list[Any]:
        images = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(images)
            found = of_images(images, False, None)[layer]
            squares = tf.reduce_sum(found * found)
        return [found.numpy(), tape.gradient(squares, images).numpy()]

    for size in (32, 37, 64):
        images = np.random.default_rng(0).random((8, size, size, 3), np.float32)
        halves = [np.concatenate(both) for both in zip(computed(images[:4]), computed(images[4:]), strict=True)]
        if not all(map(np.array_equal, computed(images), halves)):
            warnings.warn(
                "this processor rounds convolutions by their batch: strips are compared roughly", stacklevel=1
            )
            return False
    return True


def assert_same_in_batch(actual: Any, expected: Any) -> None:
    """Assert that arrays are equal to the last bit, or close if this processor rounds convolutions by their batch.

    Args:
        actual: pixels as floats in [0, 1] or as bytes, activations, or an objective.
        expected: the same, rendered in another batch.
    """
    if rounds_alike():
        np.testing.assert_array_equal(actual, expected)
        return
    actual, expected = (np.asarray(each, np.float64) for each in (actual, expected))
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).mean() <= _CLOSE * max(1, np.abs(expected).max())
