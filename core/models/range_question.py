"""Asks about the range of values that a network expects, if its first layers hardly answer to images.

The range is in no file. A network that was trained on values up to 255 and sees values up to 1 also gives pictures,
but not those of its neurons.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.arrays import Array
from core.models.derived import DerivedModel
from core.models.frozen_graph import FrozenGraph
from core.models.model import Model
from core.spec import ModelSpec

_IMAGES, _SIZE_PX, _SQUARE_PX = 6, 64, 8
_FIRST_LAYERS = 8
_UNMOVED = 0.01
"""Standard deviation of a channel over images and positions, as a share of its largest value. EfficientNet-Lite0 has at
least 0.1 in its first layers, and 0.001 if the values of its images are divided by 255."""
_SATURATED = 0.9
"""Share of the values of a layer at the ends of an activation's range. EfficientNet-Lite0 has at most 0.7 in its first
layers, and 0.99 if the values of its images are multiplied by 255."""
_BOUNDED = ("Relu6", "Sigmoid", "Tanh", "Softsign", "ClipByValue")


def range_question(model: Model, spec: ModelSpec) -> str | None:
    """Return a question in one line if random images hardly move the first layers of a model, or saturate them.

    None if the user has given value_range or preprocess.
    """
    if isinstance(model, DerivedModel):
        model = model.network
    if not isinstance(model, FrozenGraph) or spec.value_range or spec.preprocess or ":" in spec.name:
        return None
    by_node = {model.node(layer): layer for layer, size in model.sizes(_SIZE_PX).items() if size is not None}
    layers = list(by_node.values())[:_FIRST_LAYERS]
    finding = how_moved(model, layers)
    if finding is None:
        return None
    low, high = model.value_range
    return (
        f"model {spec.name}: random images {finding}; does the network expect values from {low:g} to {high:g}? If not, "
        "give model.value_range or model.preprocess (docs/models.md)"
    )


def how_moved(model: FrozenGraph, layers: Sequence[str]) -> str | None:
    """Return what is wrong with the first of some layers that random images hardly move or saturate, or None."""
    for layer, values in zip(layers, model.computed_on_cpu(_random_images(), layers), strict=True):
        largest = np.abs(values).max((0, 1, 2))
        alive = largest > 1e-12
        if alive.any() and np.median(values.std((0, 1, 2))[alive] / largest[alive]) < _UNMOVED:
            return f"leave its layer {layer} nearly unmoved"
        ends = np.isclose(values, values.min(), atol=1e-3) | np.isclose(values, values.max(), atol=1e-3)
        if model.operation(layer) in _BOUNDED and ends.mean() > _SATURATED:
            return f"saturate its layer {layer}"
    return None


def _random_images() -> Array:
    """Return images of coloured squares, shape (batch, height, width, 3), float32 in [0, 1]."""
    squares = np.random.default_rng(0).uniform(size=(_IMAGES, *[_SIZE_PX // _SQUARE_PX] * 2, 3))
    return squares.repeat(_SQUARE_PX, 1).repeat(_SQUARE_PX, 2).astype(np.float32)
