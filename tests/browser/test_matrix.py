"""The matrix: layers by layers, and within two layers channels by channels."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Locator, Page, expect
from sample_atlases import FAILED_ROW, LAYERS, PAIRS, make_record, publish
from screen import assert_no_sideways_scroll

Open = Callable[..., Page]  # the fixture `open_atlas`
RECORDS = [make_record(row) for row in range(PAIRS)]


def shares(page: Page) -> list[float]:
    """Return how strong the colour of each coloured cell is, from 0 to 1."""
    found = page.locator("#cells td").evaluate_all("all => all.map(one => one.style.getPropertyValue('--share'))")
    return [float(one) for one in found if one]


def matrix_of(*layers: object) -> str:
    return f"#matrix={quote(json.dumps(layers))}"


def at_cell(canvas: Locator, row: int, column: int, size: float = 24) -> dict[str, float]:
    """Return the position of a cell's middle on the canvas, px; axes take 56 px at the left and 24 px at the top."""
    return {"x": 56 + (column + 0.5) * size, "y": 24 + (row + 0.5) * size}


def test_each_cell_leads_to_exactly_its_pairs(visit_atlas: Open, atlas: Path) -> None:
    """A cell has the mean of the chosen score and the number of pairs; names of links begin with what is seen."""
    page = visit_atlas(atlas, "#matrix")
    page.get_by_label("Colour").select_option("Objective")
    across = [r for r in RECORDS if (r.a.split(":")[0], r.b.split(":")[0]) == LAYERS]
    mean = sum(r.checkpoints[-1].objective for r in across) / len(across)

    cell = page.get_by_role(
        "link", name=f"{mean:.1f} · {len(across)} pairs from {LAYERS[0]} to {LAYERS[1]}: show the strips"
    )
    expect(cell).to_have_text(f"{mean:.1f} · {len(across)} pairs")
    for link in page.locator("#cells a").all():
        assert str(link.get_attribute("aria-label")).startswith(str(link.text_content()))
    cell.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#count")).to_have_text(f"{len(across)} of 30 pairs")
    expect(page).to_have_url(re.compile(f"#layer_a={LAYERS[0]}&layer_b={LAYERS[1]}$"))


def test_a_cell_of_several_settings_leads_to_just_its_pairs(open_atlas: Open, tmp_path: Path) -> None:
    """Layers are in the order of the network; a search for the names of both neurons would find other pairs too."""
    ends = [("block10:1", "block2:2"), ("block10:11", "block2:2"), ("block10:1", "block2:21"), ("block2:1", "block2:2")]
    records = [make_record(FAILED_ROW, a=a, b=b, key=f"{i:020x}") for i, (a, b) in enumerate(ends)]
    records.append(make_record(FAILED_ROW, a=ends[0][0], b=ends[0][1], settings_digest="f" * 20, key="f" * 20))
    publish(tmp_path, records)
    page = open_atlas(tmp_path, hash="#matrix", may_fail=True)
    expect(page.locator("#cells tbody th")).to_have_text(["block2", "block10"])
    page.get_by_role("link", name="channels of block10 by block2").click()

    expect(page.locator("#cells output")).to_contain_text("block10:1 to block2:2: 2 pairs")
    page.get_by_role("button", name="Open").click()
    expect(page.locator("#count")).to_have_text("2 of 5 pairs")
    expect(page.locator("#grid .tile")).to_have_count(2)


