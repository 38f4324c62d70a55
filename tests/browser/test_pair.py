"""The page of one pair: its frames, curves and record, and its links to other pages."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from playwright.sync_api import Page, Route, expect
from sample_atlases import (
    FAILED_REASON,
    FAILED_ROW,
    FRAMES,
    MODEL_DIGEST,
    PAIRS,
    SIZE_PX,
    make_record,
    publish,
    write_coloured_pictures,
    write_pictures,
)
from screen import DESK, assert_no_sideways_scroll, expect_frame, unfold, wait_for_pictures, wait_until

from core.atlas.keys import pair_keys
from core.atlas.plan_files import SPEC_PATH
from core.atlas.records import Checkpoint
from core.gallery.index import KEY_ROWS
from core.neurons import Neuron, Pair
from core.spec import ListedPairs
from core.spec_file import parse_spec

Open = Callable[..., Page]  # the fixture `open_atlas`
Serve = Callable[[Path], str]  # the fixture `serve`
RECORD = make_record(4)
COLOURS = [(40 * frame, 255 - 40 * frame, 90) for frame in range(FRAMES)]
COLOURED = make_record(4, key=f"{1:020x}", a="coloured:1", b="coloured:2")
CURVES = {"a": [8.0, 6.5, 4.0, 3.0, 2.5, 2.0], "b": [-1.0, -0.5, 0.0, 1.0, 2.0, 3.0]}
CURVED = make_record(4, key=f"{2:020x}", a="curved:1", b="curved:2", activation_a=CURVES["a"], activation_b=CURVES["b"])
WEAK = make_record(4, key=f"{3:020x}", a="weak:1", b="weak:2", kept_b=0.3, activation_b=[3.0, 4.0, 3, 2, 1, 1.2])
SIZED = [
    make_record(row, key=f"{4 + row:020x}", a=f"sized:{row}", frames=frames) for row, frames in enumerate((2, 6, 60))
]
KEPT = {"sheet_sha256": "3" * 64, "sheet_bytes": 3, "preview_sha256": "4" * 64, "preview_bytes": 4}
EARLIER = [Checkpoint(step=step, objective=step / 100, picture=KEPT) for step in (32, 64)]
CHECKED = make_record(
    0, key=f"{7:020x}", a="checked:1", b="checked:2", checkpoints=[*EARLIER, Checkpoint(step=512, objective=5)]
)
WIDE = make_record(
    4,
    key=f"{8:020x}",
    a="wide:1",
    b="wide:2",
    frames=64,
    size_px=1024,
    checkpoints=[Checkpoint(step=9, objective=1, picture=KEPT)],
)
AROUND = [  # pairs of stem:0, the most similar last, and another pair of stem:1
    *(
        make_record(
            row, a="stem:0", b=f"stem:{channel}", layer_distance={"x": [10 - channel]}, key=f"{100 + channel:020x}"
        )
        for row, channel in enumerate(range(1, 10), start=8)
    ),
    make_record(1, a="stem:1", b="stem:77", key=f"{177:020x}"),
]

GOOD = {"activation_a": [4.0, 4.2, 3, 2, 1, 0.5], "reach_a": 4.2, "noise_a": 0.4, "kept_a": 0.952}
LOW = {"activation_b": [3.5, 4.0, 3, 2, 1, 1.2], "reach_b": 4.0, "noise_b": 0.4, "kept_b": 0.3}
UNKNOWN = dict.fromkeys(["reach_a", "reach_b", "noise_a", "noise_b", "kept_a", "kept_b", "crossing", "pace"])
CASES: list[tuple[dict[str, Any], list[str]]] = [
    (
        {},
        [
            "a keeps 80 % of its strongest activation at its own end, b keeps 100 %.",
            "They cross in the middle (0.47).",
            "The pace is uneven: the largest step is 3.8 times the smallest.",
        ],
    ),
    (
        GOOD | LOW | {"crossing": None, "pace": 1.01},
        [
            "a keeps 95 % of its strongest activation at its own end, b keeps only 30 %.",
            "They do not cross: b is no stronger at its own end than at the other.",
            "The pace is even: the largest step is as large as the smallest.",
        ],
    ),
    (
        GOOD | {"noise_b": 99.0, "kept_b": None, "crossing": None, "pace": None, "layer_distance": {}},
        [
            "a keeps 95 % of its strongest activation at its own end.",
            "b is not excited: its strongest activation on a frame is 4.80, on noise 99.0.",
            "They do not cross: b is not excited.",
            "The pace is unknown: there are no alignment layers.",
        ],
    ),
    (
        GOOD | {"activation_a": [-1.0, 0.5, 2, 1, 0, -2], "kept_a": -0.5, "crossing": 0.21, "pace": 2.0},
        [
            "a is not active at its own end (-1.00), b keeps 100 % of its strongest activation at its own end.",
            "They cross nearer to the end of a (0.21).",
            "The pace is fairly even: the largest step is 2 times the smallest.",
        ],
    ),
    (
        GOOD | UNKNOWN,
        [
            "a keeps 95 % of its strongest activation at its own end, b keeps 100 %.",
            "An older version wrote this record: it lacks the activation on noise, the crossing and the pace.",
        ],
    ),
]
TOLD = [
    (make_record(4, key=f"{200 + place:020x}", a=f"told:{place}", **changes), sentences)
    for place, (changes, sentences) in enumerate(CASES)
]


@pytest.fixture(scope="module")
def various(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas of pairs that have something special, and neurons of their own. Tests must not change it."""
    root = tmp_path_factory.mktemp("various")
    labels = f"neuron,label\n{WEAK.a},<b>Curves</b>\n{WEAK.a},arcs\n"
    (root / "labels.csv").write_text(labels, encoding="utf-8")
    told = [record for record, _ in TOLD]
    publish(root, [COLOURED, CURVED, WEAK, *SIZED, CHECKED, WIDE, *AROUND, *told], name="various")
    write_coloured_pictures(root, COLOURED.key, COLOURS)
    for record in (CURVED, WEAK, *SIZED, *AROUND, *told):
        write_coloured_pictures(root, record.key, [(200, 100, 50)] * record.frames)
    for record, steps in ((CHECKED, (None, 32, 64)), (WIDE, (None, 9))):
        for step in steps:
            write_pictures(root, record.key, 4, step)
    return root


