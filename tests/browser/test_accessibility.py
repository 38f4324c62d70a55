"""What axe-core finds on each page, in both colour schemes: nothing serious."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from atlases import FAILED_ROW, LAYERS, make_record
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

Open = Callable[..., Page]  # the fixture `open_atlas`
PLACES = {
    "grid": "",
    "filtered": "#layer_a=block9_expand_pre_relu&sort=balance&text=block",
    "no result": "#text=nothing",
    "pair": f"#pair={make_record(0).key}",
    "failed pair": f"#pair={make_record(FAILED_ROW).key}",
    "neuron": f"#neuron={LAYERS[0]}:68",
    "map": "#map",
    "channels": f'#map=["{LAYERS[0]}","{LAYERS[0]}"]',
    "about": "#about",
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("place", PLACES)
def test_a_page_has_no_serious_barrier(open_atlas: Open, atlas: Path, place: str, scheme: str) -> None:
    """Names, roles, contrast, focus and structure hold for readers who see, hear or type."""
    page = open_atlas(atlas, hash=PLACES[place], color_scheme=scheme)
    expect(page.locator(".page.shown")).to_be_visible()
    if scheme == "light" and place == "grid":
        page.locator("#filters > summary").click()

    found = (
        Axe().run(page, options={"preload": False}).response["violations"]
    )  # it would fetch styles, which the page forbids

    assert len(found) == 0, [(one["id"], one["impact"], [node["html"] for node in one["nodes"][:3]]) for one in found]
