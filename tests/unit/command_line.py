"""What calls of the command line within the tests' own process give; the fixture `isthmus` makes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """What a command said, and the code that it ended with."""

    code: int
    out: str
    err: str


Isthmus = Callable[..., Said]
