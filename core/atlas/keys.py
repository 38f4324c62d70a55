"""Keys: equal if and only if the pixels are, as far as anybody decides about pixels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator

from core import METHOD_VERSION
from core.neurons import Pair
from core.spec import RenderSettings


def canonical_json(value: object) -> str:
    """One text for equal values, whoever writes it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def short_digest(data: bytes) -> str:
    """Twenty hex digits: enough never to meet the same ones twice."""
    return hashlib.sha256(data).hexdigest()[:20]


def key_of(facts: object) -> str:
    """The key of what some facts decide."""
    return short_digest(canonical_json(facts).encode())


def keys(pairs: Iterable[Pair], model_digest: str, settings: RenderSettings) -> Iterator[tuple[Pair, str]]:
    """The key of each pair: equal if and only if the pixels are, as far as anybody decides about pixels."""
    shared = {"method": METHOD_VERSION, "model": model_digest, "settings": settings.model_dump(mode="json")}
    rest = canonical_json(shared)[1:]  # once for all pairs, whose "a" and "b" sort before everything that is shared
    for pair in pairs:
        neurons = canonical_json({"a": str(pair.a), "b": str(pair.b)})[:-1]
        yield pair, short_digest(f"{neurons},{rest}".encode())


def settings_digest(settings: RenderSettings) -> str:
    return key_of(settings.model_dump(mode="json"))
