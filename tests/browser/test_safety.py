"""Names are untrusted text, the page reaches no other host, and it works from any web server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect
from sample_atlases import FAILED_ROW, FRAMES, SIZE_PX, make_record, publish, write_pictures
from screen import assert_no_sideways_scroll, unfold, wait_until

from core.neurons import Neuron

Open = Callable[..., Page]  # the fixture `open_atlas`
Serve = Callable[[Path], str]  # the fixture `serve`
HOSTILE_NAMES = (
    "</script><img/src=x/onerror=alert(1)>",
    "\"double\"'single'`back`{{7*7}}&amp;",
    "right\u200f-to-left\u202eoverride",
    "ta\U0001f98ail\u0600",
    "w" * 200,
    "block 1/conv..0:7-9, %2E&+#=",
    '"quoted"',
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas in which every name, reason and setting tries to be more than text. Tests must not change it."""
    root = tmp_path_factory.mktemp("hostile")
    everything = " ".join(HOSTILE_NAMES)
    records = []
    for row, name in enumerate(HOSTILE_NAMES):
        facts: dict[str, Any] = {"settings_digest": name, "device": name, "model": everything, "versions": {name: name}}
        settings = make_record(0).settings | {name: everything}
        key = f"{row:020x}"
        facts |= {"settings": settings, "strip": "walk"}
        records.append(make_record(row, a=str(Neuron(name, 1)), b=str(Neuron(name, 2)), key=key, **facts))
        write_pictures(root, key, row)
    records.append(make_record(FAILED_ROW, a=f"{HOSTILE_NAMES[0]}:1", reason=everything, key=f"{99:020x}"))
    publish(root, records, name=everything)
    return root


PLACES = [
    "",
    f"#pair={0:020x}",
    f"#pair={2:020x}",
    f"#pair={4:020x}",
    f"#pair={99:020x}",
    f"#compare={0:020x}..{2:020x}..{4:020x}..{5:020x}",
    f"#compare={HOSTILE_NAMES[0]}..{HOSTILE_NAMES[2]}..javascript:alert(1)//%23pair={0:020x}",
    f"#neuron={HOSTILE_NAMES[0]}:1",
    f"#neuron={HOSTILE_NAMES[4]}:1",
    f"#walk={HOSTILE_NAMES[0]}:1",
    f"#walk={HOSTILE_NAMES[4]}:1..2",
    f"#walk={HOSTILE_NAMES[0]}",
    f"#route={HOSTILE_NAMES[0]}:1..2",
    f"#route={HOSTILE_NAMES[4]}:1..2",
    f"#route={HOSTILE_NAMES[0]}..{HOSTILE_NAMES[2]}",
    "#matrix",
    "#about",
    f"#text={HOSTILE_NAMES[0]}?",
    f"#pair={HOSTILE_NAMES[0]}",
    f"#matrix={HOSTILE_NAMES[0]}&layer_a={HOSTILE_NAMES[2]}",
    "#__proto__=1&constructor=2&sort=constructor&columns=NaN&objective=..x&reverse=1",
]


def test_hostile_names_are_text_and_do_not_stretch_the_page(visit_atlas: Open, hostile: Path) -> None:
    """On no page does a name run or load anything, and every page is as wide as a telephone."""
    page = visit_atlas(hostile, viewport={"width": 360, "height": 700})

    for place in PLACES:
        page.evaluate("place => { location.hash = place }", place)
        expect(page.locator(".page.shown")).to_be_visible()
        expect(page.locator("#detail-state")).to_be_hidden()
        page.evaluate("document.querySelectorAll('.page.shown details').forEach(fold => { fold.open = true })")
        assert_no_sideways_scroll(page)
        assert page.evaluate("document.querySelectorAll('img[src=x], script:not([src])').length") == 0
        assert page.locator("h1").text_content() == " ".join(HOSTILE_NAMES)


