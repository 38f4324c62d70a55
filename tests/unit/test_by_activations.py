"""Neurons that are near because of photographs: nearest pairs, and the arrangement of a land."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from core.atlas.arrangement import neighbour_cosine
from core.atlas.land_plan import PlannedLand, plan_land, write_land
from core.atlas.natural_strip import correlations
from core.atlas.selection import select_pairs, spec_neurons
from core.errors import SpecError
from core.models.models import digest, load
from core.spec_file import parse_spec
from core.store.store import DirectoryStore

MODEL = load("efficientnet-lite0")
LAYER = "block0_depthwise_pre_relu"


def on_photographs(layer: str, channels: Sequence[int], seed: int = 1) -> NDArray[np.float16]:
    """Return activations in which the channels i and 31 - i are alike."""
    assert layer == LAYER
    random = np.random.default_rng(seed)
    common = random.gamma(0.3, 1, (16, 200))
    every = np.concatenate([common, common[::-1]]) + 0.2 * random.gamma(0.3, 1, (32, 200))
    return every[list(channels)].astype(np.float16)


def _spec(**changes: Any) -> Any:
    return parse_spec({"name": "near", **changes}, "here")


def test_nearest_pairs_correlate_on_photographs() -> None:
    pairs = {"select": "nearest", "neurons": [f"{LAYER}:0-31"], "k": 1, "by": "activations"}
    selected = select_pairs(_spec(pairs=pairs), MODEL, on_photographs)
    assert sorted((a.channel, b.channel) for a, b in selected) == [(i, 31 - i) for i in range(16)]
    assert spec_neurons(_spec(pairs=pairs), MODEL) == sorted(
        {neuron for pair in selected for neuron in pair}, key=lambda neuron: neuron.channel
    ), "the neurons are known before there are photographs"


def test_neighbours_on_a_land_correlate_on_photographs(tmp_path: Path) -> None:
    spec = _spec(land={"neurons": [f"{LAYER}:0-31"], "arrange": "activations", "columns": 8})
    store = DirectoryStore(tmp_path)

    def plan(seed: int) -> PlannedLand:
        return plan_land(spec, MODEL, digest(MODEL), store, lambda *of: on_photographs(*of, seed=seed))

    planned = plan(1)
    channels = [neuron.channel for neuron in planned.land.neurons]
    likeness = correlations(on_photographs(LAYER, range(32))).astype(np.float32)
    assert neighbour_cosine(likeness, channels, 8) > 0.15 > 3 * neighbour_cosine(likeness, range(32), 8)

    write_land(store, planned)
    assert plan(1) == planned
    assert plan(2).arrangement != planned.arrangement, "other photographs arrange the neurons anew"


def test_without_photographs_one_line_says_what_to_run_first(tmp_path: Path) -> None:
    needed = (
        f"for '{LAYER}', expected the activations of two photographs or more, found none; run isthmus images SPEC first"
    )
    near = _spec(pairs={"select": "nearest", "neurons": [f"{LAYER}:0-3"], "k": 1, "by": "activations"})
    with pytest.raises(SpecError) as caught:
        select_pairs(near, MODEL, lambda *_: None)
    assert str(caught.value) == f"pairs.by: {needed}"
    land = _spec(land={"neurons": [f"{LAYER}:0-3"], "arrange": "activations"})
    with pytest.raises(SpecError) as caught:
        plan_land(land, MODEL, digest(MODEL), DirectoryStore(tmp_path))
    assert str(caught.value) == f"land.arrange: {needed}"
