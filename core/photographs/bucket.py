"""Photographs in a bucket of an object store."""

from __future__ import annotations

from core.errors import StoreError, TransientStoreError
from core.photographs.listing import GONE, Listing, Piece, UnreadableError, listed
from core.spec import Storage


class BucketSource:
    """Photographs below a prefix of a bucket."""

    def __init__(self, address: str, storage: Storage) -> None:
        from core.store.s3 import S3Store  # boto3 loads only if it is needed

        self._store = S3Store(address.rstrip("/"), storage)

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
            if self._store.exists(piece.path):
                raise
            raise UnreadableError(GONE) from None
