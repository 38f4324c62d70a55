"""Keras models that were saved as a `.keras` or an HDF5 file, as untrusted input.

Such a file can name any class of any module and carry Python code. Its configuration is therefore read here first.
Keras loads the file only if every part of it is one of Keras's own layers that run no code from the file.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.errors import ModelError, SpecError, one_line, short
from core.machine import device
from core.models.frozen_graph import FrozenGraph
from core.models.keras_2 import FOREIGN_PARTS, as_keras_3, is_of_keras_2
from core.models.keras_graph import keras_graph
from core.models.keras_settings import keras_settings
from core.models.kind import ModelKind, check_file, check_file_is_given
from core.models.preprocessing import Preprocessing
from core.models.weights import file_sha256, local_weights
from core.spec import ModelSpec

_SUFFIXES = (".keras", ".h5", ".hdf5")
_LARGEST_CONFIGURATION = 1 << 26  # 64 MiB of JSON; the largest of keras.applications has 1 MiB
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
    if not file.endswith(_SUFFIXES):
        raise SpecError(f"file: expected a file that ends in {', '.join(_SUFFIXES)}, got {short(file)}")
    check_file(spec)


def _load(spec: ModelSpec) -> FrozenGraph:
    weights = local_weights(spec)
    device.prepare()
    return _saved_in_file(weights, spec)


@keras_settings()
def _saved_in_file(path: Path, spec: ModelSpec) -> FrozenGraph:
    """Return the model in a file.

    Raises:
        ModelError: if it is not a file of Keras, is refused, or has not exactly one image input.
    """
    config = _configuration(path)
    _check_parts(config, path)
    import keras

    keras.utils.clear_session()
    with tempfile.TemporaryDirectory() as folder:
        try:
            readable = _of_keras_3(path, config, Path(folder)) if is_of_keras_2(config) else path
            network = keras.saving.load_model(readable, safe_mode=True, compile=False)
        except Exception as error:  # a damaged file can cause errors of any type
            reason = _end(error)
            raise ModelError(f"{path}: expected a model that Keras can load, {reason}") from None
    shapes = [tuple(one.shape) for one in getattr(network, "inputs", None) or []]
    if not any(len(shape) == 4 for shape in shapes):
        found = ", ".join(map(str, shapes)) or "none"
        raise ModelError(f"{path}: expected a model with one input of shape (batch, height, width, 3), found {found}")
    graph = keras_graph(network, str(path))
    return FrozenGraph(
        path,
        name="keras",
        contents=(graph.graph_def, file_sha256(path)),
        input_node=spec.input,
        preprocessing=Preprocessing.of(spec),
        names=graph.names,
        kinds=graph.kinds,
        own_size=graph.own_size,
        skipped_tokens=spec.skipped_tokens,
        default_range=spec.value_range is None,
    )


def _configuration(path: Path) -> dict[str, Any]:
    """Return the configuration of the model in a file.

    Raises:
        ModelError: if there is none.
    """
    import h5py

    try:
        if _is_hdf5(path):
            with h5py.File(path) as file:
                text = file.attrs["model_config"]
        else:
            with zipfile.ZipFile(path) as archive:
                if archive.getinfo("config.json").file_size > _LARGEST_CONFIGURATION:
                    raise ValueError("config.json is too large")
                text = archive.read("config.json")
        config = json.loads(text)
    except zipfile.BadZipFile:
        raise ModelError(f"{path}: expected a .keras or an HDF5 file, got something else or a damaged one") from None
    except KeyError:
        raise ModelError(
            f"{path}: expected a whole model, found no configuration; save it with model.save, not only its weights"
        ) from None
    except OSError as error:
        raise ModelError(f"{path}: expected a .keras or an HDF5 file, {error.strerror or one_line(error)}") from None
    except (ValueError, RecursionError, RuntimeError):
        raise ModelError(f"{path}: expected a .keras or an HDF5 file, its configuration is damaged") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path}: expected a .keras or an HDF5 file, its configuration has no model")
    config.pop("compile_config", None)  # Keras does not read it: the model is not compiled
    return config


def _check_parts(config: dict[str, Any], path: Path) -> None:
    """Make sure that every part of a model is Keras's own and runs no code from the file.

    Raises:
        ModelError: naming the first part that is refused.
    """
    for part in _mappings(config):
        name = part.get("class_name")
        if not isinstance(name, str):
            continue
        module = part.get("module")
        registered = part.get("registered_name")
        custom = ">" in name or (isinstance(registered, str) and ">" in registered)
        if name in FOREIGN_PARTS:
            raise ModelError(
                f"{path}: its part {name!r} can be read by Keras 2 only; convert it: 'pip install tf_keras', then "
                f"'python -c \"import tf_keras; tf_keras.models.load_model({path.name!r}).export({path.stem!r})\"', "
                "and give that folder as a saved-model"
            )
        if (
            name in _REFUSED_LAYERS
            or name == "function"
            or (name.startswith("__") and name not in _PLAIN_VALUES)
            or custom
        ):
            raise ModelError(f"{path}: refused: it has a part {name[:80]!r}, which runs code or reads files of its own")
        if module is not None and not (
            isinstance(module, str) and re.fullmatch(r"(tf_)?keras(\.[a-z0-9_.]+)?", module)
        ):
            raise ModelError(f"{path}: refused: its part {name[:80]!r} is of {str(module)[:80]!r}, not of Keras")


def _of_keras_3(path: Path, config: dict[str, Any], folder: Path) -> Path:
    """Write a copy of a file of Keras 2 with a configuration that Keras 3 reads, and return its path."""
    import h5py

    text = json.dumps(as_keras_3(config))
    if _is_hdf5(path):
        copy = folder / "model.h5"
        shutil.copyfile(path, copy)
        with h5py.File(copy, "r+") as file:
            file.attrs["model_config"] = text
        return copy
    copy = folder / "model.keras"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy, "w") as new:
        new.writestr("config.json", text)
        for name in ("metadata.json", "model.weights.h5"):
            with old.open(name) as source, new.open(name, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target)
    return copy


def _is_hdf5(path: Path) -> bool:
    """Return whether a file begins as HDF5; h5py also looks further on, where a `.keras` file may hold its weights."""
    with path.open("rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


def _end(error: Exception) -> str:
    """Return a message of Keras in one line; its end has the reason, after the whole configuration."""
    text = " ".join(str(error).split())
    return one_line(error) if len(text) <= 300 else f"...{text[-280:]}"


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
    "any Keras model that was saved as a .keras or .h5 `file`",
    _load,
    keys=("file", "sha256", "input", "value_range", "preprocess", "tokens"),
    check=_check,
)
