"""The two ends of strips, optimised together (schedule `fast`).

The ends share low-resolution terms and are aligned with each other, so that landmarks lie at the same places. They are
finished before the frames between them begin, which start from their mix: see `core.method.between`. An end of its own
takes as many updates as a portrait, the frames between take fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.method.alignment import aligned_layers, weighted_alignment
from core.method.mix import Mix, weights_of
from core.method.network import Readout
from core.method.objectives import alignment_factor
from core.method.parameterization import (
    SHARED_LEVELS,
    Parameterization,
    frames_of,
    shared_colours,
    squashed,
    start_shared,
)
from core.method.purity import Purity
from core.method.renderer import Renderer, seen_by_model
from core.method.subjects import Neurons, Subject
from core.models.model import Model
from core.pictures.portrait import Portrait
from core.pictures.sheets import side_by_side
from core.spec import RenderSettings

_FRAMES = 2


@dataclass(frozen=True)
class RenderedEnds:
    """The finished ends of one strip.

    Attributes:
        portraits: the end of a and that of b.
        objective: shape (update,): the objective before each update, on the ends as the model saw them.
        checkpoints: number of updates -> the ends then, shape (2, height, width, 3).
    """

    portraits: Sequence[Portrait]
    objective: Array
    checkpoints: Mapping[int, Array]


class EndsRenderer:
    """Renders the two ends of strips of the same two layers.

    Args:
        mix: decides how the two neurons count for what the ends share.
        strips: pairs in a batch.
        checkpoints: numbers of updates after which the ends are kept too.
    """

    def __init__(
        self,
        model: Model,
        layers: tuple[str, str],
        settings: RenderSettings,
        mix: Mix,
        *,
        strips: int,
        checkpoints: Sequence[int],
    ) -> None:
        self._images = _Ends(settings, strips)
        readout = Readout(model, layers, aligned_layers(model, settings), settings, strips)
        goal = _BothNeurons(self._images, readout, mix, settings)
        self.renderer = Renderer(
            self._images, goal, settings, strips=strips, neurons=2, width=readout.width, checkpoints=checkpoints
        )

    def render(self, subjects: Sequence[Subject], progress: Callable[[int], None]) -> list[RenderedEnds]:
        """Render up to as many pairs of ends as a batch has; at least one."""
        finished = self.renderer.render(subjects, progress)
        colours = frames_of(self._images.colours(), finished[0].frames.shape[1:3], _FRAMES).numpy()
        return [
            RenderedEnds(
                portraits=[
                    Portrait(
                        colours[_FRAMES * place + end], side_by_side(np.nan_to_num(rendered.frames[end : end + 1]))
                    )
                    for end in range(_FRAMES)
                ],
                objective=rendered.objective,
                checkpoints=rendered.checkpoints,
            )
            for place, rendered in enumerate(finished)
        ]


class _Ends:
    """The two ends of each strip: spectra of their own, and low-resolution terms as in a whole strip."""

    def __init__(self, settings: RenderSettings, strips: int) -> None:
        self._sd = settings.sd
        levels = SHARED_LEVELS if settings.sharing else ()
        self.colours: Parameterization = shared_colours(
            _FRAMES, settings.size_px, levels, strips=strips, key_frames=settings.key_frames
        )
        frames = squashed(self.colours, settings.size_px, _FRAMES)
        self.variables = frames.variables
        self.image = frames.image
        self.by_position = frames.by_position

    def start(self, seeds: Sequence[int]) -> None:
        start_shared(self.variables, seeds, self._sd)


class _BothNeurons:
    """The activation of a on the first end and of b on the second, plus their alignment as neighbouring frames."""

    def __init__(self, images: _Ends, readout: Readout, mix: Mix, settings: RenderSettings) -> None:
        self._images, self._readout, self._mix, self._settings = images, readout, mix, settings
        self._purity = Purity.of(readout, settings)
        self._factor = alignment_factor(_FRAMES, settings.alignment.decay)

    def objective(self, step: tf.Tensor, redirected: bool, neurons: Neurons, views: tf.Tensor) -> tf.Tensor:
        readout = self._readout
        seen = seen_by_model(self._images.by_position(), _FRAMES, self._settings, views)
        found, (a, b) = readout(seen, neurons, redirected)
        ends = tf.stack([a[:, 0], b[:, 1]], axis=1)
        factors, unit = self._mix.balance(tf.stop_gradient(ends), neurons.channels)
        if self._purity:
            objective, unit = self._purity(found, neurons, weights_of(factors, tf.constant([[0.0, 1.0]])), unit)
        else:
            objective = tf.reduce_sum(factors * ends, axis=1)
        layers = [readout.by_strip(found[layer]) for layer in readout.aligned]
        return objective + weighted_alignment(layers, self._factor, self._settings, unit)

    def measure(self, neurons: Neurons) -> Sequence[tf.Tensor]:
        return []


def between(ends: Array, frames: int) -> Array:
    """Return strips whose inner frames are mixes of the colours of finished ends, in equal steps.

    Args:
        ends: values in [0, 1], shape (2, height, width, 3).

    Returns:
        shape (frame, height, width, 3).
    """
    share = np.linspace(0, 1, frames, dtype=np.float32)[:, None, None, None]
    first, last = (np.log(np.clip(end, 1e-6, 1 - 1e-6) / (1 - np.clip(end, 1e-6, 1 - 1e-6))) for end in ends)
    mixes: Array = (1 / (1 + np.exp(-((1 - share) * first + share * last)))).astype(np.float32)
    return np.concatenate([ends[:1], mixes[1:-1], ends[1:]])
