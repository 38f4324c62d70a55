"""Reading single arrays of numbers from `.npy`, `.npz` and `.safetensors` files, as untrusted input.

The kind of a file is told by its first bytes, never by its name. An array is opened in two steps: its header is read
and checked first, and its numbers only when the caller has accepted their shape. Numbers that are stored as they are
stay in the file, which is mapped into memory; only compressed members of `.npz` files are read whole. Nothing is ever
unpickled.

The format of `.npy`: six bytes, two for the version, a header's length in 2 bytes (version 1) or 4 bytes, the header,
which is a Python literal with `descr`, `fortran_order` and `shape`, and the numbers.
"""

from __future__ import annotations

import ast
import math
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelError, short
from core.models.graph.safety import quoted
from core.models.weight_files.safetensors_file import float32_of_bfloat16, is_safetensors, tensor_places
from core.models.weight_files.zip_file import DEFLATED, STORED, Member, members_of

LARGEST_BYTES = 2 * 10**9
"""Upper bound on the bytes of an array."""
_NPY = b"\x93NUMPY"
_ZIP = (b"PK\3\4", b"PK\5\6")
_PICKLE = b"\x80"
_LENGTHS = {1: struct.Struct("<H"), 2: struct.Struct("<I"), 3: struct.Struct("<I")}
"""First number of the version of a `.npy` header -> how its length is stored."""
_LONGEST_HEADER = 10_000
_TYPES = {"f2", "f4", "f8"}
_KINDS = {"i": "whole numbers", "u": "whole numbers", "b": "true and false", "c": "complex numbers"}
_MOST_AXES = 32
_BLOCK_BYTES = 1 << 20
_HARDLY_PACKED = 1 << 26
_MOST_PACKED = 100
"""Numbers of more than 64 MiB that are packed to less than a hundredth say next to nothing: the file is a zip bomb."""
_SAVE = 'save it with numpy.save(FILE, matrix.astype("float32"))'


@dataclass(frozen=True)
class StoredArray:
    """An array in a file, whose header has been checked.

    Attributes:
        what: the array, for messages.
        numbers: returns the numbers, of *shape* and of any type of floats; they may still lie in the file.
        bfloat16: whether the numbers are the upper halves of float32 numbers.
    """

    what: str
    shape: tuple[int, ...]
    numbers: Callable[[], NDArray[Any]]
    bfloat16: bool = False

    def float32(self, numbers: NDArray[Any]) -> NDArray[np.float32]:
        """Return some of the numbers as float32; numbers that are too large become infinite."""
        if self.bfloat16:
            return float32_of_bfloat16(np.ascontiguousarray(numbers))
        with np.errstate(over="ignore"):
            return numbers.astype(np.float32)


def arrays_in(file: BinaryIO) -> Mapping[str | None, Callable[[], StoredArray]]:
    """Return name -> function that opens an array; the one array of an `.npy` file has the name None.

    Opening an array raises ModelError if it is not of floats, or has not as many bytes as its shape needs, or too many.

    Raises:
        ModelError: if the file is of another kind, or contradicts itself.
    """
    head = file.read(16)
    file.seek(0)
    if head.startswith(_NPY):
        size = os.fstat(file.fileno()).st_size
        return {None: lambda: _in_place(file, "the array", 0, size)}
    if head.startswith(_ZIP):
        members = members_of(file)
        named = {name.removesuffix(".npy"): member for name, member in members.items() if name.endswith(".npy")}
        return {name: _opener(file, name, member) for name, member in named.items()}
    if is_safetensors(head):
        return {name: _tensor_opener(file, name, *place) for name, place in tensor_places(file).items()}
    if head.startswith(_PICKLE):
        raise ModelError(f"refused: it is a pickle, which can run code when it is read; {_SAVE}")
    raise ModelError(f"expected .npy, .npz or .safetensors, got something else, which begins with {short(head)}")


def _tensor_opener(
    file: BinaryIO, name: str, start: int, shape: tuple[int, ...], dtype: str, bfloat16: bool
) -> Callable[[], StoredArray]:
    def opened() -> StoredArray:
        what = f"array {quoted(name)}"
        if not bfloat16:
            _check_type(what, dtype)
        _check_size(what, shape, np.dtype(dtype))
        return StoredArray(what, shape, lambda: _mapped(file, start, shape, np.dtype(dtype), "C"), bfloat16)

    return opened


def _opener(file: BinaryIO, name: str, member: Member) -> Callable[[], StoredArray]:
    def opened() -> StoredArray:
        what = f"array {quoted(name)}"
        if member.method == STORED:
            stored = _in_place(file, what, member.start, member.size)

            def numbers() -> NDArray[Any]:
                _check_sum(what, _blocks(file, member), member)
                return stored.numbers()

            return replace(stored, numbers=numbers)
        if member.method != DEFLATED:
            raise ModelError(f"refused: {what} is encrypted or packed in an unusual way; save it with numpy.savez")
        return _packed(file, what, member)

    return opened


def _in_place(file: BinaryIO, what: str, start: int, size: int) -> StoredArray:
    """Open an array in the form of an `.npy` file that begins at *start* and has *size* bytes."""
    file.seek(start)
    shape, dtype, order, length = _read_header(what, file.read(min(size, 12 + _LONGEST_HEADER)))
    _check_length(what, shape, dtype, size - length)
    return StoredArray(what, shape, lambda: _mapped(file, start + length, shape, dtype, order))


