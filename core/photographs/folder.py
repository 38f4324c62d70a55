"""Photographs in a folder and the folders in it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from core.errors import SpecError, StoreError
from core.photographs.listing import GONE, Listing, Piece, UnreadableError, listed

_OF_ONE_FILE = (errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO)
"""Errors of one file that say nothing about others."""
_DENIED = os.strerror(errno.EACCES)
_LINK_OUT = "it is a link out of the folder"


class FolderSource:
    """Photographs in a folder.

    Links to files in the folder are followed; links to folders are not, and nothing outside of the folder is read.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._real = root.resolve()

    def version(self) -> None:
        """Return None: only a list shows whether the folder has changed."""

    def listing(self, limit: int | None, by_folder: bool) -> Listing:
        refused: list[tuple[str, str]] = []
        try:
            pieces = list(self._pieces(refused))
        except OSError as error:
            raise SpecError(f"images.source {self._root}: expected a folder that can be read, {error}") from None
        return listed(pieces, limit=limit, by_folder=by_folder, refused=refused)

    def read(self, piece: Piece) -> bytes:
        try:
            # A link may have changed since the list was made. A pipe must not be waited for.
            real = (self._root / piece.path).resolve(strict=True)
            if not real.is_relative_to(self._real):
                raise UnreadableError(_LINK_OUT)
            descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise UnreadableError("it is no regular file")
                return file.read(piece.bytes + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise UnreadableError(GONE) from None
        except RuntimeError:  # Python 3.12 and older raise it for links in a circle
            raise UnreadableError("it is a link in a circle") from None
        except OSError as error:
            if error.errno in _OF_ONE_FILE:
                raise UnreadableError(f"it cannot be read, {error.strerror}") from None
            raise StoreError(f"images.source {self._root / piece.path}: could not read, {error.strerror}") from None

    def _pieces(self, refused: list[tuple[str, str]]) -> Iterator[Piece]:
        """Yield the files, and add those that are left out to *refused*."""
        for folder, folders, names in os.walk(self._root, onerror=lambda error: self._unlisted(error, refused)):
            for name in [*folders]:
                if (Path(folder) / name).is_symlink():
                    refused.append((self._shown(Path(folder) / name), "it is a link to a folder"))
                if name.startswith("."):
                    folders.remove(name)
            for name in names:
                path = Path(folder) / name
                found = self._piece(path) if not name.startswith(".") else None
                if isinstance(found, Piece):
                    yield found
                elif found is not None:
                    refused.append((self._shown(path), found))

    def _piece(self, path: Path) -> Piece | str:
        """Return a file, or why it is left out."""
        shown = self._shown(path)
        if shown != path.relative_to(self._root).as_posix():
            return "its name is not UTF-8"
        try:
            if path.is_symlink() and not path.resolve(strict=True).is_relative_to(self._real):
                return _LINK_OUT
            found = path.stat()
        except (OSError, RuntimeError):
            return "it is a link that leads nowhere"
        if not stat.S_ISREG(found.st_mode):
            return "it is no regular file"
        # Left out of the list, it is looked at again by the next command; left out while it is read, it never is.
        return Piece(shown, found.st_size) if os.access(path, os.R_OK) else f"it cannot be read, {_DENIED}"

    def _shown(self, path: Path) -> str:
        """Return a path in the source as text that can be written, whatever bytes it has."""
        return path.relative_to(self._root).as_posix().encode(errors="replace").decode()

    def _unlisted(self, error: OSError, refused: list[tuple[str, str]]) -> None:
        """Note a folder that cannot be listed.

        Raises:
            OSError: if it is the whole source.
        """
        path = Path(os.fsdecode(error.filename))
        if path == self._root:
            raise error
        refused.append((self._shown(path), f"it is a folder that cannot be read, {error.strerror}"))
