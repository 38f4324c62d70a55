"""Strips: the interpolation of pairs, on the fast path.

A `StripRenderer` is made for one pair of layers and one set of render settings. It traces its step once with redirected
gradients and once without, the loops over the updates run inside the graph, and the channels are tensors, so every
further pair of the same layers starts at once. Several pairs may lie in one batch ("packed"); they share nothing, each
has its own start values and views.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.machine import device
from core.method.objectives import alignment_factor, frame_alignment, interpolation_weights, mean_over_positions
from core.method.optimise import UPDATES_PER_CALL, Adam, Updates, compile_in_threads
from core.method.parameterization import SharedInterpolation, frames_of, shared_interpolation, shared_start_values
from core.method.schedule import Schedule
from core.method.transforms import resample_by_position, standard_views
from core.models.models import Model
from core.neurons import Pair
from core.spec import Precision, RenderSettings

_MEASURED_UPDATES = 8


@dataclass(frozen=True)
class Strip:
    """The finished frames of one pair and the numbers behind them.

    Attributes:
        frames: shape (frame, height, width, 3), float32 in [0, 1], from neuron a to neuron b.
        objective: shape (update,): the objective on the transformed frames before each update; see
            `core.method.walk_strip` for strips between portraits.
        activation_a, activation_b: shape (frame,): mean activation of each neuron on the finished frames.
        neighbour_distance: shape (frame - 1,): mean squared difference of neighbouring frames.
        layer_distance: alignment layer -> the same of the activations there.
        checkpoints: number of updates -> the frames then, for the checkpoints that were asked for.
        seconds: time to render, a packed strip's share of its batch.
    """

    frames: Array
    objective: Array
    activation_a: Array
    activation_b: Array
    neighbour_distance: Array
    layer_distance: Mapping[str, Array]
    checkpoints: Mapping[int, Array]
    seconds: float

    def backwards(self) -> Strip:
        """The same strip from neuron b to neuron a: what was a is then b."""
        return replace(
            self,
            frames=self.frames[::-1],
            activation_a=self.activation_b[::-1],
            activation_b=self.activation_a[::-1],
            neighbour_distance=self.neighbour_distance[::-1],
            layer_distance={layer: distance[::-1] for layer, distance in self.layer_distance.items()},
            checkpoints={step: frames[::-1] for step, frames in self.checkpoints.items()},
        )

    @property
    def failed_at(self) -> int | None:
        """The first update whose objective was not a finite number, counted from 1, or None."""
        bad = np.flatnonzero(~np.isfinite(self.objective))
        if bad.size:
            return int(bad[0]) + 1
        return None if np.isfinite(self.frames).all() else len(self.objective)


def pair_seed(settings: RenderSettings, pair: Pair) -> int:
    """The seed of one pair's start values and views: the same wherever and beside whatever it is rendered."""
    return int.from_bytes(hashlib.sha256(f"{settings.seed}:{pair.a}:{pair.b}".encode()).digest()[:8], "big")


def network(
    model: Model, layers: Collection[str], *, precision: Precision = "float32", xla: bool = False
) -> Callable[[tf.Tensor, bool, tf.Tensor | None], dict[str, tf.Tensor]]:
    """The model as a step uses it: a function from images to their activations in some layers.

    Its second argument says whether ReLUs are redirected; its third has the only channels that are wanted of the
    deepest layer, or is None for all of them.

    Images and activations are float32, whatever the precision in between. XLA compiles nothing on CPUs, where it was
    measured to make convolutions 40 times slower.
    """
    inside = tf.bfloat16 if precision == "bfloat16" else tf.float32

    def activations(images: tf.Tensor, redirected: bool, channels: tf.Tensor | None) -> dict[str, tf.Tensor]:
        found = model.activations(tf.cast(images, inside), layers, redirected=redirected, channels=channels)
        return {layer: tf.cast(t, tf.float32) for layer, t in found.items()}

    if xla and device.has_gpu():
        return tf.function(activations, jit_compile=True, autograph=False)
    return activations