def _packed(file: BinaryIO, what: str, member: Member) -> StoredArray:
    """Open an array in a compressed member of a zip file."""
    if member.size > _HARDLY_PACKED and member.size > _MOST_PACKED * member.packed:
        raise ModelError(
            f"refused: {what} claims {member.size:,} bytes, packed into {member.packed:,}; save it with numpy.savez"
        )
    head = b""
    for block in _unpacked(file, member):
        head += block
        if len(head) >= 12 + _LONGEST_HEADER:
            break
    shape, dtype, order, length = _read_header(what, head)
    _check_length(what, shape, dtype, member.size - length)

    def numbers() -> NDArray[Any]:
        found, at = np.empty(member.size, np.uint8), 0

        def kept() -> Iterator[bytes]:
            nonlocal at
            for block in _unpacked(file, member):
                found[at : at + len(block)] = np.frombuffer(block, np.uint8)
                at += len(block)
                yield block

        _check_sum(what, kept(), member)
        return np.ndarray(shape, dtype, found.data, length, order=order)

    return StoredArray(what, shape, numbers)


def _blocks(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """Yield the bytes of a member as they are in the file."""
    file.seek(member.start)
    rest = member.packed
    while rest and (block := file.read(min(rest, _BLOCK_BYTES))):
        yield block
        rest -= len(block)


def _unpacked(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """Yield the unpacked bytes of a member, of which there are never more than the directory says."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    rest = member.size
    try:
        for block in _blocks(file, member):
            while block:
                found = unpacker.decompress(block, min(rest + 1, _BLOCK_BYTES))
                rest -= len(found)
                if rest < 0:
                    raise ModelError("refused: a member of the zip file has more bytes than its directory says")
                yield found
                block = unpacker.unconsumed_tail
    except zlib.error as error:
        raise ModelError(f"expected compressed numbers, found others ({error}); save the file again") from None


def _check_sum(what: str, blocks: Iterator[bytes], member: Member) -> None:
    checksum, size = 0, 0
    for block in blocks:
        checksum, size = zlib.crc32(block, checksum), size + len(block)
    if (checksum, size) != (member.checksum, member.size):
        raise ModelError(f"{what} is damaged, its checksum is wrong; download or save the file again")


def _read_header(what: str, head: bytes) -> tuple[tuple[int, ...], np.dtype[Any], Any, int]:
    """Return shape, type, order (C or F) and length of the header of an `.npy` file, from its first bytes.

    Raises:
        ModelError: if it is no such header, or the values are not floats.
    """
    major = head[len(_NPY)] if head.startswith(_NPY) and len(head) > len(_NPY) else 0
    if major not in _LENGTHS:
        raise ModelError(f"expected {what} in the format of .npy, versions 1 to 3, found something else")
    place = len(_NPY) + 2
    (length,) = _LENGTHS[major].unpack_from(head, place)
    first = place + _LENGTHS[major].size
    if length > _LONGEST_HEADER:
        raise ModelError(
            f"refused: {what} announces a header of {length:,} bytes, expected at most {_LONGEST_HEADER:,}"
        )
    try:
        header = ast.literal_eval(head[first : first + length].decode("utf-8" if major > 2 else "latin-1").strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        header = None
    match header:
        case {"descr": descr, "fortran_order": bool(fortran), "shape": tuple(shape), **rest} if not rest:
            pass
        case _:
            raise ModelError(f"refused: {what} has no header of type, order and shape; {_SAVE}")
    if not all(type(number) is int and number >= 0 for number in shape) or len(shape) > _MOST_AXES:
        raise ModelError(f"refused: {what} has shape {short(shape)}, expected at most {_MOST_AXES} whole numbers")
    _check_type(what, descr)
    return shape, np.dtype(descr), "F" if fortran else "C", first + length


def _check_type(what: str, descr: object) -> None:
    """Make sure that values are floats of 2, 4 or 8 bytes in any byte order."""
    if isinstance(descr, str) and descr[:1] in ("<", ">", "=", "|") and descr[1:] in _TYPES:
        return
    kind = descr[1:2] if isinstance(descr, str) else "V"
    found = "Python objects, which are pickled" if kind == "O" else _KINDS.get(kind, "values of another type")
    raise ModelError(
        f"refused: expected {what} of float16, float32 or float64, found {found} ({short(descr)}); {_SAVE}"
    )


def _check_length(what: str, shape: tuple[int, ...], dtype: np.dtype[Any], found: int) -> None:
    _check_size(what, shape, dtype)
    expected = math.prod(shape) * dtype.itemsize
    if found != expected:
        raise ModelError(
            f"{what} of shape {short(shape)} needs {expected:,} bytes, the file has {found:,}; it may be cut short"
        )


def _check_size(what: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    size = math.prod(shape) * dtype.itemsize
    if size > LARGEST_BYTES:
        raise ModelError(
            f"refused: {what} of shape {short(shape)} has more than 2 GB; use float16, or fewer directions"
        )


def _mapped(file: BinaryIO, start: int, shape: tuple[int, ...], dtype: np.dtype[Any], order: Any) -> NDArray[Any]:
    if not math.prod(shape):
        return np.empty(shape, dtype)
    mapped: NDArray[Any] = np.memmap(file, dtype, "r", start, shape, order)
    return mapped
