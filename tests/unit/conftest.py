"""TensorFlow is set up as in a render process, and what tests share can be imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import device
from core.models import Model, load

sys.path[:0] = [str(Path(__file__).parents[1] / "golden"), str(Path(__file__).parents[1])]
from seaweed import Seaweed, serving  # noqa: E402

device.prepare()


@pytest.fixture(scope="session")
def model() -> Model:
    """The real default model."""
    return load("efficientnet-lite0")


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A real object store on this machine, with an empty bucket."""
    with serving(tmp_path_factory.mktemp("seaweed")) as server:
        yield server
