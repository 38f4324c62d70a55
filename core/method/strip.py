"""Strips with ends of their own: the interpolation of pairs, on the fast path of atlases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import tensorflow as tf

from core.arrays import Array
from core.method.network import Readout
from core.method.objectives import alignment_factor, frame_alignment, interpolation_weights
from core.method.parameterization import shared_interpolation, start_shared
from core.method.renderer import Rendered, Renderer, first_failure, seen_by_model, subject_of
from core.models.model import Model
from core.neurons import Pair
from core.spec import RenderSettings


@dataclass(frozen=True)
class Strip:
    """The finished frames of one pair and the numbers behind them.

    Attributes:
        frames: shape (frame, height, width, 3), float32 in [0, 1], from neuron a to neuron b.
        objective: shape (update,): the objective on the transformed frames before each update; see
            `core.method.walk_strip` for strips between portraits.
        activation_a, activation_b: shape (frame,): mean activation of each neuron on the finished frames.
        neighbour_distance: shape (frame - 1,): mean squared difference of neighbouring frames.
        layer_distance: alignment layer -> mean squared difference of neighbouring frames' activations in this layer,
            shape (frame - 1,).
        checkpoints: number of updates -> the frames then, for the checkpoints in the settings.
        seconds: time to render, this strip's share of its batch.
    """

    frames: Array
    objective: Array
    activation_a: Array
    activation_b: Array
    neighbour_distance: Array
    layer_distance: Mapping[str, Array]
    checkpoints: Mapping[int, Array]
    seconds: float

    @classmethod
    def of(cls, rendered: Rendered, aligned: Sequence[str]) -> Strip:
        """Return a rendered strip whose numbers `measure_strips` has measured."""
        activation_a, activation_b, distance, *layer_distance = rendered.measured
        return cls(
            frames=rendered.frames,
            objective=rendered.objective,
            activation_a=activation_a,
            activation_b=activation_b,
            neighbour_distance=distance,
            layer_distance=dict(zip(aligned, layer_distance, strict=True)),
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
            checkpoints={step: frames[::-1] for step, frames in self.checkpoints.items()},
        )

    @property
    def failed_at(self) -> int | None:
        """The first update whose objective was not a finite number, counted from 1, or None."""
        return first_failure(self.objective, self.frames)


class StripRenderer:
    """Renders pairs of the same two layers, as strips with ends of their own.

    Args:
        layers: the layer of every neuron a and that of every neuron b; may be the same layer.
        strips: pairs in a batch.
    """

    def __init__(self, model: Model, layers: tuple[str, str], settings: RenderSettings, *, strips: int = 1) -> None:
        self._settings = settings
        self._strips = strips
        self._aligned = aligned_layers(model, settings)
        images = _SharedFrames(settings, strips)
        goal = _Interpolation(images, Readout(model, layers, self._aligned, settings, strips), settings)
        self._renderer = Renderer(images, goal, settings, strips=strips, neurons=2, checkpoints=settings.checkpoints)

    def render(self, pairs: Sequence[Pair], progress: Callable[[int], None] = lambda updates: None) -> list[Strip]:
        """Render up to as many pairs of this renderer's layers as a batch has; at least one.

        Args:
            progress: called with the number of updates done, every few updates.
        """
        subjects = [subject_of(self._settings, *pair) for pair in pairs]
        return [Strip.of(rendered, self._aligned) for rendered in self._renderer.render(subjects, progress)]

    @property
    def traces(self) -> int:
        """The number of times that the step has been traced, with redirected gradients or without."""
        return self._renderer.traces

    def compile(self) -> None:
        """Trace and compile everything that a rendering needs, unless that is done."""
        self._renderer.compile()

    def seconds_per_update(self, pair: Pair) -> float:
        """Return how long an update takes for each strip of a batch, measured with copies of one pair."""
        return self.stopwatch(pair)() / self._strips

    def stopwatch(self, pair: Pair) -> Callable[[], float]:
        """Return a function that measures the seconds of an update of a whole batch of one pair."""
        return self._renderer.stopwatch(subject_of(self._settings, *pair))


class _SharedFrames:
    """All frames of strips: each has a spectrum of its own, and they share low-resolution terms."""

    def __init__(self, settings: RenderSettings, strips: int) -> None:
        self._sd = settings.sd
        self._parameterization = shared_interpolation(
            settings.frames,
            settings.size_px,
            strips=strips,
            sd=settings.sd,
            key_frames=settings.key_frames,
            sharing=settings.sharing,
        )
        self.variables = self._parameterization.variables
        self.image = self._parameterization.image
        self.by_position = self._parameterization.by_position

    def start(self, seeds: Sequence[int]) -> None:
        start_shared(self.variables, seeds, self._sd)


class _Interpolation:
    """The mix of two neurons that changes from frame to frame, plus alignment."""

    def __init__(self, images: _SharedFrames, readout: Readout, settings: RenderSettings) -> None:
        self._images, self._readout, self._settings = images, readout, settings

    def objective(self, step: tf.Tensor, redirected: bool, channels: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
        frames = self._settings.frames
        seen = seen_by_model(self._images.by_position(), frames, self._settings, views)
        layers, activations = self._readout(seen, channels, redirected)
        objective = mixed(activations, interpolation_weights(frames))
        factor = alignment_factor(frames, self._settings.alignment.decay)
        aligned = [self._readout.by_strip(layers[layer]) for layer in self._readout.aligned]
        return objective + weighted_alignment(aligned, factor, self._settings)

    def measure(self, channels: tf.Tensor) -> Sequence[tf.Tensor]:
        return measure_strips(self._images.image(), channels, self._readout)


def aligned_layers(model: Model, settings: RenderSettings) -> tuple[str, ...]:
    """Return the layers in which frames are aligned; none if alignment has no weight."""
    if settings.alignment.weight == 0:
        return ()
    return settings.alignment.layers or tuple(model.alignment_layers)


def mixed(activations: Sequence[tf.Tensor], weights: Array) -> tf.Tensor:
    """Return the sum over frames of the mix of two neurons' activations, shape (strip,).

    Args:
        activations: of a and of b, each of shape (strip, frame).
        weights: the share of b in each frame.
    """
    a, b = activations
    return tf.reduce_sum((1 - weights) * a + weights * b, axis=1)


def weighted_alignment(
    layers: Sequence[tf.Tensor], factor: tf.Tensor | Array, settings: RenderSettings
) -> tf.Tensor | float:
    """Return the alignment term of the objective, shape (strip,); 0 without a layer.

    Args:
        layers: the activations in each aligned layer, shape (strip, frame, ...).
        factor: see `core.method.objectives.alignment_factor`.
    """
    return sum(settings.alignment.weight * frame_alignment(frames, factor) for frames in layers)


def measure_strips(images: tf.Tensor, channels: tf.Tensor, readout: Readout) -> Sequence[tf.Tensor]:
    """Return the numbers of finished strips; every tensor has the strip as first axis.

    They are the activations of a and of b, shape (strip, frame), the distances of neighbouring frames, and those in
    each aligned layer, shape (strip, frame - 1).

    Args:
        images: shape (strip * frame, height, width, 3).
    """
    layers, activations = readout.exact(images, channels)
    return [*activations, *(_neighbour_distance(t, readout) for t in (images, *(layers[x] for x in readout.aligned)))]


def _neighbour_distance(t: tf.Tensor, readout: Readout) -> tf.Tensor:
    strips = tf.reshape(t, (readout.strips, t.shape[0] // readout.strips, -1))
    return tf.reduce_mean((strips[:, 1:] - strips[:, :-1]) ** 2, axis=2)
