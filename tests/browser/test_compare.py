"""Two to four strips under one scrubber."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sample_atlases import FAILED_ROW, FRAMES, LAYERS, make_record, publish, write_coloured_pictures
from screen import assert_no_sideways_scroll, expect_frame, wait_until

Open = Callable[..., Page]  # the fixture `open_atlas`
Serve = Callable[[Path], str]  # the fixture `serve`
LONGER = 11  # frames
ONE = make_record(4, b=f"{LAYERS[0]}:400")
OTHER_SEED = make_record(
    4,
    b=ONE.b,
    key="5" * 20,
    settings=ONE.settings | {"seed": 7, "frames": LONGER},
    settings_digest="7" * 20,
    frames=LONGER,
    activation_a=[5 - i / 4 for i in range(LONGER)],
    activation_b=[1 + i / 4 for i in range(LONGER)],
    pace=1.25,
)
ANOTHER = make_record(5, a=ONE.a, key="6" * 20)
ANOTHER_SEED = make_record(
    5, a=ONE.a, key="8" * 20, settings=ONE.settings | {"seed": 7, "frames": LONGER}, settings_digest="7" * 20
)
FAILED = make_record(FAILED_ROW)


@pytest.fixture(scope="module")
def atlases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two atlases: `one` has a pair in two settings and further pairs, `two` has one pair."""
    root = tmp_path_factory.mktemp("atlases")
    publish(root / "one", [ONE, OTHER_SEED, ANOTHER, ANOTHER_SEED, FAILED], name="one")
    publish(root / "two", [ONE], name="two")
    for name, records in (("one", (ONE, OTHER_SEED, ANOTHER, ANOTHER_SEED)), ("two", (ONE,))):
        for record in records:
            write_coloured_pictures(root / name, record.key, [(9, 20 * i, 200) for i in range(record.frames)])
    return root


def test_strips_of_one_pair_in_two_settings_move_together(visit_atlas: Open, atlases: Path) -> None:
    """One click on the pair's page compares them; they move by the share of the way; the table marks what differs."""
    page = visit_atlas(atlases / "one", f"#pair={ONE.key}")
    expect(page.locator("#summary p").last).to_have_text("Settings: frames 6, seed 0.")
    page.locator("#compare-with > summary").click()
    name = f"{ANOTHER.a} to {ANOTHER.b}"
    offered = ["in other settings: frames 11, seed 7", name, f"{name}, frames 11, seed 7"]
    expect(page.locator("#candidates li")).to_have_text(offered)
    page.locator("#compare-settings").click()
    expect(page.locator("#compare-title")).to_be_focused()
    expect(page.locator("#compare-large figure")).to_have_count(2)
    expect(page.locator(".compared .frame-row img")).to_have_count(FRAMES + LONGER)
    expect(page.locator(".compared polyline")).to_have_count(4)

    windows = [page.locator("#compare-large img").nth(place) for place in range(2)]
    slider = page.get_by_role("slider", name="Share of the way")
    slider.press("End")
    for window, frame in zip(windows, (FRAMES, LONGER), strict=True):
        expect_frame(window, frame)
    slider.press("Home")
    for _ in range(4):
        slider.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "40 % of the way, frame 3 of 6, frame 5 of 11")
    surface = page.locator(".compared .frame-row").first.bounding_box()
    assert surface is not None
    page.mouse.move(surface["x"] + 4.5 / FRAMES * surface["width"], surface["y"] + 9)
    for window, frame in zip(windows, (5, 9), strict=True):
        expect_frame(window, frame)

    differing = page.locator("#compare-numbers .differs th").all_text_contents()
    assert {"seed", "frames", "pace"} <= set(differing)
    assert not {"a", "b", "steps", "model", "objective"} & set(differing)
    expect(page.locator("#compare-numbers tr", has_text="pace").locator("b")).to_have_text("1.25")
    expect(page.locator("#compare-numbers tr", has_text="seed").locator("td")).to_have_text(["0", "7"])
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert_no_sideways_scroll(page)


