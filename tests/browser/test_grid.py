"""The grid of strips: what tiles show, how they play and scrub, and a virtual list of thousands of pairs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sample_atlases import DEAD_ROW, FAILED_REASON, FAILED_ROW, FRAMES, PAIRS, SIZE_PX, make_record, publish
from screen import (
    assert_no_sideways_scroll,
    assert_plays,
    expect_frame,
    expect_motion,
    expect_motions,
    keys_shown,
    point_at_frame,
    wait_until,
    wake,
)

Open = Callable[..., Page]  # the fixture `open_atlas`
TILES = "#view=tile"  # tiles of one frame; by default they show the whole strip


@pytest.fixture(scope="module")
def large_atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published atlas of 12,000 failed pairs, which need no pictures. Tests must not change it."""
    root = tmp_path_factory.mktemp("large")
    failed = make_record(FAILED_ROW)
    publish(root, [failed.model_copy(update={"a": f"stem:{row}", "key": f"{row:020x}"}) for row in range(12_000)])
    return root


# ---- what the page shows


def test_every_tile_has_its_names_numbers_and_picture(visit_atlas: Open, atlas: Path) -> None:
    """A tile shows both neurons, the activations of the ends, the smoothness and a preview of the size of its strip."""
    page = visit_atlas(atlas, viewport={"width": 1280, "height": 2400})

    expect(page.locator(".tile")).to_have_count(PAIRS)
    tile = page.locator(".tile").first
    expect(tile.locator(".names")).to_have_text("block9_expand_pre_relu:0block12_depthwise:64")
    expect(tile.locator(".numbers")).to_contain_text("4.40 → activation of b on the last frame: 4.40")
    expect(tile.locator(".numbers")).to_contain_text("Δ 0.00200")
    expect(page.locator("h1")).to_have_text("first-light")
    expect(page.locator("#count")).to_have_text("30 of 30 pairs")

    sizes = "[...document.querySelectorAll('#grid img')].map((one) => [one.naturalWidth, one.naturalHeight])"
    wanted = (PAIRS - 1) * [[FRAMES * SIZE_PX, SIZE_PX]]
    wait_until(page, lambda: page.evaluate(sizes) == wanted, "the pictures of all finished pairs")


def test_a_failed_pair_shows_its_reason_and_no_broken_image(visit_atlas: Open, atlas: Path) -> None:
    """The tile of a failed pair has the reason in place of the picture."""
    page = visit_atlas(atlas, "#status=failed&view=tile")
    tile = page.locator(".tile")

    expect(tile).to_contain_text(FAILED_REASON)
    expect(tile.locator("img")).to_have_count(0)
    box = tile.locator(".window").bounding_box()
    assert box is not None
    assert box["width"] == box["height"]


def test_a_neuron_that_is_not_excited_is_marked(visit_atlas: Open, atlas: Path) -> None:
    """Its name has the mark, and the picture has words for it; a tile without room for names has a sign."""
    page = visit_atlas(atlas, "#ends=dead")
    dead = make_record(DEAD_ROW)

    expect(page.locator(".tile .names")).to_have_text(f"{dead.a}{dead.b} not excited")
    expect(page.locator(".tile .dead")).to_have_attribute("title", re.compile("more than noise does"))
    expect(page.get_by_role("slider", name=f"{dead.a} to {dead.b}, b not excited")).to_be_visible()
    sign = page.locator(".tile .sign")
    expect(sign).to_be_hidden()
    page.get_by_label("Columns").fill("12")
    expect(page.locator(".tile .names")).to_be_hidden()
    expect(sign).to_have_text("∅")
    expect(sign).to_have_attribute("title", re.compile("^b not excited: nothing .* more than noise does$"))


