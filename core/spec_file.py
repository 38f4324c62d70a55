"""Reading specs: YAML, JSON and options become the models of `core.spec`; a mistake becomes a message of one line."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from core.errors import LONGEST, SpecError, short
from core.fields import EXPECTED_TEXT, KEY_MISTAKE, NAME, SECRET_ADDRESS
from core.models.models import check_spec
from core.models.weights import is_remote
from core.spec import (
    PREPROCESS,
    AllPairs,
    AtlasSpec,
    DerivedLayers,
    DerivedSpec,
    ListedPairs,
    ModelSpec,
    NearestPairs,
    RandomPairs,
    RenderSettings,
    named_model,
)

_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?|[-+]?\.([0-9]+([eE][-+]?[0-9]+)?|inf|nan)")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with four of its gaps closed.

    Aliases are refused, because aliases of aliases turn a few bytes into data of any size. A key that occurs twice is
    refused, because PyYAML drops the first one. Numbers are decimal, because YAML 1.1 reads 010 as 8, 2:08 as 128 and
    1_0 as 10, and YAML 1.2 does not. Errors that Python raises for values such as the 30th of February become errors of
    YAML.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise ComposerError(None, None, "found an alias, which a spec may not have", mark)
        return super().compose_node(parent, index)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in lines:
                first = lines[key.value] + 1
                problem = f"found the key {short(key.value)} twice, also on line {first}; remove one of the two"
                raise ComposerError(None, None, problem, key.start_mark)
            lines[key.value] = key.start_mark.line
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag in _NUMBERS and not (isinstance(node, yaml.ScalarNode) and _DECIMAL.fullmatch(node.value.lower())):
            problem = f"found {short(node.value)}; write a number in decimal, and text in quotes"
            raise ConstructorError(None, None, problem, node.start_mark)
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError):
            raise ConstructorError(None, None, f"cannot read {short(node.value)}", node.start_mark) from None


def read_spec(path: Path) -> AtlasSpec:
    """Read a spec from a YAML file.

    Raises:
        SpecError: in one line with file, field, what was expected and what was found.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # reading a pipe or a device may never end
            raise SpecError(f"{path}: expected a YAML file with an atlas spec, it is a pipe, a socket or a device")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SpecError(f"{path}: expected a YAML file with an atlas spec, {reason}") from None
    try:
        data = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        position = f" line {mark.line + 1} column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
        raise SpecError(f"{path}{position}: expected YAML, {problem}") from None
    except RecursionError:
        raise SpecError(f"{path}: expected a spec, got YAML that is nested too deeply") from None
    return _beside(path, parse_spec(data, str(path)))


def _beside(path: Path, spec: AtlasSpec) -> AtlasSpec:
    """Return a spec whose relative paths lead to the files beside the spec file.

    Files of directions are looked for there alone. The file of the model, the photographs and the labels are first
    looked for in the folder where the command runs.
    """
    model, images = spec.model, spec.images
    if model.derived:
        derived = {
            name: each.model_copy(update={"file": _in_folder(path.parent, each.file)})
            for name, each in model.derived.items()
        }
        model = model.model_copy(update={"derived": DerivedLayers(derived)})
    if model.file is not None:
        model = model.model_copy(update={"file": _here_or_in_folder(path.parent, model.file)})
    if images is not None:
        images = images.model_copy(update={"source": _here_or_in_folder(path.parent, images.source)})
    labels = None if spec.labels is None else _here_or_in_folder(path.parent, spec.labels)
    return spec.model_copy(update={"model": model, "images": images, "labels": labels})


def _in_folder(folder: Path, file: str) -> str:
    """Return the path of a file in a folder; addresses, absolute paths and those in a home stay as they are."""
    return file if is_remote(file) or file.startswith("~") else str(folder / file)


def _here_or_in_folder(folder: Path, file: str) -> str:
    """Return the path of a file in a folder if it exists there, and not in the folder where the command runs."""
    inside = _in_folder(folder, file)
    return inside if os.path.exists(inside) and not os.path.exists(file) else file  # noqa: PTH110  (never raises)


def parse_spec(data: Any, source: str) -> AtlasSpec:
    """Check the data of a spec; messages begin with their *source*.

    Raises:
        SpecError: in one line with source, field, what was expected and what was found.
    """
    spec = _parse(AtlasSpec, data, source)
    _check_model(spec.model, f"{source}: model.")
    return spec


def parse_settings(data: Any, source: str) -> RenderSettings:
    """Check the data of render settings alone; messages begin with their *source*.

    Raises:
        SpecError: as for `parse_spec`.
    """
    return _parse(RenderSettings, data, source)


def parse_model(data: Any, source: str) -> ModelSpec:
    """Check the data of a model alone, a name or a mapping; messages begin with their *source*.

    Raises:
        SpecError: as for `parse_spec`.
    """
    spec = _parse(ModelSpec, named_model(data), source)
    _check_model(spec, f"{source}: ")
    return spec


_Model = TypeVar("_Model", bound=BaseModel)


def _parse(model: type[_Model], data: Any, source: str) -> _Model:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _refusal(error, model, source) from None


def _check_model(spec: ModelSpec, prefix: str) -> None:
    try:
        check_spec(spec)
    except SpecError as error:
        raise SpecError(f"{prefix}{error}") from None


