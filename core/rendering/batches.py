"""Batches: the strips, or portraits, that share a forward pass on the device.

One strip keeps a CPU busy. A GPU is busy from six million pixels on: twice as many pixels take nearly twice as long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from core.arrays import BatchSize
from core.errors import DeviceError
from core.machine import device

_LARGEST = 256
_BUSY_PIXELS = 64 * 6 * 128 * 128
"""Pixels in a batch that keep a GPU busy. Measured on an H200, EfficientNet-Lite0 to its tenth block: an update of a
strip of six frames of 128 px takes 3.86, 1.13, 0.56, 0.43, 0.41 ms in batches of 1, 4, 16, 64, 128. Smaller GPUs are
busy sooner."""
_MEMORY_FRACTION = 0.8
_FULL_ENOUGH = 0.75  # share of a kept renderer's places that must be used; the other places are rendered for nothing

_Work = TypeVar("_Work")
_Result = TypeVar("_Result", covariant=True)
_Taken = TypeVar("_Taken", contravariant=True)


class BatchRenderer(Protocol[_Taken, _Result]):
    """Renders pieces of work together, at most a batch; a batch that is not full takes the time of a full one."""

    def render(self, work: Sequence[_Taken], /) -> Sequence[_Result]: ...


def suited(frames: int, size_px: int) -> int:
    """Return how many strips keep the device of this process busy: 1 on a CPU.

    Args:
        frames: frames of a strip; 1 for portraits.
        size_px: height and width of a frame.
    """
    if not device.has_gpu():
        return 1
    return max(1, min(_LARGEST, round(_BUSY_PIXELS / (frames * size_px**2))))


def at_most(batch_pairs: BatchSize, frames: int, size_px: int) -> int:
    """Return the upper bound on strips in a batch, for a value of `compute.batch_pairs`."""
    return suited(frames, size_px) if batch_pairs == "auto" else batch_pairs


class Batches(Generic[_Work, _Result]):
    """Renders work of one kind, such as pairs of one pair of layers, in batches.

    Args:
        renderer: makes the renderer for batches of a given size.
        size: upper bound on the pieces of work in a batch.
        spare_memory: halve batches that have used more than four fifths of the device's memory.

    Attributes:
        size: as given, or less if the device ran out of memory.
    """

    def __init__(
        self, renderer: Callable[[int], BatchRenderer[_Work, _Result]], size: int, *, spare_memory: bool = False
    ) -> None:
        self.size = size
        self._most_memory = _MEMORY_FRACTION if spare_memory else math.inf
        self._new_renderer = renderer
        self._kept_size = 0  # size of the batches that `_kept` renders
        self._kept: BatchRenderer[_Work, _Result]

    def render(self, work: Sequence[_Work]) -> Iterator[_Result]:
        """Yield results in the order of the work. When the device runs out of memory, batches are halved for good.

        Raises:
            DeviceError: if the memory does not suffice for a single piece of work.
        """
        from tensorflow.errors import ResourceExhaustedError

        rest, size = list(work), self._even_size(len(work))
        while rest:
            device.memory_used()  # reset the peak, which earlier batches may have raised
            try:
                results = self._renderer(size).render(rest[:size])
            except ResourceExhaustedError:
                if size == 1:
                    self._kept_size = 0
                    raise DeviceError(
                        "the memory of the device does not suffice for one pair; make render.size_px or "
                        "render.frames smaller"
                    ) from None
                size = self._halve(size, len(rest))
                continue
            yield from results
            rest = rest[size:]
            if device.memory_used() > self._most_memory and size > 1:
                size = self._halve(size, len(rest))

    def renderer_for(self, work: int) -> BatchRenderer[_Work, _Result]:
        """Return the renderer that begins with this many pieces of work."""
        return self._renderer(self._even_size(work))

    def _halve(self, size: int, work: int) -> int:
        """Halve the upper bound after batches of *size* were too large; return the size for the remaining work."""
        self._kept_size = 0
        self.size = size // 2
        return self._even_size(work)

    def _even_size(self, work: int) -> int:
        """Return the size of the fewest batches of equal size; a batch that is not full takes as long as a full one."""
        batches = max(1, math.ceil(work / self.size))
        return math.ceil(work / batches)

    def _renderer(self, size: int) -> BatchRenderer[_Work, _Result]:
        """Return the kept renderer if its batches are not much larger than *size*; a new one takes seconds to make."""
        if not _FULL_ENOUGH * self._kept_size < size <= self._kept_size:
            self._kept = self._new_renderer(size)
            self._kept_size = size
        return self._kept
