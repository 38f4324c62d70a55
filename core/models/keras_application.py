"""The networks of keras.applications, which Keras builds by name."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import ModelError, SpecError, one_line
from core.machine import device
from core.models.frozen_graph import FrozenGraph
from core.models.keras_graph import keras_graph
from core.models.keras_settings import keras_settings
from core.models.kind import ModelKind
from core.spec import ModelSpec

_ONE_SIZE = ("NASNetLarge", "NASNetMobile")
"""Networks that Keras builds for images of one size only."""


def _load(spec: ModelSpec) -> FrozenGraph:
    device.prepare()
    return _application(spec.name, spec.weights or "imagenet")


@keras_settings()
def _application(name: str, weights: str) -> FrozenGraph:
    """Return a network of keras.applications without its classifier, with the preprocessing of its family.

    Args:
        name: `keras:NAME`.
        weights: `imagenet`, which Keras downloads unless they are in its cache, or `none`: random weights from a
            fixed seed.

    Raises:
        SpecError: if Keras has no network of that name.
        ModelError: if the weights cannot be downloaded.
    """
    import keras

    wanted = name.removeprefix("keras:")
    known = [known for known in dir(keras.applications) if known[0].isupper() and known not in _ONE_SIZE]
    if wanted not in known:
        near = ", ".join(difflib.get_close_matches(wanted, known, n=4, cutoff=0.4) or known[:4])
        raise SpecError(f"model.name: expected a network of keras.applications, got {wanted!r}; similar: {near}")
    build = getattr(keras.applications, wanted)
    preprocess = sys.modules[build.__module__].preprocess_input
    keras.utils.clear_session()  # Keras numbers layers anew, so names do not depend on earlier networks
    keras.utils.set_random_seed(0)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras prints the progress of its download to stdout
            network = build(
                include_top=False, weights=None if weights == "none" else weights, input_shape=(None, None, 3)
            )
    except Exception as error:  # Keras raises a bare Exception when a download fails
        if weights == "none":
            raise ModelError(f"model {name}: Keras could not build it, {one_line(error)}") from None
        raise ModelError(
            f"model {name}: its weights could not be downloaded, {one_line(error)}; {_remedy(error)}"
        ) from None
    graph = keras_graph(network, f"model {name}", lambda images: preprocess(255.0 * images))
    return FrozenGraph(
        Path(name),
        name=name,
        contents=(graph.graph_def, _digest(network, name, weights)),
        names=graph.names,
        kinds=graph.kinds,
    )


def _digest(network: Any, name: str, weights: str) -> str:
    """Return the sha256 over the name, and paths, types, shapes and values of all weights, in hex."""
    digest = hashlib.sha256(f"{name}:{weights}:".encode())
    for variable in network.weights:
        values = np.ascontiguousarray(variable.numpy())
        digest.update(f"{variable.path}:{values.dtype}:{values.shape}:".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _remedy(error: Exception) -> str:
    """Return the remedy for a failed download in words; Keras also looks for the file in its cache."""
    folder = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")) / "models"  # noqa: PTH111
    address = re.search(r"https?://\S+", str(error))
    file = Path(address.group().rstrip(":.,")).name if address else "the file"
    return f"download it by hand and put it at {folder / file}, or write weights: none"


KIND = ModelKind("keras:NAME", "a network of keras.applications, such as keras:MobileNetV2", _load, keys=("weights",))