_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_type": "a whole number",
    "invalid_key": "keys that are text",
    "model_attributes_type": "a mapping",
    "model_type": "a mapping",
    "string_type": "text",
    "too_short": "at least one entry",
    "tuple_type": "a list",
}
"""Pydantic's type of an error -> the expected value, in words."""
_GIVE_FILE = "give user and password by ~/.netrc, take an s3:// address with boto3's credentials, or give a file's path"
_GIVE_SECRETS = {
    "output": "give credentials by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE",
    "images.source": "give a folder, a file's path, or an s3:// address with boto3's credentials",
    "compute.ray_address": "give host and port alone, and let a firewall or tunnel protect the cluster",
}
"""Field with an address -> the way to give what is secret; other fields with addresses are those of files."""


class _Mistake(NamedTuple):
    """A mistake in the data of a spec: the field, or nothing if it is in the whole, and what is wrong with it."""

    field: str
    problem: str

    def __str__(self) -> str:
        return ": ".join(filter(None, self))


def _refusal(error: ValidationError, model: type[BaseModel], source: str) -> SpecError:
    """Return the error with the message of the first mistake, and the number of the others."""
    first, *more = dict.fromkeys(_mistake(found, model) for found in error.errors() if not _is_consequence(found))
    rest = f" (and {len(more)} more)" if more else ""
    return SpecError(f"{source}: {first}{rest}", field=first.field or None)


def _is_consequence(found: ErrorDetails) -> bool:
    """Return whether a list counts as too short only because some of its entries were refused."""
    return found["type"] == "too_short" and len(found["input"]) >= found["ctx"]["min_length"]


def _mistake(found: ErrorDetails, model: type[BaseModel]) -> _Mistake:
    """Return one mistake: its field, what was expected and what was found."""
    path, given, kind = list(found["loc"]), found["input"], found["type"]
    selection = ""
    if path[:1] == ["pairs"] and len(path) > 1:
        selection = str(path.pop(1))  # pydantic's name for the chosen selection, which is not a key of the spec
    if kind == KEY_MISTAKE:
        return _Mistake(_dotted([*path, found["ctx"]["key"]]), found["ctx"]["problem"])
    field = _dotted(path)
    if (special := _special_mistake(path, given, kind)) is not None:
        return special
    if kind == SECRET_ADDRESS:
        return _Mistake(field, f"{found['msg']}; {_GIVE_SECRETS.get(field, _GIVE_FILE)}")
    if kind == "extra_forbidden":
        known = _fields_at(model, path[:-1], selection)
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return _Mistake(field, f"unknown key{hint} (known: {', '.join(known)})")
    if kind == "missing":
        return _Mistake(field, "missing; this key is required")
    if kind.startswith("union_tag"):
        chosen = given.get("select") if isinstance(given, Mapping) else given
        return _Mistake(f"{field}.select", f"expected one of list, all, random, nearest, got {short(chosen)}")
    return _Mistake(field, f"expected {_expected(found, field)}, got {short(given)}")


def _special_mistake(path: list[str | int], given: Any, kind: str) -> _Mistake | None:
    """Return the mistake in a field whose mistakes have words of their own, or None for any other field."""
    expected = None
    if path[:2] == ["pairs", "list"] and kind in ("missing", "too_long", "tuple_type") and len(path) > 2:
        path, expected = path[:3], "two neurons"
    elif path[:2] in (["compute", "batch_pairs"], ["compute", "pack"]):
        path, expected = path[:2], "auto or a whole number from 1 to 1024"
    elif path[-1:] == ["[key]"]:
        expected, given = f"names of {EXPECTED_TEXT[NAME]}", path[-2]
        path = path[:-2]
    elif path == ["model"]:
        expected = "the name of a model or a mapping"
    elif path[-1:] == ["preprocess"] and not isinstance(given, Mapping):
        expected = f"{', '.join(PREPROCESS)} or a mapping of mean, std and channels"
    elif path[:2] == ["model", "value_range"] and kind in ("missing", "tuple_type", "too_long"):
        path, expected = path[:2], "two numbers"
    return None if expected is None else _Mistake(_dotted(path), f"expected {expected}, got {short(given)}")


def _expected(found: ErrorDetails, field: str) -> str:
    match found["type"]:
        case "too_long":
            return f"at most {found['ctx']['max_length']} entries"
        case "model_type" if not field:
            return "a mapping with name and pairs"
        case "string_pattern_mismatch":
            return EXPECTED_TEXT.get(found["ctx"]["pattern"], found["msg"])
        case kind:
            return _EXPECTED.get(kind, found["msg"].removeprefix("Input should be "))


def _dotted(path: list[str | int]) -> str:
    parts = (str(part) for part in path)
    return ".".join(part if part.isprintable() and 0 < len(part) <= LONGEST else short(part) for part in parts)


def _fields_at(model: type[BaseModel], path: list[str | int], selection: str) -> list[str]:
    """Return the known keys of one section of a model."""
    selections = {"list": ListedPairs, "all": AllPairs, "random": RandomPairs, "nearest": NearestPairs}
    for place, part in enumerate(path):
        if path[place - 1 : place] == ["derived"]:  # the name of a derived layer
            model = DerivedSpec
            continue
        inner: Any = selections[selection] if part == "pairs" else model.model_fields[str(part)].annotation
        model = next((kind for kind in get_args(inner) if hasattr(kind, "model_fields")), inner)
    return list(model.model_fields)
