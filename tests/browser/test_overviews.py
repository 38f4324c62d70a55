"""The page of a neuron, and the page about the atlas."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
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
    SIZE_PX,
    make_record,
    publish,
    write_coloured_pictures,
)
from screen import assert_no_sideways_scroll, keys_shown, wait_for_pictures

from core.atlas.plan_files import SPEC_PATH
from core.atlas.records import preview_path
from core.spec_file import parse_spec

Open = Callable[..., Page]  # the fixture `open_atlas`
RECORDS = [make_record(row) for row in range(PAIRS)]
COLOURS = [(250 - 40 * frame, 40 * frame, 90) for frame in range(FRAMES)]
SIMILAR = {"stem:7": 0.3, "stem:8": 0.1, "stem:9": 0.2}  # partners of stem:5, and their layer change


@pytest.fixture(scope="module")
def neurons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas of three neurons :5, each with partners in its own layer. Tests must not change it."""
    root = tmp_path_factory.mktemp("neurons")
    records = [
        make_record(2, a="ends:1", b="ends:5", key="a" * 20),
        make_record(3, a="ends:5", b="ends:9", key="b" * 20),
    ]
    records += [
        make_record(row, a="stem:5", b=partner, layer_distance={"x": [distance]}, key=f"{row:020x}")
        for row, (partner, distance) in enumerate(SIMILAR.items(), start=1)
    ]
    records += [
        make_record(
            row,
            a="dead:5",
            b=f"dead:{row}",
            noise_a=1e3,
            kept_a=None,
            noise_b=1e3 if row == 8 else 0,
            key=f"{row:020x}",
        )
        for row in (8, 9)
    ]
    records.append(make_record(10, a="dead:8", b="dead:9", key="c" * 20))
    for record in records:
        write_coloured_pictures(root, record.key, COLOURS)
    failed = [
        make_record(FAILED_ROW, a=a, b=b, key=key * 20)
        for a, b, key in (("stem:4", "stem:5", "e"), ("dead:5", "dead:9", "f"))
    ]
    publish(root, [*records, *failed])
    return root


# ---- neuron


def test_all_strips_of_a_neuron_start_from_it(visit_atlas: Open, neurons: Path) -> None:
    """If the neuron is b, the frames are reversed, so that every row begins with the image that excites it."""
    page = visit_atlas(neurons, "#neuron=ends:5")
    expect(page.locator("#partners .partner")).to_have_count(2)
    page.wait_for_function("[...document.querySelectorAll('#partners img')].every(one => one.complete)")
    wait_for_pictures(page)

    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for partner, first in (("ends:1", COLOURS[-1]), ("ends:9", COLOURS[0])):
        row = page.locator(".partner").filter(has_text=re.compile(f"{partner}"))
        box = row.locator("img").first.bounding_box()
        assert box is not None
        seen = shot.getpixel((int(box["x"] + box["width"] / 2), int(box["y"] + box["height"] / 2)))
        assert isinstance(seen, tuple)
        assert all(abs(one - other) <= 12 for one, other in zip(seen, first, strict=True))


def test_partners_are_sorted_and_lead_on(visit_atlas: Open, neurons: Path) -> None:
    """The most similar partner comes first unless another sort order is chosen; a name leads to its neuron's page."""
    page = visit_atlas(neurons, "#neuron=stem:5")
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


def test_a_neuron_that_is_not_excited_is_marked_on_its_page(visit_atlas: Open, neurons: Path) -> None:
    """The title is marked if the neuron is dead in every pair; otherwise the page says where it is dead."""
    page = visit_atlas(neurons, "#neuron=dead:5")

    expect(page.locator("#neuron-title")).to_have_text("dead:5 not excited")
    expect(page.locator("#neuron-marks")).to_have_text(re.compile("^Not excited: nothing .* more than noise does.$"))
    page.locator("#partners-sort").select_option("Name")
    expect(page.locator(".partner .caption .to-neuron")).to_have_text(["dead:8 not excited", "dead:9", "dead:9"])
    page.evaluate("location.hash = '#neuron=dead:8'")
    expect(page.locator("#neuron-title")).to_have_text("dead:8")
    expect(page.locator("#neuron-marks")).to_have_text(re.compile("^Not excited in 1 of 2 pairs: "))
    expect(page.locator(".partner > .caption > .dead")).to_have_text("dead:8 not excited")
    page.evaluate("location.hash = '#neuron=dead:9'")
    expect(page.locator("#neuron-marks")).to_be_hidden()


