"""The spec: what a person asks for, read from YAML into models that cannot change afterwards.

The same models are the parameters of the Prefect flow, so that its form has these descriptions and limits. Whatever
changes a pixel is in `RenderSettings`, and with it in every key.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import SpecError


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Alignment(_Frozen):
    """Keep landmarks in place from frame to frame."""

    layers: tuple[str, ...] | None = Field(
        None, description="Layers whose activations should stay alike; by default those that suit the model."
    )
    weight: float = Field(0.1, ge=0, le=1e6, description="How strongly; 0 switches alignment off.")
    decay: float = Field(5.0, gt=0, le=1e6, description="A frame d apart counts 1 / decay^d.")


class RenderSettings(_Frozen):
    """Every setting that changes a pixel."""

    frames: int = Field(6, ge=2, le=64, description="Frames in a strip, the two ends included.")
    size_px: int = Field(128, ge=32, le=1024, multiple_of=16, description="Height and width of a frame.")
    steps: int = Field(256, ge=1, le=100_000, description="Updates of the image.")
    seed: int = Field(0, ge=0, lt=2**32, description="Another seed gives other pictures of the same pairs.")
    learning_rate: float = Field(0.05, gt=0, le=10, description="Of Adam.")
    sd: float = Field(0.01, gt=0, le=10, description="Standard deviation of the start values.")
    sharing: bool = Field(True, description="Share low-resolution parts between frames; false: independent frames.")
    key_frames: Literal["symmetric", "lucid"] = Field(
        "symmetric", description="Where the two key frames of shared parts lie: at the ends, or as Lucid has them."
    )
    transforms: Literal["standard", "none"] = Field("standard", description="Random views while optimising, or none.")
    redirected_updates: int = Field(
        16, ge=0, le=1000, description="For so many updates the gradient passes through dead ReLUs."
    )
    alignment: Alignment = Alignment()


class ListedPairs(_Frozen):
    """The pairs that are listed."""

    select: Literal["list"]
    list: tuple[tuple[str, str], ...] = Field(min_length=1, description="Pairs of neurons, each layer:channel.")


class AllPairs(_Frozen):
    """Every pair among the neurons."""

    select: Literal["all"]
    neurons: tuple[str, ...] = Field(min_length=1, description="Neurons layer:channel and ranges layer:first-last.")


class RandomPairs(_Frozen):
    """Some pairs among the neurons, drawn without repetition."""

    select: Literal["random"]
    neurons: tuple[str, ...] = Field(min_length=1, description="Neurons layer:channel and ranges layer:first-last.")
    n: int = Field(ge=1, le=10_000_000, description="How many pairs.")
    seed: int = Field(0, ge=0, lt=2**32, description="Another seed draws others.")


class NearestPairs(_Frozen):
    """Each neuron with its nearest in the same layer, by the cosine of the weights that feed them."""

    select: Literal["nearest"]
    neurons: tuple[str, ...] = Field(min_length=1, description="Neurons layer:channel and ranges layer:first-last.")
    k: int = Field(4, ge=1, le=1000, description="How many neighbours of each neuron.")


Selection = Annotated[ListedPairs | AllPairs | RandomPairs | NearestPairs, Field(discriminator="select")]


class Compute(_Frozen):
    """Where and how the work is done; changes no pixel."""

    engine: Literal["local"] = Field("local", description="local: processes on this machine.")
    processes: int | None = Field(
        None, ge=1, le=256, description="Local processes; by default one per core, or one per GPU."
    )
    chunk_pairs: int | None = Field(
        None, ge=1, le=10_000, description="Pairs in one task; by default enough for about half a minute."
    )


class AtlasSpec(_Frozen):
    """An atlas: which pairs, of which model, rendered how, and where it goes."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="Name of the atlas, and of its folder in the output."
    )
    output: str = Field("atlases", min_length=1, description="Directory that the atlas's folder goes into.")
    model: str = Field("efficientnet-lite0", description="The image model; 'isthmus models' lists them.")
    pairs: Selection
    render: RenderSettings = RenderSettings()
    compute: Compute = Compute()

    @model_validator(mode="before")
    @classmethod
    def _say_what_is_missing(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            raise ValueError(f"expected a mapping with name and pairs, got {type(data).__name__}")
        return data

    @property
    def uri(self) -> str:
        """The atlas's own place: output and name."""
        return f"{self.output.rstrip('/')}/{self.name}"


def read_spec(path: Path) -> AtlasSpec:
    """Read a spec from a YAML file.

    Raises:
        SpecError: in one line with file, field, what was expected and what came.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SpecError(f"{path}: expected a YAML file with an atlas spec, {reason}") from None
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1} column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "unreadable"
        raise SpecError(f"{path}{where}: expected YAML, {problem}") from None
    return parse_spec(data, str(path))


def parse_spec(data: Any, where: str) -> AtlasSpec:
    """Check a spec that has been read from somewhere; *where* is for messages.

    Raises:
        SpecError: as `read_spec`.
    """
    return _parse(AtlasSpec, data, where)


def parse_settings(data: Any, where: str) -> RenderSettings:
    """Check render settings alone; *where* is for messages.

    Raises:
        SpecError: as `read_spec`.
    """
    return _parse(RenderSettings, data, where)


_Model = TypeVar("_Model", bound=BaseModel)


def _parse(model: type[_Model], data: Any, where: str) -> _Model:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise SpecError(f"{where}: {_one_line(error)}") from None


def _one_line(error: ValidationError) -> str:
    """The first thing that is wrong, and how many more there are."""
    first, more = error.errors()[0], error.error_count() - 1
    path = [str(part) for part in first["loc"]]
    given = first["input"]
    kind = first["type"]
    if len(path) > 1 and path[0] == "pairs" and path[1] in ("list", "all", "random", "nearest"):
        del path[1]  # pydantic names the chosen selection there; people did not write it
    field = ".".join(path)
    if kind == "extra_forbidden":
        known = _fields_at(path[:-1], error)
        near = difflib.get_close_matches(path[-1], known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        message = f"{field}: unknown key{hint} (known: {', '.join(known)})" if known else f"{field}: unknown key"
    elif kind == "missing":
        message = f"{field}: missing; this key is required"
    elif kind.startswith("union_tag"):
        message = f"{field}.select: expected one of list, all, random, nearest, got {_short(given)}"
    elif kind == "value_error":
        message = str(first["ctx"]["error"])
    else:
        wanted = first["msg"].removeprefix("Input should be ").removeprefix("String should ")
        message = f"{field}: expected {wanted}, got {_short(given)}"
    return message + (f" (and {more} more)" if more else "")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields_at(path: list[str], error: ValidationError) -> list[str]:
    """The keys that are known in one section of the spec."""
    sections: dict[tuple[str, ...], type[BaseModel]] = {
        (): AtlasSpec,
        ("render",): RenderSettings,
        ("render", "alignment"): Alignment,
        ("compute",): Compute,
    }
    selections: dict[str, type[BaseModel]] = {
        "list": ListedPairs,
        "all": AllPairs,
        "random": RandomPairs,
        "nearest": NearestPairs,
    }
    if path == ["pairs"]:
        return list(selections[str(error.errors()[0]["loc"][1])].model_fields)
    model = sections.get(tuple(path))
    return list(model.model_fields) if model else []
