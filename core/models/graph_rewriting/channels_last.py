"""Channels last instead of first: TensorFlow's convolutions need them last on a CPU.

A picture of shape (batch, channel, height, width) becomes one of shape (batch, height, width, channel) under the same
name, and so do all pictures that are computed from it value by value. What cannot be computed with channels last, such
as a reshape, takes the picture transposed back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from core.models.graph.safety import node_name
from core.models.graph_rewriting.nodes import INT32, Nodes, edges, number_of, plain, port, text_of, type_of
from core.models.graph_rewriting.shapes import BINARY, PADS, REDUCTIONS, UNARY, axes_of, in_order, rank

_TO_LAST, _TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]
_AXIS = {0: 0, 1: 3, 2: 1, 3: 2}
"""Axis of a picture with channels first -> its axis with channels last."""
_WITH_LAYOUT = frozenset(
    """
    AvgPool BiasAdd Conv2D Conv2DBackpropInput DepthToSpace DepthwiseConv2dNative FusedBatchNorm FusedBatchNormV2
    FusedBatchNormV3 MaxPool MaxPoolV2 SpaceToDepth
    """.split()
)
_ALL_OUTPUTS = frozenset(("IdentityN", "Split", "SplitV"))
"""Operations all of whose outputs are pictures, and not the first one alone."""
_FAKE_QUANT = frozenset(("FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars"))


def channels_last(nodes: Nodes, image: str | None) -> bool:
    """Rewrite a graph that computes with channels first; return whether it does.

    Args:
        image: the placeholder of images if its channels come first; it then takes them last.
    """
    if image is None and not any(
        nodes[name].op in _WITH_LAYOUT and text_of(nodes[name], "data_format") == "NCHW" for name in nodes
    ):
        return False
    order = in_order(nodes)
    if order is None:
        return False
    pictures = _Pictures(nodes, {image} if image is not None else set())
    for name in order:
        pictures.rewrite(name)
    return True


class _Pictures:
    """The pictures of a graph, while its nodes are rewritten one after another.

    Args:
        last: nodes whose pictures have had their channels first and have them last now.
    """

    def __init__(self, nodes: Nodes, last: set[str]) -> None:
        self._nodes = nodes
        self._last = last
        self._transposed: dict[tuple[str, bool], str] = {}
        self._rules: Mapping[str, Callable[[str], bool]] = {
            **dict.fromkeys(_WITH_LAYOUT, self._with_layout),
            **dict.fromkeys(UNARY | BINARY | _FAKE_QUANT | {"AddN", "IdentityN"}, self._value_by_value),
            **dict.fromkeys(REDUCTIONS, self._reduction),
            **dict.fromkeys(PADS, self._pad),
            **dict.fromkeys(("Concat", "ConcatV2"), self._concatenation),
            **dict.fromkeys(("Split", "SplitV"), self._split),
            **dict.fromkeys(("SpaceToBatchND", "BatchToSpaceND"), self._blocks),
            "Transpose": self._transpose,
            "Squeeze": self._squeeze,
        }

    def rewrite(self, name: str) -> None:
        """Rewrite a node, whose inputs have been rewritten."""
        node = self._nodes[name]
        rule = self._rules.get(node.op)
        if rule is not None and len(edges(node)) > 0 and rule(name):
            return
        first = {plain(edge): self._first(edge) for edge in edges(node) if self._is_last(edge)}
        if first:
            self._set_inputs(name, [first.get(plain(edge), edge) for edge in edges(node)])

    def _is_last(self, tensor: str) -> bool:
        name = node_name(tensor)
        return name in self._last and (port(tensor) == 0 or self._nodes[name].op in _ALL_OUTPUTS)

    def _can_be_last(self, tensor: str) -> bool:
        return self._is_last(tensor) or rank(self._nodes, tensor) == 4

    def _to_last(self, tensor: str) -> str:
        return tensor if self._is_last(tensor) else self._permuted(tensor, last=True)

    def _first(self, tensor: str) -> str:
        return self._permuted(tensor, last=False)

    def _permuted(self, tensor: str, *, last: bool) -> str:
        key = (plain(tensor), last)
        if key not in self._transposed:
            number = f"_{port(tensor)}" if port(tensor) else ""
            name = f"{node_name(tensor)}/channels_{'last' if last else 'first'}{number}"
            axes = self._nodes.constant(f"{name}/axes", np.array(_TO_LAST if last else _TO_FIRST, np.int32))
            dtype = _element_type(self._nodes[node_name(tensor)])
            node = self._nodes.add(name, "Transpose", tensor, axes, types={"T": dtype, "Tperm": INT32})
            self._transposed[key] = node.name
        return self._transposed[key]

    def _set_inputs(self, name: str, data: list[str]) -> Any:
        """Replace the inputs of a node other than control edges, and return the node."""
        node = self._nodes.edit(name)
        control = [edge for edge in node.input if edge.startswith("^")]
        del node.input[:]
        node.input.extend([*data, *control])
        return node

    def _with_layout(self, name: str) -> bool:
        node = self._nodes[name]
        inputs = edges(node)
        if text_of(node, "data_format") != "NCHW":
            return False
        place = 2 if node.op == "Conv2DBackpropInput" else 0
        if len(inputs) <= place or (node.op == "BiasAdd" and not self._can_be_last(inputs[0])):
            return False
        if node.op == "Conv2DBackpropInput":
            inputs[0] = self._sizes(name, inputs[0])
        if node.op == "MaxPoolV2":
            windows = [self._nodes.integers(edge) for edge in inputs[1:]]
            if any(window is None or len(window) != 4 for window in windows):
                return False
            inputs[1:] = [self._constant(name, "window", _last(window or [])) for window in windows]
        inputs[place] = self._to_last(inputs[place])
        node = self._set_inputs(name, inputs)
        node.attr["data_format"].s = b"NHWC"
        for key in ("strides", "dilations", "ksize", "explicit_paddings"):
            values = list(node.attr[key].list.i) if key in node.attr else []
            if len(values) in (4, 8):
                width = len(values) // 4
                pairs = [values[at : at + width] for at in range(0, len(values), width)]
                node.attr[key].list.i[:] = [value for pair in _last(pairs) for value in pair]
        self._last.add(name)
        return True

    def _sizes(self, name: str, sizes: str) -> str:
        """Return the sizes of a picture, in the order of the axes with channels last."""
        known, node = self._nodes.integers(sizes), self._nodes.original(sizes)
        if known is not None:
            return self._constant(name, "sizes", _last(known)) if len(known) == 4 else sizes
        parts = edges(node)
        if node.op == "Pack" and len(parts) == 4:
            copy = self._nodes.add(f"{name}/sizes", "Pack", *_last(parts), types={"T": type_of(node, "T")})
            copy.attr["N"].i = 4
            copy.attr["axis"].i = number_of(node, "axis")
            return str(copy.name)
        axis = self._constant(name, "axis", 0)
        axes = self._constant(name, "axes", _TO_LAST)
        types = {"Tparams": INT32, "Tindices": INT32, "Taxis": INT32}
        return str(self._nodes.add(f"{name}/sizes", "GatherV2", sizes, axes, axis, types=types).name)

    def _constant(self, name: str, what: str, values: Any) -> str:
        return self._nodes.constant(f"{name}/{what}", np.array(values, np.int32))

    def _value_by_value(self, name: str) -> bool:
        inputs = edges(self._nodes[name])
        if not any(map(self._is_last, inputs)):
            return False
        found: list[str] = []
        for edge in inputs:
            constant = None if self._is_last(edge) else self._nodes.value(edge)
            if self._can_be_last(edge) and constant is None:
                found.append(self._to_last(edge))
            elif rank(self._nodes, edge) == 0 or (constant is not None and constant.ndim == 0):
                found.append(edge)
            elif constant is not None and constant.ndim <= 4:
                shape = (1,) * (4 - constant.ndim) + constant.shape
                found.append(self._nodes.constant(f"{name}/value", constant.reshape(shape).transpose(_TO_LAST)))
            else:
                return False
        self._set_inputs(name, found)
        self._last.add(name)
        return True

    def _reduction(self, name: str) -> bool:
        node = self._nodes[name]
        inputs = edges(node)
        axes = axes_of(self._nodes, inputs[1], 4) if len(inputs) == 2 and self._is_last(inputs[0]) else None
        keeps = "keep_dims" in node.attr and node.attr["keep_dims"].b
        if axes is None or not (keeps or 1 in axes or set(axes) >= {2, 3}):
            return False
        self._set_inputs(name, [inputs[0], self._constant(name, "axes", [_AXIS[axis] for axis in axes])])
        self._nodes.edit(name).attr["Tidx"].type = INT32
        if keeps:
            self._last.add(name)
        return True

    def _pad(self, name: str) -> bool:
        inputs = edges(self._nodes[name])
        paddings = self._nodes.value(inputs[1]) if len(inputs) > 1 and self._is_last(inputs[0]) else None
        if paddings is None or paddings.shape != (4, 2):
            return False
        inputs[1] = self._nodes.constant(f"{name}/paddings", paddings[_TO_LAST])
        self._set_inputs(name, inputs)
        self._last.add(name)
        return True

    def _concatenation(self, name: str) -> bool:
        node = self._nodes[name]
        inputs = edges(node)
        place = 0 if node.op == "Concat" else len(inputs) - 1
        axis = self._nodes.integers(inputs[place])
        parts = [edge for at, edge in enumerate(inputs) if at != place]
        if axis is None or not any(map(self._is_last, parts)) or not all(map(self._can_be_last, parts)):
            return False
        if len(axis) != 1 or not -4 <= axis[0] < 4:
            return False
        parts = [self._to_last(edge) for edge in parts]
        parts.insert(place, self._constant(name, "axis", _AXIS[axis[0] % 4]))
        node = self._set_inputs(name, parts)
        if node.op == "ConcatV2":
            node.attr["Tidx"].type = INT32
        self._last.add(name)
        return True

    def _split(self, name: str) -> bool:
        node = self._nodes[name]
        inputs = edges(node)
        value, at = (1, 0) if node.op == "Split" else (0, 2)
        axis = self._nodes.integers(inputs[at]) if len(inputs) > max(value, at) else None
        if axis is None or len(axis) != 1 or not -4 <= axis[0] < 4 or not self._is_last(inputs[value]):
            return False
        inputs[at] = self._constant(name, "axis", _AXIS[axis[0] % 4])
        self._set_inputs(name, inputs)
        self._last.add(name)
        return True

    def _blocks(self, name: str) -> bool:
        """Rewrite a part of a dilated convolution: blocks of several axes, the first of which is that of channels."""
        inputs = edges(self._nodes[name])
        if len(inputs) != 3 or not self._is_last(inputs[0]):
            return False
        blocks, edge = self._nodes.integers(inputs[1]), self._nodes.value(inputs[2])
        if (
            blocks is None
            or len(blocks) != 3
            or blocks[0] != 1
            or edge is None
            or edge.shape != (3, 2)
            or edge[0].any()
        ):
            return False
        sizes = self._nodes.constant(f"{name}/edge", edge[1:])
        self._set_inputs(name, [inputs[0], self._constant(name, "blocks", blocks[1:]), sizes])
        self._nodes.edit(name).attr["Tblock_shape"].type = INT32
        self._last.add(name)
        return True

    def _transpose(self, name: str) -> bool:
        node = self._nodes[name]
        inputs = edges(node)
        axes = self._nodes.integers(inputs[1]) if len(inputs) == 2 else None
        if axes == _TO_FIRST and not self._is_last(inputs[0]):
            self._last.add(name)
        elif axes != _TO_LAST or not self._is_last(inputs[0]):
            return False
        self._nodes.become(name, "Identity", inputs[0], types={"T": type_of(node, "T")})
        return True

    def _squeeze(self, name: str) -> bool:
        node = self._nodes[name]
        axes = [axis % 4 for axis in node.attr["squeeze_dims"].list.i] if "squeeze_dims" in node.attr else []
        if not self._is_last(edges(node)[0]) or sorted(axes) not in ([], [2, 3]):
            return False
        self._nodes.edit(name).attr["squeeze_dims"].list.i[:] = [1, 2]
        return True


def _last(values: list[Any]) -> list[Any]:
    """Return what belongs to the axes of a picture, in the order of the axes with channels last."""
    return [values[axis] for axis in _TO_LAST]


def _element_type(node: Any) -> int:
    """Return the type of the values that a node makes, of one of the operations that make pictures."""
    return type_of(node, "DstT") if node.op == "Cast" else type_of(node, "T") or type_of(node, "dtype") or 1
