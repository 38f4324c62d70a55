"""The order of a network's layers, which a build stores and publishing reads.

Records name layers, but do not say which comes first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from core.errors import RecordError
from core.store.store import Store

_DIGEST = re.compile(r"[0-9a-f]{64}")  # a digest in a record is untrusted, and becomes a part of a path


def write_layers(store: Store, model_digest: str, layers: Iterable[str]) -> None:
    """Store the layers of a model, in order from the image on.

    Raises:
        StoreError: if the store cannot be written.
    """
    store.replace(_path(model_digest), json.dumps(list(layers), indent=0).encode())


def read_layers(store: Store, model_digest: str) -> list[str]:
    """Return the layers of a model in their order; none if no build has stored them.

    Raises:
        RecordError: if the file is damaged.
        StoreError: if the store cannot be read.
    """
    if not _DIGEST.fullmatch(model_digest) or not store.exists(_path(model_digest)):
        return []
    path = _path(model_digest)
    try:
        layers = json.loads(store.read(path))
    except ValueError:
        layers = None
    if not (isinstance(layers, list) and all(isinstance(layer, str) for layer in layers)):
        raise RecordError(f"{store}/{path}: expected a list of layers; build the atlas again to rewrite it")
    return layers


def _path(model_digest: str) -> str:
    return f"plan/layers-{model_digest[:20]}.json"
