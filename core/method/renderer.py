"""The renderer: optimises a batch of images towards a goal, in loops that run inside TensorFlow's graph.

A renderer has two parts. Its `Images` are optimised: variables, their start values, and the images that they stand for.
Its `Goal` has the objective of an update, and the numbers that are measured at the end. `core.method.whole_strip`,
`core.method.ends`, `core.method.between` and `core.method.portraits` implement these parts.

A renderer traces its step once with redirected gradients and once without. The neurons are tensors, so every further
batch of the same layers starts at once. The strips of a batch share nothing: each has its own start values and views.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.machine import device
from core.method.optimise import Adam, Updates, compile_in_threads, stops
from core.method.parameterization import frames_of
from core.method.schedule import Schedule
from core.method.subjects import Neurons, Subject
from core.method.transforms import resample_by_position, standard_views
from core.spec import RenderSettings

_MEASURED_UPDATES = 8


class Images(Protocol):
    """All frames of all strips of a batch, as variables that are optimised."""

    @property
    def variables(self) -> Sequence[tf.Variable]:
        """The variables that the optimizer changes."""

    def start(self, seeds: Sequence[int]) -> None:
        """Give the variables their start values, from one seed for each strip."""

    def image(self) -> tf.Tensor:
        """Return all frames as they are now, shape (strip * frame, height, width, 3), float32 in [0, 1]."""


class Goal(Protocol):
    """The goal of an optimisation: its objective, and the measurements of the finished images.

    A goal holds the images that it is about, because it also needs them by position or in parts.
    """

    def objective(self, step: tf.Tensor, redirected: bool, neurons: Neurons, views: tf.Tensor) -> tf.Tensor:
        """Return the objective of each strip before an update, shape (strip,); the objective is maximised.

        Args:
            step: number of updates that were done before, a scalar int32.
            redirected: whether ReLUs have the gradient of `core.models.operations.relu`.
            neurons: those of each strip.
            views: the view of each strip in this update, shape (strip, 2, 3): see `core.method.transforms`.
        """

    def measure(self, neurons: Neurons) -> Sequence[tf.Tensor]:
        """Return the numbers of the finished images; each tensor has the strip as its first axis."""


@dataclass(frozen=True)
class Rendered:
    """One finished strip of a batch.

    Attributes:
        frames: shape (frame, height, width, 3), float32 in [0, 1].
        objective: shape (update,): the objective before each update, on the frames as the model saw them.
        measured: the numbers that the goal measures, without the strip axis.
        checkpoints: number of updates -> the frames then.
        seconds: time to render, this strip's share of its batch.
    """

    frames: Array
    objective: Array
    measured: Sequence[Array]
    checkpoints: dict[int, Array]
    seconds: float


class Renderer:
    """Renders batches of strips.

    Args:
        settings: the renderer uses `size_px`, `steps`, `schedule`, `learning_rate`, `redirected_updates` and
            `precision`.
        strips: strips in a batch.
        neurons: neurons that a strip is about.
        width: see `core.method.subjects.Neurons`.
        checkpoints: numbers of updates after which the frames are kept too.
        size: height and width of the images; by default both are `settings.size_px`.
    """

    def __init__(
        self,
        images: Images,
        goal: Goal,
        settings: RenderSettings,
        *,
        strips: int,
        neurons: int,
        width: int,
        checkpoints: Sequence[int] = (),
        size: tuple[int, int] | None = None,
    ) -> None:
        self._size = size or (settings.size_px, settings.size_px)
        self._images, self._goal, self._settings = images, goal, settings
        self._strips, self._width = strips, width
        self._checkpoints = checkpoints
        self._compiled = False
        self._schedule = Schedule.of(settings)
        self._adam = Adam(images.variables, self._schedule.learning_rate, self._schedule.momentum)
        self._signature = Neurons.signature(strips, neurons, width)
        views = tf.TensorSpec((None, strips, 2, 3), tf.float32)
        self._optimise = Updates(
            self._update, settings.redirected_updates, shape=(strips,), others=[self._signature, views]
        )
        self._measure = tf.function(goal.measure, input_signature=[self._signature], autograph=False)

    def render(
        self, subjects: Sequence[Subject], progress: Callable[[int], None] = lambda updates: None
    ) -> list[Rendered]:
        """Render up to as many strips as a batch has; at least one.

        Args:
            progress: called with the number of updates done, every few updates.
        """
        started = time.perf_counter()
        self.compile()
        padded = [*subjects, *[subjects[-1]] * (self._strips - len(subjects))]
        seeds = [subject.seed for subject in padded]
        neurons = self.neurons_of(padded)
        self._start(seeds)
        steps = self._settings.steps
        views = tf.constant(self._views(seeds, steps))
        objective = []
        kept = {}
        for first, last in pairwise([0, *stops(self._checkpoints, steps)]):
            objective.append(self._do_updates(first, last, neurons, views))
            if last in self._checkpoints:
                kept[last] = self._frames()
            progress(last)
        measured = self.measure(neurons)
        frames, history = self._frames(), np.concatenate(objective)
        seconds = (time.perf_counter() - started) / len(subjects)
        return [
            Rendered(
                frames=frames[i],
                objective=history[:, i],
                measured=[t[i] for t in measured],
                checkpoints={step: images[i] for step, images in kept.items()},
                seconds=seconds,
            )
            for i in range(len(subjects))
        ]

    def neurons_of(self, subjects: Sequence[Subject]) -> Neurons:
        """Return the neurons of the subjects of a batch."""
        return Neurons.of(subjects, self._width)

    def measure(self, neurons: Neurons) -> list[Array]:
        """Return the goal's numbers of the images as they are now."""
        self.compile()
        with device.tensor_float_32(False):  # measurements are float32, whatever the precision of the updates
            return [t.numpy() for t in self._measure(neurons)]

    @property
    def updates(self) -> int:
        """The number of updates of a rendering."""
        return self._settings.steps

    @property
    def traces(self) -> int:
        """The number of times that the step has been traced, with redirected gradients or without."""
        return self._optimise.traces

    def compile(self) -> None:
        """Trace and compile everything that a rendering needs, unless that is done; the first `render` begins with it.

        XLA compiles its part in the first update.
        """
        compile_together([self])

    def not_compiled(self) -> list[tuple[Any, Sequence[Any]]]:
        """Return what `compile_in_threads` has still to compile, and assume that it will be compiled now."""
        if self._compiled:
            return []
        self._compiled = True
        neurons = Neurons(*(tf.zeros(each.shape, each.dtype) for each in self._signature))
        views = tf.zeros((1, self._strips, 2, 3))
        no_updates = [(loop, (0, 0, neurons, views)) for loop in self._optimise.loops(self._settings.steps)]
        return [*no_updates, (self._measure, (neurons,))]

    def stopwatch(self, subject: Subject) -> Callable[[], float]:
        """Return a function that measures the seconds of an update of a whole batch of one subject.

        The first updates, which take longer, are done here.
        """
        seeds = [subject.seed] * self._strips
        neurons = self.neurons_of([subject] * self._strips)
        self._start(seeds)
        first = self._settings.redirected_updates  # the updates before this one are few, and slower
        last = first + _MEASURED_UPDATES
        views = tf.constant(np.concatenate([self._views(seeds, 1)] * last))

        def timed() -> float:
            started = time.perf_counter()
            self._do_updates(first, last, neurons, views)
            return (time.perf_counter() - started) / _MEASURED_UPDATES

        timed()  # traces, and warms the device up
        return timed

    def _do_updates(self, first: int, last: int, neurons: Neurons, views: tf.Tensor) -> Array:
        with device.tensor_float_32(self._settings.precision == "tf32"):
            return self._optimise(first, last, neurons, views)

    def _start(self, seeds: Sequence[int]) -> None:
        self._images.start(seeds)
        self._adam.reset()

    def _frames(self) -> Array:
        """The frames as they are now, shape (strip, frame, height, width, 3)."""
        images = self._images.image()
        frames: Array = tf.reshape(images, (self._strips, -1, *images.shape[1:])).numpy()
        return frames

    def _views(self, seeds: Sequence[int], steps: int) -> Array:
        """The views of the first updates, shape (update, strip, 2, 3)."""
        views = np.stack([standard_views(*self._size, steps, seed=(seed, 1)) for seed in seeds], axis=1)
        return self._schedule.narrowed(views)

    def _update(self, step: tf.Tensor, redirected: bool, neurons: Neurons, views: tf.Tensor) -> tf.Tensor:
        """Do one update; return the objective before it, shape (strip,)."""
        variables = self._images.variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            objective = self._goal.objective(step, redirected, neurons, views[step])
            loss = -tf.reduce_sum(objective)
        self._adam.descend(tape.gradient(loss, variables), step + 1)
        return objective