def test_a_missing_data_shard_is_reported_and_the_rest_is_shown(
    open_atlas: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page names the file that it could not read, and shows the other parts' pairs with their own records."""
    monkeypatch.setattr("core.gallery.index.FIRST_ROWS", 2)
    monkeypatch.setattr("core.gallery.index.KEY_ROWS", 4)
    monkeypatch.setattr("core.gallery.index.DETAIL_ROWS", 2)
    monkeypatch.setattr("core.gallery.publish.DETAIL_ROWS", 2)
    failed = make_record(FAILED_ROW)
    records = [failed.model_copy(update={"a": f"stem:{row}", "key": f"{row:020x}"}) for row in range(6)]
    lost = next(file.path for file in publish(tmp_path, records).shards if file.path.startswith("data/key-00000"))
    (tmp_path / lost).unlink()
    page = open_atlas(tmp_path, may_fail=True, hash="#columns=2", viewport={"width": 800, "height": 2000})

    expect(page.get_by_role("alert")).to_contain_text(f"{lost} could not be read, so pairs are missing here.")
    expect(page.locator("#grid .tile")).to_have_count(6)
    expect(page.locator("#grid .names")).to_have_count(4)
    assert keys_shown(page) == [f"{row:020x}" for row in (0, 1)] + [None, None] + [f"{row:020x}" for row in (4, 5)]
    page.locator(".player").last.click()
    expect(page.locator("#facts")).to_contain_text(f"{5:020x}")


def test_a_page_without_any_data_is_an_error_and_not_an_empty_atlas(open_atlas: Open, tmp_path: Path) -> None:
    """If no shard can be read, the page does not say that there are no pairs."""
    index = publish(tmp_path, [make_record(FAILED_ROW)]).index
    assert index is not None
    (tmp_path / index.path).unlink()
    page = open_atlas(tmp_path, may_fail=True)

    expect(page.get_by_role("alert")).to_contain_text("could not be read")
    expect(page.locator("#state")).to_be_hidden()


def test_a_missing_picture_is_named(open_atlas: Open, tmp_path: Path) -> None:
    """A tile whose preview is missing names the file instead of showing a broken image."""
    publish(tmp_path, [make_record(0)])
    page = open_atlas(tmp_path, may_fail=True)

    expect(page.locator(".tile")).to_contain_text("No picture at previews/")
    expect(page.locator(".tile img")).to_have_count(0)


def test_without_javascript_the_page_says_where_the_strips_are(open_atlas: Open, atlas: Path) -> None:
    """Without scripts the page names the files of the strips, records and settings, and does not seem to load."""
    page = open_atlas(atlas, java_script_enabled=False)

    expect(page.locator("noscript p")).to_be_visible()
    assert "the strips are in the folder sheets" in page.content()
    expect(page.get_by_text("Loading the pairs")).to_be_hidden()
    assert "manifest.json has the settings" in page.content()
    expect(page.get_by_role("button", name="Play all")).to_be_hidden()


# ---- playing


def test_the_tile_at_the_pointer_or_with_the_focus_plays_its_strip(visit_atlas: Open, atlas: Path) -> None:
    """It plays through whole frames until pointer or focus leave it; the strip beside it does not move."""
    page = visit_atlas(atlas, TILES)
    page.locator("#grid .window").nth(0).hover()

    expect_motion(page.locator(".strip").nth(0), "strip")
    expect_motion(page.locator(".strip").nth(1), "none")
    assert_plays(page.locator(".strip").nth(0))
    page.mouse.move(2, 2)
    expect_motion(page.locator(".strip").nth(0), "none")

    page.get_by_role("button", name="CSV").focus()
    page.keyboard.press("Tab")

    expect(page.get_by_role("slider", name="block9_expand_pre_relu:0 to block12_depthwise:64")).to_be_focused()
    assert_plays(page.locator(".strip").first)
    page.keyboard.press("Shift+Tab")
    expect_motion(page.locator(".strip").first, "none")


def test_tiles_rest_on_their_middle_frames_until_play_all_moves_them(visit_atlas: Open, atlas: Path) -> None:
    """The button plays all tiles at once, at the chosen speed, and then pauses them."""
    page = visit_atlas(atlas, TILES)
    wake(page)
    expect_frame(page.locator(".strip").first, 3)
    expect(page.locator("#grid .player").first).to_have_attribute("aria-valuetext", "frame 3 of 6")
    page.get_by_role("button", name="Play all").click()

    expect_motions(page, "strip")
    assert_plays(page.locator(".strip").nth(3))
    page.get_by_label("Speed").select_option("2")
    expect(page.locator(".strip").nth(3)).to_have_css("animation-duration", "0.6s")
    page.get_by_role("button", name="Pause all").click()
    expect_motions(page, "none")


def test_a_reader_who_wants_less_motion_sees_none_unless_asked_for(visit_atlas: Open, atlas: Path) -> None:
    """With prefers-reduced-motion, pointing and focusing play nothing; scrubbing and the play button still work."""
    page = visit_atlas(atlas, TILES, reduced_motion="reduce")
    page.locator("#grid .window").first.hover()
    page.locator("#grid .player").first.focus()

    assert page.evaluate("document.getAnimations().length") == 0
    point_at_frame(page, 4)
    expect_frame(page.locator(".strip").first, 4)
    page.get_by_role("button", name="Play all").click()
    expect_motion(page.locator(".strip").nth(3), "strip")


# ---- scrubbing


def test_the_pointer_scrubs_on_the_bar_and_by_dragging_and_keys_scrub_too(visit_atlas: Open, atlas: Path) -> None:
    """Each position on the bar shows and names its frame at once; the tile plays again after the pointer has left.

    A drag across the picture follows the pointer, also beyond the edge, and does not open the pair. Left, right, Home
    and End change the frame of a focused tile and stop at the ends of its strip.
    """
    page = visit_atlas(atlas, TILES)
    player = page.locator("#grid .player").first

    for frame in (1, 4, 6, 2):
        point_at_frame(page, frame)
        expect_frame(page.locator(".strip").first, frame)
        expect(player).to_have_attribute("aria-valuenow", str(frame))
        expect(player).to_have_attribute("aria-valuetext", f"frame {frame} of 6")
    page.mouse.move(2, 2)
    page.locator("#grid .window").first.hover()
    expect_motion(page.locator(".strip").first, "strip")

    box = page.locator("#grid .window").first.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 10, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 5, middle, steps=4)

    expect_frame(page.locator(".strip").first, 4)
    page.mouse.move(box["x"] + box["width"] + 3, middle, steps=4)
    expect_frame(page.locator(".strip").first, 6)
    page.mouse.up()
    expect(page.locator("#pair-page")).to_be_hidden()

    player.focus()
    for key, frame in (
        ("Home", 1),
        ("ArrowLeft", 1),
        ("ArrowRight", 2),
        ("ArrowRight", 3),
        ("End", 6),
        ("ArrowRight", 6),
    ):
        page.keyboard.press(key)
        expect_frame(page.locator(".strip").first, frame)
        expect(player).to_have_attribute("aria-valuetext", f"frame {frame} of 6")


