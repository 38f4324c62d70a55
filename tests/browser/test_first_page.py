"""The first page: its welcome, views, marks, favourites, and its tools on every screen, by keyboard and on paper."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from playwright.sync_api import Page, Route, expect
from sample_atlases import DEAD_ROW, FRAMES, HUB, LAYERS, PAIRS, SIZE_PX, make_record, publish, write_pictures
from screen import DESK, keys_shown, wait_until, wake

Open = Callable[..., Page]  # the fixture `open_atlas`
RECORDS = [make_record(row) for row in range(PAIRS)]
CLIPPED = """() => [...document.querySelectorAll("#grid .numbers, #grid .number")].flatMap((line) => {
    const box = line.getBoundingClientRect();
    const parts = line.matches(".number") ? [line] : [...line.children];
    return parts.filter((part) => {
        const range = document.createRange();
        range.selectNodeContents(part);
        const own = range.getClientRects()[range.getClientRects().length - 1];
        const isSeen = own && own.top < box.bottom - 1;
        return isSeen && box.height && (own.left < box.left - 1 || own.right > box.right + 1);
    }).map((part) => part.textContent);
})"""
PLACES = """() => [...document.querySelectorAll(".tools *, #grid .tile, #grid .window, #grid .names, #welcome p")]
    .filter((one) => one.offsetParent)
    .map((one) => {
        const { left, top, width, height } = one.getBoundingClientRect();
        const { color, backgroundColor, borderTopColor } = getComputedStyle(one);
        return [one.tagName, one.id, left, top, width, height, color, backgroundColor, borderTopColor].join(" ");
    })"""
OVERLAPS = """() => {
    const boxes = [...document.querySelectorAll("#grid .tile")].map((one) => one.getBoundingClientRect());
    return boxes.filter((p, i) => boxes.some((q, j) => i < j && p.left < q.right - 1 && q.left < p.right - 1
        && p.top < q.bottom - 1 && q.top < p.bottom - 1)).length;
}"""
PRINTED = f"""() => {{
    const page = document.querySelector("#grid-page");
    page.style.width = "680px"; // paper is narrow, and no script runs between layout and measuring
    const right = page.getBoundingClientRect().right + 1;
    const parts = [...document.querySelectorAll("#grid .tile, #grid .window, #grid .number")];
    const cut = parts.filter((one) => one.getBoundingClientRect().right > right).length;
    const overlaps = ({OVERLAPS})();
    page.style.width = "";
    return [cut, overlaps];
}}"""


# ---- welcome and terms


def test_the_welcome_says_what_the_atlas_is_and_stays_folded(open_atlas: Open, atlas: Path) -> None:
    """Model, number of strips and an example stand above the tools; a reader folds them away for good."""
    page = open_atlas(atlas)
    welcome = page.locator("#welcome")

    expect(welcome).to_contain_text(re.compile(r"between neurons of efficientnet-lite0:\s+29 strips of images"))
    expect(page.locator("#example img")).to_have_js_property("naturalWidth", SIZE_PX * FRAMES)
    welcome.locator("summary").click()
    expect(welcome.locator("p").first).to_be_hidden()
    page.reload()
    expect(page.locator("#count")).to_have_text("30 of 30 pairs")
    expect(welcome.locator("p").first).to_be_hidden()


def test_a_term_is_explained_by_keyboard_and_by_touch(open_atlas: Open, atlas: Path) -> None:
    """Enter or a tap shows the explanation, Escape or a tap elsewhere hides it, and the reader stays on the page."""
    page = open_atlas(atlas, has_touch=True, viewport={"width": 360, "height": 800})
    wake(page)
    note = page.locator("#note")
    page.get_by_role("button", name="alignment").focus()
    page.keyboard.press("Enter")

    expect(note).to_contain_text("the alignment layers")
    expect(page.get_by_role("button", name="alignment")).to_have_attribute("aria-describedby", "note")
    page.keyboard.press("Escape")
    expect(note).to_be_hidden()
    page.get_by_role("button", name="pixel change").tap()
    expect(note).to_contain_text("Mean squared difference of neighbouring frames")
    box = note.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360
    page.locator("#count").tap()
    expect(note).to_be_hidden()
    page.locator("#filters > summary").tap()
    page.get_by_role("button", name="Pace").tap()
    expect(note).to_contain_text("1 is perfectly even")
    expect(page.locator("#grid-page")).to_be_visible()


# ---- views


def test_a_filmstrip_shows_every_frame_whole(open_atlas: Open, tmp_path: Path) -> None:
    """Short strips have their frames side by side at one size; a long one has a large frame and several lines."""
    records = [make_record(row, frames=frames) for row, frames in enumerate((6, 2, 60, 6))]
    for row, record in enumerate(records):
        write_pictures(tmp_path, record.key, row)
    publish(tmp_path, records)
    page = open_atlas(tmp_path, hash="#view=filmstrip", viewport={"width": 1280, "height": 1200})

    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 1200})
        expect(page.locator("#grid")).to_have_attribute("aria-colcount", str({1280: 2, 360: 1}[width]))
        films = {
            int(
                page.locator(f".tile[data-key='{record.key}'] .player").get_attribute("aria-valuemax") or 0
            ): page.locator(f".tile[data-key='{record.key}'] .film")
            for record in records
        }
        sizes = {
            frames: films[frames].evaluate("film => [film.clientWidth, film.firstElementChild.clientHeight]")
            for frames in (6, 2)
        }
        assert sizes[6][0] == 6 * sizes[6][1]
        assert sizes[2] == [2 * sizes[6][1], sizes[6][1]]
        lines = films[60].locator(".band").evaluate_all("all => all.map((one) => [one.clientWidth, one.clientHeight])")
        assert sum(line_width // line_height for line_width, line_height in lines) == 60
        edge = page.locator("#grid").evaluate("grid => grid.getBoundingClientRect().right")
        assert all(
            right <= edge
            for right in page.locator("#grid .window, #grid .band").evaluate_all(
                "all => all.map((one) => one.getBoundingClientRect().right)"
            )
        )


def test_the_marker_of_a_film_follows_the_frame(visit_atlas: Open, atlas: Path) -> None:
    """It shows at the pointer only, is where the bar is scrubbed to, and covers nothing, with forced colours either."""
    page = visit_atlas(atlas, "#view=filmstrip", forced_colors="active")
    marker = page.locator(".marker").first
    expect(marker).to_have_css("opacity", "0")
    page.locator(".rail").first.scroll_into_view_if_needed()
    box = page.locator(".rail").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 4.5 / FRAMES * box["width"], box["y"] + 6)

    expect(marker).to_have_css("opacity", "1")
    expect(marker).to_have_css("background-color", re.compile(", 0\\)$"))
    place = "one => one.getBoundingClientRect().left - one.parentElement.getBoundingClientRect().left"
    wait_until(page, lambda: abs(marker.evaluate(place) - 4 / FRAMES * box["width"]) < 1, "the fifth frame")
    page.mouse.move(2, 2)
    page.mouse.move(box["x"] + 5, box["y"] - 20)
    expect(marker).to_have_css("animation-name", "thumb")


def test_the_list_has_columns_that_sort(visit_atlas: Open, atlas: Path) -> None:
    """A heading sorts by its score, again in reverse; the address and the columns of a narrow screen follow."""
    page = visit_atlas(atlas, viewport=DESK)
    wake(page)
    page.get_by_label("View").select_option("List")
    heads = page.locator("#heads button")

    expect(heads).to_have_count(8)
    heads.filter(has_text="Objective").click()
    first = page.locator("#grid .tile").first
    expect(first).to_have_attribute("data-key", RECORDS[-1].key)
    expect(first.locator(".number").nth(4)).to_have_text(f"Objective: {RECORDS[-1].checkpoints[-1].objective:.1f}")
    heads.filter(has_text="Objective").click()
    expect(page).to_have_url(re.compile("#sort=objective&reverse=1&view=list$"))
    expect(first).to_have_attribute("data-key", RECORDS[0].key)
    page.set_viewport_size({"width": 360, "height": 800})
    expect(heads).to_have_text(["Name", "Objective ▴"])
    expect(first.locator(".number")).to_have_count(1)


def test_no_number_is_cut_off(visit_atlas: Open, atlas: Path) -> None:
    """At every width and number of columns a number is whole or absent."""
    page = visit_atlas(atlas, "#view=tile&columns=9")

    for width, view, columns in (
        (1280, "tile", (8, 9)),
        (1440, "tile", (10, 11)),
        (1920, "tile", (13, 14)),
        (1280, "filmstrip", (1, 2, 3, 5, 8)),
        (360, "filmstrip", (1, 2)),
        (360, "list", (1,)),
        (1280, "list", (1,)),
    ):
        page.set_viewport_size({"width": width, "height": 700})
        for number in columns:
            page.evaluate("hash => { location.hash = hash }", f"#sort=distance&view={view}&columns={number}")
            expect(page.locator("#grid")).to_have_attribute("aria-colcount", str(number))
            page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            assert page.evaluate(CLIPPED) == []
            # The score that the pairs are sorted by is the last to go.
            seen = """one => !one.offsetParent
                || one.getBoundingClientRect().top < one.parentElement.getBoundingClientRect().bottom - 1"""
            assert view == "list" or page.locator("#grid .numbers > :first-child").first.evaluate(seen)


def test_the_first_layout_is_the_last(open_atlas: Open, atlas: Path) -> None:
    """With scrollbars that take room, the tiles that are drawn first have the places of those after a resize."""
    for width in (360, 768):
        page = open_atlas(atlas, hash="#view=tile", viewport={"width": width, "height": 800})
        expect(page.locator("#count")).to_have_text("30 of 30 pairs")
        places = "[...document.querySelectorAll('#grid .window')].map((one) => one.getBoundingClientRect().left)"
        first = page.evaluate(places)
        assert page.evaluate("innerWidth - document.documentElement.clientWidth") > 0
        page.evaluate(
            "dispatchEvent(new Event('resize')), new Promise(d => requestAnimationFrame(() => setTimeout(d)))"
        )
        assert page.evaluate(places) == first
        assert page.evaluate(OVERLAPS) == 0
        assert first[1] - first[0] >= page.evaluate("document.querySelector('#grid .window').clientWidth") + 10


# ---- marks


def test_weak_and_dead_ends_look_different(open_atlas: Open, tmp_path: Path) -> None:
    """Each has its mark at the name, its sign in a small picture, its words for screen readers, and its filter."""
    weak, dead = make_record(4, kept_a=0.3), make_record(DEAD_ROW)
    (tmp_path / "labels.csv").write_text(f"neuron,label\n{weak.a},<b>Curves</b>\n", encoding="utf-8")
    publish(tmp_path, [make_record(0), weak, dead])
    page = open_atlas(tmp_path, hash="#view=tile", may_fail=True)
    tile = page.locator(f".tile[data-key='{weak.key}']")

    expect(page.locator("#ends option")).to_have_text(["all", "both strong (1)", "one weak (1)", "one not excited (1)"])
    expect(tile.locator(".weak")).to_have_text("weak")
    expect(tile.locator(".label")).to_have_text("<b>Curves</b>")
    styles = [
        page.locator(mark).first.evaluate("one => getComputedStyle(one).borderTopStyle") for mark in (".weak", ".dead")
    ]
    assert styles[0] != styles[1]
    tile.locator(".weak").click()
    expect(page.locator("#note")).to_contain_text("keeps less than half of its strongest activation")
    expect(page.locator("#grid-page")).to_be_visible()
    page.get_by_role("searchbox").fill("curves")
    expect(page.locator("#grid .tile")).to_have_count(1)
    page.get_by_role("searchbox").fill("")
    page.get_by_label("Columns").fill("16")
    page.locator("#ends").select_option("weak")
    expect(page.locator("#grid .tile")).to_have_count(1)
    assert keys_shown(page) == [weak.key]
    expect(page.get_by_role("button", name="Remove ends one weak")).to_be_visible()


# ---- keyboard


def test_the_keyboard_reaches_the_strips_at_once_and_everything_on_a_tile(open_atlas: Open, atlas: Path) -> None:
    """The first stop skips to the strips; Space pauses and plays, and other keys open neurons and mark the strip."""
    page = open_atlas(atlas, hash="#view=tile", viewport=DESK)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Skip to the strips")).to_be_focused()
    page.keyboard.press("Enter")
    player = page.locator("#grid .player").first

    expect(player).to_be_focused()
    expect(player).to_have_attribute("aria-valuetext", "playing 6 frames")
    page.keyboard.press(" ")
    expect(player).to_have_attribute("aria-valuetext", re.compile("^frame . of 6$"))
    expect(page.locator(".strip").first).to_have_css("animation-name", "none")
    assert page.evaluate("scrollY") == 0
    page.keyboard.press(" ")
    expect(player).to_have_attribute("aria-valuetext", "playing 6 frames")
    page.keyboard.press("f")
    expect(page.locator("#grid .star").first).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("c")
    expect(page.locator("#tray")).to_contain_text("Choose one more strip")
    page.keyboard.press("Tab")
    expect(page.locator("#grid .star").first).not_to_be_focused()
    page.locator("#grid .player").first.focus()
    page.keyboard.press("b")
    expect(page.locator("#neuron-title")).to_have_text(RECORDS[0].b)


def test_a_click_on_a_name_opens_its_neuron(visit_atlas: Open, atlas: Path) -> None:
    """Help and behaviour agree: a name leads to all pairs of the neuron, picture and numbers to the pair."""
    page = visit_atlas(atlas)
    page.locator("#grid .to-neuron").nth(1).click()
    expect(page.locator("#neuron-title")).to_have_text(RECORDS[0].b)
    page.go_back()
    page.locator("#grid .numbers").first.click()
    expect(page.locator("#pair-title")).to_be_visible()


def test_play_all_is_where_something_plays(visit_atlas: Open, atlas: Path) -> None:
    """The grid and a pair have it; About, the matrix and a neuron have neither it nor a speed."""
    page = visit_atlas(atlas, "#view=tile")
    play, speed = page.locator("#play"), page.get_by_label("Speed")

    for hash, plays in (("", True), (f"pair={RECORDS[0].key}", True), ("about", False), ("matrix", False)):
        page.evaluate("hash => { location.hash = hash }", hash)
        page.wait_for_function("page => document.body.dataset.page === page", arg=hash.split("=")[0] or "grid")
        expect(play).to_be_visible(visible=plays)
        expect(speed).to_be_visible(visible=plays)


# ---- favourites and comparing


def test_favourites_stay_in_this_browser_and_can_be_shared(open_atlas: Open, atlas: Path) -> None:
    """Stars are counted, filtered and kept over a reload; an address has their keys."""
    page = open_atlas(atlas, hash="#view=tile")
    stars = page.locator("#grid .star")
    for place in (1, 3):
        stars.nth(place).click()
    wanted = [keys_shown(page)[place] for place in (1, 3)]

    expect(page.get_by_role("button", name="Favourites 2")).to_be_visible()
    page.reload()
    page.get_by_role("button", name="Favourites 2").click()
    expect(page.locator("#count")).to_have_text("2 of 30 pairs")
    assert keys_shown(page) == wanted
    page.evaluate("isthmus.copy = async (text) => { window.copied = text; }")
    page.get_by_role("button", name="Share").click()
    page.wait_for_function("() => window.copied")
    assert page.evaluate("copied").endswith(f"#keys={'..'.join(wanted)}")
    stars.first.click()
    expect(page.locator("#count")).to_have_text("1 of 30 pairs")
    page.evaluate("location.href = copied")
    expect(page.locator("#count")).to_have_text("2 of 30 pairs")
    expect(page.get_by_role("button", name="Remove chosen 2 pairs")).to_be_visible()


def test_a_browser_that_keeps_nothing_loses_nothing_else(open_atlas: Open, atlas: Path) -> None:
    """If storage is refused, favourites last for the visit, the page says so, and everything else works."""
    page = open_atlas(atlas, apart=True)
    page.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('refused'); } })")
    page.reload()
    expect(page.locator("#example")).to_be_visible()
    page.locator("#grid .star").first.click()

    expect(page.get_by_role("button", name="Favourites 1")).to_be_visible()
    expect(page.locator("#said")).to_contain_text("until this page is closed")


def test_two_to_four_strips_are_chosen_to_compare(visit_atlas: Open, atlas: Path) -> None:
    """The tray lists them and leads to their comparison; a fifth is not taken, and each can be put back."""
    page = visit_atlas(atlas, "#view=tile")
    adds = page.locator("#grid .add")
    for place in range(5):
        adds.nth(place).click()
    keys = keys_shown(page)

    link = page.get_by_role("link", name="Compare 4 strips")
    expect(link).to_have_attribute("href", re.compile(f"compare={'..'.join(keys[:4])}$"))
    expect(adds.nth(4)).to_have_attribute("aria-pressed", "false")
    page.get_by_role("button", name=f"Do not compare {RECORDS[0].a} to {RECORDS[0].b}").click()
    link = page.get_by_role("link", name="Compare 3 strips")
    expect(link).to_have_attribute("href", re.compile(f"compare={'..'.join(keys[1:4])}$"))
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#tray")).to_be_hidden()


# ---- filters


def test_settings_are_told_apart_by_what_differs_and_ranges_say_their_ends(open_atlas: Open, tmp_path: Path) -> None:
    """The list of settings has the values that differ, not digests; the fields of a score show its least and most."""
    first, second = make_record(0), make_record(1)
    changed = {**second.settings, "steps": 64}
    publish(tmp_path, [first, second.model_copy(update={"settings": changed, "settings_digest": "f" * 20})])
    page = open_atlas(tmp_path, hash="#view=tile", may_fail=True)
    for tile, steps in zip(page.locator("#grid .tile").all(), ("steps 512", "steps 64"), strict=True):
        expect(tile).to_have_attribute("title", re.compile(steps))
        expect(tile.locator(".differs")).to_have_text(re.compile(steps))
    page.locator("#filters > summary").click()

    expect(page.get_by_label("Settings").locator("option")).to_have_text(
        ["all", re.compile(r"steps 512.* \(1\)"), re.compile(r"steps 64.* \(1\)")]
    )
    page.get_by_label("Settings").select_option("f" * 20)
    expect(page.get_by_role("button", name="Remove settings steps 64")).to_have_attribute("title", "f" * 20)
    expect(page.get_by_label("Objective, min")).to_have_attribute("placeholder", "min 5.12")
    expect(page.get_by_label("Objective, max")).to_have_attribute("placeholder", "max 6.12")


def test_the_example_has_a_frame_that_excites_both(open_atlas: Open, tmp_path: Path) -> None:
    """A strip of two frames is the example only if there is no longer one; nothing between its ends is named then."""
    ends = {"frames": 2, "activation_a": [5.0, 1.0], "activation_b": [1.0, 5.0], "neighbour_distance": [0.1]}
    short, longer = make_record(0, **ends), make_record(1)
    for row, record in enumerate((short, longer)):
        write_pictures(tmp_path, record.key, row)
    publish(tmp_path, [short])
    page = open_atlas(tmp_path)
    captions = page.locator("#example figcaption span")

    expect(page.locator("#example")).to_be_visible()
    expect(captions.locator("visible=true")).to_have_text(["excites a", "excites b"])
    expect(page.locator("#welcome")).to_contain_text("1 strip of images, for a pair of")
    publish(tmp_path, [longer])
    page = open_atlas(tmp_path)
    expect(page.locator("#example img")).to_have_attribute("alt", f"The frames of {longer.a} to {longer.b}")
    expect(captions.locator("visible=true")).to_have_text(["excites a", "both", "excites b"])
    expect(page.locator("#welcome")).to_contain_text("2 strips of images, each for a pair of")


# ---- damaged files, paper and old browsers


def test_a_picture_that_is_cut_short_is_named(open_atlas: Open, tmp_path: Path) -> None:
    """Browsers decode a part of the file and report no error; the page finds it and names it, in every frame."""
    records = [make_record(0), make_record(1)]
    for row, record in enumerate(records):
        write_pictures(tmp_path, record.key, row)
    publish(tmp_path, records)
    for path in tmp_path.glob(f"*/*/{records[1].key}.*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    page = open_atlas(tmp_path, hash="#view=filmstrip")

    expect(page.locator(f".tile[data-key='{records[1].key}']")).to_contain_text(
        f"No picture at previews/{records[1].key[:2]}/{records[1].key}.webp"
    )
    expect(page.locator(f".tile[data-key='{records[0].key}'] img")).to_have_count(1)
    page.evaluate(f"location.hash = '#pair={records[1].key}'")
    sheet = f"sheets/{records[1].key[:2]}/{records[1].key}.png"
    expect(page.locator("#reason")).to_have_text(f"No picture at {sheet}.")
    expect(page.locator("#frames .failure")).to_have_text([f"No picture at {sheet}"] * FRAMES)
    expect(page.locator("#large img")).to_have_count(0)
    message = page.evaluate(
        "path => isthmus.assets.load('animations').then(() => isthmus.animations.check(path))", sheet
    )
    assert message == f"{sheet} could not be read."


def test_the_strips_on_the_screen_can_be_printed(visit_atlas: Open, atlas: Path) -> None:
    """On paper there are no tools, no tile is cut off or lies on another, and none is missing."""
    page = visit_atlas(atlas, "#view=tile", viewport=DESK)
    shown = page.locator("#grid .tile").count()

    for view in ("tile", "filmstrip", "list"):
        page.evaluate("hash => { location.hash = hash }", f"#view={view}")
        page.wait_for_function("view => document.querySelector('#grid').className.includes(view)", arg=view)
        page.emulate_media(media="print")
        expect(page.get_by_role("searchbox")).to_be_hidden()
        expect(page.get_by_role("button", name="Play all")).to_be_hidden()
        expect(page.get_by_role("button", name="alignment")).to_be_visible()  # a word of the sentence
        assert page.evaluate(PRINTED) == [0, 0]
        page.emulate_media(media="screen")
    assert shown > 12


def test_other_pages_can_be_printed(visit_atlas: Open, land_atlas: Path) -> None:
    """On paper there are no fields, and of a long list the rows of the screen, one below the other."""
    page = visit_atlas(land_atlas, "#land", viewport=DESK)
    for place, part in (
        ("land", "#land-view"),
        ("matrix", "#cells table"),
        (f"neuron={LAYERS[0]}:{HUB}", ".caption"),
    ):
        page.evaluate("hash => { location.hash = hash }", f"#{place}")
        expect(page.locator(f".page.shown {part}").first).to_be_visible()
        page.emulate_media(media="print")
        expect(page.locator("main :is(label, input, select, summary)").locator("visible=true")).to_have_count(0)
        if part != ".caption":
            page.emulate_media(media="screen")
    rows = page.locator(".partner").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect()).map(({ top, bottom }) => [top, bottom])"
    )
    assert len(rows) > 2
    assert all(end <= start for (_, end), (start, _) in pairwise(rows))
    height = page.locator("#partners").evaluate("one => one.offsetHeight")
    assert height < rows[-1][1] - rows[0][0] + 40
    page.emulate_media(media="screen")


def test_browsers_without_the_newest_css_have_the_same_layout_and_colours(
    open_atlas: Open, serve: Callable[[Path], str], atlas: Path
) -> None:
    """If round(), light-dark() and :has() mean nothing, every part has its place and its colours."""
    at = serve(atlas)
    new = open_atlas(atlas, at=at, hash="#view=filmstrip&ends=strong", color_scheme="light")
    expect(new.locator("#chips button")).to_have_count(1)
    old = open_atlas(atlas, at=at, file="manifest.json", may_fail=True, apart=True, color_scheme="light")
    old.route(re.compile(r"\.css$"), as_in_an_old_browser)
    old.goto(new.url)
    expect(old.locator("#chips button")).to_have_count(1)

    light = new.evaluate(PLACES)
    assert len(light) > 50
    assert old.evaluate(PLACES) == light
    for page in (new, old):
        page.emulate_media(color_scheme="dark")
    dark = new.evaluate(PLACES)
    assert dark != light
    assert old.evaluate(PLACES) == dark


def as_in_an_old_browser(route: Route) -> None:
    response = route.fetch()
    route.fulfill(response=response, body=re.sub(r"\bround\(|light-dark\(|:has\(", "nonsense(", response.text()))
