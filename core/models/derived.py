"""Derived layers: a model with layers whose channels are directions in the space of other layers' channels."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from core.arrays import Array
from core.errors import SpecError, short
from core.models.directions import Directions
from core.models.model import Model

if TYPE_CHECKING:
    import tensorflow as tf


class DerivedModel:
    """A model with derived layers beside its own; it is the same function of images.

    Rendering reads the layers that directions are of, and multiplies the means with the rows that it needs. Here whole
    derived layers are computed, for alignment and for objectives in notebooks.

    Args:
        network: the model with its own layers.
        derived: derived layer -> its directions.
    """

    def __init__(self, network: Model, derived: Mapping[str, Directions]) -> None:
        self.network, self.derived = network, derived
        self.name = network.name
        self.alignment_layers: Sequence[str] = network.alignment_layers
        self.supports_bfloat16, self.own_size = network.supports_bfloat16, network.own_size
        self._matrices: dict[str, tf.Tensor] = {}

    @cached_property
    def layers(self) -> Mapping[str, int]:
        """Layer -> channels; a derived layer stands behind the layer that it is derived from."""
        found: dict[str, int] = {}
        for layer, channels in self.network.layers.items():
            found[layer] = channels
            found |= {name: len(each) for name, each in self.derived.items() if each.of == layer}
        return found

    @property
    def unavailable(self) -> Mapping[str, str]:
        """Layer that cannot be computed -> why; see `core.models.model.Model`."""
        return self.network.unavailable

    @property
    def weights_digest(self) -> str:
        """sha256 of the network's weights, in hex; directions are parts of the keys that depend on them."""
        return self.network.weights_digest

    @property
    def reading(self) -> Mapping[str, Any]:
        """Everything but the weights that changes activations; see `core.models.model.Model`."""
        return self.network.reading

    @property
    def own_sizes(self) -> Mapping[str, tuple[int, int] | None]:
        """Layer -> (height, width) for images of the network's own size; see `core.models.model.Model`."""
        found = self.network.own_sizes
        return {layer: found[self._of(layer)] for layer in self.layers} if found else found

    def has_tokens(self, layer: str) -> bool:
        """Return whether the positions of a layer are tokens."""
        return self.network.has_tokens(self._of(layer))

    def kind(self, layer: str) -> str:
        """Return the type of operation that computes a layer, or which layer its directions are of."""
        return f"directions of {self._of(layer)}" if layer in self.derived else self.network.kind(layer)

    def sizes(self, size_px: int) -> Mapping[str, tuple[int, int] | None]:
        """Return layer -> (height, width) for images of *size_px*; see `core.models.model.Model`."""
        found = self.network.sizes(size_px)
        return {layer: found[self._of(layer)] for layer in self.layers}

    def fan_in(self, layer: str) -> Array:
        """Return the weights that feed a layer, shape (channel, weight): the directions of a derived layer."""
        if layer not in self.derived:
            return self.network.fan_in(layer)
        return np.concatenate([rows[:, :-1] for rows in self.derived[layer].blocks()])

    def why_no_fan_in(self, layer: str) -> str | None:
        """Return why no weights that feed a layer are found, or None; directions always are."""
        return None if layer in self.derived else self.network.why_no_fan_in(layer)

    def can_select_channels(self, layers: Collection[str]) -> bool:
        """Return whether some channels of the deepest layer can be computed without the others."""
        return self.derived.keys().isdisjoint(layers) and self.network.can_select_channels(layers)

    def can_mix_channels(self, layers: Collection[str]) -> bool:
        """Return whether products with the channels of the deepest layer can be computed without the channels."""
        return self.derived.keys().isdisjoint(layers) and self.network.can_mix_channels(layers)

    def activations(
        self,
        images: tf.Tensor,
        layers: Collection[str],
        *,
        redirected: bool = False,
        channels: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Return layer -> activations; those of a derived layer are products of all its directions with another's."""
        read = {self._of(layer) for layer in layers}
        found = self.network.activations(images, read, redirected=redirected, channels=channels)
        return {layer: self._along(layer, found[self._of(layer)]) for layer in layers}

    def _of(self, layer: str) -> str:
        return self.derived[layer].of if layer in self.derived else layer

    def _along(self, layer: str, t: tf.Tensor) -> tf.Tensor:
        if layer not in self.derived:
            return t
        import tensorflow as tf

        if layer not in self._matrices:
            with tf.init_scope():  # outside of any graph, in which a constant has at most 2 GB
                self._matrices[layer] = tf.constant(np.concatenate(list(self.derived[layer].blocks())))
        rows = self._matrices[layer]
        return tf.tensordot(tf.cast(t, tf.float32), rows[:, :-1], axes=[[-1], [1]]) + rows[:, -1]


def check_names(network: Model, names: Collection[str]) -> None:
    """Make sure that no derived layer has the name of a layer of the network.

    Raises:
        SpecError: naming the first one that has.
    """
    for name in names:
        if name in network.layers or name in network.unavailable:
            raise SpecError(
                f"model.derived.{name}: expected a name that no layer of {network.name} has, {short(name)} is one; "
                "choose another name"
            )
