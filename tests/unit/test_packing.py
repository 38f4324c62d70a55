"""How many pairs share a batch: what a device's memory and pace decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from core import device
from core.errors import DeviceError
from core.models import Model
from core.neurons import Neuron, Pair
from core.packing import Packing
from core.selection import resolve_settings
from core.spec import RenderSettings
from core.strip import StripRenderer

LAYER = "stem_pre_relu"
PAIRS = [Pair.of(Neuron(LAYER, 0), Neuron(LAYER, n)) for n in range(1, 8)]


class Device:
    """Renderers for a device whose memory holds so many pairs, and whose seconds for an update of a batch are known.

    It stands for a GPU, of which only what it says to `Packing` matters here.
    """

    def __init__(self, memory: int, seconds: Any = lambda pack: 1.0) -> None:
        self.memory, self.seconds = memory, seconds
        self.batches: list[tuple[int, int]] = []

    def renderer(self, pack: int) -> Any:
        device = self

        class Renderer:
            def _allocate(self) -> None:
                if pack > device.memory:
                    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

            def seconds_per_update(self, pair: Pair) -> float:
                self._allocate()
                return float(device.seconds(pack) / pack)

            def render(self, pairs: Sequence[Pair]) -> list[Pair]:
                self._allocate()
                device.batches.append((pack, len(pairs)))
                return list(pairs)

        return Renderer()


def rendered(packing: Packing[Pair, Pair], pairs: Sequence[Pair] = PAIRS) -> list[Pair]:
    return list(packing.render(pairs))


def test_too_large_a_pack_is_halved_and_nothing_is_left_out() -> None:
    """Where memory ends the pairs come in smaller batches, in their order, and it is not tried again."""
    gpu = Device(memory=3)
    packing = Packing[Pair, Pair](gpu.renderer, 8)

    assert rendered(packing) == PAIRS
    assert rendered(packing) == PAIRS
    assert gpu.batches == [(3, 3), (3, 3), (3, 1)] * 2


def test_memory_that_does_not_suffice_for_one_pair_is_told_with_a_remedy() -> None:
    """There is nothing to halve then."""
    with pytest.raises(
        DeviceError, match=r"does not suffice for one pair; make render.size_px or render.frames smaller"
    ):
        rendered(Packing(Device(memory=0).renderer, 4))


@pytest.mark.parametrize(
    ("memory", "seconds", "expected"),
    [
        (1000, lambda pack: 1 + 0.5 * pack, 32),  # a start-up cost that is soon outweighed
        (1000, lambda pack: pack, 1),  # a device that is busy with one
        (5, lambda pack: 1.0, 4),  # memory ends before the pace stops rising
        (100_000, lambda pack: 1.0, 256),  # however good it gets
    ],
)
def test_auto_doubles_the_pack_as_long_as_that_is_worth_it(
    monkeypatch: pytest.MonkeyPatch, memory: int, seconds: Any, expected: int
) -> None:
    """On a GPU the pack is found by measuring, once."""
    monkeypatch.setattr(device, "has_gpu", lambda: True)
    packing = Packing[Pair, Pair](Device(memory, seconds).renderer, "auto")
    many = PAIRS * 100

    assert rendered(packing, many) == many
    assert packing.pack == expected


def test_batches_are_no_larger_than_the_pairs_and_share_them_evenly() -> None:
    """A batch that is not full takes as long as a full one: nine pairs, at most eight in a batch, are five and four."""
    gpu = Device(memory=100)

    rendered(Packing(gpu.renderer, 64))
    rendered(Packing(gpu.renderer, 8), [*PAIRS, *PAIRS[:2]])

    assert gpu.batches == [(7, 7), (5, 5), (5, 4)]


def test_on_a_cpu_auto_is_one_pair() -> None:
    """There a second pair in the batch would only take as long again."""
    cpu = Device(memory=100)
    packing = Packing[Pair, Pair](cpu.renderer, "auto")

    assert rendered(packing) == PAIRS
    assert (packing.pack, cpu.batches) == (1, [(1, 1)] * 7)


def test_measuring_leaves_no_trace_in_what_is_rendered(model: Model) -> None:
    """A strip after `seconds_per_update` is the strip without it, to the last bit."""
    settings = resolve_settings(
        RenderSettings(size_px=32, frames=2, steps=6, alignment={"weight": 0}),  # type: ignore[arg-type]
        model,
    )
    fresh, measured = (StripRenderer(model, (LAYER, LAYER), settings, strips=2) for _ in range(2))
    pairs = PAIRS[:2]

    assert measured.seconds_per_update(pairs[0]) > 0
    for one, other in zip(fresh.render(pairs), measured.render(pairs), strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)
