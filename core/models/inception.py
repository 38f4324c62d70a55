"""Lucid's InceptionV1 (GoogLeNet), from the frozen graph of Lucid's model zoo or from a file of its weights alone.

The kind of a file is told by its first bytes, never by its name. All files of the same weights that are not frozen
graphs have one digest, so they find the same sheets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from core.arrays import Array
from core.errors import ModelError, short
from core.machine import device
from core.models.frozen_graph import FrozenGraph
from core.models.inception_graph import INPUT_NODE, UNAVAILABLE, inception_graph
from core.models.inception_tensors import TOWERS, graph_tensors, tensors_sha256
from core.models.kind import ModelKind, check_file
from core.models.preprocessing import Preprocessing
from core.models.weight_files.safetensors_file import is_safetensors, read_safetensors
from core.models.weight_files.torch_legacy import read_state_dict
from core.models.weight_files.torch_zip import read_zip_state_dict
from core.models.weight_files.weights_file import open_weights
from core.models.weights import local_weights
from core.spec import ModelSpec

_VALUE_RANGE = (-117.0, 138.0)
_ALIGNMENT_LAYERS = ("mixed3b", "mixed4a")
_LARGEST_FILE = 1 << 26
"""Upper bound on the bytes of a file with tensors. Those of InceptionV1 have 28 MB, or 54 MB with auxiliary heads."""
_HEAD_BYTES = 16
_GRAPH_FIELDS = b"\x0a\x12\x18\x22"
"""The first byte of a GraphDef, which is the number of one of its fields."""

Reader = Callable[[Path], dict[str, NDArray[Any]]]


def _load(spec: ModelSpec) -> FrozenGraph:
    path = local_weights(spec)
    tensors = read_tensors(path)
    device.prepare()
    if tensors is None:
        return _checked(_network(spec, path), path)
    contents = (inception_graph(tensors), tensors_sha256(tensors))
    return _network(spec, path, contents, UNAVAILABLE)


def read_tensors(path: Path) -> dict[str, Array] | None:
    """Return the tensors in a PyTorch or safetensors file by their names in the graph, or None for a frozen graph.

    Raises:
        ModelError: if the file is of another kind, is refused, or has the weights of another network.
    """
    reader = _reader(path)
    return None if reader is None else graph_tensors(reader(path), str(path))


def _network(
    spec: ModelSpec,
    path: Path,
    contents: tuple[Any, str] | None = None,
    unavailable: Mapping[str, str] | None = None,
) -> FrozenGraph:
    return FrozenGraph(
        path,
        name=spec.name,
        contents=contents,
        input_node=INPUT_NODE,
        preprocessing=Preprocessing(_VALUE_RANGE),
        alignment_layers=_ALIGNMENT_LAYERS,
        unavailable=unavailable,
    )


def _checked(network: FrozenGraph, path: Path) -> FrozenGraph:
    """Return a network from a frozen graph, after making sure that it is Lucid's and not another GoogLeNet.

    Raises:
        ModelError: if its `mixed` layers are missing, or have other channels.
    """
    for layer, (one, _, three, _, five, pooled) in TOWERS.items():
        expected, found = one + three + five + pooled, network.layers.get(layer)
        if found != expected:
            raise ModelError(
                f"{path}: expected Lucid's InceptionV1, whose layer {layer} has {expected} channels, found "
                f"{'no such layer' if found is None else found}; use model.name frozen-graph for another network"
            )
    return network


def _reader(path: Path) -> Reader | None:
    """Return the reader for a file with tensors, or None for a frozen graph.

    Raises:
        ModelError: if it is neither, or is much larger than InceptionV1.
    """
    with open_weights(path, "a weights file") as file:
        head = file.read(_HEAD_BYTES)
        size = file.seek(0, 2)
    if head.startswith(b"PK\3\4"):
        reader: Reader = read_zip_state_dict
    elif head.startswith(b"\x80"):
        reader = read_state_dict
    elif is_safetensors(head):
        reader = read_safetensors
    elif head[:1] in _GRAPH_FIELDS:  # or an empty file
        return None
    else:
        raise ModelError(
            f"{path}: expected InceptionV1 as a frozen graph, a PyTorch state dictionary or safetensors, got something "
            f"else, which begins with {short(head)}"
        )
    if size > _LARGEST_FILE:
        raise ModelError(f"{path}: expected InceptionV1, whose weights have 28 MB, got a file of {size / 1e6:,.0f} MB")
    return reader


KIND = ModelKind(
    "inception-v1",
    "Lucid's InceptionV1, from its frozen graph or a PyTorch or safetensors file of its weights in `file`",
    _load,
    keys=("file", "sha256"),
    check=check_file,
)
