"""Types for calls of the command line within the test process, which the fixture `isthmus` makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """The output of a command on standard output and standard error, and its exit code."""

    code: int
    out: str
    err: str


Isthmus = Callable[..., Said]
