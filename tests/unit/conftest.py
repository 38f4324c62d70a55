"""TensorFlow is set up as in a render process, and what tests share can be imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import device
from core.models import Model, load
from core.weights import CACHE

sys.path[:0] = [str(Path(__file__).parents[1] / "golden"), str(Path(__file__).parents[1])]
from seaweed import Seaweed, serving  # noqa: E402

device.prepare()


@pytest.fixture(autouse=True)
def _new_machine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing has been rendered or downloaded on this machine before, and it has no GPU: both decide about plans."""
    monkeypatch.setenv(CACHE, str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(device, "_DEVICE_FILES", tmp_path_factory.mktemp("dev"))


@pytest.fixture(scope="session")
def model() -> Model:
    """The real default model."""
    return load("efficientnet-lite0")


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A real object store on this machine, with an empty bucket."""
    with serving(tmp_path_factory.mktemp("seaweed")) as server:
        yield server