def test_pressing_the_bar_shows_the_frame_and_does_not_open_it(open_atlas: Open, atlas: Path) -> None:
    """A click or a tap on the bar chooses a frame."""
    page = open_atlas(atlas, hash=TILES, has_touch=True)
    point_at_frame(page, 5)
    page.mouse.down()
    page.mouse.up()

    expect_frame(page.locator(".strip").first, 5)
    page.locator(".rail").nth(1).tap(position={"x": 120, "y": 6})
    expect(page.locator("#grid .player").nth(1)).to_have_attribute("aria-valuenow", "4")
    expect(page.locator("#pair-page")).to_be_hidden()


# ---- moving about


def test_the_keyboard_moves_from_tile_to_tile(visit_atlas: Open, atlas: Path) -> None:
    """Up and down move by rows, Shift with left and right by tiles; Tab reaches only one tile at a time."""
    page = visit_atlas(atlas, TILES)
    page.locator("#grid .player").first.focus()

    for key, place in (
        ("Shift+ArrowRight", 1),
        ("ArrowDown", 5),
        ("ArrowUp", 1),
        ("ArrowUp", 1),
        ("Control+End", 29),
        ("Shift+ArrowRight", 29),
        ("Shift+ArrowLeft", 28),
        ("Control+Home", 0),
    ):
        page.keyboard.press(key)
        expect(page.locator(f"#grid [data-place='{place}'] .player")).to_be_focused()
        expect(page.locator("#grid .player[tabindex='0']")).to_have_count(1)


