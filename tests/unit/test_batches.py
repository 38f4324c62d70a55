"""The number of pairs in a batch, which depends on the device's memory and on the work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from core.atlas.selection import resolve_settings
from core.errors import DeviceError
from core.machine import device
from core.method.strip_renderer import StripRenderer
from core.models.model import Model
from core.neurons import Neuron, Pair
from core.rendering.batches import Batches, suited
from core.spec import RenderSettings

LAYER = "stem_pre_relu"
PAIRS = [Pair.of(Neuron(LAYER, 0), Neuron(LAYER, n)) for n in range(1, 8)]


class Device:
    """Stands for a GPU whose memory holds a given number of pairs; its renderers return the pairs themselves."""

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.batches: list[tuple[int, int]] = []
        self._peak = 0.0

    def renderer(self, size: int) -> Any:
        device = self

        class Renderer:
            def render(self, pairs: Sequence[Pair]) -> list[Pair]:
                device._peak = max(device._peak, min(1, size / (device.memory or 1)))
                if size > device.memory:
                    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
                device.batches.append((size, len(pairs)))
                return list(pairs)

        return Renderer()

    def used(self) -> float:
        """Return the largest share of the memory that a batch has used since the last call."""
        peak, self._peak = self._peak, 0.0
        return peak


def rendered(batches: Batches[Pair, Pair], pairs: Sequence[Pair] = PAIRS) -> list[Pair]:
    return list(batches.render(pairs))


def test_a_batch_that_does_not_fit_is_halved_and_no_pair_is_lost() -> None:
    """After the device has run out of memory, batches are smaller for good, and results keep the order of the pairs."""
    gpu = Device(memory=3)
    batches = Batches(gpu.renderer, 8)

    assert rendered(batches) == PAIRS
    assert rendered(batches) == PAIRS
    assert gpu.batches == [(3, 3), (3, 3), (3, 1)] * 2


def test_too_little_memory_for_one_pair_is_an_error_with_a_remedy() -> None:
    """A batch of one pair cannot be halved, so the error says which settings to make smaller."""
    with pytest.raises(
        DeviceError, match=r"does not suffice for one pair; make render.size_px or render.frames smaller"
    ):
        rendered(Batches(Device(memory=0).renderer, 4))


@pytest.mark.parametrize(
    ("memory", "batches"),
    [
        (8, [(7, 7), (3, 3), (3, 3), (3, 1)]),  # 14 pairs do not fit, and 7 use 7/8 of the memory
        (9, [(7, 7), (7, 7)]),  # the memory of the batch of 14 does not count for the batch of 7
    ],
)
def test_auto_leaves_a_fifth_of_the_memory(
    monkeypatch: pytest.MonkeyPatch, memory: int, batches: list[tuple[int, int]]
) -> None:
    """If a batch has used more than four fifths of the memory, the next one has half its size."""
    gpu = Device(memory)
    gpu.renderer(memory).render(PAIRS)  # memory that was used before does not count
    gpu.batches.clear()
    monkeypatch.setattr(device, "memory_used", gpu.used)

    assert rendered(Batches(gpu.renderer, 64, spare_memory=True), PAIRS * 2) == PAIRS * 2
    assert gpu.batches == batches


def test_a_batch_of_a_given_size_may_use_all_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A size that the user has set is kept as long as the batch fits."""
    gpu = Device(memory=7)
    monkeypatch.setattr(device, "memory_used", gpu.used)

    assert rendered(Batches(gpu.renderer, 7), PAIRS * 2) == PAIRS * 2
    assert gpu.batches == [(7, 7), (7, 7)]


def test_a_renderer_is_kept_if_the_next_batch_nearly_fills_it() -> None:
    """A new renderer takes as long as several batches, and an unused place or two in a batch less than that."""
    gpu = Device(memory=100)
    batches = Batches(gpu.renderer, 8)

    rendered(batches, [*PAIRS, PAIRS[0]])
    rendered(batches, PAIRS)
    rendered(batches, PAIRS[:6])

    assert gpu.batches == [(8, 8), (8, 7), (6, 6)]


@pytest.mark.parametrize(
    ("frames", "size_px", "expected"), [(6, 128, 64), (6, 256, 16), (12, 512, 2), (24, 1024, 1), (1, 64, 256)]
)
def test_batches_for_a_gpu_have_about_the_same_number_of_pixels(
    monkeypatch: pytest.MonkeyPatch, frames: int, size_px: int, expected: int
) -> None:
    """A batch has few large strips or many small ones, with an upper bound."""
    monkeypatch.setattr(device, "has_gpu", lambda: True)

    assert suited(frames, size_px) == expected


def test_batches_are_no_larger_than_the_work_and_divide_it_evenly() -> None:
    """A batch that is not full takes as long as a full one, so nine pairs, at most eight at once, are five and four."""
    gpu = Device(memory=100)

    rendered(Batches(gpu.renderer, 64))
    rendered(Batches(gpu.renderer, 8), [*PAIRS, *PAIRS[:2]])

    assert gpu.batches == [(7, 7), (5, 5), (5, 4)]


def test_on_a_cpu_a_batch_has_one_strip() -> None:
    """Two pairs in a batch would take twice as long as one."""
    assert suited(6, 128) == 1


def test_measuring_the_pace_does_not_change_later_strips(model: Model) -> None:
    """Strips rendered after `seconds_per_update` equal those rendered before, to the last bit."""
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
