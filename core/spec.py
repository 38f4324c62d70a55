"""The spec: what a person asks for, read from YAML into models that cannot change afterwards.

The same models are the parameters of the Prefect flow, so that its form has these descriptions and limits. Whatever
changes a pixel is in `RenderSettings`, and with it in every key.
"""

from __future__ import annotations

import difflib
import re
import reprlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from core.errors import SpecError

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_NO_CONTROLS = r"^[^\x00-\x1f\x7f]+$"
_DEPLOYMENT = r"^[^/\x00-\x1f\x7f]+/[^/\x00-\x1f\x7f]+$"
_ENDPOINT = r"https?://[A-Za-z0-9._\-]+(:[0-9]{1,5})?/?|https?://\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?/?"
_SHA256 = r"^[0-9a-f]{64}$"
_LONGEST = 60  # characters of what came, in a message


def _refuse_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("float_type", "Input should be a number")
    return value


Number = Annotated[float, BeforeValidator(_refuse_boolean)]
"""A number, for once not a truth value; as text too, because YAML takes 1e-3 for text."""


FiniteNumber = Annotated[Number, Field(ge=-1e6, le=1e6)]
"""A number of the size that the values of images have."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Precision = Literal["float32", "tf32", "bfloat16"]
StripKind = Literal["pair", "walk"]
"""Whether a strip has ends of its own, or begins and ends on the portraits of its neurons."""


class Alignment(_Frozen):
    """Keep landmarks in place from frame to frame."""

    layers: tuple[str, ...] | None = Field(
        None, description="Layers whose activations should stay alike; by default those that suit the model."
    )
    weight: Number = Field(0.1, ge=0, le=1e6, description="How strongly; 0 switches alignment off.")
    decay: Number = Field(5.0, gt=0, le=1e6, description="A frame d apart counts 1 / decay^d.")


PLAIN_STEPS, FAST_STEPS = 256, 96
"""Updates of a strip where a spec gives none."""


class RenderSettings(_Frozen):
    """Every setting that changes a pixel."""

    frames: StrictInt = Field(6, ge=2, le=64, description="Frames in a strip, the two ends included.")
    size_px: StrictInt = Field(128, ge=32, le=1024, multiple_of=16, description="Height and width of a frame.")
    schedule: Literal["plain", "fast"] = Field(
        "plain", description="plain: Lucid's. fast: as good in fewer updates, 96 unless steps says otherwise."
    )
    steps: StrictInt = Field(PLAIN_STEPS, ge=1, le=100_000, description="Updates of the image.")
    checkpoints: tuple[Annotated[StrictInt, Field(ge=1)], ...] = Field(
        (), max_length=16, description="Numbers of updates, below steps, after which the strip is kept too."
    )
    seed: StrictInt = Field(0, ge=0, lt=2**32, description="Another seed gives other pictures of the same pairs.")
    learning_rate: Number = Field(0.05, gt=0, le=10, description="Of Adam.")
    sd: Number = Field(0.01, gt=0, le=10, description="Standard deviation of the start values.")
    sharing: StrictBool = Field(
        True, description="Share low-resolution parts between frames; false: independent frames."
    )
    key_frames: Literal["symmetric", "lucid"] = Field(
        "symmetric", description="Where the two key frames of shared parts lie: at the ends, or as Lucid has them."
    )
    transforms: Literal["standard", "none"] = Field("standard", description="Random views while optimising, or none.")
    redirected_updates: StrictInt = Field(
        16, ge=0, le=1000, description="For so many updates the gradient passes through dead ReLUs."
    )
    alignment: Alignment = Alignment()
    precision: Precision = Field(
        "float32",
        description="Of the network's arithmetic; tf32 for GPUs that have it, bfloat16 for models that can. "
        "Image, objective and optimizer are float32 always.",
    )
    xla: StrictBool = Field(False, description="Compile the network with XLA on a GPU; without one this does nothing.")

    @model_validator(mode="before")
    @classmethod
    def _steps_of_the_schedule(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("schedule") == "fast":
            return {"steps": FAST_STEPS, **given}
        return given

    @field_validator("checkpoints")
    @classmethod
    def _in_order(cls, checkpoints: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(checkpoints)))

    @model_validator(mode="after")
    def _before_the_end(self) -> RenderSettings:
        if self.checkpoints and self.checkpoints[-1] >= self.steps:
            raise PydanticCustomError(
                "checkpoints", f"Input should be checkpoints below steps ({self.steps}), which are kept anyway"
            )
        return self


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
    n: StrictInt = Field(ge=1, le=10_000_000, description="How many pairs.")
    seed: StrictInt = Field(0, ge=0, lt=2**32, description="Another seed draws others.")


class NearestPairs(_Frozen):
    """Each neuron with its nearest in the same layer, by the cosine of the weights that feed them."""

    select: Literal["nearest"]
    neurons: tuple[str, ...] = Field(min_length=1, description="Neurons layer:channel and ranges layer:first-last.")
    k: StrictInt = Field(4, ge=1, le=1000, description="How many neighbours of each neuron.")
    connect: StrictBool = Field(
        False, description="Add the nearest pairs that are missing for a road between any two of the neurons."
    )


Selection = Annotated[ListedPairs | AllPairs | RandomPairs | NearestPairs, Field(discriminator="select")]


class RenamedKeyWarning(FutureWarning):
    """A key that has a new name was given by its old one, which still works."""


def _allow_pack(schema: dict[str, Any]) -> None:
    """Let those who check parameters by the schema alone, such as Prefect's server, pass the old name too."""
    keys = schema["properties"]
    keys["pack"] = {**keys["batch_pairs"], "title": "Pack", "description": "Old name of batch_pairs."}


