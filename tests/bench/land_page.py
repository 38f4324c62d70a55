"""Measure how fast the page of a large land is in Chromium, from a folder and from a web server.

The land is synthetic: smooth random colours, published as a build publishes them.

    python tests/bench/land_page.py [--neurons 5000] [--minutes 1] [--atlas FOLDER] [--json]

--minutes is the time of random travel, during which the memory of the page's process is read.
--atlas keeps the atlas in a folder, or uses the atlas that the folder has already.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from math import isqrt
from pathlib import Path
from shutil import which
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

ZOOMS = (0.12, 0.5, 1, 3)
SECONDS = 6  # of panning at each zoom
OPENED = 5  # fresh pages
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run"]

NOTE_FIRST_TILE = """() => {
    const { drawImage } = CanvasRenderingContext2D.prototype;
    CanvasRenderingContext2D.prototype.drawImage = function (...given) {
        if (this.canvas.id === "land-view") window.first ??= performance.now();
        return drawImage.apply(this, given);
    };
}"""
PAN = """async (seconds) => {
    const canvas = document.getElementById("land-view");
    const { left, top, width, height } = canvas.getBoundingClientRect();
    canvas.setPointerCapture = () => {};
    const send = (type, clientX, clientY) =>
        canvas.dispatchEvent(new PointerEvent(type, { pointerId: 1, clientX, clientY, bubbles: true }));
    let [x, y, dx, dy] = [left + width / 2, top + height / 2, 13, 7];
    const times = [];
    let before = performance.now();
    const end = before + 1000 * seconds;
    send("pointerdown", x, y);
    while (before < end) {
        if (Math.abs(x + dx - left - width / 2) > width / 2 - 20) dx = -dx;
        if (Math.abs(y + dy - top - height / 2) > height / 2 - 20) dy = -dy;
        send("pointermove", (x += dx), (y += dy));
        await new Promise(requestAnimationFrame);
        times.push(performance.now() - before);
        before = performance.now();
    }
    send("pointerup", x, y);
    times.sort((p, q) => p - q);
    return [0.5, 0.95].map((share) => times[Math.floor(share * times.length)]);
}"""
JUMP = """([width, height]) => {
    const zoom = 2 ** (Math.random() * 5 - 3);
    location.hash = `#land=${(Math.random() * width).toFixed(0)},${(Math.random() * height).toFixed(0)},${zoom}`;
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neurons", type=int, default=5000)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--atlas", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        root = options.atlas or Path(folder, "land")
        if not (root / "index.html").exists():
            publish_land(root, options.neurons)
        browser = playwright.chromium.launch(
            executable_path=which("chromium") or which("chromium-headless-shell"), args=CHROMIUM_ARGUMENTS
        )
        with QuietServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(root))) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            places = {"folder": root.as_uri() + "/", "server": f"http://127.0.0.1:{server.server_port}/"}
            found = {place: measure(browser, at) for place, at in places.items()}
            found["memory_mib"] = travel(browser, places["folder"], options.minutes)
            server.shutdown()
        browser.close()
    print(json.dumps(found, indent=1) if options.json else as_text(found))


def publish_land(root: Path, neurons: int) -> None:
    """Publish a land of places of 128 px."""
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
    from sample_land import make_land, write_land

    from core.gallery.publish import publish
    from core.store.store import DirectoryStore

    store = DirectoryStore(root)
    finished = write_land(store, make_land(neurons, isqrt(neurons) + 1, 128, (4, 4)))
    publish(store, f"land of {neurons}", lambda _: finished)


def measure(browser: Browser, at: str) -> dict[str, Any]:
    """Return ms to the first picture of fresh pages, and p50 and p95 of the frames of panning, ms, by zoom."""
    first = []
    for _ in range(OPENED):
        page = open_land(browser, at)
        page.wait_for_function("() => window.first")
        first.append(round(page.evaluate("window.first")))
        page.context.close()
    page = open_land(browser, at)
    frames = {}
    for zoom in ZOOMS:
        go(page, *middle(page), zoom)
        frames[zoom] = [round(ms, 1) for ms in page.evaluate(PAN, SECONDS)]
    page.context.close()
    return {"first_ms": first, "frames_ms": frames}


def travel(browser: Browser, at: str, minutes: float) -> list[int]:
    """Return the memory of the page's process in MiB, at ten times during random travel."""
    page = open_land(browser, at)
    page.wait_for_function("() => window.first")
    session = browser.new_browser_cdp_session()
    size = [2 * side for side in middle(page)]
    found = []
    for _ in range(10):
        end = time.monotonic() + 6 * minutes
        while time.monotonic() < end:
            page.evaluate(JUMP, size)
            page.wait_for_timeout(300)
        processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
        found.append(max(memory_mib(one["id"]) for one in processes if one["type"] == "renderer"))
    page.context.close()
    return found


def memory_mib(process: int) -> int:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 // 2**20


def open_land(browser: Browser, at: str) -> Page:
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.add_init_script(f"({NOTE_FIRST_TILE})()")
    page.goto(f"{at}index.html#land")
    return page


def middle(page: Page) -> tuple[float, float]:
    """Return the point in the middle of the land, x and y in its pixels."""
    page.wait_for_selector("#land-place span")
    x, y = page.evaluate("[isthmus.places.width / 2, isthmus.places.height / 2]")
    return x, y


def go(page: Page, x: float, y: float, zoom: float) -> None:
    page.evaluate("hash => { location.hash = hash }", f"#land={x},{y},{zoom}")
    page.wait_for_timeout(1500)


def as_text(found: dict[str, Any]) -> str:
    lines = []
    for place in ("folder", "server"):
        lines.append(f"{place}: first picture after {sorted(found[place]['first_ms'])} ms")
        for zoom, (median, slow) in found[place]["frames_ms"].items():
            lines.append(f"  panning at zoom {zoom}: frames p50 {median} ms, p95 {slow} ms")
    lines.append(f"memory of the page during random travel, MiB: {found['memory_mib']}")
    return "\n".join(lines)


class QuietServer(ThreadingHTTPServer):
    """A web server that does not mind if a page is closed while it loads."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class QuietHandler(SimpleHTTPRequestHandler):
    """A request handler that logs nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


if __name__ == "__main__":
    main()
