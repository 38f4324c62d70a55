"""A sample atlas compared with photographs, of which every fifth shows what one of its neurons responds to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sample_atlases import LAYERS, make_record
from sample_land import make_land, write_land
from sample_photographs import compare, make_pictures

from core.gallery import publish as publishing
from core.gallery.lines import Lines
from core.gallery.photographs import Photographs, read_photographs
from core.gallery.table import read_table
from core.store.store import DirectoryStore

PHOTOGRAPHS = 120
RECORD = make_record(4)
LAYER, CHANNEL = RECORD.a.split(":")
CAPTION = "<b>A small dog</b>"


def compare_with_photographs(root: Path, *, publish: bool = True) -> Photographs:
    """Compare the pairs of a sample atlas with photographs; every fifth is a dog, which excites a of RECORD."""
    store, random = DirectoryStore(root), np.random.default_rng(1)
    means = {layer: np.maximum(0, random.gamma(0.5, 1, (PHOTOGRAPHS, 640)) - 0.2) for layer in LAYERS}
    means[LAYER][::5, int(CHANNEL)] += 4
    labels = ["hunting dog" if number % 5 == 0 else "cat" for number in range(PHOTOGRAPHS)]
    compare(store, means, labels=labels, publish=publish)
    with Lines() as lines:
        photographs = read_photographs(store, read_table(store, lines))
    assert photographs
    if publish:
        make_pictures(store, photographs.evidence.listing, sorted(photographs.wanted, key=str), CAPTION)
    land = write_land(store, make_land(6, 3, 64, layer=LAYERS[0]))  # of neurons without pairs
    publishing.publish(store, "first-light", lambda _: land)
    return photographs
