"""Reading the weights of a legacy PyTorch file (`.pth` before version 1.6) without PyTorch, as untrusted input.

The format: three pickles (a magic number, a protocol version, facts about the writer's machine), a pickled state
dictionary whose tensors refer to storages by persistent id, a pickled list of storage keys, then for each key an int64
count and that many raw little-endian values. A pickle can name any function to be called, so the unpickler here accepts
only ordered dictionaries, tensors and their number types, and refuses every other name. A pickle can also set
attributes of the objects that it is given, so tensors here have no attributes that can be set.
"""

from __future__ import annotations

import os
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelError

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}
_MAX_VALUES = 1 << 30
_MAX_MEMO = 1 << 20
_DAMAGED = (
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, LookupError),
    *(OverflowError, MemoryError),  # a length that is longer than any file
)


class _Storage(NamedTuple):
    """A flat sequence of values that tensors are views of. The values come after the pickles."""

    dtype: str
    key: str
    size: int


class _Tensor(NamedTuple):
    """A tensor in the pickle: its storage, and its position in the storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the tensor, given the values of its storage.

        Raises:
            ModelError: if it reaches outside the storage.
        """
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if min((self.offset, *self.shape, *self.strides), default=0) < 0 or last >= values.size:
            raise ModelError("expected tensors inside their storage, got one that reaches outside")
        return np.lib.stride_tricks.as_strided(
            values[self.offset :], self.shape, [stride * values.itemsize for stride in self.strides], writeable=False
        )


class _TensorsOnly(pickle.Unpickler):
    """An unpickler that creates nothing but ordered dictionaries and tensors."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    @classmethod
    def of(cls, file: BinaryIO) -> _TensorsOnly:
        """Return an unpickler for the next pickle in the file, after scanning the pickle without loading it.

        A pickle numbers the objects that it refers to again, and loading reserves memory for every number up to the
        largest. The scan therefore refuses large numbers.
        """
        start = file.tell()
        for opcode, number, _place in pickletools.genops(file):
            if opcode.name in ("PUT", "LONG_BINPUT") and int(number or 0) > _MAX_MEMO:
                raise ModelError(f"refused: the weights file asks for a table of {number} objects")
        file.seek(start)
        return cls(file)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise ModelError(f"refused: the weights file asks for {name!r} of {module!r}, and only tensors are admitted")

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", str(dtype), str(key), str(), int(count), None) if (
                dtype in _DTYPES.values() and 0 <= count <= _MAX_VALUES
            ):
                return self.storages.setdefault(key, _Storage(dtype, key, count))
        raise ModelError("refused: the weights file has a persistent id that is not a tensor storage")

    def _tensor(self, storage: object, offset: int, shape: object, strides: object, *_unused: object) -> _Tensor:
        match storage, shape, strides:
            case _Storage(), tuple(), tuple() if all(isinstance(n, int) for n in (offset, *shape, *strides)):
                return _Tensor(storage, offset, shape, strides)
        raise ModelError("refused: the weights file has a tensor that is not made of a storage and whole numbers")


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Read a state dictionary: name -> array in PyTorch's axis order (convolutions: out, in, height, width).

    Raises:
        ModelError: if the file is missing, is not of this format, is cut short, or asks for anything but tensors.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise ModelError(f"{path}: expected a weights file, found none") from None
    except _DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__  # it may quote line breaks of the file
        raise ModelError(
            f"{path}: expected a legacy PyTorch weights file, got something else or a damaged one ({reason})"
        ) from None


def _read(file: BinaryIO) -> dict[str, NDArray[Any]]:
    if _TensorsOnly.of(file).load() != _MAGIC:
        raise ModelError("expected the magic number of a legacy PyTorch file at the start")
    for _header in ("protocol version", "facts about the writer's machine"):
        _TensorsOnly.of(file).load()
    unpickler = _TensorsOnly.of(file)
    state = unpickler.load()
    values: dict[str, NDArray[Any]] = {}
    for key in _TensorsOnly.of(file).load():
        storage = unpickler.storages[key]
        stored = int(np.frombuffer(file.read(8), "<i8")[0])
        size_bytes = storage.size * np.dtype(storage.dtype).itemsize
        # Compared before reading, which reserves this much memory even if the file is shorter.
        if stored != storage.size or size_bytes > os.fstat(file.fileno()).st_size - file.tell():
            raise ModelError(
                f"expected {storage.size} values in storage {key}, the file ends early or has another number"
            )
        values[key] = np.frombuffer(file.read(size_bytes), storage.dtype)
    return {
        str(name): tensor.array(values.get(tensor.storage.key, np.empty(0)))  # values may be missing from the file
        for name, tensor in state.items()
        if isinstance(tensor, _Tensor)
    }
