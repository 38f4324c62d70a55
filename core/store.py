"""The store: named bytes under one address, written whole or not at all.

Paths are relative and use forward slashes. `create` never overwrites and says whether it was first, which is what
makes records commit markers; `replace` is for what may be rebuilt at any time.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from core.errors import StoreError


class DirectoryStore:
    """A store in a directory of a local (or mounted) file system that has hard links."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def create(self, path: str, data: bytes) -> bool:
        """Write an object unless it is there already; True if this call wrote it.

        Of several processes that create one path at once exactly one gets True.
        """
        try:
            temporary = self._write_temporary(path, data)
            try:
                os.link(temporary, self.root / path)
                return True
            except FileExistsError:
                return False
            finally:
                temporary.unlink()
        except OSError as error:
            raise self._error("write", path, error) from error

    def replace(self, path: str, data: bytes) -> None:
        """Write an object, whether or not it is there already; readers see the old or the new one, whole."""
        try:
            temporary = self._write_temporary(path, data)
            try:
                temporary.replace(self.root / path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise self._error("write", path, error) from error

    def read(self, path: str) -> bytes:
        try:
            return (self.root / path).read_bytes()
        except OSError as error:
            raise self._error("read", path, error) from error

    def exists(self, path: str) -> bool:
        return (self.root / path).is_file()

    def delete(self, path: str) -> None:
        """Remove an object; nothing happens if there is none."""
        try:
            (self.root / path).unlink(missing_ok=True)
        except OSError as error:
            raise self._error("delete", path, error) from error

    def list(self, prefix: str) -> Iterator[str]:
        """Paths of all objects below a folder such as `records/`, sorted."""
        try:
            found = sorted(
                Path(folder, name).relative_to(self.root).as_posix()
                for folder, _, names in os.walk(self.root / prefix)
                for name in names
                if not _is_temporary(name)
            )
        except OSError as error:
            raise self._error("list", prefix, error) from error
        return iter(found)

    def _write_temporary(self, path: str, data: bytes) -> Path:
        """Write a file beside the final one and make sure it is on the disk."""
        final = self.root / path
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        return temporary

    def _error(self, action: str, path: str, error: OSError) -> StoreError:
        return StoreError(f"{self.root / path}: could not {action}, {error.strerror}")


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")


def open_store(uri: str) -> DirectoryStore:
    """The store at an address; nothing is written by opening it.

    Raises:
        StoreError: if the address is not a directory, or something else stands in its place.
    """
    if "://" in uri:
        raise StoreError(f"output {uri}: expected a directory; other kinds of store are not supported")
    try:
        root = Path(uri).expanduser()
        in_the_way = next((path for path in (root, *root.parents) if path.exists()), None)
    except (OSError, RuntimeError) as error:  # a name that is too long, or the home of nobody
        raise StoreError(f"output {uri}: expected a directory, {getattr(error, 'strerror', error)}") from None
    if in_the_way is not None and not in_the_way.is_dir():
        raise StoreError(f"output {uri}: expected a directory, but {in_the_way} is a file")
    return DirectoryStore(root)
