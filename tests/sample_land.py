"""Small lands whose blocks are made of smooth random pictures, without rendering anything."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image

from core.arrays import Pixels
from core.atlas.finished_land import BLOCKS, FinishedLand, StoredBlock
from core.neurons import Neuron
from core.pictures.land import Block, Land
from core.pictures.sheets import encode_png
from core.store.store import Store


def make_land(
    neurons: int = 23, columns: int = 5, cell_px: int = 12, shape: tuple[int, int] = (2, 3), layer: str = "stem"
) -> Land:
    """Return a land whose last row of places, and last blocks, are not full."""
    places = tuple(Neuron(layer, channel) for channel in range(neurons))
    return Land(places, columns, cell_px, *shape, margin_px=cell_px // 2)


def block_pixels(land: Land, block: Block, seed: int = 0) -> Pixels:
    """Return the picture of a block: random colours of a grid with the spacing of half a cell, with noise."""
    dice = np.random.default_rng((seed, *block))
    height, width = land.block_size_px
    coarse = dice.integers(0, 256, (2 + 2 * height // land.cell_px, 2 + 2 * width // land.cell_px, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return np.clip(smooth + dice.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def write_land(store: Store, land: Land, seed: int = 0) -> FinishedLand:
    """Write the blocks of a land into a store, and return the land as its records would describe it."""
    blocks = {}
    for block in land.blocks:
        data = encode_png(block_pixels(land, block, seed))
        sha256 = hashlib.sha256(data).hexdigest()
        blocks[block] = StoredBlock(f"{BLOCKS}{sha256[:20]}.png", sha256)
        store.replace(blocks[block].path, data)
    dice = np.random.default_rng(seed)
    activation = [float(value) for value in dice.uniform(0, 5, len(land.neurons))]
    return FinishedLand(
        land=land,
        blocks=blocks,
        model="efficientnet-lite0",
        model_digest="0123456789abcdef" * 4,
        steps=64,
        activation=activation,
        compared=[None, *(value / 5 for value in activation[1:])],
        dead=[number == 1 for number in range(len(activation))],
        noise=[0.25] * len(activation),
        devices=["CPU x86_64"],
        versions=[{"isthmus": "0.1.0"}],
    )
