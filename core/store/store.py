"""The store: named objects under one address, each written atomically.

Paths are relative and use forward slashes. `create` never overwrites and returns whether it was first, which makes
records commit markers. `replace` is for objects that can be rebuilt at any time. `swap` is for objects that several
processes may rebuild concurrently: an older version never replaces a newer one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from core.addresses import without_secrets
from core.errors import StoreError
from core.machine.leftovers import is_old, is_temporary
from core.spec import Storage
from core.store.file_system import exclusive, flush, has_links, rename_unless_exists

_BLOCK_BYTES = 1 << 20
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


class Store(Protocol):
    """The interface of every kind of store. A method that fails raises a StoreError of one line.

    Attributes:
        one_writer: the warning for a store that does not allow many writers: the reason, and the advice.
    """

    one_writer: str

    @property
    def name(self) -> str:
        """The last part of the store's address: the name of its atlas."""

    def location(self, path: str) -> str:
        """Return the address of an object for other programs: the path of a file, or a URL."""

    def allows_many_writers(self) -> bool:
        """Return whether `create` and `swap` are atomic between processes.

        The call may write and delete an object to find out.
        """

    def create(self, path: str, data: bytes) -> bool:
        """Write an object unless it exists; return whether this call wrote it.

        If several processes create one path concurrently, exactly one gets True.
        """

    def replace(self, path: str, data: bytes) -> None:
        """Write an object, whether or not it exists; readers see the whole old object or the whole new one."""

    def version(self, path: str) -> str | None:
        """Return a text that changes whenever the object's bytes change, or None if there is no object."""

    def swap(self, path: str, data: bytes | BinaryIO, version: str | None) -> bool:
        """Write an object if it still has this version; return whether it was written.

        The version None means that the object does not exist. If several processes swap one version of a path
        concurrently, exactly one gets True, unless all of them write the bytes that the object has already.

        Args:
            data: the bytes, or an open file whose whole content is written without reading it into memory.
        """

    def read(self, path: str) -> bytes: ...

    def digest(self, path: str) -> str:
        """Return the sha256 of an object, in hex, without reading a large one into memory."""

    def read_many(self, paths: Iterable[str]) -> Iterator[bytes]:
        """Yield the bytes of objects in the order of their paths; only a few objects are in memory at a time."""

    def exists(self, path: str) -> bool: ...

    def delete(self, path: str) -> None:
        """Delete an object if it exists."""

    def list(self, prefix: str) -> Iterator[str]:
        """Return the sorted paths of all objects below a folder such as `records/`; `""` is the whole store."""

    def leftovers(self) -> Iterator[str]:
        """Return the paths of the temporary files that killed processes have left: those that are an hour old."""


