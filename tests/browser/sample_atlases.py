"""Small sample atlases: plausible records and pictures that are quick to make, published as a build publishes them."""

from __future__ import annotations

import colorsys
import hashlib
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.atlas.finished_land import FinishedLand
from core.atlas.keys import pair_keys, settings_digest
from core.atlas.manifest import Manifest
from core.atlas.records import Checkpoint, Record, preview_path, sheet_path, to_ndjson
from core.gallery import publish as publishing
from core.neurons import Neuron, Pair
from core.pictures.land import Land
from core.spec import Alignment, RenderSettings
from core.store.store import DirectoryStore

sys.path.insert(0, str(Path(__file__).parents[1]))
from sample_land import make_land, write_land

FRAMES = 6
SIZE_PX = 64
PAIRS = 30
FAILED_ROW = 7
DEAD_ROW = 11  # neuron b is not excited
FAILED_REASON = "the objective was not finite at step 41; the last finite value was 3.25"
LAYERS = ("block9_expand_pre_relu", "block12_depthwise")
SETTINGS = RenderSettings(
    frames=FRAMES, size_px=SIZE_PX, steps=512, alignment=Alignment(layers=("block5", "block7"), weight=0.1, decay=5)
)
MODEL_DIGEST = "0123456789abcdef" * 4


def make_record(row: int, **changes: Any) -> Record:
    """Return a plausible record; every third pair joins the two layers, the others lie within one layer.

    In a strip the activation of b rises linearly. The activation of a falls along a curve, but its second frame may
    excite it more than the first. Both activations grow with *row*.
    """
    a = Neuron(LAYERS[0] if row % 3 == 0 else LAYERS[row % 2], 17 * row % 480)
    b = Neuron(LAYERS[1] if row % 3 == 0 else LAYERS[row % 2], 17 * row % 480 + 64)
    [(_, key)] = pair_keys([Pair(a, b)], MODEL_DIGEST, SETTINGS)
    done = row != FAILED_ROW
    rise = [round(0.4 + row / 10 + 4 * i / (FRAMES - 1), 4) for i in range(FRAMES)]
    fall = [round((0.4 + row / 10) + 4 * (1 - i / (FRAMES - 1)) ** (1 + row / 20), 4) for i in range(FRAMES)]
    fall[1] = round(fall[0] * (0.7 + row * 13 % 30 / 40), 4)
    noise_b = max(rise) * (1.25 if row == DEAD_ROW else 0.1)
    fields: dict[str, Any] = {
        "key": key,
        "a": str(a),
        "b": str(b),
        "status": "done" if done else "failed",
        "reason": None if done else FAILED_REASON,
        "method": 1,
        "model": "efficientnet-lite0",
        "model_digest": MODEL_DIGEST,
        "settings": SETTINGS.model_dump(mode="json"),
        "settings_digest": settings_digest(SETTINGS),
        "seed": 0,
        "frames": FRAMES,
        "size_px": SIZE_PX,
        "checkpoints": [Checkpoint(step=512, objective=5.12 + row)] if done else [],
        "activation_a": fall if done else [],
        "activation_b": rise if done else [],
        "neighbour_distance": [0.002 + 0.0001 * (row * 7 % 30)] * (FRAMES - 1) if done else [],
        "layer_distance": {layer: [0.1 + 0.01 * (row * 11 % 30)] * (FRAMES - 1) for layer in ("block5", "block7")}
        if done
        else {},
        "history": [row + 5 * (1 - 0.9**i) for i in range(64)] if done else [],
        **(measured(fall, rise, noise_b, pace=1 + row * 7 % 30 / 10) if done else {}),
        "sheet_sha256": "1" * 64 if done else None,
        "sheet_bytes": 264_080 if done else None,
        "preview_sha256": "2" * 64 if done else None,
        "preview_bytes": 57_576 if done else None,
        "seconds": 9.5,
        "device": "CPU x86_64",
        "versions": {"isthmus": "0.1.0", "numpy": "2.4.6"},
    }
    return Record(**(fields | changes))


