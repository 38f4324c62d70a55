"""Packing: how many pairs share a batch on the device.

A CPU is busy with one pair. A GPU is not: there the pack grows until the pace no longer rises or the memory ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from core import device
from core.errors import DeviceError
from core.plan import PlannedPair

if TYPE_CHECKING:
    from core.strip import Strip, StripRenderer

_LARGEST = 256
_WORTH_IT = 0.95  # of the seconds for a strip: a pack twice as large must be faster than that


class Packing:
    """Renders pairs of one pair of layers, several in a batch.

    Args:
        renderer: makes the renderer for a number of pairs in a batch.
        pack: how many; auto finds the number that suits the device when the first pair comes.

    Attributes:
        pack: how many pairs share a batch now; None as long as nothing has been rendered with auto.
    """

    def __init__(self, renderer: Callable[[int], StripRenderer], pack: int | Literal["auto"]) -> None:
        self.pack = None if pack == "auto" else pack
        self._new_renderer = renderer
        self._size = 0  # of the batches that `_kept` renders
        self._kept: StripRenderer

    def render(self, planned: Sequence[PlannedPair]) -> Iterator[tuple[PlannedPair, Strip]]:
        """Render pairs in their order. Where the memory of the device does not suffice the pack is halved for good.

        Raises:
            DeviceError: if the memory does not even suffice for one pair.
        """
        from tensorflow.errors import ResourceExhaustedError

        if self.pack is None:
            self.pack = self._fastest(planned) if device.has_gpu() else 1
        rest, size = list(planned), self._even(len(planned))
        while rest:
            try:
                strips = self._renderer(size).render([member.pair for member in rest[:size]])
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
            yield from zip(rest[:size], strips, strict=True)
            rest = rest[size:]

    def _even(self, pairs: int) -> int:
        """The size of as few batches as there must be, as alike as can be: one that is not full takes as long."""
        batches = math.ceil(pairs / (self.pack or 1))
        return math.ceil(pairs / batches)

    def _renderer(self, size: int) -> StripRenderer:
        """The renderer for so many pairs; the last one is kept, because making one takes seconds."""
        if size != self._size:
            self._kept = self._new_renderer(size)
            self._size = size
        return self._kept

    def _fastest(self, planned: Sequence[PlannedPair]) -> int:
        """Double the pack as long as that is worth it, and there are so many pairs."""
        from tensorflow.errors import ResourceExhaustedError

        pack, seconds = 1, self._new_renderer(1).seconds_per_update(planned[0].pair)
        while 2 * pack <= min(_LARGEST, len(planned)):
            try:
                more = self._new_renderer(2 * pack).seconds_per_update(planned[0].pair)
            except ResourceExhaustedError:
                break
            if more > _WORTH_IT * seconds:
                break
            pack, seconds = 2 * pack, more
        return pack