def test_picture_name_and_enter_open_the_pair_and_back_returns(open_atlas: Open, atlas: Path) -> None:
    """The pair has an address of its own; going back leads to the tile, which has the focus again."""
    page = open_atlas(atlas, hash="#view=tile&columns=1&sort=smoothness", viewport=DESK)

    for place, part in enumerate((".window", ".numbers", "Enter"), 3):
        page.evaluate("scrollTo(0, 3000)")
        tile = page.locator(f"#grid [data-place='{place}']")
        if part == "Enter":
            tile.locator(".player").focus()
            page.keyboard.press("Enter")
        else:
            tile.locator(part).click()

        expect(page).to_have_url(re.compile("pair="))
        key = page.evaluate("new URLSearchParams(location.hash.slice(1)).get('pair')")
        expect(page.locator("#facts")).to_contain_text(key)
        expect(page.locator("#pair-title")).to_be_focused()
        page.go_back()
        expect(page.locator(f"#grid [data-key='{key}']")).to_be_in_viewport()
        if part != ".numbers":
            expect(page.locator(f"#grid [data-key='{key}'] .player")).to_be_focused()


def test_the_page_of_an_unknown_key_says_so(visit_atlas: Open, atlas: Path) -> None:
    """A link to a pair that is not in this atlas says so, and the link to the strips works."""
    page = visit_atlas(atlas, "#pair=00112233445566778899")

    expect(page.locator("#reason")).to_contain_text("no pair with the key 00112233445566778899")
    page.evaluate("location.hash = '#pair='")
    expect(page.locator("#reason")).to_have_text("The address names no pair: expected #pair=KEY.")
    page.get_by_role("link", name="Strips").click()
    expect(page.locator("#count")).to_have_text("30 of 30 pairs")


def test_each_frame_is_its_part_of_the_sheet(visit_atlas: Open, various: Path) -> None:
    """Frame i shows the i-th square of the sheet and nothing of the squares beside it."""
    page = visit_atlas(various, f"#pair={COLOURED.key}")
    for image in page.locator("#frames img").all():
        expect(image).to_have_js_property("naturalWidth", FRAMES * SIZE_PX)
    wait_for_pictures(page)
    page.evaluate("document.querySelector('#cursor').hidden = true")

    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for frame, colour in enumerate(COLOURS):
        box = page.locator("#frames img").nth(frame).bounding_box()
        assert box is not None
        for part in (0.02, 0.5, 0.98):
            seen = shot.getpixel((int(box["x"] + part * box["width"]), int(box["y"] + box["height"] / 2)))
            assert isinstance(seen, tuple)
            assert all(abs(one - other) <= 3 for one, other in zip(seen, colour, strict=True))


