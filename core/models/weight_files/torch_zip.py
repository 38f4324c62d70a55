"""Reading the weights of a PyTorch file (`.pth` since version 1.6) without PyTorch, as untrusted input.

The format: a zip file with one folder, in which `data.pkl` is a pickled state dictionary whose tensors refer to
storages by persistent id, and `data/KEY` has the raw values of a storage. All members are stored without compression.
`core.models.weight_files.zip_file` checks the directory, and `core.models.weight_files.torch_pickle` interprets the
pickle.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelError
from core.models.graph.safety import quoted
from core.models.weight_files.torch_pickle import LARGEST_PICKLE, PickleReader, Storage, tensors_in
from core.models.weight_files.weights_file import open_weights
from core.models.weight_files.zip_file import STORED, Member, members_of

_TORCHSCRIPT = re.compile(r"[^/]+/(constants\.pkl|code/.*)")


def read_zip_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Read a state dictionary: name -> array in PyTorch's axis order (convolutions: out, in, height, width).

    Raises:
        ModelError: if the file is missing, is not of this format, is damaged, or asks for anything but tensors.
    """
    with open_weights(path, "a PyTorch weights file") as file:
        return _read(file)


def _read(file: BinaryIO) -> dict[str, NDArray[Any]]:
    members = _plain_members(file)
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


def _folder(members: Mapping[str, Member]) -> str:
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


def _values(file: BinaryIO, member: Member | None, storage: Storage) -> NDArray[Any]:
    if member is None or member.size != storage.size_bytes:
        found = "none" if member is None else f"{member.size:,} bytes"
        raise ModelError(f"expected {storage.size:,} values in storage {quoted(storage.key)}, found {found}")
    return np.frombuffer(_contents(file, f"data/{storage.key}", member), storage.dtype)


def _contents(file: BinaryIO, name: str, member: Member) -> bytes:
    file.seek(member.start)
    contents = file.read(member.size)
    if zlib.crc32(contents) != member.checksum:
        raise ModelError(f"member {quoted(name)} is damaged, its checksum is wrong; download the file again")
    return contents


def _plain_members(file: BinaryIO) -> dict[str, Member]:
    """Return the members of the zip file by name.

    Raises:
        ModelError: if one of them is compressed or encrypted, or the file has code.
    """
    members = members_of(file)
    if any(_TORCHSCRIPT.fullmatch(name) for name in members):
        raise ModelError(
            "refused: the file is a TorchScript archive, which has code; save the weights with "
            "torch.save(model.state_dict(), FILE)"
        )
    for name, member in members.items():
        if member.method != STORED:
            raise ModelError(
                f"refused: member {quoted(name)} of the zip file is compressed or encrypted; PyTorch stores members as "
                "they are"
            )
    return members