class Compute(_Frozen):
    """Where and how the work is done; changes no pixel."""

    model_config = ConfigDict(json_schema_extra=_allow_pack)

    engine: Literal["local", "ray", "work-pool"] = Field(
        "local",
        description="local: processes on this machine. ray: tasks on a Ray cluster. "
        "work-pool: flow runs of a Prefect deployment, on workers elsewhere.",
    )
    processes: StrictInt | None = Field(
        None,
        ge=1,
        le=256,
        description="Chunks that are rendered at once on a machine, or on a Ray cluster; "
        "by default one per GPU, or one per core.",
    )
    batch_pairs: Annotated[StrictInt, Field(ge=1, le=1024)] | Literal["auto"] = Field(
        "auto",
        validation_alias=AliasChoices("batch_pairs", "pack"),
        description="Pairs in one batch; auto: as many as make a GPU faster, one on a CPU.",
    )
    chunk_pairs: StrictInt | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Pairs in one task; by default enough for about a minute, fewer towards the end.",
    )
    ray_address: str | None = Field(
        None, pattern=_NO_CONTROLS, description="Of a Ray cluster, ray://host:10001; by default a Ray on this machine."
    )
    deployment: str = Field(
        "render-shard/gpu", pattern=_DEPLOYMENT, description="Deployment that renders the shards of work-pool."
    )
    workers: StrictInt = Field(4, ge=1, le=200, description="Shards of work-pool that are in flight at once.")
    shard_minutes: Number = Field(10, ge=1, le=600, description="Minutes that a shard of work-pool should take.")

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, given: Any) -> Any:
        if isinstance(given, dict) and "pack" in given:
            if "batch_pairs" in given:
                raise _model_mistake("pack", "the old name of batch_pairs, which is given too; remove it")
            warnings.warn(
                "compute.pack is called compute.batch_pairs now; rename it, the old name still works",
                RenamedKeyWarning,
                stacklevel=2,
            )
        return given

    @model_validator(mode="after")
    def _fits_the_engine(self) -> Compute:
        for engine, keys in (("ray", ("ray_address",)), ("work-pool", ("deployment", "workers", "shard_minutes"))):
            for key in keys:
                if getattr(self, key) != type(self).model_fields[key].default and self.engine != engine:
                    raise _model_mistake(key, f"no use for this key with engine {self.engine}; it belongs to {engine}")
        return self

    @property
    def renders_here(self) -> bool:
        """Whether this machine does the rendering."""
        return self.engine == "local" or (self.engine == "ray" and self.ray_address is None)


