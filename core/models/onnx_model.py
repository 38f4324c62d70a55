"""Networks in ONNX files, as PyTorch and other frameworks export them, translated into a frozen graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import ModelError, one_line, short
from core.machine import device
from core.models.frozen_graph import FrozenGraph
from core.models.kind import ModelKind, check_file
from core.models.onnx_graph.file import OnnxFile, read
from core.models.onnx_graph.names import before_activations, named_tensors
from core.models.onnx_graph.translation import translate
from core.models.onnx_graph.values import FLOATS, Tensor, Value, channels_last
from core.models.onnx_graph.weights import graph_def_of
from core.models.preprocessing import Preprocessing
from core.models.weights import local_weights
from core.spec import ModelSpec

if TYPE_CHECKING:
    import tensorflow as tf

_INPUT = "image"
_BYTES = 2  # TensorProto.UINT8


def onnx_network(
    path: Path, preprocessing: Preprocessing, skipped_tokens: int | None = None, *, default_range: bool = False
) -> FrozenGraph:
    """Return the network in an ONNX file.

    Args:
        default_range: whether images of bytes have values up to 255, if the user has given no value range.
        skipped_tokens: number of tokens before those of patches, if the graph does not show it.

    Raises:
        ModelError: if it is not an ONNX file, is damaged, or has not one input of images.
    """
    file = read(path)
    channels, size, first, of_bytes = _input(file, path)
    device.prepare()  # after the checks that need no TensorFlow
    if of_bytes and default_range:
        preprocessing = replace(preprocessing, value_range=(0.0, 255.0))
    graph_def, layers = _translated(file, (*(size or (None, None)), channels), first, path)
    digest = file.digest
    del file  # its constants, which the graph has too
    return FrozenGraph(
        path,
        name="onnx",
        contents=(graph_def, digest),
        input_node=_INPUT,
        preprocessing=replace(preprocessing, size=size),
        names=layers.nodes,
        skipped_tokens=skipped_tokens,
        unavailable=layers.unavailable,
    )


@dataclass(frozen=True)
class _Layers:
    """The layers of a translated graph.

    Attributes:
        nodes: layer -> node.
        unavailable: layer that cannot be computed -> why.
    """

    nodes: Mapping[str, str]
    unavailable: Mapping[str, str]


def _translated(file: OnnxFile, shape: tuple[int | None, ...], first: bool, path: Path) -> tuple[Any, _Layers]:
    """Return the GraphDef of a network whose images have this shape, and its layers.

    Raises:
        ModelError: if the network has no layers.
    """
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        image = tf.compat.v1.placeholder(tf.float32, (None, *shape), _INPUT)
        try:
            values, unknown = translate(file, image, first)
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise ModelError(f"{path}: expected an ONNX graph whose shapes agree, {one_line(error)}") from None
        nodes = file.graph.node
        tensors = {name: tensor for name, value in values.items() if (tensor := _layer(value)) is not None}
        every = named_tensors(nodes, {*tensors, *unknown}, [entry.name for entry in file.graph.output])
        names = {name: tensor for name, tensor in every.items() if tensor in tensors}
        scalars = {name for name, value in values.items() if isinstance(value, np.ndarray) and value.size == 1}
        names |= before_activations(nodes, names, tensors, scalars)
        if not names:
            reason = next(iter(unknown.values()), "no tensor has channels")
            raise ModelError(f"{path}: expected a network with layers of channels, found none; {reason}")
        made = {tensor: _node(tensors[tensor]) for tensor in dict.fromkeys(names.values())}
    layers = _Layers(
        nodes={name: made[tensor] for name, tensor in names.items()},
        unavailable={name: unknown[tensor] for name, tensor in every.items() if tensor in unknown},
    )
    return graph_def_of(graph), layers


def _input(file: OnnxFile, path: Path) -> tuple[int, tuple[int, int] | None, bool, bool]:
    """Return the input's number of channels, height and width if they are fixed, and two facts.

    The facts: whether channels come first, and whether the images are bytes.

    Raises:
        ModelError: if there is not one input of images.
    """
    inputs = [entry for entry in file.graph.input if entry.name not in file.constants]
    shapes = [[size.dim_value for size in entry.type.tensor_type.shape.dim] for entry in inputs]
    found = ", ".join(f"{short(entry.name)} {shape}" for entry, shape in zip(inputs, shapes, strict=True)) or "none"
    if len(inputs) != 1 or len(shapes[0]) != 4:
        raise ModelError(f"{path}: expected one input of shape (batch, channel, height, width), found {found}")
    [shape], kind = shapes, inputs[0].type.tensor_type.elem_type
    if kind not in (*FLOATS, _BYTES):
        raise ModelError(f"{path}: expected an input of floats or bytes, {short(inputs[0].name)} has another type")
    first = shape[1] in (1, 3) or shape[3] not in (1, 3)
    channels, height, width = (shape[1], shape[2], shape[3]) if first else (shape[3], shape[1], shape[2])
    if channels not in (1, 3):
        raise ModelError(f"{path}: expected images of 3 channels, or of 1, found an input {found}")
    return channels, (height, width) if height > 0 and width > 0 else None, first, kind == _BYTES


def _layer(value: Value) -> tf.Tensor | None:
    """Return a tensor with its channels last, or None if it has no axis that is known to be one of channels."""
    import tensorflow as tf

    if not isinstance(value, Tensor) or value.channel is None or value.data.dtype != tf.float32:
        return None
    if (
        value.data.shape.rank not in (2, 3, 4)
        or value.channel == 0
        or value.data.shape[value.axis(value.channel)] is None
    ):
        return None
    if value.channels_last:
        return value.data if value.channel == 1 else None
    if value.channel == value.rank - 1:
        return value.data
    return channels_last(value) if value.rank == 4 and value.channel == 1 else None


def _node(tensor: tf.Tensor) -> str:
    """Return the node whose first output is a tensor."""
    import tensorflow as tf

    return str(tensor.op.name if tensor.value_index == 0 else tf.identity(tensor).op.name)


def _load(spec: ModelSpec) -> FrozenGraph:
    return onnx_network(
        local_weights(spec), Preprocessing.of(spec), spec.skipped_tokens, default_range=spec.value_range is None
    )


KIND = ModelKind(
    "onnx",
    "a network of PyTorch or another framework in an ONNX file, from `file`",
    _load,
    keys=("file", "sha256", "value_range", "preprocess", "tokens"),
    check=check_file,
)
