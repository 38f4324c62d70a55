"""A renderer that sleeps instead of rendering, for every process that has this folder on its PYTHONPATH.

Python imports a module of this name when it starts, so the processes of a pool, of Ray and of a worker all get the
renderer, and no part of Isthmus needs to know about it. Another module of this name, such as the one of a Linux
distribution, is then not imported. All other parts of a chunk are real.

Environment:
    SYNTHETIC_PAIR_SECONDS: rendering time of a pair.
    SYNTHETIC_LOG: file that gets one line for each chunk, a JSON object: process, begin, end, seconds of its pairs.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

import core.rendering.chunk
from core.arrays import BatchSize
from core.rendering.batches import Batches
from core.rendering.renderers import FirstStrips, Strips
from core.spec import ModelSpec, RenderSettings

if TYPE_CHECKING:
    from core.method.strip import Strip


class SyntheticRenderer:
    """A renderer that returns the same strip for every pair, after a pause."""

    def __init__(self, settings: RenderSettings) -> None:
        self._strip = one_coloured_strip(settings)
        self._pair_seconds = float(os.environ["SYNTHETIC_PAIR_SECONDS"])

    def render(self, work: Sequence[Any]) -> list[Strip]:
        started = time.perf_counter()
        time.sleep(self._pair_seconds * len(work))
        return [replace(self._strip, seconds=(time.perf_counter() - started) / len(work))] * len(work)


class TimedBatches(Batches):
    """Batches that log when rendering began and ended: once for each chunk, if the atlas has one pair of layers."""

    def render(self, work: Sequence[Any]) -> Iterator[Strip]:
        began, seconds = time.time(), 0.0
        for strip in super().render(work):
            seconds += strip.seconds
            yield strip
        line = {"process": os.getpid(), "began": began, "ended": time.time(), "seconds": seconds}
        with open(os.environ["SYNTHETIC_LOG"], "a", encoding="utf-8") as log:  # noqa: PTH123
            log.write(json.dumps(line) + "\n")


def one_coloured_strip(settings: RenderSettings) -> Strip:
    """Return a strip from black to white, with numbers of the usual size."""
    from core.method.strip import Strip

    ramp = np.linspace(0, 1, settings.frames, dtype=np.float32)
    distance = np.diff(ramp) ** 2
    return Strip(
        frames=np.broadcast_to(ramp[:, None, None, None], (settings.frames, settings.size_px, settings.size_px, 3)),
        objective=np.linspace(0, 40, settings.steps, dtype=np.float32),
        activation_a=10 * ramp[::-1],
        activation_b=10 * ramp,
        neighbour_distance=distance,
        layer_distance=dict.fromkeys(settings.alignment.layers or (), distance),
        steps=distance,
        noise=(0.0, 0.0),
        checkpoints={},
        seconds=0,
    )


@lru_cache(maxsize=4)
def synthetic_renderer_for(
    _subject: Strips, _model: ModelSpec, settings: RenderSettings, batch_pairs: BatchSize
) -> Batches:
    return TimedBatches(lambda _size: SyntheticRenderer(settings), batch_pairs)


core.rendering.chunk.renderer_for = synthetic_renderer_for
FirstStrips.compile = lambda _self: None
