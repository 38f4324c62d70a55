"""Readings of what the screen shows: the frame of a strip, whether it moves, and the colours of a movie."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Locator, Page, expect
from sample_atlases import FRAMES, portrait_colour

DESK = {"width": 1280, "height": 800}


def wait_until(page: Page, condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Poll until a condition is true, while the events of the page arrive.

    Raises:
        TimeoutError: with *what* was waited for.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        page.wait_for_timeout(50)


def wake(page: Page) -> None:
    """Move the pointer, and wait until what a page loads at the first sign of a reader is there."""
    page.mouse.move(2, 2)
    page.wait_for_function("() => isthmus.tools && isthmus.search")


def unfold(page: Page, fold: str) -> None:
    """Open a fold, unless it is open."""
    if page.locator(fold).get_attribute("open") is None:
        page.locator(f"{fold} > summary").click()


def expect_motion(strip: Locator, name: str) -> None:
    """Wait until the name of a strip's animation is *name*, which is `strip` or `none`."""
    expect(strip).to_have_css("animation-name", name)


def expect_motions(page: Page, name: str) -> None:
    """Wait until the animations of all strips have this name."""
    names = "[...document.querySelectorAll('.strip')].map(one => getComputedStyle(one).animationName)"
    page.wait_for_function(f"name => {names}.length && {names}.every(one => one === name)", arg=name)


def frame_of(strip: Locator) -> int:
    """Return the number of the frame in the window, from 1; a strip between two frames is an error."""
    shift: float = strip.evaluate(
        "strip => -new DOMMatrix(getComputedStyle(strip).transform).m41 / strip.parentElement.clientWidth"
    )
    assert abs(shift - round(shift)) < 1e-3
    return round(shift) + 1


def expect_frame(strip: Locator, frame: int) -> None:
    """Wait until the window shows this frame."""
    wait_until(strip.page, lambda: frame_of(strip) == frame, f"frame {frame}")


def assert_plays(strip: Locator) -> None:
    """Wait until the window has shown three different frames, each of which lasts 200 ms."""
    expect(strip).to_have_css("animation-duration", f"{0.2 * FRAMES:.1f}s")
    seen: set[int] = set()
    wait_until(strip.page, lambda: seen.add(frame_of(strip)) or len(seen) >= 3, "three frames")


def point_at_frame(page: Page, frame: int) -> None:
    """Move the pointer to a frame's part of the first tile's bar."""
    rail = page.locator(".rail").first
    rail.scroll_into_view_if_needed()
    box = rail.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + (frame - 0.5) / FRAMES * box["width"], box["y"] + 6)


def keys_shown(page: Page) -> list[str]:
    """Return the keys of the tiles, in the sequence in which the grid shows them."""
    keys: list[str] = page.locator("#grid .tile").evaluate_all("all => all.map(one => one.dataset.key)")
    return keys


def assert_no_sideways_scroll(page: Page) -> None:
    """Check that the page, once it has been laid out for its screen, is no wider than the screen."""
    width = page.viewport_size["width"]  # type: ignore[index]
    page.evaluate(
        """width => new Promise(done => {
            const look = () => requestAnimationFrame(innerWidth === width ? () => requestAnimationFrame(done) : look);
            look();
        })""",
        width,
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width


_CUT = """() => {
    const cut = new Set();
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let text; (text = texts.nextNode()); ) {
        if (!text.data.trim() || text.parentElement.closest(".unseen")) continue;
        const range = document.createRange();
        range.selectNode(text);
        for (const line of range.getClientRects())
            for (let box = text.parentElement; box; box = box.parentElement) {
                const overflow = getComputedStyle(box).overflowY;
                if (overflow === "visible") continue;
                if (overflow !== "hidden") break; // it can be scrolled
                const { top, bottom } = box.getBoundingClientRect();
                const isSeen = line.bottom > top + 1 && line.top < bottom - 1;
                const isWhole = line.top >= top - 1 && line.bottom <= bottom + 1;
                if (isSeen && !isWhole) cut.add(`${box.className}: ${text.data}`);
            }
    }
    return [...cut];
}"""


def assert_no_line_is_cut(page: Page) -> None:
    """Check that every line of text is whole or hidden: no box with a height of its own cuts through it."""
    assert page.evaluate(_CUT) == []


def wait_for_pictures(page: Page) -> None:
    """Wait until every picture of the page is decoded, so that a screenshot has it."""
    page.evaluate("Promise.all([...document.images].filter(one => one.naturalWidth).map(one => one.decode()))")


# ---- a movie on a canvas


def watch_colours(page: Page, canvas: str) -> None:
    """Record the colour in the middle of a canvas at every animation frame from now on, in `window.seen`."""
    page.evaluate(
        """selector => {
            const canvas = document.querySelector(selector);
            window.seen = [];
            const record = () => {
                const [x, y] = [canvas.width / 2, canvas.height / 2];
                window.seen.push([...canvas.getContext("2d").getImageData(x, y, 1, 1).data]);
                requestAnimationFrame(record);
            };
            requestAnimationFrame(record);
        }""",
        canvas,
    )


def assert_only_between_portraits(page: Page, *routes: tuple[int, ...]) -> None:
    """Check that each recorded colour is a portrait's, or between two portraits that follow each other in a route.

    The colours must follow the routes. Each strip must have been seen halfway, so that none was skipped, and
    the canvas must never have been empty.
    """
    seen: list[list[int]] = page.evaluate("window.seen")
    strips = [strip for route in routes for strip in pairwise(route)]
    ends = [(np.array(portrait_colour(a)), np.array(portrait_colour(b))) for a, b in strips]
    now, halfway = 0, set()
    for *colour, opacity in seen:
        assert opacity == 255
        while (share := _share(np.array(colour), *ends[now])) is None:
            now += 1
            assert now < len(ends), f"{colour} is not on the route"
        if 0.1 < share < 0.9:
            halfway.add(strips[now])
    assert halfway == set(strips)
    assert _share(np.array(seen[0][:3]), *ends[0]) == pytest.approx(0, abs=0.1)
    assert _share(np.array(seen[-1][:3]), *ends[-1]) == pytest.approx(1, abs=0.1)


def _share(colour: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]) -> float | None:
    """Return the position of a colour between two others, from 0 to 1, or None if it is not between them."""
    way = end - start
    share = float((colour - start) @ way / (way @ way))
    off = np.abs(colour - (start + share * way)).max()
    return share if off < 12 and -0.1 < share < 1.1 else None  # pictures are compressed
