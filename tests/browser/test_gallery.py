"""The gallery in a real browser, opened from a folder and used as a reader would."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from core.gallery import index_shard, pages
from core.records import Checkpoint, Record, preview_path, sheet_path

Open = Callable[..., Page]  # the fixture `open_atlas`

FRAMES = 6
SIZE_PX = 128
PAIRS = 30
FAILED_ROW = 7
FAILED_REASON = "the objective was not finite at step 41; the last finite value was 3.25"
LAYERS = ("block9_expand_pre_relu", "block12_depthwise")
SETTINGS: dict[str, Any] = {
    "frames": FRAMES,
    "size_px": SIZE_PX,
    "steps": 512,
    "alignment": {"layers": ["block5", "block7"], "weight": 0.1, "decay": 5},
    "key_frames": "symmetric",
}
HOSTILE_NAMES = (
    "</script><img src=x onerror=alert(1)>",
    "\"double\" 'single' `back` {{ 7 * 7 }}",
    "right\u200f-to-left \u202eoverride",
    "ta\U0001f98ail\u2028line",
    "w" * 200,
)


@pytest.fixture(scope="session")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published atlas of 30 pairs in two layers and two shards; the pair in row 7 has failed. Not to be changed."""
    root = tmp_path_factory.mktemp("atlas")
    records = [make_record(row) for row in range(PAIRS)]
    for row, record in enumerate(records):
        if record.status == "done":
            write_pictures(root, record.key, row)
    publish(root, [records[:20], records[20:]])
    return root


# ---- what the page shows


def test_every_tile_has_its_names_and_numbers(open_atlas: Open, atlas: Path) -> None:
    """A tile shows both neurons, the activations of the ends and the smoothness; the header counts the pairs."""
    page = open_atlas(atlas)

    expect(page.locator(".tile")).to_have_count(PAIRS)
    tile = page.locator(".tile").first
    expect(tile.locator(".names")).to_have_text("block9_expand_pre_relu:0block12_depthwise:64")
    expect(tile.locator(".numbers")).to_contain_text("4.40 → activation of b at the last frame: 4.40")
    expect(tile.locator(".numbers")).to_contain_text("Δ 0.00200")
    expect(page.locator("header")).to_contain_text("first-light")
    expect(page.locator("header")).to_contain_text("29 done, 1 failed")
    expect(page.locator("header")).to_contain_text("6 frames of 128 px, 512 steps")
    expect(page.locator("#count")).to_have_text("30 of 30 pairs")


def test_every_finished_pair_has_its_picture(open_atlas: Open, atlas: Path) -> None:
    """All previews that come into view load at the size of their strip."""
    page = open_atlas(atlas, viewport={"width": 1280, "height": 2400})

    expect(page.locator("img")).to_have_count(PAIRS - 1)
    for image in page.locator("img").all():
        expect(image).to_have_js_property("naturalWidth", FRAMES * SIZE_PX)
        expect(image).to_have_js_property("naturalHeight", SIZE_PX)


def test_a_failed_pair_shows_its_reason_and_no_broken_image(open_atlas: Open, atlas: Path) -> None:
    """The tile of a failed pair says why, and so does its dialog, which offers no sheet."""
    page = open_atlas(atlas)
    tile = page.locator(".tile").nth(FAILED_ROW)

    expect(tile).to_contain_text(FAILED_REASON)
    expect(tile.locator("img")).to_have_count(0)
    tile.locator(".window").click()
    expect(page.locator("dialog")).to_contain_text(FAILED_REASON)
    expect(page.locator("dialog img")).to_have_count(0)
    expect(page.locator("dialog a")).to_have_count(1)


def test_an_atlas_without_pairs_says_so(open_atlas: Open, tmp_path: Path) -> None:
    """No record at all is a state with words of its own."""
    publish(tmp_path, [[]], settings={"d" * 64: SETTINGS})
    page = open_atlas(tmp_path)

    expect(page.locator("#state")).to_contain_text("This atlas has no pairs yet")
    expect(page.locator("#count")).to_have_text("0 of 0 pairs")


