"""Files that no photograph should be taken from, or only with care: damaged, huge, of other kinds, turned, links."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(seed: int = 0, size: tuple[int, int] = (90, 120)) -> Image.Image:
    """Return a picture of smooth random colours.

    Args:
        size: height and width.
    """
    dice = np.random.default_rng(seed)
    coarse = dice.integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of_size(width: int, height: int, bits: int = 1) -> bytes:
    """Return a PNG of zeros, which is small however large the picture is."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = bytes(1 + (width * bits + 7) // 8)
    packer = zlib.compressobj(9)
    rows = min(height, 4_000_000 // len(row))  # the rest is missing, but the header says that it is there
    data = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def with_jpeg_size(data: bytes, width: int, height: int) -> bytes:
    """Return a JPEG whose header says another size."""
    place = next(data.index(bytes((0xFF, marker))) for marker in (0xC0, 0xC2) if bytes((0xFF, marker)) in data)
    return data[: place + 5] + struct.pack(">HH", height, width) + data[place + 9 :]


def good_files() -> dict[str, bytes]:
    """Return name -> a file that is a photograph, of an uncommon kind."""
    image = picture(1)
    files = {f"turned-{turn}.jpg": turned(turn) for turn in range(1, 9)}
    grey = np.linspace(0, 65535, 90 * 120).reshape(90, 120).astype(np.uint16)
    return files | {
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG"),
        "grey.jpg": encoded(image.convert("L"), "JPEG"),
        "progressive.jpg": encoded(image, "JPEG", progressive=True),
        "sixteen-bits.png": encoded(Image.fromarray(grey), "PNG"),
        "palette.png": encoded(image.convert("P"), "PNG"),
        "palette-transparent.png": encoded(image.convert("P"), "PNG", transparency=0),
        "one-bit.png": encoded(image.convert("1"), "PNG"),
        "grey-alpha.png": encoded(image.convert("LA"), "PNG"),
        "alpha.webp": encoded(image.convert("RGBA"), "WEBP"),
        "animated.webp": encoded(image, "WEBP", save_all=True, append_images=[picture(n) for n in range(2, 5)]),
        "animated.png": encoded(image, "PNG", save_all=True, append_images=[picture(n) for n in range(2, 5)]),
        "a-jpeg.png": encoded(image, "JPEG"),
        "a-png.jpg": encoded(image, "PNG"),
        "a-webp.txt.dat": encoded(image, "WEBP"),
        "no-ending": encoded(image, "PNG"),
        "tiny.png": encoded(picture(1, (1, 1)), "PNG"),
        "line.png": encoded(picture(1, (1, 3000)), "PNG"),
        "damaged-exif.jpg": encoded(image, "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff" + b"\xff" * 40),
        "grüße \n\U0001f415.jpg": encoded(image, "JPEG"),
    }


def turned(orientation: int) -> bytes:
    """Return a JPEG with an orientation in its EXIF data."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture(1), "JPEG", quality=95, exif=exif)


def bad_files() -> dict[str, bytes]:
    """Return name -> a file that is no photograph: it is truncated, huge, empty or something else."""
    image = picture(3)
    kinds = {kind: encoded(image, kind) for kind in ("JPEG", "PNG", "WEBP")}
    files = {
        f"truncated-{share}.{kind.lower()}": data[: len(data) * share // 100]
        for kind, data in kinds.items()
        for share in range(1, 95, 4)
    }
    return files | {
        "bomb-declared.png": png_of_size(60_000, 60_000),
        "bomb-grey.png": png_of_size(9_000, 9_000, 8),
        "bomb-wide.png": png_of_size(2_000_000_000, 1),
        "bomb.jpg": with_jpeg_size(kinds["JPEG"], 65_000, 65_000),
        "bomb-scans.jpg": _many_scans(encoded(image, "JPEG", progressive=True)),
        "many-frames.webp": encoded(
            picture(0, (2, 2)), "WEBP", save_all=True, append_images=_frames(1001), lossless=True
        ),
        "segments.jpg": b"\xff\xd8" + b"\xff\xe5\x00\x02" * 60_000 + kinds["JPEG"][2:],
        "fill-bytes.jpg": b"\xff\xd8" + b"\xff" * 60_000 + kinds["JPEG"][2:],
        "no-markers.jpg": b"\xff\xd8\xff" + bytes(60_000),
        "chunks.png": kinds["PNG"][:33] + bytes(12) * 60_000 + kinds["PNG"][33:],
        "empty.jpg": b"",
        "text.jpg": b"not a picture",
        "svg.png": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "a.gif": encoded(image, "GIF"),
        "a-tiff.jpg": encoded(image, "TIFF"),
        "a-bmp.png": encoded(image, "BMP"),
        "an-eps.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "zeros.webp": bytes(1000),
    }


def damaged_files(count: int) -> dict[str, bytes]:
    """Return name -> a file with some wrong bytes, which may still be a photograph."""
    dice = np.random.default_rng(5)
    kinds = [(kind, encoded(picture(4), kind)) for kind in ("JPEG", "PNG", "WEBP")]
    files = {}
    for number in range(count):
        kind, data = kinds[number % 3]
        wrong = bytearray(data)
        for place in dice.integers(0, len(wrong), 1 + number % 12):
            wrong[place] = dice.integers(256)
        files[f"wrong-{number}.{kind.lower()}"] = bytes(wrong)
    return files


def add_links(folder: Path, outside: Path) -> None:
    """Add links and files that are no regular files to a folder.

    Args:
        outside: a photograph outside of the folder.
    """
    (folder / "link-out.jpg").symlink_to(outside)
    (folder / "link-up.jpg").symlink_to(os.path.relpath(outside, folder))
    (folder / "link-nowhere.jpg").symlink_to("nothing.jpg")
    (folder / "link-to-itself.jpg").symlink_to("link-to-itself.jpg")
    (folder / "link-to-folder").symlink_to(outside.parent)
    (folder / "link-to-parent").symlink_to("..")
    os.mkfifo(folder / "pipe.jpg")
    os.link(outside, folder / "hard-link.jpg")  # a file of the folder as any other
    (folder / os.fsdecode(b"latin-\xe9.jpg")).write_bytes(outside.read_bytes())


def _many_scans(data: bytes) -> bytes:
    start = data.index(b"\xff\xda")
    return data[:-2] + data[start:-2] * 120 + data[-2:]


def _frames(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (2, 2), (n % 256, n // 256 * 50, 0)) for n in range(count)]
