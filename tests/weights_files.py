"""Writes weights files as PyTorch and safetensors write them, piece by piece, so that a test can damage each piece."""

from __future__ import annotations

import io
import json
import pickle
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

State = Mapping[str, NDArray[Any]]

STORAGES = {"<f4": "FloatStorage", "<f2": "HalfStorage", "<i8": "LongStorage"}
SAFETENSORS = {"<f4": "F32", "<f2": "F16", "<u2": "BF16", "<i8": "I64", "<f8": "F64", "|u1": "U8"}
ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def numbers(values: Sequence[int]) -> bytes:
    return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"


def storage(key: str, size: int, *, kind: str = "FloatStorage", legacy: bool = False) -> bytes:
    """Return the operations that make a storage."""
    last = b"N" if legacy else b""
    place = text(key) + text("cpu") + b"J" + struct.pack("<i", size) + last
    return b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + place + b"tQ"


def tensor(made: bytes, shape: Sequence[int], strides: Sequence[int] | None = None, offset: int = 0) -> bytes:
    """Return the operations that make a tensor over a storage; without strides, its values lie in order."""
    if strides is None:
        strides = [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
    place = b"J" + struct.pack("<i", offset) + numbers(shape) + numbers(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + made + place + b"\x89" + ORDERED_DICT + b"tR"


def dictionary(items: Mapping[str, bytes]) -> bytes:
    """Return the pickle of a state dictionary, with the versions of modules that PyTorch adds as an attribute."""
    body = b"".join(text(key) + value for key, value in items.items())
    versions = b"}" + text("_metadata") + ORDERED_DICT + b"s"
    return b"\x80\x02" + ORDERED_DICT + b"(" + body + b"u" + versions + b"b."


def state_pickle(state: State, *, legacy: bool = False) -> bytes:
    """Return the pickle of a state dictionary whose tensors have a storage each, called 0, 1, 2 and so on."""
    return dictionary(
        {
            name: tensor(
                storage(str(number), values.size, kind=STORAGES[values.dtype.str], legacy=legacy), values.shape
            )
            for number, (name, values) in enumerate(state.items())
        }
    )


def legacy_file(
    state: State | None = None,
    *,
    pickled: bytes | None = None,
    machine: Mapping[str, Any] = {"little_endian": True},
    keys: Any = None,
    values: bytes | None = None,
) -> bytes:
    """Return a legacy PyTorch file of a state dictionary; other arguments replace one of its parts."""
    state = state or {}
    head = b"".join(pickle.dumps(one, protocol=2) for one in (0x1950A86A20F9469CFC6C, 1001, dict(machine)))
    if values is None:
        values = b"".join(struct.pack("<q", array.size) + array.tobytes() for array in state.values())
    if pickled is None:
        pickled = state_pickle(state, legacy=True)
    names = [str(number) for number in range(len(state))] if keys is None else keys
    return head + pickled + (names if isinstance(names, bytes) else pickle.dumps(names, protocol=2)) + values


def zip_members(state: State, *, folder: str = "archive", pickled: bytes | None = None) -> dict[str, bytes]:
    """Return the members of a PyTorch file, by name."""
    values = {f"{folder}/data/{number}": array.tobytes() for number, array in enumerate(state.values())}
    pickled = state_pickle(state) if pickled is None else pickled
    return {f"{folder}/data.pkl": pickled, f"{folder}/byteorder": b"little", **values, f"{folder}/version": b"3\n"}


def zip_file(
    members: Mapping[str, bytes] | Sequence[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED
) -> bytes:
    """Return a zip file of these members, in this order; a sequence may have a name twice."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the name that is there twice
        for name, data in members.items() if isinstance(members, Mapping) else members:
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return file.getvalue()


def safetensors_header(state: State) -> dict[str, Any]:
    """Return the header of a safetensors file whose tensors follow one another."""

    def entries() -> Iterator[tuple[str, Any]]:
        end = 0
        for name, values in state.items():
            begin, end = end, end + values.nbytes
            yield name, {"dtype": SAFETENSORS[values.dtype.str], "shape": values.shape, "data_offsets": [begin, end]}

    return {"__metadata__": {"format": "pt"}, **dict(entries())}


def safetensors_file(
    state: State, *, header: bytes | Mapping[str, Any] | None = None, length: int | None = None
) -> bytes:
    """Return a safetensors file, with another header or another length of the header if they are given."""
    header = safetensors_header(state) if header is None else header
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    data = b"".join(values.tobytes() for values in state.values())
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded + data
