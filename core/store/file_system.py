"""The parts of a file system that a store in a directory uses, and replacements for the parts that are missing.

exFAT, and many mounts by FUSE, SMB or 9p, have no hard links; some have no locks or cannot flush a file.
"""

from __future__ import annotations

import errno
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from core.machine.lock import locked

_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_NO_LOCKS = _UNSUPPORTED | {errno.ENOLCK}
_NO_LINKS = _UNSUPPORTED | {errno.EACCES, errno.EMLINK, errno.EPERM}
_ABANDONED_SECONDS = 60.0
"""Age of a claim whose process must have been killed. Work under a claim writes a few megabytes at most."""


def flush(descriptor: int) -> None:
    """Make sure that the bytes of a file are on the disk, if its file system can do that."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def has_links(file: Path) -> bool:
    """Return whether the file system of a file has hard links."""
    second = file.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        os.link(file, second)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    second.unlink()
    return True


def rename_unless_exists(temporary: Path, final: Path) -> bool:
    """Give a file its final name unless there is one of that name; return whether this call did.

    If several processes do so concurrently, exactly one gets True. A link is atomic for all machines that share a
    directory. Without links a lock is held, which some file systems keep for the processes of one machine only.
    The file may keep its temporary name, too.
    """
    try:
        os.link(temporary, final)
        return True
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    with exclusive(final):
        if os.path.lexists(final):
            return False
        temporary.rename(final)
        return True


@contextmanager
def exclusive(final: Path) -> Iterator[None]:
    """Let one process at a time change a file: by a lock or, where there are no locks, by a claim.

    Raises:
        OSError: if neither can be had, such as in a directory that is read-only.
    """
    with ExitStack() as held:
        lock = final.with_name(f".{final.name}.lock.tmp")
        try:
            held.enter_context(locked(lock))
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            lock.unlink(missing_ok=True)
            held.enter_context(_claimed(final.with_name(f".{final.name}.claim.tmp")))
        yield


@contextmanager
def _claimed(claim: Path) -> Iterator[None]:
    """Hold a claim: a file that one process can create, and that it deletes.

    A claim that stays the same for a minute is of a process that was killed, and is removed.
    """
    seen: int | None = None
    since = 0.0
    while True:
        with suppress(FileExistsError):
            os.close(os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            break
        with suppress(FileNotFoundError):
            changed = claim.stat().st_mtime_ns
            if changed != seen:
                seen, since = changed, time.monotonic()
            elif time.monotonic() - since > _ABANDONED_SECONDS:
                claim.unlink()
        time.sleep(0.005)
    try:
        yield
    finally:
        claim.unlink(missing_ok=True)