def test_the_scrubber_moves_through_frames_and_curves_and_the_strip_plays(visit_atlas: Open, atlas: Path) -> None:
    """Pointer and arrow keys move the cursor; the large frame and both activations follow.

    Space plays and pauses the strip without scrolling; a screen reader hears that it plays, and where it stops.
    """
    page = visit_atlas(atlas, f"#pair={RECORD.key}")
    scrubber = page.get_by_role("slider", name="Frame")
    large = page.locator("#large img")
    expect(page.locator("#curves polyline")).to_have_count(2)

    scrubber.focus()
    for key, frame in (("ArrowRight", 2), ("ArrowRight", 3), ("End", 6), ("ArrowRight", 6), ("Home", 1)):
        page.keyboard.press(key)
        expect_frame(large, frame)
        a, b = (f"{curve[frame - 1]:.2f}" for curve in (RECORD.activation_a, RECORD.activation_b))
        words = scrubber.get_attribute("aria-valuetext") or ""
        assert re.fullmatch(rf"frame {frame} of 6, activation of a {a}\d*, of b {b}\d*", words) or float(b) < 1
        expect(page.locator("#legend")).to_contain_text(f"frame {frame} of 6")

    box = scrubber.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 4.5 / 6 * box["width"], box["y"] + box["height"] - 20)
    expect_frame(large, 5)
    cursor = page.locator("#cursor").bounding_box()
    assert cursor is not None
    assert cursor["x"] == pytest.approx(box["x"] + 4 / 6 * box["width"], abs=1)

    page.mouse.move(2, 2)
    top = page.evaluate("scrollY")
    page.get_by_label("Speed").select_option("4")
    for play, pause in (
        (page.get_by_role("button", name="Play all").click, page.get_by_role("button", name="Pause all").click),
        (partial(page.locator("#pair-title").press, " "), partial(scrubber.press, " ")),
    ):
        play()
        expect(scrubber).to_have_attribute("aria-valuetext", "playing 6 frames")
        number = scrubber.get_attribute("aria-valuenow")
        for passed in ("frame 1 of 6", "frame 4 of 6"):
            page.wait_for_function(
                "passed => !document.querySelector('#legend').textContent.startsWith(passed)", arg=passed
            )
        assert scrubber.get_attribute("aria-valuenow") == number
        pause()
        stopped = page.locator("#legend").text_content() or ""
        frame = int(stopped.removeprefix("frame ")[0])
        expect(scrubber).to_have_attribute("aria-valuetext", re.compile(f"^frame {frame} of 6, activation of a "))
        expect(scrubber).to_have_attribute("aria-valuenow", str(frame))
        page.wait_for_timeout(200)  # ms; four frames at this speed
        assert page.locator("#legend").text_content() == stopped
    assert page.evaluate("scrollY") == top


def test_each_curve_has_a_scale_of_its_own(visit_atlas: Open, various: Path) -> None:
    """Point i is in the middle of frame i, from the least to the greatest value; numbers and a line at zero tell."""
    page = visit_atlas(various, f"#pair={CURVED.key}")
    expect(page.locator("#facts")).to_contain_text(CURVED.key)

    for end, values in CURVES.items():
        points = page.locator(f"#curves polyline.curve-{end}").get_attribute("points") or ""
        least, greatest = min(values), max(values)
        drawn = [tuple(map(float, point.split(","))) for point in points.split()]
        expected = [(i + 0.5, 100 * (1 - (value - least) / (greatest - least))) for i, value in enumerate(values)]
        assert drawn == [pytest.approx(point, abs=0.01) for point in expected]
    expect(page.locator("#curves .axis")).to_have_text(["8.003.00", "2.00-1.00"])
    zero = page.locator("#curves line")
    expect(zero).to_have_class("zero curve-b")
    assert float(zero.get_attribute("y1") or "") == pytest.approx(75)


