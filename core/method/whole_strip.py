"""Whole strips: all frames of a pair are optimised at once from noise, as in Lucid's notebook (schedule `plain`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from core.method.alignment import aligned_layers, long_steps, relative_steps, weighted_alignment
from core.method.mix import Mix, mixed, weights_of
from core.method.network import Readout
from core.method.objectives import alignment_factor
from core.method.parameterization import shared_interpolation, start_shared
from core.method.purity import Purity
from core.method.renderer import Renderer, seen_by_model
from core.method.strip import Strip, measure_strips
from core.method.subjects import Neurons, subject_of
from core.models.model import Model
from core.neurons import Pair
from core.spec import RenderSettings


class WholeStripRenderer:
    """Renders pairs of the same two layers, in one stage; the arguments are those of `StripRenderer`."""

    def __init__(self, model: Model, layers: tuple[str, str], settings: RenderSettings, strips: int) -> None:
        self._settings = settings
        self._strips = strips
        self._aligned = aligned_layers(model, settings)
        self._mix = Mix(model, layers, settings, strips)
        images = _SharedFrames(settings, strips)
        self._derived = model.derived
        readout = Readout(model, layers, self._aligned, settings, strips)
        goal = _Interpolation(images, readout, self._mix, settings)
        checkpoints = settings.checkpoints
        self._renderer = Renderer(
            images, goal, settings, strips=strips, neurons=2, width=readout.width, checkpoints=checkpoints
        )
        self.renderers = (self._renderer,)

    def render(self, pairs: Sequence[Pair], progress: Callable[[int], None]) -> list[Strip]:
        self._mix.start()
        subjects = [subject_of(self._settings, *pair, derived=self._derived) for pair in pairs]
        return [Strip.of(rendered, self._aligned) for rendered in self._renderer.render(subjects, progress)]


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

    def __init__(self, images: _SharedFrames, readout: Readout, mix: Mix, settings: RenderSettings) -> None:
        self._images, self._readout, self._mix, self._settings = images, readout, mix, settings
        self._purity = Purity.of(readout, settings)

    def objective(self, step: tf.Tensor, redirected: bool, neurons: Neurons, views: tf.Tensor) -> tf.Tensor:
        frames, readout, mix = self._settings.frames, self._readout, self._mix
        seen = seen_by_model(self._images.by_position(), frames, self._settings, views)
        found, (a, b) = readout(seen, neurons, redirected)
        reached = tf.stop_gradient(tf.stack([a[:, 0], b[:, -1]], axis=1))
        factors, unit = mix.balance(reached, neurons.channels)
        if self._purity:
            objective, unit = self._purity(found, neurons, weights_of(factors, mix.shares), unit)
        else:
            objective = mixed([a * factors[:, :1], b * factors[:, 1:]], mix.shares)
        layers = [readout.by_strip(found[layer]) for layer in readout.aligned]
        factor = alignment_factor(frames, self._settings.alignment.decay)
        objective += weighted_alignment(layers, factor, self._settings, unit)
        if layers and mix.moves:
            steps = relative_steps(layers)
            objective += long_steps(steps, self._settings, unit)
            mix.move(steps)
        return objective

    def measure(self, neurons: Neurons) -> Sequence[tf.Tensor]:
        return measure_strips(self._images.image(), neurons, self._readout, self._mix.noise(neurons.channels))
