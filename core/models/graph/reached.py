"""The nodes that are reached from others."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def reached(starts: Iterable[str], following: Callable[[str], Iterable[str]]) -> set[str]:
    """Return some nodes and all that are reached from them, given the nodes that follow each."""
    found: set[str] = set()
    ahead = list(starts)
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += following(name)
    return found