def test_the_strongest_colour_is_the_best_value(open_atlas: Open, tmp_path: Path) -> None:
    """Whether a score should be high or low; a scale is not stretched over noise, and its ends are numbers."""
    differences = {"stem": 0.02, "block1": 0.2, "block2": 0.1}
    records = [
        make_record(1, a=f"{layer}:1", b=f"{layer}:2", neighbour_distance=[value] * 5, key=f"{i:020x}")
        for i, (layer, value) in enumerate(differences.items())
    ]
    failed = make_record(FAILED_ROW, a="block3:1", b="block3:2", key=f"{7:020x}")
    publish(tmp_path, [*records, failed])
    page = open_atlas(tmp_path, hash="#matrix", may_fail=True, forced_colors="active", color_scheme="dark")
    score, scale = page.get_by_label("Colour"), page.locator("#matrix-scale")
    expect(scale.locator(".ramp")).to_have_css(
        "print-color-adjust", "exact"
    )  # browsers print no backgrounds by default
    cell = {layer: page.locator("#cells td").filter(has_text=f"{value:.2f}") for layer, value in differences.items()}

    score.select_option("smoothness")
    expect(scale).to_have_text(re.compile(r"^\s*0\.200\s*0\.0200 \(best\)\s*no score\s*$"))
    expect(cell["stem"]).to_have_attribute("style", "--share: 1;")
    expect(cell["block1"]).to_have_attribute("style", "--share: 0;")
    expect(page.locator("#matrix-state")).to_contain_text("from 0.0200 to 0.200. 1 of 4 cells has no such score.")
    expect(page.locator("#cells td.hatched")).to_have_text("– · 1 pairchannels")
    bar = """cell => {
        const { width, backgroundColor } = getComputedStyle(cell, "::before");
        return [parseFloat(width) / cell.clientWidth, backgroundColor !== getComputedStyle(cell).backgroundColor];
    }"""  # with forced colours, the length of a bar is the strength of the colour
    assert cell["block2"].evaluate(bar) == [pytest.approx(5 / 9, abs=0.01), True]

    score.select_option("objective")  # all alike
    expect(scale).to_have_text(re.compile(r"^\s*5\.3[56]\s*6\.8[89] \(best\)"))
    assert shares(page) == [pytest.approx(0.5)] * 3
    score.select_option("")
    expect(scale).to_have_text(re.compile(r"^\s*0\s*1\s*no score\s*$"))
    assert shares(page) == [1] * 4


def test_channels_have_axes_and_a_cursor(open_atlas: Open, atlas: Path) -> None:
    """Keys move over the channels and say which pairs are there; Enter, a click and a second tap open the pair."""
    page = open_atlas(atlas, hash="#matrix", has_touch=True)
    page.get_by_role("link", name=f"channels of {LAYERS[0]} by {LAYERS[0]}").click()
    within = sorted((int(r.a.split(":")[1]), int(r.b.split(":")[1]), r) for r in RECORDS if r.b.startswith(LAYERS[0]))
    expect(page.locator("#cells")).to_contain_text(f"Rows: a, channels of {LAYERS[0]}. Columns: b, channels of")
    status, canvas = page.locator("#cells output"), page.locator("#cells canvas").last

    expect(status).to_contain_text(f"{within[0][2].a} to {within[0][2].b}: 1 pair")
    canvas.focus()
    page.keyboard.press("ArrowDown")
    expect(status).to_have_text(f"{within[1][2].a} to {within[0][2].b}: no pair")
    expect(page.get_by_role("button", name="Open")).to_be_disabled()
    page.keyboard.press("ArrowRight")
    expect(status).to_contain_text(f"{within[1][2].a} to {within[1][2].b}: 1 pair")
    page.keyboard.press("Enter")
    expect(page.locator("#facts")).to_contain_text(within[1][2].key)
    page.go_back()
    canvas.click(position=at_cell(canvas, 0, 0))
    expect(page.locator("#facts")).to_contain_text(within[0][2].key)

    page.go_back()
    canvas.tap(position=at_cell(canvas, 2, 2))
    expect(status).to_contain_text(f"{within[2][2].a} to {within[2][2].b}: 1 pair")
    canvas.tap(position=at_cell(canvas, 2, 2))
    expect(page.locator("#facts")).to_contain_text(within[2][2].key)


