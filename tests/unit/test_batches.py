"""How many pairs share a batch: what a device's memory and pace decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from core.atlas.selection import resolve_settings
from core.errors import DeviceError
from core.machine import device
from core.method.strip import StripRenderer
from core.models.models import Model
from core.neurons import Neuron, Pair
from core.rendering.batches import Batches, suited
from core.spec import RenderSettings

LAYER = "stem_pre_relu"
PAIRS = [Pair.of(Neuron(LAYER, 0), Neuron(LAYER, n)) for n in range(1, 8)]


class Device:
    """Renderers for a device whose memory holds so many pairs. It stands for a GPU, of which only that matters here."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.batches: list[tuple[int, int]] = []
        self._peak = 0.0

    def renderer(self, pack: int) -> Any:
        device = self

        class Renderer:
            def render(self, pairs: Sequence[Pair]) -> list[Pair]:
                device._peak = max(device._peak, min(1, pack / (device.memory or 1)))
                if pack > device.memory:
                    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
                device.batches.append((pack, len(pairs)))
                return list(pairs)

        return Renderer()

    def used(self) -> float:
        """The largest share of the memory that a batch took since this was last asked."""
        peak, self._peak = self._peak, 0.0
        return peak


def rendered(packing: Batches[Pair, Pair], pairs: Sequence[Pair] = PAIRS) -> list[Pair]:
    return list(packing.render(pairs))


def test_too_large_a_pack_is_halved_and_nothing_is_left_out() -> None:
    """Where memory ends the pairs come in smaller batches, in their order, and it is not tried again."""
    gpu = Device(memory=3)
    packing = Batches(gpu.renderer, 8)

    assert rendered(packing) == PAIRS
    assert rendered(packing) == PAIRS
    assert gpu.batches == [(3, 3), (3, 3), (3, 1)] * 2


def test_memory_that_does_not_suffice_for_one_pair_is_told_with_a_remedy() -> None:
    """There is nothing to halve then."""
    with pytest.raises(
        DeviceError, match=r"does not suffice for one pair; make render.size_px or render.frames smaller"
    ):
        rendered(Batches(Device(memory=0).renderer, 4))


@pytest.mark.parametrize(
    ("memory", "batches"),
    [
        (8, [(7, 7), (3, 3), (3, 3), (3, 1)]),  # fourteen do not fit, seven take seven eighths
        (9, [(7, 7), (7, 7)]),  # the batch that did not fit is not held against the one that did
    ],
)
def test_auto_leaves_a_fifth_of_the_memory(
    monkeypatch: pytest.MonkeyPatch, memory: int, batches: list[tuple[int, int]]
) -> None:
    """A batch that takes more is the last of its size."""
    gpu = Device(memory)
    gpu.renderer(memory).render(PAIRS)  # what others have done before does not count
    gpu.batches.clear()
    monkeypatch.setattr(device, "memory_used", gpu.used)

    assert rendered(Batches(gpu.renderer, 64, spare_memory=True), PAIRS * 2) == PAIRS * 2
    assert gpu.batches == batches


def test_a_pack_that_somebody_asked_for_may_take_all_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is theirs to judge, as long as it fits."""
    gpu = Device(memory=7)
    monkeypatch.setattr(device, "memory_used", gpu.used)

    assert rendered(Batches(gpu.renderer, 7), PAIRS * 2) == PAIRS * 2
    assert gpu.batches == [(7, 7), (7, 7)]


def test_a_renderer_that_is_nearly_full_is_not_made_anew() -> None:
    """Making one takes as long as some batches; a place or two for nothing take less."""
    gpu = Device(memory=100)
    packing = Batches(gpu.renderer, 8)

    rendered(packing, [*PAIRS, PAIRS[0]])
    rendered(packing, PAIRS)
    rendered(packing, PAIRS[:6])

    assert gpu.batches == [(8, 8), (8, 7), (6, 6)]


@pytest.mark.parametrize(
    ("frames", "size_px", "expected"), [(6, 128, 64), (6, 256, 16), (12, 512, 2), (24, 1024, 1), (1, 64, 256)]
)
def test_a_gpu_is_given_as_many_pixels_whatever_their_strips(
    monkeypatch: pytest.MonkeyPatch, frames: int, size_px: int, expected: int
) -> None:
    """Few large strips, or many small ones up to a limit."""
    monkeypatch.setattr(device, "has_gpu", lambda: True)

    assert suited(frames, size_px) == expected


def test_batches_are_no_larger_than_the_pairs_and_share_them_evenly() -> None:
    """A batch that is not full takes as long as a full one: nine pairs, at most eight in a batch, are five and four."""
    gpu = Device(memory=100)

    rendered(Batches(gpu.renderer, 64))
    rendered(Batches(gpu.renderer, 8), [*PAIRS, *PAIRS[:2]])

    assert gpu.batches == [(7, 7), (5, 5), (5, 4)]


def test_on_a_cpu_one_strip_is_rendered_after_the_other() -> None:
    """There a second pair in the batch would only take as long again."""
    assert suited(6, 128) == 1


def test_measuring_leaves_no_trace_in_what_is_rendered(model: Model) -> None:
    """A strip after `seconds_per_update` is the strip without it, to the last bit."""
    settings = resolve_settings(
        RenderSettings(size_px=32, frames=2, steps=6, redirected_updates=0, alignment={"weight": 0}),  # type: ignore[arg-type]
        model,
    )
    renderer = StripRenderer(model, (LAYER, LAYER), settings, strips=2)
    pairs = PAIRS[:2]

    fresh = renderer.render(pairs)
    assert renderer.seconds_per_update(pairs[0]) > 0
    for one, other in zip(fresh, renderer.render(pairs), strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)
