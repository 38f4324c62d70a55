"""The walk: from portrait to portrait along roads, and drifting at random."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect
from sample_atlases import (
    FURTHER,
    HUB,
    LAYERS,
    SIZE_PX,
    WALKS,
    portrait_colour,
    publish,
    walk_record,
    write_walk_pictures,
)
from screen import assert_no_sideways_scroll, assert_only_between_portraits, wait_until, watch_colours

from core.atlas.records import preview_path

Open = Callable[..., Page]  # the fixture `open_atlas`
Serve = Callable[[Path], str]  # the fixture `serve`
LAYER = LAYERS[0]


def assert_at(page: Page, channel: int) -> None:
    """Check that the walk is at a neuron and shows its portrait."""
    expect(page.locator("#portrait")).to_have_attribute("aria-label", f"Portrait of {LAYER}:{channel}")
    expect(page.locator("#portrait")).to_have_js_property("width", SIZE_PX)
    expect(page.locator("#walk-title")).to_have_text(f"{LAYER}:{channel}")
    expect(page.locator("#walk-state")).to_contain_text(f"At {LAYER}:{channel}.")
    expect(page).to_have_title(f"At {LAYER}:{channel} · walkable · Isthmus")


def crumbs(page: Page) -> list[int]:
    """Return the channels in the breadcrumbs."""
    return [int(text.rpartition(":")[2]) for text in page.locator("#crumbs a").all_text_contents()]


def test_roads_lead_from_portrait_to_portrait(open_atlas: Open, serve: Serve, walk_atlas: Path) -> None:
    """Roads lie around the portrait; each plays its own strip only; address, breadcrumbs, focus and Back follow."""
    page = open_atlas(walk_atlas, at=serve(walk_atlas))
    page.get_by_label("Speed").select_option("4")
    page.get_by_role("link", name="Walk", exact=True).click()
    assert_at(page, HUB)
    channels = [f":{channel}" for channel in (2, 6, 7, *FURTHER)]
    expect(page.locator("#around .channel")).to_have_text(channels[:10])
    expect(page.locator("#further-roads .channel")).to_have_text(channels[10:])
    expect(page.locator("#walk-state")).to_contain_text(f"{len(channels)} roads lead on")

    watch_colours(page, "#portrait")
    page.get_by_role("link", name=f"Walk to {LAYER}:6").click()
    assert_at(page, 6)
    expect(page.locator("#around .road").first).to_be_focused()
    page.get_by_role("link", name=f"Walk to {LAYER}:5").press("Enter")  # this strip runs in the other direction
    assert_at(page, 5)
    page.get_by_role("link", name=f"Walk to {LAYER}:7").press("Enter")
    assert_at(page, 7)
    assert_only_between_portraits(page, (HUB, 6, 5, 7))
    assert crumbs(page) == [HUB, 6, 5, 7]
    expect(page).to_have_url(re.compile(f"#walk={LAYER}%3A{HUB}\\.\\.6\\.\\.5\\.\\.7$"))

    page.go_back()
    assert_at(page, 5)
    page.reload()
    assert_at(page, 5)
    page.locator("#crumbs").get_by_role("link", name=":6").click()
    assert_at(page, 6)
    assert crumbs(page) == [HUB, 6]


def test_a_movie_plays_previews_that_are_smaller_than_their_sheets(
    open_atlas: Open, serve: Serve, tmp_path: Path
) -> None:
    """Previews of strips that are wider than WebP allows are smaller; the movie shows their frames in full size."""
    record = walk_record(3, 4, 0.1, size_px=4 * SIZE_PX)
    write_walk_pictures(tmp_path, record.key, 3, 4)
    publish(tmp_path, [record])
    page = open_atlas(tmp_path, at=serve(tmp_path), hash=f"#walk={LAYER}:3", reduced_motion="reduce")

    portrait = page.locator("#portrait")
    expect(portrait).to_have_js_property("width", 4 * SIZE_PX)
    middle = "canvas => [...canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data]"
    for channel in (3, 4):
        expect(portrait).to_have_attribute("aria-label", f"Portrait of {LAYER}:{channel}")
        *colour, _ = portrait.evaluate(middle)
        assert max(abs(a - b) for a, b in zip(colour, portrait_colour(channel), strict=True)) < 12
        page.get_by_role("link", name=f"Walk to {LAYER}:").first.click()


def test_a_drift_walks_on_until_it_is_stopped(visit_atlas: Open, walk_atlas: Path) -> None:
    """Every step is a road, and leads straight back only if there is no other road; the address follows."""
    page = visit_atlas(walk_atlas)
    page.get_by_label("Speed").select_option("4")
    page.get_by_role("link", name="Walk", exact=True).click()
    assert_at(page, HUB)
    page.get_by_role("button", name="Drift").click()
    page.wait_for_function("() => document.querySelectorAll('#crumbs li').length >= 6")
    page.get_by_role("button", name="Stop drifting").click()
    expect(page.get_by_role("button", name="Drift", exact=True)).to_have_attribute("aria-pressed", "false")

    visited = crumbs(page)
    assert all((min(step), max(step)) in WALKS for step in pairwise(visited))
    for before, there, after in zip(visited, visited[1:], visited[2:], strict=False):
        assert before != after or sum(there in strip for strip in WALKS) == 1
    assert_at(page, visited[-1])
    page.reload()
    assert_at(page, visited[-1])
    assert crumbs(page) == visited
    page.go_back()
    expect(page.locator("#grid")).to_be_visible()


def test_a_reader_who_wants_less_motion_arrives_at_once(open_atlas: Open, serve: Serve, walk_atlas: Path) -> None:
    """No strip plays, neither chosen nor drifting; each press of the drift button walks along one strip."""
    page = open_atlas(walk_atlas, at=serve(walk_atlas), hash=f"#walk={LAYER}:3", reduced_motion="reduce")
    page.get_by_label("Speed").select_option("0.25")
    assert_at(page, 3)
    watch_colours(page, "#portrait")

    page.get_by_role("link", name=f"Walk to {LAYER}:4").click()
    assert_at(page, 4)
    page.get_by_role("button", name="Drift by one strip").click()
    assert_at(page, 5)
    portraits = [portrait_colour(channel) for channel in (3, 4, 5)]
    for *colour, _ in page.evaluate("window.seen"):
        assert min(max(abs(a - b) for a, b in zip(colour, known, strict=True)) for known in portraits) < 12


def test_a_walk_stays_among_portraits_of_the_same_settings(visit_atlas: Open, walk_atlas: Path) -> None:
    """Strips that failed, have ends of their own or other settings are no roads here; a pair links to its own walk."""
    page = visit_atlas(walk_atlas, f"#walk={LAYER}:5")
    assert_at(page, 5)
    expect(page.locator("#around .channel")).to_have_text([":4", ":6", ":7"])

    page.evaluate("hash => { location.hash = hash }", f"#pair={walk_record(5, 30, 0).key}")
    expect(page.locator("#pair-spec")).to_contain_text("strip: walk\npairs:")
    page.get_by_role("link", name=f"Walk from here, {LAYER}:5").click()
    assert_at(page, 5)
    expect(page.locator("#around .channel")).to_have_text([":30"])
    expect(page.locator("#walk-state")).to_contain_text("1 road leads on")

    page.evaluate("hash => { location.hash = hash }", f"#neuron={LAYER}:30")
    page.get_by_role("link", name="Walk from here").click()
    assert_at(page, 30)


def test_a_walk_shows_its_goal_and_pauses(visit_atlas: Open, walk_atlas: Path) -> None:
    """The road to the goal, the goal, and the neuron that a strip leads to while it plays are marked; Space pauses."""
    page = visit_atlas(walk_atlas, f"#walk={LAYER}:2..1..goal..5")
    state = page.locator("#walk-state")
    expect(state).to_contain_text(f"The goal is {LAYER}:5, 2 strips from here; the road that leads there is marked.")
    expect(page.locator(".road.on-way")).to_have_text(f"{LAYER}:6→ goal")
    page.get_by_label("Speed").select_option("0.25")
    road = page.get_by_role("link", name=f"Walk to {LAYER}:6, layer change 0.200, on the way to the goal")
    road.focus()
    road.press("Enter")
    expect(page.locator(".ahead")).to_have_attribute("aria-label", re.compile(f"^Walk to {LAYER}:6,"))
    expect(state).to_have_text(f"From {LAYER}:1 to {LAYER}:6…")
    page.keyboard.press(" ")
    expect(page.get_by_role("button", name="Go on")).to_be_visible()
    assert page.evaluate("scrollY") == 0
    page.get_by_label("Speed").select_option("4")
    state.click()
    page.keyboard.press(" ")
    assert_at(page, 6)
    expect(page.locator("#walk-pause")).to_be_hidden()
    page.get_by_role("link", name=f"Walk to {LAYER}:5, layer change 0.200, the goal").click()
    expect(state).to_contain_text(
        f"At {LAYER}:5. 3 roads lead on: strips from this portrait to others. This is the goal"
    )
    expect(page.locator("#crumbs .goal")).to_have_count(1)
    expect(page).to_have_url(re.compile(r"1\.\.6\.\.5\.\.goal\.\."))


def test_a_channel_or_a_label_names_a_neuron(open_atlas: Open, tmp_path: Path) -> None:
    """If several neurons with roads are meant, the page offers them; weak and dead ends and labels are shown."""
    strips = {("block1:1", "block1:2"): 0.3, ("block1:2", "block1:3"): 0.9, ("block2:1", "block2:9"): 0.9}
    records = [
        walk_record(1, 2, 0.1, key=f"{i:020x}", kept_b=kept).model_copy(update={"a": a, "b": b})
        for i, ((a, b), kept) in enumerate(strips.items())
    ]
    dead = walk_record(1, 2, 0.1, key=f"{3:020x}", noise_b=1e3, kept_b=None)
    records.append(dead.model_copy(update={"a": "block1:3", "b": "block1:4"}))
    for record in records:
        write_walk_pictures(tmp_path, record.key, 1, 2)
    labels = "neuron,label\nblock1:3,Curves\nblock1:3,arcs\n"
    (tmp_path / "labels.csv").write_text(labels)
    publish(tmp_path, records)
    page = open_atlas(tmp_path, hash="#walk=9", reduced_motion="reduce")
    state, title = page.locator("#walk-state"), page.locator("#walk-title")

    expect(title).to_have_text("block2:9")
    page.get_by_label("Begin at").fill("1")
    page.get_by_label("Begin at").press("Enter")
    expect(state).to_have_text("1 may be one of 2 neurons: block1:1, block2:1.")
    state.get_by_role("link", name="block1:1").click()
    expect(title).to_have_text("block1:1")
    expect(page.get_by_role("link", name="Walk to block1:2, layer change 0.100, weak")).to_contain_text("weak")
    page.get_by_label("Begin at").fill("curv")
    expect(page.locator("#walk-neurons option")).to_have_attribute("value", "block1:3")
    expect(page.locator("#walk-neurons option")).to_have_attribute("label", "Curves, arcs")
    page.get_by_label("Begin at").fill("curves")
    page.get_by_label("Begin at").press("Enter")
    expect(title).to_contain_text("block1:3")
    expect(title).to_contain_text("Curves")

    page.set_viewport_size({"width": 360, "height": 740})
    page.evaluate("location.hash = '#walk=block1:3'")
    expect(page.locator("#around .dead")).to_be_visible()
    assert_no_sideways_scroll(page)
    page.evaluate("location.hash = '#route=1..4'")
    expect(page.locator("#route-state")).to_contain_text("1 may be one of 2 neurons")
    page.locator("#route-state").get_by_role("link", name="block1:1").click()
    expect(page.get_by_role("button", name="To the portrait of block1:2, weak")).to_contain_text("weak")
    expect(page.get_by_role("button", name="To the portrait of block1:4, not excited")).to_contain_text("not excited")

    page.evaluate("location.hash = '#neuron=block1:2'")
    expect(page.locator("#neuron-marks")).to_have_text(re.compile("^Weak in 1 of 2 pairs: .* less than half of its"))
    page.evaluate("location.hash = '#neuron=1'")
    expect(page.locator("#neuron-state")).to_have_text("1 may be one of 2 neurons: block1:1, block2:1.")
    page.evaluate("location.hash = '#neuron=arcs'")
    expect(page.locator("#neuron-title")).to_contain_text("block1:3")
    expect(page.locator("#neuron-labels")).to_have_text("Also: arcs")
    expect(page.locator(".partner .to-neuron")).to_have_text(["block1:2", "block1:4 not excited"])


def test_a_long_or_broken_address_is_still_a_walk(visit_atlas: Open, walk_atlas: Path) -> None:
    """If no road joins two neurons in the address, the walk begins after them and says so; a long walk is cut."""
    page = visit_atlas(walk_atlas, f"#walk={LAYER}:2..1..5..6", reduced_motion="reduce")
    assert_at(page, 6)
    assert crumbs(page) == [5, 6]
    expect(page.locator("#walk-state")).to_contain_text("The address names neurons that no road joins")

    page.evaluate("hash => { location.hash = hash }", f"#walk={LAYER}:1{'..2..1' * 40}")
    assert_at(page, 1)
    page.get_by_role("link", name=f"Walk to {LAYER}:6").click()
    assert_at(page, 6)
    assert crumbs(page) == [1, *[2, 1] * 24, 6]
    for width in (320, 1280, 3840):
        page.set_viewport_size({"width": width, "height": 900})
        assert_no_sideways_scroll(page)


def test_the_page_says_why_there_is_no_walk(visit_atlas: Open, atlas: Path, walk_atlas: Path) -> None:
    """A neuron without roads and an atlas without roads are explained; such an atlas has no links to these pages."""
    page = visit_atlas(walk_atlas, "#walk=stem:77")
    expect(page.locator("#walk-state")).to_contain_text("stem:77 has no road in this atlas")
    expect(page.locator("#walk-stage")).to_be_hidden()
    page.get_by_label("Begin at").press_sequentially(":22")
    expect(page.locator("#walk-neurons option")).to_have_attribute("value", f"{LAYER}:22")
    page.get_by_label("Begin at").fill(f"{LAYER}:22")
    page.get_by_label("Begin at").press("Enter")
    assert_at(page, 22)
    page.get_by_role("link", name="About").click()
    kind = re.compile("^24 of 25 pairs have strips that begin and end on portraits")
    expect(page.locator("#kind")).to_have_text(kind)

    page = visit_atlas(atlas, "#walk")
    expect(page.locator("#walk-state")).to_contain_text("A spec with strip: walk makes an atlas whose strips meet.")
    page.evaluate("location.hash = '#route'")
    expect(page.locator("#route-state")).to_contain_text("A spec with strip: walk makes an atlas whose strips meet.")
    expect(page.locator("#route-form")).to_be_hidden()
    for name in ("Walk", "Route"):
        expect(page.get_by_role("link", name=name, exact=True)).to_have_count(0)
    page.get_by_role("link", name="About").click()
    expect(page.locator("#kind")).to_have_text("Each strip has ends of its own, made for its pair.")


def test_walk_and_route_load_the_keys_of_their_own_roads(
    open_atlas: Open, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of keys of other pairs do not delay them; a walk goes on when those of the next roads are there."""
    for name in ("FIRST_ROWS", "KEY_ROWS", "COLUMN_ROWS"):
        monkeypatch.setattr(f"core.gallery.index.{name}", 1)
    walks = [walk_record(a, b, 0.1) for a, b in ((1, 2), (2, 3), (4, 5), (5, 6))]
    publish(tmp_path, walks)
    for record, (a, b) in zip(walks, ((1, 2), (2, 3), (4, 5), (5, 6)), strict=True):
        write_walk_pictures(tmp_path, record.key, a, b)
    held: list[Route] = []
    at = serve(tmp_path)
    page = open_atlas(tmp_path, at=at, file="manifest.json", may_fail=True, reduced_motion="reduce")
    holds = True
    page.route(  # of the two roads between
        re.compile("data/key-0000[12]"), lambda route: held.append(route) if holds else route.continue_()
    )
    page.goto(f"{at}index.html#walk={LAYER}:6")
    expect(page).to_have_title(re.compile(f"^At {LAYER}:6 "))
    page.get_by_role("link", name=f"Walk to {LAYER}:5").click()
    wait_until(page, lambda: held, "a request for the key of the next road")
    expect(page).to_have_title(re.compile(f"^At {LAYER}:6 "))
    page.evaluate("location.hash = '#route=5..6'")
    expect(page.get_by_role("link", name=f"Strip from {LAYER}:5 to {LAYER}:6")).to_have_attribute(
        "href", re.compile(walks[-1].key)
    )
    page.evaluate(f"location.hash = '#walk={LAYER}:6..5'")
    holds = False
    for route in held:
        route.continue_()
    expect(page).to_have_title(re.compile(f"^At {LAYER}:5 "))
    expect(page.get_by_role("link", name=f"Walk to {LAYER}:4")).to_be_visible()


def test_a_strip_whose_picture_is_missing_can_be_walked(open_atlas: Open, walk_atlas: Path, tmp_path: Path) -> None:
    """The page names the missing file, and the road still leads to its other end."""
    shutil.copytree(walk_atlas, tmp_path, dirs_exist_ok=True)
    lost = preview_path(walk_record(5, 6, 0).key)
    (tmp_path / lost).unlink()
    page = open_atlas(tmp_path, hash=f"#walk={LAYER}:6", may_fail=True)
    assert_at(page, 6)
    road = page.get_by_role("link", name=f"Walk to {LAYER}:5")
    expect(road).to_contain_text("No picture")
    expect(page.locator("#walk-lost")).to_be_hidden()

    road.click()
    assert_at(page, 5)
    expect(page.locator("#walk-lost")).to_contain_text(f"{lost} could not be read")
    assert crumbs(page) == [6, 5]
