"""Packing: how many pairs share a batch on the device.

A CPU is busy with one pair. A GPU is not: there the pack grows until the pace no longer rises or the memory ends.
"""

from __future__ import annotations

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
        self._renderer: StripRenderer | None = None

    def render(self, planned: Sequence[PlannedPair]) -> Iterator[tuple[PlannedPair, Strip]]:
        """Render pairs in their order. Where the memory of the device does not suffice the pack is halved for good.

        Raises:
            DeviceError: if the memory does not even suffice for one pair.
        """
        from tensorflow.errors import ResourceExhaustedError

        if self.pack is None:
            self.pack = self._fastest(planned[0]) if device.has_gpu() else 1
        done = 0
        while done < len(planned):
            batch = planned[done : done + self.pack]
            try:
                self._renderer = self._renderer or self._new_renderer(self.pack)
                strips = self._renderer.render([member.pair for member in batch])
            except ResourceExhaustedError:
                self._renderer = None
                if self.pack == 1:
                    raise DeviceError(
                        "the memory of the device does not suffice for one pair; make render.size_px or "
                        "render.frames smaller"
                    ) from None
                self.pack //= 2
                continue
            yield from zip(batch, strips, strict=True)
            done += len(batch)

    def _fastest(self, planned: PlannedPair) -> int:
        """Double the pack as long as that is worth it."""
        from tensorflow.errors import ResourceExhaustedError

        pack, seconds = 1, self._new_renderer(1).seconds_per_update(planned.pair)
        while pack < _LARGEST:
            try:
                more = self._new_renderer(2 * pack).seconds_per_update(planned.pair)
            except ResourceExhaustedError:
                break
            if more > _WORTH_IT * seconds:
                break
            pack, seconds = 2 * pack, more
        return pack