def measured(a: Sequence[float], b: Sequence[float], noise_b: float, pace: float) -> dict[str, float | None]:
    """Return what a record has about the ends and the middle of a strip with these activations."""
    is_dead = noise_b >= max(b)
    share = [
        (i / (len(a) - 1), (x - a[-1]) / (a[0] - a[-1]) - (y - b[0]) / (b[-1] - b[0]))
        for i, (x, y) in enumerate(zip(a, b, strict=True))
    ]
    crossing = next(p + (q - p) * s / (s - t) for (p, s), (q, t) in pairwise(share) if t <= 0)
    return {
        "reach_a": max(a),
        "reach_b": max(b),
        "noise_a": 0.1 * max(a),
        "noise_b": noise_b,
        "kept_a": a[0] / max(a),
        "kept_b": None if is_dead else b[-1] / max(b),
        "crossing": None if is_dead else crossing,
        "pace": pace,
    }


def write_pictures(root: Path, key: str, row: int, step: int | None = None) -> None:
    """Write a sheet of waves that bend and change colour from frame to frame, and its preview."""
    random = np.random.default_rng(row)
    y, x = np.mgrid[0:SIZE_PX, 0:SIZE_PX] / SIZE_PX
    ends = random.uniform(2, 9, (2, 4)), random.uniform(0, 2 * np.pi, (2, 3))
    frames = []
    for mix in np.linspace(0, 1, FRAMES):
        (along, across, bend, fine), hue = ((1 - mix) * end[0] + mix * end[1] for end in ends)
        phase = 2 * np.pi * (along * x + across * y + 0.3 * np.sin(bend * (x - y) * 2))
        grain = 0.25 * np.sin(fine * 9 * x) * np.sin(fine * 9 * y)
        frames.append(np.stack([0.5 + 0.35 * np.sin(phase + shift) + 0.4 * grain for shift in hue], axis=-1))
    save_pictures(root, key, Image.fromarray((np.concatenate(frames, axis=1).clip(0, 1) * 255).astype(np.uint8)), step)


def write_coloured_pictures(root: Path, key: str, colours: Sequence[tuple[int, int, int]]) -> None:
    """Write a sheet whose frames have one colour each, and its preview."""
    sheet = Image.new("RGB", (len(colours) * SIZE_PX, SIZE_PX))
    for frame, colour in enumerate(colours):
        sheet.paste(colour, (frame * SIZE_PX, 0, (frame + 1) * SIZE_PX, SIZE_PX))
    save_pictures(root, key, sheet)


def save_pictures(root: Path, key: str, sheet: Image.Image, step: int | None = None) -> None:
    for path in (root / sheet_path(key, step), root / preview_path(key, step)):
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path, compress_level=1, quality=80, method=0)  # the first is PNG's, the others are WebP's


def publish(root: Path, records: Sequence[Record], name: str = "first-light") -> Manifest:
    """Write records into an atlas and publish it; the records that the atlas has already stay."""
    store = DirectoryStore(root)
    store.create(f"records/{len(list(store.list('records/')))}.ndjson", to_ndjson(records))
    return publishing.publish(store, name)


def small_atlas(root: Path) -> Path:
    """Publish an atlas of 30 pairs in two layers, one of them failed, and return its folder."""
    records = [make_record(row) for row in range(PAIRS)]
    for row, record in enumerate(records):
        if record.status == "done":
            write_pictures(root, record.key, row)
    publish(root, records)
    return root


# ---- an atlas whose strips meet

HUB = 1  # the channel with the most roads
FURTHER = range(10, 23)  # channels with a road to the hub only
WALKS = {  # strips between channels of the first layer, with the differences of their frames
    (1, 2): 0.1, (2, 3): 0.1, (3, 4): 0.1, (4, 5): 0.1,  # a long way from 1 to 5
    (1, 6): 0.2, (5, 6): 0.2,  # the shortest, the second strip backwards
    (1, 7): 0.3, (5, 7): 0.3,  # as short, with greater differences
    (8, 9): 0.1,  # an island
    **{(1, channel): 0.1 + channel / 10 for channel in FURTHER},
}  # fmt: skip