def test_paper_and_forced_colours_keep_the_frames_in_sight(visit_atlas: Open, various: Path) -> None:
    """On paper, frames, curves and words are on one page; the cursor covers no frame in forced colours."""
    page = visit_atlas(various, f"#pair={COLOURED.key}")
    expect(page.locator("#summary p")).to_have_count(3)
    wait_for_pictures(page)
    page.emulate_media(forced_colors="active")
    box = page.locator("#frames img").first.bounding_box()
    assert box is not None
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    assert shot.getpixel((int(box["x"] + box["width"] / 2), int(box["y"] + box["height"] / 2))) == COLOURS[0]

    page.emulate_media(forced_colors="none", media="print")
    page.set_viewport_size({"width": 794, "height": 1123})  # A4 at 96 dpi
    large, strip, words = (page.locator(part).bounding_box() for part in ("#large", "#scrubber", "#telling"))
    assert large is not None
    assert strip is not None
    assert words is not None
    assert large["width"] >= 200
    assert strip["x"] + strip["width"] <= 794
    assert strip["height"] > strip["width"] / FRAMES + 60
    assert page.locator("#stage").evaluate("one => getComputedStyle(one).breakInside") == "avoid"
    for part in ("#actions", "#pair-play", "#neighbours"):
        expect(page.locator(part)).to_be_hidden()


def test_a_permalink_opens_its_pair_with_every_number_of_the_record(open_atlas: Open, atlas: Path) -> None:
    """An address with a key shows both neurons and all frames of the lossless sheet, and the title names the pair.

    The page has the numbers of every frame and every field, and the download is the record itself.
    """
    page = open_atlas(atlas, hash=f"#pair={RECORD.key}")

    expect(page.locator("#pair-title")).to_have_text(f"{RECORD.a}{RECORD.b}")
    expect(page.locator("#frames img")).to_have_count(FRAMES)
    for image in page.locator("#stage img").all():
        expect(image).to_have_js_property("naturalWidth", FRAMES * SIZE_PX)
        assert image.get_attribute("src") == f"sheets/{RECORD.key[:2]}/{RECORD.key}.png"
    assert page.title() == f"{RECORD.a} to {RECORD.b} · first-light · Isthmus"

    expect(page.locator("#numbers tbody tr")).to_have_count(FRAMES)
    expect(page.locator("#numbers")).to_be_hidden()
    page.locator("#record-fold > summary").click()

    cells = page.locator("#numbers tbody td").evaluate_all("all => all.map(one => one.title)")
    distances = [RECORD.neighbour_distance, RECORD.layer_distance["block5"], RECORD.layer_distance["block7"]]
    rows = [
        [
            RECORD.activation_a[i],
            RECORD.activation_b[i],
            *(values[i] if i < FRAMES - 1 else None for values in distances),
        ]
        for i in range(FRAMES)
    ]
    assert [None if cell == "" else float(cell) for cell in cells] == [value for row in rows for value in row]
    measured = page.locator("#measured .values b").evaluate_all("all => all.map(one => one.title)")
    names = ["reach_a", "reach_b", "noise_a", "noise_b", "kept_a", "kept_b", "crossing", "pace"]
    assert list(map(float, measured)) == [getattr(RECORD, name) for name in names]
    facts = page.locator("#facts").inner_text()
    simple = {"key", "a", "b", "method", "model", "model_digest", "settings_digest", "device", "sheet_sha256"}
    for value in [str(getattr(RECORD, name)) for name in simple] + ["264080", "57576", "9.5", "9.12", "symmetric"]:
        assert value in facts
    page.locator("#download > summary").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Record, JSON").click()
    a, b = (str(neuron).replace(":", "-") for neuron in (RECORD.a, RECORD.b))
    assert download.value.suggested_filename == f"first-light_{a}_to_{b}_{RECORD.key[:8]}.json"
    assert download.value.path().read_text(encoding="utf-8") == RECORD.to_line() + "\n"

    page.keyboard.press("Escape")
    expect(page.locator(f"#grid .tile[data-key='{RECORD.key}'] .player")).to_be_focused()
    expect(page.locator(f"#grid .tile[data-key='{RECORD.key}']")).to_be_in_viewport()


def test_the_page_of_a_pair_says_in_words_what_its_numbers_mean(visit_atlas: Open, various: Path) -> None:
    """Kept ends, crossing and pace of good, bad and unmeasured strips; neurons that are not excited are marked."""
    page = visit_atlas(various)

    for record, sentences in TOLD:
        page.evaluate("hash => { location.hash = hash }", f"#pair={record.key}")
        expect(page.locator("#facts")).to_contain_text(record.key)
        expect(page.locator("#summary p")).to_have_text(sentences)
        expect(page.locator("#pair-title .dead")).to_have_count(int(record.dead_b))


