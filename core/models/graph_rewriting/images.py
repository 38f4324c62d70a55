"""The input of images: a placeholder of float images with channels last, whatever the graph takes.

Graphs also take integers, channels first, images and other numbers, or the bytes of files, which they decode. They may
also be cut at any node, whose place the images then take.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.models.graph.safety import node_name
from core.models.graph_rewriting.nodes import (
    FLOAT,
    Nodes,
    edges,
    number_of,
    plain,
    port,
    set_sizes,
    sizes_of,
    text_of,
    type_of,
)
from core.models.graph_rewriting.shapes import BINARY, PICTURES, UNARY

_RANGES = {4: (0.0, 255.0), 17: (0.0, 65535.0), 6: (-128.0, 127.0), 5: (0.0, 255.0), 3: (0.0, 255.0), 9: (0.0, 255.0)}
"""Integer type -> the values that black and white have in images of this type."""
_NUMBERS = frozenset((FLOAT, *_RANGES))
_PLACEHOLDERS = ("Placeholder", "PlaceholderWithDefault")
_DECODERS = frozenset("DecodeAndCropJpeg DecodeBmp DecodeImage DecodeJpeg DecodePng".split())
_STACKS = frozenset("TensorArrayGatherV3 TensorListStack".split())
"""Operations that put images together which a loop has decoded one by one."""
_PASSING = frozenset(
    """
    DepthToSpace ExpandDims Identity MirrorPad Pad Reshape ResizeNearestNeighbor ReverseV2 Slice SpaceToDepth Split
    Squeeze StopGradient StridedSlice Tile Transpose
    """.split()
)
"""Operations that move values, of whatever type they are."""
_READING = frozenset("CropAndResize Rank ResizeArea ResizeBicubic ResizeBilinear Shape Size".split())
"""Operations that take any type and make a fixed one."""
_LARGEST_ZEROS = 1 << 20
_MOST_CANDIDATES = 8


@dataclass(frozen=True)
class Images:
    """The input of a graph.

    Attributes:
        node: the placeholder of images.
        value_range: the values of black and white if the type of the images tells them.
        channels_first: whether the shape of the images is (batch, channel, height, width).
        beside: other inputs that have become constants for one image, and need one for each image.
    """

    node: str
    value_range: tuple[float, float] | None = None
    channels_first: bool = False
    beside: tuple[str, ...] = ()


def find_images(nodes: Nodes, wanted: str | None) -> Images | None:
    """Return the input of images, a placeholder of float32; other inputs are made constant.

    Args:
        wanted: the tensor whose place images take, or None to choose.

    Returns:
        None if there is no such tensor, none that is the only one that can be of images, or none of numbers.
    """
    placeholders = [name for name in nodes if nodes[name].op in _PLACEHOLDERS]
    tensor = wanted if wanted is not None else _choose(nodes, placeholders)
    if tensor is None or node_name(tensor) not in nodes or tensor.startswith("^"):
        return None
    if node_name(tensor) in placeholders:
        name, dtype = node_name(tensor), type_of(nodes[node_name(tensor)], "dtype")
    else:
        name, dtype = _cut(nodes, tensor)
    value_range = None
    if dtype in _RANGES:
        if not _as_floats(nodes, name, dtype):
            return None
        nodes.edit(name).attr["dtype"].type = FLOAT
        value_range = _RANGES[dtype]
    single = (sizes_of(nodes[name]) or [-1])[0] == 1
    beside = []
    for other in placeholders:
        if other != name and other in nodes:
            sizes = sizes_of(nodes[other])
            if _make_zeros(nodes, other) and sizes and (sizes[0] < 1 or (single and sizes[0] == 1)):
                beside.append(other)
    return Images(name, value_range, _channels_first(nodes, name), tuple(beside))


def _choose(nodes: Nodes, placeholders: Collection[str]) -> str | None:
    """Return the only tensor that can be of images, or None."""
    numbers = [name for name in placeholders if type_of(nodes[name], "dtype") in _NUMBERS]
    if len(placeholders) == 1 and numbers:
        return numbers[0]
    shapes = {name: sizes_of(nodes[name]) for name in numbers}
    pictures = [name for name, sizes in shapes.items() if sizes is not None and len(sizes) == 4]
    likely = [name for name in pictures if {1, 3} & {(shapes[name] or [0])[at] for at in (1, 3)}]
    for candidates in (likely, pictures):
        if candidates:
            return candidates[0] if len(candidates) == 1 else None
    if unknown := [name for name, sizes in shapes.items() if sizes is None]:
        return unknown[0] if len(unknown) == 1 else _before_all_convolutions(nodes, unknown)
    for operations in (_DECODERS, _STACKS):
        makers = [name for name in nodes if nodes[name].op in operations]
        if len(makers) == 1:
            return makers[0]
    return None


def _before_all_convolutions(nodes: Nodes, candidates: Collection[str]) -> str | None:
    """Return the only one of some placeholders that all convolutions depend on, or None."""
    if len(candidates) > _MOST_CANDIDATES:
        return None
    convolutions = {name for name in nodes if nodes[name].op in ("Conv2D", "DepthwiseConv2dNative")}
    found = [name for name in candidates if convolutions and convolutions <= nodes.behind([name])]
    return found[0] if len(found) == 1 else None


def _cut(nodes: Nodes, tensor: str) -> tuple[str, int]:
    """Replace a tensor with a placeholder, and remove what only it depends on; return the node and its type."""
    name, dtype = node_name(tensor), _type_of_output(nodes[node_name(tensor)], port(tensor))
    node = nodes[name]
    decodes = node.op in _DECODERS
    if port(tensor):
        placeholder = nodes.add(f"{name}/output_{port(tensor)}", "Placeholder", types={"dtype": dtype})
        nodes.redirect({plain(tensor): placeholder.name})
    else:
        channels = number_of(node, "channels") or 3
        placeholder = nodes.become(name, "Placeholder", types={"dtype": dtype})
        if decodes:
            set_sizes(placeholder, (-1, -1, -1, channels))
    if not decodes:
        set_sizes(placeholder, None)
    else:
        _decoded_as_batch(nodes, name)
    nodes.keep(nodes.before(nodes.behind([placeholder.name])))
    return str(placeholder.name), dtype


def _type_of_output(node: Any, number: int) -> int:
    """Return the type of an output of a node, 0 if the operation does not tell."""
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(node.op)
    if definition is None:
        return FLOAT
    types: list[int] = []
    for output in definition.output_arg:
        if output.type_list_attr:
            types += node.attr[output.type_list_attr].list.type if output.type_list_attr in node.attr else []
        else:
            count = number_of(node, output.number_attr) if output.number_attr else 1
            types += [output.type or type_of(node, output.type_attr)] * min(count, 1 << 12)
    return types[number] if number < len(types) else 0


def _decoded_as_batch(nodes: Nodes, decoder: str) -> None:
    """Let a batch of images go through nodes that take one decoded image and add the axis of images later."""
    consumers = nodes.consumers()
    ahead = [(user, False) for user in consumers[decoder]]
    seen: set[str] = set()
    while ahead:
        name, batched = ahead.pop()
        node = nodes[name]
        if name in seen:
            continue
        seen.add(name)
        if (batched and _removes_batch(node)) or (not batched and _adds_batch(nodes, node)):
            dtype = type_of(node, "T")
            nodes.become(name, "Identity", edges(node)[0], types={"T": dtype})
            batched = not batched
        elif node.op not in UNARY | BINARY | PICTURES:
            continue
        ahead += [(user, batched) for user in consumers[name]]


def _adds_batch(nodes: Nodes, node: Any) -> bool:
    inputs = edges(node)
    match node.op:
        case "ExpandDims":
            return len(inputs) == 2 and nodes.integers(inputs[1]) == [0]
        case "Pack":
            return len(inputs) == 1 and number_of(node, "axis") == 0
        case "StridedSlice":
            removes = number_of(node, "shrink_axis_mask")
            return len(inputs) == 4 and number_of(node, "new_axis_mask") == 1 and not removes
    return False


def _removes_batch(node: Any) -> bool:
    return node.op == "Squeeze" and "squeeze_dims" in node.attr and list(node.attr["squeeze_dims"].list.i) == [0]


def _as_floats(nodes: Nodes, image: str, dtype: int) -> bool:
    """Let float32 go where integers of an image go, up to where they are cast; return False if that is not possible."""
    users: dict[str, list[str]] = {}
    for name in nodes:
        for edge in edges(nodes[name]):
            users.setdefault(node_name(edge), []).append(name)
    casts: list[str] = []
    passing: dict[str, None] = {}
    ahead = list(users.get(image, ()))
    while ahead:
        name = ahead.pop()
        node = nodes[name]
        if name in passing or name in casts:
            continue
        if node.op == "Cast":
            casts.append(name)
            if type_of(node, "DstT") != FLOAT:
                ahead += users.get(name, ())
        elif node.op in _PASSING | _READING:
            passing[name] = None
            ahead += users.get(name, ()) if node.op in _PASSING else ()
        else:
            return False
    for name in passing:
        nodes.edit(name).attr["T"].type = FLOAT
    for name in casts:
        nodes.become(name, "Identity", *nodes[name].input, types={"T": FLOAT})
    return True


def _make_zeros(nodes: Nodes, name: str) -> bool:
    """Replace an input that is not the images with zeros, or with its default; return whether it was with zeros.

    A probability to keep a value, as dropout had it in TensorFlow 1, becomes 1: all values are kept for inference.
    """
    from tensorflow import as_dtype, make_tensor_proto

    node = nodes[name]
    dtype = type_of(node, "dtype")
    if node.op == "PlaceholderWithDefault" and len(node.input) > 0:
        nodes.become(name, "Identity", node.input[0], types={"T": dtype})
        return False
    shape = [max(1, size) for size in sizes_of(node) or ()]
    if dtype not in _NUMBERS or np.prod(shape, dtype=float) > _LARGEST_ZEROS:
        return False
    keeps = dtype == FLOAT and "keep" in name.lower()
    constant = nodes.become(name, "Const", types={"dtype": dtype})
    value = np.full(shape, 1 if keeps else 0, as_dtype(dtype).as_numpy_dtype)
    constant.attr["value"].tensor.CopyFrom(make_tensor_proto(value))
    return True


def _channels_first(nodes: Nodes, image: str) -> bool:
    """Return whether channels are the second axis of the images; if so, give the placeholder a shape with them last."""
    sizes = sizes_of(nodes[image])
    if sizes is not None and len(sizes) == 4 and (sizes[3] in (1, 3) or sizes[1] not in (1, 3, -1)):
        return False
    if sizes is None or len(sizes) != 4 or sizes[1] not in (1, 3):
        if not _feeds_channels_first(nodes, image):
            return False
        sizes = [-1, 3, -1, -1]
    set_sizes(nodes.edit(image), [sizes[0], sizes[2], sizes[3], sizes[1]])
    return True


def _feeds_channels_first(nodes: Nodes, image: str) -> bool:
    """Return whether images of an unknown shape reach an operation on pictures with channels first."""
    consumers = nodes.consumers()
    ahead, seen = [image], set[str]()
    while ahead:
        for name in consumers[ahead.pop()]:
            node = nodes[name]
            if node.op in PICTURES:
                return text_of(node, "data_format") == "NCHW"
            if name not in seen and node.op in UNARY | BINARY:
                seen.add(name)
                ahead.append(name)
    return False
