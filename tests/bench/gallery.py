"""Measure how fast the gallery of a large atlas is in Chromium, from a folder and from a web server.

The atlas is synthetic: it has records of a few layers as rendering writes them, all strips are between portraits, and
the pairs share a few pictures through symbolic links. Routes are opened between any two neurons, so an atlas of much
fewer than 8000 pairs, in which some neurons are not connected, makes the benchmark wait for ever.

    python tests/bench/gallery.py [--pairs 100000] [--photographs 5000] [--atlas FOLDER] [--json]

--photographs compares the atlas with this number of photographs, by synthetic activations and with small pictures.
--atlas keeps the atlas in a folder, or uses the atlas that the folder has already.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))
from sample_photographs import compare

from core.store.store import DirectoryStore

LAYERS = [f"block{number}_expand_pre_relu" for number in (4, 6, 9, 11, 13)]
CHANNELS = 400
FRAMES, SIZE_PX, STEPS = 6, 128, 320
PICTURES = 12
RECORDS_PER_FILE = 500
CLASSES = ["dog", *(f"kind{number}" for number in range(1, 100))]
PHOTOGRAPHS_PER_FILE = 500
OPENED = 15  # pairs, walks and routes
PAUSE = 400  # ms
LINK = {"offline": False, "latency": 20, "downloadThroughput": 2.5e6, "uploadThroughput": 2.5e6}  # ms, bytes a second
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--enable-precise-memory-info"]

READY = """() => document.querySelector("#count")?.value.includes("of")
    && document.querySelector("#grid img")?.complete && performance.now()"""
CHANGE = """([id, value]) => {
    const field = document.getElementById(id);
    const started = performance.now();
    if (field.localName === "button") field.click();
    else {
        field.value = value;
        field.dispatchEvent(new Event(field.localName === "select" ? "change" : "input", { bubbles: true }));
    }
    document.querySelector("#grid").getBoundingClientRect();
    return performance.now() - started;
}"""
SCROLL = """async ([step, seconds]) => {
    const frames = [];
    let last = performance.now();
    const end = last + seconds * 1000;
    while (last < end) {
        scrollBy({ top: step, behavior: "instant" });
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        frames.push(now - last);
        last = now;
    }
    return frames;
}"""
OPEN = """async (value) => {
    const shown = (id) => document.getElementById(id) ?? { textContent: "", value: "" }; // loaded with its page
    const loaded = (selector) => {
        const images = [...document.querySelectorAll(selector)];
        return images.length > 0 && images.every((image) => image.complete);
    };
    const seen = (selector) => {
        const { height } = visualViewport;
        const images = [...document.querySelectorAll(selector)].filter((image) => {
            const { top, bottom } = image.getBoundingClientRect();
            return bottom > 0 && top < height;
        });
        return images.every((image) => image.complete);
    };
    const before = shown("count").value;
    const started = performance.now();
    location.hash = `#PAGE=${value}`;
    while (!(IS_OPEN)) await new Promise((next) => setTimeout(next));
    return performance.now() - started;
}"""
# Record, pictures and photographs; portrait and roads; portraits and strips; photographs and strips; strips.
IS_OPEN = {
    "pair": """shown("facts").textContent.includes(value) && loaded("#large img, #frames img")
        && (!isthmus.assets.has("photographs") || (shown("natural-words").textContent && seen("#natural img")))""",
    "walk": 'shown("walk-title").textContent.startsWith(value) && loaded("#around img")',
    "route": 'value.endsWith(`..${shown("route-to").value}`) && loaded("#route-strips img")',
    "neuron": """shown("neuron-title").textContent.startsWith(value) && seen("#neuron-page img")
        && (!isthmus.assets.has("photographs") || !document.getElementById("neuron-photographs").hidden)""",
    "text": 'shown("count").value !== before && isthmus.photographs?.album.classes && loaded("#grid img")',
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--photographs", type=int, default=0)
    parser.add_argument("--atlas", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        root = options.atlas or Path(folder) / "synthetic"
        if not (root / "index.html").exists():
            write_atlas(root, options.pairs, options.photographs)
        machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
        figures = {"code_kb": code_kb(root), **measure(root)}
        machine += f" to {os.getloadavg()[0]:.1f}"
    if options.json:
        print(json.dumps({"machine": machine, "pairs": options.pairs, "photographs": options.photographs, **figures}))
        return
    print(machine)
    for name, figure in figures.items():
        print(f"{name}: {figure}")


# ---- the atlas


def write_atlas(root: Path, pairs: int, photographs: int) -> None:
    """Write records and pictures, and publish them."""
    from core.gallery.publish import publish

    pictures = [write_picture(root / f"pictures/{number}", number) for number in range(PICTURES)]
    (root / "records").mkdir(parents=True)
    lines: list[str] = []
    for number, record in enumerate(synthetic_records(pairs)):
        key = record["key"]
        sheet, preview = pictures[number % PICTURES]
        for link, target in (
            (root / f"sheets/{key[:2]}/{key}.png", sheet),
            (root / f"previews/{key[:2]}/{key}.webp", preview),
        ):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(target, link.parent))
        lines.append(json.dumps(record) + "\n")
        if len(lines) == RECORDS_PER_FILE or number == pairs - 1:
            (root / f"records/{number:020x}.ndjson").write_text("".join(lines))
            lines = []
    store = DirectoryStore(root)
    if photographs:
        add_photographs(store, photographs)
    publish(store, "synthetic")


def add_photographs(store: DirectoryStore, count: int) -> None:
    """Write activations on photographs of several classes, of which each neuron prefers one, and small pictures."""
    from core.atlas.evidence import photograph_digest, read_evidence
    from core.atlas.evidence_summary import summarise
    from core.atlas.image_records import THUMBNAIL_RECORDS, ThumbnailRecord, thumbnail_path
    from core.atlas.records import to_ndjson
    from core.atlas.thumbnails import wanted_thumbnails
    from core.neurons import Neuron

    dice = np.random.default_rng(0)
    kind_of = dice.integers(0, len(CLASSES), count)
    means = {layer: dice.gamma(0.5, 1, (count, CHANNELS)).astype(np.float32) for layer in LAYERS}
    for values in means.values():
        values += 3 * (kind_of[:, None] == np.arange(CHANNELS) % len(CLASSES))
    compare(store, means, labels=[CLASSES[kind] for kind in kind_of], parts=-(-count // PHOTOGRAPHS_PER_FILE))
    evidence = read_evidence(store)
    assert evidence
    neurons = [Neuron(layer, channel) for layer in LAYERS for channel in range(CHANNELS)]
    wanted = {(number, None) for number in range(count)} | wanted_thumbnails(
        summarise(store, evidence, neurons).values()
    )
    pictures = [small_picture(store.root / f"pictures/small{number}.webp", number) for number in range(PICTURES)]
    records = []
    for number, box in sorted(wanted, key=str):
        picture, sha256 = pictures[number % PICTURES], hashlib.sha256(f"{number} {box}".encode()).hexdigest()
        link = store.root / thumbnail_path(sha256)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(picture, link.parent))
        facts = {
            "sha256": sha256,
            "bytes": picture.stat().st_size,
            "caption": f"Photograph {number} of a synthetic atlas",
        }
        photograph = photograph_digest(evidence.listing.photographs[number])
        records.append(ThumbnailRecord(photograph=photograph, size=evidence.album.size, box=box, **facts))
    store.replace(f"{THUMBNAIL_RECORDS}synthetic.ndjson", to_ndjson(records))


def small_picture(path: Path, seed: int) -> Path:
    """Write a small picture of noise, of about the size of real files, and return its path."""
    values = np.random.default_rng(seed).integers(0, 255, (24, 24, 3), np.uint8)
    Image.fromarray(values).resize((96, 96), Image.Resampling.BICUBIC).save(path, quality=80)
    return path


def write_picture(path: Path, seed: int) -> tuple[Path, Path]:
    """Write a strip of smooth noise as sheet and preview, of about the size of real files; return their paths."""
    random_numbers = np.random.default_rng(seed)
    small = [random_numbers.uniform(0, 255, (32, 32, 3)).astype(np.uint8) for _ in range(FRAMES)]
    frames = [
        np.asarray(Image.fromarray(image).resize((SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC)) for image in small
    ]
    strip = Image.fromarray(np.concatenate(frames, axis=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet, preview = path.with_suffix(".png"), path.with_suffix(".webp")
    strip.save(sheet)
    strip.save(preview, quality=85)
    return sheet, preview


def synthetic_records(pairs: int) -> Iterator[dict[str, Any]]:
    """Yield records of different pairs with plausible numbers, the same in every run; one in a thousand has failed."""
    from core import METHOD_VERSION
    from core.atlas.keys import settings_digest
    from core.spec import RenderSettings

    settings = RenderSettings(frames=FRAMES, size_px=SIZE_PX, steps=STEPS)
    shared = {
        "method": METHOD_VERSION,
        "model": "efficientnet-lite0",
        "model_digest": "0123456789abcdef" * 4,
        "settings": settings.model_dump(mode="json"),
        "settings_digest": settings_digest(settings),
        "seed": 0,
        "frames": FRAMES,
        "size_px": SIZE_PX,
        "seconds": 8.5,
        "device": "CPU x86_64",
        "versions": {"isthmus": "0.1.0", "numpy": "2.4.6", "tensorflow": "2.21.0"},
    }
    dice = random.Random(0)
    neurons = [f"{layer}:{channel}" for layer in LAYERS for channel in range(CHANNELS)]
    seen: set[tuple[int, int]] = set()
    while len(seen) < pairs:
        first, second = sorted(dice.sample(range(len(neurons)), 2))
        if (first, second) in seen:
            continue
        seen.add((first, second))
        a, b = neurons[first], neurons[second]
        key, *portraits = (hashlib.sha256(text.encode()).hexdigest()[:20] for text in (f"{a} {b}", a, b))
        facts = {**shared, "key": key, "a": a, "b": b, "strip": "walk", "portraits": portraits}
        if len(seen) % 1000 == 0:
            yield {**facts, "status": "failed", "reason": "objective not finite at update 3; there was none before"}
            continue
        top_a, top_b = dice.uniform(3, 12), dice.uniform(3, 12)
        a_falls = [top_a * (1 - i / FRAMES) + dice.random() for i in range(FRAMES)]
        b_rises = [top_b * i / FRAMES + dice.random() for i in range(FRAMES)]
        dead = len(seen) % 500 == 1
        yield {
            **facts,
            "status": "done",
            "checkpoints": [{"step": STEPS, "objective": dice.random() * 40}],
            "activation_a": a_falls,
            "activation_b": b_rises,
            "neighbour_distance": [dice.random() * 0.02 for _ in range(FRAMES - 1)],
            "layer_distance": {layer: [dice.random() for _ in range(FRAMES - 1)] for layer in ("block5", "block7")},
            "history": [dice.random() * 40 for _ in range(64)],
            "reach_a": max(a_falls),
            "reach_b": max(b_rises),
            "noise_a": 0.1 * max(a_falls),
            "noise_b": (1.1 if dead else 0.1) * max(b_rises),
            "kept_a": a_falls[0] / max(a_falls),
            "kept_b": None if dead else b_rises[-1] / max(b_rises),
            "crossing": None if dead else dice.uniform(0.2, 0.8),
            "pace": dice.uniform(1, 4),
            "sheet_sha256": f"{dice.getrandbits(256):064x}",
            "sheet_bytes": 264_080,
            "preview_sha256": f"{dice.getrandbits(256):064x}",
            "preview_bytes": 57_576,
        }


def code_kb(root: Path) -> dict[str, float]:
    """Return the size in kB of pages, scripts and styles: the files that the grid loads at first, and all files."""
    page = root / "index.html"
    first = [root / path for path in re.findall('(?:src|href)="(assets/[^"]+)"', page.read_text(encoding="utf-8"))]
    files = {"fresh": [page, *first], "all": [page, *root.glob("assets/*")]}
    return {name: round(sum(path.stat().st_size for path in paths) / 1000, 1) for name, paths in files.items()}


# ---- measuring


def measure(root: Path) -> dict[str, Any]:
    """Return the figures; times are in ms."""
    with sync_playwright() as playwright, served(root) as address:
        path = next(filter(None, map(shutil.which, ("chromium", "chromium-headless-shell", "google-chrome"))), None)
        browser = playwright.chromium.launch(
            executable_path=path, args=CHROMIUM_ARGUMENTS, ignore_default_args=["--hide-scrollbars"]
        )
        figures: dict[str, Any] = {
            "ready_file": ready(browser, (root / "index.html").as_uri()),
            "ready_http": ready(browser, f"{address}/index.html"),
            "ready_20_mbit": ready(browser, f"{address}/index.html", LINK),
        }
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((root / "index.html").as_uri())
        page.wait_for_function(READY)
        page.mouse.move(5, 5)  # a sign of a reader, after which the tools are loaded
        page.wait_for_function("() => isthmus.tools && isthmus.search")
        figures |= {"choose": choosing(page), "scroll": scrolling(page)}
        figures |= {f"open_{kind}": opening(page, kind, values) for kind, values in places(root).items()}
        figures["heap_mb"] = round(page.evaluate("performance.memory.usedJSHeapSize") / 1e6, 1)
        browser.close()
    if errors:
        raise RuntimeError(f"the page failed: {errors[0]}")
    return figures


@contextmanager
def served(root: Path) -> Iterator[str]:
    """Serve the folder with Python's web server in its own process; yield the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(root)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def ready(browser: Browser, address: str, link: dict[str, Any] | None = None) -> dict[str, float]:
    """Return the times from the start of loading, with an empty cache, until counts and first pictures are shown.

    Args:
        link: the conditions of a slow network, or None for that of this machine.
    """

    def once() -> float:
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        if link:
            session = context.new_cdp_session(page)
            session.send("Network.enable")
            session.send("Network.emulateNetworkConditions", link)
        page.goto(address, wait_until="commit")
        took: float = page.wait_for_function(READY).json_value()
        context.close()
        return took

    return summary([once() for _ in range(5)])


