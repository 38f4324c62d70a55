"""Neurons and pairs of neurons, and their notation.

A neuron is a layer and a channel, written `mixed4a:476`. A range `mixed4a:0-31` names several at once. The channel is
what follows the last colon, so a layer's name may have colons, slashes and spaces. A name that would be read in another
way is written as a JSON string: `" padded":3`. A pair is unordered: (b, a) is (a, b), and its strip always runs from
the neuron that sorts first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from core.errors import SpecError, short

_WRITTEN = re.compile(r"(?P<layer>.+):(?P<first>[0-9]{1,9})(?:-(?P<last>[0-9]{1,9}))?", re.DOTALL)
_SIGN = r"[^\s\x00-\x1f\x7f-\x9f\ufeff\ud800-\udfff]"
_BARE = re.compile(rf"{_SIGN}(?: *{_SIGN})*")  # spaces inside, no other white space and no control characters
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


class Neuron(NamedTuple):
    """A layer and one of its channels."""

    layer: str
    channel: int

    def __str__(self) -> str:
        return f"{written_layer(self.layer)}:{self.channel}"

    @property
    def order(self) -> tuple[tuple[str | int, ...], str, int]:
        """Sort key: the layer, with numbers in its name as numbers (block9 before block10), then the channel."""
        words = re.split(r"(\d+)", self.layer)  # words and numbers alternate, a word first
        natural = tuple(int(word) if place % 2 else word for place, word in enumerate(words))
        return natural, self.layer, self.channel  # the name itself distinguishes block9 from block09

    @classmethod
    def parse(cls, text: str) -> Neuron:
        """Read `layer:channel`.

        Raises:
            SpecError: if the text is anything else, including a range.
        """
        layer, channels = parse_range(text)
        if len(channels) != 1 or "-" in text.rpartition(":")[2]:
            raise SpecError(f"expected one neuron such as 'block9_expand_pre_relu:17', got the range {text!r}")
        return cls(layer, channels[0])


class Pair(NamedTuple):
    """Two different neurons in canonical order. Make one with `Pair.of`."""

    a: Neuron
    b: Neuron

    def __str__(self) -> str:
        return f"{self.a} – {self.b}"

    @classmethod
    def of(cls, first: Neuron, second: Neuron) -> Pair:
        """Return the pair of two neurons, given in either order.

        Raises:
            SpecError: if they are the same neuron.
        """
        if first == second:
            raise SpecError(f"expected two different neurons, got {first} twice")
        return cls(*sorted((first, second), key=lambda neuron: neuron.order))

    @property
    def layers(self) -> tuple[str, str]:
        """The layer of a and the layer of b."""
        return self.a.layer, self.b.layer


def parse_range(text: str) -> tuple[str, range]:
    """Read `layer:channel` or `layer:first-last` (both ends included) as a layer and its channels.

    Raises:
        SpecError: if the text has another form or the range runs backwards.
    """
    match = _WRITTEN.fullmatch(text.strip())
    layer = _read_layer(match["layer"]) if match else None
    if not match or not layer:
        raise SpecError(f"expected a neuron as 'layer:channel' or a range as 'layer:first-last', got {short(text)}")
    first = int(match["first"])
    last = int(match["last"]) if match["last"] else first
    if last < first:
        raise SpecError(f"expected a range 'layer:first-last' with first <= last, got {text!r}")
    return layer, range(first, last + 1)


@lru_cache(maxsize=1024)  # millions of neurons are written, of few layers
def written_layer(layer: str) -> str:
    """Return a layer as it stands before the colon of a neuron: its name, or a JSON string in ASCII.

    Names that begin or end with white space are JSON strings, and so are names with other white space than spaces or
    with control characters, and names that are in double quotes themselves.
    """
    return layer if _BARE.fullmatch(layer) and not _QUOTED.fullmatch(layer) else json.dumps(layer)


def _read_layer(written: str) -> str | None:
    """Return the layer that is written before the colon of a neuron, or None if none can be read."""
    if not _QUOTED.fullmatch(written):
        return written if _BARE.fullmatch(written) else None
    try:
        return str(json.loads(written))
    except ValueError:
        return None


def distinct_pairs(pairs: Iterable[tuple[Neuron, Neuron]]) -> Iterator[Pair]:
    """Yield each pair once, at its first appearance; the order in which its neurons are given does not matter."""
    seen: set[Pair] = set()
    for first, second in pairs:
        pair = Pair.of(first, second)
        if pair not in seen:
            seen.add(pair)
            yield pair
