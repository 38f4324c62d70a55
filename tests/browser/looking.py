"""What a reader sees of a strip: which frame, and whether it moves."""

from __future__ import annotations

from playwright.sync_api import Locator, Page
from sample_atlases import FRAMES


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
