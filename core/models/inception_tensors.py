"""The 116 tensors of Lucid's InceptionV1, under the names that files of its weights give them.

Four styles of names are known: that of Lucid's frozen graph, and those of three programs that have brought the weights
to PyTorch. The values are the same in all of them; PyTorch has other axis orders. Other networks of the same family
(GoogLeNet) are refused by name, because their neurons are others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.arrays import Array
from core.errors import ModelError, short
from core.models.graph.safety import quoted

TOWERS: Mapping[str, tuple[int, ...]] = {
    "mixed3a": (64, 96, 128, 16, 32, 32),
    "mixed3b": (128, 128, 192, 32, 96, 64),
    "mixed4a": (192, 96, 204, 16, 48, 64),
    "mixed4b": (160, 112, 224, 24, 64, 64),
    "mixed4c": (128, 128, 256, 24, 64, 64),
    "mixed4d": (112, 144, 288, 32, 64, 64),
    "mixed4e": (256, 160, 320, 32, 128, 128),
    "mixed5a": (256, 160, 320, 48, 128, 128),
    "mixed5b": (384, 192, 384, 48, 128, 128),
}
"""Mixed layer -> channels of its convolutions: 1x1, 3x3 bottleneck, 3x3, 5x5 bottleneck, 5x5, pool reduce."""
_STEM = {"conv2d0": (7, 7, 3, 64), "conv2d1": (1, 1, 64, 64), "conv2d2": (3, 3, 64, 192)}
_CLASSIFIER, _CLASSES = "softmax2", 1008


def _layer_shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield each layer with weights, and their shape in the graph: (height, width, in, out), or (in, out)."""
    yield from _STEM.items()
    before = _STEM["conv2d2"][-1]
    for name, (one, three_before, three, five_before, five, pooled) in TOWERS.items():
        yield f"{name}_1x1", (1, 1, before, one)
        yield f"{name}_3x3_bottleneck", (1, 1, before, three_before)
        yield f"{name}_3x3", (3, 3, three_before, three)
        yield f"{name}_5x5_bottleneck", (1, 1, before, five_before)
        yield f"{name}_5x5", (5, 5, five_before, five)
        yield f"{name}_pool_reduce", (1, 1, before, pooled)
        before = one + three + five + pooled
    yield _CLASSIFIER, (before, _CLASSES)


_LAYERS = dict(_layer_shapes())
SHAPES: Mapping[str, tuple[int, ...]] = {
    f"{layer}_{part}": shape if part == "w" else shape[-1:] for layer, shape in _LAYERS.items() for part in "wb"
}
"""Tensor -> shape, by the names of the graph: `_w` are the weights of a layer, `_b` is its bias."""

_CAPTUM = {
    "conv2d0": "conv1",
    "conv2d1": "conv2",
    "conv2d2": "conv3",
    _CLASSIFIER: "fc",
    "1x1": "conv_1x1",
    "3x3_bottleneck": "conv_3x3_reduce",
    "3x3": "conv_3x3",
    "5x5_bottleneck": "conv_5x5_reduce",
    "5x5": "conv_5x5",
    "pool_reduce": "pool_proj",
}
_CLARITY = {
    **{layer: layer for layer in _STEM},
    _CLASSIFIER: "softmax2_pre_activation",
    "1x1": "_1x1",
    "3x3_bottleneck": "_3x3.0",
    "3x3": "_3x3.2",
    "5x5_bottleneck": "_5x5.0",
    "5x5": "_5x5.2",
    "pool_reduce": "_pool_reduce.1",
}


def _lucent_name(layer: str) -> str:
    return f"{layer}_pre_activation_matmul" if layer == _CLASSIFIER else f"{layer}_pre_relu_conv"


def _module_name(names: Mapping[str, str], layer: str) -> str:
    """Return the name of a layer in a program whose mixed layers are modules with convolutions of these names."""
    mixed, _, tower = layer.partition("_")
    return names[layer] if layer in names else f"{mixed}.{names[tower]}"


def _pytorch_keys(names: Mapping[str, str]) -> dict[str, str]:
    return {f"{layer}_{part[0]}": f"{name}.{part}" for layer, name in names.items() for part in ("weight", "bias")}


_GRAPH_STYLE = {name: name for name in SHAPES}
STYLES: Mapping[str, Mapping[str, str]] = {
    "Lucid": _GRAPH_STYLE,
    "Lucent": _pytorch_keys({layer: _lucent_name(layer) for layer in _LAYERS}),
    "Captum": _pytorch_keys({layer: _module_name(_CAPTUM, layer) for layer in _LAYERS}),
    "Clarity": _pytorch_keys({layer: _module_name(_CLARITY, layer) for layer in _LAYERS}),
}
"""Program -> tensor, by its name in the graph -> its key in the files of the program."""
_UNUSED = re.compile(r"aux[12]\..*")
"""Keys of heads that Captum's network may have, and that no file has trained."""

