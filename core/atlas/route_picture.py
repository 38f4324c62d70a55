"""A route as one picture: the strips of a road one after the other, as a movie or as one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from core.arrays import Pixels
from core.atlas.records import sheet_path
from core.atlas.roads import Road
from core.errors import RecordError, ShapeError, SpecError
from core.pictures import sheets
from core.store.store import Store

SUFFIXES = (".webp", ".png")
_FRAME_MILLISECONDS, _REST_MILLISECONDS = 200, 1000
_CAPTION_PX, _LARGEST_LETTERS, _SMALLEST_LETTERS = 18, 13, 6
_PAPER, _INK = (255, 255, 255), (27, 28, 29)


def check_suffix(output: Path) -> None:
    """Make sure that a route can be written as a file of that name.

    Raises:
        SpecError: if it ends in anything else.
    """
    if output.suffix.lower() not in SUFFIXES:
        raise SpecError(
            f"--output: expected a file name that ends in .webp, for a movie, or .png, for a sheet, got {output}"
        )


def read_frames(store: Store, way: Sequence[Road]) -> Pixels:
    """The frames of a way, shape (frame, height, width, 3), uint8: where two strips meet, their portrait once.

    Raises:
        RecordError: if a sheet cannot be read.
        StoreError: if the store cannot be reached, or a sheet is missing.
    """
    paths = [sheet_path(road.key) for road in way]
    strips = [
        _frames(data, road, f"{store}/{path}")
        for road, path, data in zip(way, paths, store.read_many(paths), strict=True)
    ]
    return np.concatenate([strips[0][:1], *(frames[1:] for frames in strips)])


def captions(way: Sequence[Road]) -> list[str]:
    """For each frame of a way, the neuron whose portrait is nearer to it on its strip."""
    names = [way[0].neurons[0]]
    for road in way:
        for frame in range(1, road.frames):
            names.append(road.neurons[2 * frame >= road.frames])
    return names


def with_captions(frames: Pixels, names: Sequence[str]) -> Pixels:
    """Frames with a name below each, in letters as large as the longest name allows; its end is always seen."""
    height, width = frames.shape[1:3]
    font = _font(names, width)
    pages = []
    for frame, name in zip(frames, names, strict=True):
        page = Image.new("RGB", (width, height + _CAPTION_PX), _PAPER)
        page.paste(Image.fromarray(frame))
        right = min(width, (width + font.getlength(name)) / 2)
        ImageDraw.Draw(page).text((right, height + _CAPTION_PX / 2), name, _INK, font, anchor="rm")
        pages.append(np.asarray(page))
    return np.stack(pages)


def encode(frames: Pixels, output: Path) -> bytes:
    """A movie or a sheet of frames, as the suffix of a file says; a movie rests for a second at its two ends."""
    if output.suffix.lower() == ".png":
        return sheets.encode_png(np.concatenate(list(frames), axis=1))
    between = [_FRAME_MILLISECONDS] * (len(frames) - 2)
    return sheets.encode_movie(frames, [_REST_MILLISECONDS, *between, _REST_MILLISECONDS])


def _frames(data: bytes, road: Road, where: str) -> Pixels:
    try:
        frames = sheets.split(sheets.decode(data), road.frames)
    except (OSError, ValueError, ShapeError) as error:
        raise RecordError(f"{where}: expected a sheet of {road.frames} frames, {error}; run isthmus verify") from None
    return frames[::-1] if road.turned else frames


def _font(names: Sequence[str], width_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    longest = max(names, key=len)
    sizes = range(_LARGEST_LETTERS, _SMALLEST_LETTERS, -1)
    fonts = (ImageFont.load_default(size) for size in sizes)
    fitting = (font for font in fonts if font.getlength(longest) <= width_px)
    return next(fitting, ImageFont.load_default(_SMALLEST_LETTERS))
