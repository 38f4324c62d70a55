"""The graph of Lucid's InceptionV1 (Szegedy et al. 2014, arXiv:1409.4842), made from its tensors.

Nodes have the names of Lucid's frozen graph, so that neurons have the same names. Padding is TensorFlow's SAME, and the
local response normalisation is that of the trained network, which some programs that read the same weights do not have.
The two auxiliary heads are left out, because no file but Lucid's frozen graph has their weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from core.arrays import Array
from core.models.inception_tensors import TOWERS

if TYPE_CHECKING:
    import tensorflow as tf

INPUT_NODE = "input"
_NORMALISATION = {"depth_radius": 5, "bias": 2.0, "alpha": 1e-4, "beta": 0.5}
"""y = x / (bias + alpha * sum of the squares of the 11 channels around x) ** beta."""
_POOL_BEFORE = {"mixed4a": "maxpool4", "mixed5a": "maxpool10"}
_NO_HEADS = "the file has no weights of the two auxiliary heads; only Lucid's frozen graph, InceptionV1.pb, has them"


def _head_layers() -> Iterator[str]:
    for number in "01":
        yield from (f"head{number}_pool", f"head{number}_bottleneck_pre_relu/conv", f"head{number}_bottleneck_pre_relu")
        yield from (f"head{number}_bottleneck", f"head{number}_bottleneck/reshape", f"nn{number}_pre_relu/matmul")
        yield from (f"nn{number}_pre_relu", f"nn{number}", f"nn{number}/reshape")
        yield from (f"softmax{number}_pre_activation/matmul", f"softmax{number}_pre_activation", f"softmax{number}")


UNAVAILABLE: Mapping[str, str] = dict.fromkeys(_head_layers(), _NO_HEADS)
"""Layer of Lucid's frozen graph that the graph here lacks -> why."""


def inception_graph(tensors: Mapping[str, Array]) -> Any:
    """Return the GraphDef of InceptionV1 with these tensors, which are those of `core.models.inception_tensors`.

    Its input has shape (batch, height, width, 3), RGB, from -117 for black to 138 for white.
    """
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        images = tf.compat.v1.placeholder(tf.float32, (None, None, None, 3), INPUT_NODE)
        _Builder(tensors).classes(images)
    return graph.as_graph_def()


class _Builder:
    """Adds the layers of InceptionV1 to TensorFlow's current graph."""

    def __init__(self, tensors: Mapping[str, Array]) -> None:
        import tensorflow as tf

        self._tensors = tensors
        self._ops = tf.raw_ops

    def classes(self, images: tf.Tensor) -> tf.Tensor:
        """Return the probabilities of the classes, shape (batch, class), for images of 224 to 255 px."""
        x = self._stem(images)
        for mixed in TOWERS:
            if mixed in _POOL_BEFORE:
                x = self._max_pool(_POOL_BEFORE[mixed], x, 2)
            x = self._mixed(mixed, x)
        window, strides = [1, 7, 7, 1], [1, 1, 1, 1]
        x = self._ops.AvgPool(value=x, ksize=window, strides=strides, padding="VALID", name="avgpool0")
        shape = self._constant("avgpool0/reshape/shape", [-1, x.shape[-1]])
        x = self._ops.Reshape(tensor=x, shape=shape, name="avgpool0/reshape")
        weights = self._constant("softmax2_w", self._tensors["softmax2_w"])
        x = self._ops.MatMul(a=x, b=weights, name="softmax2_pre_activation/matmul")
        x = self._biased("softmax2_pre_activation", x, "softmax2_b")
        return self._ops.Softmax(logits=x, name="softmax2")

    def _stem(self, images: tf.Tensor) -> tf.Tensor:
        x = self._convolution("conv2d0", images, 2)
        x = self._max_pool("maxpool0", x, 2)
        x = self._ops.LRN(input=x, **_NORMALISATION, name="localresponsenorm0")
        x = self._convolution("conv2d2", self._convolution("conv2d1", x))
        x = self._ops.LRN(input=x, **_NORMALISATION, name="localresponsenorm1")
        return self._max_pool("maxpool1", x, 2)

    def _mixed(self, name: str, x: tf.Tensor) -> tf.Tensor:
        """Return four towers on one another's channels; their order is that of Lucid's neurons."""
        towers = [
            self._convolution(f"{name}_1x1", x),
            self._convolution(f"{name}_3x3", self._convolution(f"{name}_3x3_bottleneck", x)),
            self._convolution(f"{name}_5x5", self._convolution(f"{name}_5x5_bottleneck", x)),
            self._convolution(f"{name}_pool_reduce", self._max_pool(f"{name}_pool", x, 1)),
        ]
        return self._ops.ConcatV2(values=towers, axis=self._constant(f"{name}/concat_dim", 3), name=name)

    def _convolution(self, name: str, x: tf.Tensor, stride: int = 1) -> tf.Tensor:
        kernel = self._constant(f"{name}_w", self._tensors[f"{name}_w"])
        strides = [1, stride, stride, 1]
        x = self._ops.Conv2D(input=x, filter=kernel, strides=strides, padding="SAME", name=f"{name}_pre_relu/conv")
        return self._ops.Relu(features=self._biased(f"{name}_pre_relu", x, f"{name}_b"), name=name)

    def _biased(self, name: str, x: tf.Tensor, bias: str) -> tf.Tensor:
        return self._ops.BiasAdd(value=x, bias=self._constant(bias, self._tensors[bias]), name=name)

    def _max_pool(self, name: str, x: tf.Tensor, stride: int) -> tf.Tensor:
        window, strides = [1, 3, 3, 1], [1, stride, stride, 1]
        return self._ops.MaxPool(input=x, ksize=window, strides=strides, padding="SAME", name=name)

    def _constant(self, name: str, values: Any) -> tf.Tensor:
        import tensorflow as tf

        return tf.constant(values, name=name)
