"""The land: moving over it, what it tells of a point, and what opens from there."""

from __future__ import annotations

import base64
import io
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from sample_atlases import HUB, LAND, LAYERS, publish_land, walk_record
from sample_land import block_pixels, make_land
from screen import assert_no_sideways_scroll, unfold, wait_until

from core.arrays import Pixels
from core.atlas.land_picture import part
from core.atlas.manifest import read_manifest
from core.store.store import DirectoryStore

Open = Callable[..., Page]  # the fixture `open_atlas`
Serve = Callable[[Path], str]  # the fixture `serve`
LAYER = LAYERS[0]
HEIGHT, WIDTH = LAND.size_px
CELL = LAND.cell_px


def go(page: Page, value: str) -> None:
    """Open an address of the land."""
    page.evaluate("hash => { location.hash = hash }", f"#land={value}")


def where(page: Page) -> tuple[float, ...]:
    """Return the point and the zoom in the address, or nothing if it has none."""
    found = re.search(r"#land=([\d.]+),([\d.]+),([\d.]+)$", page.url)
    return tuple(map(float, found.groups())) if found else ()


def expect_at(page: Page, x: float, y: float, zoom: float) -> None:
    """Wait until the address has this point and zoom."""
    wait_until(page, lambda: where(page) == pytest.approx((x, y, zoom), rel=5e-3), f"the address of {x}, {y}, {zoom}")


def middle(page: Page) -> tuple[float, float]:
    """Return the middle of the land's picture on the screen, x and y."""
    box = page.locator("#land-view").bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def picture(page: Page) -> Pixels:
    """Return the pixels of the land's canvas."""
    url: str = page.evaluate("document.getElementById('land-view').toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))


def shares(x: float, y: float) -> list[str]:
    """Return what the page tells of a point: the neurons that share it, with their shares in percent."""
    across, down = (min(max(at / CELL - 0.5, 0), cells - 1) for at, cells in ((x, LAND.columns), (y, LAND.rows)))
    found: dict[int, float] = {}
    for row in (math.floor(down), math.floor(down) + 1):
        for column in (math.floor(across), math.floor(across) + 1):
            number = LAND.number_at(row, column)
            share = max(0, 1 - abs(row - down)) * max(0, 1 - abs(column - across))
            found[number] = found.get(number, 0) + share
    percent = {number: math.floor(100 * share + 0.5) for number, share in found.items()}
    order = sorted((number for number in found if percent[number]), key=lambda number: (-found[number], number))
    return [f"{LAYER}:{number} {percent[number]} %{mark_of(number)}" for number in order]


def mark_of(number: int) -> str:
    """Return the mark of a neuron of the sample land: one is dead, and those below half of their reach are weak."""
    activation = np.random.default_rng(0).uniform(0, 5, len(LAND.neurons))
    is_weak = number > 0 and activation[number] / 5 < 0.5
    return " not excited" if number == 1 else " weak" if is_weak else ""


def test_the_picture_is_that_of_the_blocks(open_atlas: Open, serve: Serve, land_atlas: Path) -> None:
    """At zoom 1, a pixel of the screen is a pixel of the land; the place in the middle is that of the address."""
    page = open_atlas(land_atlas, at=serve(land_atlas), hash=f"#land={4 * CELL},{2 * CELL},1")
    expect(page.locator("#land-place")).to_contain_text(f"{LAYER}:18 25 %")
    wanted = part(LAND, lambda block: block_pixels(LAND, block), 2 * CELL, 4 * CELL, 90, 200)  # above the names

    def difference(y: int = 0, x: int = 0) -> float:
        canvas = picture(page)
        top, left = (canvas.shape[0] + 1) // 2 + y, (canvas.shape[1] + 1) // 2 + x
        return float(np.abs(canvas[top : top + 90, left : left + 200].astype(float) - wanted).mean())

    wait_until(page, lambda: difference() < 12, "the pixels of the land")  # pictures are compressed
    assert difference() < min(difference(y, x) for y, x in ((0, 1), (0, -1), (1, 0), (-1, 0)))


def test_pointer_wheel_and_keys_move_the_view_and_the_address(open_atlas: Open, land_atlas: Path) -> None:
    """A reader sees the whole land, drags, zooms about the pointer, and comes back to the same place by the address."""
    page = open_atlas(land_atlas)
    expect(page.locator("#land-page")).to_be_visible()  # the first page
    page.get_by_role("link", name="Strips", exact=True).click()
    expect(page.locator("#grid-page")).to_be_visible()
    page.get_by_role("link", name="Land", exact=True).click()
    expect(page.locator("#land-title")).to_have_text(f"Land of {LAYER}")
    expect(page).to_have_title(f"Land of {LAYER} · landscape · Isthmus")
    go(page, "400,300,2")
    expect(page.locator("#land-place")).to_contain_text(shares(400, 300)[0])
    x, y = middle(page)

    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 60, y + 40, steps=3)
    page.mouse.up()
    expect_at(page, 430, 280, 2)
    expect(page.locator("#land-page")).to_be_visible()  # the click that ends dragging opens nothing
    page.mouse.move(x + 100, y + 60)
    page.mouse.wheel(0, -300)
    expect_at(page, 455, 295, 4)  # the point under the pointer, 480, 310, stays there
    page.mouse.dblclick(x, y)
    expect_at(page, 455, 295, 8)
    page.locator("#land-view").press("ArrowRight")
    expect_at(page, 465, 295, 8)
    page.locator("#land-view").press("-")
    expect_at(page, 465, 295, 16 / 3)
    page.reload()
    expect(page.locator("#land-place")).to_contain_text(shares(465, 295)[0])
    page.locator("#land-view").press("+")
    expect_at(page, 465, 295, 8)
    page.locator("#land-view").press("Home")
    wait_until(page, lambda: where(page)[:2] == (WIDTH / 2, HEIGHT / 2), "the whole land")


