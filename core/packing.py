"""Packing: how many pairs share a batch on the device, or how many portraits.

A CPU is busy with one pair. A GPU is not: there the pack grows until the pace no longer rises or the memory ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Literal, Protocol, TypeVar

from core import device
from core.errors import DeviceError

_LARGEST = 256
_WORTH_IT = 0.95  # of the seconds for a strip: a pack twice as large must be faster than that


_Work = TypeVar("_Work")
_Result = TypeVar("_Result", covariant=True)
_Taken = TypeVar("_Taken", contravariant=True)


class Renderer(Protocol[_Taken, _Result]):
    """Renders as many pieces of work together as it was made for, such as pairs; or fewer, in the same time."""

    def render(self, work: Sequence[_Taken], /) -> Sequence[_Result]: ...

    def seconds_per_update(self, one: _Taken, /) -> float:
        """How long an update takes for each of so many pieces of work like this one."""


class Packing(Generic[_Work, _Result]):
    """Renders work of one kind, such as pairs of one pair of layers, several in a batch.

    Args:
        renderer: makes the renderer for a number of them in a batch.
        pack: how many; auto finds the number that suits the device when the first work comes.

    Attributes:
        pack: how many share a batch now; None as long as nothing has been rendered with auto.
    """

    def __init__(self, renderer: Callable[[int], Renderer[_Work, _Result]], pack: int | Literal["auto"]) -> None:
        self.pack = None if pack == "auto" else pack
        self._new_renderer = renderer
        self._size = 0  # of the batches that `_kept` renders
        self._kept: Renderer[_Work, _Result]

    def render(self, work: Sequence[_Work]) -> Iterator[_Result]:
        """Render in the order of the work. Where the memory of the device does not suffice the pack is halved for good.

        Raises:
            DeviceError: if the memory does not even suffice for one.
        """
        from tensorflow.errors import ResourceExhaustedError

        if self.pack is None:
            self.pack = self._fastest(work) if device.has_gpu() else 1
        rest, size = list(work), self._even(len(work))
        while rest:
            try:
                results = self._renderer(size).render(rest[:size])
            except ResourceExhaustedError:
                self._size = 0
                if size == 1:
                    raise DeviceError(
                        "the memory of the device does not suffice for one pair; make render.size_px or "
                        "render.frames smaller"
                    ) from None
                self.pack = size // 2
                size = self._even(len(rest))
                continue
            yield from results
            rest = rest[size:]

    def _even(self, work: int) -> int:
        """The size of as few batches as there must be, as alike as can be: one that is not full takes as long."""
        batches = math.ceil(work / (self.pack or 1))
        return math.ceil(work / batches)

    def _renderer(self, size: int) -> Renderer[_Work, _Result]:
        """The renderer for so many; the last one is kept, because making one takes seconds."""
        if size != self._size:
            self._kept = self._new_renderer(size)
            self._size = size
        return self._kept

    def _fastest(self, work: Sequence[_Work]) -> int:
        """Double the pack as long as that is worth it, and there is so much work."""
        from tensorflow.errors import ResourceExhaustedError

        pack, seconds = 1, self._new_renderer(1).seconds_per_update(work[0])
        while 2 * pack <= min(_LARGEST, len(work)):
            try:
                more = self._new_renderer(2 * pack).seconds_per_update(work[0])
            except ResourceExhaustedError:
                break
            if more > _WORTH_IT * seconds:
                break
            pack, seconds = 2 * pack, more
        return pack
