"""The page of a neuron, the map, and the page about the atlas."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import yaml
from PIL import Image
from playwright.sync_api import Page, expect
from sample_atlases import (
    FAILED_REASON,
    FAILED_ROW,
    FRAMES,
    LAYERS,
    MODEL_DIGEST,
    PAIRS,
    make_record,
    publish,
    write_coloured_pictures,
)
from screen import assert_no_sideways_scroll, keys_shown, wait_for_pictures

from core.atlas.plan_files import SPEC_PATH
from core.spec_file import parse_spec

Open = Callable[..., Page]  # the fixture `open_atlas`
RECORDS = [make_record(row) for row in range(PAIRS)]


# ---- neuron


def test_all_strips_of_a_neuron_start_from_it(open_atlas: Open, tmp_path: Path) -> None:
    """If the neuron is b, the frames are reversed, so that every row begins with the image that excites it."""
    colours = [(250 - 40 * frame, 40 * frame, 90) for frame in range(FRAMES)]
    records = [make_record(2, a="stem:1", b="stem:5"), make_record(3, a="stem:5", b="stem:9")]
    for record in records:
        write_coloured_pictures(tmp_path, record.key, colours)
    publish(tmp_path, records)
    page = open_atlas(tmp_path, hash="#neuron=stem:5")
    expect(page.locator("#partners .partner")).to_have_count(2)
    page.wait_for_function("[...document.querySelectorAll('#partners img')].every(one => one.complete)")
    wait_for_pictures(page)

    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for partner, first in (("stem:1", colours[-1]), ("stem:9", colours[0])):
        row = page.locator(".partner").filter(has_text=re.compile(f"{partner}"))
        box = row.locator("img").first.bounding_box()
        assert box is not None
        seen = shot.getpixel((int(box["x"] + box["width"] / 2), int(box["y"] + box["height"] / 2)))
        assert isinstance(seen, tuple)
        assert all(abs(one - other) <= 12 for one, other in zip(seen, first, strict=True))


def test_partners_are_sorted_and_lead_on(open_atlas: Open, tmp_path: Path) -> None:
    """The most similar partner comes first unless another sort order is chosen; a name leads to its neuron's page."""
    failed = make_record(FAILED_ROW)
    similar = {"stem:7": 0.3, "stem:8": 0.1, "stem:9": 0.2}
    records = [
        make_record(row, a="stem:5", b=partner, layer_distance={"x": [distance]})
        for row, (partner, distance) in enumerate(similar.items(), start=1)
    ]
    publish(tmp_path, [*records, failed.model_copy(update={"a": "stem:4", "b": "stem:5"})])
    page = open_atlas(tmp_path, hash="#neuron=stem:5", may_fail=True)
    names = page.locator(".partner .to-neuron")

    expect(names).to_have_text(["stem:8", "stem:9", "stem:7", "stem:4"])
    expect(page.locator(".partner").last).to_contain_text(FAILED_REASON)
    page.locator("#partners-sort").select_option("Name")
    expect(names).to_have_text(["stem:4", "stem:7", "stem:8", "stem:9"])
    names.nth(1).click()
    expect(page.locator("#neuron-title")).to_have_text("stem:7")
    expect(page.locator("#neuron-state")).to_contain_text("1 pair")
    page.get_by_role("link", name="Strip from stem:7 to stem:5").click()
    expect(page.locator("#pair-title")).to_have_text("stem:5stem:7")


