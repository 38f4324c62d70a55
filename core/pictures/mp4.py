"""MP4 movies (H.264), for programs that do not show animated WebP.

They need PyAV, which has FFmpeg's encoder; it is installed with the extra `mp4`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from core.arrays import Pixels
from core.errors import SpecError

_QUALITY = {"crf": "16"}  # nearly without visible loss; textures suffer first
_THOUSANDTHS = 1000


def check_encoder() -> None:
    """Make sure that PyAV is installed.

    Raises:
        SpecError: if it is not.
    """
    try:
        import av  # noqa: F401
    except ImportError:
        raise SpecError(
            "--output: a file name that ends in .mp4 needs the packages of the extra 'mp4'; install "
            "isthmus[mp4], or write a .webp"
        ) from None


def encode_mp4(frames: Pixels, milliseconds: Sequence[int]) -> bytes:
    """Return a movie.

    Args:
        frames: shape (frame, height, width, 3), uint8; an odd height or width is made even by repeating the edge.
        milliseconds: how long each frame is shown.
    """
    import av

    even = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options=_QUALITY)
        stream.height, stream.width, stream.pix_fmt = even.shape[1], even.shape[2], "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, _THOUSANDTHS)
        # A frame is shown until the next one, so the last one is given once more.
        starts = np.cumsum([0, *milliseconds])
        for start, pixels in zip(starts, [*even, even[-1]], strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = int(start), Fraction(1, _THOUSANDTHS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()
