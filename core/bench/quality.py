"""What a schedule reaches, and in which time, judged on the frames themselves rather than on what random views show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.atlas.selection import resolve_settings
from core.method.network import network
from core.method.objectives import alignment_factor, frame_alignment, interpolation_weights, mean_over_positions
from core.method.strip import Strip, StripRenderer
from core.models.models import Model
from core.neurons import Neuron, Pair
from core.spec import RenderSettings

LAYERS = ("block5_expand_pre_relu", "block7_expand_pre_relu", "block9_expand_pre_relu", "block11_expand_pre_relu")
_POINTS = 8  # of a course


@dataclass(frozen=True)
class Course:
    """The mean over all pairs after some numbers of updates.

    Attributes:
        seconds: of one pair.
        objective: the interpolation's part of it.
        alignment: the sum over the alignment layers, at most 0; not yet times its weight.
        neighbour_distance: of the finished frames.
    """

    schedule: str
    updates: tuple[int, ...]
    seconds: tuple[float, ...]
    objective: tuple[float, ...]
    alignment: tuple[float, ...]
    neighbour_distance: float


def draw_pairs(model: Model, layers: Sequence[str], count: int, *, seed: int = 1) -> list[Pair]:
    """Pairs inside each of some layers, as many in each, drawn without regard to what they show."""
    dice = np.random.Generator(np.random.Philox(seed))
    channels = [(layer, dice.choice(model.layers[layer], 2, replace=False)) for layer in layers for _ in range(count)]
    return [Pair.of(Neuron(layer, int(a)), Neuron(layer, int(b))) for layer, (a, b) in channels]


def follow(
    model: Model, pairs: Sequence[Pair], settings: RenderSettings, progress: Callable[[], None] = lambda: None
) -> tuple[Course, list[Strip]]:
    """Render pairs, and judge every one several times on its way.

    Args:
        pairs: those of the same layers next to one another.
        progress: called after each pair.
    """
    steps = settings.steps
    updates = tuple(sorted({max(1, round(steps * point / _POINTS)) for point in range(1, _POINTS + 1)}))
    followed = resolve_settings(settings.model_copy(update={"checkpoints": updates[:-1]}), model)
    strips: list[Strip] = []
    reached: list[list[tuple[float, float]]] = []
    seconds: list[float] = []
    for layers, members in groupby(pairs, lambda pair: pair.layers):
        renderer = StripRenderer(model, layers, followed)
        judge = _judge(model, layers, followed)
        took = []
        for pair in members:
            [strip] = renderer.render([pair])
            strips.append(strip)
            took.append(strip.seconds)
            reached.append([judge(pair, frames) for frames in (*strip.checkpoints.values(), strip.frames)])
            progress()
        seconds.append(median(took))  # the first one has waited for its step to be traced
    objective, alignment = np.mean(reached, axis=0).T.tolist()
    pair_seconds = float(np.mean(seconds))
    course = Course(
        schedule=settings.schedule,
        updates=updates,
        seconds=tuple(round(pair_seconds * update / steps, 3) for update in updates),
        objective=tuple(round(value, 3) for value in objective),
        alignment=tuple(round(value, 3) for value in alignment),
        neighbour_distance=round(float(np.mean([strip.neighbour_distance.mean() for strip in strips])), 5),
    )
    return course, strips


def _judge(
    model: Model, layers: tuple[str, str], settings: RenderSettings
) -> Callable[[Pair, Array], tuple[float, float]]:
    """Gives the objective's two parts for the frames of a pair."""
    aligned = settings.alignment.layers or ()
    activations = tf.function(network(model, {*layers, *aligned}), autograph=False)
    weights = interpolation_weights(settings.frames)
    factor = alignment_factor(settings.frames, settings.alignment.decay)

    def judged(pair: Pair, frames: Array) -> tuple[float, float]:
        found = activations(tf.constant(frames), False, None)
        a, b = (mean_over_positions(found[neuron.layer])[:, neuron.channel] for neuron in pair)
        together = [frame_alignment(found[layer][None], factor)[0] for layer in aligned]
        return float(tf.reduce_sum((1 - weights) * a + weights * b)), float(sum(together))

    return judged
