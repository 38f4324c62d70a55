"""Columns of numbers in the form that the page's scripts have.

A column is one number, or null, if all rows are equal. Otherwise it is its type and its numbers in base64,
little-endian: `["u1", "AAEC"]`. The types are u1, u2, u4 and f4. In f4, NaN is an unknown value.
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIGNIFICANT_DIGITS = 4  # a tile shows three; compression works better on fewer digits
_POWERS = np.array([float(f"1e{power}") for power in range(301)])  # np.power may be off by the last bit


def whole_column(values: NDArray[np.unsignedinteger]) -> Any:
    """Return a column of whole numbers, in the smallest type that has room for them.

    Args:
        values: at least one.
    """
    first, most = int(values[0]), int(values.max())
    if first == most == values.min():
        return first
    bits = 8 if most < 1 << 8 else 16 if most < 1 << 16 else 32
    return [f"u{bits // 8}", _base64(values.astype(f"<u{bits // 8}"))]


def float_column(values: NDArray[np.float64]) -> Any:
    """Return a column of numbers that are rounded already, see `rounded_values`; unknown ones are NaN.

    Args:
        values: at least one.
    """
    first = values[0]
    if (np.isnan(values) if np.isnan(first) else values == first).all():
        return rounded(float(first))
    return ["f4", _base64(values.astype("<f4"))]


def key_column(keys: NDArray[np.uint8]) -> list[str]:
    """Return the keys of pairs, 10 bytes each, shape (rows, 10)."""
    return ["key", _base64(keys)]


def u4_column(values: NDArray[np.unsignedinteger]) -> list[str]:
    """Return whole numbers as u4, even if all are equal or there are none."""
    return ["u4", _base64(values.astype("<u4"))]


def rounded_values(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values with four significant digits; what is not finite, or too large for f4, becomes NaN.

    The last bits of very small and very large values may differ from those of `rounded`, but not in f4.
    """
    known = np.isfinite(values) & (np.abs(values) <= float(np.finfo(np.float32).max))
    sizes = np.where(known & (values != 0), np.abs(values), 1.0)
    powers = np.floor(np.log10(sizes))  # close to a power of ten, the next power gives the same result
    places = (_SIGNIFICANT_DIGITS - 1 - powers).clip(-300, 300).astype(int)  # after the point; negative: before it
    scales = _POWERS[np.abs(places)]
    numbers = np.where(known, values, 0.0)
    in_digits = np.where(places >= 0, np.rint(numbers * scales) / scales, np.rint(numbers / scales) * scales)
    return np.where(known, in_digits, np.nan)


def column(values: list[Any]) -> Any:
    """Return the list, or the one value that all rows have."""
    return values[0] if values and all(value == values[0] for value in values) else values


def rounded(value: float | None) -> float | None:
    """Return the value with four significant digits, or None if it is not known or not finite."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{_SIGNIFICANT_DIGITS}g}")


def script_json(value: object) -> str:
    """Return JSON that is safe inside a script: ASCII, and without `<` it cannot open or close an element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _base64(values: NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode()
