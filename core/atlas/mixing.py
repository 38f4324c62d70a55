"""Two specs with one name: what a spec would add to an atlas that was built from another one.

An atlas may hold pairs of several settings, which the gallery shows side by side, so other settings are a warning. It
has one model, so another model is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from core import METHOD_VERSION
from core.atlas.manifest import MANIFEST_PATH, read_manifest
from core.atlas.plan_files import SPEC_PATH
from core.atlas.recorded import read_portraits, read_records
from core.atlas.records import RECORDS, Record, from_ndjson
from core.atlas.selection import resolve_settings
from core.errors import RecordError, SpecError, short
from core.models.model import Model
from core.models.models import digest, load, pinned
from core.neurons import Neuron
from core.spec import AtlasSpec
from core.store.store import Store

_NAMED = 4  # differences that a message names
_NOT_WRITTEN = {"render.objective.cosine_power": 0.0}
"""Settings that are not written if they are the default -> the default."""
_APART = "give the spec another name or output"


def check_mixing(spec: AtlasSpec, store: Store) -> tuple[str, ...]:
    """Return a warning for everything in which a spec differs from an atlas that has records already.

    Other pairs, `compute` and `storage` are no difference. Only the manifest, one record file and the stored spec are
    read, because what differed earlier was told then; all records are read if files of directions differ.

    Raises:
        SpecError: if the atlas has pairs of another model, or of other directions of the same names.
    """
    first = next(iter(store.list(RECORDS)), None)
    record = None if first is None else next(from_ndjson(store.read(first), f"{store}/{first}"), None)
    if record is None:
        return _begun_otherwise(spec, store)
    if record.model != spec.model.name:
        what = f"has pairs of {record.model}, this spec asks for {spec.model.name}"
        raise SpecError(f"model.name: the atlas at {store} {what}; {_APART}")
    stored, model = _stored_spec(store), load(spec.model)
    other_weights = record.model_digest != digest(model)
    if other_weights:
        _refuse_other_file(spec, store, stored.get("model", {}))
    _refuse_other_directions(spec, model, store, stored.get("model", {}).get("derived"))
    settings = resolve_settings(spec.render, model).model_dump(mode="json")
    told = []
    if other_weights:
        told.append(f"pairs of other weights of {record.model}, or of an older version of Isthmus")
    if record.method != METHOD_VERSION:
        told.append(f"pairs of version {record.method} of the method, this is version {METHOD_VERSION}")
    if stored.get("strip", spec.strip) != spec.strip:
        told.append(f"strips of the other kind (strip: {stored['strip']})")
    if differences := _nearest(settings, _known_settings(store, record), "render."):
        told.append(f"pairs with other settings ({differences})")
    return tuple(f"{store}: has {each}; new pairs are added beside them. To keep them apart, {_APART}" for each in told)


def _begun_otherwise(spec: AtlasSpec, store: Store) -> tuple[str, ...]:
    """Return a warning if a build with another model or other settings has begun; it may still be running."""
    stored = {key: value for key, value in _stored_spec(store).items() if key in ("model", "strip", "render")}
    pinned_spec = spec.model_copy(update={"model": pinned(spec.model)})
    ours = {key: value for key, value in pinned_spec.model_dump(mode="json").items() if key in stored}
    differences = _nearest(ours, [stored], "") if stored else ""
    what = f"was begun with another spec ({differences}), which has rendered nothing yet"
    return (f"{store}: {what}; if its build is running, stop it, or {_APART}",) if differences else ()


def _refuse_other_file(spec: AtlasSpec, store: Store, stored: Mapping[str, Any]) -> None:
    """Refuse weights that differ from those of the atlas, if the spec names them otherwise than the stored one."""
    for key, value in spec.model.model_dump(mode="json", exclude={"derived"}).items():
        if key in stored and stored[key] != value:
            what = f"was built with {short(stored[key])}, this spec has other weights with {short(value)}"
            raise SpecError(f"model.{key}: the atlas at {store} {what}; {_APART}")


def _refuse_other_directions(spec: AtlasSpec, model: Model, store: Store, stored: object) -> None:
    """Refuse directions that differ from those of the same names in the records of the atlas."""
    ours = pinned(spec.model).model_dump(mode="json")["derived"]
    if not ours or ours == stored:
        return

    def changed(neuron: str | None, digest: str | None) -> str | None:
        layer, channel = Neuron.parse(neuron) if neuron else ("", 0)
        known = layer in ours and channel < model.layers[layer]
        return neuron if known and model.derived[layer].digest(channel) != digest else None

    def of_pair(record: Record) -> str | None:
        a, b = record.directions or (None, None)
        return changed(record.a, a) or changed(record.b, b)

    pairs = read_records(store, of_pair).values()
    portraits = read_portraits(store, lambda record: changed(record.neuron, record.direction)).values()
    for neuron in filter(None, [*pairs, *portraits]):
        layer = Neuron.parse(neuron).layer
        what = f"has another direction under the name {neuron}"
        raise SpecError(f"model.derived.{layer}: the atlas at {store} {what}; give {layer} another name, or {_APART}")


def _stored_spec(store: Store) -> Mapping[str, Any]:
    """Return the spec of the last build; empty if there is none or it is damaged."""
    with suppress(ValueError):
        found = json.loads(store.read(SPEC_PATH)) if store.exists(SPEC_PATH) else None
        if isinstance(found, dict) and isinstance(found.get("model"), dict):
            return found
    return {}


def _known_settings(store: Store, record: Record) -> list[Mapping[str, Any]]:
    if store.exists(MANIFEST_PATH):
        with suppress(RecordError):  # of a damaged manifest, which the build replaces
            return [*read_manifest(store).settings.values(), record.settings]
    return [record.settings]


def _nearest(settings: Mapping[str, Any], known: list[Mapping[str, Any]], prefix: str) -> str:
    """Return the differences from the most similar settings in words; nothing if there are equal ones."""
    ours, theirs = dict(_flat(settings, prefix)), [dict(_flat(one, prefix)) for one in known]
    keys = dict.fromkeys([*ours, *(key for one in theirs for key in one)])
    pairs = ([(key, *(each.get(key, _NOT_WRITTEN.get(key)) for each in (one, ours))) for key in keys] for one in theirs)
    fewest = min(([each for each in one if each[1] != each[2]] for one in pairs), key=len)
    named = [f"{key} {short(there)}, here {short(mine)}" for key, there, mine in fewest[:_NAMED]]
    return "; ".join([*named, *(["..."] if len(fewest) > _NAMED else [])])


def _flat(settings: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the settings with dotted keys, and tuples as lists."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value