def test_labels_and_weak_ends_stand_at_the_names(visit_atlas: Open, various: Path) -> None:
    """The title, and the page that compares the strip, have the first label of a neuron and mark a weak end."""
    page = visit_atlas(various, f"#pair={WEAK.key}")

    for title in ("#pair-title", "#compare-large figcaption"):
        names = page.locator(f"{title} .neuron")
        expect(names.nth(0).locator(".label")).to_have_text("<b>Curves</b>")
        expect(names.nth(1).locator(".weak")).to_have_text("weak")
        expect(page.locator(f"{title} .label")).to_have_count(1)
        page.evaluate("hash => { location.hash = hash }", f"#compare={WEAK.key}")


def test_sheet_and_preview_can_be_downloaded(open_atlas: Open, serve: Serve, atlas: Path) -> None:
    """The links download the files of the atlas, byte for byte."""
    page = open_atlas(atlas, hash=f"#pair={RECORD.key}", at=serve(atlas))
    page.locator("#download > summary").click()

    for name, path in (
        ("Sheet", f"sheets/{RECORD.key[:2]}/{RECORD.key}.png"),
        ("Preview", f"previews/{RECORD.key[:2]}/{RECORD.key}.webp"),
    ):
        with page.expect_download() as download:
            page.get_by_role("link", name=name).click()
        assert download.value.path().read_bytes() == (atlas / path).read_bytes()


def test_link_and_spec_can_be_copied(open_atlas: Open, serve: Serve, atlas: Path) -> None:
    """The copied link has no filters, and the page says what it has copied."""
    at = serve(atlas)
    page = open_atlas(
        atlas, hash=f"#status=done&pair={RECORD.key}", at=at, permissions=["clipboard-read", "clipboard-write"]
    )
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator("#copied")).to_have_text("The link is on the clipboard.")
    assert page.evaluate("navigator.clipboard.readText()") == f"{at}index.html#pair={RECORD.key}"

    page.locator("#spec-fold > summary").click()
    page.get_by_role("button", name="Copy the spec").click()
    expect(page.locator("#copied")).to_have_text("The spec is on the clipboard.")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#pair-spec").text_content()


@pytest.mark.parametrize("layer", ["block9_expand_pre_relu", "a\"ä'\\{}[]#&*!|>%@`\U0001f98a<é"])
def test_the_spec_renders_the_same_pair_again(open_atlas: Open, tmp_path: Path, layer: str) -> None:
    """The text is a valid spec of the model as it was built, and its only pair has the same key."""
    pair = Pair.of(Neuron(layer, 3), Neuron(layer, 70))
    settings = RECORD.settings | {"seed": 7, "checkpoints": [32, 64]}
    [(_, key)] = pair_keys(
        [pair],
        MODEL_DIGEST,
        parse_spec({"name": "x", "pairs": {"select": "list", "list": [["a:1", "a:2"]]}, "render": settings}, "").render,
    )
    record = make_record(FAILED_ROW, key=key, a=str(pair.a), b=str(pair.b), settings=settings, model="frozen-graph")
    model = {"name": "frozen-graph", "file": "graph ü.pb", "sha256": None, "input": "x", "value_range": [-1, 1]}
    (tmp_path / SPEC_PATH).parent.mkdir()
    (tmp_path / SPEC_PATH).write_text(f'{{"name": "x", "model": {yaml_of(model)}}}', encoding="utf-8")
    publish(tmp_path, [record])
    page = open_atlas(tmp_path, hash=f"#pair={key}")
    expect(page.locator("#pair-spec")).to_contain_text("select: list")

    spec = parse_spec(yaml.safe_load(page.locator("#pair-spec").text_content() or ""), "page")
    assert spec.model.model_dump(mode="json", exclude_none=True) == {
        name: value for name, value in model.items() if value is not None
    }
    assert isinstance(spec.pairs, ListedPairs)
    [(a, b)] = spec.pairs.list
    [(_, again)] = pair_keys([Pair.of(Neuron.parse(a), Neuron.parse(b))], MODEL_DIGEST, spec.render)
    assert again == key


def yaml_of(value: object) -> str:
    return json.dumps(value)