class StripRenderer:
    """Renders pairs whose neurons a lie in one layer and whose neurons b lie in one layer.

    Args:
        layers: the layer of neurons a and that of neurons b; may be the same.
        strips: how many pairs are packed into one batch.
    """

    def __init__(self, model: Model, layers: tuple[str, str], settings: RenderSettings, *, strips: int = 1) -> None:
        self.layers = layers
        self.settings = settings
        self.strips = strips
        self._compiled = False
        self._model = model
        self._aligned = self._aligned_layers()
        seen = {*layers, *self._aligned}
        deepest = max(seen, key=list(model.layers).index)
        # Decided without the batch size, so that a strip is rounded the same way in every batch.
        self._selects_channels = (
            {deepest} == set(layers) and deepest not in self._aligned and model.can_select_channels(seen)
        )
        self._activations = network(model, seen, precision=settings.precision, xla=settings.xla)
        tf.config.experimental.enable_tensor_float_32_execution(settings.precision == "tf32")  # of the whole process
        self._parameterization = self._new_parameterization()
        self._schedule = Schedule.of(settings)
        self._adam = Adam(self._parameterization.variables, self._schedule.learning_rate)
        channels = tf.TensorSpec((strips, 2), tf.int32)
        views = tf.TensorSpec((None, strips, 2, 3), tf.float32)
        self._optimise = Updates(self._update, settings.redirected_updates, shape=(strips,), others=[channels, views])
        self._measure = tf.function(self._measurements, input_signature=[channels], autograph=False)

    def render(self, pairs: Sequence[Pair], progress: Callable[[int], None] = lambda updates: None) -> list[Strip]:
        """Render up to `strips` pairs together.

        Args:
            pairs: at least one pair of this renderer's layers.
            progress: called with the number of updates done, every few updates.
        """
        started = time.perf_counter()
        self.compile()
        padded = [*pairs, *[pairs[-1]] * (self.strips - len(pairs))]
        seeds = [pair_seed(self.settings, pair) for pair in padded]
        channels = tf.constant([(pair.a.channel, pair.b.channel) for pair in padded], tf.int32)
        self._start(seeds)
        steps = self.settings.steps
        views = tf.constant(self._views(seeds, steps))
        objective = []
        kept = {}
        stops = sorted({*range(UPDATES_PER_CALL, steps, UPDATES_PER_CALL), *self.settings.checkpoints, steps})
        for first, last in pairwise([0, *stops]):
            objective.append(self._optimise(first, last, channels, views))
            if last in self.settings.checkpoints:
                kept[last] = self._frames().numpy()
            progress(last)
        activation_a, activation_b, distance, *layer_distance = (t.numpy() for t in self._measure(channels))
        frames, history = self._frames().numpy(), np.concatenate(objective)
        seconds = (time.perf_counter() - started) / len(pairs)
        return [
            Strip(
                frames=frames[i],
                objective=history[:, i],
                activation_a=activation_a[i],
                activation_b=activation_b[i],
                neighbour_distance=distance[i],
                layer_distance={layer: t[i] for layer, t in zip(self._aligned, layer_distance, strict=True)},
                checkpoints={step: images[i] for step, images in kept.items()},
                seconds=seconds,
            )
            for i in range(len(pairs))
        ]

    @property
    def traces(self) -> int:
        """How often the step has been traced, with redirected gradients or without."""
        return self._optimise.traces

    def compile(self) -> None:
        """Trace and compile all that a rendering needs, unless that is done; the first `render` begins with it.

        What XLA compiles is compiled by the first update.
        """
        if self._compiled:
            return
        channels, views = tf.zeros((self.strips, 2), tf.int32), tf.zeros((1, self.strips, 2, 3))
        no_updates = [(loop, (0, 0, channels, views)) for loop in self._optimise.loops(self.settings.steps)]
        compile_in_threads([*no_updates, (self._measure, (channels,))])
        self._compiled = True

    def seconds_per_update(self, pair: Pair) -> float:
        """How long an update takes for each of the packed strips, measured with copies of one pair."""
        return self.stopwatch(pair)() / self.strips

    def stopwatch(self, pair: Pair) -> Callable[[], float]:
        """Gives the seconds of an update of the whole batch, whenever it is called; does the first updates here."""
        seeds = [pair_seed(self.settings, pair)] * self.strips
        channels = tf.constant([(pair.a.channel, pair.b.channel)] * self.strips, tf.int32)
        self._start(seeds)
        first = self.settings.redirected_updates  # those up to here are few, and slower
        last = first + _MEASURED_UPDATES
        views = tf.constant(np.concatenate([self._views(seeds, 1)] * last))

        def timed() -> float:
            started = time.perf_counter()
            self._optimise(first, last, channels, views)
            return (time.perf_counter() - started) / _MEASURED_UPDATES

        timed()  # traces, and warms the device up
        return timed

    def _new_parameterization(self) -> SharedInterpolation:
        """All frames of all strips, and what is optimised of them."""
        settings = self.settings
        return shared_interpolation(
            settings.frames,
            settings.size_px,
            strips=self.strips,
            sd=settings.sd,
            key_frames=settings.key_frames,
            sharing=settings.sharing,
        )

    def _frames(self) -> tf.Tensor:
        """The frames as they are now, shape (strip, frame, height, width, 3)."""
        return self._by_strip(self._parameterization())

    def _start(self, seeds: Sequence[int]) -> None:
        values = shared_start_values(self._parameterization.variables, seeds, self.settings.sd)
        for variable, value in zip(self._parameterization.variables, values, strict=True):
            variable.assign(value)
        self._adam.reset()

    def _views(self, seeds: Sequence[int], steps: int) -> Array:
        """Shape (update, strip, 2, 3)."""
        size_px = self.settings.size_px
        views = np.stack([standard_views(size_px, size_px, steps, seed=(seed, 1)) for seed in seeds], axis=1)
        return self._schedule.narrowed(views)

    def _update(self, step: tf.Tensor, redirected: bool, channels: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        """Do one; gives the objective before it, shape (strip,)."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._parameterization.variables)
            objective = self._objective(views[step], channels, step, redirected)
            loss = -tf.reduce_sum(objective)
        self._adam.descend(tape.gradient(loss, self._parameterization.variables), step + 1)
        return objective

    def _seen(self, pixels: tf.Tensor, frames: int, views: tf.Tensor) -> tf.Tensor:
        """Frames as the model sees them in one update, shape (strip * frame, size, size, 3).

        Args:
            pixels: by position, shape (strip, size * size, frame * 3).
        """
        size = (self.settings.size_px, self.settings.size_px)
        if self.settings.transforms == "standard":
            pixels = resample_by_position(pixels, size, views, size)
        return frames_of(pixels, size, frames)

    def _objective(self, views: tf.Tensor, channels: tf.Tensor, step: tf.Tensor, redirected: bool) -> tf.Tensor:
        """Interpolation plus alignment in some update, shape (strip,)."""
        del step  # the same in every update
        frames = self.settings.frames
        images = self._seen(self._parameterization.by_position(), frames, views)
        found, activations = self._excited(images, channels, redirected)
        objective = mixed(activations, interpolation_weights(frames))
        factor = alignment_factor(frames, self.settings.alignment.decay)
        return objective + self._alignment([self._by_strip(found[layer]) for layer in self._aligned], factor)

    def _excited(
        self, images: tf.Tensor, channels: tf.Tensor, redirected: bool
    ) -> tuple[Mapping[str, tf.Tensor], Sequence[tf.Tensor]]:
        """What images excite: the activations in the aligned layers, and the mean ones of a and of b.

        The latter have shape (strip, frame) each.
        """
        if not self._selects_channels:
            found = self._activations(images, redirected, None)
            return found, self._activations_of(channels, found)
        found = self._activations(images, redirected, tf.reshape(channels, (-1,)))
        # Every strip has the channels of all strips; its own come out before any mean is taken, for how a mean is
        # rounded depends on how many lie side by side.
        of_all = tf.reshape(found.pop(self.layers[0]), (self.strips, -1, self.strips, 2))
        own = tf.reduce_sum(of_all * tf.eye(self.strips)[:, None, :, None], axis=2)
        by_frame = tf.reshape(own, (self.strips, images.shape[0] // self.strips, -1, 2))
        return found, tf.unstack(tf.reduce_mean(by_frame, axis=2), axis=2)

    def _alignment(self, layers: Sequence[tf.Tensor], factor: tf.Tensor | Array) -> tf.Tensor | float:
        """What alignment adds to the objective: activations of shape (strip, frame, ...) to shape (strip,)."""
        return sum(self.settings.alignment.weight * frame_alignment(frames, factor) for frames in layers)

    def _by_strip(self, t: tf.Tensor) -> tf.Tensor:
        """Shape (strip * frame, ...) to (strip, frame, ...)."""
        return tf.reshape(t, (self.strips, t.shape[0] // self.strips, *t.shape[1:]))

    def _activations_of(self, channels: tf.Tensor, found: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        """Mean activation of neuron a and of neuron b in every frame, each of shape (strip, frame)."""
        means = {layer: mean_over_positions(found[layer]) for layer in set(self.layers)}  # with a gradient for each
        activations = []
        for end, layer in enumerate(self.layers):
            wanted = tf.one_hot(channels[:, end : end + 1], means[layer].shape[1])
            activations.append(tf.reduce_sum(self._by_strip(means[layer]) * wanted, axis=2))
        return activations

    def _measurements(self, channels: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The numbers of the finished frames; every result has the strip as first axis.

        Activation of a and of b, shape (strip, frame), distance of neighbouring frames, and that in each alignment
        layer, shape (strip, frame - 1).
        """
        images = self._parameterization()
        exact = network(self._model, {*self.layers, *self._aligned})
        found = exact(images, False, None)
        activations = self._activations_of(channels, found)
        distances = [self._neighbour_distance(t) for t in (images, *(found[layer] for layer in self._aligned))]
        return *activations, *distances

    def _neighbour_distance(self, t: tf.Tensor) -> tf.Tensor:
        strips = tf.reshape(t, (self.strips, self.settings.frames, -1))
        return tf.reduce_mean((strips[:, 1:] - strips[:, :-1]) ** 2, axis=2)

    def _aligned_layers(self) -> tuple[str, ...]:
        if self.settings.alignment.weight == 0:
            return ()
        return self.settings.alignment.layers or tuple(self._model.alignment_layers)


def mixed(activations: Sequence[tf.Tensor], weights: Array) -> tf.Tensor:
    """The sum over frames of the mix of two neurons' activations, shape (strip,).

    Args:
        activations: of a and of b, each of shape (strip, frame).
        weights: the share of b in each frame.
    """
    a, b = activations
    return tf.reduce_sum((1 - weights) * a + weights * b, axis=1)
