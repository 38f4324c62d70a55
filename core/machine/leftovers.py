"""Files that killed processes have left outside of atlases: in the cache folder and in the folder for temporary files.

Only what is unchanged for an hour and locked by no process is deleted. A partial download is kept for a week, because
the next download resumes it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.errors import SpecError
from core.machine.environment import TEMPORARY_FOLDERS, cache_folder, temporary_files

OLD_SECONDS = 3600.0
"""Age of a temporary file whose process must have been killed. Every other process deletes its files within seconds."""
_OLD_DOWNLOAD_SECONDS = 7 * 24 * 3600.0
_TEMPORARY = re.compile(r"\.(.+\.)?([0-9a-f]{16,32}|lock|claim)\.tmp")


def is_temporary(name: str) -> bool:
    """Return whether a name is one that a store in a directory gives to its temporary files."""
    return _TEMPORARY.fullmatch(name) is not None


def is_old(path: Path, seconds: float = OLD_SECONDS) -> bool:
    """Return whether a file or folder exists and is unchanged for a time."""
    try:
        return time.time() - path.lstat().st_mtime > seconds
    except OSError:
        return False


def sweep_machine() -> int:
    """Delete what killed processes have left on this machine outside of atlases; return the number of deleted paths.

    What cannot be read or deleted stays.
    """
    count = 0
    with suppress(SpecError, OSError):
        for path in _in_cache(cache_folder()):
            with suppress(OSError):
                path.unlink()
                count += 1
    with suppress(SpecError, OSError):
        for folder in temporary_files().iterdir():
            if folder.name.startswith(TEMPORARY_FOLDERS) and is_old(folder) and _is_mine(folder):
                with suppress(OSError), _unused(folder):
                    shutil.rmtree(folder, ignore_errors=True)
                    count += 1
    return count


def _in_cache(cache: Path) -> Iterator[Path]:
    """Yield the leftovers in the folders of the cache that Isthmus writes itself."""
    for folder in (cache, cache / "pace", cache / "prefect"):
        for path in folder.iterdir() if folder.is_dir() else ():
            if (is_temporary(path.name) and is_old(path)) or (
                path.suffix == ".part" and is_old(path, _OLD_DOWNLOAD_SECONDS)
            ):
                yield path
            elif path.suffix == ".lock" and is_old(path):
                with suppress(OSError), _unused(path):
                    yield path


def _is_mine(folder: Path) -> bool:
    return folder.lstat().st_uid == os.getuid() and folder.is_dir() and not folder.is_symlink()


@contextmanager
def _unused(path: Path) -> Iterator[None]:
    """Hold the lock of a file or folder.

    Raises:
        OSError: if another process holds it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