def test_a_missing_data_shard_is_reported_and_the_rest_is_shown(open_atlas: Open, tmp_path: Path) -> None:
    """The page names the file that it could not read, and shows the pairs of the others."""
    publish(tmp_path, [[make_record(FAILED_ROW)], [make_record(FAILED_ROW + 1)]])
    (tmp_path / "data/index-1.js").unlink()
    page = open_atlas(tmp_path, may_fail=True)

    expect(page.get_by_role("alert")).to_contain_text("1 of 2 data files could not be read")
    expect(page.get_by_role("alert")).to_contain_text("data/index-1.js")
    expect(page.locator(".tile")).to_have_count(1)


def test_a_page_without_any_data_is_an_error_and_not_an_empty_atlas(open_atlas: Open, tmp_path: Path) -> None:
    """When no shard can be read the page does not claim that the atlas has no pairs."""
    publish(tmp_path, [[make_record(FAILED_ROW)]])
    (tmp_path / "data/index-0.js").unlink()
    page = open_atlas(tmp_path, may_fail=True)

    expect(page.get_by_role("alert")).to_contain_text("could not be read")
    expect(page.locator("#state")).to_be_hidden()


def test_a_missing_picture_is_named(open_atlas: Open, tmp_path: Path) -> None:
    """A tile whose preview is not there names the file instead of showing a broken image."""
    publish(tmp_path, [[make_record(0)]])
    page = open_atlas(tmp_path, may_fail=True)

    expect(page.locator(".tile")).to_contain_text("No picture at previews/")
    expect(page.locator(".tile img")).to_have_count(0)


def test_without_javascript_the_page_says_where_the_strips_are(open_atlas: Open, atlas: Path) -> None:
    """A reader without scripts is sent to the files, and is not told that pairs are loading."""
    page = open_atlas(atlas, java_script_enabled=False)

    expect(page.locator("noscript p")).to_be_visible()
    assert "the strips are in the folder sheets" in page.content()
    expect(page.get_by_text("Loading the pairs")).to_be_hidden()


# ---- playing


def test_pointing_at_a_tile_plays_its_strip(open_atlas: Open, atlas: Path) -> None:
    """The strip under the pointer moves by itself through whole frames; its neighbour rests."""
    page = open_atlas(atlas)
    page.locator(".window").nth(0).hover()

    assert motion(page.locator(".strip").nth(0)) == "strip"
    assert motion(page.locator(".strip").nth(1)) == "none"
    assert frames_seen(page.locator(".strip").nth(0)) >= 3
    page.mouse.move(2, 2)
    assert motion(page.locator(".strip").nth(0)) == "none"


def test_focusing_a_tile_plays_its_strip(open_atlas: Open, atlas: Path) -> None:
    """The strip that the keyboard has reached moves by itself, and stops when the focus goes on."""
    page = open_atlas(atlas)
    page.locator("#play").focus()
    page.keyboard.press("Tab")

    expect(page.get_by_role("slider", name="block9_expand_pre_relu:0 to block12_depthwise:64")).to_be_focused()
    assert frames_seen(page.locator(".strip").first) >= 3
    page.keyboard.press("Tab")
    assert motion(page.locator(".strip").first) == "none"


def test_play_all_moves_every_strip_until_it_is_paused(open_atlas: Open, atlas: Path) -> None:
    """The button plays all tiles at once and then offers to pause them."""
    page = open_atlas(atlas)
    page.get_by_role("button", name="Play all").click()

    assert set(motions(page)) == {"strip"}
    assert frames_seen(page.locator(".strip").nth(3)) >= 3
    page.get_by_role("button", name="Pause all").click()
    assert set(motions(page)) == {"none"}


