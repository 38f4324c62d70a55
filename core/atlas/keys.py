"""Keys: digests of every input that affects pixels, so equal keys mean equal pixels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator

from core import METHOD_VERSION
from core.neurons import Pair
from core.spec import RenderSettings


def pair_keys(pairs: Iterable[Pair], model_digest: str, settings: RenderSettings) -> Iterator[tuple[Pair, str]]:
    """Yield each pair with the key of its strip.

    Two keys are equal exactly when every input that affects pixels is equal. These inputs are the method version, the
    digest of the model, the settings and the two neurons.
    """
    shared = {"method": METHOD_VERSION, "model": model_digest, "settings": settings.model_dump(mode="json")}
    rest = canonical_json(shared)[1:]  # written once for all pairs: "a" and "b" sort before every shared name
    for pair in pairs:
        neurons = canonical_json({"a": str(pair.a), "b": str(pair.b)})[:-1]
        yield pair, short_digest(f"{neurons},{rest}".encode())


def settings_digest(settings: RenderSettings) -> str:
    return key_of(settings.model_dump(mode="json"))


def key_of(facts: object) -> str:
    """Return the key of facts that can be written as JSON."""
    return short_digest(canonical_json(facts).encode())


def short_digest(data: bytes) -> str:
    """Return the first 20 hex digits of the sha256, enough to rule out collisions."""
    return hashlib.sha256(data).hexdigest()[:20]


def canonical_json(value: object) -> str:
    """Return JSON that is the same text for equal values in every process."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
