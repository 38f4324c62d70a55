"""Reading an ONNX file as untrusted input: nothing in it runs, and it takes no more memory than it has bytes.

Large files keep their weights in other files. Those must lie in the folder of the file, or in a folder within.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import ModelError, one_line, short
from core.models.onnx_graph.values import Constant

_LARGEST_FILE = 2 << 30  # bytes; protobuf allows no larger message
_EXTERNAL = 1  # data_location of a tensor whose values are in another file
_OLDEST, _NEWEST = 11, 26
"""Versions of the standard whose operators were looked at."""


def read(path: Path) -> tuple[Any, dict[str, Constant], str]:
    """Return the ModelProto in a file, its constants by name, and the sha256 of the file and of those it refers to.

    Raises:
        ModelError: if there is no file, it is not ONNX, is damaged, or refers to files elsewhere.
    """
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ModelError(
                f"{path}: expected an ONNX file of at most 2 GB; larger networks keep their weights beside it"
            )
        data = path.read_bytes()
        model.ParseFromString(data)
    except OSError as error:
        raise ModelError(f"{path}: expected an ONNX file, {error.strerror}") from None
    except DecodeError:
        raise ModelError(f"{path}: expected an ONNX file, got something else or a damaged one") from None
    _check(model, path)
    digest = hashlib.sha256(data)
    constants: dict[str, Constant] = {}
    others: dict[str, bytes] = {}
    for tensor in model.graph.initializer:
        constants[tensor.name] = _values(tensor, path, others)
    for name in sorted(others):
        digest.update(hashlib.sha256(others[name]).digest())
    return model, constants, digest.hexdigest()


def _check(model: Any, path: Path) -> None:
    """Make sure that a message is a network that can be looked at."""
    if not model.graph.node or not model.opset_import:
        raise ModelError(f"{path}: expected an ONNX file with a graph, got something else or an empty one")
    version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if not _OLDEST <= version <= _NEWEST:
        raise ModelError(
            f"{path}: expected operators of version {_OLDEST} to {_NEWEST}, got {version}; export the network with "
            "opset_version=17"
        )
    if model.functions:
        raise ModelError(f"{path}: expected a graph without functions of its own; export it with dynamo=False")
    seen = {entry.name for entry in model.graph.input} | {entry.name for entry in model.graph.initializer}
    for node in model.graph.node:
        for name in node.input:
            if name and name not in seen:
                raise ModelError(
                    f"{path}: expected tensors that are made before their use, {short(name)} of node "
                    f"{short(node.name)} is not"
                )
        for name in node.output:
            if name and name in seen:
                raise ModelError(f"{path}: expected every tensor once, {short(name)} is computed twice")
            seen.add(name)


def _values(tensor: Any, path: Path, others: dict[str, bytes]) -> Constant:
    """Return the values of a constant; keep the contents of other files in *others*."""
    from onnx import numpy_helper

    name = short(tensor.name)
    if any(size < 0 for size in tensor.dims):
        raise ModelError(f"{path}: constant {name} has a negative size")
    if tensor.data_location == _EXTERNAL:
        _load_external(tensor, path, others)
    try:
        stored = tensor.ByteSize()
        if math.prod(tensor.dims) > 8 * stored + 64:
            raise ModelError(
                f"{path}: constant {name} claims {math.prod(tensor.dims):,} values that are not in the file"
            )
        values: Constant = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, IndexError, NotImplementedError, AttributeError) as error:
        raise ModelError(f"{path}: constant {name} cannot be read, {one_line(error)}") from None
    if values.dtype.kind == "f" and not np.isfinite(values).all() and values.size > 1:
        raise ModelError(f"{path}: constant {name} has weights that are not finite numbers")
    return values


def _load_external(tensor: Any, path: Path, others: dict[str, bytes]) -> None:
    """Put the values of a constant into it that are stored in another file.

    Raises:
        ModelError: if that file is not in the folder of the network, or ends too early.
    """
    facts: Mapping[str, str] = {entry.key: entry.value for entry in tensor.external_data}
    location, name = facts.get("location", ""), short(tensor.name)
    folder = path.parent.resolve()
    try:
        file = (folder / location).resolve()
        if not location or not file.is_relative_to(folder) or not file.is_file():
            raise ModelError(
                f"{path}: expected the values of {name} in a file beside it, there is no {short(location)} in {folder}"
            )
        if str(file) not in others:
            others[str(file)] = file.read_bytes()
        data = others[str(file)]
        offset = int(facts.get("offset", "0") or 0)
        length = int(facts["length"]) if facts.get("length") else len(data) - offset
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: the values of {name} cannot be read, {one_line(error)}") from None
    if offset < 0 or length < 0 or offset + length > len(data):
        raise ModelError(f"{path}: expected the values of {name} inside {file.name}, which ends before them")
    tensor.raw_data = data[offset : offset + length]
    tensor.data_location = 0
    del tensor.external_data[:]