def test_a_reader_who_wants_less_motion_sees_none_unless_asked_for(open_atlas: Open, atlas: Path) -> None:
    """With prefers-reduced-motion pointing and focusing move nothing; scrubbing and the play button still work."""
    page = open_atlas(atlas, reduced_motion="reduce")
    page.locator(".window").first.hover()
    page.locator(".player").first.focus()

    assert page.evaluate("document.getAnimations().length") == 0
    point_at_frame(page, 4)
    assert frame_of(page.locator(".strip").first) == 4
    page.get_by_role("button", name="Play all").click()
    assert motion(page.locator(".strip").nth(3)) == "strip"


# ---- scrubbing


def test_moving_along_the_bar_shows_the_frame_under_the_pointer(open_atlas: Open, atlas: Path) -> None:
    """Each position on the bar shows its frame at once and says so; the tile plays again after the pointer has left."""
    page = open_atlas(atlas)
    player = page.locator(".player").first

    for frame in (1, 4, 6, 2):
        point_at_frame(page, frame)
        assert frame_of(page.locator(".strip").first) == frame
        expect(player).to_have_attribute("aria-valuenow", str(frame))
        expect(player).to_have_attribute("aria-valuetext", f"frame {frame} of 6")
    page.mouse.move(2, 2)
    page.locator(".window").first.hover()
    assert motion(page.locator(".strip").first) == "strip"


def test_dragging_across_the_picture_scrubs_and_does_not_open_it(open_atlas: Open, atlas: Path) -> None:
    """A drag follows the pointer through the frames, also beyond the edge, and is not taken for a click."""
    page = open_atlas(atlas)
    box = page.locator(".window").first.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 10, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 5, middle, steps=4)

    assert frame_of(page.locator(".strip").first) == 4
    page.mouse.move(box["x"] + box["width"] + 3, middle, steps=4)
    assert frame_of(page.locator(".strip").first) == 6
    page.mouse.up()
    expect(page.locator("dialog")).to_be_hidden()


def test_pressing_the_bar_shows_the_frame_and_does_not_open_it(open_atlas: Open, atlas: Path) -> None:
    """A click or a tap on the bar is a choice of frame."""
    page = open_atlas(atlas, has_touch=True)
    point_at_frame(page, 5)
    page.mouse.down()
    page.mouse.up()

    assert frame_of(page.locator(".strip").first) == 5
    expect(page.locator("dialog")).to_be_hidden()
    page.locator(".rail").nth(1).tap(position={"x": 100, "y": 6})
    expect(page.locator(".player").nth(1)).to_have_attribute("aria-valuenow", "4")
    expect(page.locator("dialog")).to_be_hidden()


def test_arrow_keys_change_the_frame(open_atlas: Open, atlas: Path) -> None:
    """Left and right, Home and End move a focused tile by frames and stop at its ends."""
    page = open_atlas(atlas)
    player, strip = page.locator(".player").first, page.locator(".strip").first
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
        assert frame_of(strip) == frame
        expect(player).to_have_attribute("aria-valuetext", f"frame {frame} of 6")


# ---- finding


def test_the_filter_narrows_the_tiles_and_counts_them(open_atlas: Open, atlas: Path) -> None:
    """All words must match, in any order and case; the count and the address follow."""
    page = open_atlas(atlas)
    page.get_by_role("searchbox").fill("DEPTHWISE:64 block9")

    expect(page.locator(".tile")).to_have_count(1)
    expect(page.locator("#count")).to_have_text("1 of 30 pairs")
    expect(page).to_have_url(re.compile("#filter=DEPTHWISE%3A64\\+block9$"))
    page.reload()
    expect(page.locator("#count")).to_have_text("1 of 30 pairs")
    page.get_by_role("searchbox").fill("failed")
    expect(page.locator(".tile")).to_contain_text([FAILED_REASON])


def test_a_filter_without_result_says_so_and_can_be_cleared(open_atlas: Open, atlas: Path) -> None:
    """The page repeats what was sought and offers the way back."""
    page = open_atlas(atlas)
    page.get_by_role("searchbox").fill("mixed4a:476")

    expect(page.locator("#state")).to_contain_text("No pair matches mixed4a:476")
    page.get_by_role("button", name="Clear the filter").click()
    expect(page.locator(".tile")).to_have_count(PAIRS)
    expect(page.locator("#state")).to_be_hidden()


