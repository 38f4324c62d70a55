"""Keras in a process that has set it up otherwise."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import keras
import pytest

from core.errors import ModelError
from core.models.keras_settings import keras_settings

ROOT = Path(__file__).parents[2]
OTHERWISE: dict[str, Any] = {
    "floatx": "float16",
    "epsilon": 0.1,
    "backend": "torch",
    "image_data_format": "channels_first",
}
LOADS = """
import os, sys
from core.errors import ModelError
from core.machine import device
from core.models.models import load
from core.spec import ModelSpec
device.prepare()
try:
    model = load(ModelSpec(name="keras:MobileNet", weights="none"))
except ModelError as error:
    sys.exit(str(error))
import tensorflow as tf
images = tf.reshape(tf.linspace(0.0, 1.0, 32 * 32 * 3), (1, 32, 32, 3))
layer = "conv_pw_1"
activations = model.activations(images, [layer])[layer]
print(model.weights_digest, float(tf.reduce_sum(activations)), os.environ.get("KERAS_BACKEND"))
"""
FORKS = f"""
import os, sys
from core.machine import device
device.load()  # once: processes that are forked now have TensorFlow, but not yet Keras, which reads its settings once
for home in sys.argv[1:]:
    if not os.fork():
        os.environ["KERAS_HOME"] = home
        exec({LOADS!r})
        sys.exit()
    if code := os.waitstatus_to_exitcode(os.wait()[1]):
        print(code, flush=True)
"""


class Loaded(NamedTuple):
    """The output of processes with a user's settings.

    Attributes:
        wrong: the folder with a wrong keras.json.
        codes: the exit codes of the processes that failed.
        activations: the network's digest, a sum of activations, and KERAS_BACKEND.
        error: the messages of all.
    """

    wrong: Path
    codes: list[str]
    activations: str
    error: str


def test_settings_of_a_program_are_replaced_inside_the_block_only() -> None:
    """Inside, Keras has the settings that pixels depend on; afterwards, even after an error, those of the program."""

    def settings() -> list[Any]:
        config = keras.config
        return [config.floatx(), config.dtype_policy().name, config.epsilon(), config.image_data_format()]

    expected = settings()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("mixed_float16")
    keras.config.set_epsilon(0.1)
    keras.config.set_image_data_format("channels_first")
    try:
        before = settings()
        with contextlib.suppress(ZeroDivisionError), keras_settings():
            inside = settings()
            raise ZeroDivisionError
        assert settings() == before
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
        keras.config.set_epsilon(1e-7)
        keras.config.set_image_data_format("channels_last")

    assert inside == expected == ["float32", "float32", 1e-7, "channels_last"]


def test_keras_on_another_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process cannot change the backend of Keras after the import."""
    monkeypatch.setattr(keras.config, "backend", lambda: "torch")

    with pytest.raises(ModelError) as raised, keras_settings():
        pass

    assert str(raised.value) == (
        "Keras: expected the backend tensorflow, this process has imported Keras on torch; "
        "set KERAS_BACKEND=tensorflow before the first import of Keras"
    )


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """Load the network twice in processes with a user's settings, after TensorFlow has been loaded with wrong ones."""
    wrong, otherwise = tmp_path_factory.mktemp("wrong"), tmp_path_factory.mktemp("otherwise")
    (wrong / "keras.json").write_text('{"floatx": "float8"}', encoding="utf-8")
    (otherwise / "keras.json").write_text(json.dumps(OTHERWISE), encoding="utf-8")
    environment = {"KERAS_HOME": str(wrong), "KERAS_BACKEND": "jax", "TF2_BEHAVIOR": "0", "TF_XLA_FLAGS": "--nonsense"}

    said = subprocess.run(
        [sys.executable, "-c", FORKS, wrong, otherwise],
        env=os.environ | environment, cwd=ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip

    *codes, activations = said.stdout.splitlines()
    return Loaded(wrong, codes, activations, said.stderr)


def test_activations_do_not_depend_on_the_settings_of_a_user(loaded: Loaded) -> None:
    """KERAS_BACKEND, every value of keras.json and TensorFlow's variables change neither digests nor activations.

    They are compared with those in this process, which has none of these settings.
    """
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(LOADS, {})
    plain = said.getvalue().split()

    assert len(plain) == 3
    assert loaded.activations.split() == [*plain[:2], "jax"], loaded.error


def test_a_wrong_value_in_keras_json_is_one_line(loaded: Loaded) -> None:
    """Keras itself refuses such a file; the message names it."""
    assert loaded.codes == ["1"]
    assert loaded.error.startswith("Keras: expected settings that it can read, got ")
    assert loaded.error.endswith(
        f"; correct or remove keras.json in {loaded.wrong}, and unset variables that begin with KERAS_\n"
    )
    assert loaded.error.count("\n") == 1
