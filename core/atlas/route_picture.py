"""A route as one picture: the strips of its roads one after the other, as a movie or as one sheet."""

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
from core.pictures.mp4 import check_encoder, encode_mp4
from core.store.store import Store

SUFFIXES = (".webp", ".mp4", ".png")
_FRAME_MILLISECONDS, _END_MILLISECONDS = 200, 1000
_CAPTION_PX, _LARGEST_LETTERS, _SMALLEST_LETTERS = 18, 13, 6
_PAPER, _INK = (255, 255, 255), (27, 28, 29)


def check_suffix(output: Path) -> None:
    """Make sure that a route can be written to a file of that name.

    Raises:
        SpecError: if the name does not end in .webp, .mp4 or .png, or if .mp4 cannot be written here.
    """
    if output.suffix.lower() not in SUFFIXES:
        expected = "expected a file name that ends in .webp or .mp4, for a movie, or .png, for a sheet"
        raise SpecError(f"--output: {expected}, got {output}")
    if output.suffix.lower() == ".mp4":
        check_encoder()


def read_frames(store: Store, route: Sequence[Road]) -> Pixels:
    """Return the frames of a route, shape (frame, height, width, 3), uint8; two strips share the frame where they meet.

    Raises:
        RecordError: if a sheet cannot be read.
        StoreError: if the store cannot be reached, or a sheet is missing.
    """
    paths = [sheet_path(road.key) for road in route]
    strips = [
        _frames(data, road, f"{store}/{path}")
        for road, path, data in zip(route, paths, store.read_many(paths), strict=True)
    ]
    return np.concatenate([strips[0][:1], *(frames[1:] for frames in strips)])


def captions(route: Sequence[Road]) -> list[str]:
    """Return for each frame of a route the neuron whose portrait is nearer to it on its strip."""
    names = [route[0].neurons[0]]
    for road in route:
        for frame in range(1, road.frames):
            names.append(road.neurons[2 * frame >= road.frames])
    return names


def with_captions(frames: Pixels, names: Sequence[str]) -> Pixels:
    """Return frames with a name below each, in letters as large as the longest name allows.

    If a name is too long even in the smallest letters, its end is visible.
    """
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


def encode(frames: Pixels, output: Path, milliseconds: int = _FRAME_MILLISECONDS) -> bytes:
    """Encode frames as a movie or a sheet, by the suffix of the file; a movie shows its two ends for a second each.

    Args:
        milliseconds: how long a movie shows each of the other frames.
    """
    if output.suffix.lower() == ".png":
        return sheets.encode_png(np.concatenate(list(frames), axis=1))
    shown = [_END_MILLISECONDS, *[milliseconds] * (len(frames) - 2), _END_MILLISECONDS]
    return (encode_mp4 if output.suffix.lower() == ".mp4" else sheets.encode_movie)(frames, shown)


def _frames(data: bytes, road: Road, source: str) -> Pixels:
    try:
        frames = sheets.split(sheets.decode(data), road.frames)
    except (OSError, ValueError, ShapeError) as error:
        raise RecordError(f"{source}: expected a sheet of {road.frames} frames, {error}; run isthmus verify") from None
    return frames[::-1] if road.is_reversed else frames


def _font(names: Sequence[str], width_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    longest = max(names, key=len)
    sizes = range(_LARGEST_LETTERS, _SMALLEST_LETTERS, -1)
    fonts = (ImageFont.load_default(size) for size in sizes)
    fitting = (font for font in fonts if font.getlength(longest) <= width_px)
    return next(fitting, ImageFont.load_default(_SMALLEST_LETTERS))