def test_sorting_reorders_the_tiles_with_failed_pairs_last(open_atlas: Open, atlas: Path) -> None:
    """By name means by layer, then by channel as a number; by smoothness and by activation, the best come first."""
    page = open_atlas(atlas)

    def sorted_by(order: str) -> list[str]:
        page.get_by_role("combobox").select_option(order)
        return page.locator(".tile").all_text_contents()

    assert [text.strip().split("block")[1] for text in sorted_by("Name")[:3]] == [
        "9_expand_pre_relu:0",
        "9_expand_pre_relu:34",
        "9_expand_pre_relu:68",
    ]
    assert "0.00200" in sorted_by("Smoothest first")[0]
    assert "block12_depthwise:13" in sorted_by("Most active ends first")[0]
    assert FAILED_REASON in sorted_by("Smoothest first")[-1]
    expect(page).to_have_url(re.compile("#sort=smoothness$"))


def test_tiles_are_made_as_the_reader_scrolls(open_atlas: Open, tmp_path: Path) -> None:
    """Thousands of pairs do not make thousands of tiles at once, and all can be reached."""
    many = [make_record(FAILED_ROW, key=f"{row:020x}") for row in range(5000)]
    publish(tmp_path, [many])
    page = open_atlas(tmp_path)

    expect(page.locator("#count")).to_have_text("5,000 of 5,000 pairs")
    at_first = page.locator(".tile").count()
    page.mouse.wheel(0, 100_000)
    expect(page.locator(".tile")).not_to_have_count(at_first)
    assert 20 < at_first <= 300


def test_the_size_control_changes_the_tiles(open_atlas: Open, atlas: Path) -> None:
    """The largest size makes tiles of 384 px, in whole pixels."""
    page = open_atlas(atlas)
    page.get_by_label("Size").press("End")

    box = page.locator(".window").first.bounding_box()
    assert box is not None
    assert (box["width"], box["height"]) == (384, 384)


# ---- one pair


def test_a_click_opens_the_whole_strip_and_escape_returns(open_atlas: Open, atlas: Path) -> None:
    """The dialog has every frame of the lossless sheet and its files; closing gives the focus and the address back."""
    page = open_atlas(atlas)
    page.locator(".player").first.focus()
    page.keyboard.press("Enter")

    key = make_record(0).key
    expect(page.locator("dialog img")).to_have_count(FRAMES)
    expect(page.locator("dialog img").first).to_have_js_property("naturalWidth", FRAMES * SIZE_PX)
    expect(page.locator("dialog")).to_contain_text(key)
    hrefs = [link.get_attribute("href") for link in page.locator("dialog a").all()]
    assert hrefs == [f"sheets/{key[:2]}/{key}.png", f"previews/{key[:2]}/{key}.webp", f"#pair={key}"]
    assert page.evaluate("location.hash") == f"#pair={key}"
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()
    expect(page.locator(".player").first).to_be_focused()
    expect(page).to_have_url(re.compile("index.html$"))


def test_earlier_checkpoints_are_shown_under_the_frames(open_atlas: Open, tmp_path: Path) -> None:
    """A pair that kept its strip after 32 and 64 updates shows both, whole, each with its number of updates."""
    steps = [Checkpoint(step=step, objective=step / 100) for step in (32, 64, 512)]
    record = make_record(0, checkpoints=steps)
    for place, name in enumerate((record.key, f"{record.key}-32", f"{record.key}-64")):
        write_pictures(tmp_path, record.key, place)
        (tmp_path / sheet_path(record.key)).rename(tmp_path / "made.png")
        (tmp_path / "made.png").rename((tmp_path / sheet_path(record.key)).with_name(f"{name}.png"))
    write_pictures(tmp_path, record.key, 0)
    publish(tmp_path, [[record]])
    page = open_atlas(tmp_path)

    page.locator(".names").first.click()

    expect(page.locator("#checkpoints figcaption")).to_have_text(["after 32 updates", "after 64 updates"])
    for strip in page.locator("#checkpoints img").all():
        expect(strip).to_have_js_property("naturalWidth", FRAMES * SIZE_PX)
        box = strip.bounding_box()
        assert box is not None
        assert box["width"] / box["height"] == pytest.approx(FRAMES, rel=0.02)