def test_a_preview_that_is_missing_or_cut_short_is_named(open_atlas: Open, tmp_path: Path) -> None:
    """A row shows the path of the file once, and other rows are not affected."""
    records = [make_record(8, a="mixed4a:5", b=f"mixed4a:{partner}", key=f"{partner:020x}") for partner in (6, 7, 8)]
    whole, cut, missing = (record.key for record in records)
    for key in (whole, cut):
        write_coloured_pictures(tmp_path, key, COLOURS)
    path = tmp_path / preview_path(cut)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    publish(tmp_path, [record.model_copy(update={"model": "inception-v1"}) for record in records])
    page = open_atlas(tmp_path, hash="#neuron=mixed4a:5", may_fail=True)

    for key in (cut, missing):
        row = page.locator(".partner .frames", has_text=preview_path(key))
        expect(row).to_have_text(f"No picture at {preview_path(key)}")
    expect(page.locator(".partner img")).to_have_count(FRAMES)

    microscope = page.get_by_role("link", name="The same neuron on OpenAI Microscope")
    expect(microscope).to_have_attribute("href", "https://microscope.openai.com/models/inceptionv1/mixed4a_0/5")
    expect(microscope).to_have_attribute("rel", "noreferrer")
    expect(microscope).not_to_have_attribute("target", re.compile("."))


def test_the_page_of_an_unknown_neuron_says_so(visit_atlas: Open, atlas: Path) -> None:
    """The page of a neuron without pairs says that the atlas has none; of a layer, that its channel is missing."""
    page = visit_atlas(atlas, "#neuron=mixed4a:476")

    expect(page.locator("#neuron-page")).to_contain_text("This atlas has no pair of mixed4a:476.")
    for written in (LAYERS[1], f"{LAYERS[1]}:"):
        page.evaluate("hash => { location.hash = hash }", f"#neuron={written}")
        words = rf"^{LAYERS[1]} is a layer: a channel is missing, as in {LAYERS[1]}:\d+\.$"
        expect(page.locator("#neuron-state")).to_have_text(re.compile(words))


# ---- about


def test_the_atlas_explains_itself(open_atlas: Open, tmp_path: Path) -> None:
    """The page has model, settings, counts, versions, failures with reasons, a citation, and a spec that builds it."""
    spec = parse_spec(
        {"name": "small", "pairs": {"select": "all", "neurons": ["stem:0-3"]}, "render": {"steps": 99}}, ""
    )
    (tmp_path / SPEC_PATH).parent.mkdir()
    (tmp_path / SPEC_PATH).write_bytes(spec.to_json())
    write_coloured_pictures(tmp_path, make_record(0).key, [(200, 100, 50)] * FRAMES)
    publish(tmp_path, [make_record(0), make_record(FAILED_ROW)])
    page = open_atlas(tmp_path, hash="#about")
    about = page.locator("#about-page")

    for text in (
        "efficientnet-lite0",
        MODEL_DIGEST,
        "1 done, 1 failed",
        "CPU x86_64",
        "isthmus 0.1.0, numpy 2.4.6",
        f"6 frames of {SIZE_PX} px, 512 steps",
        "learning_rate",
        FAILED_REASON,
        "doi:10.23915/distill.00012",
        "layer change (Λ)",
        "How much neighbouring frames differ for the alignment layers",
    ):
        expect(about).to_contain_text(text)
    written = yaml.safe_load(about.get_by_label("Spec of this atlas").text_content() or "")
    assert parse_spec(written, "page") == spec
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    about.get_by_role("button", name="Copy").last.click()
    expect(about.get_by_role("status").last).to_have_text("The BibTeX is on the clipboard.")
    assert "@article{mordvintsev2018differentiable," in page.evaluate("navigator.clipboard.readText()")
    about.get_by_role("link", name="1 failed").click()
    expect(page.locator("#count")).to_have_text("1 of 2 pairs")
    expect(page.locator("#grid .tile")).to_have_count(1)
    assert keys_shown(page) == [make_record(FAILED_ROW).key]