def test_the_strip_shows_before_the_columns_of_all_pairs(open_atlas: Open, serve: Serve, tmp_path: Path) -> None:
    """A link waits for the row of its pair and its record alone; other pairs and scores come when they have loaded."""
    other = make_record(FAILED_ROW + 1, a=RECORD.a, key=f"{1:020x}")
    failed = make_record(FAILED_ROW)  # copied: checking thousands of records takes long
    many = (failed.model_copy(update={"a": f"stem:{row}", "key": f"{row:020x}"}) for row in range(2, KEY_ROWS + 2))
    publish(tmp_path, [RECORD, other, *many])
    for record in (RECORD, other):
        write_pictures(tmp_path, record.key, 4)
    (tmp_path / "blank.html").write_text('<link rel="icon" href="data:,">', encoding="utf-8")
    at = serve(tmp_path)
    page = open_atlas(tmp_path, at=at, file="blank.html")
    held: list[Route] = []
    page.route("**/data/distance-*", lambda route: held.append(route))
    page.goto(f"{at}index.html#pair={RECORD.key}", wait_until="commit")

    expect(page.locator("#pair-title")).to_have_text(f"{RECORD.a}{RECORD.b}")
    expect(page.locator("#frames img").first).to_have_js_property("naturalWidth", FRAMES * SIZE_PX)
    expect(page.locator("#summary p")).to_have_count(3)
    expect(page.locator("#place")).to_have_text(re.compile(f"of {KEY_ROWS + 2:,}$"))
    expect(page.locator("#neighbours .tile")).to_have_count(0)
    wait_until(page, lambda: held, "a request for more")
    for route in held:
        route.continue_()
    expect(page.locator("#neighbours .tile")).to_have_count(1)
    expect(page.locator("#detail-state")).to_be_hidden()
    expect(page.locator("#facts")).to_contain_text("layer change")


def test_previous_and_next_go_through_the_filtered_pairs(visit_atlas: Open, atlas: Path) -> None:
    """Links, and Shift with an arrow key, follow the filters and the sort order of the grid, up to its ends."""
    page = visit_atlas(atlas, "#objective=20..&sort=objective")
    wanted = [make_record(row).key for row in range(PAIRS - 1, 14, -1)]
    page.locator("#grid .player").first.click()

    expect(page.locator("#place")).to_have_text(f"1 of {len(wanted)}")
    expect(page.locator("#previous")).to_be_hidden()
    page.get_by_role("link", name="Next").click()
    expect(page.locator("#facts")).to_contain_text(wanted[1])
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator("#facts")).to_contain_text(wanted[2])
    page.keyboard.press("Shift+ArrowLeft")
    expect(page.locator("#facts")).to_contain_text(wanted[1])
    page.get_by_role("link", name="Strips").click()
    expect(page.locator("#count")).to_have_text(f"{len(wanted)} of 30 pairs")
    page.get_by_label("Search").fill("block12")
    expect(page.locator("#count")).not_to_have_text(f"{len(wanted)} of 30 pairs")
    for link, name in (("numbers", "pair"), ("to-neuron", "neuron")):
        expect(page.locator(f"#grid .{link}").first).to_have_attribute("href", re.compile(f"text=block12.*&{name}="))


def test_earlier_checkpoints_are_shown(visit_atlas: Open, various: Path) -> None:
    """A pair that kept its strip after 32 and 64 updates shows both strips, and the history of the objective."""
    page = visit_atlas(various, f"#pair={CHECKED.key}")

    captions = ["after 32 updates, objective 0.320", "after 64 updates, objective 0.640"]
    expect(page.locator("#checkpoints figcaption")).to_have_text(captions)
    for strip in page.locator("#checkpoints img").all():
        expect(strip).to_have_js_property("naturalWidth", FRAMES * SIZE_PX)
        box = strip.bounding_box()
        assert box is not None
        assert box["width"] / box["height"] == pytest.approx(FRAMES, rel=0.02)
    expect(page.locator("#history")).to_contain_text("from 0.00 to 4.99 in 512 updates")
    expect(page.locator("#history polyline")).to_have_count(1)