class Storage(_Frozen):
    """How an object store is spoken to; changes no pixel. Credentials are no part of a spec."""

    endpoint_url: str | None = Field(
        None, description="Address of an S3-compatible store; by default what boto3 is set up with, or else AWS."
    )
    region: str | None = Field(
        None, pattern=_NAME, description="Of the bucket; by default what boto3 is set up with, or else us-east-1."
    )
    retries: Literal["standard", "adaptive"] = Field(
        "standard", description="Every call is tried up to 10 times; adaptive also slows down for a busy store."
    )
    checksums: Literal["when_supported", "when_required"] = Field(
        "when_supported", description="when_required: for old stores that do not know the newer checksums."
    )

    @model_validator(mode="after")
    def _without_secrets(self) -> Storage:
        if self.endpoint_url is None:
            return self
        if "@" in self.endpoint_url:  # and never repeat it
            raise _model_mistake(
                "endpoint_url",
                "expected an address without user and password; "
                "give credentials by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE",
            )
        if not re.fullmatch(_ENDPOINT, self.endpoint_url):
            raise _model_mistake(
                "endpoint_url",
                f"expected an address such as https://store.example.org, got {_short(self.endpoint_url)}",
            )
        return self


@dataclass(frozen=True)
class ModelKind:
    """What a model's name stands for, and which other keys of `ModelSpec` it has a use for."""

    summary: str
    keys: tuple[str, ...] = ()

    @property
    def needs_file(self) -> bool:
        return "file" in self.keys


MODEL_KINDS: Mapping[str, ModelKind] = {
    "efficientnet-lite0": ModelKind("an ImageNet network whose weights come with Isthmus; the default"),
    "inception-v1": ModelKind("Lucid's InceptionV1, from its frozen graph in `file`", ("file", "sha256")),
    "frozen-graph": ModelKind(
        "any network in a frozen TensorFlow GraphDef, from `file`", ("file", "sha256", "input", "value_range")
    ),
    "keras:NAME": ModelKind("a network of keras.applications, such as keras:MobileNetV2", ("weights",)),
    "keras": ModelKind("any Keras model that was saved as a .keras `file`", ("file", "sha256", "value_range")),
    "saved-model": ModelKind("any TensorFlow SavedModel, from the directory `file`", ("file", "value_range")),
}
"""How a model's name may be written -> what it stands for."""


def model_kind(name: str) -> ModelKind | None:
    """What the name of a model stands for, if anything."""
    if name.startswith("keras:"):
        network = name.removeprefix("keras:")
        return MODEL_KINDS["keras:NAME"] if network.isidentifier() and network != "NAME" else None
    return MODEL_KINDS.get(name)


def is_remote(file: str) -> bool:
    """Whether a model's file is an address rather than a path."""
    return "://" in file


class ModelSpec(_Frozen):
    """An image model: its name, and where its weights come from unless the name says so."""

    name: str = Field("efficientnet-lite0", description="The image model; 'isthmus models' lists them.")
    file: str | None = Field(
        None, pattern=_NO_CONTROLS, description="The weights: a path, or an https:// or s3:// address."
    )
    sha256: Annotated[str, BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)] | None = (
        Field(None, pattern=_SHA256, description="Of the file; required for one that is downloaded.")
    )
    input: str | None = Field(None, pattern=_NO_CONTROLS, description="The graph's node that images go into.")
    value_range: tuple[FiniteNumber, FiniteNumber] | None = Field(
        None, description="What the network expects for black and for white; by default 0 and 1."
    )
    weights: Literal["imagenet", "none"] | None = Field(
        None, description="Of a keras:NAME: trained on ImageNet, the default, or random ones that are always the same."
    )

    @model_validator(mode="after")
    def _fits_the_name(self) -> ModelSpec:
        kind = model_kind(self.name)
        if kind is None:
            raise _model_mistake("name", f"expected one of {', '.join(MODEL_KINDS)}, got {_short(self.name)}")
        for key in ("file", "sha256", "input", "value_range", "weights"):
            if getattr(self, key) is not None and key not in kind.keys:
                known = ", ".join(("name", *kind.keys))
                raise _model_mistake(key, f"no use for this key with {self.name}; remove it (known: {known})")
        if kind.needs_file:
            self._check_file()
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            low, high = self.value_range
            raise _model_mistake("value_range", f"expected a number and a greater one, got {low:g} and {high:g}")
        return self

    def _check_file(self) -> None:
        if self.file is None:
            raise _model_mistake("file", f"missing; {self.name} needs it")
        if self.name == "keras" and not self.file.endswith(".keras"):
            raise _model_mistake("file", f"expected a file that ends in .keras, got {_short(self.file)}")
        if not is_remote(self.file):
            return
        if self.name == "saved-model":
            raise _model_mistake("file", f"expected a directory on this machine, got {_short(self.file)}")
        if not self.file.startswith(("https://", "s3://", "http://127.0.0.1:")):
            raise _model_mistake("file", f"expected a path, https:// or s3://, got {_short(self.file)}")
        if self.sha256 is None:
            raise _model_mistake("sha256", "missing; a file that is downloaded needs its sha256")


