"""SavedModels, directories with a graph, its functions and its variables, which are read as a frozen graph.

Before TensorFlow loads anything, every operation of the graph and of all its functions must be one that only computes,
or that holds or restores variables. Everything that TensorFlow would run while loading is refused: assets, initialisers
of tables and of other resources, objects with save and restore functions of their own. Then the signature
`serving_default` is frozen, and the result is checked like any frozen graph.

This does not protect against everything: TensorFlow's own readers parse the files of the variables, and TensorFlow's
Python code reads the object graph. A SavedModel of unknown origin should be frozen elsewhere, in a container.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.errors import ModelError, SpecError, one_line, short
from core.machine import device
from core.models.frozen_graph import FrozenGraph
from core.models.graph_safety import COMPUTING_OPS
from core.models.kind import ModelKind, check_file_is_given
from core.models.preprocessing import Preprocessing
from core.models.weights import file_sha256, is_remote, local_path
from core.spec import ModelSpec

_HOLDING_OPS = frozenset(
    """
    AssignVariableOp DisableCopyOnRead MergeV2Checkpoints PartitionedCall ReadVariableOp RestoreV2 SaveV2
    ShardedFilename StatefulPartitionedCall StaticRegexFullMatch StringJoin VarHandleOp VarIsInitializedOp
    """.split()
)
"""The types of operation that hold variables, and those that save and restore them, which Isthmus never runs."""
_SIGNATURE = "serving_default"
_GRAPH_FILE = "saved_model.pb"


def _check(spec: ModelSpec) -> None:
    directory = check_file_is_given(spec)
    if is_remote(directory):
        raise SpecError(f"file: expected a directory on this machine, got {short(directory)}")


def _load(spec: ModelSpec) -> FrozenGraph:
    directory = local_path(check_file_is_given(spec))
    if not (directory / _GRAPH_FILE).is_file():
        raise ModelError(f"model.file: expected the directory of a SavedModel, {directory} has no {_GRAPH_FILE}")
    device.prepare()
    return _saved_model(directory, Preprocessing.of(spec), spec.skipped_tokens)


def _saved_model(directory: Path, preprocessing: Preprocessing, skipped_tokens: int | None) -> FrozenGraph:
    """Return the network behind the signature `serving_default` of a SavedModel.

    Args:
        preprocessing: turns images into the values that the network expects.
        skipped_tokens: number of tokens before those of patches, if the graph does not show it.

    Raises:
        ModelError: if it is not a SavedModel, is refused, or has no such signature with one image input.
    """
    _check_contents(directory)
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    try:
        loaded = tf.saved_model.load(str(directory))
        signature = loaded.signatures[_SIGNATURE]
        frozen = convert_variables_to_constants_v2(signature, lower_control_flow=False)
    except KeyError:
        raise ModelError(f"{directory}: expected a SavedModel with the signature {_SIGNATURE}, it has none") from None
    except Exception as error:  # a damaged directory can cause errors of any type
        raise ModelError(f"{directory}: expected a SavedModel that TensorFlow can load, {one_line(error)}") from None
    images = [tensor for tensor in frozen.inputs if tensor.dtype != tf.resource]
    if len(images) != 1 or images[0].shape.rank not in (4, None):
        shapes = ", ".join(str(tensor.shape) for tensor in images) or "none"
        raise ModelError(
            f"{directory}: expected one input of shape (batch, height, width, 3) in {_SIGNATURE}, found {shapes}"
        )
    return FrozenGraph(
        directory,
        name="saved-model",
        contents=(frozen.graph.as_graph_def(), _directory_sha256(directory)),
        input_node=images[0].op.name,
        preprocessing=preprocessing,
        skipped_tokens=skipped_tokens,
    )


def _check_contents(directory: Path) -> None:
    """Make sure that a SavedModel only computes when it is loaded and called.

    Raises:
        ModelError: naming the first node or the kind of object that is refused.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    file = directory / _GRAPH_FILE
    contents = saved_model_pb2.SavedModel()
    try:
        contents.ParseFromString(file.read_bytes())
    except OSError as error:
        raise ModelError(f"{file}: expected a SavedModel, {error.strerror}") from None
    except DecodeError:
        raise ModelError(f"{file}: expected a SavedModel, got something else or a damaged one") from None
    if len(contents.meta_graphs) != 1 or not contents.meta_graphs[0].HasField("object_graph_def"):
        raise ModelError(f"{file}: expected a SavedModel of TensorFlow 2, with one graph and its objects")
    [graph] = contents.meta_graphs
    for node in _all_nodes(graph.graph_def):
        if node.op not in COMPUTING_OPS and node.op not in _HOLDING_OPS:
            raise ModelError(
                f"{file}: refused: node {node.name[:80]!r} is of type {node.op[:80]!r}, which is not known to be safe"
            )
    for item in graph.object_graph_def.nodes:
        kind = item.WhichOneof("kind")
        own_saving = item.registered_saver or any(
            saving.save_function or saving.restore_function for saving in item.saveable_objects.values()
        )
        if kind in ("asset", "resource", "captured_tensor") or own_saving:
            raise ModelError(
                f"{file}: refused: it has an object of kind {kind}, which runs something when it is loaded"
            )


def _all_nodes(graph_def: Any) -> Iterator[Any]:
    """Yield the nodes of a graph and of all its functions."""
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


def _directory_sha256(directory: Path) -> str:
    """Return the sha256 over the files that make the network, in hex; other files in the directory do not count."""
    digest = hashlib.sha256()
    for path in (directory / _GRAPH_FILE, *sorted((directory / "variables").glob("variables.*"))):
        digest.update(f"{path.name}:{file_sha256(path)}\n".encode())
    return digest.hexdigest()


KIND = ModelKind(
    "saved-model",
    "any TensorFlow SavedModel, from the directory `file`",
    _load,
    keys=("file", "value_range", "preprocess", "tokens"),
    check=_check,
)