def test_other_pairs_of_both_neurons_are_shown(visit_atlas: Open, various: Path) -> None:
    """For each neuron, at most six of its other pairs are shown, the most similar first, as links."""
    page = visit_atlas(various, f"#pair={AROUND[0].key}")
    expect(page.locator(".neighbours .tile")).to_have_count(7)

    shown = [
        group.locator(".tile").evaluate_all("all => all.map(one => parseInt(one.dataset.key, 16) - 100)")
        for group in page.locator(".neighbours").all()
    ]
    assert shown == [[9, 8, 7, 6, 5, 4], [77]]
    expect(page.locator(".neighbours").first).to_contain_text("All pairs of stem:0: 9")
    page.locator(".neighbours .tile .window").nth(2).click()
    expect(page.locator("#facts")).to_contain_text(f"{107:020x}")


def test_a_failed_pair_has_a_page_with_its_reason(visit_atlas: Open, atlas: Path) -> None:
    """The page has no pictures and no curves, but the reason, the settings, the record and the spec."""
    key = make_record(FAILED_ROW).key
    page = visit_atlas(atlas, f"#pair={key}")

    expect(page.locator("#reason")).to_contain_text(FAILED_REASON)
    expect(page.locator("#facts")).to_contain_text("settings.steps")
    expect(page.locator("#pair-page img:visible")).to_have_count(page.locator("#neighbours img").count())
    expect(page.locator("#scrubber")).to_be_hidden()
    unfold(page, "#download")
    expect(page.get_by_role("link", name="Record, JSON")).to_be_visible()
    expect(page.get_by_role("link", name="Sheet")).to_have_count(0)
    expect(page.locator("#movies, #css, #compare-with, #embedding")).to_have_count(4)
    expect(page.locator("#movies, #css, #compare-with, #embedding").locator("visible=true")).to_have_count(0)
    page.get_by_role("button", name="Play all").click()


def test_a_record_that_cannot_be_read_is_named_and_can_be_tried_again(open_atlas: Open, tmp_path: Path) -> None:
    """The pictures show without the record; when the file is back, trying again shows the record."""
    record = make_record(0)
    write_pictures(tmp_path, record.key, 0)
    path = tmp_path / publish(tmp_path, [record]).details[0].path
    moved = path.rename(tmp_path / "moved.js")
    page = open_atlas(tmp_path, hash=f"#pair={record.key}", may_fail=True)

    expect(page.locator("#detail-state")).to_contain_text(f"data/{path.name} could not be read")
    expect(page.locator("#frames img").first).to_have_js_property("naturalWidth", FRAMES * SIZE_PX)
    moved.rename(path)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#facts")).to_contain_text(record.key)
    expect(page.locator("#detail-state")).to_be_hidden()


def test_the_pair_fits_every_screen(visit_atlas: Open, various: Path) -> None:
    """The whole strip is as wide as the screen or a third as high, the large frame is larger, and curves fit below."""
    page = visit_atlas(various)

    for record in SIZED:
        page.evaluate("hash => { location.hash = hash }", f"#pair={record.key}")
        expect(page.locator("#facts")).to_contain_text(record.key)
        for width, height in ((360, 740), (1280, 800), (2560, 1440)):
            page.set_viewport_size({"width": width, "height": height})
            assert_no_sideways_scroll(page)
            strip, large, curves = (page.locator(part).bounding_box() for part in ("#frames", "#large", "#curves"))
            assert strip is not None
            assert large is not None
            assert curves is not None
            inner = page.evaluate("document.documentElement.clientWidth")
            assert strip["x"] + strip["width"] <= inner
            assert strip["width"] > 0.92 * inner or strip["height"] >= 0.35 * height
            assert large["height"] >= min(0.37 * height, 0.93 * inner)
            assert curves["y"] + curves["height"] <= height or width == 360 or record.frames == 2


def test_a_strip_wider_than_browsers_show_is_shown_by_its_preview(visit_atlas: Open, various: Path) -> None:
    """Firefox shows no picture of more than 32,767 px; sheet and preview can still be downloaded."""
    page = visit_atlas(various, f"#pair={WIDE.key}")

    preview = re.compile(f"previews/{WIDE.key[:2]}/{WIDE.key}.webp$")
    expect(page.locator("#frames img").first).to_have_attribute("src", preview)
    expect(page.locator("#checkpoints img")).to_have_attribute("src", re.compile(f"{WIDE.key}-9.webp$"))
    unfold(page, "#download")
    expect(page.get_by_role("link", name="Sheet, PNG")).to_have_attribute("href", re.compile(f"{WIDE.key}.png$"))
