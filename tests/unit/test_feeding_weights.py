"""The weights that feed a layer of a frozen graph, through the blocks that networks are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from core.errors import ModelError
from core.models.graph.feeding_weights import FeedingWeights

v1 = tf.compat.v1
Build = Callable[[tf.Tensor], tf.Tensor]


def kernel(name: str, *shape: int) -> Any:
    values = np.random.default_rng(len(name) + sum(map(ord, name))).normal(size=shape)
    return tf.constant(values.astype(np.float32), name=name)


def rows(name: str, *shape: int) -> Any:
    """Return a kernel's rows: one for each channel, which is the last axis."""
    values = tf.get_static_value(kernel(name, *shape))
    return values.reshape(-1, shape[-1]).T


def conv(x: tf.Tensor, name: str, *shape: int) -> tf.Tensor:
    return tf.nn.conv2d(x, kernel(name, *shape), 1, "SAME")


def feeding(build: Build) -> Any:
    """Return the weights that feed the last node of a graph with images of four channels."""
    with tf.Graph().as_default() as graph:
        made = build(v1.placeholder(tf.float32, (None, 8, 8, 4)))
    return FeedingWeights({node.name: node for node in graph.as_graph_def().node}).weights(made.op.name)


def batch_norm(x: tf.Tensor, scale: Any) -> tf.Tensor:
    size = len(scale)
    return v1.nn.fused_batch_norm(x, scale, [0.5] * size, [0.1] * size, [4.0] * size, epsilon=0.0, is_training=False)[0]


def layer_norm(x: tf.Tensor) -> tf.Tensor:
    mean = tf.reduce_mean(x, -1, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(x, mean), -1, keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, tf.ones(x.shape[-1]), tf.fill([x.shape[-1]], 2.0), 1e-6)


def test_a_residual_block_is_fed_by_both_branches_each_kernel_once() -> None:
    """The kernels of the skip and of the branch stand side by side; a negative scale flips the sign of a channel."""

    def basic_block(x: tf.Tensor) -> tf.Tensor:
        stem = tf.nn.relu(conv(x, "stem", 3, 3, 4, 4))
        inner = tf.nn.relu(batch_norm(conv(stem, "one", 3, 3, 4, 6), [1.0] * 6))
        first = tf.nn.relu(batch_norm(conv(inner, "two", 3, 3, 6, 4), [2.0, -2.0, 2.0, 2.0]) + stem)
        return tf.nn.relu(conv(first, "three", 1, 1, 4, 4) + first)

    signs = np.array([[1], [-1], [1], [1]])
    expected = [rows("three", 1, 1, 4, 4), signs * rows("two", 3, 3, 6, 4), rows("stem", 3, 3, 4, 4)]
    found = feeding(basic_block)

    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1), rtol=1e-6)


def test_gates_and_activations_are_values_of_what_they_multiply() -> None:
    """An inverted residual with squeeze and excitation: the gate's kernels do not feed the channels that it scales."""

    def inverted(x: tf.Tensor) -> tf.Tensor:
        wide = conv(x, "wide", 1, 1, 4, 12)
        wide = wide * tf.sigmoid(wide)
        squeezed = tf.reduce_mean(wide, [1, 2], keepdims=True)
        excited = conv(tf.nn.relu(conv(squeezed, "squeeze", 1, 1, 12, 3)), "excite", 1, 1, 3, 12)
        return wide * tf.sigmoid(excited)

    np.testing.assert_array_equal(feeding(inverted), rows("wide", 1, 1, 4, 12))
    hard_swish: Build = lambda x: (y := conv(x, "y", 1, 1, 4, 5)) * tf.nn.relu6(y + 3.0) / 6.0  # noqa: E731
    np.testing.assert_array_equal(feeding(hard_swish), rows("y", 1, 1, 4, 5))


