"""The history of a schedule: the objective over the updates and seconds.

It is measured on the frames themselves, not on the random views that the optimizer sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.atlas.selection import resolve_settings
from core.machine import device
from core.method.network import network
from core.method.objectives import alignment_factor, frame_alignment, interpolation_weights, mean_over_positions
from core.method.strip import Strip
from core.method.strip_renderer import StripRenderer
from core.models.model import Model
from core.neurons import Neuron, Pair
from core.spec import RenderSettings

LAYERS = ("block5_expand_pre_relu", "block7_expand_pre_relu", "block9_expand_pre_relu", "block11_expand_pre_relu")
_POINTS = 8  # points of a history


@dataclass(frozen=True)
class ScheduleHistory:
    """Means over all pairs at several points of the optimisation.

    Attributes:
        updates: number of updates at each point.
        seconds: seconds that one pair takes up to each point.
        objective: the interpolation term of the objective.
        alignment: the alignment term, summed over the alignment layers and not multiplied by its weight; at most 0.
        neighbour_distance: distance between neighbouring frames of the finished strips.
    """

    schedule: str
    updates: tuple[int, ...]
    seconds: tuple[float, ...]
    objective: tuple[float, ...]
    alignment: tuple[float, ...]
    neighbour_distance: float


def draw_pairs(model: Model, layers: Sequence[str], count: int, *, seed: int = 1) -> list[Pair]:
    """Draw *count* random pairs inside each layer; the same arguments give the same pairs."""
    dice = np.random.Generator(np.random.Philox(seed))
    channels = [(layer, dice.choice(model.layers[layer], 2, replace=False)) for layer in layers for _ in range(count)]
    return [Pair.of(Neuron(layer, int(a)), Neuron(layer, int(b))) for layer, (a, b) in channels]


def follow(
    model: Model, pairs: Sequence[Pair], settings: RenderSettings, progress: Callable[[], None] = lambda: None
) -> tuple[ScheduleHistory, list[Strip]]:
    """Render pairs and measure each of them at several points of the optimisation.

    Args:
        pairs: pairs, sorted so that those of the same layers are neighbours.
        progress: called after each pair.

    Returns:
        the history of the schedule that *settings* has, and the finished strips.
    """
    steps = settings.steps
    updates = tuple(sorted({max(1, round(steps * point / _POINTS)) for point in range(1, _POINTS + 1)}))
    followed = resolve_settings(settings.model_copy(update={"checkpoints": updates[:-1]}), model)
    strips: list[Strip] = []
    reached: list[list[tuple[float, float]]] = []
    seconds: list[float] = []
    for layers, members in groupby(pairs, lambda pair: pair.layers):
        renderer = StripRenderer(model, layers, followed)
        measure = _measurement(model, layers, followed)
        took = []
        for pair in members:
            [strip] = renderer.render([pair])
            strips.append(strip)
            took.append(strip.seconds)
            reached.append([measure(pair, frames) for frames in (*strip.checkpoints.values(), strip.frames)])
            progress()
        seconds.append(median(took))  # the first pair includes the tracing of the step
    objective, alignment = np.mean(reached, axis=0).T.tolist()
    pair_seconds = float(np.mean(seconds))
    history = ScheduleHistory(
        schedule=settings.schedule,
        updates=updates,
        seconds=tuple(round(pair_seconds * update / steps, 3) for update in updates),
        objective=tuple(round(value, 3) for value in objective),
        alignment=tuple(round(value, 3) for value in alignment),
        neighbour_distance=round(float(np.mean([strip.neighbour_distance.mean() for strip in strips])), 5),
    )
    return history, strips


def _measurement(
    model: Model, layers: tuple[str, str], settings: RenderSettings
) -> Callable[[Pair, Array], tuple[float, float]]:
    """Return a function from a pair and its frames to the interpolation and the alignment term of the objective."""
    aligned = settings.alignment.layers or ()
    activations = tf.function(network(model, {*layers, *aligned}), autograph=False)
    weights = interpolation_weights(settings.frames)
    factor = alignment_factor(settings.frames, settings.alignment.decay)

    def measure(pair: Pair, frames: Array) -> tuple[float, float]:
        with device.tensor_float_32(False):
            found = activations(tf.constant(frames), False, None)
        a, b = (mean_over_positions(found[neuron.layer])[:, neuron.channel] for neuron in pair)
        together = [frame_alignment(found[layer][None], factor)[0] for layer in aligned]
        return float(tf.reduce_sum((1 - weights) * a + weights * b)), float(sum(together))

    return measure