def test_a_neuron_that_is_not_excited_is_marked_on_its_page(open_atlas: Open, tmp_path: Path) -> None:
    """The title is marked if the neuron is dead in every pair; otherwise the page says where it is dead."""
    records = [
        make_record(row, a="stem:5", b=f"stem:{row}", noise_a=1e3, kept_a=None, noise_b=1e3 if row == 8 else 0)
        for row in (8, 9)
    ]
    records += [make_record(10, a="stem:8", b="stem:9"), make_record(FAILED_ROW, a="stem:5", b="stem:9")]
    publish(tmp_path, records)
    page = open_atlas(tmp_path, hash="#neuron=stem:5", may_fail=True)

    expect(page.locator("#neuron-title")).to_have_text("stem:5 not excited")
    expect(page.locator("#neuron-dead")).to_have_text(re.compile("^Not excited: nothing .* more than noise does.$"))
    page.locator("#partners-sort").select_option("Name")
    expect(page.locator(".partner .caption .to-neuron")).to_have_text(["stem:8 not excited", "stem:9", "stem:9"])
    page.evaluate("location.hash = '#neuron=stem:8'")
    expect(page.locator("#neuron-title")).to_have_text("stem:8")
    expect(page.locator("#neuron-dead")).to_have_text(re.compile("^Not excited in 1 of 2 pairs: "))
    expect(page.locator(".partner > .caption > .dead")).to_have_text("stem:8 not excited")
    page.evaluate("location.hash = '#neuron=stem:9'")
    expect(page.locator("#neuron-dead")).to_be_hidden()


def test_the_page_of_an_unknown_neuron_says_so(open_atlas: Open, atlas: Path) -> None:
    """The page of a neuron without pairs says that the atlas has none."""
    page = open_atlas(atlas, hash="#neuron=mixed4a:476")

    expect(page.locator("#neuron-page")).to_contain_text("This atlas has no pair of mixed4a:476.")


# ---- map


def test_the_map_counts_and_leads_to_the_strips(open_atlas: Open, atlas: Path) -> None:
    """Each cell has the mean of the chosen score and the number of pairs; opening it shows these pairs."""
    page = open_atlas(atlas, hash="#map")
    page.get_by_label("Colour").select_option("Objective")
    across = [r for r in RECORDS if (r.a.split(":")[0], r.b.split(":")[0]) == LAYERS]
    mean = sum(r.checkpoints[-1].objective for r in across) / len(across)

    cell = page.get_by_role(
        "link", name=f"{LAYERS[0]} to {LAYERS[1]}: {len(across)} pairs, {mean:.1f}; show the strips"
    )
    expect(cell).to_have_text(f"{mean:.1f}")
    cell.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#count")).to_have_text(f"{len(across)} of 30 pairs")
    expect(page).to_have_url(re.compile(f"layer_a={LAYERS[0]}&layer_b={LAYERS[1]}"))


def test_inside_two_layers_the_map_goes_channel_by_channel(open_atlas: Open, atlas: Path) -> None:
    """Arrow keys move over the channels and say which pairs are there; Enter and a click open the pair."""
    page = open_atlas(atlas, hash="#map")
    page.get_by_role("link", name=f"{LAYERS[0]} to {LAYERS[0]}, channel by channel").click()
    within = sorted((int(r.a.split(":")[1]), int(r.b.split(":")[1]), r) for r in RECORDS if r.b.startswith(LAYERS[0]))

    expect(page.locator("#matrix output")).to_contain_text(f"{within[0][2].a} to {within[0][2].b}: 1 pair")
    page.locator("#matrix canvas").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#matrix output")).to_contain_text(f"{within[1][2].a} to {within[0][2].b}: no pair")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#matrix output")).to_contain_text(f"{within[1][2].a} to {within[1][2].b}: 1 pair")
    page.keyboard.press("Enter")
    expect(page.locator("#facts")).to_contain_text(within[1][2].key)
    page.go_back()
    page.locator("#matrix canvas").click(position={"x": 10, "y": 10})
    expect(page.locator("#facts")).to_contain_text(within[0][2].key)


