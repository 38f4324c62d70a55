"""Photographs in a bucket of an object store."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice

from core.errors import StoreError, TransientStoreError
from core.photographs.listing import GONE, Listing, Piece, UnreadableError, listed
from core.spec import Storage

_TRIED = 4
"""Objects that are tried if one cannot be read: if none of them can, this is not about one object."""


class BucketSource:
    """Photographs below a prefix of a bucket."""

    def __init__(self, address: str, storage: Storage) -> None:
        from core.store.s3 import S3Store  # boto3 loads only if it is needed

        self._store = S3Store(address, storage, "images.source")
        self._readable: str | None = None

    def version(self) -> None:
        """Return None: only a list shows whether the objects have changed."""

    def listing(self, limit: int | None, by_folder: bool) -> Listing:
        pieces = (Piece(path, size) for path, size in self._store.sizes() if not path.endswith("/"))
        return listed(pieces, limit=limit, by_folder=by_folder)

    def read(self, piece: Piece) -> bytes:
        try:
            return self._store.read_part(piece.path, 0, piece.bytes + 1) if piece.bytes else b""
        except TransientStoreError:
            raise
        except StoreError:
            if reason := self._reason(piece.path):
                raise UnreadableError(reason) from None
            raise

    def _reason(self, path: str) -> str | None:
        """Return why an object cannot be read; None if others cannot be read either."""
        with suppress(StoreError):
            if not self._store.exists(path):
                return GONE
        others = [self._readable] if self._readable else (other for other, size in self._store.sizes() if size)
        for other in islice((other for other in others if other != path), _TRIED):
            with suppress(StoreError):
                self._store.read_part(other, 0, 1)
                self._readable = other
                return "the store refuses to send it"
        return None