def walk_record(a: int, b: int, difference: float, **changes: Any) -> Record:
    """Return a record of a strip between two channels' portraits; neighbouring frames differ by *difference*."""
    first, second = (f"{LAYERS[0]}:{channel}" for channel in (a, b))
    portraits = tuple(hashlib.sha256(name.encode()).hexdigest()[:20] for name in (first, second))
    facts: dict[str, Any] = {
        "key": hashlib.sha256(f"walk {first} {second}".encode()).hexdigest()[:20],
        "a": first,
        "b": second,
        "strip": "walk",
        "portraits": portraits,
        "neighbour_distance": [difference] * (FRAMES - 1),
        "layer_distance": {"block5": [difference] * (FRAMES - 1)},
    }
    return make_record(0, **(facts | changes))


def portrait_colour(channel: int) -> tuple[int, int, int]:
    """Return the colour of a portrait's disc; each channel has its own."""
    red, green, blue = colorsys.hsv_to_rgb(channel * 0.381966 % 1, 0.5 + 0.4 * (channel % 2), 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def portrait(channel: int) -> NDArray[np.float64]:
    """Return a disc in front of rays, shape (height, width, channel), values in [0, 255]."""
    y, x = np.mgrid[0:SIZE_PX, 0:SIZE_PX] / SIZE_PX - 0.5
    rays = 0.5 + 0.5 * np.sin((3 + channel % 9) * np.arctan2(y, x) + 20 * np.hypot(x, y) + channel)
    colour = np.array(portrait_colour(channel))
    return np.where((np.hypot(x, y) < 0.25)[..., None], colour, 40 + rays[..., None] * 0.6 * colour[::-1])


def write_walk_pictures(root: Path, key: str, a: int, b: int) -> None:
    """Write a sheet that begins and ends exactly on the portraits of two channels, and its preview."""
    frames = [(1 - mix) * portrait(a) + mix * portrait(b) for mix in np.linspace(0, 1, FRAMES)]
    save_pictures(root, key, Image.fromarray(np.concatenate(frames, axis=1).round().astype(np.uint8)))


def small_walk_atlas(root: Path) -> Path:
    """Publish an atlas of strips that meet, and of some strips that are no roads, and return its folder.

    Two strips from 1 to 5 are no roads: a failed strip between portraits, and a strip with ends of its own. The strip
    from 5 to 30 has other settings and so other portraits: no other road leads to it.
    """
    records = [walk_record(a, b, difference) for (a, b), difference in WALKS.items()]
    failed = make_record(
        FAILED_ROW, **{name: getattr(walk_record(1, 5, 1), name) for name in ("key", "a", "b", "strip")}
    )
    own_ends = walk_record(1, 5, 0.01, key="0" * 20, strip="pair", portraits=None)
    other = walk_record(5, 30, 0.1, settings_digest="f" * 20)
    for record in (*records, own_ends, other):
        write_walk_pictures(root, record.key, *(int(name.rpartition(":")[2]) for name in (record.a, record.b)))
    publish(root, [*records, failed, own_ends, other], name="walkable")
    return root


# ---- an atlas with a land

LAND = make_land(33, 7, 128, layer=LAYERS[0])  # its last row has room for two more neurons


def small_land_atlas(root: Path) -> Path:
    """Publish the atlas whose strips meet with a land of the same neurons, and return its folder."""
    return add_small_land(small_walk_atlas(root))


def add_small_land(root: Path) -> Path:
    """Publish the atlas whose strips meet again, with a land, and return its folder."""
    publish_land(root, LAND, name="landscape")
    return root


def publish_land(root: Path, land: Land, name: str) -> FinishedLand:
    """Write the blocks of a land into an atlas, publish it, and return the land."""
    store = DirectoryStore(root)
    finished = write_land(store, land)
    publishing.publish(store, name, lambda _: finished)
    return finished
