"""The layout of a tensor: which axes hold channels, and which tokens are patches of the image.

Channels are where the operations say that they are, which need not be the last axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

_MAKING_CHANNELS = frozenset(
    """
    AvgPool BiasAdd Conv2D Conv2DBackpropInput DepthToSpace DepthwiseConv2dNative FusedBatchNorm FusedBatchNormV2
    FusedBatchNormV3 LRN MaxPool MaxPoolV2 ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor SpaceToDepth
    """.split()
)
"""Operations whose output has its channels last, or first after the batch if their `data_format` says so."""
_FOLLOWING = frozenset(
    "BatchToSpaceND Cumsum MirrorPad Pad PadV2 ReverseV2 Roll SpaceToBatchND Split SplitV Tile".split()
)
"""Operations that keep the number and the meaning of the axes of their data, and whose other inputs are sizes."""
_OTHER_TOKENS = frozenset("Cumsum ReverseV2 Roll".split())
"""The operations among `_FOLLOWING` that move tokens without changing their number."""
_BY_VALUE = frozenset(
    """
    Abs Acos Acosh Add AddN AddV2 Asin Asinh Atan Atan2 Atanh Cast Ceil CheckNumerics ClipByValue Cos Cosh Div
    DivNoNan Elu EnsureShape Equal Erf Erfc Exp Expm1 FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars
    FakeQuantWithMinMaxVarsPerChannel Floor FloorDiv FloorMod Greater GreaterEqual Identity Inv IsFinite IsInf
    IsNan LeakyRelu Less LessEqual Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr LogicalXor Maximum
    Minimum Mod Mul MulNoNan Neg NotEqual OnesLike Pow QuantizeAndDequantizeV2 QuantizeAndDequantizeV3
    QuantizeAndDequantizeV4 RealDiv Reciprocal Relu Relu6 Rint Round Rsqrt Select SelectV2 Selu Sigmoid Sign Sin
    Sinh Snapshot Softmax Softplus Softsign Sqrt Square SquaredDifference StopGradient Sub Tan Tanh TruncateDiv
    TruncateMod Xdivy Xlogy ZerosLike
    """.split()
)
"""Operations that keep each value at its place; their inputs are broadcast."""


@dataclass(frozen=True)
class Patches:
    """Tokens that are patches of the image, row by row, and others around them.

    Attributes:
        before: number of tokens before the patches, such as a class token and registers.
        height, width: of the grid of patches.
        after: number of tokens after the patches.
    """

    before: int
    height: int
    width: int
    after: int = 0

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return self.before + self.height * self.width + self.after


@dataclass(frozen=True)
class Layout:
    """The meaning of a tensor's axes.

    Attributes:
        channels: first axis of the channels, and the axis after their last; several axes are heads or groups.
        patches: what the tokens are, if the tensor is one of tokens that were once a grid.
    """

    channels: tuple[int, int]
    patches: Patches | None = None

    @property
    def axis(self) -> int | None:
        """The only axis of the channels, or None if they have several."""
        first, end = self.channels
        return first if end == first + 1 else None


def layout_of(operation: tf.Operation, known: Mapping[str, Layout], depending: set[str]) -> Layout | None:
    """Return the layout of an operation's outputs, or None if they have no channels.

    Args:
        known: tensor -> layout, of the operation's inputs.
        depending: the tensors that depend on the images.
    """
    kind: str = operation.type
    if kind in _MAKING_CHANNELS:
        return _of_its_own(operation, known)
    if kind in _RULES:
        return _RULES[kind](operation, known, depending)
    if kind in _FOLLOWING:
        found = known.get(operation.inputs[1 if kind == "Split" else 0].name)
        return replace(found, patches=None) if found and kind in _OTHER_TOKENS else found
    return _of_values(operation, known) if kind in _BY_VALUE else None


def keeps_values(operation: tf.Operation) -> bool:
    """Return whether an operation keeps each value at its place."""
    return operation.type in _BY_VALUE


def _of_its_own(operation: tf.Operation, known: Mapping[str, Layout]) -> Layout | None:
    """Return the layout of an operation that says itself where its channels are."""
    rank = operation.outputs[0].shape.rank
    if rank is None:
        return None
    attributes = operation.node_def.attr
    first = attributes["data_format"].s.startswith(b"NC") if "data_format" in attributes else False
    before = known.get(operation.inputs[0].name)
    patches = before.patches if before and operation.type == "BiasAdd" else None
    return Layout((1, 2) if first else (rank - 1, rank), patches)


def _of_values(operation: tf.Operation, known: Mapping[str, Layout]) -> Layout | None:
    """Return the layout of an operation value by value, whose inputs are broadcast, if they agree."""
    rank = operation.outputs[0].shape.rank if operation.outputs else None
    if rank is None:
        return None
    found: list[Layout] = []
    for tensor in operation.inputs:
        size = tensor.shape.rank
        if size is None or size > rank:
            return None
        if tensor.name in known:
            layout, more = known[tensor.name], rank - size
            found.append(replace(layout, channels=(layout.channels[0] + more, layout.channels[1] + more)))
    if len({layout.channels for layout in found}) != 1:
        return None
    return replace(found[0], patches=next((layout.patches for layout in found if layout.patches), None))


def _of_product(operation: tf.Operation, known: Mapping[str, Layout], depending: set[str]) -> Layout | None:
    """Return the layout of a product with weights: the channels are its columns, unless it mixes positions."""
    left, right = operation.inputs
    rank = operation.outputs[0].shape.rank
    if rank is None or right.name in depending:
        return None
    layout = known.get(left.name)
    if layout and layout.channels[1] < rank == left.shape.rank:
        return layout
    return Layout((rank - 1, rank), _patches(known, left))


def _of_einsum(operation: tf.Operation, known: Mapping[str, Layout], depending: set[str]) -> Layout | None:
    """Return the layout of an Einstein sum with weights.

    The channels are the axes that the weights bring, unless it sums over positions and keeps the channels.
    """
    terms, _, result = operation.get_attr("equation").decode().partition("->")
    parts = terms.split(",")
    data = [place for place, tensor in enumerate(operation.inputs) if tensor.name in depending]
    if len(data) != 1 or len(parts) != len(operation.inputs) or "." in terms:
        return None
    labels, layout = parts[data[0]], known.get(operation.inputs[data[0]].name)
    kept = labels[slice(*layout.channels)] if layout else ""
    if not kept or not set(kept) <= set(result):
        kept = "".join(label for label in result if label not in labels)
    at = result.find(kept)
    return Layout((at, at + len(kept)), layout.patches if layout else None) if kept and at > 0 else None


def _of_concatenation(operation: tf.Operation, known: Mapping[str, Layout], depending: set[str]) -> Layout | None:
    """Return the layout that all inputs with channels share; other tokens may stand before and after patches."""
    tensors = list(operation.inputs)
    axis_input = tensors.pop(0 if operation.type == "Concat" else -1)
    found = [known[tensor.name] for tensor in tensors if tensor.name in known]
    if not found or len({layout.channels for layout in found}) != 1:
        return None
    axis, rank = _constant(axis_input), operation.outputs[0].shape.rank
    placed = next((place for place, tensor in enumerate(tensors) if _patches(known, tensor)), None)
    if axis is None or rank is None or placed is None or int(axis) % rank in range(*found[0].channels):
        return found[0]
    patches, counts = _patches(known, tensors[placed]), [tensor.shape[int(axis) % rank] or 0 for tensor in tensors]
    assert patches is not None
    before, after = patches.before + sum(counts[:placed]), patches.after + sum(counts[placed + 1 :])
    return replace(found[0], patches=replace(patches, before=before, after=after))


def _of_transpose(operation: tf.Operation, known: Mapping[str, Layout], depending: set[str]) -> Layout | None:
    data, order = operation.inputs
    layout, places = known.get(data.name), _constant(order)
    if layout is None or places is None:
        return None
    new = sorted(list(places).index(axis) for axis in range(*layout.channels))
    return replace(layout, channels=(new[0], new[-1] + 1)) if new[-1] - new[0] < len(new) else None


def _of_reshape(operation: tf.Operation, known: Mapping[str, Layout], depending: set[str]) -> Layout | None:
    """Return the layout after a reshape that keeps the channels together: as many values of them and behind them."""
    data = operation.inputs[0]
    layout, before, after = known.get(data.name), data.shape, operation.outputs[0].shape
    if layout is None or before.rank is None or after.rank is None:
        return None
    first, end = layout.channels
    channels, behind = _product(before[first:end]), _product(before[end:])
    if channels is None or behind is None:
        return None
    for width in range(1, after.rank):
        for start in range(1, after.rank + 1 - width):
            place = (start, start + width)
            if _product(after[start : place[1]]) == channels and _product(after[place[1] :]) == behind:
                return Layout(place, _flattened(before, layout, after, place))
    return None


def _flattened(before: Any, layout: Layout, after: Any, channels: tuple[int, int]) -> Patches | None:
    """Return the patches of tokens that were a grid before a reshape."""
    if after.rank != 3 or channels[1] != channels[0] + 1:
        return None
    tokens = after[3 - channels[0]]
    if before.rank == 3:
        return layout.patches
    positions = [size for axis, size in enumerate(before) if axis > 0 and axis not in range(*layout.channels)]
    if len(positions) != 2 or None in positions or math.prod(positions) != tokens:
        return None
    return Patches(0, *positions)


def _of_reduction(operation: tf.Operation, known: Mapping[str, Layout], depending: set[str]) -> Layout | None:
    layout, rank = known.get(operation.inputs[0].name), operation.inputs[0].shape.rank
    axes = _constant(operation.inputs[1]) if len(operation.inputs) > 1 else None
    if layout is None or rank is None or axes is None:
        return None
    reduced = {int(axis) % rank for axis in np.ravel(axes)}
    if not reduced.isdisjoint(range(*layout.channels)):
        return None
    kept = operation.type != "ArgMax" and operation.get_attr("keep_dims")
    return _shifted(layout, 0 if kept else -sum(axis < layout.channels[0] for axis in reduced))


def _of_other_rank(operation: tf.Operation, known: Mapping[str, Layout], depending: set[str]) -> Layout | None:
    """Return the layout after an operation that adds or removes axes, or takes parts of one."""
    data = operation.inputs[0]
    layout, rank = known.get(data.name), data.shape.rank
    if layout is None or rank is None:
        return None
    first = layout.channels[0]
    match operation.type:
        case "ExpandDims":
            at = _constant(operation.inputs[1])
            return None if at is None else _shifted(layout, int(int(at) % (rank + 1) <= first))
        case "Squeeze":
            given = [int(axis) % rank for axis in operation.get_attr("squeeze_dims")]
            gone = given or [axis for axis, size in enumerate(data.shape) if size == 1]
            return None if first in gone else _shifted(layout, -sum(axis < first for axis in gone))
        case "Unpack":
            axis = operation.get_attr("axis") % rank
            return None if axis in range(*layout.channels) else _shifted(layout, -int(axis < first))
        case _:
            at, more = _constant(operation.inputs[2]), (operation.inputs[1].shape.rank or 0) - 1
            if at is None or operation.get_attr("batch_dims"):
                return None
            axis = int(at) % rank
            if axis in range(*layout.channels):
                return layout if more == 0 else None
            return replace(_shifted(layout, more if axis < first else 0), patches=None)


def _of_slice(operation: tf.Operation, known: Mapping[str, Layout], depending: set[str]) -> Layout | None:
    data, begin, _ = operation.inputs
    layout, starts = known.get(data.name), _constant(begin)
    if layout is None or starts is None:
        return layout
    return _cut(layout, data, operation.outputs[0], [int(start) for start in starts])


def _of_strided_slice(operation: tf.Operation, known: Mapping[str, Layout], depending: set[str]) -> Layout | None:
    """Return the layout of a slice with steps, unless it adds axes or leaves some out by an ellipsis."""
    data, begin, _, steps = operation.inputs
    layout, starts, strides = known.get(data.name), _constant(begin), _constant(steps)
    masks = {key: int(operation.get_attr(f"{key}_mask")) for key in ("begin", "shrink_axis", "new_axis", "ellipsis")}
    if layout is None or starts is None or strides is None or masks["new_axis"]:
        return None
    ellipsis, more = masks["ellipsis"], (data.shape.rank or 0) - len(starts)
    removed, begins = [], [0] * (data.shape.rank or 0)
    for place, start in enumerate(starts):
        axis = place + (more if ellipsis and (1 << place) > ellipsis else 0)
        if masks["shrink_axis"] >> place & 1:
            removed.append(axis)
        elif not masks["begin"] >> place & 1 and not ellipsis >> place & 1 and strides[place] == 1:
            begins[axis] = int(start)
    if not set(removed).isdisjoint(range(*layout.channels)):
        return None
    if removed:
        return _shifted(layout, -sum(axis < layout.channels[0] for axis in removed))
    return _cut(layout, data, operation.outputs[0], begins)


def _cut(layout: Layout, data: tf.Tensor, part: tf.Tensor, begins: Sequence[int]) -> Layout:
    """Return the layout of a part of a tensor: tokens may be left out before and after the patches."""
    patches, axis = layout.patches, layout.axis
    if patches is None or axis is None:
        return layout
    count, left = data.shape[3 - axis] or 0, part.shape[3 - axis] or 0
    before = patches.before - begins[3 - axis] % max(1, count)
    after = patches.after - (count - left - (patches.before - before))
    whole = before >= 0 and after >= 0
    return replace(layout, patches=replace(patches, before=before, after=after) if whole else None)


def _shifted(layout: Layout, by: int) -> Layout:
    """Return the layout of a tensor with more or fewer axes before its channels."""
    first, end = layout.channels
    return replace(layout, channels=(first + by, end + by))


def _patches(known: Mapping[str, Layout], tensor: tf.Tensor) -> Patches | None:
    return known[tensor.name].patches if tensor.name in known else None


def _product(sizes: Any) -> int | None:
    """Return the product of some sizes, or None if one is unknown."""
    listed = list(sizes)
    return None if None in listed else math.prod(listed)


def _constant(tensor: tf.Tensor) -> Any:
    """Return the value of a tensor that does not depend on the images, or None if it is not known."""
    import tensorflow as tf

    return tf.get_static_value(tensor)


_RULES: Mapping[str, Callable[[tf.Operation, Mapping[str, Layout], set[str]], Layout | None]] = {
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), _of_product),
    **dict.fromkeys(("Concat", "ConcatV2"), _of_concatenation),
    **dict.fromkeys(("Mean", "Max", "Min", "Sum", "Prod", "All", "Any", "ArgMax"), _of_reduction),
    **dict.fromkeys(("GatherV2", "Unpack", "ExpandDims", "Squeeze"), _of_other_rank),
    "Einsum": _of_einsum,
    "Reshape": _of_reshape,
    "Transpose": _of_transpose,
    "StridedSlice": _of_strided_slice,
    "Slice": _of_slice,
}
