"""Sheets: frames survive encoding and decoding, to the pixel."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from numpy.typing import NDArray
from PIL import Image

from core.errors import ShapeError
from core.pictures.sheets import decode, encode_png, encode_preview, encode_webp, side_by_side, split

FRAMES = nps.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.just(3)),
    elements=st.floats(0, 1, width=32),
)


@settings(deadline=None)
@given(FRAMES)
def test_png_preserves_every_pixel(frames: NDArray[np.float32]) -> None:
    """Laid side by side, encoded, decoded and split, frames are as before, to the nearest step of 1/255."""
    count, height, width, _ = frames.shape
    sheet = side_by_side(frames)

    again = split(decode(encode_png(sheet)), count)

    assert sheet.shape == (height, count * width, 3)
    assert again.dtype == sheet.dtype == np.uint8
    np.testing.assert_array_equal(np.concatenate(list(again), axis=1), sheet)
    assert np.abs(again - frames.astype(np.float64) * 255).max() <= 0.5 + 1e-4


@settings(deadline=None, max_examples=20)
@given(FRAMES)
def test_webp_preserves_the_geometry(frames: NDArray[np.float32]) -> None:
    """The preview has the size of the sheet, so both are split in the same way."""
    sheet = side_by_side(frames)

    assert decode(encode_webp(sheet)).shape == sheet.shape


@pytest.mark.parametrize(
    ("frames", "size", "shown"), [(64, 255, 255), (64, 256, 255), (80, 205, 204), (64, 400, 255), (2, 1024, 1024)]
)
def test_a_preview_fits_into_webp_and_keeps_every_frame(frames: int, size: int, shown: int) -> None:
    """WebP pictures have at most 16,383 px in a row. The frames of a wider sheet are smaller, and do not mix."""
    values = np.arange(frames, dtype=np.uint8) * 3
    sheet = np.repeat(np.broadcast_to(values[None, :, None], (size, frames, 3)), size, axis=1)

    preview = split(decode(encode_preview(sheet, frames)), frames)

    assert preview.shape == (frames, shown, shown, 3)
    assert np.abs(preview.astype(int) - values[:, None, None, None]).max() <= 3


def test_webp_is_close_to_the_sheet() -> None:
    """The pixels of a smooth picture differ by less than three steps in the mean."""
    ramp = np.linspace(0, 1, 64, dtype=np.float32)
    sheet = side_by_side(np.stack([np.broadcast_to(ramp[:, None, None], (64, 64, 3)), np.full((64, 64, 3), 0.3)]))

    difference = decode(encode_webp(sheet)).astype(int) - sheet

    assert np.abs(difference).mean() < 3


def test_frames_stand_side_by_side_in_their_order() -> None:
    """The first frame is on the left, and rows remain rows."""
    frames = np.zeros((2, 2, 3, 3), np.float32)
    frames[0, 1, 2] = [1, 0, 0]
    frames[1, 0, 0] = [0, 0, 1]

    sheet = side_by_side(frames)

    assert sheet[1, 2].tolist() == [255, 0, 0]
    assert sheet[0, 3].tolist() == [0, 0, 255]
    assert sheet.sum() == 2 * 255


def test_values_are_rounded_to_the_nearest_step() -> None:
    """Just below the middle between two steps rounds down, just above it up; 0 is black and 1 is white."""
    steps = np.arange(255, dtype=np.float64)
    values = np.concatenate([steps + 0.49, steps + 0.51, [0, 255]]) / 255
    expected = np.concatenate([steps, steps + 1, [0, 255]])

    sheet = side_by_side(np.repeat(values.astype(np.float32), 3).reshape(1, 1, -1, 3))

    np.testing.assert_array_equal(sheet[0], np.repeat(expected, 3).reshape(-1, 3))


def test_the_same_pixels_have_the_same_bytes() -> None:
    """Sheets are compared by their digests, so encoding is deterministic and writes no time."""
    sheet = side_by_side(np.random.default_rng(0).random((3, 16, 16, 3), np.float32))

    assert encode_png(sheet) == encode_png(sheet.copy())
    assert encode_webp(sheet) == encode_webp(sheet.copy())


@given(st.lists(st.integers(0, 5), max_size=5).filter(lambda shape: len(shape) != 4 or shape[3] != 3 or 0 in shape))
def test_frames_of_another_shape_are_refused(shape: list[int]) -> None:
    """The message has the expected and the actual shape."""
    with pytest.raises(ShapeError) as caught:
        side_by_side(np.zeros(shape, np.float32))

    assert str(caught.value) == f"expected frames of shape (frame, height, width, 3), got {tuple(shape)}"


@pytest.mark.parametrize(
    ("shape", "frames"),
    [((8, 10, 3), 3), ((8, 9, 4), 3), ((8, 9), 3), ((1, 8, 9, 3), 3), ((8, 9, 3), 0), ((8, 9, 3), -3)],
)
def test_a_sheet_of_another_shape_cannot_be_split(shape: tuple[int, ...], frames: int) -> None:
    """The width must be a multiple of the number of frames, which is at least one."""
    with pytest.raises(ShapeError) as caught:
        split(np.zeros(shape, np.uint8), frames)

    assert str(caught.value) == f"expected a sheet of shape (height, {frames} * width, 3), got {shape}"


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_every_mode_is_decoded_to_three_channels(mode: str) -> None:
    """A sheet that another program saved in another mode has the same shape."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 2), (102, 102, 102)).convert(mode).save(buffer, "PNG")

    pixels = decode(buffer.getvalue())

    assert pixels.shape == (2, 4, 3)
    assert np.unique(pixels).tolist() == [102]
