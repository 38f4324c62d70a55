"""Pictures of every page of a gallery at three widths in both colour schemes, to be looked at.

    python tests/browser/make_screenshots.py [ATLAS] [--output FOLDER]

Without ATLAS, the folder of a published one, a small atlas with a failed pair is made for it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright
from sample_atlases import small_atlas

SIZES = {"telephone": (360, 740), "desk": (1280, 800), "wall": (3840, 2160)}
SCHEMES = ("light", "dark")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("atlas", type=Path, nargs="?")
    parser.add_argument("--output", type=Path, default=Path("build/screenshots"))
    options = parser.parse_args()

    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root = options.atlas or small_atlas(Path(folder))
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            for size, (width, height) in SIZES.items():
                for scheme in SCHEMES:
                    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                    for name, place in places(root).items():
                        page.goto("about:blank")  # so that the next address is loaded and not only gone to
                        page.goto((root / "index.html").as_uri() + place)
                        page.wait_for_timeout(500)
                        path = options.output / f"{name}-{size}-{scheme}.png"
                        page.screenshot(path=path, full_page=name in ("pair", "about"))
                        print(path, flush=True)
                    page.close()
            browser.close()


def places(root: Path) -> dict[str, str]:
    """Each page, by name, of an atlas: of its first finished pair, its first neuron and its first layer."""
    lines = (root / "data/pairs.ndjson").read_text(encoding="utf-8").splitlines()
    record = next(record for record in map(json.loads, lines) if record["status"] == "done")
    failed = next((record for record in map(json.loads, lines) if record["status"] == "failed"), None)
    layer = record["a"].rpartition(":")[0]
    return {
        "grid": "",
        "filtered": "#sort=balance&status=done&text=block9",
        "nothing": "#text=nothing",
        "pair": f"#pair={record['key']}",
        **({"failed": f"#pair={failed['key']}"} if failed else {}),
        "neuron": f"#neuron={record['a']}",
        "map": "#map",
        "channels": f'#map=["{layer}","{layer}"]',
        "about": "#about",
    }


if __name__ == "__main__":
    main()
