"""Networks that were exported for one image at a time take several: constants that say "one image" are replaced.

In memory, the images of a batch follow one another. A reshape to sizes that are all fixed therefore means the same for
each image of a batch if its first size becomes free.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core.models.graph.safety import node_name
from core.models.graph_rewriting.nodes import INT32, Nodes, edges, number_of, type_of
from core.models.graph_rewriting.shapes import BINARY, PADS, PICTURES, REDUCTIONS, UNARY, depends_on, in_order, rank

_KEEPING = (
    UNARY
    | BINARY
    | PADS
    | PICTURES
    | frozenset(
        """
        AddN BatchMatMul BatchMatMulV2 BatchMatMulV3 BiasAdd Einsum FakeQuantWithMinMaxVars
        FakeQuantWithMinMaxVarsPerChannel IdentityN LogSoftmax MatMul Reshape Select SelectV2 Slice Softmax
        SpaceToBatchND SplitV Squeeze Tile
        """.split()
    )
)
"""Operations whose output has the images one after another if their input has."""


def for_several_images(nodes: Nodes, image: str, beside: Sequence[str]) -> None:
    """Replace constants that restrict a batch to one image.

    Args:
        image: the placeholder of images.
        beside: constants for one image that take the place of other inputs.
    """
    order = in_order(nodes)
    if order is None:
        return
    batch = _Batch(nodes, image)
    for name in beside:
        batch.repeat(name)
    major = {image}
    for name in order:
        if depends_on(nodes, major, name):
            match nodes[name].op:
                case "Reshape":
                    batch.reshape(name, major)
                case "Squeeze":
                    batch.squeeze(name)
                case "ConcatV2":
                    batch.concatenation(name, major)
            if _keeps_batch(nodes, name, major):
                major.add(name)


class _Batch:
    """The number of images, as nodes that are added when they are first used."""

    def __init__(self, nodes: Nodes, image: str) -> None:
        self._nodes = nodes
        self._image = image
        self._found: dict[bool, str] = {}

    def repeat(self, name: str) -> None:
        """Repeat a constant for one image, whose first axis is that of images, for each image."""
        node = self._nodes[name]
        dtype, sizes = type_of(node, "dtype"), self._constant_sizes(name) or [1]
        one = self._nodes.add(f"{name}/one", "Const", types={"dtype": dtype})
        one.attr["value"].CopyFrom(node.attr["value"])
        parts = [self._number(), self._constant(f"{name}/ones", [1] * (len(sizes) - 1), INT32)]
        times = self._joined(name, parts[: len(sizes)])
        self._nodes.become(name, "Tile", one.name, times, types={"T": dtype, "Tmultiples": INT32})
        self._nodes.added.add(name)

    def reshape(self, name: str, major: set[str]) -> None:
        """Let a reshape keep the images apart whose sizes say that there is one."""
        inputs = edges(self._nodes[name])
        if len(inputs) != 2 or node_name(inputs[0]) not in major:
            return
        sizes, shape = self._nodes.integers(inputs[1]), self._nodes.original(inputs[1])
        dtype = type_of(self._nodes[name], "Tshape") or INT32
        if sizes and min(sizes) > 0:
            self._set_input(name, 1, self._constant(f"{name}/sizes", [-1, *sizes[1:]], dtype))
        elif sizes and sizes[0] == 1 and len(sizes) > 1:
            rest = self._constant(f"{name}/rest", sizes[1:], INT32)
            self._set_input(name, 1, self._joined(name, [self._number(), rest]))
            self._nodes.edit(name).attr["Tshape"].type = INT32
        elif shape.op == "Pack" and dtype == INT32 and edges(shape) and self._nodes.integers(edges(shape)[0]) == [1]:
            parts = [self._number(scalar=True), *edges(shape)[1:]]
            copy = self._nodes.add(f"{name}/sizes", "Pack", *parts, types={"T": INT32})
            copy.attr["N"].i = len(parts)
            self._set_input(name, 1, copy.name)

    def squeeze(self, name: str) -> None:
        """Let a squeeze without axes keep the axis of images, of which there may be one."""
        node = self._nodes[name]
        axes = node.attr["squeeze_dims"].list.i if "squeeze_dims" in node.attr else []
        count = rank(self._nodes, edges(node)[0])
        if not axes and count in (3, 4):
            self._nodes.edit(name).attr["squeeze_dims"].list.i[:] = range(1, count - 1)

    def concatenation(self, name: str, major: set[str]) -> None:
        """Repeat constants for one image, such as the class token, for each image."""
        inputs = edges(self._nodes[name])
        axis = self._nodes.integers(inputs[-1]) if len(inputs) > 1 else None
        if axis is None or len(axis) != 1 or axis[0] == 0:
            return
        for at, edge in enumerate(inputs[:-1]):
            sizes = self._constant_sizes(edge)
            if node_name(edge) in major or sizes is None or len(sizes) < 2 or sizes[0] != 1 or axis[0] == -len(sizes):
                continue
            ones = self._constant(f"{name}/ones", [1] * (len(sizes) - 1), INT32)
            times = self._joined(f"{name}/{at}", [self._number(), ones])
            dtype = type_of(self._nodes[name], "T")
            tiled = self._nodes.add(f"{name}/for_each", "Tile", edge, times, types={"T": dtype, "Tmultiples": INT32})
            self._set_input(name, at, tiled.name)

    def _constant_sizes(self, tensor: str) -> list[int] | None:
        """Return the sizes of a tensor that is computed from constants, if its node tells them."""
        node = self._nodes.original(tensor)
        inputs = edges(node)
        if node.op == "Const" and "value" in node.attr:
            return [int(dimension.size) for dimension in node.attr["value"].tensor.tensor_shape.dim]
        constants = bool(inputs) and all(self._nodes.original(edge).op == "Const" for edge in inputs)
        if constants and node.op in ("BroadcastTo", "Reshape") and len(inputs) == 2:
            return self._nodes.integers(inputs[1])
        return self._nodes.integers(inputs[0]) if constants and node.op == "Fill" else None

    def _number(self, *, scalar: bool = False) -> str:
        """Return the number of images, as a list of one number or as a scalar."""
        if scalar not in self._found:
            name = f"{self._image}/batch" if scalar else f"{self._image}/batches"
            types = {"T": 1, "out_type": INT32}
            shape = self._nodes.add(f"{name}/shape", "Shape", self._image, types=types).name
            first, second = (self._constant(f"{name}/{at}", [at], INT32) for at in (0, 1))
            types = {"T": INT32, "Index": INT32}
            part = self._nodes.add(name, "StridedSlice", shape, first, second, second, types=types)
            part.attr["shrink_axis_mask"].i = int(scalar)
            self._found[scalar] = part.name
        return self._found[scalar]

    def _joined(self, name: str, parts: list[str]) -> str:
        if len(parts) == 1:
            return parts[0]
        axis = self._constant(f"{name}/axis", 0, INT32)
        node = self._nodes.add(f"{name}/sizes", "ConcatV2", *parts, axis, types={"T": INT32, "Tidx": INT32})
        node.attr["N"].i = len(parts)
        return str(node.name)

    def _constant(self, name: str, values: Any, dtype: int) -> str:
        return self._nodes.constant(name, np.array(values, np.int32 if dtype == INT32 else np.int64))

    def _set_input(self, name: str, place: int, tensor: str) -> None:
        self._nodes.edit(name).input[place] = tensor


def _keeps_batch(nodes: Nodes, name: str, major: set[str]) -> bool:
    """Return whether the images follow one another in the output of a node too."""
    node = nodes[name]
    inputs = edges(node)
    if node.op in _KEEPING:
        return True
    match node.op:
        case "Transpose":
            axes = nodes.integers(inputs[1]) if len(inputs) == 2 else None
            return axes is not None and axes[:1] == [0]
        case "ConcatV2":
            axis = nodes.integers(inputs[-1])
            return axis is not None and axis != [0]
        case "ExpandDims" | "GatherV2" | "Split":
            axis = nodes.integers(inputs[0 if node.op == "Split" else -1])
            return axis is not None and axis != [0]
        case "StridedSlice":
            return not number_of(node, "shrink_axis_mask") & 1 and not number_of(node, "new_axis_mask") & 1
        case "Pack":
            return number_of(node, "axis") != 0
    if node.op in REDUCTIONS:
        axes = nodes.integers(inputs[1]) if len(inputs) == 2 else None
        return axes is not None and 0 not in axes
    return False
