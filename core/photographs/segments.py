"""The segments that a JPEG or PNG consists of, which are counted before the file is opened.

Pillow goes through them one by one and keeps most, so 64 MB of empty ones would take 40 seconds and two gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from PIL.JpegImagePlugin import MARKER

from core.photographs.listing import UnreadableError

_MOST = 50_000  # a JPEG has some dozens, a PNG one for 8 kB of its pixels
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_SCAN = 0xDA  # the pixels of a JPEG begin after it
_WITH_LENGTH = frozenset(number & 0xFF for number, (_, _, handler) in MARKER.items() if handler)


def check_segments(data: bytes) -> None:
    """Refuse a JPEG or PNG of very many segments.

    Raises:
        UnreadableError: if it is one.
    """
    starts = _of_jpeg(data) if data.startswith(_JPEG) else _of_png(data) if data.startswith(_PNG) else iter(())
    if next(islice(starts, _MOST, None), None) is not None:
        raise UnreadableError(f"it consists of more than {_MOST:,} segments")


def _of_jpeg(data: bytes) -> Iterator[int]:
    """Yield where each segment before the first scan begins; a byte between them counts as one, as Pillow reads it."""
    place = len(_JPEG) - 1
    while place + 4 <= len(data):
        yield place
        marker = data[place + 1] if data[place] == 0xFF else None
        if marker == _SCAN:
            return
        if marker in _WITH_LENGTH:
            place += 2 + max(2, int.from_bytes(data[place + 2 : place + 4], "big"))
        else:
            place += 1


def _of_png(data: bytes) -> Iterator[int]:
    """Yield where each chunk begins."""
    place = len(_PNG)
    while place + 8 <= len(data):
        yield place
        place += 12 + int.from_bytes(data[place : place + 4], "big")
