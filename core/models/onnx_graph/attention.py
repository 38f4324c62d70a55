"""Attention, and embeddings of positions that turn pairs of values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from core.models.onnx_graph.node import Node
from core.models.onnx_graph.values import Tensor, UnknownOperatorError, Value, in_order

if TYPE_CHECKING:
    import tensorflow as tf

_LEAST = float(np.finfo(np.float32).min) / 2  # added to scores that do not count


def attention(
    node: Node, query: Value, key: Value, value: Value, mask: Value | None = None, *more: Value | None
) -> Tensor:
    """`Attention`: softmax(scale * query key^T + mask) value, for every head."""
    import tensorflow as tf

    if node.outputs > 1 or any(item is not None for item in more):
        raise UnknownOperatorError("keys and values of earlier tokens")
    tokens = in_order(query).shape.rank == 3
    heads = _heads(query, node.get("q_num_heads", 0))
    keys, values = (_heads(part, node.get("kv_num_heads", 0)) for part in (key, value))
    groups = heads.shape[1] // keys.shape[1]
    if groups > 1:  # several heads of queries share one of keys
        keys, values = (tf.repeat(part, groups, axis=1) for part in (keys, values))
    scale = node.get("scale", None)
    scale = heads.shape[-1] ** -0.5 if scale is None else scale
    scores = tf.matmul(heads, keys, transpose_b=True) * scale
    if node.get("softcap", 0.0):
        scores = node.get("softcap", 0.0) * tf.tanh(scores / node.get("softcap", 0.0))
    if mask is not None:
        shown = in_order(mask)
        scores += tf.where(shown, 0.0, _LEAST) if shown.dtype == tf.bool else shown
    if node.get("is_causal", 0):
        scores += _LEAST * (1.0 - tf.linalg.band_part(tf.ones_like(scores), -1, 0))
    mixed = tf.matmul(tf.nn.softmax(scores), values)
    if not tokens:
        return Tensor(mixed)
    channels = mixed.shape[1] * mixed.shape[3]
    data = tf.reshape(tf.transpose(mixed, (0, 2, 1, 3)), [-1, _size(mixed, 2), channels])
    return Tensor(data, False, 2)


def rotary_embedding(node: Node, value: Value, cosines: Value, sines: Value, positions: Value | None = None) -> Tensor:
    """`RotaryEmbedding`: turns pairs of values of every head by angles of the token's position."""
    import tensorflow as tf

    tokens = in_order(value).shape.rank == 3
    x = _heads(value, node.get("num_heads", 0))
    cosine, sine = (in_order(part) for part in (cosines, sines))
    if positions is not None:
        cosine, sine = (tf.gather(part, in_order(positions)) for part in (cosine, sine))
    cosine, sine = (part[:, None] for part in (cosine, sine))  # the same for all heads
    turned = 2 * cosine.shape[-1]
    kept, x = x[..., turned:], x[..., :turned]
    if node.get("interleaved", 0):
        first, second = x[..., 0::2], x[..., 1::2]
    else:
        first, second = x[..., : turned // 2], x[..., turned // 2 :]
    real, imaginary = first * cosine - second * sine, first * sine + second * cosine
    if node.get("interleaved", 0):
        pairs = tf.stack([real, imaginary], axis=-1)
        data = tf.reshape(pairs, [-1, _size(x, 1), _size(x, 2), turned])
    else:
        data = tf.concat([real, imaginary], axis=-1)
    data = tf.concat([data, kept], axis=-1)
    if not tokens:
        return Tensor(data)
    return Tensor(
        tf.reshape(tf.transpose(data, (0, 2, 1, 3)), [-1, _size(x, 2), data.shape[1] * data.shape[3]]), False, 2
    )


def _heads(value: Value, count: int) -> tf.Tensor:
    """Return tokens as (batch, head, token, channel); they may be (batch, token, channel)."""
    import tensorflow as tf

    data = in_order(value)
    if data.shape.rank == 4:
        return data
    if data.shape.rank != 3 or not 1 <= count <= data.shape[-1] or data.shape[-1] % count:
        raise UnknownOperatorError("tokens without heads")
    apart = tf.reshape(data, [-1, _size(data, 1), count, data.shape[-1] // count])
    return tf.transpose(apart, (0, 2, 1, 3))


def _size(tensor: tf.Tensor, axis: int) -> Any:
    import tensorflow as tf

    return tensor.shape[axis] if tensor.shape[axis] is not None else tf.shape(tensor)[axis]
