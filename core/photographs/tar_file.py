"""Photographs in a tar file: on this machine, on the web, or in a bucket.

Files are named as WebDataset names them: `dog.jpg` is described by `dog.txt`, `dog.json` and `dog.cls`, the last of
which has its class. Only the parts that are needed are read, so the tar must not be compressed.
"""

from __future__ import annotations

import http.client
import io
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from core.addresses import without_secrets
from core.errors import SpecError, StoreError, TransientStoreError, one_line
from core.photographs.listing import Listing, Piece, UnreadableError, listed
from core.spec import Storage

_BUFFER_BYTES = 4 << 20  # read at once while the list is made
_LONGEST_LABEL = 200
_LONGEST_HEADER = 256 << 10  # a path and other facts about a file; a kilobyte or less, unless somebody means harm
_TIMEOUT_SECONDS = 60
_ATTEMPTS = 4


@dataclass(frozen=True)
class Bytes:
    """A file that is read in parts.

    Attributes:
        version: a text that changes when the file does; None if there is none.
        read: returns the bytes from an offset on, given their number.
    """

    size: int
    version: str | None
    read: Callable[[int, int], bytes]


class TarSource:
    """Photographs in a tar file."""

    def __init__(self, address: str, data: Bytes) -> None:
        self._address, self._data = address, data

    def version(self) -> str | None:
        return self._data.version

    def listing(self, limit: int | None, by_folder: bool) -> Listing:
        pieces, labels, refused = [], {}, []
        for member in self._members():
            # Nothing is unpacked, so a path is a name and can lead nowhere.
            path = "/".join(part for part in member.name.split("/") if part not in ("", ".", ".."))
            shown = path.encode(errors="replace").decode()
            if member.isreg() and not member.issparse() and path == shown:
                pieces.append(Piece(path, member.size, member.offset_data))
                label = self._label(pieces[-1]) if path.lower().endswith(".cls") else None
                if label:
                    labels[path[: -len(".cls")]] = label
            elif not member.isdir():
                is_named = path == shown
                refused.append((shown, "it is no regular file of the tar" if is_named else "its name is not UTF-8"))
        root = _root(piece.path for piece in pieces)
        return listed(
            (replace(piece, path=piece.path.removeprefix(root)) for piece in pieces),
            limit=limit,
            by_folder=by_folder,
            labels={path.removeprefix(root): label for path, label in labels.items()} if by_folder else {},
            refused=refused,
        )

    def read(self, piece: Piece) -> bytes:
        if piece.offset is None:
            raise UnreadableError("its place in the tar file is not known")
        return self._data.read(piece.offset, piece.bytes) if piece.bytes else b""

    def _members(self) -> Iterator[tarfile.TarInfo]:
        """Yield the members of the tar file up to its end; Python's module takes a damaged header for the end, too.

        Raises:
            SpecError: if the file is compressed or damaged.
        """
        opened, place = _Headers(_Opened(self._data), _BUFFER_BYTES), 0  # type: ignore[arg-type]
        try:
            with tarfile.open(fileobj=opened, mode="r:") as tar:
                while member := tar.next():
                    if member.size < 0:
                        raise ValueError("a file has a negative size")
                    yield member
                    opened.allowed, place = _LONGEST_HEADER, tar.offset
                    tar.members.clear()  # type: ignore[attr-defined]  # otherwise all are kept
            rest = min(tarfile.BLOCKSIZE, self._data.size - place) if place else 0
            if rest > 0 and any(self._data.read(place, rest)):
                raise ValueError("the next file has no header")
        except (tarfile.TarError, EOFError, OSError, ValueError, RecursionError) as error:
            if not place:
                raise SpecError(
                    f"images.source {self._address}: expected a tar file without compression, {one_line(error)}"
                ) from None
            raise SpecError(
                f"images.source {self._address}: expected a whole tar file, it is damaged at byte "
                f"{min(place, self._data.size):,} ({one_line(error)}); copy it again, or give a folder with its files"
            ) from None

    def _label(self, piece: Piece) -> str | None:
        """Return the class that a small file has in its first line."""
        text = self._data.read(piece.offset or 0, min(piece.bytes, 4 * _LONGEST_LABEL)) if piece.bytes else b""
        lines = text.decode(errors="replace").strip().splitlines()
        return lines[0].strip()[:_LONGEST_LABEL] if lines else None


