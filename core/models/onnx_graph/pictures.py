"""Operations on pictures: pads, other sizes, and channels that become pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from core.models.onnx_graph.node import Node
from core.models.onnx_graph.shapes import items_of
from core.models.onnx_graph.values import (
    Tensor,
    UnknownOperatorError,
    Value,
    are_known,
    as_paddings,
    as_picture,
    as_shape,
    axis_from_start,
    channels_last,
    known,
    size_of,
)

if TYPE_CHECKING:
    import tensorflow as tf


_MOST_REPEATED = 256  # pixels by which an edge is repeated


def pad(
    node: Node, value: Value, widths: Value | None = None, filler: Value | None = None, axes: Value | None = None
) -> Tensor:
    """`Pad` with a constant, a reflection or the edge; negative widths crop."""
    import tensorflow as tf

    assert isinstance(value, Tensor)
    pads = items_of(widths) if widths is not None else list(node.attributes["pads"])
    chosen = (
        [axis_from_start(int(axis), value.rank) for axis in known(axes, "axes")]
        if axes is not None
        else list(range(value.rank))
    )
    before: list[Any] = [0] * value.rank
    after: list[Any] = [0] * value.rank
    for place, axis in enumerate(chosen):
        before[value.axis(axis)], after[value.axis(axis)] = pads[place], pads[place + len(chosen)]
    data, mode = value.data, node.get("mode", "constant")
    if any(isinstance(item, int) and item < 0 for item in before + after):
        crop = [
            slice(-b if isinstance(b, int) and b < 0 else None, a if isinstance(a, int) and a < 0 else None)
            for b, a in zip(before, after, strict=True)
        ]
        data = data[tuple(crop)]
        before, after = ([max(0, item) if isinstance(item, int) else item for item in part] for part in (before, after))
    known_pads, paddings = are_known(before + after), as_paddings(before, after)
    if known_pads and not any(before + after):
        return Tensor(data, value.channels_last, value.channel)
    if mode == "constant":
        fill = float(known(filler, "a filler").reshape(-1)[0]) if filler is not None else node.get("value", 0.0)
        data = tf.pad(data, paddings, constant_values=fill)
    elif mode == "reflect":
        data = tf.pad(data, paddings, "REFLECT")
    elif mode == "edge" and known_pads and max(before + after) <= _MOST_REPEATED:
        for place, (first, final) in enumerate(zip(before, after, strict=True)):
            start: list[Any] = [slice(None)] * value.rank
            end: list[Any] = [slice(None)] * value.rank
            start[place], end[place] = slice(0, 1), slice(-1, None)
            parts = [data[tuple(start)]] * first + [data] + [data[tuple(end)]] * final
            data = tf.concat(parts, place) if len(parts) > 1 else data
    else:
        raise UnknownOperatorError(f"mode {mode!r}")
    return Tensor(data, value.channels_last, value.channel)


def depth_to_space(node: Node, value: Value) -> Tensor:
    """`DepthToSpace`, in both orders, and `SpaceToDepth`."""
    import tensorflow as tf

    x, block = channels_last(value), node.attributes["blocksize"]
    if node.operator == "DepthToSpace" and (x.shape[-1] is None or x.shape[-1] % block**2):
        raise UnknownOperatorError("a number of channels that cannot be divided among the pixels")
    if node.operator == "SpaceToDepth":
        return Tensor(tf.nn.space_to_depth(x, block), True, 1)
    if node.get("mode", "DCR") == "CRD":  # the block comes after the channel, and before it in TensorFlow
        channels = x.shape[-1] // block**2
        order = [c * block**2 + b for b in range(block**2) for c in range(channels)]
        x = tf.gather(x, np.array(order, np.int32), axis=-1)
    return Tensor(tf.nn.depth_to_space(x, block), True, 1)


def resize(node: Node, value: Value, *rest: Value | None) -> Tensor:
    """`Resize` and `Upsample` of height and width: nearest, linear and cubic."""
    import tensorflow as tf

    x = as_picture(value)
    assert isinstance(value, Tensor)
    filled = [*rest, None, None, None][:3]
    scales, sizes = (filled[0], None) if node.operator == "Upsample" or node.opset < 11 else (filled[1], filled[2])
    if isinstance(scales, np.ndarray) and scales.size == 0:
        scales = None
    if list(node.get("axes", [2, 3])) not in ([2, 3], [0, 1, 2, 3]):
        raise UnknownOperatorError("axes that are not height and width in this order")
    if isinstance(scales, np.ndarray) and any(scales[:-2] != 1):
        raise UnknownOperatorError("another number of images or channels")
    if sizes is not None:
        wanted = items_of(sizes)[-2:]
        ratios = [None, None]
    else:
        ratios = known(scales, "scales").astype(float).tolist()[-2:]
        wanted = [_scaled(size_of(value, axis), ratio) for axis, ratio in zip((2, 3), ratios, strict=True)]
    mode = node.get("mode", "nearest")
    where = node.get(
        "coordinate_transformation_mode",
        "half_pixel" if node.opset >= 11 and node.operator == "Resize" else "asymmetric",
    )
    options = ("antialias", "exclude_outside"), node.get("keep_aspect_ratio_policy", "stretch")
    if (
        mode not in _MODES
        or where not in _PLACES
        or any(map(node.attributes.get, options[0]))
        or options[1] != "stretch"
    ):
        raise UnknownOperatorError(f"mode {mode} with {where}, or options of it")
    exact = all(_is_whole(ratio) or ratio is None for ratio in ratios)  # TensorFlow divides the sizes to get the ratio
    if mode == "linear" and exact:
        centred = where.endswith("half_pixel")
        data = tf.raw_ops.ResizeBilinear(
            images=x, size=as_shape(wanted), align_corners=where == "align_corners", half_pixel_centers=centred
        )
        return Tensor(data, True, value.channel)
    for place, (new, ratio) in enumerate(zip(wanted, ratios, strict=True)):
        rounding = node.get("nearest_mode", "round_prefer_floor")
        x = _resized(
            x, place + 1, new, ratio, where, rounding if mode == "nearest" else mode, node.get("cubic_coeff_a", -0.75)
        )
    return Tensor(x, True, value.channel)


_MODES = ("nearest", "linear", "cubic")
_PLACES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")


def _resized(
    x: tf.Tensor, axis: int, new: Any, ratio: float | None, where: str, method: str, slope: float
) -> tf.Tensor:
    """Resize one axis of a picture, pixel by pixel.

    Args:
        new: the new size.
        ratio: of the new size to the old one, which may be rounded; None: as the sizes say.
        method: linear, cubic, or how the nearest pixel is found.
        slope: of the cubic kernel at its first zero.
    """
    import tensorflow as tf

    old = tf.cast(tf.shape(x)[axis], tf.float32)
    length = tf.cast(new, tf.float32)
    step = 1.0 / ratio if ratio is not None else old / length
    index = tf.range(length)
    if where == "align_corners":
        place = index * (old - 1.0) / tf.maximum(length - 1.0, 1.0)
    elif where == "asymmetric":
        place = index * step
    else:
        place = (index + 0.5) * step - 0.5
        if where == "pytorch_half_pixel":
            place = tf.where(length > 1.0, place, tf.zeros_like(place))
    last = old - 1.0
    if method not in ("linear", "cubic"):
        nearest = {
            "round_prefer_floor": lambda: -tf.floor(0.5 - place),
            "round_prefer_ceil": lambda: tf.floor(place + 0.5),
            "floor": lambda: tf.floor(place),
            "ceil": lambda: -tf.floor(-place),
        }[method]()
        return tf.gather(x, tf.cast(tf.clip_by_value(nearest, 0.0, last), tf.int32), axis=axis)
    if method == "linear":
        place = tf.clip_by_value(place, 0.0, last)
    before = tf.floor(place)
    part = place - before
    shares = {0: 1.0 - part, 1: part} if method == "linear" else _cubic_shares(part, slope)
    mixed = None
    for offset, share in shares.items():
        pixels = tf.gather(x, tf.cast(tf.clip_by_value(before + float(offset), 0.0, last), tf.int32), axis=axis)
        weighted = pixels * tf.reshape(share, (-1, *(1,) * (3 - axis)))
        mixed = weighted if mixed is None else mixed + weighted
    return mixed


def _cubic_shares(part: tf.Tensor, slope: float) -> dict[int, tf.Tensor]:
    """Return the shares of the four pixels around a place, *part* of a pixel behind the second one (Keys, 1981)."""

    def near(x: tf.Tensor) -> tf.Tensor:  # at most one pixel away
        return ((slope + 2.0) * x - (slope + 3.0)) * x * x + 1.0

    def far(x: tf.Tensor) -> tf.Tensor:  # one to two pixels away
        return ((slope * x - 5.0 * slope) * x + 8.0 * slope) * x - 4.0 * slope

    return {-1: far(part + 1.0), 0: near(part), 1: near(1.0 - part), 2: far(2.0 - part)}


def _is_whole(ratio: Any) -> bool:
    return ratio is not None and float(ratio).is_integer()


def _scaled(length: Any, ratio: float) -> Any:
    import tensorflow as tf

    if isinstance(length, int):
        return math.floor(length * ratio)
    if float(ratio).is_integer():
        return length * int(ratio)
    return tf.cast(tf.floor(tf.cast(length, tf.float32) * ratio), tf.int32)
