"""The table of the kinds of model, and functions for a model of any kind: loading, its digest, checks of neurons.

Importing this module imports neither TensorFlow nor Keras; a kind imports them when it loads a model or, for the
default model, when activations are computed.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from core.errors import ModelError, SpecError, UnknownLayerError, short
from core.models import efficientnet, frozen_graph, inception, keras_application, keras_file, onnx_model, saved_model
from core.models.derived import DerivedModel, check_names
from core.models.directions import Directions
from core.models.kind import ModelKind, check_address
from core.models.model import Model
from core.models.weight_files.array_file import LARGEST_BYTES
from core.models.weights import local_file
from core.neurons import Neuron
from core.spec import DerivedLayers, ModelSpec

KINDS: Mapping[str, ModelKind] = {
    kind.name: kind
    for kind in (
        efficientnet.KIND,
        inception.KIND,
        frozen_graph.KIND,
        onnx_model.KIND,
        keras_application.KIND,
        keras_file.KIND,
        saved_model.KIND,
    )
}
"""Name of a kind -> the kind."""
_LOADER_VERSION = 1
"""Part of every model digest: raised whenever the same weights file begins to give other activations."""


def kind_of(name: str) -> ModelKind | None:
    """Return the kind that the name of a model stands for, or None if there is no such kind."""
    family, colon, member = name.partition(":")
    if not colon:
        return KINDS.get(name)
    return KINDS.get(f"{family}:NAME") if member.isidentifier() and member != "NAME" else None


def check_spec(spec: ModelSpec) -> None:
    """Make sure that a model is of a known kind and has the keys that its kind needs, and no others.

    Raises:
        SpecError: with a message that begins with the key.
    """
    kind = kind_of(spec.name)
    if kind is None:
        raise SpecError(f"name: expected one of {', '.join(KINDS)}, got {short(spec.name)}")
    known = ("name", *kind.keys, "derived")
    for key in ModelSpec.model_fields:
        if getattr(spec, key) is not None and key not in known:
            raise SpecError(f"{key}: no use for this key with {spec.name}; remove it (known: {', '.join(known)})")
    if kind.check is not None:
        kind.check(spec)
    for name, derived in (spec.derived or {}).items():
        try:
            check_address(derived.file, derived.sha256)
        except SpecError as error:
            raise SpecError(f"derived.{name}.{error}") from None


def load(model: ModelSpec | str) -> Model:
    """Return the model of a spec, or of a name alone; it is loaded once per process.

    Raises:
        SpecError: if there is no kind of that name, or its keys are wrong. Specs that do not come from
            `core.spec_file`, such as the parameters of a flow, are checked only here.
        ModelError: if its weights are missing, damaged or refused.
    """
    spec = ModelSpec(name=model) if isinstance(model, str) else model
    try:
        check_spec(spec)
    except SpecError as error:
        raise SpecError(f"model.{error}") from None
    if not spec.derived:
        return _load(spec)
    if not all(each.is_current for each in _derived(spec).derived.values()):
        _derived.cache_clear()  # a file has been replaced since this process has opened it
    return _derived(spec)


@lru_cache(maxsize=4)
def _load(spec: ModelSpec) -> Model:
    kind = kind_of(spec.name)
    assert kind is not None
    return kind.load(spec)


@lru_cache(maxsize=4)
def _derived(spec: ModelSpec) -> Model:
    network = _load(spec.model_copy(update={"derived": None}))
    derived = spec.derived or {}
    check_names(network, derived)
    found = {}
    for name, each in derived.items():
        section = f"model.derived.{name}"
        if each.of in derived:
            raise SpecError(
                f"{section}.of: expected a layer of {network.name}, {each.of} is a derived layer; "
                "multiply its matrix by this one"
            )
        check_layer(network, each.of, f"{section}.of")
        path = local_file(each.file, each.sha256, section, "a matrix of directions", most=LARGEST_BYTES)
        try:
            found[name] = Directions(each, path, network.layers[each.of], section)
        except ModelError as error:
            raise ModelError(f"{section}.file {error}") from None
    return DerivedModel(network, found)


def pinned(spec: ModelSpec) -> ModelSpec:
    """Return the spec of a model with the sha256 of every file of directions, so that no other file is taken for it.

    Raises:
        SpecError, ModelError: as for `load`.
    """
    if not spec.derived:
        return spec
    directions = load(spec).derived
    known = {
        name: each if each.sha256 else each.model_copy(update={"sha256": directions[name].file_sha256})
        for name, each in spec.derived.items()
    }
    return spec.model_copy(update={"derived": DerivedLayers(known)})


def digest(model: Model) -> str:
    """Return the digest of a model, in hex: sha256 of its weights, how they are read, and the version of the loader.

    Raises:
        ModelError: if the weights file cannot be read.
    """
    reading = json.dumps(dict(model.reading), sort_keys=True) if model.reading else ""
    return hashlib.sha256(f"{_LOADER_VERSION}:{model.weights_digest}{reading}".encode()).hexdigest()


def layer_facts(model: Model, size_px: int) -> dict[str, dict[str, Any]]:
    """Return layer -> facts for a list of layers.

    The facts: `channels`; `kind`; `size` and `own_size`, height and width for images of *size_px* and of the network's
    own size, or None; `positions`: grid, tokens or None; `aligns`: whether it has positions that alignment can keep;
    `nearest`: true, or why no weights that feed it are found.
    """
    sizes, own = model.sizes(size_px), model.own_sizes
    facts: dict[str, dict[str, Any]] = {}
    for layer, channels in model.layers.items():
        size, own_size = sizes[layer], own.get(layer)
        positions = ("tokens" if model.has_tokens(layer) else "grid") if size or own_size else None
        facts[layer] = {
            "channels": channels,
            "kind": model.kind(layer),
            "size": size,
            "own_size": own_size,
            "positions": positions,
            "aligns": positions is not None,
            "nearest": model.why_no_fan_in(layer) or True,
        }
    return facts


def check_layer(model: Model, layer: str, source: str) -> None:
    """Make sure that the model has a layer; the message begins with the *source* of its name.

    Raises:
        UnknownLayerError: naming layers with similar names, and how to list all; or why the layer cannot be computed.
    """
    if layer in model.unavailable:
        raise UnknownLayerError(f"{source}: {layer} of {model.name} cannot be computed: {model.unavailable[layer]}")
    if layer not in model.layers:
        near = difflib.get_close_matches(layer, model.layers, n=6, cutoff=0.5) or list(model.layers)[:6]
        raise UnknownLayerError(
            f"{source}: expected a layer of {model.name}, got {layer!r}; similar: {', '.join(near)} "
            f"('isthmus models layers {_argument(model)}' lists all {len(model.layers)})"
        )


def check_neuron(model: Model, neuron: Neuron, source: str) -> None:
    """Make sure that the model has a neuron; the message begins with the *source* of its name.

    Raises:
        UnknownLayerError: if there is no such layer.
        SpecError: if the layer has fewer channels.
    """
    check_layer(model, neuron.layer, source)
    channels = model.layers[neuron.layer]
    if neuron.channel >= channels:
        raise SpecError(
            f"{source}: expected a channel of {neuron.layer} from 0 to {channels - 1}, got {neuron.channel}"
        )


def _argument(model: Model) -> str:
    """Return what stands behind `isthmus models layers` to list the layers of a model, derived ones too."""
    kind = kind_of(model.name)
    if model.derived:
        return "SPEC"
    return f"{model.name} --file FILE" if kind is not None and "file" in kind.keys else model.name
