"""Batches: how many pairs share a batch on the device, or how many portraits.

A CPU is busy with one pair. A GPU is busy with six million pixels, and twice as many take nearly twice as long.
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
"""So many in a batch make a GPU busy. Measured on an H200, EfficientNet-Lite0 to its tenth block: an update of a strip
of six frames of 128 px takes 3.86, 1.13, 0.56, 0.43, 0.41 ms alone and among 4, 16, 64, 128. Smaller ones are busy
sooner."""
_MEMORY_FRACTION = 0.8
_FULL_ENOUGH = 0.75  # a batch for the renderer that is there; the rest of its places are rendered for nothing


_Work = TypeVar("_Work")
_Result = TypeVar("_Result", covariant=True)
_Taken = TypeVar("_Taken", contravariant=True)


class Renderer(Protocol[_Taken, _Result]):
    """Renders as many pieces of work together as it was made for, such as pairs; or fewer, in the same time."""

    def render(self, work: Sequence[_Taken], /) -> Sequence[_Result]: ...


def suited(frames: int, size_px: int) -> int:
    """How many strips make the device of this process busy, or pictures of one frame; 1 on a CPU.

    Args:
        frames: in a strip.
        size_px: height and width of a frame.
    """
    if not device.has_gpu():
        return 1
    return max(1, min(_LARGEST, round(_BUSY_PIXELS / (frames * size_px**2))))


def at_most(batch_pairs: BatchSize, frames: int, size_px: int) -> int:
    """Return how many strips share a batch at most, for a value of `compute.batch_pairs`."""
    return suited(frames, size_px) if batch_pairs == "auto" else batch_pairs


class Batches(Generic[_Work, _Result]):
    """Renders work of one kind, such as pairs of one pair of layers, several in a batch.

    Args:
        renderer: makes the renderer for a number of them in a batch.
        batch_pairs: how many share a batch at most.
        spare_memory: render fewer together where a batch has needed more than four fifths of the device's memory.

    Attributes:
        batch_pairs: as given, or less where memory has ended.
    """

    def __init__(
        self, renderer: Callable[[int], Renderer[_Work, _Result]], batch_pairs: int, *, spare_memory: bool = False
    ) -> None:
        self.batch_pairs = batch_pairs
        self._most_memory = _MEMORY_FRACTION if spare_memory else math.inf
        self._new_renderer = renderer
        self._size = 0  # of the batches that `_kept` renders
        self._kept: Renderer[_Work, _Result]

    def render(self, work: Sequence[_Work]) -> Iterator[_Result]:
        """Yield results in the order of the work; batches are halved for good when the device runs out of memory.

        Raises:
            DeviceError: if the memory does not even suffice for one.
        """
        from tensorflow.errors import ResourceExhaustedError

        rest, size = list(work), self._even(len(work))
        while rest:
            device.memory_used()  # what others have used before does not count
            try:
                results = self._renderer(size).render(rest[:size])
            except ResourceExhaustedError:
                if size == 1:
                    self._size = 0
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

    def _halve(self, size: int, work: int) -> int:
        """The size of batches for so much more work, when those of some size are too large."""
        self._size = 0
        self.batch_pairs = size // 2
        return self._even(work)

    def _even(self, work: int) -> int:
        """The size of as few batches as there must be, as alike as can be: one that is not full takes as long."""
        batches = max(1, math.ceil(work / self.batch_pairs))
        return math.ceil(work / batches)

    def _renderer(self, size: int) -> Renderer[_Work, _Result]:
        """The renderer for so many, or for some more: the last one is kept, because making one takes seconds."""
        if not _FULL_ENOUGH * self._size < size <= self._size:
            self._kept = self._new_renderer(size)
            self._size = size
        return self._kept
