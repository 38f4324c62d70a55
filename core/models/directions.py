"""Directions in the space of a layer's channels, read from a file: the rows of a matrix, with or without a bias.

The whole matrix is checked when it is opened. After that single rows are read from the file, which is mapped into
memory, so a large matrix costs each process no more memory than the rows that it uses.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import Array
from core.errors import ModelError, counted, short
from core.models.graph.safety import quoted
from core.models.weight_files.array_file import StoredArray, arrays_in
from core.models.weight_files.weights_file import open_weights
from core.models.weights import file_sha256
from core.spec import DerivedSpec

_BLOCK_NUMBERS = 1 << 22  # 16 MB


class Directions:
    """The directions of a derived layer.

    Args:
        spec: where the matrix is and how it is read.
        path: the file.
        channels: channels of the layer that the directions are of.
        source: name of the derived layer's section in a spec, for messages.

    Attributes:
        of: the layer that they are directions of.

    Raises:
        ModelError: if the file is refused, or has no matrix of finite directions with as many numbers as the layer has
            channels.
    """

    def __init__(self, spec: DerivedSpec, path: Path, channels: int, source: str) -> None:
        self.of = spec.of
        self._path, self._unit = path, spec.unit
        self._digests: dict[int, str] = {}
        with open_weights(path, "an array of numbers") as file:
            self._opened = _signature(os.fstat(file.fileno()))
            arrays = arrays_in(file)
            matrix = _chosen(arrays, spec)()
            self._stored, self._matrix = matrix, _oriented(matrix, spec, channels, source)
            self._bias = _bias(arrays, spec, len(self))
            self._check()

    def __len__(self) -> int:
        """The number of directions."""
        return int(self._matrix.shape[0])

    def rows(self, numbers: Sequence[int]) -> Array:
        """Return some directions, each with its bias behind it, shape (direction, channel + 1), float32.

        With `unit: true` both are divided by the length of the direction.

        Raises:
            ModelError: if the file has changed since it was opened.
        """
        self._check_unchanged()
        return self._read(list(numbers))

    def blocks(self) -> Iterator[Array]:
        """Yield all directions in order, as `rows` returns them, in blocks that take little memory."""
        self._check_unchanged()
        at_once = max(1, _BLOCK_NUMBERS // self._matrix.shape[1])
        for first in range(0, len(self), at_once):
            yield self._read(slice(first, first + at_once))

    def digest(self, number: int) -> str:
        """Return a digest of everything that makes a direction: the layer that it is of, and the numbers of its row."""
        if number not in self._digests:
            facts = hashlib.sha256(f"{len(self.of)}:{self.of}:".encode())
            facts.update(self.rows([number]).astype("<f4").tobytes())
            self._digests[number] = facts.hexdigest()[:20]
        return self._digests[number]

    @cached_property
    def file_sha256(self) -> str:
        """sha256 of the file, in hex."""
        found = file_sha256(self._path)
        self._check_unchanged()
        return found

    def _read(self, which: list[int] | slice) -> Array:
        vectors = self._stored.float32(self._matrix[which])
        biases = np.zeros(len(vectors), np.float32) if self._bias is None else self._bias[which]
        rows: Array = np.concatenate([vectors, biases[:, None]], axis=1)
        if self._unit:
            lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
            with np.errstate(over="ignore"):
                rows = (rows / lengths).astype(np.float32)
        return rows

    def _check(self) -> None:
        """Make sure that all directions are finite and none of them is zero."""
        at_once = max(1, _BLOCK_NUMBERS // self._matrix.shape[1])
        for first in range(0, len(self), at_once):
            vectors = self._stored.float32(self._matrix[first : first + at_once])
            finite = np.isfinite(vectors).all(axis=1)
            if not finite.all():
                number = int(np.argmin(finite))
                value = vectors[number][~np.isfinite(vectors[number])][0]
                raise ModelError(
                    f"expected finite float32 numbers in {self._stored.what}, direction {first + number} has {value}; "
                    "remove or correct it"
                )
            empty = ~vectors.any(axis=1)
            if empty.any():
                raise ModelError(
                    f"expected directions with a length in {self._stored.what}, direction "
                    f"{first + int(np.argmax(empty))} has only zeros; remove it"
                )
            finite = np.isfinite(self._read(slice(first, first + at_once))).all(axis=1)
            if not finite.all():
                raise ModelError(
                    f"expected biases that are finite after unit, direction {first + int(np.argmin(finite))} is too "
                    "short for that; remove it, or unit"
                )

    @property
    def is_current(self) -> bool:
        """Whether the file is still the one that was opened."""
        try:
            return _signature(self._path.stat()) == self._opened
        except OSError:
            return False

    def _check_unchanged(self) -> None:
        if not self.is_current:
            raise ModelError(f"{self._path}: the file has changed since it was opened; start the command again")


def _signature(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _chosen(arrays: Mapping[str | None, Callable[[], StoredArray]], spec: DerivedSpec) -> Callable[[], StoredArray]:
    """Return the array with the matrix: the one that is named, or the only one."""
    if None in arrays:  # an .npy file
        for key in ("names", "bias"):
            if getattr(spec, key) is not None:
                raise ModelError(f"no use for the key {key} with a file of one array; remove it, or save an .npz file")
        return arrays[None]
    if not arrays:
        raise ModelError("expected a matrix of directions, the file has no arrays; save it with numpy.savez")
    if spec.names is not None:
        return _named(arrays, "names", spec.names)
    left = [name for name in arrays if name != spec.bias]
    if len(left) != 1:
        raise ModelError(f"expected the key names with the name of an array, the file has {_listed(arrays)}")
    return arrays[left[0]]


def _named(arrays: Mapping[str | None, Callable[[], StoredArray]], key: str, name: str) -> Callable[[], StoredArray]:
    if name not in arrays:
        raise ModelError(f"{key}: expected the name of an array, got {short(name)}; the file has {_listed(arrays)}")
    return arrays[name]


def _listed(arrays: Mapping[str | None, Any]) -> str:
    few = ", ".join(quoted(str(name)) for name in list(arrays)[:6])
    return f"{counted(len(arrays), 'array')}: {few}{', ...' if len(arrays) > 6 else ''}"


def _oriented(stored: StoredArray, spec: DerivedSpec, channels: int, source: str) -> NDArray[Any]:
    """Return the matrix with a direction in each row; its numbers are read only if its shape is right."""
    asked = f"({channels}, directions)" if spec.transposed else f"(directions, {channels})"
    wanted = f"expected a matrix of shape {asked}, for the {counted(channels, 'channel')} of {short(spec.of)}"
    if len(stored.shape) != 2:
        raise ModelError(f"{wanted}, found {stored.what} of shape {short(stored.shape)}; reshape it")
    count, width = stored.shape[::-1] if spec.transposed else stored.shape
    if width != channels:
        other = "false" if spec.transposed else "true"
        turned = f"{source}.transposed: {other}, or " if count == channels else ""
        raise ModelError(f"{wanted}, found {short(stored.shape)}; give {turned}the layer or the matrix that fits")
    if count == 0:
        raise ModelError(f"{wanted}, found {short(stored.shape)}, which has no directions")
    numbers = stored.numbers()
    return numbers.T if spec.transposed else numbers


def _bias(arrays: Mapping[str | None, Callable[[], StoredArray]], spec: DerivedSpec, count: int) -> Array | None:
    """Return the biases, shape (direction,), or None if there are none."""
    if spec.bias is None:
        return None
    stored = _named(arrays, "bias", spec.bias)()
    if stored.shape not in ((count,), (count, 1), (1, count)):
        raise ModelError(
            f"bias: expected one number for each of {counted(count, 'direction')}, found {stored.what} of shape "
            f"{short(stored.shape)}"
        )
    bias = stored.float32(stored.numbers()).reshape(-1)
    if not np.isfinite(bias).all():
        number = int(np.argmin(np.isfinite(bias)))
        raise ModelError(f"bias: expected finite float32 numbers, direction {number} has {bias[number]}")
    return bias
