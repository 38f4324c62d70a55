"""A finished strip: its frames and the numbers behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.method.alignment import neighbour_distance, relative_steps
from core.method.network import Readout
from core.method.renderer import Rendered, first_failure
from core.method.subjects import Neurons


@dataclass(frozen=True)
class Strip:
    """The finished frames of one pair and the numbers behind them.

    Attributes:
        frames: shape (frame, height, width, 3), float32 in [0, 1], from neuron a to neuron b.
        objective: shape (update,): the objective on the transformed frames before each update. With schedule `fast` it
            is the mean over the frames that are optimised, first the two ends, then those between them, times the
            number of all frames. Between portraits it is the sum over the inner frames.
        activation_a, activation_b: shape (frame,): mean activation of each neuron on the finished frames.
        neighbour_distance: shape (frame - 1,): mean squared difference of neighbouring frames.
        layer_distance: alignment layer -> mean squared difference of neighbouring frames' activations in this layer,
            shape (frame - 1,).
        steps: shape (frame - 1,): see `core.method.alignment.relative_steps`; empty without alignment layers.
        noise: the highest activation of a and of b on random images, see `core.method.noise`.
        checkpoints: number of updates -> the frames then; in a finished strip, checkpoint of the settings -> frames.
        checkpoint_objective: the same keys -> the objective before the last update until then.
        seconds: time to render, this strip's share of its batch.
    """

    frames: Array
    objective: Array
    activation_a: Array
    activation_b: Array
    neighbour_distance: Array
    layer_distance: Mapping[str, Array]
    steps: Array
    noise: tuple[float, float]
    checkpoints: Mapping[int, Array]
    seconds: float
    checkpoint_objective: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, rendered: Rendered, aligned: Sequence[str]) -> Strip:
        """Return a rendered strip whose numbers `measure_strips` has measured."""
        activation_a, activation_b, noise, distance, steps, *layer_distance = rendered.measured
        return cls(
            frames=rendered.frames,
            objective=rendered.objective,
            activation_a=activation_a,
            activation_b=activation_b,
            neighbour_distance=distance,
            layer_distance=dict(zip(aligned, layer_distance, strict=True)),
            steps=steps,
            noise=(float(noise[0]), float(noise[1])),
            checkpoints=rendered.checkpoints,
            seconds=rendered.seconds,
        )

    def backwards(self) -> Strip:
        """Return the same strip from neuron b to neuron a, with the two names exchanged."""
        return replace(
            self,
            frames=self.frames[::-1],
            activation_a=self.activation_b[::-1],
            activation_b=self.activation_a[::-1],
            neighbour_distance=self.neighbour_distance[::-1],
            layer_distance={layer: distance[::-1] for layer, distance in self.layer_distance.items()},
            steps=self.steps[::-1],
            noise=self.noise[::-1],
            checkpoints={step: frames[::-1] for step, frames in self.checkpoints.items()},
        )

    def with_checkpoints(self, updates: Mapping[int, int]) -> Strip:
        """Return the strip with the checkpoints of the settings: see `RenderSettings.checkpoint_updates`."""
        return replace(
            self,
            checkpoints={checkpoint: self.checkpoints[update] for checkpoint, update in updates.items()},
            checkpoint_objective={
                checkpoint: float(self.objective[update - 1]) for checkpoint, update in updates.items()
            },
        )

    @property
    def failed_at(self) -> int | None:
        """The first update whose objective was not a finite number, counted from 1, or None."""
        return first_failure(self.objective, self.frames)

    @property
    def reach(self) -> tuple[float, float]:
        """The highest activation of a and of b on a frame."""
        return float(self.activation_a.max()), float(self.activation_b.max())

    @property
    def dead(self) -> tuple[bool, bool]:
        """Whether a and b reach no more than random images give."""
        reach_a, reach_b = self.reach
        return reach_a <= self.noise[0], reach_b <= self.noise[1]

    @property
    def kept(self) -> tuple[float | None, float | None]:
        """The shares of their reach that a keeps on the first frame and b on the last; None if dead or not positive."""
        ends = (float(self.activation_a[0]), float(self.activation_b[-1]))
        each = zip(ends, self.reach, self.dead, strict=True)
        kept_a, kept_b = (None if dead or reach <= 0 else end / reach for end, reach, dead in each)
        return kept_a, kept_b

    @property
    def crossing(self) -> float | None:
        """The place along the strip, 0 to 1, where both neurons are equally excited, each in units of its own range.

        The range of a neuron is from its activation at the other end, 0, to that at its own end, 1. Between two frames
        the excitations are straight lines. If they cross several times, it is the middle between the first and the last
        crossing. None if a neuron is dead or is not more active at its own end.
        """
        ranges = self.activation_a[0] - self.activation_a[-1], self.activation_b[-1] - self.activation_b[0]
        if any(self.dead) or min(ranges) <= 0:
            return None
        of_a = (self.activation_a - self.activation_a[-1]) / ranges[0]
        of_b = (self.activation_b - self.activation_b[0]) / ranges[1]
        lead = of_a - of_b  # from 1 to -1
        return (_first_crossing(lead) + 1 - _first_crossing(-lead[::-1])) / 2

    @property
    def pace(self) -> float | None:
        """The largest step divided by the smallest; None without alignment layers or with a single step."""
        if len(self.steps) < 2 or self.steps.min() <= 0:
            return None
        return float(self.steps.max() / self.steps.min())


def _first_crossing(lead: Array) -> float:
    """Return the first place, 0 to 1, where values in equal distances, of which the first is positive, reach 0."""
    before = int(np.argmax(lead <= 0)) - 1
    part = lead[before] / (lead[before] - lead[before + 1])
    return float((before + part) / (len(lead) - 1))


def measure_strips(images: tf.Tensor, neurons: Neurons, readout: Readout, noise: tf.Tensor) -> Sequence[tf.Tensor]:
    """Return the numbers of finished strips; every tensor has the strip as first axis.

    They are the activations of a and of b, shape (strip, frame); the noise; the distances of neighbouring frames in
    pixels; the relative steps; and the distances in each alignment layer, shape (strip, frame - 1).

    Args:
        images: shape (strip * frame, height, width, 3).
        noise: see `Strip.noise`, shape (strip, 2).
    """
    found, activations = readout.exact(images, neurons)
    layers = [readout.by_strip(found[layer]) for layer in readout.aligned]
    steps = relative_steps(layers) if layers else tf.zeros((readout.strips, 0))
    distances = [neighbour_distance(t) for t in layers]
    return [*activations, noise, neighbour_distance(readout.by_strip(images)), steps, *distances]
