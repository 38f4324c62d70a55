"""Photographs as pixels: JPEG, PNG and WebP from anywhere, so files are checked before they are decoded.

The format is told by the content, whatever the file's name ends with. A photograph is turned as its EXIF data say,
scaled until it covers the images of the network, and cropped around its centre. Transparent parts are white. Colour
profiles are ignored. Of an animation the first picture counts.
"""

from __future__ import annotations

import hashlib
import io
import math
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import numpy as np
from PIL import Image, UnidentifiedImageError

from core.arrays import Pixels
from core.errors import one_line
from core.photographs.listing import UnreadableError
from core.photographs.segments import check_segments

Box = tuple[int, int, int, int]
"""A part of the images that a network sees, in their pixels: top, left, bottom, right."""
Size = tuple[int, int]
"""Height and width."""
MOST_BYTES = 64 << 20
"""The largest file that is read."""
_MOST_PIXELS = 64_000_000
_LARGE_PIXELS = 16_000_000
_BAND_PIXELS = 1 << 20
_MOST_FRAMES = 1000
_MOST_SCANS = 100  # of a progressive JPEG; programs write about ten, and each costs the time of a whole picture
_SCAN = b"\xff\xda"
_FORMATS = ("JPEG", "PNG", "WEBP")
_ORIENTATION = 0x0112  # EXIF's tag; its values 2 to 8 are the turns below
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_alone = threading.Lock()
"""Held while a large picture is in memory: one of 64 million pixels takes half a gigabyte, and photographs are read in
several threads."""
_REDUCING_GAP = 2.0  # Pillow first shrinks by whole numbers, down to twice the size, which is quicker


def check_size(size: int) -> None:
    """Refuse a file that is too large to be read, or empty.

    Raises:
        UnreadableError: if it is.
    """
    if size == 0:
        raise UnreadableError("it is empty")
    if size > MOST_BYTES:
        raise UnreadableError(f"it is larger than {MOST_BYTES >> 20} MB")


def file_digest(data: bytes) -> int:
    """Return the first 64 bits of the sha256 of a file, by which a photograph is known again."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")


def decoded(data: bytes, seen: Size) -> Pixels:
    """Return a photograph as the network sees it, shape (height, width, 3), uint8, RGB.

    Args:
        data: the bytes of the file.
        seen: height and width of the network's images.

    Raises:
        UnreadableError: if the file is no photograph, damaged or too large.
    """
    return parts(data, seen, [((0, 0, *seen), seen)])[0]


def parts(data: bytes, seen: Size, wanted: Sequence[tuple[Box, Size]]) -> list[Pixels]:
    """Return parts of what the network sees of a photograph, which is decoded once; see `decoded`.

    Args:
        wanted: the parts, in pixels of the network's images, and height and width of each result.
    """
    check_size(len(data))
    check_segments(data)
    try:
        return _parts(data, seen, wanted)
    except (UnreadableError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise UnreadableError(_too_many_pixels()) from None
    except UnidentifiedImageError:
        raise UnreadableError("it is neither JPEG, PNG nor WebP") from None
    except Exception as error:  # Pillow raises whatever a damaged file makes of its parsers
        raise UnreadableError(f"it is damaged: {one_line(error)}") from None


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silence what Pillow says about damaged files; the settings of warnings are those of the whole process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _parts(data: bytes, seen: Size, wanted: Sequence[tuple[Box, Size]]) -> list[Pixels]:
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        if image.width * image.height > _MOST_PIXELS:
            raise UnreadableError(_too_many_pixels())
        if getattr(image, "n_frames", 1) > _MOST_FRAMES:
            raise UnreadableError(f"it is an animation of more than {_MOST_FRAMES} pictures")
        if image.format in ("JPEG", "MPO") and data.count(_SCAN) > _MOST_SCANS:
            raise UnreadableError(f"it is a JPEG of more than {_MOST_SCANS} scans")
        scale = max(max(size[0] / (box[2] - box[0]), size[1] / (box[3] - box[1])) for box, size in wanted)
        side = math.ceil(scale * max(seen))
        pixels = image.width * image.height
        image.draft("RGB", (side, side))  # a JPEG is then decoded at a half, a quarter or an eighth of its size
        if "progressive" not in image.info:  # the coefficients of all scans are in memory, whatever the size
            pixels = image.width * image.height
        orientation = _orientation(image)
        with _alone if pixels > _LARGE_PIXELS else nullcontext():
            image.load()
            upright = image.transpose(_TURNS[orientation]) if orientation in _TURNS else image
            if not _has_plain_colours(upright):
                upright = _with_plain_colours(upright)
            return [_part(upright, seen, box, size) for box, size in wanted]


def _part(image: Image.Image, seen: Size, box: Box, size: Size) -> Pixels:
    place = _place(image.size, seen, box)
    resized = image.resize(size[::-1], Image.Resampling.BILINEAR, box=place, reducing_gap=_REDUCING_GAP)
    return np.asarray(resized if resized.mode == "RGB" else resized.convert("RGB"))


def _place(whole: tuple[int, int], seen: Size, box: Box) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a part in pixels of the photograph.

    The network sees the largest crop around the centre with the proportions of its images.

    Args:
        whole: width and height of the photograph.
    """
    height, width = seen
    scale = min(whole[0] / width, whole[1] / height)
    left, top = (whole[0] - scale * width) / 2, (whole[1] - scale * height) / 2
    return (
        max(0.0, left + scale * box[1]),
        max(0.0, top + scale * box[0]),
        min(float(whole[0]), left + scale * box[3]),
        min(float(whole[1]), top + scale * box[2]),
    )


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF data are no reason to do without the photograph; programs show it as it is
        return 1


def _has_plain_colours(image: Image.Image) -> bool:
    return image.mode in ("RGB", "L") and "transparency" not in image.info


def _with_plain_colours(image: Image.Image) -> Image.Image:
    """Return a picture of another kind as RGB or grey: palettes, CMYK, 16 bits, transparency.

    It is converted in bands, because a whole one takes a gigabyte with its steps.
    """
    rows = max(1, _BAND_PIXELS // image.width)
    plain = None
    for top in range(0, image.height, rows):
        band = _plain_band(image.crop((0, top, image.width, min(top + rows, image.height))))
        plain = plain or Image.new(band.mode, image.size)
        plain.paste(band, (0, top))
    return plain or image


def _plain_band(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits, which Pillow would clip to 8 and not scale
        values = np.asarray(image).astype(np.float32)
        return Image.fromarray(np.clip(values / 257 + 0.5, 0, 255).astype(np.uint8))
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        white = Image.new("RGBA", with_alpha.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, with_alpha).convert("RGB")
    return image.convert("RGB")


def _too_many_pixels() -> str:
    return f"it has more than {_MOST_PIXELS // 1_000_000} million pixels"
