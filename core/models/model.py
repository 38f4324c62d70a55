"""The interface of an image model of any kind; the rest of the project uses models through this interface only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from core.arrays import Array

if TYPE_CHECKING:
    import tensorflow as tf

    from core.models.directions import Directions


class Model(Protocol):
    """An image model with named layers."""

    @property
    def name(self) -> str: ...

    @property
    def layers(self) -> Mapping[str, int]:
        """Layer -> number of channels, in order from the image on."""

    @property
    def unavailable(self) -> Mapping[str, str]:
        """Layer that the model's file has and that cannot be computed -> why."""

    @property
    def derived(self) -> Mapping[str, Directions]:
        """Derived layer -> its directions; each of `layers` whose channels are directions in another one's space."""

    @property
    def alignment_layers(self) -> Sequence[str]:
        """Layers whose activations keep landmarks in place well."""

    @property
    def weights_digest(self) -> str:
        """sha256 of the weights, in hex."""

    @property
    def reading(self) -> Mapping[str, Any]:
        """Everything but the weights that changes the activations, such as the input and the value range."""

    @property
    def supports_bfloat16(self) -> bool:
        """Whether the model computes in bfloat16 when its images are of that type; other models need float32."""

    @property
    def own_size(self) -> tuple[int, int] | None:
        """Height and width of the images that the network was made for, or None if it has no size of its own.

        Layers that cannot take images of another size see them resized to this one.
        """

    @property
    def own_sizes(self) -> Mapping[str, tuple[int, int] | None]:
        """Layer -> (height, width) for images of the network's own size; empty if it has none."""

    def has_tokens(self, layer: str) -> bool:
        """Return whether the positions of a layer are tokens, as those of transformers."""

    def kind(self, layer: str) -> str:
        """Return the type of operation that computes a layer."""

    def sizes(self, size_px: int) -> Mapping[str, tuple[int, int] | None]:
        """Return layer -> (height, width) for images of *size_px*.

        The size is None for a layer without positions, and for one that does not take images of *size_px*.
        """

    def fan_in(self, layer: str) -> Array:
        """Return the weights that feed a layer, shape (channel, weight)."""

    def why_no_fan_in(self, layer: str) -> str | None:
        """Return why no weights that feed a layer are found, or None if `fan_in` has them."""

    def can_select_channels(self, layers: Collection[str]) -> bool:
        """Return whether some channels of the deepest of these layers can be computed without the others."""

    def can_mix_channels(self, layers: Collection[str]) -> bool:
        """Return whether products with the channels of the deepest of these layers can be computed without them."""

    def activations(
        self,
        images: tf.Tensor,
        layers: Collection[str],
        *,
        redirected: bool = False,
        channels: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Return layer -> activations.

        Args:
            images: shape (batch, height, width, 3) in [0, 1].
            redirected: whether ReLUs have the gradient of `core.models.operations.relu`.
            channels: shape (number,), int32: return only these channels of the deepest layer, in this order. This may
                be given only if `can_select_channels` is true for the layers. Or shape (number, channel), float32:
                return the products of the channels of the deepest layer with these directions in place of the channels,
                if `can_mix_channels` is true for the layers.
        """
