"""TensorFlow is set up as in a render process, and what tests share can be imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from core import device
from core.models import Model, load

sys.path[:0] = [str(Path(__file__).parents[1] / "golden"), str(Path(__file__).parents[1])]
device.prepare()


@pytest.fixture(scope="session")
def model() -> Model:
    """The real default model."""
    return load("efficientnet-lite0")
