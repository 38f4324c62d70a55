"""What readers take away from the page of a pair: animations, frames, HTML, and a file of the pairs in the grid."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence
from playwright.sync_api import Download, Page, expect
from sample_atlases import FAILED_ROW, FRAMES, PAIRS, SIZE_PX, make_record, publish, write_coloured_pictures
from screen import unfold

Open = Callable[..., Page]  # the fixture `open_atlas`
Serve = Callable[[Path], str]  # the fixture `serve`
RECORD = make_record(4)
COLOURS = [(40 * frame, 255 - 40 * frame, 90) for frame in range(FRAMES)]


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas of one pair, whose frames have one colour each, with a name that not every file system allows."""
    root = tmp_path_factory.mktemp("coloured")
    write_coloured_pictures(root, RECORD.key, COLOURS)
    publish(root, [RECORD], name="../first: light?")
    return root


def asked(page: Page, button: str) -> Download:
    """Press a button of the menu, and return what it downloads."""
    with page.expect_download() as download:
        page.get_by_role("button", name=button, exact=True).click()
    return download.value


def assert_plays_colours(file: Path, kind: str, expected: Sequence[int], milliseconds: int) -> None:
    """Check that a file is an endless animation of frames with these numbers, each of one colour and duration."""
    with Image.open(file) as picture:
        assert (picture.format, picture.info.get("loop")) == (kind, 0)
        assert picture.size == (SIZE_PX, SIZE_PX)
        frames = [(frame.convert("RGB"), frame.info["duration"]) for frame in ImageSequence.Iterator(picture)]
    assert [duration for _, duration in frames] == [milliseconds] * len(expected)
    for (frame, _), number in zip(frames, expected, strict=True):
        for place in ((0, 0), (SIZE_PX // 2, SIZE_PX // 2), (SIZE_PX - 1, SIZE_PX - 1)):
            seen = frame.getpixel(place)
            assert isinstance(seen, tuple)
            off = max(abs(one - other) for one, other in zip(seen, COLOURS[number], strict=True))
            assert off <= {"WEBP": 0, "GIF": 8}[kind]  # GIF's colours are chosen from 5 or 6 bits


def test_animations_and_frames_have_the_colours_of_the_strip(open_atlas: Open, serve: Serve, coloured: Path) -> None:
    """GIF and WebP decode to all frames, forth and back or once, in the chosen time; the names say what they are."""
    page = open_atlas(coloured, hash=f"#pair={RECORD.key}", at=serve(coloured))
    page.locator("#download > summary").click()
    a, b = (str(neuron).replace(":", "-") for neuron in (RECORD.a, RECORD.b))
    stem = f"first-light_{a}_to_{b}_{RECORD.key[:8]}"
    there_and_back = [*range(FRAMES), *range(FRAMES - 2, 0, -1)]

    for button, kind in (("GIF", "gif"), ("Animated WebP", "webp")):
        made = asked(page, button)
        assert made.suggested_filename == f"{stem}.{kind}"
        assert_plays_colours(made.path(), kind.upper(), there_and_back, 200)
        expect(page.locator("#download-state")).to_contain_text(f"{stem}.{kind}")
    page.get_by_label("forth and back").uncheck()
    page.get_by_label("seconds per frame").fill("0.05")
    for button, kind in (("GIF", "gif"), ("Animated WebP", "webp")):
        assert_plays_colours(asked(page, button).path(), kind.upper(), range(FRAMES), 50)

    video = page.locator("#movie-form [value=video]")
    suffix = (video.text_content() or "").lower()
    movie = asked(page, video.text_content() or "")
    assert movie.suggested_filename == f"{stem}.{suffix}"
    with av.open(str(movie.path()), format=suffix) as video_file:
        colours = [frame.to_ndarray(format="rgb24")[SIZE_PX // 2, SIZE_PX // 2] for frame in video_file.decode(video=0)]
    for seen, wanted in ((colours[0], COLOURS[0]), (colours[-1], COLOURS[-1])):
        assert np.abs(seen.astype(int) - wanted).max() < 16  # movies have fewer colours than pictures

    page.get_by_role("slider", name="Frame").press("End")
    names = page.locator("#files a").evaluate_all("all => all.map(one => one.download)")
    assert names == [f"{stem}_sheet.png", f"{stem}_preview.webp", f"{stem}.json"]
    frame = asked(page, "This frame, PNG")
    assert frame.suggested_filename == f"{stem}_frame-6-of-6.png"
    with Image.open(frame.path()) as picture:
        assert picture.convert("RGB").getcolors() == [(SIZE_PX * SIZE_PX, COLOURS[-1])]


def test_the_sheet_plays_in_the_html_to_copy(open_atlas: Open, serve: Serve, coloured: Path) -> None:
    """A page of only these lines shows all frames of the sheet, one after the other, and no part of two."""
    at = serve(coloured)
    page = open_atlas(coloured, hash=f"#pair={RECORD.key}", at=at)
    page.locator("#download > summary").click()
    html = f'<link rel="icon" href="data:,">{page.locator("#css").text_content()}'
    (coloured / "other.html").write_text(html, encoding="utf-8")
    page.goto(f"{at}other.html")
    strip = page.locator("div")

    positions = strip.evaluate(
        """(strip, frames) => {
            const [animation] = strip.getAnimations();
            animation.pause();
            return Array.from({ length: frames }, (_, i) => {
                animation.currentTime = (i + 0.5) * 200;
                return getComputedStyle(strip).backgroundPositionX;
            });
        }""",
        FRAMES,
    )
    assert positions == [f"{-SIZE_PX * frame}px" for frame in range(FRAMES)]
    shot = Image.open(io.BytesIO(strip.screenshot())).convert("RGB")
    assert shot.size == (SIZE_PX, SIZE_PX)
    assert shot.getpixel((5, 5)) == COLOURS[-1]


def test_a_page_from_a_folder_says_why_it_makes_no_files(visit_atlas: Open, coloured: Path) -> None:
    """Browsers forbid it; the sheet can be downloaded all the same."""
    page = visit_atlas(coloured, f"#pair={RECORD.key}")
    unfold(page, "#download")

    expect(page.locator("#unreadable")).to_contain_text("isthmus open --serve")
    for button in ("GIF", "Animated WebP", "This frame, PNG"):
        expect(page.get_by_role("button", name=button)).to_be_disabled()
    expect(page.get_by_role("link", name="Sheet, PNG")).to_be_visible()


def test_the_pairs_of_the_grid_as_a_table(open_atlas: Open, serve: Serve, tmp_path: Path) -> None:
    """The file has the filtered pairs in the sequence of the grid, and no text that a spreadsheet would compute."""
    records = [make_record(row) for row in range(PAIRS)]
    records[5] = make_record(5, a='=HYPERLINK("x"),1:3')
    publish(tmp_path, records)
    page = open_atlas(tmp_path, hash="#sort=objective&objective=..20", may_fail=True)  # there are no pictures
    expect(page.locator("#count")).to_contain_text("of 30 pairs")
    with page.expect_download() as download:
        count = page.evaluate("isthmus.assets.load('csv').then(() => isthmus.csv.download())")
    lines = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8"), newline="")))

    assert download.value.suggested_filename == "first-light_pairs.csv"
    wanted = [records[row] for row in range(14, -1, -1) if row != FAILED_ROW]
    assert count == len(lines) == len(wanted)
    for line, record in zip(lines, wanted, strict=True):
        assert line["key"] == record.key
        assert line["a"] == (f"'{record.a}" if record.a.startswith("=") else record.a)
        assert line["b"] == record.b
        assert float(line["objective"]) == pytest.approx(record.checkpoints[-1].objective, rel=1e-3)
        assert float(line["pace"]) == pytest.approx(record.pace, rel=1e-3)
        assert line["sheet"] == f"sheets/{record.key[:2]}/{record.key}.png"


def test_what_the_clipboard_refuses_is_shown_to_copy(visit_atlas: Open, coloured: Path) -> None:
    """The page says that the browser refuses, and has the text selected in a field."""
    page = visit_atlas(coloured, f"#pair={RECORD.key}")
    page.evaluate("""() => {
        navigator.clipboard.writeText = () => Promise.reject(new DOMException("no", "NotAllowedError"));
        document.execCommand = () => false;
    }""")
    page.get_by_role("button", name="Copy link").click()

    expect(page.locator("#copied")).to_contain_text("Press Ctrl+C")
    field = page.get_by_role("textbox", name="The link")
    expect(field).to_be_focused()
    link = f"{page.url.split('#')[0]}#pair={RECORD.key}"
    assert field.input_value() == link
    assert field.evaluate("one => one.value.slice(one.selectionStart, one.selectionEnd)") == link
