"""The lines of all records, kept in a temporary file while an atlas is published.

Together they may take more memory than there is. The file has no name, so it goes when its process ends, however that
happens.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import BinaryIO, cast

from core.errors import StoreError
from core.machine.environment import large_temporary_files


class Lines:
    """Lines that are written one after the other, and read by place and length.

    Attributes:
        bytes: length of all lines together.
    """

    def __init__(self) -> None:
        with told():
            file = tempfile.TemporaryFile(dir=large_temporary_files(), buffering=1 << 20)  # noqa: SIM115  (see __exit__)
        self._file = cast(BinaryIO, file)
        self.bytes = 0

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):  # closing writes what is left, which fails again on a full disk
            self._file.close()

    def add(self, line: bytes) -> tuple[int, int]:
        """Write a line; return the place of its first byte, and its length."""
        with told():
            self._file.write(line)
        start = self.bytes
        self.bytes += len(line)
        return start, len(line)

    def read(self, start: int, length: int) -> bytes:
        """Return the line at a place. Adding lines and reading them must not alternate, because that is slow."""
        with told():
            self._file.flush()
            return os.pread(self._file.fileno(), length, start)

    def file(self) -> BinaryIO:
        """Return the file with all lines that were added so far, each as it was added."""
        with told():
            self._file.flush()
        return self._file


@contextmanager
def told() -> Iterator[None]:
    """Turn an error of the file system into one line."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "make room there, or set TMPDIR to a folder with room for twice the record files"
        raise StoreError(
            f"{large_temporary_files()}: could not keep the lines of records, {error.strerror or error}; "
            f"{remedy if full else 'set TMPDIR to another folder'}"
        ) from error
