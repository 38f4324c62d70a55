"""Large constants of a translated graph, which TensorFlow's graph does not hold itself.

While a graph is built it has a placeholder for each of them, and its GraphDef gets their values. TensorFlow would keep
them twice, and twice more while it writes the GraphDef.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import tensorflow as tf

_LARGE = 1 << 14  # values
_COLLECTION = "isthmus_weights"


def weights(values: NDArray[np.float32]) -> tf.Tensor:
    """Return a constant of float32, or the placeholder of a large one."""
    import tensorflow as tf

    if values.size < _LARGE:
        return tf.constant(values)
    tensor = tf.compat.v1.placeholder(tf.float32, values.shape)
    tf.compat.v1.add_to_collection(_COLLECTION, (tensor.op.name, values))
    return tensor


def graph_def_of(graph: tf.Graph) -> Any:
    """Return a graph as a GraphDef with the values of its constants."""
    graph_def = graph.as_graph_def()
    large = dict(graph.get_collection(_COLLECTION))
    for node in graph_def.node:
        values = large.pop(node.name, None)
        if values is None:
            continue
        node.op = "Const"
        tensor = node.attr["value"].tensor
        tensor.dtype = node.attr["dtype"].type
        tensor.tensor_shape.CopyFrom(node.attr["shape"].shape)
        tensor.tensor_content = values.tobytes()
        del node.attr["shape"]
    return graph_def