def test_strips_are_added_swapped_and_removed(visit_atlas: Open, atlases: Path) -> None:
    """Each change is an address of its own; keys and links are taken, and mistakes end in a sentence."""
    page = visit_atlas(atlases / "one", f"#compare={ONE.key}")
    keys = "[...document.querySelectorAll('#compare-large a')].map(one => one.hash.split('=').pop())"
    expect(page.locator("#compare-state")).to_contain_text("Add another strip")
    field = page.locator("#add-key")
    for written in (ANOTHER.key, page.url.split("#")[0] + f"#sort=pace&pair={OTHER_SEED.key}"):
        field.fill(written)
        field.press("Enter")
        expect(field).to_have_value("")
    wait_until(page, lambda: page.evaluate(keys) == [ONE.key, ANOTHER.key, OTHER_SEED.key], "three strips")
    expect(page.locator("#compare-state")).to_be_hidden()
    page.get_by_role("button", name="Swap strips 2 and 3").click()
    wait_until(page, lambda: page.evaluate(keys) == [ONE.key, OTHER_SEED.key, ANOTHER.key], "them swapped")
    page.get_by_role("button", name="Remove strip 1").click()
    wait_until(page, lambda: page.evaluate(keys) == [OTHER_SEED.key, ANOTHER.key], "one removed")
    page.go_back()
    wait_until(page, lambda: page.evaluate(keys) == [ONE.key, OTHER_SEED.key, ANOTHER.key], "the way back")

    mistakes = {
        "nonsense": "Expected the key of a pair",
        "javascript:alert(1)#pair=" + "1" * 20: "on another server",
        "https://example.org/index.html#pair=" + "1" * 20: "on another server",
        "1" * 20: "no pair with the key",
        FAILED.key: "failed, so it has no strip",
    }
    for written, words in mistakes.items():
        escaped = written.replace("#", "%23").replace("..", "%252E%252E")
        page.evaluate("hash => { location.hash = hash }", f"#compare={ONE.key}..{escaped}")
        expect(page.locator("#compare-state")).to_contain_text(words)
        expect(page.locator("#compare-large figure")).to_have_count(1)
    page.evaluate("hash => { location.hash = hash }", "#compare")
    expect(page.locator("#compare-state")).to_contain_text("Add strips")
    page.evaluate("hash => { location.hash = hash }", "#compare=" + "..".join([ONE.key] * 5))
    expect(page.locator("#compare-state")).to_contain_text("At most 4 strips")
    expect(page.locator("#compare-large figure")).to_have_count(4)


def test_a_strip_of_another_atlas_follows(open_atlas: Open, serve: Serve, atlases: Path) -> None:
    """Its address is pasted; it moves in a frame of its own, and moves the others. Silence ends in a sentence."""
    at = serve(atlases / "one")
    beside = at.removesuffix("one/") + "two/"
    page = open_atlas(atlases / "one", hash=f"#compare={ONE.key}..{OTHER_SEED.key}", at=at, beside=beside)
    expect(page.locator("#compare-large figure")).to_have_count(2)
    page.locator("#add-key").fill(f"{beside}#pair={ONE.key}")
    page.get_by_role("button", name="Add").click()
    frame = page.frame_locator("iframe")
    window = frame.locator("#embed-strip img")
    expect(page.locator("#compare-large figcaption").last).to_contain_text("../two/index.html")

    slider = page.get_by_role("slider", name="Share of the way")
    slider.press("End")
    expect_frame(window, FRAMES)
    frame.get_by_role("slider").press("Home")
    expect_frame(page.locator("#compare-large img").first, 1)
    expect(slider).to_have_attribute("aria-valuenow", "1")
    page.reload()
    expect(page.frame_locator("iframe").locator("#embed-names")).to_contain_text(ONE.b)


def test_an_atlas_in_the_next_folder_follows_too(open_atlas: Open, atlases: Path, tmp_path: Path) -> None:
    """From folders, without a web server, the strips move together; where there is no atlas, a sentence says so."""
    shutil.copytree(atlases, tmp_path / "all")
    root = tmp_path / "all" / "one"
    others = [f"../two/index.html#pair={ONE.key}", f"../none/index.html#pair={ONE.key}"]
    written = "..".join([ONE.key, *(other.replace("..", "%252E%252E").replace("#", "%23") for other in others)])
    page = open_atlas(root, hash=f"#compare={written}", may_fail=True)

    expect(page.frame_locator("iframe >> nth=0").locator("#embed-names")).to_contain_text(ONE.b)
    page.get_by_role("slider", name="Share of the way").press("End")
    expect_frame(page.frame_locator("iframe >> nth=0").locator("#embed-strip img"), FRAMES)
    expect(page.locator("#compare-large figcaption").last).to_contain_text("No strip answers at this address")