def test_two_fingers_zoom_and_one_moves(open_atlas: Open, land_atlas: Path) -> None:
    """When two fingers spread to twice their distance, the zoom doubles about the middle of them."""
    page = open_atlas(land_atlas, hash="#land=400,300,1", has_touch=True, viewport={"width": 360, "height": 740})
    expect(page.locator("#land-place")).to_contain_text(shares(400, 300)[0])
    x, y = middle(page)
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        fingers = [{"x": x + dx, "y": y + dy, "id": i} for i, (dx, dy) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    touch("touchStart", (-20, 0), (20, 0))
    for far in (25, 30, 35, 40):
        touch("touchMove", (-far, 0), (far, 0))
    touch("touchEnd")
    expect_at(page, 400, 300, 2)
    touch("touchStart", (0, 0))
    for far in (10, 30, 50):
        touch("touchMove", (0, -far))
    touch("touchEnd")
    expect_at(page, 400, 325, 2)
    assert_no_sideways_scroll(page)


POINTS = [(64, 64), (100, 90), (333, 222), (0, 0), (895, 639), (700.5, 600), (128, 320), (860, 560)]


def test_a_point_is_told_with_the_shares_of_its_neurons(visit_atlas: Open, land_atlas: Path) -> None:
    """Shares are bilinear between the four nearest places, also at the edges and where the last row is not full."""
    page = visit_atlas(land_atlas, "#land")

    for x, y in POINTS:
        go(page, f"{x},{y},3")
        expect(page.locator("#land-place > span:not(.faint)")).to_have_text(shares(x, y))
    go(page, f"{WIDTH / 2},{HEIGHT / 2},1")
    x, y = middle(page)
    page.mouse.move(x + 70, y - 30)
    told = shares(WIDTH / 2 + 70, HEIGHT / 2 - 30)
    expect(page.locator("#land-place > span:not(.faint)")).to_have_text(told)


def test_a_click_opens_a_neuron_or_a_strip(visit_atlas: Open, land_atlas: Path) -> None:
    """The inner part of a place is its neuron; between two neurons is their strip, or a way to fly if there is none."""
    page = visit_atlas(land_atlas, "#land=320,64,2")  # on the place of channel 2
    expect(page.locator("#land-place")).to_contain_text(f"{LAYER}:2 100 %")

    page.locator("#land-view").click()
    expect(page.locator("#neuron-title")).to_have_text(f"{LAYER}:2")
    expect(page.locator("#neuron-numbers")).to_contain_text("row 1 of 5, column 3 of 7")
    page.locator("#neuron-to-land").click()
    expect(page.locator("#land-place")).to_contain_text(f"{LAYER}:2 100 %")
    go(page, "384,64,2")
    expect(page.locator("#land-place")).to_contain_text(f"{LAYER}:3 50 %")
    page.locator("#land-view").click()
    expect(page.locator("#pair-title")).to_have_text(f"{LAYER}:2{LAYER}:3")
    page.get_by_role("link", name="Flight over the land").click()
    expect(page.locator("#flight-words")).to_contain_text("The strip of this pair was optimised for these two neurons")
    go(page, "64,128,2")
    expect(page.locator("#land-place")).to_contain_text(f"{LAYER}:7 50 %")
    page.locator("#land-view").click()
    expect(page.locator("#land-said")).to_contain_text(f"This atlas has no strip between {LAYER}:0 and {LAYER}:7.")
    page.locator("#land-said a").click()
    expect(page.locator("#flight-words")).to_contain_text("This atlas has no strip of this pair.")


def test_a_search_flies_to_a_neuron(visit_atlas: Open, land_atlas: Path) -> None:
    """A channel alone is enough; what is not on the land is told."""
    page = visit_atlas(land_atlas, "#land")

    page.get_by_label("Go to").fill("17")
    page.get_by_label("Go to").press("Enter")
    expect(page.locator("#land-place")).to_contain_text(f"{LAYER}:17 100 %")
    wait_until(page, lambda: where(page)[:2] == (3.5 * CELL, 2.5 * CELL), "the place of :17")
    page.get_by_label("Go to").fill(f"{LAYERS[1]}:17")
    page.get_by_label("Go to").press("Enter")
    expect(page.locator("#land-said")).to_have_text(
        f"{LAYERS[1]}:17 is not on this land: expected a channel of {LAYER}."
    )


def test_every_neuron_is_reached_by_keys_and_announced(open_atlas: Open, tmp_path: Path) -> None:
    """Shift and arrow keys go from place to place, row by row, also to the last row; Enter opens."""
    land = make_land(8, 3, 24)
    publish_land(tmp_path, land, name="small")
    page = open_atlas(tmp_path, hash="#land=0", reduced_motion="reduce")
    told, view = page.locator("#land-place"), page.locator("#land-view")
    expect(told).to_have_attribute("role", "status")

    for number in (0, 1, 2, 5, 4, 3, 6, 7):
        expect(told).to_contain_text(f"stem:{number} 100 %")
        row, column = land.place_of(number)
        forth, last = (("Right", 2), ("Left", 0))[row % 2]
        view.press("Shift+ArrowDown" if column == last else f"Shift+Arrow{forth}")
    view.press("Enter")
    expect(page.locator("#neuron-title")).to_have_text("stem:7")
    expect(page.locator("#neuron-state")).to_have_text("This atlas has no pair of stem:7.")


def test_scores_and_strips_are_laid_over_the_land(open_atlas: Open, serve: Serve, land_atlas: Path) -> None:
    """A score colours the places, with its least and greatest value in words; strips are lines from place to place."""
    page = open_atlas(land_atlas, at=serve(land_atlas), hash="#land=192,64,2")
    expect(page.locator("#land-place")).to_contain_text(f"{LAYER}:1 100 %")
    wait_until(page, lambda: picture(page).std() > 20, "the land")
    plain = picture(page)

    page.locator("#land-score").select_option("dead")
    expect(page.locator("#land-legend")).to_contain_text("1 of 33 neurons")
    wait_until(page, lambda: not np.array_equal(picture(page), plain), "colours")
    y, x = (side // 2 for side in plain.shape[:2])
    red, green, blue = picture(page)[y + 30, x + 30].astype(int)
    assert red - max(green, blue) > 60
    page.locator("#land-score").select_option("strips")
    expect(page.locator("#land-legend")).to_contain_text("number of pairs of this atlas")
    page.locator("#land-score").select_option("")
    expect(page.locator("#land-legend")).to_be_hidden()
    wait_until(page, lambda: np.array_equal(picture(page), plain), "the land alone")
    page.locator("#land-lines").check()
    wait_until(page, lambda: not np.array_equal(picture(page), plain), "lines")
    changed = (picture(page) != plain).any(axis=2)
    assert changed[y, x + 20 : x + 230].all()  # the strip from 1 to 2
    assert not changed[y - 100 : y - 20, x - 200 : x - 20].any()


def test_a_flight_plays_beside_the_strip_of_its_pair(visit_atlas: Open, land_atlas: Path) -> None:
    """A window moves straight from place to place, by playing and by scrubbing; a permalink leads there."""
    page = visit_atlas(land_atlas, "#land")
    page.get_by_label("Speed").select_option("4")
    unfold(page, "#flights")
    page.locator("#flight-from").fill(str(HUB))
    page.locator("#flight-to").fill("6")
    page.get_by_role("button", name="Fly", exact=True).click()

    expect(page.locator("#land-place")).to_contain_text(f"{LAYER}:6 100 %")
    expect(page.locator("#flight-place")).to_have_text("5.0 of 5.0 cells")
    expect(page.locator("#flight-play")).to_have_text("Play")
    expect(page.locator("#flight-words")).to_contain_text("It passes over :2, :3, :4, :5.")
    expect(page.locator("#flight-words a")).to_have_attribute("href", f"#pair={walk_record(1, 6, 0).key}")
    expect(page.locator("#flight-beside")).to_be_visible()
    page.reload()
    expect(page.locator("#flight-place")).to_have_text("0.0 of 5.0 cells")
    expect(page.locator("#land-place")).to_contain_text(f"{LAYER}:1 100 %")
    page.locator("#flight-scrubber").fill("60")  # two and a half cells
    expect(page.locator("#land-place > span:not(.faint)")).to_have_text(shares(4 * CELL, CELL / 2))
    expect(page.locator("#flight-scrubber")).to_have_attribute("aria-valuetext", ":3 50 %, :4 50 %")
    page.locator("#land-view").press("ArrowDown")  # the reader leaves the way
    expect(page.locator("#flight")).to_be_hidden()
    wait_until(page, lambda: where(page), "the address of a point")


def test_less_motion_is_no_flying(visit_atlas: Open, land_atlas: Path) -> None:
    """For a reader who asked for less motion, a flight shows its end at once, and scrubbing still works."""
    page = visit_atlas(land_atlas, f"#land={LAYER}:1..6", reduced_motion="reduce")

    page.locator("#flight-play").click()
    assert page.locator("#flight-place").text_content() == "5.0 of 5.0 cells"
    page.locator("#flight-scrubber").fill("24")
    assert page.locator("#flight-place").text_content() == "1.0 of 5.0 cells"


WRONG = {
    "nonsense": "nonsense is not on this land: expected a neuron, two neurons as A..B, or a point and a zoom as x,y,z",
    "1,2": "1,2 is not on this land",
    "99": "99 is not on this land",
    f"{LAYER}:1..99": "99 is not on this land",
    "1..2..3": "1..2..3 is not on this land",
    f"{LAYER}:4..4": "Both are the same neuron",
}


def test_a_mistyped_address_ends_in_a_sentence(visit_atlas: Open, land_atlas: Path, walk_atlas: Path) -> None:
    """The page says what it expected and shows the whole land; an atlas without a land says so and has no link."""
    page = visit_atlas(land_atlas, "#land")
    for value, words in WRONG.items():
        go(page, value)
        expect(page.locator("#land-said")).to_contain_text(words)
        expect(page.locator("#flight")).to_be_hidden()
    without = visit_atlas(walk_atlas, "#land")
    expect(without.locator("#land-state")).to_contain_text("This atlas has no land.")
    expect(without.get_by_role("link", name="Land", exact=True)).to_have_count(0)
    expect(without.locator("#land-stage")).to_be_hidden()


def test_a_tile_that_is_missing_is_named(open_atlas: Open, land_atlas: Path, tmp_path: Path) -> None:
    """The land stays usable, with the coarser picture in the tile's place."""
    shutil.copytree(land_atlas, tmp_path, dirs_exist_ok=True)
    land = read_manifest(DirectoryStore(tmp_path)).land
    assert land is not None
    (tmp_path / land.tiles / "1/0_0.webp").unlink()
    page = open_atlas(tmp_path, hash="#land=300,300,1", may_fail=True)

    expect(page.locator("#land-lost")).to_contain_text(f"{land.tiles}1/0_0.webp could not be read")
    expect(page.locator("#land-place")).to_contain_text(shares(300, 300)[0])


def test_a_land_alone_is_the_first_page_whatever_its_layer(open_atlas: Open, tmp_path: Path) -> None:
    """Without pairs the gallery opens on the land. Names are text, and links to neurons and flights work."""
    layer = '</script><img/src=x/onerror=alert(1)>שלום"\u202eover\n1,2,3..%2E' + "w" * 150
    publish_land(tmp_path, make_land(11, 4, 64, layer=layer), name=layer)
    page = open_atlas(tmp_path, viewport={"width": 360, "height": 740})

    expect(page.locator("#land-title")).to_have_text(f"Land of {layer}", use_inner_text=False)
    expect(page.locator("#land-place")).to_contain_text(":6", use_inner_text=False)
    expect(page.locator("#bar nav a:visible")).to_have_text(["Land", "About"])
    assert_no_sideways_scroll(page)
    page.get_by_label("Go to").fill("5")
    page.get_by_label("Go to").press("Enter")
    wait_until(page, lambda: where(page)[:2] == (96, 96), "the place of :5")
    page.locator("#land-view").press("Enter")
    wait_until(page, lambda: page.locator("#neuron-title").text_content() == f"{layer}:5", "the neuron's page")
    page.locator("#neuron-to-land").click()
    unfold(page, "#flights")
    page.locator("#flight-from").fill("1")
    page.locator("#flight-to").fill("3")
    page.get_by_role("button", name="Fly", exact=True).click()
    page.reload()
    expect(page.locator("#flight-place")).to_have_text("0.0 of 2.0 cells")
    assert_no_sideways_scroll(page)
    assert page.evaluate("document.querySelectorAll('img[src=x], script:not([src])').length") == 0
