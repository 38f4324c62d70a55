"""The pickles in PyTorch's weights files, interpreted as untrusted input.

A pickle is a program that can call any function by its name. The interpreter here has only the operations and the
functions that a dictionary of tensors needs, and refuses every other one. Python's own unpickler is not used, even with
a restricted list of names: a few bytes can make it overflow the stack or compute for days, when a tuple of tuples of
tuples is the key of a dictionary. Here keys are texts, and nothing is called with what a pickle has made but the
functions of this module.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelError, short
from core.models.graph.safety import quoted

LARGEST_PICKLE = 1 << 20
"""Upper bound on the bytes of pickles in a file; those of 500 tensors have 100 kB."""
_MOST_OPERATIONS = 1 << 16
"""Upper bound on the operations of a pickle; a tensor takes about 45."""
_MAX_VALUES = 1 << 30
_MAX_MEMO = 1 << 20
_MOST_AXES = 8
_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
_ONLY_TENSORS = "only tensors are admitted; save the weights with torch.save(model.state_dict(), FILE)"
_KEYS = f"with keys that are not texts; {_ONLY_TENSORS}"
_LITERALS = frozenset(
    """
    BINFLOAT BININT BININT1 BININT2 BINSTRING BINUNICODE FLOAT INT LONG LONG1 LONG4 SHORT_BINSTRING STRING UNICODE
    """.split()
)
_CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}


class Storage(NamedTuple):
    """A flat sequence of values that tensors are views of; its values are elsewhere in the file, under its key."""

    dtype: np.dtype[Any]
    key: str
    size: int

    @property
    def size_bytes(self) -> int:
        return self.size * self.dtype.itemsize


class Tensor(NamedTuple):
    """A tensor in a pickle: its storage, and its position in the storage. Several tensors may share a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the tensor as a view, given the values of its storage.

        Raises:
            ModelError: if it reaches outside the storage, or has more values than the storage.
        """
        numbers = (self.offset, *self.shape, *self.strides)
        # Compared before they are multiplied, because numbers in a pickle may have any number of digits.
        inside = len(numbers) <= 1 + 2 * _MOST_AXES and all(0 <= number <= _MAX_VALUES for number in numbers)
        if inside:
            last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
            inside = last < values.size
        if not inside:
            raise ModelError("expected tensors inside their storage, got one that reaches outside")
        if math.prod(self.shape) > values.size:
            raise ModelError("expected tensors with no more values than their storage, got one that repeats values")
        return np.lib.stride_tricks.as_strided(
            values[self.offset :], self.shape, [stride * values.itemsize for stride in self.strides], writeable=False
        )


def _dictionary(pairs: object = ()) -> dict[str, Any]:
    """Return a dictionary of pairs of key and value. Pickles of Python 2 have pairs; others set the items later."""
    found: dict[str, Any] = {}
    if not isinstance(pairs, list | tuple):
        raise ModelError("refused: the weights file has a dictionary that is not made of keys and values")
    for pair in pairs:
        match pair:
            case [str(key), value]:
                found[key] = value
            case _:
                raise ModelError(f"refused: the weights file has a dictionary {_KEYS}")
    return found


def _tensor(storage: object, offset: int, shape: object, strides: object, *_unused: object) -> Tensor:
    match storage, shape, strides:
        case Storage(), tuple(), tuple() if all(isinstance(n, int) for n in (offset, *shape, *strides)):
            return Tensor(storage, offset, shape, strides)
    raise ModelError("refused: the weights file has a tensor that is not made of a storage and whole numbers")


def _parameter(tensor: object, *_unused: object) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise ModelError("refused: the weights file has a parameter that is not a tensor")
    return tensor


_FUNCTIONS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _dictionary,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


class PickleReader:
    """Reads the pickles of a weights file, one after another.

    Attributes:
        storages: key -> storage, for all storages that the pickles have named.
    """

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}

    def read(self, file: BinaryIO) -> Any:
        """Return what the next pickle in the file makes: texts, numbers, tuples, lists, dictionaries and tensors.

        Raises:
            ModelError: if it asks for anything else.
            ValueError, TypeError, LookupError: if it is damaged.
        """
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        for number, (opcode, argument, _place) in enumerate(pickletools.genops(file)):
            if number > _MOST_OPERATIONS:
                raise ModelError(
                    f"refused: a pickle in the weights file has more than {_MOST_OPERATIONS:,} operations, "
                    "expected those of a few hundred tensors"
                )
            if opcode.name == "STOP":
                break
            self._do(opcode.name, argument)
        [result] = self._stack
        return result

    def _do(self, operation: str, argument: Any) -> None:
        match operation:
            case "PROTO":
                pass
            case "MARK":
                self._marks.append(len(self._stack))
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                if not 0 <= argument <= _MAX_MEMO:
                    raise ModelError(f"refused: the weights file asks for a table of {short(argument)} objects")
                self._memo[argument] = self._stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                self._stack.append(self._memo[argument])
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                values = [self._stack.pop() for _ in range(int(operation[-1]))]
                self._stack.append(tuple(reversed(values)))
            case "TUPLE":
                self._stack.append(tuple(self._since_mark()))
            case "LIST":
                self._stack.append(self._since_mark())
            case "APPEND" | "APPENDS":
                values = self._since_mark() if operation == "APPENDS" else [self._stack.pop()]
                self._top(list).extend(values)
            case "DICT":
                values = self._since_mark()
                self._stack.append({})
                self._set_items(values)
            case "SETITEM":
                value, key = self._stack.pop(), self._stack.pop()
                self._set_items([key, value])
            case "SETITEMS":
                self._set_items(self._since_mark())
            case "BUILD":  # attributes of a dictionary, such as the versions of PyTorch's modules
                self._stack.pop()
                self._top(dict)
            case "GLOBAL":
                self._stack.append(_named(*str(argument).split(" ", 1)))
            case "REDUCE":
                arguments, function = self._stack.pop(), self._stack.pop()
                self._stack.append(_called(function, arguments))
            case "BINPERSID":
                self._stack.append(self._storage(self._stack.pop()))
            case _ if operation in _LITERALS:
                self._stack.append(argument)
            case _ if operation in _CONSTANTS:
                self._stack.append(_CONSTANTS[operation]())
            case _:
                raise ValueError(f"unexpected operation {operation} in a pickle")

    def _since_mark(self) -> list[Any]:
        mark = self._marks.pop()
        values = self._stack[mark:]
        del self._stack[mark:]
        return values

    def _top(self, kind: type) -> Any:
        top = self._stack[-1]
        if type(top) is not kind:
            raise ModelError(f"refused: the weights file changes something that is not a {kind.__name__}")
        return top

    def _set_items(self, values: list[Any]) -> None:
        top = self._top(dict)
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str):
                raise ModelError(f"refused: the weights file has a dictionary {_KEYS}")
            top[key] = value

    def _storage(self, pid: Any) -> Storage:
        match pid:
            case ("storage", np.dtype() as dtype, str(key), str(), int(count)) | (
                "storage",
                np.dtype() as dtype,
                str(key),
                str(),
                int(count),
                None,
            ) if 0 <= count <= _MAX_VALUES:
                storage = Storage(dtype, key, count)
                if self.storages.setdefault(key, storage) != storage:
                    raise ModelError(f"refused: the weights file describes storage {quoted(key)} in two ways")
                return storage
        raise ModelError("refused: the weights file has a persistent id that is not a tensor storage")


def _named(module: str, name: str) -> Any:
    """Return the function or type of storage that a pickle asks for."""
    if module == "torch" and name in _DTYPES:
        return _DTYPES[name]
    if module in ("torch", "torch.cuda") and name.endswith("Storage"):
        raise ModelError(
            f"refused: the weights file has values of type {quoted(name)}, expected FloatStorage; save the "
            "state_dict() of model.cpu().float()"
        )
    function = _FUNCTIONS.get((module, name))
    if function is None:
        raise ModelError(f"refused: the weights file asks for {quoted(name)} of {quoted(module)}, and {_ONLY_TENSORS}")
    return function


def _called(function: Any, arguments: Any) -> Any:
    if not any(function is known for known in _FUNCTIONS.values()) or type(arguments) is not tuple:
        raise ModelError("refused: the weights file calls something that is not a function for tensors")
    return function(*arguments)


def tensors_in(state: Any) -> dict[str, Tensor]:
    """Return the tensors in a state dictionary by name; numbers and other values beside them are not weights.

    Raises:
        ModelError: if it is not a dictionary.
    """
    if type(state) is not dict:
        raise ModelError(f"expected a dictionary of tensors, got something else; {_ONLY_TENSORS}")
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}
