"""Which portraits an atlas needs, and what their pixels depend on.

That is the spec and the model alone, never what happens to be in the store: the canvas belongs to the layers that the
atlas's pairs lie in, and a portrait to its canvas and its neuron. So a bigger spec over the same layers keeps both.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from core import METHOD_VERSION
from core.atlas.keys import key_of
from core.atlas.records import Key
from core.models.models import Model
from core.neurons import Neuron, Pair
from core.spec import Alignment, RenderSettings

_SAMPLED = 16
"""Neurons that a canvas is found on, or one of each layer where there are more layers."""


@dataclass(frozen=True, slots=True)
class PlannedPortrait:
    """A neuron, the key of its portrait, and why that cannot be rendered, if so."""

    neuron: Neuron
    key: Key
    reason: str | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.neuron.layer,)


@dataclass(frozen=True)
class PlannedCanvas:
    """The canvas of some layers: the sample that it is found on, and its key."""

    sample: tuple[Neuron, ...]
    key: Key


def portrait_settings(settings: RenderSettings) -> RenderSettings:
    """What a portrait depends on, with defaults for what is about several frames or about the course only."""
    defaults = RenderSettings()
    several = ("frames", "checkpoints", "sharing", "key_frames")
    return settings.model_copy(update={key: getattr(defaults, key) for key in several} | {"alignment": Alignment()})


def plan_canvas(pairs: Iterable[Pair], model: Model, model_digest: str, settings: RenderSettings) -> PlannedCanvas:
    """The canvas of the layers that some pairs lie in.

    The sample is drawn by the seed from all channels of those layers, as many from each.
    """
    layers = {neuron.layer for pair in pairs for neuron in pair}
    sample = tuple(_sample(layers, model, settings.seed))
    return PlannedCanvas(
        sample,
        key_of(
            {
                "method": METHOD_VERSION,
                "model": model_digest,
                "sample": [str(neuron) for neuron in sample],
                "settings": portrait_settings(settings).model_dump(mode="json"),
            }
        ),
    )


def portrait_key(canvas: Key, neuron: Neuron) -> Key:
    """The key of a neuron's portrait on a canvas."""
    return key_of({"canvas": canvas, "neuron": str(neuron)})


def walk_key(pair_key: Key, portraits: tuple[Key, Key]) -> Key:
    """The key of a strip between portraits, from that of the same pair's strip with ends of its own."""
    return key_of({"pair": pair_key, "portraits": portraits, "strip": "walk"})


def _sample(layers: Collection[str], model: Model, seed: int) -> Iterable[Neuron]:
    each = math.ceil(_SAMPLED / len(layers))
    for layer in sorted(layers, key=lambda layer: Neuron(layer, 0).order):
        channels = model.layers[layer]
        drawn = np.random.Generator(np.random.Philox(seed)).choice(channels, min(each, channels), replace=False)
        yield from (Neuron(layer, int(channel)) for channel in sorted(drawn))
