"""Configurations of models that Keras 2 wrote, as Keras 3 reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WITHOUT_MEANING = {
    "groups": 1,  # of depthwise and separable convolutions, which Keras 3 does not know
    "sparse": False,
    "ragged": False,
    "rng_type": "stateful",  # of augmentation, which does nothing when a network is only applied
    "implementation": 2,
    "time_major": False,
    "softmax_robust_masking": False,
}
"""Keys that Keras 3 does not know in some layers -> the value that says no more than that the key is missing."""
_OF_KERNELS = ("kernel_initializer", "kernel_regularizer", "kernel_constraint")
_UNKNOWN: Mapping[str, tuple[str, ...]] = {
    "Depthwise": _OF_KERNELS,
    "Separable": _OF_KERNELS,
    "MultiHeadAttention": ("query_shape", "key_shape", "value_shape"),
    "SpatialDropout": ("trainable", "noise_shape"),
}
"""Beginning of a layer's name -> keys that Keras 3 does not know in it, and that only training or building needs."""
_KNOWING_GROUPS = ("Conv1D", "Conv2D", "Conv3D")
_PACKAGE = "tf_keras"
"""Name of Keras 2 beside Keras 3."""
_MOVED_MODELS = {"Functional": "keras.src.models.functional", "Sequential": "keras", "Model": "keras"}
FOREIGN_PARTS = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod")
"""Parts that Keras 2 made of calls of TensorFlow; Keras 3 cannot read them."""


def is_of_keras_2(config: Any) -> bool:
    """Return whether a configuration has a key that only Keras 2 writes."""
    if isinstance(config, dict):
        if "batch_input_shape" in config or config.get("class_name") in FOREIGN_PARTS:
            return True
        if str(config.get("module")).startswith(_PACKAGE):
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
    module = new.get("module")
    if isinstance(module, str) and module.startswith(_PACKAGE):
        module = new["module"] = module.removeprefix("tf_")
    if kind in _MOVED_MODELS and str(module).startswith("keras.src"):
        new["module"] = _MOVED_MODELS[kind]
    for key in next((keys for begins, keys in _UNKNOWN.items() if kind.startswith(begins)), ()):
        inner.pop(key, None)
    if kind == "ThresholdedReLU":
        new["class_name"], inner["threshold"] = "ReLU", inner.pop("theta", 1.0)
    if isinstance(inner.get("dtype"), dict):  # the policy of mixed precision
        inner["dtype"] = inner["dtype"].get("config", {}).get("name", "float32")
    for ends in ("input_layers", "output_layers"):
        if isinstance(inner.get(ends), list) and len(inner[ends]) == 1:
            [inner[ends]] = inner[ends]  # for Keras 3, a list means that the model returns a list
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
