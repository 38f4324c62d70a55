"""Small pictures of photographs, or of parts of them."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

from core.arrays import Pixels
from core.photographs.decoding import Box, Size, parts

LONGEST_PX = 96
"""The longer side of a small picture, at most."""
_QUALITY = 70


def thumbnails(data: bytes, seen: Size, boxes: Sequence[Box | None]) -> list[bytes]:
    """Return a WebP of some kilobytes for each part of what a network sees of a photograph.

    Args:
        data: the file of the photograph.
        seen: height and width of the network's images.
        boxes: parts of these; None: everything.

    Raises:
        UnreadableError: if the file is no photograph.
    """
    whole = (0, 0, *seen)
    return [_webp(pixels) for pixels in parts(data, seen, [(box or whole, _size(box or whole)) for box in boxes])]


def _size(box: Box) -> Size:
    """Return height and width of the picture of a part."""
    height, width = box[2] - box[0], box[3] - box[1]
    scale = LONGEST_PX / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _webp(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=_QUALITY, method=4)
    return buffer.getvalue()
