"""GraphDefs for tests: a small one, and one with the names and channels of Lucid's InceptionV1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow import as_dtype, make_tensor_proto
from tensorflow.core.framework import graph_pb2

FLOAT, INT32, STRING = 1, 3, 7  # DataType
TOWERS = {  # 1x1, 3x3 bottleneck, 3x3, 5x5 bottleneck, 5x5, pool_reduce
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


class Graph:
    """A GraphDef that is built node by node; each method returns the name of the node that it adds."""

    def __init__(self) -> None:
        self.proto = graph_pb2.GraphDef()
        self.proto.versions.producer = 27

    def __bytes__(self) -> bytes:
        data: bytes = self.proto.SerializeToString()
        return data

    def node(self, name: str, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; attributes that are types are given as `types`."""
        node = self.proto.node.add(name=name, op=op, input=inputs)
        for key, value in attributes.pop("types", {"T": FLOAT}).items():
            node.attr[key].type = value
        for key, value in attributes.items():
            attribute = node.attr[key]
            match value:
                case bytes():
                    attribute.s = value
                case bool():
                    attribute.b = value
                case int():
                    attribute.i = value
                case float():
                    attribute.f = value
                case list():
                    attribute.list.i.extend(value)
        return name

    def image(self, name: str = "input", size: Sequence[int] = (-1, -1)) -> str:
        self.node(name, "Placeholder", types={"dtype": FLOAT})
        for dimension in (-1, *size, 3):
            self.proto.node[-1].attr["shape"].shape.dim.add(size=dimension)
        return name

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        array = np.asarray(values, dtype)
        self.node(name, "Const", types={"dtype": as_dtype(array.dtype).as_datatype_enum})
        self.proto.node[-1].attr["value"].tensor.CopyFrom(make_tensor_proto(array))
        return name

    def convolution(
        self, name: str, source: str, kernel: NDArray[np.float32], stride: int = 1, biases: NDArray[Any] | None = None
    ) -> str:
        """Add a convolution with bias and ReLU: `name`_pre_relu/conv, `name`_pre_relu and `name`."""
        weights = self.constant(f"{name}_w", kernel)
        bias = self.constant(f"{name}_b", np.zeros(kernel.shape[-1]) if biases is None else biases)
        strides = [1, stride, stride, 1]
        before = self.node(f"{name}_pre_relu/conv", "Conv2D", source, weights, strides=strides, padding=b"SAME")
        return self.node(name, "Relu", self.node(f"{name}_pre_relu", "BiasAdd", before, bias))

    def pool(self, name: str, op: str, source: str, size: int, stride: int, padding: bytes = b"SAME") -> str:
        window, strides = [1, size, size, 1], [1, stride, stride, 1]
        return self.node(name, op, source, ksize=window, strides=strides, padding=padding)

    def concat(self, name: str, towers: Sequence[str], *, old: bool) -> str:
        axis = self.constant(f"{name}/concat_dim", 3, np.int32)
        if old:
            return self.node(name, "Concat", axis, *towers, N=len(towers))
        return self.node(name, "ConcatV2", *towers, axis, N=len(towers), types={"T": FLOAT, "Tidx": INT32})


def small_graph() -> Graph:
    """Return the graph input -> first, a convolution of 4 channels with bias and ReLU."""
    graph = Graph()
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 4), scale=0.1).astype(np.float32)
    graph.convolution("first", graph.image(), kernel)
    return graph


def inception_v1(*, old_concat: bool, tensors: Mapping[str, NDArray[np.float32]] | None = None) -> Graph:
    """Return the network of Lucid's InceptionV1.pb with random weights and two of its three heads.

    The heads reshape to a fixed size, so the whole graph takes only images of 224 px.

    Args:
        tensors: `conv2d0_w`, `conv2d0_b` and so on, for a graph that has these instead, and only the last head.
    """
    random = np.random.default_rng(0)
    graph = Graph()
    channels: dict[str, int] = {"input": 3}

    def weights(name: str, *shape: int) -> tuple[NDArray[Any], NDArray[Any]]:
        if tensors is not None:
            return tensors[f"{name}_w"], tensors[f"{name}_b"]
        kernel = random.normal(size=shape, scale=np.sqrt(2 / np.prod(shape[:-1])))
        return kernel.astype(np.float32), np.zeros(shape[-1])

    def convolution(name: str, source: str, size: int, depth: int, stride: int = 1) -> str:
        kernel, bias = weights(name, size, size, channels[source], depth)
        channels[name] = depth
        return graph.convolution(name, source, kernel, stride, bias)

    def passed(name: str, source: str) -> str:
        channels[name] = channels[source]
        return name

    def max_pool(name: str, source: str, stride: int = 2) -> str:
        return passed(graph.pool(name, "MaxPool", source, 3, stride), source)

    def normalized(name: str, source: str) -> str:
        settings = {"depth_radius": 5, "bias": 2.0, "alpha": 1e-4, "beta": 0.5}
        return passed(graph.node(name, "LRN", source, **settings), source)

    def dense(name: str, before: str, source: str, width: int, depth: int) -> str:
        kernel, bias = weights(name, width, depth)
        product = graph.node(f"{before}/matmul", "MatMul", source, graph.constant(f"{name}_w", kernel))
        return graph.node(before, "BiasAdd", product, graph.constant(f"{name}_b", bias))

    def classes(name: str, source: str, width: int) -> str:
        return graph.node(name, "Softmax", dense(name, f"{name}_pre_activation", source, width, 1008))

    def flat(name: str, source: str, width: int) -> str:
        shape = graph.constant(f"{name}/shape", [-1, width], np.int32)
        return graph.node(name, "Reshape", source, shape, types={"T": FLOAT, "Tshape": INT32})

    x = convolution("conv2d0", graph.image(), 7, 64, stride=2)
    x = normalized("localresponsenorm0", max_pool("maxpool0", x))
    x = convolution("conv2d2", convolution("conv2d1", x, 1, 64), 3, 192)
    x = max_pool("maxpool1", normalized("localresponsenorm1", x))
    for name, (one, three_before, three, five_before, five, pooled) in TOWERS.items():
        if name in ("mixed4a", "mixed5a"):
            x = max_pool({"mixed4a": "maxpool4", "mixed5a": "maxpool10"}[name], x)
        towers = (
            convolution(f"{name}_1x1", x, 1, one),
            convolution(f"{name}_3x3", convolution(f"{name}_3x3_bottleneck", x, 1, three_before), 3, three),
            convolution(f"{name}_5x5", convolution(f"{name}_5x5_bottleneck", x, 1, five_before), 5, five),
            convolution(f"{name}_pool_reduce", max_pool(f"{name}_pool", x, stride=1), 1, pooled),
        )
        channels[name] = one + three + five + pooled
        x = graph.concat(name, towers, old=old_concat)
        if name == "mixed4a" and tensors is None:
            pool = passed(graph.pool("head0_pool", "AvgPool", x, 5, 3, b"VALID"), x)
            head = flat("head0_bottleneck/reshape", convolution("head0_bottleneck", pool, 1, 128), 2048)
            nn = graph.node("nn0", "Relu", dense("nn0", "nn0_pre_relu", head, 2048, 1024))
            classes("softmax0", flat("nn0/reshape", nn, 1024), 1024)
    classes("softmax2", flat("avgpool0/reshape", graph.pool("avgpool0", "AvgPool", x, 7, 1, b"VALID"), 1024), 1024)
    return graph
