"""Lucid's InceptionV1 (GoogLeNet), as the frozen graph that Lucid's model zoo has of it."""

from __future__ import annotations

from core.machine import device
from core.models.frozen_graph import FrozenGraph
from core.models.kind import ModelKind, check_file
from core.models.preprocessing import Preprocessing
from core.models.weights import local_weights
from core.spec import ModelSpec

_INPUT_NODE = "input"
_VALUE_RANGE = (-117.0, 138.0)
_ALIGNMENT_LAYERS = ("mixed3b", "mixed4a")


def _load(spec: ModelSpec) -> FrozenGraph:
    weights = local_weights(spec)
    device.prepare()
    return FrozenGraph(
        weights,
        name=spec.name,
        input_node=_INPUT_NODE,
        preprocessing=Preprocessing(_VALUE_RANGE),
        alignment_layers=_ALIGNMENT_LAYERS,
    )


KIND = ModelKind(
    "inception-v1",
    "Lucid's InceptionV1, from its frozen graph in `file`",
    _load,
    keys=("file", "sha256"),
    check=check_file,
)
