"""What a reader sees of a strip: which frame, whether it moves, and what a movie shows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Locator, Page
from sample_atlases import FRAMES, portrait_colour


def motion(strip: Locator) -> str:
    return str(strip.evaluate("strip => getComputedStyle(strip).animationName"))


def motions(page: Page) -> list[str]:
    names: list[str] = page.locator(".strip").evaluate_all("all => all.map(one => getComputedStyle(one).animationName)")
    return names


def frame_of(strip: Locator) -> int:
    """The number of the frame in the window, from 1; a strip between two frames is an error."""
    shift: float = strip.evaluate(
        "strip => -new DOMMatrix(getComputedStyle(strip).transform).m41 / strip.parentElement.clientWidth"
    )
    assert abs(shift - round(shift)) < 1e-3
    return round(shift) + 1


def frames_seen(strip: Locator) -> int:
    """How many different frames the window shows within 700 ms, of which a frame lasts 200."""
    seen = set()
    for _ in range(14):
        seen.add(frame_of(strip))
        strip.page.wait_for_timeout(50)
    return len(seen)


def point_at_frame(page: Page, frame: int) -> None:
    """Move the pointer to a frame's part of the first tile's bar."""
    box = page.locator(".rail").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + (frame - 0.5) / FRAMES * box["width"], box["y"] + 6)


def keys_shown(page: Page) -> list[str]:
    """Keys of the tiles, in their order."""
    keys: list[str] = page.locator("#grid .tile").evaluate_all("all => all.map(one => one.dataset.key)")
    return keys


def assert_no_sideways_scroll(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]  # type: ignore[index]


# ---- a movie on a canvas


def watch_colours(page: Page, canvas: str) -> None:
    """From now on keep the colour in the middle of a canvas, each time that the screen is drawn."""
    page.evaluate(
        """selector => {
            const canvas = document.querySelector(selector);
            window.seen = [];
            const look = () => {
                const [x, y] = [canvas.width / 2, canvas.height / 2];
                window.seen.push([...canvas.getContext("2d").getImageData(x, y, 1, 1).data]);
                requestAnimationFrame(look);
            };
            requestAnimationFrame(look);
        }""",
        canvas,
    )


def assert_only_between_portraits(page: Page, *roads: tuple[int, ...]) -> None:
    """Whatever was seen is a portrait of these channels or lies between two that follow in a road, in this order.

    Each strip was seen halfway too, so nothing was jumped over; and nothing was ever empty.
    """
    seen: list[list[int]] = page.evaluate("window.seen")
    strips = [strip for road in roads for strip in pairwise(road)]
    ends = [(np.array(portrait_colour(a)), np.array(portrait_colour(b))) for a, b in strips]
    now, halfway = 0, set()
    for *colour, opacity in seen:
        assert opacity == 255
        while (share := _share(np.array(colour), *ends[now])) is None:
            now += 1
            assert now < len(ends), f"{colour} is not on the way"
        if 0.1 < share < 0.9:
            halfway.add(strips[now])
    assert halfway == set(strips)
    assert _share(np.array(seen[0][:3]), *ends[0]) == pytest.approx(0, abs=0.1)
    assert _share(np.array(seen[-1][:3]), *ends[-1]) == pytest.approx(1, abs=0.1)


def _share(colour: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]) -> float | None:
    """How far a colour is on the way between two others; None if it is not on it."""
    way = end - start
    share = float((colour - start) @ way / (way @ way))
    off = np.abs(colour - (start + share * way)).max()
    return share if off < 12 and -0.1 < share < 1.1 else None  # pictures are compressed
