"""Accessibility: axe-core finds no violation on any page, in either colour scheme."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from sample_atlases import DEAD_ROW, FAILED_ROW, LAYERS, make_record, walk_record
from screen import assert_no_line_is_cut, assert_no_sideways_scroll

Open = Callable[..., Page]  # the fixture `open_atlas`
PLACES = {
    "grid": "",
    "filtered": "#layer_a=block9_expand_pre_relu&sort=balance&text=block",
    "no result": "#text=nothing",
    "failed, as tile": "#status=failed&view=tile",
    "pair": f"#pair={make_record(0).key}",
    "failed pair": f"#pair={make_record(FAILED_ROW).key}",
    "pair, one not excited": f"#pair={make_record(DEAD_ROW).key}",
    "compared strips": f"#compare={make_record(0).key}..{make_record(DEAD_ROW).key}",
    "nothing to compare": "#compare=nonsense",
    "neuron": f"#neuron={LAYERS[0]}:68",
    "neuron, not excited": f"#neuron={make_record(DEAD_ROW).b}",
    "matrix": "#matrix",
    "channels": f'#matrix=["{LAYERS[0]}","{LAYERS[0]}"]',
    "about": "#about",
}
WALK_PLACES = {
    "walk": f"#walk={LAYERS[0]}:1..6..1",
    "no walk": "#walk=stem:77",
    "route": f"#route={LAYERS[0]}:1..5",
    "no route": f"#route={LAYERS[0]}:1..9",
}
LAND_PLACES = {
    "land": "#land",
    "a neuron on the land": f"#land={LAYERS[0]}:6",
    "flight": f"#land={LAYERS[0]}:1..6",
    "no such place": "#land=nonsense",
    "neuron with a place": f"#neuron={LAYERS[0]}:32",
    "about the land": "#about",
}
SMALL = {"width": 900, "height": 500}  # fewer tiles, which are all alike
CONTRAST = "color-contrast"


@pytest.mark.parametrize(
    ("kind", "places"), [("atlas", PLACES), ("walk_atlas", WALK_PLACES), ("land_atlas", LAND_PLACES)]
)
def test_no_page_has_a_barrier(
    open_atlas: Open, request: pytest.FixtureRequest, kind: str, places: dict[str, str]
) -> None:
    """Names, roles, focus and structure pass on every page, and contrast passes in both colour schemes.

    Contrast takes most of the time, so it is examined on the part of the page that an address shows, and once on the
    rest, which is the same at all addresses.
    """
    # Without motion, so that no element is examined while it fades in.
    page = open_atlas(request.getfixturevalue(kind), hash="#strips", reduced_motion="reduce", viewport=SMALL)
    page.evaluate(Axe().axe_script)
    page.locator("#filters > summary").click()
    expect(page.locator("#grid .tile").first).to_be_visible()
    found = [f"{kind}: {one}" for one in faint(page, "body")]

    for place, hash in places.items():
        page.evaluate("hash => { location.hash = hash }", hash)
        section = f"#{shown(hash)}-page"
        expect(page.locator(section)).to_be_visible()
        if "pair" in place:
            expect(page.locator("#facts")).to_contain_text("settings.steps")
            page.evaluate("document.querySelectorAll('#pair-page details').forEach(fold => { fold.open = true })")
        if "compare" in place:
            expect(page.locator("#compare-state p, #compare-numbers td").locator("visible=true").first).to_be_visible()
        barriers = violations(page, "html", rules={CONTRAST: {"enabled": False}})
        found += [f"{place}: {one}" for one in barriers + faint(page, section)]
    assert found == []


SHOWN = """part => {
    document.querySelector(".page.shown > :is(#grid, #partners)")?.scrollIntoView();
    return document.querySelector(`.page.shown ${part}`)?.offsetParent;
}"""  # rows far below the screen do not exist
SMALL_TARGETS = """parts => parts.map(part => part.closest(".tile"))
    .flatMap(tile => [...tile.querySelectorAll("a:not(.player), button")])
    .filter(one => one.offsetParent && one.textContent && Math.min(one.offsetWidth, one.offsetHeight) < 24)
    .map(one => one.outerHTML)"""
TELEPHONE = {"width": 360, "height": 740}
SIZE_OF_TEXT = """new MutationObserver(() => document.documentElement?.style.setProperty("font-size", "SIZEpx"))
    .observe(document, { childList: true })"""  # as if this size were set in the browser, whose default is 16 px


def open_with_text(open_atlas: Open, root: Path, size: int) -> Page:
    """Open an atlas on a telephone whose browser has this size of text, px."""
    page = open_atlas(root, file="manifest.json", may_fail=True, apart=True, viewport=TELEPHONE)
    page.add_init_script(SIZE_OF_TEXT.replace("SIZE", str(size)))
    page.goto((root / "index.html").as_uri())
    return page


@pytest.mark.parametrize(("size", "widths"), [(20, []), (32, [360, 1280])])
def test_text_follows_the_size_that_is_set_in_the_browser(
    open_atlas: Open, atlas: Path, size: int, widths: list[int]
) -> None:
    """With larger text every line is larger and whole, no row covers the next, and the page needs no scrollbar."""
    page = open_with_text(open_atlas, atlas, size)
    expect(page.locator("#count")).to_have_text("30 of 30 pairs")
    page.locator("#filters > summary").click()
    expect(page.locator(".range").first).to_be_visible()
    for view in ("filmstrip", "tile", "list"):
        page.evaluate(f"location.hash = '#view={view}'")
        page.locator("#grid").scroll_into_view_if_needed()
        expect(page.locator(f".view-{view} .names").first).to_have_css("font-size", f"{0.75 * size:g}px")
        assert_no_sideways_scroll(page)
        assert_no_line_is_cut(page)
        lines, rows = (
            page.locator(f"#grid .row:nth-child(-n+2) {one}").evaluate_all(
                "all => all.map(one => one.getBoundingClientRect()).map(({ top, bottom }) => [top, bottom])"
            )
            for one in (".names, .numbers, .acts", ".tile")
        )
        starts = sorted({top for top, _ in rows})
        assert len(starts) == 2
        assert max(bottom for top, bottom in lines if top < starts[1]) <= starts[1]
    places = {
        "#matrix": "#cells table",
        f"#pair={make_record(0).key}": "#measured dd",
        f"#neuron={LAYERS[0]}:68": "#partners .caption",
        f"#compare={make_record(0).key}..{make_record(DEAD_ROW).key}": "#compare-numbers td",
        "#about": "dd",
        "#view=filmstrip": "#grid .numbers",
        "#view=tile": "#grid .tile",
    }
    for width in widths:
        page.set_viewport_size({"width": width, "height": 740})
        for place, part in places.items():
            page.evaluate("hash => { location.hash = hash }", place)
            page.wait_for_function(SHOWN, arg=part)
            assert_no_sideways_scroll(page)
            assert_no_line_is_cut(page)


def test_text_of_twice_the_size_fits_the_pages_of_lands_and_walks(open_atlas: Open, land_atlas: Path) -> None:
    """Buttons and fields are no wider than a telephone, and the caption of a pair has all of its scores."""
    page = open_with_text(open_atlas, land_atlas, 32)
    for place in (*WALK_PLACES.values(), *LAND_PLACES.values()):
        page.evaluate("hash => { location.hash = hash }", place)
        expect(page.locator(f"#{shown(place)}-page")).to_be_visible()
        assert_no_sideways_scroll(page)
        assert_no_line_is_cut(page)
    page.evaluate("hash => { location.hash = hash }", f"#pair={walk_record(1, 6, 0).key}")
    page.wait_for_function(SHOWN, arg="#neighbours .numbers")
    assert_no_line_is_cut(page)
    page.evaluate("hash => { location.hash = hash }", f"#neuron={LAYERS[0]}:1")
    page.wait_for_function(SHOWN, arg="#partners .caption")
    caption = page.locator("#partners .caption").first
    expect(caption.locator(".faint")).to_have_count(3)
    assert caption.evaluate("one => one.scrollHeight === one.clientHeight")


def test_fingers_hit_every_link_and_button(open_atlas: Open, land_atlas: Path) -> None:
    """Where fingers point, links and buttons of a tile are 24 px large, as WCAG 2.5.8 asks."""
    page = open_atlas(land_atlas, hash="#strips", viewport=TELEPHONE, has_touch=True, is_mobile=True)
    places = {f"#view={view}": f"#grid.view-{view} .acts button" for view in ("tile", "list", "filmstrip")}
    places[f"#pair={walk_record(1, 6, 0).key}"] = "#neighbours .to-neuron"
    for place, part in places.items():
        page.evaluate("hash => { location.hash = hash }", place)
        page.wait_for_function(SHOWN, arg=part)
        small = page.locator(f".page.shown {part}").evaluate_all(SMALL_TARGETS)
        assert small == [], place


def shown(hash: str) -> str:
    """Return the page that an address leads to."""
    return next(
        (
            page
            for page in ("pair", "compare", "neuron", "matrix", "walk", "route", "land", "about")
            if f"#{page}" in hash
        ),
        "grid",
    )


def faint(page: Page, part: str) -> list[str]:
    """Return the elements in a part of the page with too little contrast, in both colour schemes."""
    light = violations(page, part, runOnly=[CONTRAST])
    page.emulate_media(color_scheme="dark")
    dark = violations(page, part, runOnly=[CONTRAST])
    page.emulate_media(color_scheme="light")
    return light + [f"in the dark: {one}" for one in dark]


def violations(page: Page, part: str, **options: Any) -> list[str]:
    """Return the findings of axe-core in a part of the page, with the elements concerned.

    The page has loaded axe-core. It must not fetch styles, because the page's policy forbids that.
    """
    passes, found = page.evaluate(
        """async ([part, options]) => {
            const { passes, violations } = await axe.run(part, options);
            const concerned = (one) => one.nodes.slice(0, 3).map((node) => node.html);
            return [passes.length, violations.map((one) => [one.id, concerned(one)])];
        }""",
        [part, {"preload": False, "resultTypes": ["violations"], **options}],
    )
    assert passes > 0, f"nothing was examined in {part}"
    return [f"{rule}: {elements}" for rule, elements in found]
