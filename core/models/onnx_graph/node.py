"""A node of an ONNX graph, as the translations of operators see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Node:
    """An operation with its attributes.

    Attributes:
        opset: version of the standard that the file was written for.
        outputs: number of its outputs.
    """

    operator: str
    attributes: Mapping[str, Any]
    opset: int
    outputs: int = 1

    def get(self, name: str, default: Any) -> Any:
        """Return an attribute, or the standard's default."""
        return self.attributes.get(name, default)
