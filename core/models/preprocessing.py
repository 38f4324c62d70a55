"""Preprocessing: from the values of an image to those that a network was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from core.errors import ModelError
from core.spec import ModelSpec, Preprocess

if TYPE_CHECKING:
    import tensorflow as tf

_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey, ITU-R BT.601


@dataclass(frozen=True)
class Preprocessing:
    """From the values of an image, RGB in [0, 1], to those that a network expects: (low + (high - low) x - mean) / std.

    Attributes:
        value_range: low and high.
        mean, std: of each channel of the network, in its order, or one for all.
        channels: the order of the channels that the network expects, or grey if all have the luminance.
        depth: number of channels of the network's input, 1 or 3.
        size: (height, width) of the only images that the network takes; others are resized. None: any size.
    """

    value_range: tuple[float, float] = (0.0, 1.0)
    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)
    channels: Literal["rgb", "bgr", "grey"] = "rgb"
    depth: int = 3
    size: tuple[int, int] | None = None

    @classmethod
    def of(cls, spec: ModelSpec) -> Preprocessing:
        """Return the preprocessing of a spec."""
        given = spec.preprocess or Preprocess()
        return cls(spec.value_range or (0.0, 1.0), given.mean, given.std, given.channels)

    def fitted(self, channels: int | None, source: str) -> Preprocessing:
        """Return the preprocessing of a network whose input has this number of channels, None if it is not known.

        Raises:
            ModelError: if the network does not take such images.
        """
        if channels not in (None, 1, 3):
            raise ModelError(f"{source}: expected images of 3 channels, or of 1, found an input of {channels} channels")
        channels = channels or (1 if self.channels == "grey" else 3)
        for key, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                raise ModelError(
                    f"{source}: model.preprocess.{key}: expected {channels} of the network's channels, or 1, got "
                    f"{len(values)} numbers"
                )
        return replace(self, channels="grey" if channels == 1 else self.channels, depth=channels)

    @property
    def reading(self) -> Mapping[str, Any]:
        """The facts that change activations, without those that are as usual."""
        facts: dict[str, Any] = {"value_range": list(self.value_range)}
        if tuple(self.mean) != (0.0,) or tuple(self.std) != (1.0,):
            facts |= {"mean": list(self.mean), "std": list(self.std)}
        if self.channels != "rgb":
            facts["channels"] = self.channels
        if self.size is not None:
            facts["size"] = list(self.size)
        return facts

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Return the images as the network expects them.

        Args:
            images: shape (batch, height, width, 3) in [0, 1].
        """
        import tensorflow as tf

        if self.size is not None and tuple(images.shape[1:3]) != self.size:
            images = tf.raw_ops.ResizeBilinear(images=images, size=self.size, half_pixel_centers=True)
        if self.channels == "bgr":
            images = images[..., ::-1]
        elif self.channels == "grey":
            images = tf.repeat(tf.reduce_sum(images * tf.constant(_LUMA), -1, keepdims=True), self.depth, axis=-1)
        low, high = self.value_range
        values = low + (high - low) * images
        if tuple(self.mean) != (0.0,):
            values -= tf.constant(self.mean, tf.float32)
        if tuple(self.std) != (1.0,):
            values /= tf.constant(self.std, tf.float32)
        return values
