"""The list of the photographs of a source, which is made once and kept in the atlas.

A photograph is named by its number in the list of the atlas. Photographs are sorted by their paths in the source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from pydantic import TypeAdapter

_TEXTS = {".txt", ".json", ".cls"}
"""Endings of files that describe the photograph of the same name, as WebDataset names them."""
GONE = "it is no longer there"
"""The reason for a file that has been deleted since the list was made."""
_LICENCES = ("LICENSE", "LICENCE", "COPYING")


class UnreadableError(Exception):
    """A file that is no photograph, or cannot be read as one; the message is the reason in a few words."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A file of a source.

    Attributes:
        path: its path in the source, with forward slashes.
        bytes: its size.
        offset: where it begins in a tar file; None in a folder or bucket.
    """

    path: str
    bytes: int
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Photograph:
    """A file that may be a photograph; only decoding shows whether it is one.

    Attributes:
        label: its class; None if it has none.
        caption: the file with its caption, if there is one.
    """

    file: Piece
    label: str | None = None
    caption: Piece | None = None


@dataclass(frozen=True)
class Listing:
    """The photographs of a source, in order of their paths.

    Attributes:
        licence: the file in the source's root that has the licence, if there is one.
        refused: files that are left out, such as links out of the folder, as (path, reason).
    """

    photographs: tuple[Photograph, ...]
    licence: Piece | None = None
    refused: tuple[tuple[str, str], ...] = ()

    @cached_property
    def digest(self) -> str:
        """The digest of the list: 20 hex digits."""
        return hashlib.sha256(self.to_json()).hexdigest()[:20]

    @cached_property
    def labels(self) -> Sequence[str]:
        """All classes, sorted."""
        return sorted({photograph.label for photograph in self.photographs if photograph.label is not None})

    def to_json(self) -> bytes:
        """Return the file that keeps the list; equal lists give equal bytes."""
        return _LISTING.dump_json(self, exclude_defaults=True)

    @classmethod
    def from_json(cls, data: bytes) -> Listing:
        """Read the file of a list.

        Raises:
            ValueError: if it is damaged.
        """
        return _LISTING.validate_json(data)


_LISTING = TypeAdapter(Listing)


def listed(
    pieces: Iterable[Piece],
    *,
    limit: int | None,
    by_folder: bool,
    labels: Mapping[str, str] | None = None,
    refused: Iterable[tuple[str, str]] = (),
) -> Listing:
    """Return the list of the photographs among the files of a source.

    Every file is taken for a photograph, whatever its name ends with, except hidden files, licences in the root, and
    texts that have the name of another file: `dog.txt` and `dog.json` belong to `dog.jpg`, and have its caption.

    Args:
        limit: number of photographs. They are those whose paths have the smallest digests, so they are a random choice
            that stays the same when others are added.
        by_folder: whether the first folder of a path is the photograph's class.
        labels: path without its ending -> class, instead of folders.
    """
    by_path = {piece.path: piece for piece in pieces if not _is_hidden(piece.path)}
    texts: dict[str, dict[str, Piece]] = {}
    for path, piece in by_path.items():
        stem, ending = _split(path)
        if ending in _TEXTS:
            texts.setdefault(stem, {})[ending] = piece
    images = [piece for path, piece in by_path.items() if not _is_licence(path) and _split(path)[1] not in _TEXTS]
    stems = {_split(piece.path)[0] for piece in images}
    images += [piece for stem, found in texts.items() if stem not in stems for piece in found.values()]
    images = [piece for piece in images if not _is_licence(piece.path)]
    if limit is not None and len(images) > limit:
        images = sorted(images, key=lambda piece: hashlib.sha256(piece.path.encode()).digest())[:limit]
    labels = labels or {}

    def photograph(piece: Piece) -> Photograph:
        stem, _ = _split(piece.path)
        folders = PurePosixPath(piece.path).parts[:-1]
        label = labels.get(stem, folders[0] if by_folder and folders else None)
        described = texts.get(stem, {}) if stem in stems else {}
        return Photograph(piece, label, described.get(".txt") or described.get(".json"))

    licences = sorted(path for path in by_path if _is_licence(path))
    return Listing(
        photographs=tuple(map(photograph, sorted(images, key=lambda piece: piece.path))),
        licence=by_path[licences[0]] if licences else None,
        refused=tuple(sorted(refused)),
    )


def _split(path: str) -> tuple[str, str]:
    """Return a path without its ending, and the ending in lower case."""
    folder, slash, name = path.rpartition("/")
    stem, dot, ending = name.rpartition(".")
    return f"{folder}{slash}{stem if dot else name}", f"{dot}{ending}".lower()


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def _is_licence(path: str) -> bool:
    return "/" not in path and path.upper().startswith(_LICENCES)
