"""Layers behind a batch normalisation that was exported in training mode: it uses the statistics of its batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from core.models.graph.safety import inputs_of

_NORMALISATIONS = frozenset(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"))


def behind_batch_statistics(nodes: Mapping[str, Any], order: Iterable[str]) -> dict[str, str]:
    """Return node -> the first batch normalisation in training mode that it is or depends on.

    Args:
        order: the names of all nodes, each after those that it depends on.
    """
    found: dict[str, str] = {}
    for name in order:
        node = nodes[name]
        training = "is_training" not in node.attr or node.attr["is_training"].b  # true by default
        if node.op in _NORMALISATIONS and training:
            found[name] = name
        elif (before := next((before for before in inputs_of(node) if before in found), None)) is not None:
            found[name] = found[before]
    return found
