"""The portraits that an atlas needs, and the keys of portraits, canvases and the strips between portraits.

The pixels depend on the spec and the model alone, never on the content of the store. A canvas depends on the layers of
the atlas's pairs, and a portrait on its canvas and its neuron. So a bigger spec over the same layers keeps both.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from core import METHOD_VERSION
from core.atlas.keys import direction_digests, key_of
from core.atlas.records import Key
from core.models.directions import Directions
from core.models.model import Model
from core.neurons import Neuron, Pair
from core.spec import RenderSettings

_SAMPLED = 16
"""Number of neurons that a canvas is optimised for; with more layers than that, one neuron of each layer."""


@dataclass(frozen=True, slots=True)
class PlannedPortrait:
    """A neuron and the key of its portrait.

    Attributes:
        reason: why the portrait cannot be rendered; None if it can.
        failures: how often the portrait has failed, if it is rendered again for that; otherwise 0.
    """

    neuron: Neuron
    key: Key
    reason: str | None = None
    failures: int = 0

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.neuron.layer,)


@dataclass(frozen=True)
class PlannedCanvas:
    """The canvas of some layers: the sample of neurons that it is optimised for, and its key.

    Attributes:
        failures: how often the canvas has failed, if it is rendered again for that; otherwise 0.
    """

    sample: tuple[Neuron, ...]
    key: Key
    failures: int = 0


def portrait_settings(settings: RenderSettings) -> RenderSettings:
    """Return the settings with defaults in place of those that do not affect a portrait, such as the mix."""
    defaults = RenderSettings()
    unused = ("frames", "checkpoints", "sharing", "key_frames", "mix")
    return settings.model_copy(update={key: getattr(defaults, key) for key in unused})


def plan_canvas(pairs: Iterable[Pair], model: Model, model_digest: str, settings: RenderSettings) -> PlannedCanvas:
    """Plan the canvas for the layers of some pairs; the layer of a direction is the one that it is a direction of.

    The seed draws the sample from all channels of these layers, the same number from each.
    """
    used = {neuron.layer for pair in pairs for neuron in pair}
    layers = {model.derived[layer].of if layer in model.derived else layer for layer in used}
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


def portrait_key(canvas: Key, neuron: Neuron, derived: Mapping[str, Directions]) -> Key:
    """Return the key of a neuron's portrait on a canvas.

    Args:
        derived: the derived layers of the model.
    """
    [digest] = direction_digests([neuron], derived)
    direction = {} if digest is None else {"direction": digest}
    return key_of({"canvas": canvas, "neuron": str(neuron), **direction})


def walk_key(pair_key: Key, portraits: tuple[Key, Key]) -> Key:
    """Return the key of a strip between portraits, from the key of the same pair's strip with ends of its own."""
    return key_of({"pair": pair_key, "portraits": portraits, "strip": "walk"})


def _sample(layers: Collection[str], model: Model, seed: int) -> Iterable[Neuron]:
    per_layer = math.ceil(_SAMPLED / len(layers))
    for layer in sorted(layers, key=lambda layer: Neuron(layer, 0).order):
        channels = model.layers[layer]
        drawn = np.random.Generator(np.random.Philox(seed)).choice(channels, min(per_layer, channels), replace=False)
        yield from (Neuron(layer, int(channel)) for channel in sorted(drawn))
