"""Reading the weights of a legacy PyTorch file (`.pth` before version 1.6) without PyTorch, as untrusted input.

The format: three pickles (a magic number, a protocol version, facts about the writer's machine), a pickled state
dictionary whose tensors refer to storages by persistent id, a pickled list of storage keys, then for each key an int64
count and that many raw little-endian values. A pickle can name any function to be called, so the unpickler here knows
two names only, the ordered dictionary and the tensor, and refuses every other.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelError

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
_MAX_VALUES = 1 << 30


class _Storage:
    """A flat run of values that tensors are views of; filled in after the pickles have been read."""

    def __init__(self, dtype: np.dtype[Any], count: int) -> None:
        self.dtype = dtype
        self.count = count
        self.values: NDArray[Any] = np.empty(0, dtype)


class _Tensor:
    """What the pickle says of a tensor: where in which storage it lies."""

    def __init__(
        self, storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_unused: object
    ) -> None:
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self) -> NDArray[Any]:
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if min((self.offset, *self.shape, *self.strides), default=0) < 0 or last >= self.storage.count:
            raise ModelError("expected tensors inside their storage, got one that reaches outside")
        item = self.storage.dtype.itemsize
        values = self.storage.values[self.offset :]
        return np.lib.stride_tricks.as_strided(
            values, self.shape, [stride * item for stride in self.strides], writeable=False
        )


class _TensorsOnly(pickle.Unpickler):
    """An unpickler for which ordered dictionaries and tensors are all there is."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise ModelError(f"refused: the weights file asks for {module}.{name}, and only tensors are admitted")

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", np.dtype() as dtype, str(key), str(), int(count), None) if 0 <= count <= _MAX_VALUES:
                return self.storages.setdefault(key, _Storage(dtype, count))
        raise ModelError("refused: the weights file has a persistent id that is not a tensor storage")


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
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise ModelError(
            f"{path}: expected a legacy PyTorch weights file, got something else or a damaged one ({error})"
        ) from None


def _read(file: BinaryIO) -> dict[str, NDArray[Any]]:
    if _TensorsOnly(file).load() != _MAGIC:
        raise ModelError("expected the magic number of a legacy PyTorch file at the start")
    for _header in ("protocol version", "facts about the writer's machine"):
        _TensorsOnly(file).load()
    unpickler = _TensorsOnly(file)
    state = unpickler.load()
    for key in _TensorsOnly(file).load():
        storage = unpickler.storages[key]
        stored = int(np.frombuffer(file.read(8), "<i8")[0])
        data = file.read(storage.count * storage.dtype.itemsize)
        if stored != storage.count or len(data) != storage.count * storage.dtype.itemsize:
            raise ModelError(f"expected {storage.count} values in storage {key}, the file ends early or disagrees")
        storage.values = np.frombuffer(data, storage.dtype)
    return {str(name): tensor.array() for name, tensor in state.items() if isinstance(tensor, _Tensor)}
