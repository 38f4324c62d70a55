"""Files of activations on photographs: one for each part, with some layers.

A file is an uncompressed npz. Activations are float16, multiplied by a power of two for each photograph and layer that
brings the largest of them just below 2^15. So none overflows, however large a network's activations are, and numbers do
not depend on the other photographs of the file.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import Array
from core.errors import RecordError

_LARGEST_EXPONENT = 15  # 2^15 is half of the largest float16


@dataclass(frozen=True)
class LayerActivations:
    """Activations of a layer on photographs, each shape (image, channel).

    Attributes:
        mean: mean over the positions, float32.
        peak: the largest value of a position, float32.
        position: where the peak is, row * width + column, a whole number.
    """

    mean: Array
    peak: Array
    position: NDArray[np.integer[Any]]


@dataclass(frozen=True)
class PartActivations:
    """Activations on a part of the photographs.

    Attributes:
        rows: the places in the part of the photographs that count, int32, ascending.
        digests: the first 64 bits of the sha256 of each file.
        layers: layer -> activations.
    """

    rows: NDArray[np.int32]
    digests: NDArray[np.uint64]
    layers: Mapping[str, LayerActivations]


def pack(part: PartActivations) -> bytes:
    """Return the file of a part; equal activations give equal bytes. All of them must be finite."""
    arrays: dict[str, NDArray[Any]] = {"rows": part.rows, "digests": part.digests}
    for number, layer in enumerate(sorted(part.layers)):
        found = part.layers[layer]
        largest = np.maximum(np.abs(found.mean).max(axis=1), np.abs(found.peak).max(axis=1))
        _, exponent = np.frexp(largest)  # largest < 2^exponent
        exponent = (exponent - _LARGEST_EXPONENT).astype(np.int16)
        arrays[f"exponent_{number}"] = exponent
        for name, values in (("mean", found.mean), ("peak", found.peak)):
            arrays[f"{name}_{number}"] = np.ldexp(values, -exponent[:, None].astype(np.int32)).astype(np.float16)
        wide = found.position.size and found.position.max() > np.iinfo(np.uint16).max
        arrays[f"position_{number}"] = found.position.astype(np.uint32 if wide else np.uint16)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack(data: bytes, path: str, layers: Collection[str], wanted: Collection[str]) -> PartActivations:
    """Read some layers of a file.

    Args:
        path: for messages.
        layers: all layers of the file, as its record names them.
        wanted: the layers to read.

    Raises:
        RecordError: if the file is damaged.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            rows, digests = file["rows"], file["digests"]
            numbers = {layer: number for number, layer in enumerate(sorted(layers))}
            found = {layer: _layer(file, numbers[layer]) for layer in wanted}
    except (KeyError, OSError, ValueError, EOFError, zipfile.BadZipFile):
        raise RecordError(
            f"{path}: expected activations on photographs; run isthmus verify --repair, then isthmus images"
        ) from None
    return PartActivations(rows, digests, found)


def _layer(file: Mapping[str, NDArray[Any]], number: int) -> LayerActivations:
    exponent = file[f"exponent_{number}"].astype(np.int32)[:, None]
    mean, peak = (
        np.ldexp(file[f"{name}_{number}"].astype(np.float32), exponent).astype(np.float32) for name in ("mean", "peak")
    )
    return LayerActivations(mean, peak, file[f"position_{number}"])