def test_a_click_on_picture_or_name_opens_the_pair(open_atlas: Open, atlas: Path) -> None:
    """Both the picture and the names lead to the dialog, and its button closes it."""
    page = open_atlas(atlas)

    for part in (".window", ".names"):
        page.locator(part).nth(1).click()
        expect(page.get_by_role("dialog")).to_contain_text("block12_depthwise:17")
        page.get_by_role("button", name="Close").click()
        expect(page.locator("dialog")).to_be_hidden()


def test_each_frame_in_the_dialog_is_its_part_of_the_sheet(open_atlas: Open, tmp_path: Path) -> None:
    """Frame i of the dialog shows the i-th square of the sheet and nothing of its neighbours."""
    record = make_record(0)
    write_pictures(tmp_path, record.key, 0)
    colours = [(40 * frame, 255 - 40 * frame, 90) for frame in range(FRAMES)]
    sheet = Image.new("RGB", (FRAMES * 128, 128))
    for frame, colour in enumerate(colours):
        sheet.paste(colour, (frame * 128, 0, (frame + 1) * 128, 128))
    sheet.save(tmp_path / f"sheets/{record.key[:2]}/{record.key}.png")
    publish(tmp_path, [[record]])
    page = open_atlas(tmp_path, hash=f"#pair={record.key}")
    for image in page.locator("dialog img").all():
        expect(image).to_have_js_property("naturalWidth", FRAMES * SIZE_PX)

    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for frame, colour in enumerate(colours):
        box = page.locator("dialog img").nth(frame).bounding_box()
        assert box is not None
        for part in (0.02, 0.5, 0.98):
            seen = shot.getpixel((int(box["x"] + part * box["width"]), int(box["y"] + box["height"] / 2)))
            assert isinstance(seen, tuple)
            assert all(abs(one - other) <= 3 for one, other in zip(seen, colour, strict=True))


def test_a_permalink_opens_its_pair(open_atlas: Open, atlas: Path) -> None:
    """An address with a key opens that pair; after Escape the focus is on its tile."""
    key = make_record(3).key
    page = open_atlas(atlas, hash=f"#pair={key}")

    expect(page.locator("dialog")).to_contain_text(key)
    page.keyboard.press("Escape")
    expect(page.locator(".player").nth(3)).to_be_focused()


# ---- names are data


def test_hostile_names_are_text_and_do_not_stretch_the_page(open_atlas: Open, tmp_path: Path) -> None:
    """Markup, quotes, directional marks, emoji and 200 characters show as they are, everywhere, and nothing runs."""
    records = [
        make_record(row, a=f"{name}:1", b=f"{name}:2", key=f"{row:020x}") for row, name in enumerate(HOSTILE_NAMES)
    ]
    records.append(make_record(FAILED_ROW, reason=HOSTILE_NAMES[0], key=f"{99:020x}"))
    for row, record in enumerate(records[:-1]):
        write_pictures(tmp_path, record.key, row)
    name = " ".join(HOSTILE_NAMES)
    publish(tmp_path, [records], name=name, model=name, settings={HOSTILE_NAMES[0]: SETTINGS | {"note": name}})
    page = open_atlas(tmp_path, viewport={"width": 360, "height": 700})

    assert page.locator("h1").text_content() == name
    for row, hostile in enumerate(HOSTILE_NAMES):
        assert page.locator(".tile").nth(row).locator(".layer").first.text_content() == hostile
    expect(page.locator(".tile").last).to_contain_text(HOSTILE_NAMES[0])
    page.locator("summary").click()
    assert_no_sideways_scroll(page)
    page.locator(".names").nth(4).click()
    expect(page.locator("dialog .layer").first).to_have_text(HOSTILE_NAMES[4])
    assert_no_sideways_scroll(page)
    assert page.evaluate("document.querySelector('dialog').scrollWidth <= document.querySelector('dialog').clientWidth")
    page.keyboard.press("Escape")
    page.get_by_role("searchbox").fill(HOSTILE_NAMES[0] + "?")
    expect(page.locator("#state")).to_contain_text(HOSTILE_NAMES[0])
    assert page.evaluate("document.querySelectorAll('img[src=x], script:not([src])').length") == 0


