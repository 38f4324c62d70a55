"""Keys: digests of every input that affects pixels, so equal keys mean equal pixels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from core import METHOD_VERSION
from core.models.directions import Directions
from core.neurons import Neuron, Pair
from core.spec import RenderSettings


def pair_keys(
    pairs: Iterable[Pair],
    model_digest: str,
    settings: RenderSettings,
    derived: Mapping[str, Directions] = MappingProxyType({}),
) -> Iterator[tuple[Pair, str]]:
    """Yield each pair with the key of its strip.

    Two keys are equal exactly when every input that affects pixels is equal. These inputs are the method version, the
    digest of the model, the settings, the two neurons, and the directions of neurons of derived layers.

    Args:
        derived: the derived layers of the model.
    """
    shared = {"method": METHOD_VERSION, "model": model_digest, "settings": settings.model_dump(mode="json")}
    rest = canonical_json(shared)[1:]  # written once for all pairs: a, b and directions sort before the shared names
    for pair in pairs:
        neurons: dict[str, object] = {"a": str(pair.a), "b": str(pair.b)}
        if derived and (
            directions := {
                end: digest for end, digest in zip("ab", direction_digests(pair, derived), strict=True) if digest
            }
        ):
            neurons["directions"] = directions
        yield pair, short_digest(f"{canonical_json(neurons)[:-1]},{rest}".encode())


def direction_digests(neurons: Iterable[Neuron], derived: Mapping[str, Directions]) -> list[str | None]:
    """Return the digest of each neuron's direction, or None for neurons of layers that are not derived."""
    return [derived[neuron.layer].digest(neuron.channel) if neuron.layer in derived else None for neuron in neurons]


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
