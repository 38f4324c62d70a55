"""Which GPU a process takes; on machines without one, with names that stand for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.machine import device
from core.machine.device import claim_gpu, gpus, memory_used

CLAIM = """
import os, sys
from pathlib import Path
from core.machine import device
from core.machine.device import claim_gpu
lock = claim_gpu(sys.argv[2:], Path(sys.argv[1]))
print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""


class Claimant:
    """A process that takes a GPU and keeps it until it is killed."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLAIM, str(folder), *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert self._process.stdout is not None
        self.gpu = self._process.stdout.readline().strip()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()


def test_each_process_takes_a_gpu_of_its_own_and_a_dead_ones_is_free_again(tmp_path: Path) -> None:
    """Four processes share two GPUs evenly; whoever replaces a killed one takes the GPU that it had."""
    claimants = [Claimant(tmp_path, ["0", "3"]) for _ in range(4)]
    try:
        assert [claimant.gpu for claimant in claimants] == ["0", "3", "0", "3"]

        claimants[1].kill()
        claimants.append(Claimant(tmp_path, ["0", "3"]))

        assert claimants[-1].gpu == "3"
    finally:
        for claimant in claimants:
            claimant.kill()


def test_without_gpus_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process sees stays as it was, and no lock is left."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    assert claim_gpu([], tmp_path) is None
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("visible", "expected"), [("", []), ("-1", []), ("2", ["2"]), ("1,GPU-5f", ["1", "GPU-5f"])])
def test_only_gpus_that_the_environment_leaves_visible_count(
    monkeypatch: pytest.MonkeyPatch, visible: str, expected: list[str]
) -> None:
    """Whoever starts a worker decides which cards it may use."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert gpus() == expected


def test_the_memory_of_a_cpu_is_not_shared_out() -> None:
    """Batches are never too large for it."""
    assert memory_used() == 0


def test_of_a_gpus_memory_the_peak_since_the_last_question_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As TensorFlow tells it, with a GPU that is not there."""
    import tensorflow as tf

    told = [{"current": 1, "peak": 6}, {"current": 1, "peak": 2}]
    forgotten: list[str] = []
    monkeypatch.setattr(device, "has_gpu", lambda: True)
    monkeypatch.setattr(device, "_memory_limit", lambda: 8)
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", lambda name: told.pop(0))
    monkeypatch.setattr(tf.config.experimental, "reset_memory_stats", forgotten.append)

    assert [memory_used(), memory_used()] == [0.75, 0.25]
    assert forgotten == ["GPU:0", "GPU:0"]


def test_float32_is_float32_from_the_start(tf32_after_prepare: bool) -> None:
    """TensorFlow alone would use TF32 on GPUs that have it, three digits instead of seven."""
    assert tf32_after_prepare is False


def test_tensorflow_loads_without_keras_and_nobody_notices(keras_after_prepare: bool) -> None:
    """It takes a seventh of the time that TensorFlow needs, in every process; the setting for that is gone again."""
    assert keras_after_prepare is False
    assert "TF_USE_LEGACY_KERAS" not in os.environ
