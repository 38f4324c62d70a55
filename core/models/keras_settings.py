"""The settings of Keras that pixels depend on, whatever the user's environment, keras.json or program has set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from core.errors import ModelError, one_line
from core.machine.device import environment

_SETTINGS = {
    "floatx": "float32",
    "dtype_policy": "float32",
    "epsilon": 1e-7,
    "image_data_format": "channels_last",
}
_ENVIRONMENT = {"KERAS_BACKEND": "tensorflow", "KERAS_NNX_ENABLED": "false"}


@contextmanager
def keras_settings() -> Iterator[None]:
    """Import Keras, and give it these settings inside the block; then restore the earlier ones.

    Keras keeps its settings for the whole process, which may be a program that uses Keras for itself.

    Raises:
        ModelError: if Keras cannot be imported, or has been imported on another library than TensorFlow.
    """
    config = _imported().config
    before = {name: getattr(config, name)() for name in _SETTINGS}
    _set(config, _SETTINGS)
    try:
        yield
    finally:
        _set(config, before)


def _set(config: Any, settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        getattr(config, f"set_{name}")(value)


def _imported() -> Any:
    """Return Keras on TensorFlow."""
    try:
        with environment(_ENVIRONMENT):
            import keras
    except Exception as error:  # wrong settings cause errors of many types
        raise ModelError(
            f"Keras: expected settings that it can read, got {one_line(error)}; correct or remove keras.json in "
            f"{os.environ.get('KERAS_HOME') or '~/.keras'}, and unset variables that begin with KERAS_"
        ) from None
    if keras.config.backend() != "tensorflow":
        raise ModelError(
            f"Keras: expected the backend tensorflow, this process has imported Keras on {keras.config.backend()}; "
            "set KERAS_BACKEND=tensorflow before the first import of Keras"
        )
    return keras