def _model_mistake(key: str, problem: str) -> PydanticCustomError:
    """A mistake in one key of a section, told in our own words."""
    return PydanticCustomError("model_mistake", "{key}: {problem}", {"key": key, "problem": problem})


def _name_alone(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class AtlasSpec(_Frozen):
    """An atlas: which pairs, of which model, rendered how, and where it goes."""

    name: str = Field(pattern=_NAME, description="Name of the atlas, and of its folder in the output.")
    output: str = Field(
        "atlases",
        pattern=_NO_CONTROLS,
        description="Directory that the atlas's folder goes into, or s3://bucket/prefix.",
    )
    model: Annotated[ModelSpec, BeforeValidator(_name_alone, json_schema_input_type=ModelSpec | str)] = Field(
        ModelSpec(), description="The image model: its name, or a mapping of name and where it is."
    )
    pairs: Selection
    strip: StripKind = Field(
        "pair",
        description="pair: every strip has ends of its own. walk: each neuron has one portrait, "
        "on which all its strips begin and end.",
    )
    render: RenderSettings = RenderSettings()
    compute: Compute = Compute()
    storage: Storage = Storage()

    @model_validator(mode="after")
    def _walkable(self) -> AtlasSpec:
        """With portraits at its ends a strip has something to optimise from three frames on, and shares as they do."""
        if self.strip == "pair":
            return self
        render = self.render
        if render.frames < 3:
            raise _model_mistake("render.frames", f"expected at least 3 with strip: walk, got {render.frames}")
        for key, default in (("sharing", True), ("key_frames", "symmetric")):
            given = getattr(render, key)
            if given != default:
                raise _model_mistake(
                    f"render.{key}", f"expected {_short(default)}, the default, with strip: walk, got {_short(given)}"
                )
        return self

    @property
    def uri(self) -> str:
        """The atlas's own place: output and name."""
        return f"{self.output.rstrip('/')}/{self.name}"

    def to_json(self) -> bytes:
        """As it is kept in the atlas; equal specs give equal bytes."""
        return self.model_dump_json(indent=1).encode()


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with two of its gaps closed.

    Aliases are refused, because with aliases of aliases a few bytes become as large as anybody likes. And it would let
    Python's own errors escape for values such as the 30th of February.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise ComposerError(None, None, "found an alias, which a spec may not have", mark)
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError):
            raise ConstructorError(None, None, f"cannot read {_short(node.value)}", node.start_mark) from None


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
        data = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1} column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
        raise SpecError(f"{path}{where}: expected YAML, {problem}") from None
    except RecursionError:
        raise SpecError(f"{path}: expected a spec, got YAML that is nested too deeply") from None
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


def parse_model(data: Any, where: str) -> ModelSpec:
    """Check a model alone, a name or a mapping; *where* is for messages.

    Raises:
        SpecError: as `read_spec`.
    """
    return _parse(ModelSpec, _name_alone(data), where)


_Model = TypeVar("_Model", bound=BaseModel)


def _parse(model: type[_Model], data: Any, where: str) -> _Model:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise SpecError(f"{where}: {_one_line(error, model)}") from None


