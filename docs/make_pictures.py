"""Run the code blocks of from-lucid.md in order and save the picture that follows each.

    python docs/make_pictures.py

A block that is followed by a picture assigns it to `images` (shape (frame, height, width, 3), values in [0, 1]; drawn
in rows of at most six) or, if the name of the picture ends in `-play`, to `animation` (the bytes of a file).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from core.pictures import sheets

DOCS = Path(__file__).parent
PAGE = DOCS / "from-lucid.md"
_FRAMES_IN_ROW = 6
_BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n!\[[^\]]*\]\((?P<picture>[^)]+)\))?", re.DOTALL)


def blocks(page: str) -> Iterator[tuple[str, str | None]]:
    """Yield (code, path of the picture that follows or None) of every block, except Lucid's (`python lucid`)."""
    for match in _BLOCK.finditer(page):
        yield match["code"], match["picture"]


def run(page: str) -> Iterator[tuple[str, bytes]]:
    """Run all blocks in one namespace; yield (path, bytes of the file) of each picture."""
    namespace: dict[str, Any] = {}
    for code, picture in blocks(page):
        exec(compile(code, str(PAGE), "exec"), namespace)
        if picture and picture.endswith("-play.webp"):
            yield picture, namespace["animation"]
        elif picture:
            images = namespace["images"]
            rows = [sheets.side_by_side(images[i : i + _FRAMES_IN_ROW]) for i in range(0, len(images), _FRAMES_IN_ROW)]
            yield picture, sheets.encode_webp(np.concatenate(rows))


if __name__ == "__main__":
    for path, data in run(PAGE.read_text(encoding="utf-8")):
        (DOCS / path).parent.mkdir(parents=True, exist_ok=True)
        (DOCS / path).write_bytes(data)
        print(f"{path}: {len(data):,} bytes", flush=True)
