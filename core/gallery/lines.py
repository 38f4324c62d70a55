"""The lines of all records, kept in a temporary file while an atlas is published.

Together they may take more memory than there is. The file has no name, so it goes when its process ends, however that
happens.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from core.errors import StoreError
from core.machine.environment import temporary_files


class Lines:
    """Lines that are written one after the other, and read by place and length."""

    def __init__(self) -> None:
        with _told():
            self._file = tempfile.TemporaryFile(dir=temporary_files(), buffering=1 << 20)  # noqa: SIM115  (in __exit__)
        self._end = 0

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, line: bytes) -> tuple[int, int]:
        """Write a line; return the place of its first byte, and its length."""
        with _told():
            self._file.write(line)
        start = self._end
        self._end += len(line)
        return start, len(line)

    def read(self, start: int, length: int) -> bytes:
        """Return the line at a place; all lines must have been added, and `flush` called."""
        with _told():
            return os.pread(self._file.fileno(), length, start)

    def flush(self) -> None:
        """Make sure that all lines can be read."""
        with _told():
            self._file.flush()


@contextmanager
def _told() -> Iterator[None]:
    """Turn an error of the file system into one line."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "make room there, or set TMPDIR to a folder with as much room as data/pairs.ndjson takes"
        raise StoreError(
            f"{temporary_files()}: could not keep the lines of records, {error.strerror or error}"
            + (f"; {remedy}" if full else "; set TMPDIR to another folder")
        ) from error
