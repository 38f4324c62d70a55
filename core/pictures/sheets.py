"""Sheets: the frames of a strip side by side in one picture, as lossless PNG and lossy WebP."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from core.arrays import Array, Pixels
from core.errors import ShapeError

WEBP_LIMIT_PX = 16383
"""The largest width and height of a WebP: the format has 14 bits for each."""


def side_by_side(frames: Array) -> Pixels:
    """Lay frames side by side.

    Args:
        frames: shape (frame, height, width, 3), float32 in [0, 1].

    Returns:
        shape (height, frame * width, 3), uint8, values rounded to the nearest of the 256 steps.

    Raises:
        ShapeError: if the frames have another shape, or there are none.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ShapeError(f"expected frames of shape (frame, height, width, 3), got {frames.shape}")
    pixels: Pixels = np.rint(np.concatenate(list(frames), axis=1) * 255).astype(np.uint8)
    return pixels


def split(pixels: Pixels, frames: int) -> Pixels:
    """Return the frames of a sheet, shape (frame, height, width, 3), uint8.

    Raises:
        ShapeError: if the sheet's width is not a multiple of *frames*.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or frames < 1 or pixels.shape[1] % frames:
        raise ShapeError(f"expected a sheet of shape (height, {frames} * width, 3), got {pixels.shape}")
    return np.stack(np.split(pixels, frames, axis=1))


def encode_png(pixels: Pixels) -> bytes:
    return _encode(pixels, "PNG", compress_level=6)


def encode_preview(pixels: Pixels, frames: int) -> bytes:
    """Return a sheet as lossy WebP, about a sixth of the PNG's size.

    If the sheet is wider than WebP allows, each of its square frames is made smaller.
    """
    if pixels.shape[1] > WEBP_LIMIT_PX:
        size = WEBP_LIMIT_PX // frames
        smaller = [Image.fromarray(frame).resize((size, size)) for frame in split(pixels, frames)]
        pixels = np.concatenate([np.asarray(frame) for frame in smaller], axis=1)
    return encode_webp(pixels)


def encode_webp(pixels: Pixels) -> bytes:
    """Return a lossy WebP.

    Args:
        pixels: shape (height, width, 3), uint8; WebP allows at most 16,383 px in each direction.
    """
    return _encode(pixels, "WEBP", quality=85, method=4)


def encode_jpeg(pixels: Pixels) -> bytes:
    """Return a lossy JPEG, which more programs show than WebP."""
    return _encode(pixels, "JPEG", quality=80)


def resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Return a picture of another width and height."""
    return np.asarray(Image.fromarray(pixels).resize(size))


def encode_animation(frames: Array, seconds: float = 1.5) -> bytes:
    """Return an animated WebP that runs through the frames and back, without end.

    Args:
        frames: shape (frame, height, width, 3), float32 in [0, 1].
        seconds: duration in one direction.
    """
    forward = split(side_by_side(frames), len(frames))
    loop = np.concatenate([forward, forward[-2:0:-1]])
    return encode_movie(loop, [round(1000 * seconds / len(frames))] * len(loop))


def encode_movie(frames: Pixels, milliseconds: Sequence[int]) -> bytes:
    """Return an animated WebP that repeats without end.

    Args:
        frames: shape (frame, height, width, 3), uint8.
        milliseconds: how long each frame is shown.
    """
    first, *rest = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    first.save(buffer, "WEBP", save_all=True, append_images=rest, duration=list(milliseconds), loop=0, quality=85)
    return buffer.getvalue()


def decode(data: bytes) -> Pixels:
    """Return the pixels of a PNG or WebP, shape (height, width, 3), uint8."""
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


def stack(pictures: Sequence[bytes], width_limit_px: int) -> bytes:
    """Return a WebP with strips, each PNG or WebP, below one another.

    Every strip is scaled to the width of the widest one, at most *width_limit_px*.
    """
    strips = [Image.fromarray(decode(picture)) for picture in pictures]
    width_px = min(width_limit_px, max(strip.width for strip in strips))
    strips = [strip.resize((width_px, max(1, round(strip.height * width_px / strip.width)))) for strip in strips]
    whole = Image.new("RGB", (width_px, sum(strip.height for strip in strips)))
    top = 0
    for strip in strips:
        whole.paste(strip, (0, top))
        top += strip.height
    return encode_webp(np.asarray(whole))


def _encode(pixels: Pixels, picture_format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, picture_format, **options)
    return buffer.getvalue()
