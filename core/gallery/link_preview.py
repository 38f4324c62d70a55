"""The picture that other sites show beside a link to an atlas: a few strips, or else the middle of the land."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import numpy as np

from core.arrays import Pixels
from core.atlas.records import preview_path
from core.gallery.table import DONE, Table
from core.pictures.sheets import decode, encode_jpeg, resized, split
from core.store.store import Store

_WIDTH_PX, _HEIGHT_PX = 1200, 630  # the size that sites ask for
_BACKGROUND = (18, 20, 24)
_FRAMES = 6  # of a strip; more would be too small where links are shown
_TRIES = 64  # strips that are looked for; an atlas may have been copied without its pictures
_GAP_PX = 6  # between strips
_TILE = re.compile(r".*/([0-9]+)/([0-9]+)_([0-9]+)\.webp")


def link_preview(store: Store, table: Table, tiles: Collection[str]) -> bytes | None:
    """Return the picture as JPEG; None if the atlas has neither previews of strips nor a land.

    The same previews give the same picture. As an atlas grows, it seldom changes.

    Args:
        tiles: paths of the tiles of the published land.

    Raises:
        StoreError: if the store cannot be read.
    """
    pixels = _strips(store, table)
    if pixels is None and tiles:
        pixels = _middle_of_land(store, tiles)
    return None if pixels is None else encode_jpeg(_centred(pixels))


def _strips(store: Store, table: Table) -> Pixels | None:
    """Return strips below and beside one another, as many as there is room for; None if there are none."""
    found = _previews(store, table)
    first = next(found, None)
    if first is None:
        return None
    frames = len(first)
    beside = max(1, _FRAMES // frames)
    size = _WIDTH_PX // (beside * frames)
    below = max(1, (_HEIGHT_PX + _GAP_PX) // (size + _GAP_PX))
    strips = [first]
    while len(strips) < beside * below and (strip := next(found, None)) is not None:
        if len(strip) == frames:
            strips.append(strip)
    lines = []
    for start in range(0, len(strips), beside):
        line = np.concatenate([frame for strip in strips[start : start + beside] for frame in strip], axis=1)
        line = resized(line, (line.shape[1] * size // line.shape[0], size))
        lines.append(np.pad(line, ((0, _GAP_PX), (0, _WIDTH_PX - line.shape[1]), (0, 0))))
    return np.concatenate(lines)[:-_GAP_PX]


def _previews(store: Store, table: Table) -> Iterator[Pixels]:
    """Yield the frames of finished strips that can be read, those of strong ends before any other.

    Keys are digests, so strips in the order of their keys are of all kinds.
    """
    columns = table.columns
    done = np.flatnonzero(columns["status"] == DONE)
    by_key = done[np.lexsort([table.keys[done, :8].copy().view(">u8").ravel(), columns["ends"][done] != 0])]
    for row in by_key[:_TRIES].tolist():
        path = preview_path(table.keys[row].tobytes().hex())
        pixels = _decoded(store, path) if store.exists(path) else None
        frames = int(columns["frames"][row])
        if pixels is not None and frames >= 1 and pixels.shape[1] == frames * pixels.shape[0]:
            places = np.linspace(0, frames - 1, min(frames, _FRAMES)).round().astype(int)
            yield split(pixels, frames)[places]


def _decoded(store: Store, path: str) -> Pixels | None:
    """Return a stored picture, or None if it is damaged, which `isthmus verify` tells."""
    try:
        return decode(store.read(path))
    except (OSError, SyntaxError, ValueError):
        return None


def _middle_of_land(store: Store, tiles: Collection[str]) -> Pixels | None:
    """Return the middle of the smallest level of a land that fills the picture, or else of the largest level.

    Return None if a tile is damaged.
    """
    places = {match: path for path in tiles if (match := _place(path))}
    levels = {level: [place for place in places if place[0] == level] for level, _, _ in sorted(places)}
    level = next((each for each, there in levels.items() if len(there) >= 6), max(levels))  # 3 x 2 tiles of 512 px
    columns, rows = ({place[axis] for place in levels[level]} for axis in (1, 2))
    middle_columns, middle_rows = _middle(columns, 4), _middle(rows, 3)
    stripes = []
    for row in middle_rows:
        line = [_decoded(store, places[level, column, row]) for column in middle_columns]
        whole = [pixels for pixels in line if pixels is not None]
        if len(whole) < len(line):
            return None
        stripes.append(np.concatenate(whole, axis=1))
    return np.concatenate(stripes)


def _place(path: str) -> tuple[int, int, int] | None:
    """Return the level, the column and the row of a tile; None for any other file."""
    match = _TILE.fullmatch(path)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def _middle(places: set[int], most: int) -> list[int]:
    """Return at most *most* consecutive places around the middle."""
    first = max(0, (len(places) - most) // 2)
    return sorted(places)[first : first + most]


def _centred(pixels: Pixels) -> Pixels:
    """Return a picture of the size that sites ask for: the middle of a larger one, a smaller one on a background."""
    canvas = np.full((_HEIGHT_PX, _WIDTH_PX, 3), _BACKGROUND, np.uint8)
    height, width = min(_HEIGHT_PX, pixels.shape[0]), min(_WIDTH_PX, pixels.shape[1])
    y, x = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    to_y, to_x = (_HEIGHT_PX - height) // 2, (_WIDTH_PX - width) // 2
    canvas[to_y : to_y + height, to_x : to_x + width] = pixels[y : y + height, x : x + width]
    return canvas
