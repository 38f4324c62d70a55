"""Reading tensors from a `.safetensors` file, as untrusted input.

The format: a uint64 with the length of a header, the header in JSON, and then the bytes of all tensors, little-endian.
The header has the type, the shape and the place (`data_offsets`, from the end of the header) of each tensor by name.
Here the tensors must follow one another without gaps up to the end of the file, as the format demands.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelError, short
from core.models.graph.safety import quoted
from core.models.weight_files.weights_file import open_weights

_LENGTH = struct.Struct("<Q")
_LARGEST_HEADER = 1 << 20
_MOST_AXES = 8
_BFLOAT16 = "BF16"
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", _BFLOAT16: "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2"}
_DTYPES |= {"I8": "|i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1"}
"""Types of tensors that are read. NumPy has no bfloat16, which is the upper half of a float32."""
_WEIGHTS = ("F32", "F16", _BFLOAT16, "I64")
"""Types of the tensors of a network."""


def is_safetensors(head: bytes) -> bool:
    """Return whether a file that begins like this is meant to be of this format."""
    return head[_LENGTH.size : _LENGTH.size + 1] == b"{"


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """Read the tensors of a file: name -> array; float16 and bfloat16 become float32.

    Raises:
        ModelError: if the file is missing, is not of this format, contradicts itself, or has tensors of other types.
    """
    with open_weights(path, "a safetensors file") as file:
        return _read(file)


class TensorPlace(NamedTuple):
    """The place of a tensor in a file, by the header.

    Attributes:
        start: of its first byte, from the beginning of the file.
        dtype: NumPy's name of the type of its values; that of bfloat16 values is `<u2`.
    """

    start: int
    shape: tuple[int, ...]
    dtype: str
    bfloat16: bool


def tensor_places(file: BinaryIO, types: Collection[str] = frozenset(_DTYPES)) -> dict[str, TensorPlace]:
    """Return name -> place of each tensor, from the header alone; together they fill the rest of the file.

    Args:
        types: the types that tensors may have.

    Raises:
        ModelError: if the file is not of this format, contradicts itself, or has tensors of other types.
    """
    size = os.fstat(file.fileno()).st_size
    (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
    available = size - _LENGTH.size
    if length > min(available, _LARGEST_HEADER):
        raise ModelError(f"refused: it announces a header of {length:,} bytes, and {available:,} bytes follow")
    header = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_once)
    if not isinstance(header, dict):
        raise ModelError("expected a header with tensors by name, found something else")
    header.pop("__metadata__", None)
    places = {name: _place(name, entry, types) for name, entry in header.items()}
    end = 0
    for name in sorted(places, key=places.__getitem__):
        begin, after = places[name]
        if begin != end:
            raise ModelError(f"refused: tensor {quoted(name)} begins at byte {short(begin)}, expected {short(end)}")
        end = after
    if end != available - length:
        raise ModelError(f"expected {short(end)} bytes of tensors, the file has {available - length:,}")
    first = _LENGTH.size + length
    return {
        name: TensorPlace(
            first + begin,
            tuple(header[name]["shape"]),
            _DTYPES[header[name]["dtype"]],
            header[name]["dtype"] == _BFLOAT16,
        )
        for name, (begin, _) in places.items()
    }


def _read(file: BinaryIO) -> dict[str, NDArray[Any]]:
    places = tensor_places(file, _WEIGHTS)
    first = min((place.start for place in places.values()), default=0)
    file.seek(first)
    data = file.read()
    return {name: _array(data, place, place.start - first) for name, place in places.items()}


def float32_of_bfloat16(stored: NDArray[Any]) -> NDArray[Any]:
    """Return bfloat16 values, which are stored as uint16, as float32."""
    return (stored.astype("<u4") << 16).view("<f4")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object whose names are all different."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ModelError(f"refused: the header has the name {quoted(name)} twice")
        found[name] = value
    return found


def _place(name: str, entry: Any, types: Collection[str]) -> tuple[int, int]:
    """Return begin and end of a tensor whose type and shape take exactly the bytes between them."""
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]} if len(
            shape
        ) <= _MOST_AXES and all(type(number) is int and number >= 0 for number in (begin, end, *shape)):
            pass
        case _:
            raise ModelError(f"refused: tensor {quoted(name)} has no dtype, shape and data_offsets of whole numbers")
    if dtype not in types:
        raise ModelError(f"refused: tensor {quoted(name)} is of type {quoted(dtype)}, expected F32, F16 or BF16")
    expected = math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
    if end - begin != expected:
        raise ModelError(
            f"refused: tensor {quoted(name)} of shape {short(shape)} has {short(end - begin)} bytes, "
            f"expected {short(expected)}"
        )
    return begin, end


def _array(data: bytes, place: TensorPlace, begin: int) -> NDArray[Any]:
    stored = np.frombuffer(data, place.dtype, math.prod(place.shape), begin).reshape(place.shape)
    if place.bfloat16:
        return float32_of_bfloat16(stored)
    return stored.astype("<f4") if place.dtype == "<f2" else stored