def test_a_narrow_screen_needs_no_sideways_scroll(open_atlas: Open, atlas: Path) -> None:
    """At 360 px two tiles stand side by side and neither page nor dialog is wider than the screen."""
    page = open_atlas(atlas, viewport={"width": 360, "height": 740})

    tops = [box["y"] for box in (page.locator(".tile").nth(i).bounding_box() for i in range(3)) if box]
    assert tops[0] == tops[1] < tops[2]
    assert_no_sideways_scroll(page)
    page.locator(".names").first.click()
    assert_no_sideways_scroll(page)
    assert page.evaluate("document.querySelector('dialog').scrollWidth <= document.querySelector('dialog').clientWidth")


def test_the_page_may_not_reach_another_host(open_atlas: Open, atlas: Path) -> None:
    """Even a script that got into the page could neither run inline nor load anything from elsewhere."""
    page = open_atlas(atlas, may_fail=True)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.evaluate(
        """() => {
            for (const [tag, properties] of [["img", { src: "https://example.org/x.png" }],
                                             ["script", { src: "https://example.org/x.js" }],
                                             ["script", { textContent: "window.ran = true" }]])
                document.body.append(Object.assign(document.createElement(tag), properties));
        }"""
    )
    page.wait_for_timeout(100)

    assert page.evaluate("window.ran") is None
    assert len([text for text in said if "Content Security Policy" in text]) == 3


# ---- the bytes


def test_the_same_atlas_gives_the_same_bytes() -> None:
    """Page and shards are functions of their arguments, and the page comes last."""

    def made() -> dict[str, bytes]:
        settings = {"b" * 64: SETTINGS, "a" * 64: SETTINGS | {"steps": 64}}
        return pages("first-light", "efficientnet-lite0", {"done": 1}, ["data/index-0.js"], settings)

    assert made() == made()
    assert list(made())[-1] == "index.html"
    assert b"6 frames of 128 px, 512 steps or 6 frames of 128 px, 64 steps" in made()["index.html"]
    assert index_shard([make_record(0)]) == index_shard([make_record(0)])


def test_a_shard_is_one_column_per_field() -> None:
    """Layers are a dictionary, what all rows share stands once, and what failed pairs lack is null."""
    first, failed = make_record(1, activation_a=[1.23456789, 0.5]), make_record(FAILED_ROW)
    shard = index_shard([first, failed]).decode()
    columns = json.loads(shard.removeprefix("isthmus.data(").removesuffix(");\n"))

    assert columns == {
        "layers": ["block12_depthwise"],
        "key": [first.key, failed.key],
        "a_layer": 0,
        "a_channel": [17, 119],
        "b_layer": 0,
        "b_channel": [81, 183],
        "status": [0, 1],
        "reason": {"1": FAILED_REASON},
        "frames": FRAMES,
        "size_px": 128,
        "steps": [512, None],
        "kept": "",
        "objective": [6.12, None],
        "activation_a": [1.2346, None],
        "activation_b": [4.5, None],
        "smoothness": [0.0027, None],
    }


# ---- looking


def motion(strip: Locator) -> str:
    return str(strip.evaluate("strip => getComputedStyle(strip).animationName"))


def motions(page: Page) -> list[str]:
    names: list[str] = page.locator(".strip").evaluate_all("all => all.map(one => getComputedStyle(one).animationName)")
    return names


