"""Keras models that were saved as a `.keras` file, as untrusted input.

A `.keras` file can name any class of any module and carry Python code. Its configuration is therefore read here first.
Keras loads the file only if every part of it is one of Keras's own layers that run no code from the file.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.errors import ModelError, SpecError, one_line, short
from core.machine import device
from core.models.keras_model import KerasModel
from core.models.keras_settings import keras_settings
from core.models.kind import ModelKind, check_file, check_file_is_given
from core.models.weights import file_sha256, local_weights
from core.spec import ModelSpec

_SUFFIX = ".keras"
_REFUSED_LAYERS = frozenset(
    """
    FlaxLayer Hashing IntegerLookup JaxLayer Lambda StringLookup TFSMLayer TextVectorization TorchModuleWrapper
    """.split()
)
"""Layers of Keras that run code from the file, or read other files that it names."""
_PLAIN_VALUES = frozenset(("__keras_tensor__", "__tuple__"))
"""Class names that Keras writes for plain values; for code it writes `__lambda__`."""


def _check(spec: ModelSpec) -> None:
    file = check_file_is_given(spec)
    if not file.endswith(_SUFFIX):
        raise SpecError(f"file: expected a file that ends in {_SUFFIX}, got {short(file)}")
    check_file(spec)


def _load(spec: ModelSpec) -> KerasModel:
    weights = local_weights(spec)
    device.prepare()
    return _saved_in_file(weights, spec.value_range or (0.0, 1.0))


@keras_settings()
def _saved_in_file(path: Path, value_range: tuple[float, float]) -> KerasModel:
    """Return the model in a `.keras` file.

    Args:
        value_range: the values that the network expects for image values 0 and 1.

    Raises:
        ModelError: if it is not a `.keras` file, is refused, or has not exactly one image input.
    """
    _check_configuration(path)
    import keras

    keras.utils.clear_session()
    try:
        network = keras.saving.load_model(path, safe_mode=True, compile=False)
    except Exception as error:  # a damaged file can cause errors of any type
        raise ModelError(f"{path}: expected a model that Keras can load, {one_line(error)}") from None
    inputs = getattr(network, "inputs", None) or []
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[-1] != 3:
        shapes = ", ".join(str(tuple(one.shape)) for one in inputs) or "none"
        raise ModelError(f"{path}: expected a model with one input of shape (batch, height, width, 3), found {shapes}")
    low, high = value_range
    reading = {"name": "keras", "value_range": [low, high]}
    return KerasModel(
        network, "keras", str(path), file_sha256(path), reading, lambda images: low + (high - low) * images
    )


def _check_configuration(path: Path) -> None:
    """Make sure that every part of a `.keras` file is Keras's own and runs no code from the file.

    Raises:
        ModelError: naming the first part that is refused.
    """
    try:
        with zipfile.ZipFile(path) as file:
            config = json.loads(file.read("config.json"))
    except OSError as error:
        raise ModelError(f"{path}: expected a .keras file, {error.strerror}") from None
    except (zipfile.BadZipFile, KeyError, ValueError, RecursionError):
        raise ModelError(f"{path}: expected a .keras file (of Keras 3), got something else or a damaged one") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path}: expected a .keras file, its config.json has no model")
    config.pop("compile_config", None)  # Keras does not read it: the model is not compiled
    for part in _mappings(config):
        name = part.get("class_name")
        if not isinstance(name, str):
            continue
        module = part.get("module")
        registered = part.get("registered_name")
        custom = isinstance(registered, str) and ">" in registered
        if (
            name in _REFUSED_LAYERS
            or name == "function"
            or (name.startswith("__") and name not in _PLAIN_VALUES)
            or custom
        ):
            raise ModelError(f"{path}: refused: it has a part {name[:80]!r}, which runs code or reads files of its own")
        if module is not None and not (isinstance(module, str) and re.fullmatch(r"keras(\.[a-z_.]+)?", module)):
            raise ModelError(f"{path}: refused: its part {name[:80]!r} is of {str(module)[:80]!r}, not of Keras")


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    """Yield all mappings in a JSON value, at every depth."""
    ahead = [value]
    while ahead:
        one = ahead.pop()
        if isinstance(one, dict):
            yield one
            ahead += one.values()
        elif isinstance(one, list):
            ahead += one


KIND = ModelKind(
    "keras",
    "any Keras model that was saved as a .keras `file`",
    _load,
    keys=("file", "sha256", "value_range"),
    check=_check,
)
