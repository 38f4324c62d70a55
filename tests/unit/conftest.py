"""Fixtures of the unit tests, with TensorFlow set up as in a render process."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Isthmus, Said

from core.machine import device
from core.models.models import Model, load
from core.models.weights import CACHE
from flows.cli import main

sys.path[:0] = [str(Path(__file__).parents[1] / "golden"), str(Path(__file__).parents[1])]
from seaweed import Seaweed, serving  # noqa: E402

device.prepare()

import tensorflow as tf  # noqa: E402

_TF32_AFTER_PREPARE = tf.config.experimental.tensor_float_32_execution_enabled()
_KERAS_AFTER_PREPARE = "keras" in sys.modules


def pytest_collection_finish() -> None:
    """Exempt all objects created so far from garbage collection, because the libraries keep them to the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _new_machine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give every test an empty cache and no GPU, because measurements in the cache and a GPU affect plans."""
    monkeypatch.setenv(CACHE, str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(device, "_DEVICE_FILES", tmp_path_factory.mktemp("dev"))


@pytest.fixture(scope="session")
def model() -> Model:
    """The real default model, loaded once."""
    return load("efficientnet-lite0")


@pytest.fixture
def isthmus(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Isthmus:
    """Run the command line in an empty folder within this process; an error that it does not report fails the test."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["isthmus", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        out, err = capsys.readouterr()
        return Said(code if isinstance(code, int) else int(code is not None), out, err)

    return run


@pytest.fixture
def tf32_after_prepare() -> bool:
    """Whether TF32 was enabled in this process just after `device.prepare`, before a test could change that."""
    return _TF32_AFTER_PREPARE


@pytest.fixture
def keras_after_prepare() -> bool:
    """Whether Keras was loaded in this process just after `device.prepare`, before a test could load it."""
    return _KERAS_AFTER_PREPARE


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A real object store on this machine, with an empty bucket."""
    with serving(tmp_path_factory.mktemp("seaweed")) as server:
        yield server
