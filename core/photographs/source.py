"""Sources of photographs: the interface, and the kind that an address stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from core.errors import SpecError, short
from core.photographs.listing import Listing, Piece
from core.spec import Storage

_KINDS = "a folder, s3://bucket/prefix, or a tar file"


class Source(Protocol):
    """A place with photographs."""

    def version(self) -> str | None:
        """Return a text that changes when the photographs do; None if only a list shows whether they have changed."""

    def listing(self, limit: int | None, by_folder: bool) -> Listing:
        """Return the list of the photographs; see `core.photographs.listing.listed`.

        Raises:
            SpecError: if there is no such place, or it has no photographs.
            StoreError: if it cannot be read.
        """

    def read(self, piece: Piece) -> bytes:
        """Return the bytes of a file.

        Raises:
            UnreadableError: if this file cannot be read.
            StoreError: if the source cannot be read, so that other files could not be read either.
        """


def open_source(address: str, storage: Storage) -> Source:
    """Return the source at an address; the files in it are not read yet.

    Args:
        storage: options of the connection to an object store.

    Raises:
        SpecError: if the address is of no kind, or names nothing.
        StoreError: if it cannot be reached.
    """
    from core.photographs.folder import FolderSource
    from core.photographs.tar_file import TarSource, bucket_bytes, file_bytes, web_bytes

    is_tar = address.lower().endswith(".tar")
    if address.startswith("s3://"):
        from core.photographs.bucket import BucketSource

        return TarSource(address, bucket_bytes(address, storage)) if is_tar else BucketSource(address, storage)
    if address.startswith(("https://", "http://")) and is_tar:
        return TarSource(address, web_bytes(address))
    if "://" in address:
        raise SpecError(f"images.source: expected {_KINDS}, got {short(address)}")
    try:
        path = Path(address).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError) as error:  # the name is too long, or ~user names no user
        raise SpecError(f"images.source {address}: expected {_KINDS}, {getattr(error, 'strerror', error)}") from None
    if is_folder:
        return FolderSource(path)
    if is_file:
        return TarSource(address, file_bytes(path))
    raise SpecError(f"images.source: expected {_KINDS}, there is none at {path.absolute()}")


def absolute(address: str) -> str:
    """Return an address that means the same in every folder of this machine."""
    return address if "://" in address else str(Path(address).expanduser().absolute())
