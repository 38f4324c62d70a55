"""Keys: equal if and only if the pixels are, as far as anybody decides about pixels."""

from __future__ import annotations

import hashlib
import json


def canonical_json(value: object) -> str:
    """One text for equal values, whoever writes it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def short_digest(data: bytes) -> str:
    """Twenty hex digits: enough never to meet the same ones twice."""
    return hashlib.sha256(data).hexdigest()[:20]


def key_of(facts: object) -> str:
    """The key of what some facts decide."""
    return short_digest(canonical_json(facts).encode())