class DirectoryStore:
    """A store in a directory of a local or mounted file system."""

    one_writer = "this file system has no hard links; let only one build or publish of an atlas run at a time"

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    @property
    def name(self) -> str:
        return self.root.resolve().name

    def location(self, path: str) -> str:
        return str((self.root / path).resolve())

    def allows_many_writers(self) -> bool:
        # A folder that does not exist yet will be on the file system of the nearest one that exists.
        folder = next(path for path in (self.root, *self.root.absolute().parents) if path.is_dir())
        probe = folder / f".probe.{uuid.uuid4().hex}.tmp"
        try:
            try:
                with probe.open("wb") as file:
                    flush(file.fileno())
                return has_links(probe)
            finally:
                probe.unlink(missing_ok=True)
        except OSError as error:
            raise self._error("write", "", error) from error

    def create(self, path: str, data: bytes) -> bool:
        try:
            temporary = self._write_temporary(path, data)
            try:
                created = rename_unless_exists(temporary, self.root / path)
                if not created and (self.root / path).is_dir():
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
                return created
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise self._error("write", path, error) from error

    def replace(self, path: str, data: bytes) -> None:
        try:
            temporary = self._write_temporary(path, data)
            try:
                temporary.replace(self.root / path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise self._error("write", path, error) from error

    def version(self, path: str) -> str | None:
        return self.digest(path) if self.exists(path) else None

    def swap(self, path: str, data: bytes | BinaryIO, version: str | None) -> bool:
        final = self.root / path
        try:
            temporary = self._write_temporary(path, data)  # before others have to wait
            try:
                with exclusive(final):
                    if self.version(path) != version:
                        return False
                    temporary.replace(final)
                    return True
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise self._error("write", path, error) from error

    def read(self, path: str) -> bytes:
        try:
            return (self.root / path).read_bytes()
        except OSError as error:
            raise self._error("read", path, error) from error

    def digest(self, path: str) -> str:
        try:
            digest = hashlib.sha256()
            with (self.root / path).open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    digest.update(block)
            return digest.hexdigest()
        except OSError as error:
            raise self._error("read", path, error) from error

    def read_many(self, paths: Iterable[str]) -> Iterator[bytes]:
        return map(self.read, paths)

    def exists(self, path: str) -> bool:
        try:
            return (self.root / path).is_file()
        except OSError as error:
            raise self._error("read", path, error) from error

    def delete(self, path: str) -> None:
        try:
            (self.root / path).unlink(missing_ok=True)
        except OSError as error:
            raise self._error("delete", path, error) from error

    def list(self, prefix: str) -> Iterator[str]:
        try:
            found = sorted(
                Path(folder, name).relative_to(self.root).as_posix()
                for folder, _, names in os.walk(self.root / prefix, onerror=_raise_unless_missing)
                for name in names
                if not is_temporary(name)
            )
        except OSError as error:
            raise self._error("list", prefix, error) from error
        return iter(found)

    def leftovers(self) -> Iterator[str]:
        # One walk, in which only files with temporary names are asked for their age. The probe for a new atlas is in
        # the folder above, of which only the names are read.
        if not self.root.is_dir():
            return iter(())
        root = self.root.absolute()
        try:
            found = [path for path in root.parent.iterdir() if path.name.startswith(".probe.")]
            found += [Path(folder, name) for folder, _, names in os.walk(root) for name in names if is_temporary(name)]
        except OSError as error:
            raise self._error("list", "", error) from error
        return (os.path.relpath(path, root) for path in found if is_temporary(path.name) and is_old(path))

    def _write_temporary(self, path: str, data: bytes | BinaryIO) -> Path:
        """Write a file beside the final one and make sure that its bytes are on the disk."""
        final = self.root / path
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("wb") as file:
                if isinstance(data, bytes):
                    file.write(data)
                else:
                    data.seek(0)
                    shutil.copyfileobj(data, file, _BLOCK_BYTES)
                file.flush()
                flush(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary

    def _error(self, action: str, path: str, error: OSError) -> StoreError:
        remedy = ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = "; make room and run the same command again"
        elif error.errno in _READ_ONLY:
            remedy = f"; let this user {action} there, or choose another folder"
        elif error.errno == errno.ENAMETOOLONG:
            remedy = "; choose a folder with a shorter name"
        return StoreError(f"{self.root / path}: could not {action}, {error.strerror or error}{remedy}")


def keep(store: Store, path: str, data: bytes) -> bytes:
    """Create an object unless it exists; return the stored bytes, which a record describes."""
    return data if store.create(path, data) else store.read(path)


def sweep(store: Store) -> int:
    """Delete the temporary files that killed processes have left in a store; return their number."""
    count = 0
    for path in store.leftovers():
        store.delete(path)
        count += 1
    return count


def _raise_unless_missing(error: OSError) -> None:
    """Raise the error of a folder that cannot be listed; a folder that does not exist is empty."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def open_store(uri: str, storage: Storage = Storage()) -> Store:  # noqa: B008  (immutable)
    """Open the store at an address, a directory or s3://bucket/prefix; this reads and writes nothing.

    Args:
        storage: options of the connection to an object store.

    Raises:
        StoreError: if the address is of another kind, or a file is in its path.
    """
    if uri.startswith("s3://"):
        from core.store.s3 import S3Store

        return S3Store(uri, storage)
    if "://" in uri:
        raise StoreError(
            f"output {without_secrets(uri)}: expected a directory or s3://bucket/prefix; "
            "other kinds of store are not supported"
        )
    try:
        root = Path(uri).expanduser()
        existing = next((path for path in (root, *root.parents) if path.exists()), None)
    except (OSError, RuntimeError) as error:  # the name is too long, or ~user names no user
        raise StoreError(f"output {uri}: expected a directory, {getattr(error, 'strerror', error)}") from None
    if existing is not None and not existing.is_dir():
        raise StoreError(f"output {uri}: expected a directory, but {existing} is a file")
    return DirectoryStore(root)