def test_what_differs_between_settings_comes_first(open_atlas: Open, tmp_path: Path) -> None:
    """Each digest has the values that not all settings share, with their meanings, and leads to its strips."""
    records = [make_record(row, key=f"{row:020x}") for row in (FAILED_ROW, FAILED_ROW + 1)]
    other = {"settings": records[1].settings | {"steps": 64}, "settings_digest": "f" * 20, "status": "failed"}
    publish(tmp_path, [records[0], records[1].model_copy(update=other | {"reason": "x"})])
    page = open_atlas(tmp_path, hash="#about", may_fail=True)
    differences = page.locator("#differences")

    expect(differences).to_contain_text("ffffffffffffsteps 64")
    expect(differences.locator("dl").last).to_have_text(re.compile("^stepsUpdates of the images"))
    differences.get_by_role("link", name="f" * 12).click()
    expect(page.locator("#count")).to_have_text("1 of 2 pairs")


def test_other_weights_are_told_apart(open_atlas: Open, tmp_path: Path) -> None:
    """Each digest of weights has the number of its pairs; pairs of the same settings are told apart by it."""
    records = [
        make_record(row, model_digest=str(weights) * 64, key=f"{row:019x}{weights}")
        for row, weights in ((0, 1), (3, 1), (0, 2))
    ]
    for record in records:
        write_coloured_pictures(tmp_path, record.key, [(200, 100, 50)] * FRAMES)
    publish(tmp_path, records)
    page = open_atlas(tmp_path, hash="#about")

    expect(page.locator("#weights")).to_have_text(f"{'1' * 64} (2 pairs), {'2' * 64} (1 pair)")
    expect(page.locator("#differences")).to_contain_text("weights 22222222")
    expect(page.locator("#differences .meanings")).to_have_text(re.compile("^weightsDigest of the model's weights"))
    page.locator("#differences a").last.click()
    expect(page.locator("#count")).to_have_text("1 of 3 pairs")
    expect(page.locator("#chips")).to_contain_text("settings weights 22222222")
    expect(page.locator("#grid .names")).to_contain_text("weights 22222222")
    page.evaluate("hash => { location.hash = hash }", f"#pair={records[0].key}")
    expect(page.locator("#summary p").last).to_have_text("Settings: weights 11111111.")
    page.locator("#compare-with > summary").click()
    expect(page.locator("#candidates li").first).to_have_text("in other settings: weights 22222222")


def test_a_spec_that_is_too_long_for_a_page_is_left_out(open_atlas: Open, tmp_path: Path) -> None:
    """A spec with thousands of listed pairs does not make the page larger; the page says where it is."""
    listed = [["stem:0", f"stem:{channel}"] for channel in range(1, 3000)]
    (tmp_path / SPEC_PATH).parent.mkdir()
    (tmp_path / SPEC_PATH).write_text(json.dumps({"name": "x", "pairs": {"select": "list", "list": listed}}))
    write_coloured_pictures(tmp_path, make_record(0).key, [(200, 100, 50)] * FRAMES)
    publish(tmp_path, [make_record(0)])
    page = open_atlas(tmp_path, hash="#about")

    expect(page.locator("#about-page")).to_contain_text("The spec is too long for this page")
    assert (tmp_path / "index.html").stat().st_size < 20_000


def test_the_other_pages_fit_a_telephone(visit_atlas: Open, atlas: Path) -> None:
    """At 360 px nothing is wider than the screen; wide tables scroll by themselves."""
    page = visit_atlas(atlas, viewport={"width": 360, "height": 740})

    for name, place in (("matrix", "#matrix"), ("about", "#about"), ("neuron", f"#neuron={LAYERS[0]}:68")):
        page.evaluate("place => { location.hash = place }", place)
        expect(page.locator(f"#{name}-title")).to_be_visible()
        assert_no_sideways_scroll(page)