def compile_together(renderers: Sequence[Renderer]) -> None:
    """Trace and compile everything that some renderers need, unless that is done."""
    if functions := [function for renderer in renderers for function in renderer.not_compiled()]:
        compile_in_threads(functions)


def stopwatch_of(renderers: Sequence[Renderer], subject: Subject, steps: int) -> Callable[[], float]:
    """Return a function that measures the seconds of a batch of one subject in all stages, divided by *steps*.

    Args:
        renderers: one for each stage.
    """
    watches = [(renderer.stopwatch(subject), renderer.updates / steps) for renderer in renderers]
    return lambda: sum(share * seconds() for seconds, share in watches)


def seen_by_model(pixels: tf.Tensor, frames: int, settings: RenderSettings, views: tf.Tensor) -> tf.Tensor:
    """Return frames as the model sees them in one update, shape (strip * frame, size, size, 3).

    Args:
        pixels: by position, shape (strip, size * size, frame * 3).
        views: shape (strip, 2, 3).
    """
    size = (settings.size_px, settings.size_px)
    if settings.transforms == "standard":
        pixels = resample_by_position(pixels, size, views, size)
    return frames_of(pixels, size, frames)


def first_failure(objective: Array, frames: Array) -> int | None:
    """Return the first update whose objective was not a finite number, counted from 1, or None.

    Frames that are not finite after finite objectives count as a failure of the last update.
    """
    bad = np.flatnonzero(~np.isfinite(objective))
    if bad.size:
        return int(bad[0]) + 1
    return None if np.isfinite(frames).all() else len(objective)