_EXPECTED = {
    "bool_type": "true or false",
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
_EXPECTED_PATTERNS = {
    _NAME: "at most 100 letters, digits, '.', '_' and '-', a letter or digit first",
    _NO_CONTROLS: "text without control characters",
    _SHA256: "64 hex digits",
    _DEPLOYMENT: "the name of a flow and of its deployment, such as render-shard/gpu",
}
"""What pydantic calls an error, or the pattern that did not match -> what would be right."""


def _one_line(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing that is wrong, and how many more there are."""
    first, *more = dict.fromkeys(_message(found, model) for found in error.errors() if not _is_consequence(found))
    return first + (f" (and {len(more)} more)" if more else "")


def _is_consequence(found: ErrorDetails) -> bool:
    """Whether a list counts as too short only because some of its entries were refused."""
    return found["type"] == "too_short" and len(found["input"]) >= found["ctx"]["min_length"]


def _message(found: ErrorDetails, model: type[BaseModel]) -> str:
    """Field, what was expected and what came."""
    path, given, kind = list(found["loc"]), found["input"], found["type"]
    selection = ""
    if path[:1] == ["pairs"] and len(path) > 1:
        selection = str(path.pop(1))  # pydantic names the chosen selection there; people did not write it
    if path[:2] == ["pairs", "list"] and kind in ("missing", "too_long", "tuple_type") and len(path) > 2:
        return f"{_dotted(path[:3])}: expected two neurons, got {_short(given)}"
    field = _dotted(path)
    if kind == "model_mistake":
        return ".".join(filter(None, (field, found["msg"])))
    if path[:2] in (["compute", "batch_pairs"], ["compute", "pack"]):
        return f"compute.{path[1]}: expected auto or a whole number from 1 to 1024, got {_short(given)}"
    if path == ["model"]:
        return f"model: expected the name of a model or a mapping, got {_short(given)}"
    if path[:2] == ["model", "value_range"] and kind in ("missing", "tuple_type", "too_long"):
        return f"model.value_range: expected two numbers, got {_short(given)}"
    if kind == "extra_forbidden":
        known = _fields_at(model, path[:-1], selection)
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{field}: unknown key{hint} (known: {', '.join(known)})"
    if kind == "missing":
        return f"{field}: missing; this key is required"
    if kind.startswith("union_tag"):
        chosen = given.get("select") if isinstance(given, Mapping) else given
        return f"{field}.select: expected one of list, all, random, nearest, got {_short(chosen)}"
    if kind == "too_long":
        wanted = f"at most {found['ctx']['max_length']} entries"
    elif kind == "model_type" and not field:
        wanted = "a mapping with name and pairs"
    elif kind == "string_pattern_mismatch":
        wanted = _EXPECTED_PATTERNS.get(found["ctx"]["pattern"], found["msg"])
    else:
        wanted = _EXPECTED.get(kind, found["msg"].removeprefix("Input should be "))
    return f"{field + ': ' if field else ''}expected {wanted}, got {_short(given)}"


def _dotted(path: list[str | int]) -> str:
    parts = (str(part) for part in path)
    return ".".join(part if part.isprintable() and 0 < len(part) <= _LONGEST else _short(part) for part in parts)


def _short(value: Any) -> str:
    """What came, in one line of bearable length, however large or deep it is."""
    if value is None:
        return "nothing"
    shorten = reprlib.Repr()
    shorten.maxlevel, shorten.maxstring, shorten.maxlong, shorten.maxother = 3, _LONGEST, _LONGEST, _LONGEST
    try:
        text = shorten.repr(value)
    except ValueError:  # Python does not write out whole numbers of thousands of digits
        return "a number of very many digits"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _fields_at(model: type[BaseModel], path: list[str | int], selection: str) -> list[str]:
    """The keys that are known in one section of what *model* reads."""
    selections = {"list": ListedPairs, "all": AllPairs, "random": RandomPairs, "nearest": NearestPairs}
    for part in path:
        inner: Any = selections[selection] if part == "pairs" else model.model_fields[str(part)].annotation
        model = inner
    return list(model.model_fields)
