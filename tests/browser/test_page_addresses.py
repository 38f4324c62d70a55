"""Addresses: what a reader may mistype, old links, exact pairs, and the reader's place in the browser's history."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect
from sample_atlases import LAYERS, PAIRS, make_record
from screen import keys_shown, wait_until

Open = Callable[..., Page]  # the fixture `open_atlas`
SMALL = {"width": 800, "height": 500}
RECORDS = [make_record(row) for row in range(PAIRS)]
DONE = [record for record in RECORDS if record.status == "done"]


def go(page: Page, hash: str) -> None:
    """Follow an address as if it was typed."""
    page.evaluate("hash => (location.hash = hash)", hash)


MISTYPED = {
    "#sort=toString": 'sort: expected activation, smoothness, .* got "toString"',
    "#mixed4a": '"mixed4a" is not known',
    "#sort=__proto__": 'sort: expected .* got "__proto__"',
    "#balance=abc": 'balance: expected a range such as 0.2..0.8, got "abc"',
    "#columns=99&reverse=no": 'reverse: expected 1, got "no"; columns: expected a number from 1 to 16, got "99"',
    "#view=sideways": 'view: expected filmstrip, tile, list, got "sideways"',
    "#constructor=1&status=gone": '"constructor" is not known; status: expected done or failed, got "gone"',
    "#balance=0.5": 'balance: expected a range such as 0.2..0.8, got "0.5"',
    "#objective=x..y&pace=1..2..3": "objective: expected a range .* pace: expected a range",
    "#layer_a=nope&layer_b=block9": f'layer_a: expected {" or ".join(LAYERS)}, got "nope"; layer_b: expected ',
    "#setting=99": 'setting: expected [0-9a-f]+, got "99"',
    "#ends=foo&excited=maybe": 'ends: expected strong or weak or dead, got "foo"; excited: expected yes or no',
    "#favourites=yes": 'favourites: expected 1, got "yes"',
}


def test_a_mistyped_address_is_told_in_a_sentence(open_atlas: Open, atlas: Path) -> None:
    """The sentence names the part that is wrong and what was expected; that part leaves no pair out.

    The rest is followed without an error. So it is when the page is opened, here with the first address, and when an
    address is typed later. Links do not repeat the wrong part.
    """
    page = open_atlas(atlas, hash=next(iter(MISTYPED)))

    for hash, words in MISTYPED.items():
        go(page, hash)
        expect(page.locator("#mistakes")).to_have_text(re.compile(f"^In the address: {words}"))
        expect(page.locator("#grid-page")).to_be_visible()
        expect(page.locator("#count")).to_have_text("30 of 30 pairs")
        expect(page.locator("#chips")).to_be_hidden()
        assert "NaN" not in page.locator("#grid").inner_text()
        expect(page.locator("nav [data-page=about]")).to_have_attribute("href", "#about")
        go(page, "#about")
        expect(page.locator("#mistakes")).to_be_hidden()

    go(page, f"#balance=0.5&layer_a={LAYERS[0]}&objective=8..&view=tile")
    left = [r for r in DONE if r.a.startswith(LAYERS[0]) and r.checkpoints[-1].objective >= 8]
    expect(page.locator("#count")).to_have_text(f"{len(left)} of 30 pairs")
    expect(page.locator("#mistakes")).to_have_text(
        'In the address: balance: expected a range such as 0.2..0.8, got "0.5". The rest of the address was followed.'
    )
    expect(page.locator("#chips .chip")).to_have_count(2)
    page.get_by_role("button", name="Remove objective").click()
    expect(page).to_have_url(re.compile(f"#layer_a={LAYERS[0]}&view=tile$"))


def test_links_of_earlier_versions_lead_on(open_atlas: Open, atlas: Path, land_atlas: Path) -> None:
    """What was the map is the matrix, or the land where there is one; the old filter for ends is read."""
    page = open_atlas(atlas, hash="#map")
    expect(page.locator("#matrix-title")).to_have_text("Matrix")
    go(page, f"#map={json.dumps(LAYERS)}")
    expect(page.locator("#matrix-title")).to_contain_text(LAYERS[1])
    go(page, "#excited=no")
    expect(page.locator("#count")).to_have_text("1 of 30 pairs")

    page = open_atlas(land_atlas, hash="#map")
    expect(page.locator("#land-title")).to_contain_text("Land of")


def test_a_link_to_pairs_names_exactly_those(visit_atlas: Open, atlas: Path) -> None:
    """The filters for a, b and keys leave the pairs that they name, and none whose names begin alike."""
    first, second = DONE[0], DONE[1]
    alike = [r for r in RECORDS if r.a.startswith(first.a)]
    page = visit_atlas(atlas, f"#a={first.a}")
    expect(page.locator("#count")).to_have_text(f"{sum(r.a == first.a for r in RECORDS)} of 30 pairs")
    assert len(alike) >= 1
    go(page, f"#a={first.a}&b={first.b}")
    expect(page.locator("#count")).to_have_text("1 of 30 pairs")
    go(page, f"#keys={first.key}..{second.key}")
    expect(page.locator("#count")).to_have_text("2 of 30 pairs")
    wait_until(page, lambda: set(keys_shown(page)) == {first.key, second.key}, "both strips")


def test_escape_leads_from_every_page_to_the_strips(visit_atlas: Open, walk_atlas: Path) -> None:
    """The same key does the same on all pages, but not in a field, where it belongs to the field."""
    page = visit_atlas(walk_atlas)
    expect(page.locator("#grid-page")).to_be_visible()
    for name in ("about", "matrix", "walk", "route", f"neuron={LAYERS[0]}:0"):
        go(page, f"#{name}")
        shown = page.locator(f"#{name.partition('=')[0]}-page")
        expect(shown).to_be_visible()
        page.keyboard.press("Escape")
        expect(shown).to_be_hidden()
        expect(page.locator("#grid-page")).to_be_visible()
    go(page, "#route")
    page.locator("#route-from").press("Escape")
    page.wait_for_timeout(100)
    expect(page.locator("#route-page")).to_be_visible()


def test_the_place_on_a_page_survives_reload_and_return(open_atlas: Open, atlas: Path) -> None:
    """A reload, Back from another page and Back from another pair show what was on the screen before."""
    page = open_atlas(atlas, viewport=SMALL)
    expect(page.locator("#grid .tile").first).to_be_visible()

    def scroll(top: int) -> float:
        page.wait_for_function("top => document.documentElement.scrollHeight > innerHeight + top", arg=top)
        page.evaluate("top => scrollTo(0, top)", top)
        page.wait_for_function("() => history.state && 'place' in history.state && scrollY > 0")
        page.wait_for_timeout(250)  # the place is kept when the reader has stopped there
        return float(page.evaluate("scrollY"))

    def expect_place(place: float) -> None:
        wait_until(page, lambda: abs(page.evaluate("scrollY") - place) < 3, f"the place {place}")

    grid = scroll(300)
    page.reload()
    expect_place(grid)
    go(page, "#about")
    expect(page.locator("#about-page")).to_be_visible()
    about = scroll(250)
    page.go_back()
    expect_place(grid)
    page.go_forward()
    expect_place(about)

    go(page, f"#pair={DONE[0].key}")
    expect(page.locator("#facts")).to_contain_text(DONE[0].key)
    pair = scroll(350)
    go(page, f"#pair={DONE[1].key}")
    expect(page.locator("#facts")).to_contain_text(DONE[1].key)
    expect_place(0)
    page.go_back()
    expect(page.locator("#facts")).to_contain_text(DONE[0].key)
    expect_place(pair)


def test_more_pairs_than_fit_into_a_float_are_sorted_rightly(visit_atlas: Open, atlas: Path) -> None:
    """Sorting is by value alone, whatever the number of rows, and keeps the sequence of equal values."""
    page = visit_atlas(atlas, "#sort=objective")
    expect(page.locator("#count")).to_have_text("30 of 30 pairs")

    wrong = page.evaluate(
        """() => {
            const { pairs } = isthmus;
            const count = 2 ** 21 + 5000;
            const before = pairs.columns.objective;
            const values = Float32Array.from({ length: count }, (_, i) => ((i * 7919) % 1000) - 500);
            pairs.columns.objective = values;
            const sorted = pairs.sort(Uint32Array.from({ length: count }, (_, i) => i), "objective");
            pairs.columns.objective = before;
            let wrong = Number(sorted.length !== count);
            for (let i = 1; i < count; i++) {
                const [p, q] = [sorted[i - 1], sorted[i]];
                if (values[p] < values[q] || (values[p] === values[q] && p > q)) wrong++;
            }
            return wrong;
        }"""
    )
    assert wrong == 0
