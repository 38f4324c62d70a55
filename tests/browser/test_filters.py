"""Finding pairs: filters that combine, sort orders, counts, and an address that keeps all choices."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest
from playwright.sync_api import Page, expect
from sample_atlases import DEAD_ROW, FAILED_REASON, FAILED_ROW, LAYERS, PAIRS, make_record, publish
from screen import keys_shown, unfold, wake

from core.atlas.records import Record

Open = Callable[..., Page]  # the fixture `open_atlas`
RECORDS = [make_record(row) for row in range(PAIRS)]
DONE = [record for record in RECORDS if record.status == "done"]
ALL = "view=tile&columns=16"  # two rows have all thirty tiles


def keys_of(*records: Record) -> set[str]:
    return {record.key for record in records}


def test_words_narrow_the_tiles(open_atlas: Open, atlas: Path) -> None:
    """All words must match, in any sequence and case; count and address follow, and a reload keeps them.

    A failed pair is found by its status or its reason, and any pair by the first digits of its key.
    """
    page = open_atlas(atlas)
    page.get_by_role("searchbox").fill("DEPTHWISE:64 block9")

    expect(page.locator(".tile")).to_have_count(1)
    expect(page.locator("#count")).to_have_text("1 of 30 pairs")
    expect(page).to_have_url(re.compile("#text=DEPTHWISE%3A64\\+block9$"))
    page.reload()
    expect(page.locator("#count")).to_have_text("1 of 30 pairs")
    expect(page.get_by_role("searchbox")).to_have_value("DEPTHWISE:64 block9")

    for words in ("failed", "step 41", "not FINITE"):
        page.get_by_role("searchbox").fill("")
        expect(page.locator("#count")).to_have_text("30 of 30 pairs")
        page.get_by_role("searchbox").fill(words)
        expect(page.locator(".tile")).to_have_count(1)
        expect(page.locator(".tile")).to_contain_text(FAILED_REASON)
    page.get_by_role("searchbox").fill(RECORDS[12].key[:9])
    expect(page.locator("#count")).to_have_text("1 of 30 pairs")
    assert keys_shown(page) == [RECORDS[12].key]


def test_a_neuron_is_found_at_either_end(visit_atlas: Open, atlas: Path) -> None:
    """A neuron, or a channel of any layer, is found as a and as b, and 68 does not find 680 or 168."""
    page = visit_atlas(atlas)
    unfold(page, "#filters")

    for written in ("block9_expand_pre_relu:68", "68"):
        page.get_by_role("textbox", name="Neuron").fill(written)
        wanted = [r for r in RECORDS if any(n == written or n.endswith(f":{written}") for n in (r.a, r.b))]
        expect(page.locator("#count")).to_have_text(f"{len(wanted)} of 30 pairs")
        assert set(keys_shown(page)) == keys_of(*wanted)
        assert len(wanted) >= 1


def test_filters_combine_and_count_what_they_would_leave(visit_atlas: Open, atlas: Path) -> None:
    """Filters for layers and a range apply together; each list says how many pairs its values would leave.

    The list of ends counts pairs with a neuron that is not excited and without; failed pairs, of which that is unknown,
    are in neither.
    """
    page = visit_atlas(atlas, f"#{ALL}")
    unfold(page, "#filters")
    page.get_by_label("Layer of a").select_option(LAYERS[0])
    page.get_by_label("Layer of b").select_option(LAYERS[1])
    page.get_by_label("Objective, min").fill("11")

    across = [r for r in RECORDS if r.a.startswith(LAYERS[0]) and r.b.startswith(LAYERS[1])]
    high = [r for r in across if r.checkpoints and r.checkpoints[-1].objective >= 11]
    expect(page.locator("#count")).to_have_text(f"{len(high)} of 30 pairs")
    assert 0 < len(high) < len(across)
    assert set(keys_shown(page)) == keys_of(*high)
    within = [r for r in DONE if r.a.startswith(LAYERS[0]) and r.b.startswith(LAYERS[0])]
    left = sum(r.checkpoints[-1].objective >= 11 for r in within)
    assert left > 0
    options = page.get_by_label("Layer of b").locator("option").all_text_contents()
    assert options == ["all", f"{LAYERS[0]} ({left})", f"{LAYERS[1]} ({len(high)})"]
    expect(page).to_have_url(re.compile("objective=11\\.\\."))

    page.get_by_role("button", name="Remove layer of b").click()
    expect(page.locator("#count")).to_have_text(f"{len(high) + left} of 30 pairs")
    page.get_by_role("button", name="Clear all filters").click()
    expect(page.locator("#count")).to_have_text("30 of 30 pairs")
    expect(page.get_by_label("Objective, min")).to_have_value("")

    expect(page.locator("#ends").locator("option")).to_have_text(["all", "both strong (28)", "one not excited (1)"])
    page.locator("#ends").select_option("dead")
    expect(page.locator("#count")).to_have_text("1 of 30 pairs")
    assert keys_shown(page) == [RECORDS[DEAD_ROW].key]
    expect(page).to_have_url(re.compile("#ends=dead&"))


def test_a_range_has_two_ends(visit_atlas: Open, atlas: Path) -> None:
    """Both the least and the greatest value apply, and pairs without the score are left out.

    The crossing counts by its distance from the middle; pairs whose limit is exactly their value pass.
    """
    page = visit_atlas(atlas, f"#objective=8..12.5&{ALL}")

    wanted = [r for r in DONE if 8 <= r.checkpoints[-1].objective <= 12.5]
    expect(page.locator("#count")).to_have_text(f"{len(wanted)} of 30 pairs")
    assert set(keys_shown(page)) == keys_of(*wanted)
    unfold(page, "#filters")
    expect(page.get_by_label("Objective, min")).to_have_value("8")
    expect(page.get_by_label("Objective, max")).to_have_value("12.5")

    even = [r for r in DONE if r.pace is not None and r.pace <= 2.5 and weaker_end(r) >= 0.8]
    wanted = [r for r in even if (off := off_centre(r)) is not None and off <= 0.12]
    assert 0 < len(wanted) < len(even)
    assert 2.5 in [r.pace for r in wanted]
    page.evaluate("hash => { location.hash = hash }", f"#weaker_end=0.8..&off_centre=..0.12&{ALL}")
    expect(page.get_by_label("Objective, min")).to_have_value("")
    page.get_by_label("Pace, max").fill("2.5")

    expect(page.locator("#count")).to_have_text(f"{len(wanted)} of 30 pairs")
    assert set(keys_shown(page)) == keys_of(*wanted)
    expect(page).to_have_url(re.compile("weaker_end=0.8..&off_centre=..0.12&pace=..2.5&"))


def test_what_no_record_has_is_not_offered(open_atlas: Open, tmp_path: Path) -> None:
    """An atlas of older records has no sort orders and filters of later measurements, and addresses with them work."""
    publish(tmp_path, [make_record(FAILED_ROW)])
    page = open_atlas(tmp_path, hash="#sort=pace&pace=..2&excited=yes")
    page.locator("#filters > summary").click()

    expect(page.locator("#count")).to_have_text("1 of 1 pair")
    expect(page.get_by_label("Objective, min")).to_be_visible()
    for name in ("Weaker end, min", "Off centre, max", "Pace, max"):
        expect(page.get_by_label(name)).to_have_count(0)
    expect(page.locator("#sort option")).to_have_text(["Name", *list(ORDERS)[:5]])
    expect(page.locator("#ends")).to_be_hidden()


def test_a_filter_without_result_says_so_and_can_be_cleared(visit_atlas: Open, atlas: Path) -> None:
    """The page shows the filter, says that no pair passes, and offers to clear all filters."""
    page = visit_atlas(atlas)
    page.get_by_role("searchbox").fill("mixed4a:476")

    expect(page.locator("#state")).to_contain_text("No pair passes all filters")
    expect(page.locator("#chips")).to_contain_text("mixed4a:476")
    page.get_by_role("button", name="Clear all filters").click()
    expect(page.locator("#count")).to_have_text("30 of 30 pairs")
    expect(page.locator("#state")).to_be_hidden()
    expect(page.get_by_role("searchbox")).to_be_focused()


def balance(record: Record) -> float:
    greatest_a, greatest_b = max(record.activation_a), max(record.activation_b)
    pairs = zip(record.activation_a, record.activation_b, strict=True)
    return 1 - fmean(abs(a / greatest_a - b / greatest_b) for a, b in pairs)


def weaker_end(record: Record) -> float:
    return min(record.kept_a or 0, record.kept_b or 0)


def off_centre(record: Record) -> float | None:
    return None if record.crossing is None else abs(record.crossing - 0.5)


ORDERS: dict[str, Callable[[Record], float | None]] = {
    "Most active first": lambda r: -r.activation_a[0] - r.activation_b[-1],
    "Least pixel change first": lambda r: fmean(r.neighbour_distance),
    "Least layer change first": lambda r: fmean(r.layer_distance["block5"]),
    "Best balanced first": lambda r: -balance(r),
    "Highest objective first": lambda r: -r.checkpoints[-1].objective,
    "Best weaker end first": lambda r: -weaker_end(r),
    "Central crossing first": off_centre,
    "Most even pace first": lambda r: r.pace,
}


def test_the_best_come_first_and_failed_pairs_last(visit_atlas: Open, atlas: Path) -> None:
    """In every sort order, reversed or not, pairs without a value come last; so may a dead neuron's pairs."""
    page = visit_atlas(atlas, f"#{ALL}")
    wake(page)
    is_reversed = False

    for order, value in ORDERS.items():
        value_of = {record.key: known for record in DONE if (known := value(record)) is not None}
        without = keys_of(*RECORDS) - value_of.keys()
        dead = {RECORDS[DEAD_ROW].key} if order == "Central crossing first" else set()
        assert without == {RECORDS[FAILED_ROW].key} | dead
        page.locator("#sort").select_option(order)
        for press in (False, True):
            if press:
                page.get_by_role("button", name="Reverse").click()
                is_reversed = not is_reversed
            shown = keys_shown(page)
            values = [value_of[key] for key in shown[: len(value_of)]]
            assert values == pytest.approx(sorted(value_of.values(), reverse=is_reversed), rel=1e-3, abs=1e-4), order
            assert set(shown[len(value_of) :]) == without
        expect(page).to_have_url(re.compile(f"#sort=[a-z_]+{'&reverse=1' if is_reversed else ''}&view=tile"))


