"""The files of a portrait: its colours before squashing, in NumPy's `.npy`, and its picture as PNG."""

from __future__ import annotations

import hashlib
import io

import numpy as np

from core.arrays import Array
from core.atlas.records import Key, PortraitFiles, colours_path, portrait_path
from core.errors import RecordError
from core.pictures import sheets
from core.pictures.portrait import Portrait
from core.store.store import Store, keep


def store_portrait(store: Store, key: Key, portrait: Portrait) -> PortraitFiles:
    """Store the files of a portrait unless they exist, and return the facts about what is stored.

    Raises:
        StoreError: if the store cannot be written.
    """
    buffer = io.BytesIO()
    np.save(buffer, portrait.colours.astype("<f4"), allow_pickle=False)
    colours = keep(store, colours_path(key), buffer.getvalue())
    picture = keep(store, portrait_path(key), sheets.encode_png(portrait.pixels))
    return PortraitFiles(
        colours_sha256=hashlib.sha256(colours).hexdigest(),
        colours_bytes=len(colours),
        picture_sha256=hashlib.sha256(picture).hexdigest(),
        picture_bytes=len(picture),
    )


def read_portrait(store: Store, key: Key, size_px: int) -> Portrait:
    """Read a portrait.

    Args:
        size_px: height and width that the portrait must have.

    Raises:
        RecordError: if a file is missing, damaged or of another size.
        TransientStoreError: if the store cannot be reached.
    """
    for path in (colours_path(key), portrait_path(key)):
        if not store.exists(path):
            raise _damaged(store, path, "found nothing")
    colours = _read_colours(store, colours_path(key))
    try:
        pixels = sheets.decode(store.read(portrait_path(key)))
    except (OSError, ValueError) as error:
        raise _damaged(store, portrait_path(key), str(error)) from None
    for path, found in ((colours_path(key), colours), (portrait_path(key), pixels)):
        if found.shape != (size_px, size_px, 3):
            raise _damaged(store, path, f"found numbers of shape {found.shape}")
    return Portrait(colours, pixels)


def _read_colours(store: Store, path: str) -> Array:
    try:
        colours = np.load(io.BytesIO(store.read(path)), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(store, path, str(error)) from None
    if not isinstance(colours, np.ndarray) or colours.dtype != np.float32:
        raise _damaged(store, path, "found something else")
    return colours


def _damaged(store: Store, path: str, problem: str) -> RecordError:
    return RecordError(
        f"{store}/{path}: expected part of a portrait, {problem}; run isthmus verify --repair, and build again"
    )
