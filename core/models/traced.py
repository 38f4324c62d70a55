"""A network's traced functions from images to layers, and the check that the images of a batch are independent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import ModelError, one_line

if TYPE_CHECKING:
    import tensorflow as tf

_TOLERANCE = 1e-3
"""Upper bound on the relative difference between the activations of an image alone and in a batch. Rounding makes about
1e-6; a batch norm in training mode was measured to make 0.02 to 0.6."""

Trace = Callable[[Sequence[str], bool, Any], Any]
"""Returns a function from images to the activations of some layers, given the layers, whether gradients of ReLUs are
redirected, and the shape of the images."""


class TracedNetwork:
    """The functions of a network, each traced once for a set of layers and a shape of the images.

    Args:
        trace: makes a function.
        source: name of the network, for messages.
    """

    def __init__(self, trace: Trace, source: str) -> None:
        self._trace = trace
        self._source = source
        self._functions: dict[tuple[Any, ...], Any] = {}
        self._checked: set[str] = set()

    def activations(self, images: tf.Tensor, layers: Collection[str], redirected: bool) -> dict[str, tf.Tensor]:
        """Return layer -> activations; see `core.models.model.Model`.

        Raises:
            ModelError: if the network rejects images of this size, or its activations depend on more than the image.
        """
        wanted = tuple(sorted(set(layers)))
        if not self._checked.issuperset(wanted):
            self._check_independence(wanted, images.shape)
            self._checked.update(wanted)
        return dict(zip(wanted, self._function(wanted, redirected, images.shape)(images), strict=True))

    def _function(self, wanted: tuple[str, ...], redirected: bool, shape: Any) -> Any:
        key = (wanted, redirected, tuple(shape))
        if key not in self._functions:
            self._functions[key] = self._trace(wanted, redirected, shape)
        return self._functions[key]

    def _check_independence(self, wanted: tuple[str, ...], shape: Any) -> None:
        """Compare the activations of one image alone and among very different images, which are black and white.

        If they differed, the pictures of a pair would depend on the pairs that share its batch.

        Raises:
            ModelError: naming the first layer whose activations differ, or if the network cannot be computed.
        """
        import tensorflow as tf

        batch, *image_shape = shape
        images = np.zeros((max(2, batch or 2), *image_shape), np.float32)
        images[0] = np.random.default_rng(0).uniform(size=image_shape)
        images[1::2] = 1
        with tf.init_scope():  # compute now, also while a function is traced
            try:
                alone, among = (
                    self._function(wanted, False, part.shape)(tf.constant(part)) for part in (images[:1], images)
                )
            except tf.errors.InvalidArgumentError as error:
                reason = one_line(error)
                raise ModelError(f"{self._source}: expected a network that can be computed, {reason}") from None
            for layer, one, other in zip(wanted, alone, among, strict=True):
                if (one.shape[0], other.shape[0]) != (1, len(images)):
                    raise ModelError(f"{self._source}: expected a layer with every image, {layer} has {other.shape}")
                expected, found = one.numpy()[0], other.numpy()[0]
                if np.isnan(expected).any():
                    raise ModelError(f"{self._source}: expected activations that are numbers, {layer} has others")
                difference = np.linalg.norm(expected - found) / (np.linalg.norm(expected) or 1)
                if difference > _TOLERANCE:
                    raise ModelError(
                        f"{self._source}: expected activations that depend on one image alone, those of {layer} change "
                        f"by {difference:.2g} of their size with the other images of the batch, or by chance; export "
                        "the network for inference, with batch normalisation and dropout out of training mode"
                    )
