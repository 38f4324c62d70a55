"""Make directions of a layer of the default network: the factors of its activations on photographs.

    python docs/make_directions.py block9_expand directions.npz [--count 16]

The photographs are those that the package scikit-image ships. The activations on random crops are factorised as
(position, factor) x (factor, channel), with no negative number. Each factor is a direction: channels that are excited
together. docs/directions.md goes on from there to an atlas.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import skimage.data
import skimage.transform
from numpy.typing import NDArray

from core.errors import SpecError
from core.machine import device
from core.models.models import check_layer, load

Array = NDArray[np.float32]
CROP_PX = 128
PHOTOGRAPHS = ("astronaut", "cat", "coffee", "rocket", "hubble_deep_field", "brick", "grass", "gravel", "coins")


def activations(layer: str, crops: int, dice: np.random.Generator) -> Array:
    """Return the activations of a layer at all positions of random crops, shape (position, channel)."""
    model, found = load("efficientnet-lite0"), []
    for number in range(crops):
        photograph = np.atleast_3d(getattr(skimage.data, PHOTOGRAPHS[number % len(PHOTOGRAPHS)])())
        side = int(dice.uniform(0.25, 1) * min(photograph.shape[:2]))
        y, x = (dice.integers(length - side + 1) for length in photograph.shape[:2])
        crop = photograph[y : y + side, x : x + side] / 255
        resized = skimage.transform.resize(crop, (CROP_PX, CROP_PX), anti_aliasing=True).astype(np.float32)
        image = np.broadcast_to(resized, (1, CROP_PX, CROP_PX, 3))  # some photographs are grey
        found.append(model.activations(image, {layer})[layer].numpy())
    return np.concatenate(found).reshape(-1, model.layers[layer])


def factors(table: Array, count: int, dice: np.random.Generator, updates: int = 100) -> Array:
    """Return the factors of a non-negative matrix factorisation, each of length 1, shape (factor, channel).

    Each update multiplies both parts by a ratio that never lets the squared error grow (Lee and Seung, 2001).
    """
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
    given = parser.parse_args(arguments)
    device.prepare()
    try:
        check_layer(load("efficientnet-lite0"), given.layer, "layer")
    except SpecError as error:
        parser.error(str(error))
    dice = np.random.default_rng(0)
    table = activations(given.layer, given.crops, dice)
    if table.min() < 0:
        parser.error(f"layer: expected one behind a ReLU such as block9_expand, {given.layer} has negative activations")
    np.savez(given.file, directions=factors(table, given.count, dice))
    print(f"{given.file}: {given.count} directions of {given.layer}, from {len(table):,} positions")


if __name__ == "__main__":
    main()
