"""Take screenshots of every page of a gallery, at three widths and in both colour schemes, for people to look at.

    python tests/browser/make_screenshots.py [ATLAS] [--output FOLDER]

ATLAS is the folder of a published atlas. Without it, four small atlases are made: one with a failed pair, one whose
strips meet, one with a land, and one with photographs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright
from sample_atlases import HUB, LAYERS, small_atlas, small_land_atlas, small_walk_atlas, walk_record
from sample_evidence import RECORD, compare_with_photographs

SIZES = {"telephone": (360, 740), "desk": (1280, 800), "wall": (2560, 1440)}
SCHEMES = ("light", "dark")
WALK_PLACES = {
    "walk": f"#walk={LAYERS[0]}:{HUB}",
    "walked": f"#walk={LAYERS[0]}:{HUB}..6..5..7",
    "nowhere": "#walk=stem:77",
    "goal": f"#walk={LAYERS[0]}:2..{HUB}..goal..5",
    "route-empty": "#route",
    "route": f"#route={LAYERS[0]}:{HUB}..5",
    "no-road": f"#route={LAYERS[0]}:{HUB}..9",
    "walk-pair": f"#pair={walk_record(1, 6, 0).key}",
    "walk-about": "#about",
}
LAND_PLACES = {
    "land": "#land",
    "land-neuron": f"#land={LAYERS[0]}:16",
    "flight": f"#land={LAYERS[0]}:{HUB}..6",
    "no-place": "#land=nonsense",
    "neuron-on-land": f"#neuron={LAYERS[0]}:32",
}
PHOTOGRAPH_PLACES = {
    "natural-strip": f"#pair={RECORD.key}",
    "photographs": f"#neuron={RECORD.a}",
    "class": "#text=dog",
}
WHOLE = {"pair", "dead", "about", "route", "walk-about", "natural-strip", "photographs"}  # longer than the screen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("atlas", type=Path, nargs="?")
    parser.add_argument("--output", type=Path, default=Path("build/screenshots"))
    options = parser.parse_args()

    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-headless-shell", "google-chrome"))), None)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium,
                args=["--no-sandbox", "--disable-gpu"],
                ignore_default_args=["--hide-scrollbars"],  # as readers have them, they take a part of the page's width
            )
            if options.atlas:
                atlases = [(options.atlas, places(options.atlas))]
            else:
                small, walk = small_atlas(Path(folder, "small")), small_walk_atlas(Path(folder, "walk"))
                land = small_land_atlas(Path(folder, "land"))
                compared = small_atlas(Path(folder, "compared"))
                compare_with_photographs(compared)
                atlases = [
                    (small, places(small)),
                    (walk, WALK_PLACES),
                    (land, LAND_PLACES),
                    (compared, PHOTOGRAPH_PLACES),
                ]
            for size, (width, height) in SIZES.items():
                for scheme in SCHEMES:
                    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                    for root, named in atlases:
                        for name, place in named.items():
                            page.goto("about:blank")  # so that the next address loads the page again
                            page.goto((root / "index.html").as_uri() + place)
                            page.wait_for_timeout(500)
                            path = options.output / f"{name}-{size}-{scheme}.png"
                            page.screenshot(path=path, full_page=name in WHOLE)
                            print(path, flush=True)
                    page.close()
            browser.close()


def places(root: Path) -> dict[str, str]:
    """Return name -> address of every kind of page: of the first finished pair, its neuron a and its layer."""
    lines = (root / "data/pairs.ndjson").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    record = next(record for record in records if record["status"] == "done")
    failed = next((record for record in records if record["status"] == "failed"), None)
    dead = next((one for one in records if one["noise_b"] is not None and one["reach_b"] <= one["noise_b"]), None)
    walk = next((record for record in records if record["strip"] == "walk" and record["status"] == "done"), None)
    layer = record["a"].rpartition(":")[0]
    return {
        "grid": "#strips",
        "tiles": "#view=tile",
        "list": "#view=list",
        "filtered": "#sort=balance&status=done&text=block9",
        "nothing": "#text=nothing",
        "pair": f"#pair={record['key']}",
        "compare": f"#compare={'..'.join(one['key'] for one in records if one['status'] == 'done')[:42]}",
        "embed": f"?embed#pair={record['key']}",
        **({"failed": f"#pair={failed['key']}"} if failed else {}),
        **({"dead": f"#pair={dead['key']}", "dead-neuron": f"#neuron={dead['b']}"} if dead else {}),
        "neuron": f"#neuron={record['a']}",
        "matrix": "#matrix",
        "channels": f'#matrix=["{layer}","{layer}"]',
        "about": "#about",
        **({"land": "#land"} if (root / "land").exists() else {}),
        **({"walk": f"#walk={walk['a']}", "route": f"#route={walk['a']}..{walk['b']}"} if walk else {}),
    }


if __name__ == "__main__":
    main()
