"""Make directions of a layer of the default network: the factors of its activations on photographs.

    python docs/make_directions.py block9_expand directions.npz [--count 16] [--photographs FOLDER]

The photographs are by default those that the package scikit-image ships. Activations of random crops are factorised as
(position, factor) x (factor, channel), with no negative number, and each factor is a direction: channels that are
excited together. The layer must have no negative activations, as those behind a ReLU. docs/directions.md explains how
to render strips between the directions.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import skimage.data
import skimage.io
import skimage.transform
from numpy.typing import NDArray

from core.machine import device
from core.models.models import load

Array = NDArray[np.float32]
CROP_PX = 128
SHIPPED = ("astronaut", "cat", "coffee", "rocket", "hubble_deep_field", "brick", "grass", "gravel", "coins")


def photographs(folder: Path | None) -> list[Array]:
    """Return photographs, shape (height, width, 3), values in [0, 1]: those of a folder, or those of scikit-image."""
    read = map(skimage.io.imread, sorted(folder.iterdir())) if folder else (getattr(skimage.data, n)() for n in SHIPPED)
    shaped = (np.atleast_3d(image)[..., :3] / np.float32(255) for image in read)
    return [np.broadcast_to(image, (*image.shape[:2], 3)) for image in shaped]


def activations(layer: str, images: Sequence[Array], crops: int, dice: np.random.Generator) -> Array:
    """Return the activations of a layer at all positions of random crops, shape (position, channel)."""
    model, found = load("efficientnet-lite0"), []
    for number in range(crops):
        image = images[number % len(images)]
        side = int(dice.uniform(0.25, 1) * min(image.shape[:2]))
        y, x = (dice.integers(length - side + 1) for length in image.shape[:2])
        crop = skimage.transform.resize(image[y : y + side, x : x + side], (CROP_PX, CROP_PX), anti_aliasing=True)
        found.append(model.activations(crop[None].astype(np.float32), {layer})[layer].numpy())
    return np.concatenate(found).reshape(-1, model.layers[layer])


def factors(table: Array, count: int, dice: np.random.Generator, updates: int = 100) -> Array:
    """Return the factors of a non-negative matrix factorisation, each of length 1, shape (factor, channel).

    Each update multiplies both parts by a ratio that never lets the squared error grow (Lee and Seung, 2001).
    """
    assert table.min() >= 0, "expected a layer without negative activations, such as block9_expand"
    parts = dice.uniform(0.1, 1, (len(table), count)).astype(np.float32)
    found = dice.uniform(0.1, 1, (count, table.shape[1])).astype(np.float32)
    for _ in range(updates):
        parts *= table @ found.T / (parts @ (found @ found.T) + 1e-9)
        found *= parts.T @ table / (parts.T @ parts @ found + 1e-9)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layer")
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", type=int, default=16, help="number of directions")
    parser.add_argument("--crops", type=int, default=180, help="number of crops of the photographs")
    parser.add_argument("--photographs", type=Path, help="folder with photographs")
    given = parser.parse_args(arguments)
    device.prepare()
    dice = np.random.default_rng(0)
    table = activations(given.layer, photographs(given.photographs), given.crops, dice)
    np.savez(given.file, directions=factors(table, given.count, dice))
    print(f"{given.file}: {given.count} directions of {given.layer}, from {len(table):,} positions")


if __name__ == "__main__":
    main()
