"""SavedModels, directories with a graph, its functions and its variables, which are read as frozen graphs.

TensorFlow does not load them: `core.models.saved_signature` reads what one signature needs, and the result is checked
like any frozen graph. SavedModels that would run something when TensorFlow loads them are refused all the same: assets,
initialisers of tables and of other resources, objects with save and restore functions of their own.

This does not protect against everything: TensorFlow's own reader parses the files of the variables before they are
checked. A SavedModel of unknown origin should be frozen elsewhere, in a container.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from core.errors import ModelError, SpecError, short
from core.machine import device
from core.models.frozen_graph import FrozenGraph
from core.models.kind import ModelKind, check_file_is_given
from core.models.preprocessing import Preprocessing
from core.models.saved_signature import signature_graph
from core.models.weights import file_sha256, is_remote, local_path
from core.spec import ModelSpec

_TAG = "serve"
_GRAPH_FILE = "saved_model.pb"


def _check(spec: ModelSpec) -> None:
    directory = check_file_is_given(spec)
    if is_remote(directory):
        raise SpecError(f"file: expected a directory on this machine, got {short(directory)}")


def _load(spec: ModelSpec) -> FrozenGraph:
    directory = local_path(check_file_is_given(spec))
    if not os.path.isfile(directory / _GRAPH_FILE):  # noqa: PTH113  (false if the name is too long)
        raise ModelError(
            f"model.file: expected the directory of a SavedModel, {directory.absolute()} has no {_GRAPH_FILE}"
        )
    device.prepare()
    graph_def = signature_graph(_meta_graph(directory), directory)
    return FrozenGraph(
        directory,
        name="saved-model",
        contents=(graph_def, _directory_sha256(directory)),
        input_node=spec.input,
        preprocessing=Preprocessing.of(spec),
        skipped_tokens=spec.skipped_tokens,
        default_range=spec.value_range is None,
    )


def _meta_graph(directory: Path) -> Any:
    """Return the graph of a SavedModel for serving, as its protocol buffer.

    Raises:
        ModelError: if it is not a SavedModel or is damaged, or naming the kind of object that is refused.
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
    graphs = contents.meta_graphs
    found = next((graph for graph in graphs if list(graph.meta_info_def.tags) == [_TAG]), None)
    if found is None and len(graphs) == 1:
        found = graphs[0]
    if found is None:
        raise ModelError(f"{file}: expected a SavedModel with a graph that has the tag {_TAG}, found none")
    for item in found.object_graph_def.nodes:
        kind = item.WhichOneof("kind")
        own_saving = item.registered_saver or any(
            saving.save_function or saving.restore_function for saving in item.saveable_objects.values()
        )
        if kind in ("asset", "resource") or own_saving:
            raise ModelError(
                f"{file}: refused: it has an object of kind {kind}, which runs something when it is loaded"
            )
    return found


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
    keys=("file", "input", "value_range", "preprocess", "tokens"),
    check=_check,
)