def choosing(page: Page) -> dict[str, dict[str, float]]:
    """Return the times from a change of a filter or of the order until the new tiles are laid out.

    Between two changes there is a pause, as a person would make.
    """

    def change(field: str, value: str) -> float:
        page.wait_for_timeout(PAUSE)
        took: float = page.evaluate(CHANGE, [field, value])
        return took

    sorts = ["distance", "balance", "activation", "smoothness", "objective", "weaker_end", "off_centre", "pace"]
    sorts += page.evaluate('["photo_multiple", "photo_correlation"].filter((name) => name in isthmus.pairs.SCORES)')
    return {
        "sort": summary([change("sort", sort) for sort in sorts]),
        "layer": summary([change("layer_a", value) for value in (*LAYERS[:3], "")]),
        "text": summary([change("text", text) for text in ("b", "block9", "block9 :17", "a9", "")]),
        "neuron": summary([change("with", text) for text in ("17", f"{LAYERS[1]}:17", "")]),
    }


def scrolling(page: Page) -> dict[str, dict[str, float]]:
    """Return the times of frames while the list scrolls at constant speed, for several speeds in px per frame."""
    return {f"{step}_px": summary(page.evaluate(SCROLL, [step, 3])) for step in (40, 200, 1000)}


def places(root: Path) -> dict[str, list[str]]:
    """Return pages to open: pairs from all over the atlas, their neurons a, and routes between neurons of two pairs."""
    has_photographs = "photographs" in json.loads((root / "manifest.json").read_text())
    with (root / "data/pairs.ndjson").open() as file:
        lines = file.readlines()
    chosen = random.Random(1).sample(lines, OPENED * 2)
    records = [record for record in map(json.loads, chosen) if record["status"] == "done"][:OPENED]
    return {
        "pair": [record["key"] for record in records],
        "neuron": [record["b"] for record in records],
        "walk": [record["a"] for record in records],
        "route": [f"{one['a']}..{other['b']}" for one, other in pairwise([*records, records[0]])],
        **({"text": CLASSES[:OPENED]} if has_photographs else {}),
    }


def opening(page: Page, kind: str, values: list[str]) -> dict[str, float]:
    """Return the times from following a link until the page and all its pictures are shown."""
    script = OPEN.replace("PAGE", kind).replace("IS_OPEN", IS_OPEN[kind])
    times = []
    for value in values:
        page.wait_for_timeout(PAUSE)
        times.append(page.evaluate(script, value))
    return summary(times)


def summary(times: list[float]) -> dict[str, float]:
    p95 = sorted(times)[max(0, round(len(times) * 0.95) - 1)]
    return {name: round(value, 1) for name, value in (("median", median(times)), ("p95", p95), ("most", max(times)))}


if __name__ == "__main__":
    main()
