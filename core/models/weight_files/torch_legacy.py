"""Reading the weights of a legacy PyTorch file (`.pth` before version 1.6) without PyTorch, as untrusted input.

The format: three pickles (a magic number, a protocol version, facts about the writer's machine), a pickled state
dictionary whose tensors refer to storages by persistent id, a pickled list of storage keys, then for each key an int64
count and that many raw little-endian values. The pickles are interpreted by `core.models.weight_files.torch_pickle`.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelError
from core.models.graph.safety import quoted
from core.models.weight_files.torch_pickle import LARGEST_PICKLE, PickleReader, tensors_in
from core.models.weight_files.weights_file import open_weights

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Read a state dictionary: name -> array in PyTorch's axis order (convolutions: out, in, height, width).

    Raises:
        ModelError: if the file is missing, is not of this format, is cut short, or asks for anything but tensors.
    """
    with open_weights(path, "a legacy PyTorch weights file") as file:
        return _read(file)


def _read(file: BinaryIO) -> dict[str, NDArray[Any]]:
    head = io.BytesIO(file.read(LARGEST_PICKLE))
    reader = PickleReader()
    if reader.read(head) != _MAGIC:
        raise ModelError("expected the magic number of a legacy PyTorch file at the start")
    if reader.read(head) != _PROTOCOL:
        raise ModelError(f"expected a legacy PyTorch file of protocol {_PROTOCOL}, got another one")
    machine = reader.read(head)
    if isinstance(machine, dict) and machine.get("little_endian") is False:
        raise ModelError("expected little-endian values, the file was written on a big-endian machine")
    tensors = tensors_in(reader.read(head))
    keys = reader.read(head)
    file.seek(head.tell())
    values: dict[str, NDArray[Any]] = {}
    for key in keys:
        if not isinstance(key, str) or key not in reader.storages:
            raise ModelError("expected the keys of the storages after the tensors, got something else")
        storage = reader.storages[key]
        if key in values:
            raise ModelError(f"expected every storage once, the file has storage {quoted(storage.key)} twice")
        stored = int(np.frombuffer(file.read(8), "<i8")[0])
        # Compared before reading, which reserves this much memory even if the file is shorter.
        if stored != storage.size or storage.size_bytes > os.fstat(file.fileno()).st_size - file.tell():
            raise ModelError(
                f"expected {storage.size} values in storage {quoted(storage.key)}, the file ends early or has another "
                "number"
            )
        values[key] = np.frombuffer(file.read(storage.size_bytes), storage.dtype)
    # The values of a storage may be missing from the file.
    arrays = {name: tensor.array(values.get(tensor.storage.key, np.empty(0))) for name, tensor in tensors.items()}
    if file.read(1):
        raise ModelError("expected the end of the file after the last storage, found more")
    return arrays
