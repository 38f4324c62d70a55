"""Configurations of models that Keras 2 wrote, as Keras 3 reads them."""

from __future__ import annotations

from typing import Any

_WITHOUT_MEANING = {
    "groups": 1,  # of depthwise and separable convolutions, which Keras 3 does not know
    "sparse": False,
    "ragged": False,
    "rng_type": "stateful",  # of augmentation, which does nothing when a network is only applied
    "implementation": 2,
    "time_major": False,
}
"""Keys that Keras 3 does not know in some layers -> the value that says no more than that the key is missing."""
_KNOWING_GROUPS = ("Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
_MOVED_MODELS = ("Functional", "Sequential", "Model")
FOREIGN_PARTS = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod")
"""Parts that Keras 2 made of calls of TensorFlow; Keras 3 cannot read them."""


def is_of_keras_2(config: Any) -> bool:
    """Return whether a configuration has a key that only Keras 2 writes."""
    if isinstance(config, dict):
        if "batch_input_shape" in config or config.get("class_name") in FOREIGN_PARTS:
            return True
        return any(map(is_of_keras_2, config.values()))
    return isinstance(config, list) and any(map(is_of_keras_2, config))


def as_keras_3(config: Any) -> Any:
    """Return a configuration of Keras 2 with the names and values of Keras 3; other values are returned as they are."""
    if isinstance(config, list):
        return [as_keras_3(one) for one in config]
    if not isinstance(config, dict):
        return config
    new = {key: as_keras_3(value) for key, value in config.items()}
    kind, inner = new.get("class_name"), new.get("config")
    if not isinstance(kind, str) or not isinstance(inner, dict):
        return new
    if kind in _MOVED_MODELS and str(new.get("module", "")).startswith("keras.src"):
        new["module"] = "keras"
    shape = inner.pop("batch_input_shape", None)
    if kind == "InputLayer" and shape is not None:
        inner["batch_shape"] = shape
    if kind == "BatchNormalization" and isinstance(inner.get("axis"), list) and len(inner["axis"]) == 1:
        [inner["axis"]] = inner["axis"]
    for key, value in _WITHOUT_MEANING.items():
        if inner.get(key, ...) == value and not (key == "groups" and kind in _KNOWING_GROUPS) and _is_layer(new):
            del inner[key]
    return new


def _is_layer(part: dict[str, Any]) -> bool:
    """Return whether a part is a layer: those of .keras files say so, those of HDF5 files have no module."""
    return str(part.get("module") or "keras.layers").startswith("keras.layers")