def test_transformer_and_convnext_blocks_are_fed_by_projections_and_skips() -> None:
    """Layer norm that is taken apart, Gelu by Erf, a scale of the branch, transposed products: all are followed."""

    def gelu(x: tf.Tensor) -> tf.Tensor:
        return 0.5 * x * (1.0 + tf.math.erf(x / 1.4142135))

    def mlp(x: tf.Tensor) -> tf.Tensor:
        tokens = tf.reshape(conv(x, "patch", 2, 2, 4, 4), (-1, 64, 4))
        wide = gelu(tf.raw_ops.BatchMatMulV2(x=layer_norm(tokens), y=kernel("up", 4, 16)))
        return layer_norm(tokens + tf.raw_ops.BatchMatMulV2(x=wide, y=kernel("down", 4, 16), adj_y=True))

    def convnext(x: tf.Tensor) -> tf.Tensor:
        stem = conv(x, "stem", 2, 2, 4, 4)
        mixed = layer_norm(tf.nn.depthwise_conv2d(stem, kernel("mix", 7, 7, 4, 1), [1, 1, 1, 1], "SAME"))
        return stem + np.full(4, 1e-6, np.float32) * conv(gelu(conv(mixed, "up", 1, 1, 4, 16)), "down", 1, 1, 16, 4)

    down = tf.get_static_value(kernel("down", 4, 16))
    np.testing.assert_array_equal(feeding(mlp), np.concatenate([rows("patch", 2, 2, 4, 4), down], axis=1))
    scaled = np.float32(1e-6) * rows("down", 1, 1, 16, 4)
    np.testing.assert_allclose(feeding(convnext), np.concatenate([rows("stem", 2, 2, 4, 4), scaled], axis=1))


def test_concatenated_towers_have_columns_of_their_own() -> None:
    """Channels of one tower have zeros in the columns of the other, also before a pool and a pad."""

    def towers(x: tf.Tensor) -> tf.Tensor:
        both = tf.concat([conv(x, "a", 1, 1, 4, 2), tf.nn.relu(conv(x, "b", 3, 3, 4, 3))], -1)
        return tf.pad(tf.nn.max_pool2d(both, 2, 2, "SAME"), [[0, 0], [1, 1], [1, 1], [0, 0]])

    found = feeding(towers)

    assert found.shape == (5, 4 + 36)
    np.testing.assert_array_equal(found[:2, :4], rows("a", 1, 1, 4, 2))
    np.testing.assert_array_equal(found[2:, 4:], rows("b", 3, 3, 4, 3))
    assert not found[:2, 4:].any()
    assert not found[2:, :4].any()


def test_the_rows_of_other_kernels_are_those_of_their_channels() -> None:
    """Transposed convolutions, products with a transposed matrix, depthwise kernels, and sums of products."""
    up = tf.get_static_value(kernel("up", 3, 3, 5, 4))
    found = feeding(lambda x: tf.raw_ops.Conv2DBackpropInput(
        input_sizes=[1, 16, 16, 5], filter=kernel("up", 3, 3, 5, 4), out_backprop=x, strides=[1, 2, 2, 1],
        padding="SAME"))  # fmt: skip
    np.testing.assert_array_equal(found, np.moveaxis(up, 2, 0).reshape(5, -1))
    dense = tf.get_static_value(kernel("dense", 7, 4))
    means: Build = lambda x: tf.matmul(tf.reduce_mean(x, [1, 2]), kernel("dense", 7, 4), transpose_b=True)  # noqa: E731
    np.testing.assert_array_equal(feeding(means), dense)
    depthwise: Build = lambda x: tf.nn.depthwise_conv2d(x, kernel("d", 3, 3, 4, 2), [1, 1, 1, 1], "SAME")  # noqa: E731
    np.testing.assert_array_equal(feeding(depthwise), rows("d", 3, 3, 8))
    summed: Build = lambda x: tf.raw_ops.Einsum(inputs=[x, kernel("e", 4, 6)], equation="bhwc,cd->bhwd")  # noqa: E731
    np.testing.assert_array_equal(feeding(summed), rows("e", 4, 6))


@pytest.mark.parametrize(
    ("build", "end"),
    [
        (lambda x: tf.nn.relu(tf.identity(x, "copy")), "of type Placeholder, where no weights come from"),
        (lambda x: tf.matmul(x, x, transpose_b=True), "of type BatchMatMulV2, whose kernel is not a constant"),
        (lambda x: tf.nn.relu(tf.reverse(conv(x, "k", 1, 1, 4, 4), [-1])), "of type ReverseV2, which mixes channels"),
        (lambda x: tf.transpose(tf.reshape(conv(x, "k", 1, 1, 4, 4), (-1, 8, 8, 2, 2)), (0, 1, 2, 4, 3)),
         "of type Transpose, which mixes channels"),
        (lambda x: conv(x, "k", 1, 1, 4, 4) + conv(x, "l", 1, 1, 4, 1), "of type AddV2, whose inputs differ in chan"),
    ],
)  # fmt: skip
def test_a_walk_that_ends_elsewhere_names_the_node(build: Build, end: str) -> None:
    """The message has the node and its type, so that a reader can choose a layer before it."""
    with pytest.raises(ModelError, match=f"^the walk back from '.*' ends at node '.*' {end}"):
        feeding(build)
