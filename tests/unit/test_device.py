"""The GPU that a process claims, tested with names of GPUs that need not exist."""

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
    """A process that claims a GPU and keeps it until it is killed."""

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


def test_processes_share_gpus_evenly_and_a_killed_ones_claim_ends(tmp_path: Path) -> None:
    """Four processes share two GPUs; the replacement of a killed process claims the GPU that it had."""
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
    """The environment stays as it was, and no lock is created."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    assert claim_gpu([], tmp_path) is None
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["0", "1", "2"]), ("2", ["2"]), ("1,GPU-5f", ["1", "GPU-5f"]), ("MIG-GPU-5f/1/0", ["MIG-GPU-5f/1/0"]),
        (" 2 , 0 ", ["2", "0"]), ("0,0,1", ["0", "1"]), ("1,3,0", ["1"]), ("1,-1,0", ["1"]), ("2,,1", ["2"]), ("7", []),
        ("", []), ("-1", []), ("none", []), ("all", []), ("void", []), ("NoDevFiles", []), ("nonsense,0", []),
    ],
)  # fmt: skip
def test_only_gpus_that_the_environment_leaves_visible_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, visible: str | None, expected: list[str]
) -> None:
    """CUDA_VISIBLE_DEVICES decides which GPUs a worker may use; the first name that is no GPU ends the list."""
    for name in ("nvidia0", "nvidia1", "nvidia5", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.setattr(device, "_DEVICE_FILES", tmp_path)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert gpus() == expected


@pytest.mark.parametrize("visible", ["0", "0,1,2,3", "GPU-5f", "NoDevFiles", ""])
def test_without_cards_no_name_counts(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    """Job schedulers set CUDA_VISIBLE_DEVICES on machines without a GPU too."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert gpus() == []
    assert device.expected().startswith("CPU ")


def test_a_name_with_slashes_can_be_claimed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Older drivers name a part of a GPU MIG-GPU-.../1/0."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    lock = claim_gpu(["MIG-GPU-5f/1/0"], tmp_path)

    assert lock is not None
    lock.close()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "MIG-GPU-5f/1/0"


def test_variables_that_change_pixels_or_break_rendering_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the folder of CUDA is kept of XLA_FLAGS; settings that are respected stay."""
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_auto_jit=2")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("XLA_FLAGS", "--nonsense --xla_gpu_cuda_data_dir=/opt/cuda  --xla_cpu_enable_fast_math=true")

    device.load.__wrapped__()

    assert not {"TF_XLA_FLAGS", "NVIDIA_TF32_OVERRIDE"} & os.environ.keys()
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0"
    assert os.environ["XLA_FLAGS"] == "--xla_gpu_cuda_data_dir=/opt/cuda"


def test_on_a_cpu_no_gpu_memory_is_used() -> None:
    """On a CPU no batch counts as too large."""
    assert memory_used() == 0


def test_the_memory_in_use_is_the_peak_since_the_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peak comes from TensorFlow, here with a simulated GPU, and is reset by each call."""
    import tensorflow as tf

    infos = [{"current": 1, "peak": 6}, {"current": 1, "peak": 2}]
    reset: list[str] = []
    monkeypatch.setattr(device, "has_gpu", lambda: True)
    monkeypatch.setattr(device, "_memory_limit", lambda: 8)
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", lambda name: infos.pop(0))
    monkeypatch.setattr(tf.config.experimental, "reset_memory_stats", reset.append)

    assert [memory_used(), memory_used()] == [0.75, 0.25]
    assert reset == ["GPU:0", "GPU:0"]


def test_prepare_switches_tf32_off(tf32_after_prepare: bool) -> None:
    """By default TensorFlow uses TF32, with three digits instead of seven, on GPUs that have it."""
    assert tf32_after_prepare is False


def test_tensorflow_is_loaded_without_keras(keras_after_prepare: bool) -> None:
    """Keras would take a seventh of the loading time. The setting that prevents it is removed again."""
    assert keras_after_prepare is False
    assert "TF_USE_LEGACY_KERAS" not in os.environ
    assert os.environ.get("KERAS_HOME") != os.devnull


def test_the_page_about_the_environment_has_every_variable_that_is_removed() -> None:
    """docs/environment.md says what happens to each of them."""
    page = (Path(__file__).parents[2] / "docs" / "environment.md").read_text(encoding="utf-8")

    assert [name for name in (*device._REMOVED, "XLA_FLAGS") if f"`{name}`" not in page] == []
