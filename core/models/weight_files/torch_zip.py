"""Reading the weights of a PyTorch file (`.pth` since version 1.6) without PyTorch, as untrusted input.

The format: a zip file with one folder, in which `data.pkl` is a pickled state dictionary whose tensors refer to
storages by persistent id, and `data/KEY` has the raw values of a storage. All members are stored without compression,
so the directory of the zip is checked until each member is a part of the file of its own, and no member is larger than
the file. The pickle is interpreted by `core.models.weight_files.torch_pickle`.
"""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelError
from core.models.graph.safety import quoted
from core.models.weight_files.torch_pickle import LARGEST_PICKLE, PickleReader, Storage, tensors_in
from core.models.weight_files.weights_file import open_weights

# The records of a zip file, without the fields that do not matter here.
_END = struct.Struct("<4s4x2H2I2x")  # entries on this disk, entries, size and place of the directory
_ENTRY = struct.Struct("<4s4x2H4x3I3H8xI")  # flags, method, checksum, sizes, lengths of name, extra, comment; place
_LOCAL = struct.Struct("<4s22x2H")  # lengths of name and extra
_END_MARK, _ENTRY_MARK, _LOCAL_MARK = b"PK\5\6", b"PK\1\2", b"PK\3\4"
_ENCRYPTED = 1
_LARGEST_DIRECTORY = 1 << 20
_TORCHSCRIPT = re.compile(r"[^/]+/(constants\.pkl|code/.*)")


class _Entry(NamedTuple):
    """An entry of a zip file's directory: where a member's header is, and whether its bytes are stored as they are."""

    place: int
    name: str
    size: int
    checksum: int
    plain: bool


class _Member(NamedTuple):
    """A member of a zip file: the bytes from *start* on."""

    start: int
    size: int
    checksum: int


def read_zip_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Read a state dictionary: name -> array in PyTorch's axis order (convolutions: out, in, height, width).

    Raises:
        ModelError: if the file is missing, is not of this format, is damaged, or asks for anything but tensors.
    """
    with open_weights(path, "a PyTorch weights file") as file:
        return _read(file)


def _read(file: BinaryIO) -> dict[str, NDArray[Any]]:
    members = _members(file)
    folder = _folder(members)
    order = members.get(f"{folder}/byteorder")
    if order is not None and _contents(file, "byteorder", order._replace(size=min(order.size, 16))) != b"little":
        raise ModelError("expected little-endian values, the file was written on a machine of another byte order")
    pickle = members[f"{folder}/data.pkl"]
    if pickle.size > LARGEST_PICKLE:
        raise ModelError(f"refused: data.pkl has {pickle.size:,} bytes, expected at most {LARGEST_PICKLE:,}")
    reader = PickleReader()
    tensors = tensors_in(reader.read(io.BytesIO(_contents(file, "data.pkl", pickle))))
    used = {tensor.storage for tensor in tensors.values()}
    values = {storage.key: _values(file, members.get(f"{folder}/data/{storage.key}"), storage) for storage in used}
    return {name: tensor.array(values[tensor.storage.key]) for name, tensor in tensors.items()}


def _folder(members: Mapping[str, _Member]) -> str:
    """Return the folder of the state dictionary; all members lie in it."""
    folders = [name.removesuffix("/data.pkl") for name in members if re.fullmatch(r"[^/]+/data\.pkl", name)]
    if len(folders) != 1:
        raise ModelError(
            f"expected a zip file of PyTorch with one data.pkl, found {len(folders)} in {len(members)} members such as "
            f"{quoted(next(iter(members), ''))}"
        )
    if outside := [name for name in members if not name.startswith(f"{folders[0]}/")]:
        raise ModelError(
            f"refused: expected all members in the folder {quoted(folders[0])}, found {quoted(outside[0])}"
        )
    return folders[0]


def _values(file: BinaryIO, member: _Member | None, storage: Storage) -> NDArray[Any]:
    if member is None or member.size != storage.size_bytes:
        found = "none" if member is None else f"{member.size:,} bytes"
        raise ModelError(f"expected {storage.size:,} values in storage {quoted(storage.key)}, found {found}")
    return np.frombuffer(_contents(file, f"data/{storage.key}", member), storage.dtype)


def _contents(file: BinaryIO, name: str, member: _Member) -> bytes:
    file.seek(member.start)
    contents = file.read(member.size)
    if zlib.crc32(contents) != member.checksum:
        raise ModelError(f"member {quoted(name)} is damaged, its checksum is wrong; download the file again")
    return contents


def _members(file: BinaryIO) -> dict[str, _Member]:
    """Return the members of a zip file by name, each of which is a part of the file of its own.

    Raises:
        ModelError: if they overlap, leave the file, are compressed or encrypted, or two have one name.
    """
    file_size = os.fstat(file.fileno()).st_size
    file.seek(max(0, file_size - _END.size))
    mark, here, entries, directory_size, directory = _END.unpack(file.read(_END.size))
    if mark != _END_MARK:
        raise ModelError(
            "expected the directory of a zip file at its end, found something else; the file may be cut short"
        )
    if here != entries or directory + directory_size > file_size - _END.size or directory_size > _LARGEST_DIRECTORY:
        raise ModelError(
            f"refused: the zip file announces a directory of {entries:,} members in {directory_size:,} bytes"
        )
    file.seek(directory)
    found = sorted(_entries(file.read(directory_size), entries))
    if any(_TORCHSCRIPT.fullmatch(entry.name) for entry in found):
        raise ModelError(
            "refused: the file is a TorchScript archive, which has code; save the weights with "
            "torch.save(model.state_dict(), FILE)"
        )
    members: dict[str, _Member] = {}
    end = 0  # of the member before, in the order of the file
    for place, name, size, checksum, plain in found:
        if not plain:
            raise ModelError(
                f"refused: member {quoted(name)} of the zip file is compressed or encrypted; PyTorch stores members as "
                "they are"
            )
        if name in members:
            raise ModelError(f"refused: two members of the zip file have the name {quoted(name)}")
        if place < end:
            raise ModelError(f"refused: member {quoted(name)} of the zip file overlaps another one")
        start = _start(file, place, name)
        end = start + size
        if end > directory:
            raise ModelError(f"refused: member {quoted(name)} of the zip file claims {size:,} bytes beyond its place")
        members[name] = _Member(start, size, checksum)
    return members


def _entries(directory: bytes, count: int) -> Iterator[_Entry]:
    """Yield the entries of the directory of a zip file."""
    position = 0
    for _ in range(count):
        fields = _ENTRY.unpack_from(directory, position)
        mark, flags, method, checksum, packed, unpacked, name_length, extra, comment, place = fields
        start = position + _ENTRY.size
        if mark != _ENTRY_MARK:
            raise ModelError("expected an entry in the directory of the zip file, found something else")
        name = directory[start : start + name_length].decode("utf-8")
        yield _Entry(place, name, unpacked, checksum, not method and packed == unpacked and not flags & _ENCRYPTED)
        position = start + name_length + extra + comment
    if position != len(directory):
        raise ModelError(
            f"refused: the directory of the zip file has more than the {count:,} members that it announces"
        )


def _start(file: BinaryIO, place: int, name: str) -> int:
    """Return where the bytes of a member begin, after its own header, which has the same name as its entry."""
    file.seek(place)
    mark, name_length, extra = _LOCAL.unpack(file.read(_LOCAL.size))
    if mark != _LOCAL_MARK or file.read(name_length) != name.encode():
        raise ModelError(f"refused: member {quoted(name)} of the zip file has another header than its entry")
    start: int = place + _LOCAL.size + name_length + extra
    return start