def test_thousands_of_pairs_are_a_few_rows(visit_atlas: Open, large_atlas: Path) -> None:
    """Only rows near the screen exist; the grid gives assistive technology the number of all rows."""
    page = visit_atlas(large_atlas, TILES)
    grid = page.get_by_role("grid")

    expect(page.locator("#count")).to_have_text("12,000 of 12,000 pairs")
    expect(grid).to_have_attribute("aria-rowcount", "3000")
    assert page.locator("#grid .tile").count() <= 60
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight / 2)")
    expect(page.locator("#grid .tile[data-place='0']")).to_have_count(0)
    assert page.locator("#grid .tile").count() <= 60
    rows = page.locator("#grid .row").evaluate_all("all => all.map(one => Number(one.getAttribute('aria-rowindex')))")
    assert rows == sorted(rows)
    assert 1450 < rows[0] < 1550
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    expect(page.locator(f"#grid .tile[data-key='{11_999:020x}']")).to_be_in_viewport()


def test_the_focused_tile_stays_when_its_row_leaves_the_screen(visit_atlas: Open, large_atlas: Path) -> None:
    """Scrolling away does not move the focus, and the next arrow key leads back to it."""
    page = visit_atlas(large_atlas, TILES)
    page.locator("#grid .player").nth(2).focus()
    page.evaluate("scrollTo(0, 20_000)")

    expect(page.locator("#grid .tile[data-place='40']")).to_have_count(0)
    expect(page.locator("#grid .tile[data-place='2'] .player")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#grid .tile[data-place='6'] .player")).to_be_focused()
    expect(page.locator("#grid .tile[data-place='6']")).to_be_in_viewport()


def test_a_list_longer_than_browsers_can_draw_is_scrolled_to_its_end(visit_atlas: Open, large_atlas: Path) -> None:
    """In one column, small steps scroll by their pixels and jumps by their share of the list; every tile is reached."""
    page = visit_atlas(large_atlas, "#view=tile&columns=1", viewport={"width": 1280, "height": 1000})
    expect(page.locator("#count")).to_have_text("12,000 of 12,000 pairs")
    list_height = page.evaluate("document.querySelector('#grid').offsetHeight")
    row_height = (
        page.locator("#grid .row").nth(1).bounding_box()["y"] - page.locator("#grid .row").first.bounding_box()["y"]
    )  # type: ignore[index]
    assert list_height < 17e6 / 2 < 12_000 * row_height

    page.evaluate("scrollTo(0, document.documentElement.scrollHeight / 2)")
    middle = page.locator("#grid .tile").nth(1)
    expect(middle).to_have_attribute("data-place", re.compile("^(59|60)..$"))
    place = middle.get_attribute("data-place")
    before = page.locator(f"[data-place='{place}']").bounding_box()
    scrolled = page.evaluate("scrollY")
    page.mouse.move(600, 500)
    page.mouse.wheel(0, 200)
    # When the list rests, the scrollbar is moved to match it.
    moved = 200 * (list_height - 1000) / (12_000 * row_height - 1000)
    page.wait_for_function("([from, by]) => Math.abs(scrollY - from - by) <= 2", arg=[scrolled, moved])
    after = page.locator(f"[data-place='{place}']").bounding_box()
    assert before is not None
    assert after is not None
    assert before["y"] - after["y"] == pytest.approx(200, abs=3)

    # The list rests when its scrollbar stays where it is; a jump before that is taken back.
    rests = "() => { const rests = window.before === scrollY; window.before = scrollY; return rests; }"
    page.wait_for_function(rests, polling=500)
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    expect(page.locator("[data-place='11999']")).to_be_in_viewport()
    page.locator("[data-place='11999'] .player").focus()
    page.keyboard.press("Shift+ArrowLeft")
    expect(page.locator("[data-place='11998'] .player")).to_be_focused()
    page.keyboard.press("Control+Home")
    expect(page.locator("[data-place='0']")).to_be_in_viewport()


def test_tab_reaches_what_is_on_the_screen(visit_atlas: Open, large_atlas: Path) -> None:
    """After scrolling far away, Tab enters the grid at a tile on the screen."""
    page = visit_atlas(large_atlas, TILES)
    wake(page)
    page.evaluate("scrollTo(0, 50_000)")
    expect(page.locator("#grid .tile[data-place='0']")).to_have_count(0)
    page.get_by_role("button", name="CSV").focus()
    page.keyboard.press("Tab")

    expect(page.locator("#grid .player:focus")).to_be_in_viewport()


def test_the_reader_chooses_the_number_of_columns(visit_atlas: Open, atlas: Path) -> None:
    """With one column to sixteen, tiles are whole pixels wide and side by side, and the address keeps the choice."""
    page = visit_atlas(atlas, TILES)

    for columns in (1, 3, 16):
        page.get_by_label("Columns").fill(str(columns))
        boxes = page.locator("#grid .window").evaluate_all(
            "all => all.map(one => [one.getBoundingClientRect().top, one.getBoundingClientRect().width])"
        )
        tops = [top for top, _ in boxes]
        [width] = {width for _, width in boxes}
        assert width == round(width)
        assert len(set(tops[:columns])) == 1
        assert tops[columns] > tops[0]
        expect(page).to_have_url(re.compile(f"#view=tile&columns={columns}$"))
    page.reload()
    expect(page.locator("#grid")).to_have_attribute("aria-colcount", "16")


def test_the_grid_fits_every_screen(visit_atlas: Open, atlas: Path) -> None:
    """On a telephone as on a wall of screens, the grid has two columns or more and is no wider than the screen."""
    page = visit_atlas(atlas, TILES, viewport={"width": 360, "height": 800})

    for width, columns in ((360, 2), (820, 4), (3840, 16)):
        page.set_viewport_size({"width": width, "height": 800})
        expect(page.locator("#grid")).to_have_attribute("aria-colcount", str(columns))
        assert_no_sideways_scroll(page)


def test_a_mark_leaves_room_for_the_layer(visit_atlas: Open, atlas: Path) -> None:
    """In narrow captions a sign stands for the words of a mark, so that the layer can be told and nothing overlaps."""
    page = visit_atlas(atlas, "#ends=dead", viewport={"width": 360, "height": 740})
    for choices, width in (("view=list", 360), ("view=tile", 360), ("columns=2", 1010)):
        page.set_viewport_size({"width": width, "height": 740})
        page.evaluate("choices => { location.hash = `#ends=dead&${choices}` }", choices)
        expect(page.locator("#grid .dead").first).to_be_visible()
        page.wait_for_function(
            """() => {
                const layers = [...document.querySelectorAll("#grid .layer")].filter((one) => one.offsetParent);
                const right = (one) => document.querySelector(`#grid ${one}`).getBoundingClientRect().right;
                const isTold = layers.length && layers.every((one) => one.offsetWidth >= 24);
                return isTold && right(".dead") <= right(".names");
            }"""
        )