def test_a_matrix_of_thousands_of_channels_is_zoomed_and_scrolled(open_atlas: Open, tmp_path: Path) -> None:
    """The whole is seen first; keys go from pair to pair, zoom and scroll; small squares are found near the pointer."""
    layer, neurons = LAYERS[0], 3000
    names = [f"{layer}:{channel}" for channel in range(neurons + 1)]
    record = make_record(8)
    publish(
        tmp_path,
        [record.model_copy(update={"a": a, "b": b, "key": f"{i:020x}"}) for i, (a, b) in enumerate(pairwise(names))],
    )
    page = open_atlas(tmp_path, hash=matrix_of(layer, layer), may_fail=True)  # no pictures
    picture, status = page.locator(".picture"), page.locator("#cells output")
    canvas = page.locator("#cells canvas").last

    sizes = "one => [one.scrollWidth <= one.clientWidth, one.scrollHeight <= one.clientHeight]"
    assert picture.evaluate(sizes) == [True, True]
    canvas.focus()
    page.keyboard.press("ArrowDown")
    expect(status).to_have_text(f"{layer}:1 to {layer}:1: no pair")
    page.keyboard.press("Shift+ArrowRight")
    expect(status).to_contain_text(f"{layer}:1 to {layer}:2: 1 pair")
    for _ in range(20):
        page.keyboard.press("+")
    page.keyboard.press("End")
    expect(status).to_have_text(f"{layer}:1 to {layer}:{neurons}: no pair")
    page.keyboard.press("Shift+ArrowDown")
    expect(status).to_contain_text(f"{layer}:{neurons - 1} to {layer}:{neurons}: 1 pair")
    assert picture.evaluate("one => [one.scrollLeft, one.scrollTop].every(at => at > 64 * 2900)")
    ink = """canvas => {
        const ratio = devicePixelRatio;
        const { data } = canvas.getContext("2d").getImageData(canvas.width - 9, canvas.height - 9, 1, 1);
        return data[3];
    }"""
    page.wait_for_function(f"canvas => ({ink})(canvas) > 0", arg=page.locator("#cells canvas").first.element_handle())

    page.get_by_role("button", name="Whole").click()
    box = canvas.bounding_box()
    assert box is not None
    canvas.hover(position={"x": box["width"] - 4, "y": box["height"] - 2})
    expect(status).to_have_text(re.compile(rf"{layer}:(29\d\d) to {layer}:\d+: 1 pair"))


WRONG = {
    "nonsense": 'Expected two layers as ["LAYER","LAYER"], found nonsense.',
    "{}": 'Expected two layers as ["LAYER","LAYER"], found {}.',
    json.dumps(LAYERS[:1]): 'Expected two layers as ["LAYER","LAYER"], found ["block9',
    '["nowhere","stem"]': 'This atlas has no pairs of the layer "nowhere".',
    f'["{LAYERS[0]}",null]': "This atlas has no pairs of the layer null.",
    json.dumps(LAYERS[::-1]): f"no pair from {LAYERS[1]} to {LAYERS[0]}. 10 pairs from {LAYERS[0]} to {LAYERS[1]}.",
}


def test_a_wrong_address_of_a_matrix_ends_in_a_sentence(visit_atlas: Open, atlas: Path) -> None:
    """Whatever is wrong with the layers is said in words, above the matrix of all layers."""
    page = visit_atlas(atlas, viewport={"width": 360, "height": 740})

    for wrong, words in WRONG.items():
        page.evaluate("place => { location.hash = place }", f"#matrix={quote(wrong)}")
        expect(page.locator("#matrix-wrong")).to_contain_text(words)
        expect(page.locator("#cells td a")).to_have_count(6)
        assert_no_sideways_scroll(page)
    page.get_by_role("link", name="10 pairs from").first.click()
    expect(page.locator("#matrix-wrong")).to_be_hidden()
    expect(page.locator("#matrix-title")).to_have_text(f"{LAYERS[0]} by {LAYERS[1]}")
    page.get_by_role("link", name="All layers").click()
    expect(page.locator("#cells td a")).to_have_count(6)
