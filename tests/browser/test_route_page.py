"""The route: the shortest path of roads between two neurons, as one movie."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect
from sample_atlases import FRAMES, LAYERS, SIZE_PX, publish, walk_record
from screen import assert_no_sideways_scroll, assert_only_between_portraits, watch_colours

from core.atlas.records import preview_path

Open = Callable[..., Page]  # the fixture `open_atlas`
Serve = Callable[[Path], str]  # the fixture `serve`
LAYER = LAYERS[0]


def assert_place(page: Page, words: str) -> None:
    """Check the position of the movie, in the words of its scrubber."""
    expect(page.get_by_role("slider", name="Frame of the route")).to_have_attribute("aria-valuetext", words)


def passes(page: Page, words: str) -> None:
    """Wait until a movie that plays is at a position; every animation frame is looked at, so none is missed."""
    page.wait_for_function(
        "words => document.querySelector('#route-scrubber').getAttribute('aria-valuetext') === words", arg=words
    )


def play(page: Page, to: int) -> None:
    """Play the movie from its position to its end, at the greatest speed."""
    page.get_by_label("Speed").select_option("4")
    watch_colours(page, "#route-movie")
    page.get_by_role("button", name="Play", exact=True).click()
    assert_place(page, f"At {LAYER}:{to}")
    expect(page.locator("#route-play")).to_have_text("Play")


def test_the_shortest_route_is_one_movie(open_atlas: Open, serve: Serve, walk_atlas: Path) -> None:
    """Portraits and strips between two named neurons stand in a row, and play without a jump."""
    page = open_atlas(walk_atlas, at=serve(walk_atlas))
    page.get_by_role("link", name="Route").click()
    state = page.locator("#route-state")
    expect(state).to_contain_text("Name two neurons to see the shortest route between them")
    page.get_by_role("link", name="a long route, from").click()
    expect(page.locator(".stop")).to_have_count(5)  # such as 4, 3, 2, 1 and one of the further channels
    page.go_back()
    page.get_by_role("button", name="A random route").click()
    expect(state).to_contain_text(re.compile("[0-9]+ strips? from"))
    page.go_back()
    expect(state).to_contain_text("Name two neurons")
    page.get_by_label("From", exact=True).press_sequentially(":1")
    expect(page.locator("#from-neurons option").first).to_have_attribute("value", f"{LAYER}:1")
    page.get_by_label("From", exact=True).fill(f"{LAYER}:1")
    page.get_by_label("To", exact=True).fill(f"{LAYER}:5")
    page.get_by_label("To", exact=True).press("Enter")

    expect(page.locator("#route-state")).to_contain_text(f"2 strips from {LAYER}:1 to {LAYER}:5, by way of {LAYER}:6.")
    expect(page.locator("#route-state")).to_contain_text("Shortest means the fewest strips")
    expect(page.locator(".stop .channel")).to_have_text([":1", ":6", ":5"])
    expect(page.locator("#route-strips .frames img")).to_have_count(2 * (FRAMES - 2))
    expect(page.locator("#route-scrubber")).to_have_attribute("max", str(2 * FRAMES - 2))
    expect(page.locator("#route-movie")).to_have_js_property("width", SIZE_PX)
    page.get_by_role("heading", name="Route").click()
    for key, words in {
        "ArrowRight": f"From {LAYER}:1 to {LAYER}:6, frame 2 of 6",
        "End": f"At {LAYER}:5",
        "ArrowLeft": f"From {LAYER}:6 to {LAYER}:5, frame 5 of 6",
        "Home": f"At {LAYER}:1",
    }.items():
        page.keyboard.press(key)
        assert_place(page, words)

    play(page, 5)
    assert_only_between_portraits(page, (1, 6, 5))
    page.get_by_role("button", name=f"To the portrait of {LAYER}:6").click()
    expect(page.locator("#route-place")).to_have_text(f"At {LAYER}:6")
    expect(page.locator(".stop[aria-current]")).to_have_text(f"{LAYER}:6")
    page.get_by_label("Speed").select_option("0.25")
    page.get_by_role("heading", name="Route").click()
    page.keyboard.press(" ")
    passes(page, f"From {LAYER}:6 to {LAYER}:5, frame 2 of 6")
    page.locator("#route-strips .frames").first.focus()  # Space would scroll here
    page.keyboard.press(" ")
    expect(page.locator("#route-play")).to_have_text("Play")
    page.get_by_role("link", name="Walk this route").click()
    expect(page.locator("#crumbs")).to_have_text(f"{LAYER}:1:6:5goal")


def test_no_route_is_shorter(open_atlas: Open, tmp_path: Path) -> None:
    """In a random graph, the route has the fewest strips, then the smallest sum of differences, or does not exist."""
    dice = random.Random(5)
    strips = {pair: dice.randint(1, 9) / 100 for pair in dice.sample(list(combinations(range(40), 2)), 36)}
    publish(tmp_path, [walk_record(a, b, difference) for (a, b), difference in strips.items()])
    page = open_atlas(tmp_path, hash="#route", may_fail=True)  # without its pictures
    page.wait_for_function("() => isthmus.route")
    known = sorted({channel for pair in strips for channel in pair})
    asked = list(combinations(known, 2))

    found = page.evaluate(
        """([layer, asked]) => asked.map((channels) => {
            const neurons = channels.map((channel) => isthmus.pairs.neuronByName.get(`${layer}:${channel}`));
            const route = isthmus.roads.shortest(...neurons);
            return route ? [route.rows.length, route.difference] : null;
        })""",
        [LAYER, asked],
    )
    wanted = [shortest(strips, a, b) for a, b in asked]
    assert found == [pytest.approx(one, rel=1e-3) if one else None for one in wanted]
    assert None in wanted
    assert max(one[0] for one in wanted if one) >= 4


def shortest(strips: dict[tuple[int, int], float], start: int, end: int) -> list[float] | None:
    """Return the number of strips and the sum of differences of the shortest route, by repeated relaxation."""
    best: dict[int, tuple[int, float]] = {start: (0, 0.0)}
    for _ in strips:
        for (a, b), difference in strips.items():
            for here, there in ((a, b), (b, a)):
                if here in best:
                    number, total = best[here]
                    best[there] = min(best.get(there, (999, 0.0)), (number + 1, total + difference))
    return list(best[end]) if end in best else None


def test_the_movie_waits_at_a_portrait_for_the_next_strip(open_atlas: Open, serve: Serve, walk_atlas: Path) -> None:
    """While the next strip is loading, the movie shows the portrait and nothing else."""
    at = serve(walk_atlas)
    page = open_atlas(walk_atlas, at=at)
    held: list[Route] = []
    page.route(at + preview_path(walk_record(5, 6, 0).key), lambda route: held.append(route))
    page.evaluate("hash => { location.hash = hash }", f"#route={LAYER}:1..5")
    expect(page.locator("#route-movie")).to_have_js_property("width", SIZE_PX)
    page.get_by_label("Speed").select_option("4")
    watch_colours(page, "#route-movie")
    page.get_by_role("button", name="Play", exact=True).click()
    expect(page.locator("#route-place")).to_have_text(f"At {LAYER}:6")
    page.wait_for_function("count => window.seen.length > count", arg=page.evaluate("window.seen.length + 10"))
    assert_place(page, f"At {LAYER}:6")

    assert len(held) > 0
    for route in held:
        route.continue_()
    assert_place(page, f"At {LAYER}:5")
    assert_only_between_portraits(page, (1, 6, 5))


def test_a_missing_strip_is_skipped(open_atlas: Open, serve: Serve, walk_atlas: Path, tmp_path: Path) -> None:
    """The page names the file that the movie cannot show, and the movie plays on after it."""
    shutil.copytree(walk_atlas, tmp_path, dirs_exist_ok=True)
    lost = preview_path(walk_record(3, 4, 0).key)
    (tmp_path / lost).unlink()
    page = open_atlas(tmp_path, at=serve(tmp_path), hash=f"#route={LAYER}:2..5", may_fail=True)
    expect(page.locator(".stop .channel")).to_have_text([":2", ":3", ":4", ":5"])
    expect(page.locator("#route-movie")).to_have_js_property("width", SIZE_PX)

    play(page, 5)
    assert_only_between_portraits(page, (2, 3), (4, 5))
    expect(page.locator("#route-lost")).to_contain_text(
        f"{lost} could not be read: the movie skips the strip from {LAYER}:3 to {LAYER}:4."
    )


WHY = {
    f"{LAYER}:1..9": f"No route leads from {LAYER}:1 to {LAYER}:9. A spec that selects its pairs by nearest with",
    f"{LAYER}:1..30": f"No route leads from {LAYER}:1 to {LAYER}:30.",  # its portraits have other settings
    f"{LAYER}:1..77": f"{LAYER}:77 has no road in this atlas: no finished strip joins it to another neuron.",
    f"nonsense..{LAYER}:1": "nonsense has no road in this atlas: no finished strip joins it to another neuron.",
    f"{LAYER}..{LAYER}:1": f"{LAYER} is a layer: a channel is missing, as in {LAYER}:1.",
    f"{LAYER}:6..6": "Both are the same neuron",
}


def test_the_page_says_why_there_is_no_route(visit_atlas: Open, walk_atlas: Path) -> None:
    """Each mistake has its own message, the fields keep the neurons, and another search works."""
    page = visit_atlas(walk_atlas, viewport={"width": 360, "height": 740})

    for names, words in WHY.items():
        page.evaluate("hash => { location.hash = hash }", f"#route={names}")
        expect(page.locator("#route-state")).to_contain_text(words)
        expect(page.locator("#route-stage")).to_be_hidden()
        expect(page.get_by_label("From", exact=True)).to_have_value(names.split("..")[0])
        assert_no_sideways_scroll(page)
    page.get_by_label("From", exact=True).fill(f"{LAYER}:1")
    page.get_by_label("To", exact=True).fill(f"{LAYER}:4")
    page.get_by_role("button", name="Find the shortest route").click()
    expect(page.locator(".stop")).to_have_count(4)
    assert_no_sideways_scroll(page)