def test_a_map_of_thousands_of_channels_is_drawn_to_its_last_cell(open_atlas: Open, tmp_path: Path) -> None:
    """A canvas has at most 4096 px in each direction, because browsers leave larger ones blank."""
    layer, neurons = LAYERS[0], 3000
    keys = [f"{number:020x}" for number in range(neurons)]
    records = [make_record(8, a=f"{layer}:{i}", b=f"{layer}:{i + 1}", key=key) for i, key in enumerate(keys)]
    publish(tmp_path, records)
    for key in keys[-2:]:
        write_coloured_pictures(tmp_path, key, [(200, 100, 50)] * FRAMES)
    page = open_atlas(tmp_path, hash=f"#map={quote(json.dumps([layer, layer]))}")
    canvas = page.locator("#matrix canvas")

    drawn = """canvas => {
        const { data } = canvas.getContext("2d").getImageData(canvas.width - 2, canvas.height - 2, 2, 2);
        return [canvas.width, canvas.height, canvas.offsetWidth, canvas.offsetHeight, Math.max(...data)];
    }"""
    *sizes, ink = canvas.evaluate(drawn)
    assert sizes == [4096, 4096, 2 * neurons, 2 * neurons]
    assert ink > 0
    canvas.click(position={"x": 2 * neurons - 1, "y": 2 * neurons - 1})
    expect(page.locator("#facts")).to_contain_text(keys[-1])


def test_a_map_of_unknown_layers_is_the_map_of_all_layers(open_atlas: Open, atlas: Path) -> None:
    """Any text in the address leads to a map."""
    page = open_atlas(atlas)

    for wrong in ("nonsense", '["nowhere","stem"]', "{}", "[1]"):
        page.evaluate("place => { location.hash = place }", f"#map={quote(wrong)}")
        expect(page.locator("#matrix td a")).to_have_count(6)
        page.get_by_role("link", name="Strips", exact=True).click()


# ---- about


def test_the_atlas_explains_itself(open_atlas: Open, tmp_path: Path) -> None:
    """The page has model, settings, counts, versions, failures with reasons, a citation, and a spec that builds it."""
    spec = parse_spec(
        {"name": "small", "pairs": {"select": "all", "neurons": ["stem:0-3"]}, "render": {"steps": 99}}, ""
    )
    (tmp_path / SPEC_PATH).parent.mkdir()
    (tmp_path / SPEC_PATH).write_bytes(spec.to_json())
    publish(tmp_path, [make_record(0), make_record(FAILED_ROW)])
    page = open_atlas(tmp_path, hash="#about")
    about = page.locator("#about-page")

    for text in (
        "efficientnet-lite0",
        MODEL_DIGEST,
        "1 done, 1 failed",
        "CPU x86_64",
        "isthmus 0.1.0, numpy 2.4.6",
        "6 frames of 128 px, 512 steps",
        "learning_rate",
        FAILED_REASON,
        "doi:10.23915/distill.00012",
    ):
        expect(about).to_contain_text(text)
    written = yaml.safe_load(about.get_by_label("Spec of this atlas").text_content() or "")
    assert parse_spec(written, "page") == spec
    about.get_by_role("link", name="1 failed").click()
    expect(page.locator("#count")).to_have_text("1 of 2 pairs")
    expect(page.locator("#grid .tile")).to_have_count(1)
    assert keys_shown(page) == [make_record(FAILED_ROW).key]


def test_a_spec_that_is_too_long_for_a_page_is_left_out(open_atlas: Open, tmp_path: Path) -> None:
    """A spec with thousands of listed pairs does not make the page larger; the page says where it is."""
    listed = [["stem:0", f"stem:{channel}"] for channel in range(1, 3000)]
    (tmp_path / SPEC_PATH).parent.mkdir()
    (tmp_path / SPEC_PATH).write_text(json.dumps({"name": "x", "pairs": {"select": "list", "list": listed}}))
    publish(tmp_path, [make_record(0)])
    page = open_atlas(tmp_path, hash="#about")

    expect(page.locator("#about-page")).to_contain_text("The spec is too long for this page")
    assert (tmp_path / "index.html").stat().st_size < 20_000


def test_the_other_pages_fit_a_telephone(open_atlas: Open, atlas: Path) -> None:
    """At 360 px nothing is wider than the screen; wide tables scroll by themselves."""
    page = open_atlas(atlas, viewport={"width": 360, "height": 740})

    for name, place in (("map", "#map"), ("about", "#about"), ("neuron", f"#neuron={LAYERS[0]}:68")):
        page.evaluate("place => { location.hash = place }", place)
        expect(page.locator(f"#{name}-title")).to_be_visible()
        assert_no_sideways_scroll(page)