def test_a_choice_is_kept_if_a_pair_is_opened_at_once(visit_atlas: Open, atlas: Path) -> None:
    """If a pair is opened right after a choice, going back leads to the grid with that choice."""
    page = visit_atlas(atlas)
    wake(page)
    page.locator("#sort").select_option("Least pixel change first")
    page.locator("#grid .player").nth(2).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#pair-title")).to_be_visible()
    page.go_back()

    expect(page.locator("#grid")).to_be_visible()
    expect(page.locator("#sort")).to_have_value("smoothness")
    expect(page).to_have_url(re.compile("#sort=smoothness$"))


def test_by_name_means_by_layer_and_then_by_channel(visit_atlas: Open, atlas: Path) -> None:
    """Pairs are sorted by a and then by b, numbers as numbers; with another sort order, tiles show its score."""
    page = visit_atlas(atlas)
    expect(page.locator("#count")).to_have_text("30 of 30 pairs")

    names = [text.split("block")[1] for text in page.locator(".names").all_text_contents()[:4]]
    assert names == [f"9_expand_pre_relu:{channel}" for channel in (0, 34, 51, 68)]
    page.locator("#sort").select_option("Highest objective first")
    expect(page.locator("#grid .numbers").first).to_contain_text(f"↑ {RECORDS[-1].checkpoints[-1].objective:.1f}")


def test_pairs_of_several_settings_can_be_told_apart(open_atlas: Open, tmp_path: Path) -> None:
    """An atlas with two settings offers them as a filter; an atlas with one has no such list."""
    failed = make_record(FAILED_ROW)
    other = failed.model_copy(update={"key": "0" * 20, "settings_digest": "f" * 20})
    publish(tmp_path, [failed])
    page = open_atlas(tmp_path)
    page.locator("#filters > summary").click()
    expect(page.get_by_label("Settings")).to_be_hidden()

    publish(tmp_path, [other])
    page = open_atlas(tmp_path)
    page.locator("#filters > summary").click()
    page.get_by_label("Settings").select_option("f" * 20)
    expect(page.locator("#count")).to_have_text("1 of 2 pairs")
    assert keys_shown(page) == ["0" * 20]
