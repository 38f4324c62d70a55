"""Photographs in the gallery: the natural strip of a pair, the photographs of a neuron, and the search by class."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sample_atlases import FRAMES, LAYERS
from sample_evidence import CAPTION, RECORD, compare_with_photographs
from screen import assert_no_sideways_scroll, keys_shown

Open = Callable[..., Page]  # the fixture `open_atlas`


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, atlas: Path) -> Path:
    """A published atlas that was compared with photographs. Tests must not change it."""
    root = shutil.copytree(atlas, tmp_path_factory.mktemp("photographs") / "compared")
    compare_with_photographs(root)
    return root


def test_natural_strip_lies_below_the_frames_and_has_the_same_scrubber(visit_atlas: Open, compared: Path) -> None:
    """Each frame has up to four photographs, all different; pointing at a photograph goes to its frame."""
    page = visit_atlas(compared, f"#pair={RECORD.key}")
    columns = page.locator("#natural > div")
    expect(columns).to_have_count(FRAMES)
    page.wait_for_function("() => [...document.querySelectorAll('#natural img')].every(one => one.naturalWidth === 96)")
    assert all(1 <= columns.nth(frame).locator("img").count() <= 4 for frame in (0, FRAMES - 1))
    paths = page.eval_on_selector_all("#natural img", "all => all.map(one => one.src)")
    assert len(set(paths)) == len(paths)
    heard = re.compile(r"frame 1 of 6, activation of a .*; photographs: hunting dog: <b>A small dog</b>")
    expect(page.locator("#scrubber")).to_have_attribute("aria-valuetext", heard)
    columns.nth(4).locator("span").first.hover()
    expect(page.locator("#legend")).to_contain_text("frame 5 of 6")
    frame, column = (page.locator(one).bounding_box() for one in ("#frames img >> nth=4", "#natural > div >> nth=4"))
    assert frame
    assert column
    assert abs(frame["x"] - column["x"]) < 1 > abs(frame["width"] - column["width"])
    words = page.locator("#natural-words")
    expect(words).to_contain_text(re.compile(r"Of 120 photographs, \d+ (is|are) among the strongest 10 % of both"))
    expect(words).to_contain_text(re.compile(r"Their activations correlate by −?0\.\d\d\."))
    expect(words).to_contain_text(re.compile(r"neurons 0\.\d+ \(a\) and \d\.\d \(b\) times as much as the strongest"))
    title = columns.nth(0).locator("span").first.get_attribute("title")
    assert title == f"hunting dog: {CAPTION}\na: among the strongest 0.8 %\nb: not more than on most photographs"
    page.set_viewport_size({"width": 360, "height": 740})
    assert_no_sideways_scroll(page)


def test_neuron_has_its_strongest_photographs_with_the_place(visit_atlas: Open, compared: Path) -> None:
    """The page has 16 photographs with the part that excites the neuron, 8 from the middle, and classes as searches.

    The pairs follow, below their heading and the choice of their order.
    """
    page = visit_atlas(compared, f"#neuron={RECORD.a}")
    strongest, middle = (page.locator("#neuron-photographs .photographs").nth(place) for place in (0, 1))
    expect(strongest.locator("figure")).to_have_count(16)
    expect(middle.locator("figure")).to_have_count(8)
    first = strongest.locator("figure").first
    expect(first.locator("figcaption")).to_contain_text(f"hunting dog: {CAPTION}")
    whole, part = first.locator(".whole").bounding_box(), first.locator(".part").bounding_box()
    assert whole
    assert part
    assert whole["x"] <= part["x"] < part["x"] + part["width"] <= whole["x"] + whole["width"]
    assert first.locator("img").count() == 2
    tops = [page.locator(part).bounding_box() for part in ("#neuron-photographs", "#partners-head", "#partners")]
    assert tops == sorted(tops, key=lambda box: box["y"] if box else 0)
    page.evaluate(f"location.hash = '#neuron={LAYERS[0]}:1'")
    expect(page.locator("#neuron-state")).to_contain_text("has no pair")
    expect(page.locator("#partners-head")).to_be_hidden()
    expect(strongest.locator("figure")).to_have_count(16)
    page.go_back()
    expect(strongest.locator("figcaption").first).to_contain_text("hunting dog")
    page.locator(".classes a").first.click()
    expect(page.locator("#grid")).to_be_visible()
    expect(page).to_have_url(re.compile("#text=hunting"))


def test_search_for_a_class_finds_the_neurons_that_it_excites(visit_atlas: Open, compared: Path) -> None:
    page = visit_atlas(compared, "#text=dog")
    expect(page.locator("#grid [data-place]")).to_have_count(1)
    assert keys_shown(page) == [RECORD.key]


def test_pairs_are_sorted_by_photographs(visit_atlas: Open, compared: Path) -> None:
    page = visit_atlas(compared, "#sort=photo_correlation&columns=1")
    expect(page.locator("#grid [data-place='0']")).to_be_visible()
    values = page.evaluate("isthmus.grid.rows().slice(0, 29).reduce((all, row) => "
                           "[...all, isthmus.pairs.columns.photo_correlation[row]], [])")  # fmt: skip
    assert values == sorted(values, reverse=True)
    assert len(set(values)) > 20


def test_photographs_that_are_not_published_are_numbers(open_atlas: Open, compared: Path, tmp_path: Path) -> None:
    """With publish: false the pages have the numbers, and load no picture, although pictures exist."""
    root = shutil.copytree(compared, tmp_path / "numbers")
    compare_with_photographs(root, publish=False)
    page = open_atlas(root, hash=f"#pair={RECORD.key}")
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))
    expect(page.locator("#natural-words")).to_contain_text("Of 120 photographs")
    expect(page.locator("#natural img")).to_have_count(0)
    page.goto(page.url.replace(f"pair={RECORD.key}", f"neuron={RECORD.a}"))
    expect(page.locator("#neuron-photographs")).to_contain_text("strongest place")
    expect(page.locator("#neuron-photographs img")).to_have_count(0)
    assert not [url for url in loaded if "thumbnails" in url]


def test_missing_pictures_are_named(open_atlas: Open, compared: Path) -> None:
    """A picture that cannot be loaded is replaced by words."""
    page = open_atlas(compared, hash=f"#pair={RECORD.key}", may_fail=True)
    page.locator("#natural img").first.evaluate("image => (image.src = 'images/thumbnails/00/none.webp')")
    expect(page.locator("#natural .no-picture")).to_have_text("no picture")


def test_an_atlas_without_photographs_loads_nothing_of_them(open_atlas: Open, atlas: Path) -> None:
    page = open_atlas(atlas, hash=f"#neuron={RECORD.a}")
    expect(page.locator("#partners .partner").first).to_be_visible()
    page.mouse.move(300, 300)
    page.evaluate(f"location.hash = '#pair={RECORD.key}'")
    expect(page.locator("#facts")).to_contain_text(RECORD.key)
    page.evaluate("location.hash = '#text=dog'")
    expect(page.locator("#summary")).not_to_be_visible()
    names = page.evaluate("[...document.querySelectorAll('script[src], link[href]')].map(one => one.src ?? one.href)")
    assert not [name for name in names if "photograph" in name or "natural" in name]
    expect(page.locator("#neuron-photographs")).to_be_hidden()