def test_hostile_names_show_as_they_are(visit_atlas: Open, hostile: Path) -> None:
    """Tiles, titles and lists show every character as it was written, and the pages of these neurons open."""
    page = visit_atlas(hostile, viewport={"width": 1280, "height": 2000})

    expect(page.locator("#grid .tile")).to_have_count(len(HOSTILE_NAMES) + 1)
    in_order = sorted(HOSTILE_NAMES, key=lambda name: Neuron(name, 1).order)
    shown = page.locator("#grid .tile .to-neuron:first-child .layer").all_text_contents()
    assert sorted(set(shown), key=lambda name: Neuron(name, 1).order) == in_order
    page.set_viewport_size({"width": 900, "height": 1200})
    unfold(page, "#filters")
    for name in HOSTILE_NAMES:
        page.locator("#layer_a").select_option(name)
        expect(page.locator("#chips bdi")).to_have_text(name)
        page.locator("#grid .player").first.click()
        page.locator("#pair-title a").first.click()
        expect(page.locator("#neuron-title")).to_have_text(f"{name}:1")
        expect(page.locator("#neuron-state")).to_contain_text("from this neuron to each partner")
        page.get_by_role("link", name="Walk from here").click()
        expect(page.locator("#walk-title")).to_have_text(f"{name}:1")
        page.get_by_role("link", name="Strips").click()


def test_every_name_can_be_written_into_an_address(visit_atlas: Open, hostile: Path) -> None:
    """Walk, route, neuron and matrix understand names as pages write them, and as readers who know no escapes."""
    page = visit_atlas(hostile)
    expect(page.locator("#count")).to_be_visible()

    for name in HOSTILE_NAMES:
        written = str(Neuron(name, 1))
        layers = json.dumps([name, name])
        for place, value in (("walk", written), ("route", f"{written}..2"), ("neuron", written), ("matrix", layers)):
            page.evaluate("place => { location.hash = place }", f"#{place}={quote(value, safe='')}")
            title = f"{name} by {name}" if place == "matrix" else f"{name}:1"
            shown = "route-strips .stop:first-child" if place == "route" else f"{place}-title"
            expect(page.locator(f"#{shown}").first).to_have_text(title)


def test_the_page_may_not_reach_another_host(open_atlas: Open, atlas: Path) -> None:
    """Elements injected into the page can neither run inline scripts nor load from or send to another host."""
    page = open_atlas(atlas, may_fail=True)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.evaluate(
        """() => {
            for (const [tag, properties] of [["img", { src: "https://example.org/x.png" }],
                                             ["script", { src: "https://example.org/x.js" }],
                                             ["script", { textContent: "window.ran = true" }]])
                document.body.append(Object.assign(document.createElement(tag), properties));
            fetch("https://example.org/").catch(() => {});
        }"""
    )
    wait_until(page, lambda: len([text for text in said if "Content Security Policy" in text]) >= 4, "four refusals")

    assert page.evaluate("window.ran") is None


def test_it_works_the_same_from_a_web_server_below_any_path(open_atlas: Open, serve: Serve, atlas: Path) -> None:
    """Grid, pictures, a record and a permalink work, and no request goes anywhere else."""
    at = serve(atlas)
    page = open_atlas(atlas, at=at)

    expect(page.locator("#count")).to_have_text("30 of 30 pairs")
    expect(page.locator("#grid img").first).to_have_js_property("naturalWidth", FRAMES * SIZE_PX)
    page.locator("#grid .player").first.click()
    expect(page.locator("#facts")).to_contain_text(make_record(0).key)
    page.reload()
    expect(page.locator("#facts")).to_contain_text(make_record(0).key)


def test_a_page_that_is_open_never_mixes_with_a_newer_atlas(open_atlas: Open, serve: Serve, tmp_path: Path) -> None:
    """After another publication, an open page says that files are missing; a reload shows the new atlas."""
    old, new = (make_record(FAILED_ROW, a=f"stem:{channel}", key=f"{channel:020x}") for channel in (2, 1))
    publish(tmp_path, [old])
    os.utime(tmp_path / "index.html", (0, 0))  # web servers compare times by whole seconds
    page = open_atlas(tmp_path, at=serve(tmp_path), may_fail=True)
    expect(page.locator("#count")).to_have_text("1 of 1 pair")

    publish(tmp_path, [new])
    page.locator("#grid .player").first.click()
    expect(page.locator("#detail-state")).to_contain_text("If the atlas has been published again, reload this page")
    page.reload()
    expect(page.locator("#facts")).to_contain_text(old.key)
    expect(page.locator("#place")).to_have_text("2 of 2")
