"""Opening a weights file that cannot be trusted: whatever is wrong in it becomes one line that names the file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from core.errors import ModelError, one_line

_DAMAGED = (
    *(struct.error, EOFError, ValueError, TypeError, LookupError),
    *(OverflowError, MemoryError),  # a length that is longer than any file
    RecursionError,  # brackets in brackets in brackets
)
_LONGEST_REASON = 200


@contextmanager
def open_weights(path: Path, kind: str) -> Iterator[BinaryIO]:
    """Open a weights file for its reader, and turn every error of the reader into one line.

    Args:
        kind: what the reader expects, for messages.

    Raises:
        ModelError: if there is no file, or the reader fails or refuses it.
    """
    try:
        with path.open("rb") as file:
            yield file
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise ModelError(f"{path}: expected a weights file, found none") from None
    except OSError as error:
        raise ModelError(f"{path}: expected a weights file, {error.strerror or one_line(error)}") from None
    except _DAMAGED as error:
        reason = one_line(ValueError(str(error)[:_LONGEST_REASON] or type(error).__name__))  # it may quote the file
        raise ModelError(f"{path}: expected {kind}, got something else or a damaged one ({reason})") from None
