"""Small pictures of photographs, or of parts of them."""

from __future__ import annotations

import io

from PIL import Image

from core.photographs.decoding import Box, decoded

LONGEST_PX = 96
"""The longer side of a small picture, at most."""
_QUALITY = 70


def thumbnail(data: bytes, seen: tuple[int, int], box: Box | None) -> bytes:
    """Return a WebP of what a network sees of a photograph, a few kilobytes.

    Args:
        data: the file of the photograph.
        seen: height and width of the network's images.
        box: a part of these: top, left, bottom, right; None: everything.

    Raises:
        UnreadableError: if the file is no photograph.
    """
    top, left, bottom, right = box or (0, 0, *seen)
    scale = LONGEST_PX / max(bottom - top, right - left)
    small = (max(1, round((bottom - top) * scale)), max(1, round((right - left) * scale)))
    buffer = io.BytesIO()
    Image.fromarray(decoded(data, seen, box, small)).save(buffer, "WEBP", quality=_QUALITY, method=4)
    return buffer.getvalue()