def _root(paths: Iterable[str]) -> str:
    """Return the folder that all files are in, with a slash at its end; nothing if there is none."""
    tops = {path[: path.find("/") + 1] for path in paths if not path.startswith(".")}
    return tops.pop() if len(tops) == 1 else ""


class _Headers(io.BufferedReader):
    """A tar file whose headers are read; a header that says that it is huge must not fill the memory.

    Attributes:
        allowed: number of bytes that may still be read before the next file.
    """

    allowed = _LONGEST_HEADER

    def read(self, size: int | None = -1, /) -> bytes:
        self.allowed -= self.allowed + 1 if size is None or size < 0 else size
        if self.allowed < 0:
            raise ValueError(f"a header has more than {_LONGEST_HEADER >> 10} kB")
        return super().read(size)


class _Opened(io.RawIOBase):
    """A file that is read in parts, as Python's own files are read."""

    def __init__(self, data: Bytes) -> None:
        self._data, self._place = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._data.size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        length = min(len(buffer), self._data.size - self._place)
        if length <= 0:
            return 0
        found = self._data.read(self._place, length)
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)


def file_bytes(path: Path) -> Bytes:
    """Return a file on this machine."""

    def read(offset: int, length: int) -> bytes:
        try:
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(length)
        except OSError as error:
            raise StoreError(f"images.source {path}: could not read, {error.strerror}") from None

    return Bytes(path.stat().st_size, None, read)


def bucket_bytes(address: str, storage: Storage) -> Bytes:
    """Return an object of a bucket.

    Raises:
        SpecError: if there is no such object.
        StoreError: if the store cannot be reached.
    """
    from core.store.s3 import S3Store

    folder, _, name = address.rpartition("/")
    store = S3Store(folder, storage, "images.source")
    size = dict(store.sizes()).get(name)
    if size is None:
        raise SpecError(f"images.source {address}: expected a tar file, there is no such object")
    return Bytes(size, store.version(name), lambda offset, length: store.read_part(name, offset, length))


def web_bytes(address: str) -> Bytes:
    """Return a file on the web, whose server must be able to send parts of files.

    Raises:
        SpecError: if it cannot.
        StoreError: if the server cannot be reached, or has no such file.
    """

    def read(offset: int, length: int) -> bytes:
        return _request(address, offset, length)[0]

    _, size, version = _request(address, 0, 1)
    return Bytes(size, version, read)


def _request(address: str, offset: int, length: int) -> tuple[bytes, int, str | None]:
    """Return some bytes of a file on the web, the size of the file, and its version."""
    place = f"images.source {without_secrets(address)}"
    request = urllib.request.Request(address, headers={"Range": f"bytes={offset}-{offset + length - 1}"})
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(2.0 ** (attempt - 1))
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
                whole = str(answer.headers.get("Content-Range", "")).rpartition("/")[2]
                if answer.status != 206 or not whole.isdigit():
                    raise SpecError(f"{place}: expected a server that sends parts of files; download the tar file")
                data = answer.read(length + 1)
                if len(data) != min(length, int(whole) - offset):
                    continue
                return data, int(whole), answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise StoreError(f"{place}: could not read, the server says {error.code}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            if attempt == _ATTEMPTS - 1:
                raise TransientStoreError(f"{place}: could not read, {one_line(error)}") from None
    raise TransientStoreError(f"{place}: could not read, the server does not answer in full")
