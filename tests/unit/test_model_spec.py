"""Models in a spec: a name, and the keys that its kind uses; other keys are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.errors import SpecError
from core.models.models import KINDS, load
from core.spec import AtlasSpec, ModelSpec
from core.spec_file import parse_model, parse_spec

MINIMAL: dict[str, Any] = {"name": "small", "pairs": {"select": "all", "neurons": ["block5:0-3"]}}
SHA256 = "0123456789abcdef" * 4
KINDS_EXPECTED = "expected one of efficientnet-lite0, inception-v1, frozen-graph, onnx, keras:NAME, keras, saved-model"


@pytest.mark.parametrize(
    "model",
    [
        "efficientnet-lite0",
        "keras:MobileNetV2",
        {"name": "keras:InceptionV3", "weights": "none"},
        {"name": "inception-v1", "file": "net.pb"},
        {"name": "inception-v1", "file": "https://example.org/net.pb", "sha256": SHA256},
        {"name": "frozen-graph", "file": "s3://bucket/net.pb", "sha256": SHA256.upper(), "input": "x:y",
         "value_range": [-1, 1]},
        {"name": "keras", "file": "net.keras", "value_range": [-1.5, 1]},
        {"name": "saved-model", "file": "net"},
    ],
    ids=str,
)  # fmt: skip
def test_a_model_is_a_name_or_a_mapping(model: Any) -> None:
    """A model survives JSON, can be a key of a dictionary, and is accepted by Prefect's form as it was written."""
    # Imported here, because Prefect takes seconds to load in every process that runs tests.
    from prefect.utilities.callables import parameter_schema
    from prefect.utilities.schema_tools import is_valid_schema, validate

    from flows.build_atlas import build_atlas

    spec = parse_spec(MINIMAL | {"model": model}, "here")

    assert spec.model == parse_model(model, "here")
    assert AtlasSpec.model_validate_json(spec.model_dump_json()) == spec
    assert {spec.model: 1}[parse_model(model, "here")] == 1
    schema = parameter_schema(build_atlas).model_dump()
    is_valid_schema(schema)
    assert validate({"spec": MINIMAL | {"model": model}}, schema) == []
    assert validate({"spec": spec.model_dump(mode="json")}, schema, ignore_required=False) == []
    assert build_atlas.validate_parameters({"spec": MINIMAL | {"model": model}})["spec"] == spec


def test_the_name_alone_is_the_default() -> None:
    """A spec without a model has the default model, as a spec with its name or with an empty mapping has."""
    specs = [MINIMAL, MINIMAL | {"model": "efficientnet-lite0"}, MINIMAL | {"model": {}}]

    assert {parse_spec(spec, "here").model for spec in specs} == {ModelSpec(name="efficientnet-lite0")}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (7, "model: expected the name of a model or a mapping, got 7"),
        (None, "model: expected the name of a model or a mapping, got nothing"),
        ("vgg", f"model.name: {KINDS_EXPECTED}, got 'vgg'"),
        ("keras:NAME", f"model.name: {KINDS_EXPECTED}, got 'keras:NAME'"),
        ("keras:../x", f"model.name: {KINDS_EXPECTED}, got 'keras:../x'"),
        ("inception-v1", "model.file: missing; inception-v1 needs it"),
        ({"name": 7}, "model.name: expected text, got 7"),
        ({"nmae": "vgg"}, "model.nmae: unknown key; did you mean 'name'? "
         "(known: name, file, sha256, input, value_range, preprocess, tokens, weights, derived)"),
        ({"file": "net.pb"},
         "model.file: no use for this key with efficientnet-lite0; remove it (known: name, derived)"),
        ({"name": "keras:VGG16", "value_range": [0, 1]},
         "model.value_range: no use for this key with keras:VGG16; remove it (known: name, weights, derived)"),
        ({"name": "inception-v1", "file": "net.pb", "input": "x"},
         "model.input: no use for this key with inception-v1; remove it (known: name, file, sha256, derived)"),
        ({"name": "frozen-graph", "file": "net.pb", "weights": "none"},
         "model.weights: no use for this key with frozen-graph; remove it "
         "(known: name, file, sha256, input, value_range, preprocess, tokens, derived)"),
        ({"name": "keras:VGG16", "weights": "mine"}, "model.weights: expected 'imagenet' or 'none', got 'mine'"),
        ({"name": "inception-v1", "file": "https://example.org/net.pb"},
         "model.sha256: missing; a file that is downloaded needs its sha256"),
        ({"name": "inception-v1", "file": "net.pb", "sha256": "abc"},
         "model.sha256: expected 64 hex digits, got 'abc'"),
        ({"name": "inception-v1", "file": "http://example.org/net.pb", "sha256": SHA256},
         "model.file: expected a path, https:// or s3://, got 'http://example.org/net.pb'"),
        ({"name": "inception-v1", "file": "file:///etc/passwd", "sha256": SHA256},
         "model.file: expected a path, https:// or s3://, got 'file:///etc/passwd'"),
        ({"name": "keras", "file": "a.b"}, "model.file: expected a file that ends in .keras, .h5, .hdf5, got 'a.b'"),
        ({"name": "saved-model", "file": "https://example.org/net"},
         "model.file: expected a directory on this machine, got 'https://example.org/net'"),
        ({"name": "frozen-graph", "file": "net.pb", "value_range": [1, -1]},
         "model.value_range: expected a number and a greater one, got 1 and -1"),
        ({"name": "frozen-graph", "file": "net.pb", "value_range": [1]},
         "model.value_range: expected two numbers, got [1]"),
        ({"name": "frozen-graph", "file": "net.pb", "value_range": [1, 2, 3]},
         "model.value_range: expected two numbers, got [1, 2, 3]"),
        ({"name": "frozen-graph", "file": "net.pb", "value_range": [0, float("nan")]},
         "model.value_range.1: expected greater than or equal to -1000000, got nan"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_model_is_reported_in_one_line(model: Any, message: str) -> None:
    """The line has the key and what was expected."""
    with pytest.raises(SpecError) as caught:
        parse_spec(MINIMAL | {"model": model}, "atlas.yaml")

    assert str(caught.value) == f"atlas.yaml: {message}"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ModelSpec(name="vgg"), f"model.name: {KINDS_EXPECTED}, got 'vgg'"),
        (
            ModelSpec(name="keras", file="net.hdf"),
            "model.file: expected a file that ends in .keras, .h5, .hdf5, got 'net.hdf'",
        ),
        ("inception-v1", "model.file: missing; inception-v1 needs it"),
    ],
)
def test_a_model_is_checked_again_when_it_is_loaded(model: ModelSpec | str, message: str) -> None:
    """A flow receives its spec from Prefect, which does not know the kinds of model."""
    with pytest.raises(SpecError) as caught:
        load(model)

    assert str(caught.value) == message


def test_every_kind_of_model_is_documented_and_every_key_belongs_to_one() -> None:
    """docs/models.md has a section for each kind, and a row for each key."""
    documentation = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8").splitlines()

    assert [line.removeprefix("## ") for line in documentation if line.removeprefix("## ") in KINDS] == list(KINDS)
    assert {"name", "derived"}.union(*(kind.keys for kind in KINDS.values())) == set(ModelSpec.model_fields)
    for key in ModelSpec.model_fields:
        assert any(line.startswith(f"| `{key}` |") for line in documentation), key