_OTHER_NETWORKS = {
    r"inception\d[a-e]\..*": "torchvision's googlenet, which has batch normalisation",
    r"InceptionV1/.*": "TF-Slim's InceptionV1, which has batch normalisation",
    r"inception_\d[a-e].*": "BVLC's GoogLeNet of Caffe, whose mixed4a has 512 channels",
    r"Mixed_7[a-c].*": "InceptionV3",
    r"(.*[./])?(bn\d*\..*|batch_?norm.*|running_mean|moving_mean)": "a network with batch normalisation",
}
"""Pattern of a key (in any case of letters) -> the network that has such keys; the first that fits is named."""
_LONGEST_KEY = 100
_WHAT_TO_DO = "docs/models.md has the files of InceptionV1; export another network to ONNX, for model.name onnx"


def graph_tensors(state: Mapping[str, NDArray[Any]], source: str) -> dict[str, Array]:
    """Return the tensors of InceptionV1 by their names in the graph, in the shapes of `SHAPES`, float32.

    Args:
        state: key -> values, in one of the styles.
        source: the file, for messages.

    Raises:
        ModelError: naming the network if it is another one, or the first tensor that is missing, unknown, of another
            shape or type, or not finite.
    """
    if not state:
        raise ModelError(
            f"{source}: expected the {len(SHAPES)} tensors of InceptionV1, found none; save the weights with "
            "torch.save(model.state_dict(), FILE)"
        )
    _refuse_other_networks(state, source)
    keys = max(STYLES.values(), key=lambda keys: len(state.keys() & set(keys.values())))
    known = state.keys() & set(keys.values())
    if 2 * len(known) < len(SHAPES):
        raise ModelError(
            f"{source}: expected the {len(SHAPES)} tensors of InceptionV1, found {len(state)} tensors such as "
            f"{quoted(next(iter(state)))}; {_WHAT_TO_DO}"
        )
    _refuse_other_shapes({name: state[key].shape for name, key in keys.items() if key in state}, source)
    if missing := [key for key in keys.values() if key not in state]:
        raise ModelError(f"{source}: expected InceptionV1 with a tensor {missing[0]}, found none of this name")
    with_heads = keys is STYLES["Captum"]
    if more := [key for key in state if key not in known and not (with_heads and _UNUSED.fullmatch(key))]:
        raise ModelError(
            f"{source}: expected InceptionV1 with {len(SHAPES)} tensors, found another one, {quoted(more[0])}"
        )
    return {name: _in_graph_order(name, state[key], key, source) for name, key in keys.items()}


def _refuse_other_networks(state: Mapping[str, Any], source: str) -> None:
    keys = [key[:_LONGEST_KEY] for key in state]  # a longer one could keep a pattern busy for hours
    for pattern, network in _OTHER_NETWORKS.items():
        key = next((key for key in keys if re.fullmatch(pattern, key, re.IGNORECASE)), None)
        if key is not None:
            raise ModelError(
                f"{source}: expected Lucid's InceptionV1, found {network} (it has a tensor {quoted(key)}); "
                f"{_WHAT_TO_DO}"
            )


def _refuse_other_shapes(shapes: Mapping[str, tuple[int, ...]], source: str) -> None:
    """Refuse the networks that have InceptionV1's names, and other channels or classes."""
    network = None
    if 365 in shapes.get(f"{_CLASSIFIER}_w", ()):
        network = "GoogLeNet for MIT's Places365, which has 365 classes"
    elif 208 in shapes.get("mixed4a_3x3_w", ()):
        network = "BVLC's GoogLeNet of Caffe, whose mixed4a has 512 channels"
    if network:
        raise ModelError(f"{source}: expected Lucid's InceptionV1, found {network}; {_WHAT_TO_DO}")


def _in_graph_order(name: str, values: NDArray[Any], key: str, source: str) -> Array:
    """Return a tensor in the graph's axis order: convolutions (height, width, in, out), dense layers (in, out)."""
    expected = SHAPES[name]
    if key == name:
        axes = tuple(range(len(expected)))
    else:
        axes = (2, 3, 1, 0) if len(expected) == 4 else tuple(reversed(range(len(expected))))
    stored = tuple(expected[axes.index(axis)] for axis in range(len(axes)))
    if values.shape != stored:
        raise ModelError(f"{source}: expected a tensor {key} of shape {stored}, got {short(values.shape)}")
    if values.dtype != np.float32:
        raise ModelError(f"{source}: expected a tensor {key} of float32 values, got {values.dtype}")
    array: Array = np.ascontiguousarray(values.transpose(axes), np.float32)
    if not np.isfinite(array).all():
        raise ModelError(f"{source}: tensor {key} has weights that are not finite numbers")
    return array


def tensors_sha256(tensors: Mapping[str, Array]) -> str:
    """Return the sha256, in hex, over names, shapes and float32 values, whatever file the tensors have come from."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].shape}\n".encode())
        digest.update(np.ascontiguousarray(tensors[name], "<f4").tobytes())
    return digest.hexdigest()
