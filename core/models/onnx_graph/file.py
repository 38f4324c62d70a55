"""Reading an ONNX file as untrusted input: nothing in it runs, and it takes no more memory than it has bytes.

Large files keep their weights in other files. Those must lie in the folder of the file, or in a folder within.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import ModelError, one_line, short
from core.models.onnx_graph.values import Constant
from core.models.weights import file_sha256

STANDARD = ("", "ai.onnx")
"""The two names of the domain of standard operators."""
_LARGEST_FILE = 2 << 30  # bytes; protobuf allows no larger message
_EXTERNAL = 1  # data_location of a tensor whose values are in another file
_MOST_SHARED = 4  # times that the bytes of other files may be used; tied weights use them twice
_OLDEST, _NEWEST = 11, 26
"""Versions of the standard whose operators were looked at."""


@dataclass(frozen=True)
class OnnxFile:
    """The network in an ONNX file.

    Attributes:
        graph: the GraphProto without its constants.
        opset: version of the standard that the file was written for.
        constants: name -> values.
        digest: sha256 in hex of the file and of those it refers to.
    """

    graph: Any
    opset: int
    constants: Mapping[str, Constant]
    digest: str


def read(path: Path) -> OnnxFile:
    """Read an ONNX file.

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
    digest = hashlib.sha256(data)
    del data
    opset = _checked_opset(model, path)
    _check_order(model.graph, path)
    others = _OtherFiles(path)
    constants = {tensor.name: _values(tensor, path, others) for tensor in model.graph.initializer}
    graph = onnx.GraphProto(  # protobuf frees the weights in a message only together with the whole message
        node=[node for node in model.graph.node if not _is_constant(node)],
        input=model.graph.input,
        output=model.graph.output,
    )
    for node in filter(_is_constant, model.graph.node):
        constants[node.output[0]] = _values(node.attribute[0].t, path, others, node.output[0])
    for name in sorted(others.digests):
        digest.update(others.digests[name])
    return OnnxFile(graph, opset, constants, digest.hexdigest())


def _is_constant(node: Any) -> bool:
    return (
        node.op_type == "Constant"
        and node.domain in STANDARD
        and [attribute.name for attribute in node.attribute] == ["value"]
        and node.attribute[0].HasField("t")
        and len(node.output) == 1
    )


def _checked_opset(model: Any, path: Path) -> int:
    """Return the version of the standard that a network was written for."""
    if not model.graph.node or not model.opset_import:
        raise ModelError(f"{path}: expected an ONNX file with a graph, got something else or an empty one")
    version = next((int(entry.version) for entry in model.opset_import if entry.domain in STANDARD), 0)
    if not _OLDEST <= version <= _NEWEST:
        raise ModelError(
            f"{path}: expected operators of version {_OLDEST} to {_NEWEST}, got {version}; export the network with "
            "opset_version=17"
        )
    if model.functions:
        raise ModelError(f"{path}: expected a graph without functions of its own; export it with dynamo=False")
    return version


def _check_order(graph: Any, path: Path) -> None:
    """Make sure that every tensor is made once, and before it is used."""
    constants = Counter(entry.name for entry in graph.initializer)
    for name, count in constants.most_common(1):
        if count > 1:
            raise ModelError(f"{path}: expected every tensor once, there are {count} constants {short(name)}")
    seen = {entry.name for entry in graph.input} | set(constants)
    for node in graph.node:
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


def _values(tensor: Any, path: Path, others: _OtherFiles, name: str | None = None) -> Constant:
    """Return the values of a constant."""
    name = short(tensor.name if name is None else name)
    if tensor.data_location == _EXTERNAL:
        tensor = others.with_values(tensor, name)
    try:
        values = stored_values(tensor)
    except ValueError as error:
        raise ModelError(f"{path}: constant {name} {error}") from None
    if values.dtype.kind == "f" and values.size > 1 and not np.isfinite(values).all():
        raise ModelError(f"{path}: constant {name} has weights that are not finite numbers")
    return values


def stored_values(tensor: Any) -> Constant:
    """Return the values that a TensorProto itself has.

    Raises:
        ValueError: with the end of a sentence, if it has not the values that it claims.
    """
    from onnx import numpy_helper

    if any(size < 0 for size in tensor.dims):
        raise ValueError("has a negative size")
    if tensor.data_location == _EXTERNAL:
        raise ValueError("has its values in another file")
    if math.prod(tensor.dims) > 8 * tensor.ByteSize() + 64:
        raise ValueError(f"claims {math.prod(tensor.dims):,} values that are not in the file")
    try:
        values: Constant = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, IndexError, NotImplementedError, AttributeError) as error:
        raise ValueError(f"cannot be read, {one_line(error)}") from None
    return values


class _OtherFiles:
    """The files in the folder of a network that have values of its constants.

    Attributes:
        digests: name of a file -> its sha256.
    """

    def __init__(self, network: Path) -> None:
        self.digests: dict[str, bytes] = {}
        self._network, self._folder = network, network.parent.resolve()
        self._sizes: dict[str, int] = {}
        self._used = 0

    def with_values(self, tensor: Any, name: str) -> Any:
        """Return a copy of a TensorProto that has the values itself.

        Raises:
            ModelError: if their file is not in the folder of the network, or ends too early.
        """
        facts: Mapping[str, str] = {entry.key: entry.value for entry in tensor.external_data}
        try:
            file = self._file(facts.get("location", ""), name)
            size = self._sizes[str(file)]
            offset = int(facts.get("offset", "0") or 0)
            length = int(facts["length"]) if facts.get("length") else size - offset
            if offset < 0 or length < 0 or offset + length > size:
                raise ModelError(
                    f"{self._network}: expected the values of {name} inside {file.name}, which ends before them"
                )
            self._used += length
            if self._used > _MOST_SHARED * sum(self._sizes.values()):
                raise ModelError(f"{self._network}: expected constants with values of their own, {name} shares them")
            with file.open("rb") as stream:
                stream.seek(offset)
                data = stream.read(length)
        except (OSError, ValueError) as error:
            raise ModelError(f"{self._network}: the values of {name} cannot be read, {one_line(error)}") from None
        return type(tensor)(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type, raw_data=data)

    def _file(self, location: str, name: str) -> Path:
        file = (self._folder / location).resolve()
        if not location or not file.is_relative_to(self._folder) or not file.is_file():
            raise ModelError(
                f"{self._network}: expected the values of {name} in a file beside it, there is no {short(location)} "
                f"in {self._folder}"
            )
        if str(file) not in self._sizes:
            self.digests[str(file)] = bytes.fromhex(file_sha256(file))
            self._sizes[str(file)] = file.stat().st_size
        return file
