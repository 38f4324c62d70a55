"""Fixtures of the unit tests, with TensorFlow set up as in a render process."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import count
from pathlib import Path

import botocore.session
import hypothesis
import pytest
import xdist
from command_line import Isthmus, Said

from core.machine import device
from core.machine.environment import CACHE
from core.models.model import Model
from core.models.models import load
from flows.cli import main

sys.path[:0] = [str(Path(__file__).parents[1] / "golden"), str(Path(__file__).parents[1])]
from seaweed import Seaweed, serving  # noqa: E402

# On a busy machine an example takes long by chance. The examples are the same in every run, and no run leaves files.
hypothesis.settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")

# A client of an object store reads boto3's descriptions of services, which takes longer than most tests with a client.
# All clients of a process share what the first has read. Everything else of a client is its own, such as credentials.
botocore.session.create_loader = lru_cache(botocore.session.create_loader)

_LONGEST_FIRST = [
    "test_s3.py",
    "test_strip.py",
    "test_store.py",
    "test_walk_atlas.py",
    "test_walk.py",
    "test_golden_render.py",
    "test_keras_model.py",
    "test_properties.py",
    "test_frozen_graph.py",
]
"""Files that take 5 s or more. A file is the work of one process, so a long one at the end would leave others idle."""


@lru_cache(maxsize=1)
def _after_prepare() -> dict[str, bool]:
    """Set TensorFlow up, once; return whether TF32 and Keras were in use just after that."""
    device.prepare()
    import tensorflow as tf

    return {
        "tf32": tf.config.experimental.tensor_float_32_execution_enabled(),
        "keras": "keras" in sys.modules,
    }


def pytest_collection(session: pytest.Session) -> None:
    """Set TensorFlow up before any test module is imported, but not in the process that only hands out tests."""
    if not xdist.is_xdist_controller(session):
        _after_prepare()


def pytest_collectstart() -> None:
    """Set TensorFlow up if this file is loaded late, as by `pytest tests`."""
    _after_prepare()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin the tests of this folder with those in the longest files."""
    here = [item for item in items if item.path.parent == Path(__file__).parent]
    here.sort(key=lambda item: [*_LONGEST_FIRST, item.path.name].index(item.path.name))
    items[:] = [item for item in items if item.path.parent != Path(__file__).parent] + here


def pytest_collection_finish() -> None:
    """Exempt all objects created so far from garbage collection, because the libraries keep them to the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Return a function that makes an empty folder; pytest's own looks at all earlier folders, which are thousands."""
    root, numbers = tmp_path_factory.mktemp("machines"), count()

    def machine() -> Path:
        folder = root / str(next(numbers))
        folder.mkdir()
        return folder

    return machine


@pytest.fixture(autouse=True)
def _new_machine(monkeypatch: pytest.MonkeyPatch, machines: Callable[[], Path]) -> None:
    """Give every test an empty cache and no GPU, because measurements in the cache and a GPU affect plans."""
    monkeypatch.setenv(CACHE, str(machines()))
    monkeypatch.setattr(device, "_DEVICE_FILES", machines())
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no test loses power, and thousands of files take 3 ms each


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
    """Return whether TF32 was enabled in this process just after `device.prepare`, before a test could change that."""
    return _after_prepare()["tf32"]


@pytest.fixture
def keras_after_prepare() -> bool:
    """Return whether Keras was loaded in this process just after `device.prepare`, before a test could load it."""
    return _after_prepare()["keras"]


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A real object store on this machine, with an empty bucket."""
    with serving(tmp_path_factory.mktemp("seaweed")) as server:
        yield server
