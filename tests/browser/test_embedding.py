"""One strip alone, in a frame of another page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import FrameLocator, Page, expect
from sample_atlases import FAILED_ROW, FRAMES, make_record, publish, write_pictures
from screen import expect_frame, wait_until

Open = Callable[..., Page]  # the fixture `open_atlas`
Serve = Callable[[Path], str]  # the fixture `serve`
RECORD = make_record(4)


@pytest.fixture
def atlas_and_page(tmp_path: Path) -> Path:
    """An atlas of 600 pairs, most without pictures, whose folder also has a page with an element for a strip."""
    others = [make_record(FAILED_ROW, a=f"stem:{row}", key=f"{row:020x}") for row in range(600)]
    publish(tmp_path, [RECORD, *others])
    write_pictures(tmp_path, RECORD.key, 4)
    (tmp_path / "essay.html").write_text('<link rel="icon" href="data:,"><div id="here"></div>', encoding="utf-8")
    return tmp_path


def embed(page: Page, html: str) -> FrameLocator:
    """Put HTML into the page around, and return the frame in it."""
    page.evaluate("html => { document.querySelector('#here').innerHTML = html }", html)
    return page.frame_locator("iframe")


def test_the_html_to_copy_shows_the_strip_alone(open_atlas: Open, serve: Serve, atlas_and_page: Path) -> None:
    """The frame of the chosen size has the strip, its names and a link; it moves with the page around it."""
    at = serve(atlas_and_page)
    page = open_atlas(atlas_and_page, hash=f"#pair={RECORD.key}", at=at)
    page.locator("#embedding > summary").click()
    page.get_by_label("Width").fill("240")
    page.get_by_label("Height").fill("300")
    code = page.locator("#embed-code").text_content() or ""
    page = open_atlas(atlas_and_page, at=at, file="essay.html", reduced_motion="reduce")
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url.removeprefix(at)))
    page.evaluate("""() => {
        window.heard = [];
        addEventListener("message", ({ data }) => window.heard.push(data));
    }""")

    frame = embed(page, code)
    window = frame.locator("#embed-strip img")
    expect(frame.locator("#embed-names")).to_have_text(f"{RECORD.a}→{RECORD.b}")
    expect(frame.locator("#embed-names")).to_have_attribute("href", f"{urlsplit(at).path}index.html#pair={RECORD.key}")
    expect(frame.locator("#bar, #grid, #pair-page")).to_have_count(3)
    assert frame.locator("#bar, #grid, #pair-page").locator("visible=true").count() == 0
    assert page.locator("iframe").bounding_box() == {"x": 8, "y": 8, "width": 240, "height": 300}
    assert page.evaluate("document.activeElement === document.body")
    needless = "/detail-", "assets/pair-", "assets/shared-", "sheets/0"
    assert not [path for path in loaded if any(part in path for part in needless)]

    wait_until(page, lambda: {"isthmus": {"ready": True}} in page.evaluate("window.heard"), "the strip")
    say = "message => document.querySelector('iframe').contentWindow.postMessage(message, '*')"
    for share, number in ((1, FRAMES), (0.4, 3), (0, 1)):
        page.evaluate(say, {"isthmus": {"share": share}})
        expect_frame(window, number)
    for wrong in ({"isthmus": {"share": 2}}, {"isthmus": {"share": "1"}}, {"isthmus": None}, {"share": 1}, "x", None):
        page.evaluate(say, wrong)
    frame.get_by_role("slider", name="Frame").press("ArrowRight")
    expect_frame(window, 2)
    wait_until(page, lambda: {"isthmus": {"share": 0.2}} in page.evaluate("window.heard"), "the reader's move")


def test_a_strip_fits_every_frame_and_plays(open_atlas: Open, serve: Serve, atlas_and_page: Path) -> None:
    """From 120 px on, nothing is cut off or needs scrolling; a bad address ends in a sentence."""
    page = open_atlas(atlas_and_page, at=serve(atlas_and_page), file="essay.html")
    for width, height in ((120, 120), (400, 160), (300, 700)):
        html = (
            f'<iframe src="index.html?embed#pair={RECORD.key}" width={width} height={height} style="border:0"></iframe>'
        )
        frame = embed(page, html)
        button = frame.get_by_role("button", name="Pause")
        expect(button).to_be_visible()
        for part in (frame.locator("#embed-strip"), button, frame.locator("#embed-names")):
            box, outer = part.bounding_box(), page.locator("iframe").bounding_box()
            assert box is not None
            assert outer is not None
            assert box["x"] >= outer["x"]
            assert box["x"] + box["width"] <= outer["x"] + width
            assert box["y"] + box["height"] <= outer["y"] + height
    window = frame.locator("#embed-strip img")
    seen: set[str] = set()
    wait_until(
        page, lambda: seen.add(window.evaluate("one => getComputedStyle(one).transform")) or len(seen) > 2, "play"
    )
    button.click()
    expect(frame.get_by_role("slider")).to_have_attribute("aria-valuetext", f"frame {frame_number(frame)} of {FRAMES}")

    for address, words in ((f"{1:020x}", "This pair failed"), ("x", "no such pair"), ("", "no such pair")):
        frame = embed(page, f'<iframe src="index.html?embed#pair={address}" width=300 height=300></iframe>')
        expect(frame.locator("#embed-state")).to_contain_text(words)


def frame_number(frame: FrameLocator) -> str:
    """Return the number of the frame that the slider is at."""
    return frame.get_by_role("slider").get_attribute("aria-valuenow") or ""