def frame_of(strip: Locator) -> int:
    """The number of the frame in the window, from 1; a strip between two frames is an error."""
    shift: float = strip.evaluate(
        "strip => -new DOMMatrix(getComputedStyle(strip).transform).m41 / strip.parentElement.clientWidth"
    )
    assert abs(shift - round(shift)) < 1e-3
    return round(shift) + 1


def frames_seen(strip: Locator) -> int:
    """How many different frames the window shows within 700 ms, of which a frame lasts 200."""
    seen = set()
    for _ in range(14):
        seen.add(frame_of(strip))
        strip.page.wait_for_timeout(50)
    return len(seen)


def point_at_frame(page: Page, frame: int) -> None:
    box = page.locator(".rail").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + (frame - 0.5) / FRAMES * box["width"], box["y"] + 6)


def assert_no_sideways_scroll(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]  # type: ignore[index]


# ---- the atlas


def make_record(row: int, **changes: Any) -> Record:
    """A plausible record; every third pair joins the two layers, the others lie within one."""
    done = row != FAILED_ROW
    rise = [round(0.4 + row / 10 + 4 * i / (FRAMES - 1), 4) for i in range(FRAMES)]
    fields: dict[str, Any] = {
        "key": f"{row * 2654435761 % 2**32:08x}{row:012x}",
        "a": f"{LAYERS[row % 2]}:{17 * row % 480}",
        "b": f"{LAYERS[(row + (row % 3 == 0)) % 2]}:{(17 * row + 64) % 480}",
        "status": "done" if done else "failed",
        "reason": None if done else FAILED_REASON,
        "method": 1,
        "model": "efficientnet-lite0",
        "model_digest": "0" * 64,
        "settings": SETTINGS,
        "settings_digest": "5e771465" * 8,
        "seed": 0,
        "frames": FRAMES,
        "size_px": SIZE_PX,
        "checkpoints": [Checkpoint(step=512, objective=5.12 + row)] if done else [],
        "activation_a": rise[::-1] if done else [],
        "activation_b": rise if done else [],
        "neighbour_distance": [0.002 + 0.0001 * (row * 7 % 30)] * (FRAMES - 1) if done else [],
        "seconds": 9.5,
        "device": "cpu",
        "versions": {"isthmus": "0.1.0"},
    }
    return Record(**(fields | changes))


def write_pictures(root: Path, key: str, row: int) -> None:
    """A sheet of waves that bend and change colour from frame to frame, and its preview."""
    random = np.random.default_rng(row)
    y, x = np.mgrid[0:SIZE_PX, 0:SIZE_PX] / SIZE_PX
    ends = random.uniform(2, 9, (2, 4)), random.uniform(0, 2 * np.pi, (2, 3))
    frames = []
    for mix in np.linspace(0, 1, FRAMES):
        (along, across, bend, fine), hue = ((1 - mix) * end[0] + mix * end[1] for end in ends)
        phase = 2 * np.pi * (along * x + across * y + 0.3 * np.sin(bend * (x - y) * 2))
        grain = 0.25 * np.sin(fine * 9 * x) * np.sin(fine * 9 * y)
        frames.append(np.stack([0.5 + 0.35 * np.sin(phase + shift) + 0.4 * grain for shift in hue], axis=-1))
    sheet = Image.fromarray((np.concatenate(frames, axis=1).clip(0, 1) * 255).astype(np.uint8))
    for path in (root / sheet_path(key), root / preview_path(key)):
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path, quality=80, method=2)  # read by WebP only


def publish(
    root: Path,
    shards: Sequence[Sequence[Record]],
    name: str = "first-light",
    model: str = "efficientnet-lite0",
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write data shards and page the way a build does."""
    files = {f"data/index-{number}.js": index_shard(records) for number, records in enumerate(shards)}
    statuses = [record.status for records in shards for record in records]
    counts = {status: statuses.count(status) for status in ("done", "failed")}
    if settings is None:
        settings = {record.settings_digest: record.settings for records in shards for record in records}
    files |= pages(name, model, counts, list(files), settings)
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
