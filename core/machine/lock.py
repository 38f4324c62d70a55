"""A lock between the processes of a machine."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes; the lock ends with the process, even if the process is killed.

    Raises:
        OSError: if the lock's file cannot be created.
    """
    while True:
        with _opened(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _is(path, file.fileno()):  # the last holder has deleted it, so others may lock a new file
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _opened(path: Path) -> IO[bytes]:
    """Open the lock's file, or create it."""
    while True:
        try:
            return path.open("ab")
        except FileNotFoundError:
            # Mounts by FUSE find a file and open it in two steps, between which the last holder may delete it.
            if not path.parent.is_dir():
                raise


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
