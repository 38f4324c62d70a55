"""The size of a fresh page, and the loading of the other pages' scripts and styles."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect
from sample_atlases import FAILED_ROW, PAIRS, make_record, publish
from screen import keys_shown, wait_until

Open = Callable[..., Page]  # the fixture `open_atlas`
Serve = Callable[[Path], str]  # the fixture `serve`
LOADED = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .map(({ name, decodedBodySize }) => [name, decodedBodySize])"""

# A browser tells a page where the pointer is when the page has been laid out; no reader has moved it.
ASLEEP = """addEventListener("pointermove", (event) => window.isAwake || event.stopImmediatePropagation(), true)"""


def code_loaded(page: Page, at: str) -> dict[str, int]:
    """Return path -> bytes of every loaded file except data and pictures."""
    loaded = {name.removeprefix(at): size for name, size in page.evaluate(LOADED)}
    return {path: size for path, size in loaded.items() if not path.startswith(("data", "previews/"))}


def test_a_fresh_page_is_less_than_60_kb_of_code(open_atlas: Open, serve: Serve, atlas: Path) -> None:
    """Styles and scripts of the other pages are loaded, all at once, when the reader first moves the pointer.

    Those of pages that the atlas does not offer, here land, walk and route, are not.
    """
    at = serve(atlas)
    page = open_atlas(atlas, at=at, file="manifest.json", may_fail=True, apart=True)
    page.add_init_script(ASLEEP)
    page.goto(f"{at}index.html")
    expect(page.locator("#count")).to_have_text("30 of 30 pairs")
    page.wait_for_load_state("networkidle")

    fresh = code_loaded(page, at)
    assert 20_000 < sum(fresh.values()) < 59_600  # and the icon
    assert fresh["index.html"] == (atlas / "index.html").stat().st_size
    page.evaluate("window.isAwake = true")
    page.mouse.move(5, 5)
    page.mouse.move(9, 9)
    page.wait_for_function("() => isthmus.pair && isthmus.neuron && isthmus.matrix && isthmus.about")
    # What few readers need is loaded when they ask for it.
    asked = re.compile("assets/(animations|csv|embed|photographs|land|walk|route)-")
    published = {path.relative_to(atlas).as_posix() for path in atlas.glob("assets/*")}
    published = {path for path in published if not asked.match(path)}
    [icon] = (path for path in published if path.endswith(".svg"))  # a browser without windows has no use for it
    wait_until(page, lambda: code_loaded(page, at).keys() >= published - {icon}, "all styles and scripts")
    assert code_loaded(page, at).keys() | {icon} == published | {"index.html"}


def test_an_open_page_whose_scripts_are_gone_says_what_to_do(open_atlas: Open, tmp_path: Path) -> None:
    """If another version has published the atlas again, an open page names the missing file and the remedy."""
    publish(tmp_path, [make_record(FAILED_ROW)])
    [script] = tmp_path.glob("assets/matrix-????????.js")
    moved = script.rename(tmp_path / "moved.js")
    page = open_atlas(tmp_path, may_fail=True)
    expect(page.locator("#count")).to_have_text("1 of 1 pair")

    page.evaluate("location.hash = '#matrix'")
    expect(page.locator("#gone")).to_contain_text(
        f"assets/{script.name} could not be read. If the atlas has been published again, reload this page."
    )
    expect(page.locator(".page.shown")).to_have_count(0)
    page.evaluate("location.hash = '#about'")
    expect(page.get_by_role("heading", name="About this atlas")).to_be_visible()
    expect(page.locator("#gone")).to_be_hidden()

    page.go_back()
    expect(page.locator("#gone")).to_be_visible()
    moved.rename(script)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#cells table")).to_be_visible()
    expect(page.locator("#gone")).to_be_hidden()


@pytest.mark.parametrize("missing", ["shared", "every"])
def test_scripts_that_other_scripts_need_can_be_tried_again(open_atlas: Open, tmp_path: Path, missing: str) -> None:
    """If what several pages need could not be read, a page names it, and works as soon as it is there."""
    record = make_record(0)
    publish(tmp_path, [record])
    [script] = tmp_path.glob(f"assets/{missing}-????????.js")
    moved = script.rename(tmp_path / "moved.js")
    page = open_atlas(tmp_path, hash=f"#neuron={record.a}", may_fail=True)
    expect(page.locator("#gone")).to_contain_text(f"assets/{script.name} could not be read.")

    moved.rename(script)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#gone")).to_be_hidden()
    expect(page.locator("#neuron-title")).to_have_text(str(record.a))
    page.get_by_role("link", name="About", exact=True).click()
    expect(page.get_by_role("heading", name="About this atlas")).to_be_visible()


def test_the_first_strips_do_not_wait_for_the_index(
    open_atlas: Open, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first strips are there while the rest of the data loads; a search says what it waits for."""
    records = [make_record(row) for row in range(PAIRS)]
    for name, rows in (("FIRST_ROWS", 4), ("KEY_ROWS", 8), ("COLUMN_ROWS", 16), ("DETAIL_ROWS", 8)):
        monkeypatch.setattr(f"core.gallery.index.{name}", rows)
    publish(tmp_path, records)
    held: list[Route] = []
    holds = True
    page = open_atlas(tmp_path, at=serve(tmp_path), file="manifest.json", may_fail=True)
    page.route(
        re.compile("data/(names|key|objective)-"), lambda route: held.append(route) if holds else route.continue_()
    )
    page.goto(page.url.replace("manifest.json", "index.html#columns=4"), wait_until="commit")

    expect(page.locator("#count")).to_have_text("30 of 30 pairs")
    expect(page.locator("#grid .names")).to_have_count(4)
    expect(page.locator("#loading")).to_be_hidden()
    wait_until(page, lambda: held, "a request for the rest")
    page.evaluate("location.hash = '#sort=objective'")
    expect(page.locator("#loading")).to_have_text(re.compile("^Loading: [0-9]+ of [0-9]+ files…$"))
    holds = False
    for route in held:
        route.continue_()
    best = max((r for r in records if r.checkpoints), key=lambda r: r.checkpoints[-1].objective)
    wait_until(page, lambda: keys_shown(page)[0] == best.key, "the sorted strips")
    expect(page.locator("#loading")).to_be_hidden()
