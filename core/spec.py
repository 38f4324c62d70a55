"""The spec of an atlas, as immutable models that are filled from YAML or from a form.

The models are also the parameters of the Prefect flow, whose form shows their descriptions and limits. Every setting
that changes a pixel is in `RenderSettings` and therefore part of every key. `core.spec_file` reads specs and reports
their mistakes; `core.models` has what only one kind of model needs.
"""

from __future__ import annotations

import math
import re
import warnings
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StrictBool,
    StrictInt,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from core.errors import short
from core.fields import (
    DEPLOYMENT,
    ENDPOINT,
    NAME,
    NO_CONTROLS,
    SHA256,
    SITE,
    FiniteNumber,
    Frozen,
    Number,
    PublicAddress,
    key_mistake,
)

Precision = Literal["float32", "tf32", "bfloat16"]
StripKind = Literal["pair", "walk"]
"""The two kinds of strip: `pair` has ends of its own, `walk` begins and ends on the portraits of its neurons."""


Schedule = Literal["plain", "fast"]


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default")


RELATIVE_WEIGHT, LUCID_WEIGHT = 0.3, 0.1
"""Default weights of alignment in the two scales."""


class Alignment(Frozen):
    """Alignment: the part of the objective that keeps landmarks in place from frame to frame."""

    scale: Literal["relative", "lucid"] = Field(
        "relative",
        description="Unit of the differences between frames. relative: each layer's own variation, and the weight "
        "counts against the activation that the strip's neurons gain. lucid: the activations as they are.",
    )

    layers: tuple[str, ...] | None = Field(
        None, description="Layers whose activations are kept similar; by default those that suit the model."
    )
    weight: Number = Field(
        RELATIVE_WEIGHT,
        ge=0,
        le=1e6,
        description="Weight of alignment in the objective, which is maximised; 0: no alignment. By default "
        f"{RELATIVE_WEIGHT}, or {LUCID_WEIGHT} with scale: lucid.",
        json_schema_extra=_without_default,  # a form would send it, whatever the scale
    )
    decay: Number = Field(
        5.0, gt=0, le=1e6, description="Two frames that are d places apart are compared with weight 1 / decay^d."
    )

    @model_validator(mode="before")
    @classmethod
    def _weight_of_the_scale(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("scale") == "lucid":
            return {"weight": LUCID_WEIGHT, **given}
        return given


class ObjectiveSpec(Frozen):
    """How activations count in the objective."""

    cosine_power: Number = Field(
        0,
        ge=0,
        le=16,
        description="Power p of the reward for purity: at each position, the activation counts by max(0.1, cosine)^p, "
        "with the cosine of the angle between the activations of all channels and the mix of the strip's neurons. "
        "0: only the activation counts.",
    )


PLAIN_STEPS, FAST_STEPS = 256, 64
"""Default numbers of updates of the plain and of the fast schedule."""
PLAIN_SD, FAST_SD = 0.01, 0.03
"""Default standard deviations of the start values of the plain and of the fast schedule."""
_BETWEEN = 5 / 8
"""Updates of the frames between two ends, as a share of those of the ends, with the fast schedule: these frames start
from the mix of the ends."""


class RenderSettings(Frozen):
    """The settings that change pixels."""

    frames: StrictInt = Field(6, ge=2, le=64, description="Frames in a strip, the two ends included.")
    size_px: StrictInt = Field(128, ge=32, le=1024, description="Height and width of a frame.")
    schedule: Schedule = Field(
        "fast",
        description="fast: first the two ends of a strip, then the frames between them, in a fifth of the work. "
        "plain: Lucid's schedule, all frames at once.",
    )
    steps: StrictInt = Field(
        FAST_STEPS,
        ge=1,
        le=100_000,
        description=f"Number of updates of the images; by default {FAST_STEPS}, or {PLAIN_STEPS} with schedule: plain. "
        "With schedule: fast the frames between the ends get five eighths of them.",
        json_schema_extra=_without_default,  # a form would send it, whatever the schedule
    )
    checkpoints: tuple[Annotated[StrictInt, Field(ge=1)], ...] = Field(
        (), max_length=16, description="Numbers of updates, below steps, after which the strip is stored too."
    )
    seed: StrictInt = Field(
        0, ge=0, lt=2**32, description="Seed of the start values and random views; another seed gives other pictures."
    )
    learning_rate: Number = Field(0.05, gt=0, le=10, description="Learning rate of the Adam optimizer.")
    sd: Number = Field(
        FAST_SD,
        gt=0,
        le=10,
        description="Standard deviation of the random numbers that an image starts from; by default "
        f"{FAST_SD}, or {PLAIN_SD} with schedule: plain.",
        json_schema_extra=_without_default,
    )
    mix: Literal["balanced", "lucid"] = Field(
        "balanced",
        description="balanced: each neuron counts by what it can reach, and the frames move until they are equally far "
        "apart in the alignment layers. lucid: activations as they are, shares in equal steps.",
    )
    sharing: StrictBool = Field(
        True, description="Share low-resolution parts between frames; false: independent frames."
    )
    key_frames: Literal["symmetric", "lucid"] = Field(
        "symmetric",
        description="Positions of the two key frames, low-resolution images between which the frames interpolate. "
        "symmetric: the ends of the strip. lucid: the positions that Lucid uses.",
    )
    transforms: Literal["standard", "none"] = Field(
        "standard",
        description="standard: in every update the network sees the image shifted, scaled and rotated at random. "
        "none: it sees the image as it is.",
    )
    redirected_updates: StrictInt = Field(
        16,
        ge=0,
        le=1000,
        description="Number of first updates with redirected gradients: if all units of a ReLU layer are inactive "
        "for an image, the gradient passes through the ReLU, so that the optimisation can start.",
    )
    alignment: Alignment = Alignment()
    objective: ObjectiveSpec = ObjectiveSpec()
    precision: Precision = Field(
        "float32",
        description="Precision of the network's arithmetic: tf32 for GPUs that have it, bfloat16 for models that "
        "support it. Image, objective and optimizer are always float32.",
    )
    xla: StrictBool = Field(
        False, description="Compile the network with XLA on a GPU; without a GPU this has no effect."
    )

    @model_validator(mode="before")
    @classmethod
    def _steps_of_the_schedule(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("schedule") == "plain":
            return {"steps": PLAIN_STEPS, "sd": PLAIN_SD, **given}
        return given

    @model_serializer(mode="wrap")
    def _as_before(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return the settings as data, without the objective if it is the default.

        Settings from before this key then have equal data, and so equal keys and digests.
        """
        data: dict[str, Any] = serialize(self)
        if self.objective == ObjectiveSpec():
            data.pop("objective", None)
        return data

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

    @property
    def ends_first(self) -> bool:
        """True if the two ends of a strip are finished before the frames between them begin."""
        return self.schedule == "fast" and self.frames > 2

    @property
    def steps_between(self) -> int:
        """Number of updates of the frames between two ends that are given: portraits, or finished ends."""
        return self.steps if self.schedule == "plain" else math.ceil(_BETWEEN * self.steps)

    def updates(self, strip: StripKind) -> int:
        """Return the number of updates of a strip, in all its stages."""
        if strip == "walk":
            return self.steps_between
        return self.steps + self.steps_between if self.ends_first else self.steps

    def frame_updates(self, strip: StripKind) -> int:
        """Return the work of a strip: the sum over all updates of the frames that they change."""
        inner = (self.frames - 2) * self.steps_between
        if strip == "walk":
            return inner
        return 2 * self.steps + inner if self.ends_first else self.frames * self.steps

    def checkpoint_updates(self, strip: StripKind) -> dict[int, int]:
        """Return checkpoint -> number of updates of a strip, which is the same share of them all."""
        return {checkpoint: max(1, checkpoint * self.updates(strip) // self.steps) for checkpoint in self.checkpoints}


class ListedPairs(Frozen):
    """Pairs that are listed one by one."""

    model_config = ConfigDict(title="list")

    select: Literal["list"] = Field(description="Always list for this choice.")
    list: tuple[tuple[str, str], ...] = Field(min_length=1, description="Pairs of neurons, each layer:channel.")


class AllPairs(Frozen):
    """Every pair among the neurons."""

    model_config = ConfigDict(title="all")

    select: Literal["all"] = Field(description="Always all for this choice.")
    neurons: tuple[str, ...] = Field(min_length=1, description="Neurons layer:channel and ranges layer:first-last.")


class RandomPairs(Frozen):
    """Random pairs among the neurons, drawn without repetition."""

    model_config = ConfigDict(title="random")

    select: Literal["random"] = Field(description="Always random for this choice.")
    neurons: tuple[str, ...] = Field(min_length=1, description="Neurons layer:channel and ranges layer:first-last.")
    n: StrictInt = Field(ge=1, le=10_000_000, description="Number of pairs.")
    seed: StrictInt = Field(0, ge=0, lt=2**32, description="Another seed draws other pairs.")


class NearestPairs(Frozen):
    """Pairs of each neuron and its nearest neurons of the same layer, by their weights or their activations."""

    model_config = ConfigDict(title="nearest")

    select: Literal["nearest"] = Field(description="Always nearest for this choice.")
    neurons: tuple[str, ...] = Field(min_length=1, description="Neurons layer:channel and ranges layer:first-last.")
    k: StrictInt = Field(4, ge=1, le=1000, description="Number of neighbours of each neuron.")
    connect: StrictBool = Field(
        False, description="Add the nearest pairs that are needed for a route between any two of the neurons."
    )
    by: Literal["weights", "activations"] = Field(
        "weights",
        description="weights: neurons are near if the weights that feed them have a large cosine. activations: if "
        "their activations on the photographs of images correlate; run isthmus images first.",
    )


Selection = Annotated[
    ListedPairs | AllPairs | RandomPairs | NearestPairs,
    Field(discriminator="select", description="The pairs of the atlas: a list of them, or how they are selected."),
]


class LandSpec(Frozen):
    """A land: one picture of the neurons of a layer, each at a place of its own among neurons that are like it."""

    neurons: tuple[str, ...] = Field(
        min_length=1, description="Neurons layer:channel and ranges layer:first-last, all of one layer."
    )
    cell_px: StrictInt = Field(
        128, ge=32, le=512, multiple_of=8, description="Height and width of a neuron's place in the picture."
    )
    steps: StrictInt | None = Field(
        None, ge=1, le=100_000, description="Number of updates of the picture; by default that of render.steps."
    )
    arrange: Literal["weights", "activations", "given"] = Field(
        "weights",
        description="weights: neurons with like weights that feed them are neighbours. activations: neurons whose "
        "activations on photographs correlate; run isthmus images first. given: the order of the spec, row by row.",
    )
    columns: StrictInt | None = Field(
        None, ge=1, le=1000, description="Places in a row; by default the picture is about as wide as high."
    )


class ImagesSpec(Frozen):
    """Photographs that are compared with the strips: what excites each neuron of the atlas most among them."""

    source: PublicAddress = Field(
        description="Folder with photographs, s3://bucket/prefix, or a tar file: a path, or an https:// or s3:// "
        "address that ends in .tar."
    )
    limit: StrictInt | None = Field(
        None,
        ge=1,
        le=10_000_000,
        description="Number of photographs, drawn at random but always the same; by default all of the source.",
    )
    labels: Literal["folders"] | None = Field(
        None, description="folders: the first folder of a photograph's path is its class. By default none has a class."
    )
    publish: StrictBool = Field(
        True,
        description="Show small pictures of the photographs, at most 96 px, in the gallery; false: numbers alone.",
    )


_SHARD_DEPLOYMENT = "render-shard/gpu"
_SHARDS_IN_FLIGHT = 4
_SHARD_MINUTES = 10
_PUBLISH_MINUTES = 10


class RenamedKeyWarning(FutureWarning):
    """A key was given by its old name, which still works."""


def _allow_pack(schema: dict[str, Any]) -> None:
    """Add the old name to the schema: Prefect's server checks parameters by the schema alone."""
    keys = schema["properties"]
    old = {"title": "Pack", "description": "Old name of batch_pairs.", "deprecated": True}
    # Without a default, because a form that fills defaults in would give both names.
    keys["pack"] = {key: value for key, value in keys["batch_pairs"].items() if key != "default"} | old


class Compute(Frozen):
    """Settings for where and how a build computes; they change no pixel."""

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
        description="Number of chunks that are rendered at once, on a machine or on a Ray cluster; "
        "by default one per GPU, or one per core.",
    )
    batch_pairs: Annotated[StrictInt, Field(ge=1, le=1024)] | Literal["auto"] = Field(
        "auto",
        validation_alias=AliasChoices("batch_pairs", "pack"),
        description="Pairs in one batch (one forward pass). auto: the number that keeps a GPU busy, or 1 on a CPU.",
    )
    chunk_pairs: StrictInt | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Number of pairs in one task; by default enough for about a minute, fewer near the end.",
    )
    ray_address: PublicAddress | None = Field(
        None,
        description="Address of a Ray cluster, ray://host:10001; by default Ray is started on this machine.",
    )
    deployment: str | None = Field(
        None,
        pattern=DEPLOYMENT,
        description=f"Deployment that renders the shards of work-pool; by default {_SHARD_DEPLOYMENT}.",
    )
    workers: StrictInt | None = Field(
        None, ge=1, le=200, description=f"Shards of work-pool in flight at once; by default {_SHARDS_IN_FLIGHT}."
    )
    shard_minutes: Number | None = Field(
        None,
        ge=1,
        le=600,
        description=f"Minutes that a shard of work-pool should take; by default {_SHARD_MINUTES}.",
    )

    publish_minutes: Number | None = Field(
        None,
        ge=0.01,
        le=1440,
        description="Minutes between two publications of an atlas that is being built; "
        f"by default {_PUBLISH_MINUTES}. Publishing takes at most a twentieth of the time.",
    )
    stop_after_failures: Number | None = Field(
        None,
        ge=0.0001,
        le=1_000_000,
        description="Number of failed pairs after which a build ends early; below 1, their share of the missing pairs.",
    )

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, given: Any) -> Any:
        if isinstance(given, dict) and "pack" in given:
            if "batch_pairs" in given:
                raise key_mistake("pack", "the old name of batch_pairs, which is given too; remove it")
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
                if getattr(self, key) is not None and self.engine != engine:
                    raise key_mistake(key, f"no use for this key with engine {self.engine}; it belongs to {engine}")
        return self

    @property
    def renders_here(self) -> bool:
        """True if the chunks are rendered on this machine."""
        return self.engine == "local" or (self.engine == "ray" and self.ray_address is None)

    @property
    def publish_seconds(self) -> float:
        """The time between two publications of an atlas that is being built."""
        return 60 * (self.publish_minutes or _PUBLISH_MINUTES)

    @property
    def shard_deployment(self) -> str:
        """The deployment that renders the shards of work-pool."""
        return self.deployment or _SHARD_DEPLOYMENT

    @property
    def shards_in_flight(self) -> int:
        """The number of shards of work-pool in flight at once."""
        return self.workers or _SHARDS_IN_FLIGHT

    @property
    def shard_seconds(self) -> float:
        """The time that a shard of work-pool should take."""
        return 60 * (self.shard_minutes or _SHARD_MINUTES)


class Storage(Frozen):
    """Settings of an object store; they change no pixel. Credentials are not part of a spec."""

    endpoint_url: Annotated[str, WithJsonSchema({"type": "string", "pattern": f"^{ENDPOINT}$"})] | None = Field(
        None, description="Address of an S3-compatible store; by default the one that boto3 is configured with, or AWS."
    )
    region: str | None = Field(
        None,
        pattern=NAME,
        description="Region of the bucket; by default the one that boto3 is configured with, or us-east-1.",
    )
    retries: Literal["standard", "adaptive"] = Field(
        "standard",
        description="standard: up to 10 tries of every request. adaptive: also slower while the store is busy.",
    )
    checksums: Literal["when_supported", "when_required"] | None = Field(
        None,
        description="when_required: for stores that do not support the newer checksums. "
        "By default what boto3 is configured with, or when_supported.",
    )

    @model_validator(mode="after")
    def _without_secrets(self) -> Storage:
        if self.endpoint_url is None:
            return self
        if "@" in self.endpoint_url:  # the message does not repeat the address, which may have a password
            raise key_mistake(
                "endpoint_url",
                "expected an address without user and password; "
                "give credentials by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE",
            )
        if not re.fullmatch(ENDPOINT, self.endpoint_url):
            problem = f"expected an address such as https://store.example.org, got {short(self.endpoint_url)}"
            raise key_mistake("endpoint_url", problem)
        return self


Sha256 = Annotated[
    str,
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
    Field(pattern=SHA256),
    WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}),
]


ByChannel = Annotated[tuple[FiniteNumber, ...], Field(min_length=1, max_length=3)]
"""A number for each channel in the network's order, or one for all."""
PREPROCESS: dict[str, dict[str, Any]] = {
    "imagenet": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "clip": {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)},
    "inception": {"mean": (0.5,), "std": (0.5,)},
    "caffe": {"mean": (103.939 / 255, 116.779 / 255, 123.68 / 255), "std": (1 / 255,), "channels": "bgr"},
}
"""Names of the preprocessing that most networks were trained with. That of Caffe has values up to 255."""


class Preprocess(Frozen):
    """Preprocessing of the values of images that a network expects: (value - mean) / std, by channel."""

    mean: ByChannel = Field((0.0,), description="Mean of each channel in the network's order, or one for all.")
    std: ByChannel = Field((1.0,), description="Standard deviation of each channel, or one for all.")
    channels: Literal["rgb", "bgr", "grey"] = Field(
        "rgb", description="Order of the network's channels; grey: all have the luminance."
    )

    @model_validator(mode="after")
    def _usable(self) -> Preprocess:
        for key, values in (("mean", self.mean), ("std", self.std)):
            if len(values) == 2:
                raise key_mistake(key, f"expected one number or three, got {list(values)}")
        if min(self.std) <= 0:
            raise key_mistake("std", f"expected numbers greater than 0, got {list(self.std)}")
        return self


def named_preprocess(value: Any) -> Any:
    """Return the mapping for preprocessing that is given by its name; return other values unchanged."""
    return PREPROCESS.get(value, value) if isinstance(value, str) else value


class TokensSpec(Frozen):
    """Facts about layers of tokens, as transformers have them, that a graph does not show."""

    skip: StrictInt = Field(
        ge=0, le=1024, description="Number of tokens before those of patches, such as class tokens."
    )


class DerivedSpec(Frozen):
    """A derived layer: each of its channels is a direction in the space of another layer's channels."""

    of: str = Field(pattern=NO_CONTROLS, description="Layer of the network that the directions are of.")
    file: PublicAddress = Field(
        description="File with the directions as rows of a matrix, .npy, .npz or .safetensors: a path, or an https:// "
        "or s3:// address."
    )
    sha256: Sha256 | None = Field(None, description="sha256 of the file; required for a file that is downloaded.")
    names: str | None = Field(
        None, pattern=NO_CONTROLS, description="Name of the array with the directions, if the file has several."
    )
    bias: str | None = Field(
        None, pattern=NO_CONTROLS, description="Name of the array with a number for each direction, which is added."
    )
    transposed: StrictBool = Field(False, description="Take the columns of the matrix as directions, not its rows.")
    unit: StrictBool = Field(False, description="Divide each direction, and its bias, by the length of the direction.")


DerivedName = Annotated[str, Field(pattern=NAME)]


class DerivedLayers(dict[str, DerivedSpec]):
    """Name -> derived layer; it has a hash, because nothing changes it."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


class ModelSpec(Frozen):
    """An image model: its name, the keys that its kind needs beside the name, and layers derived from its own."""

    # The checks here hold for every kind; `core.models.models.check_spec` makes the others.

    name: str = Field("efficientnet-lite0", description="Name of the model; 'isthmus models' lists the kinds.")
    file: PublicAddress | None = Field(
        None, description="File with the weights: a path, or an https:// or s3:// address."
    )
    sha256: Sha256 | None = Field(None, description="sha256 of the file; required for a file that is downloaded.")
    input: str | None = Field(None, pattern=NO_CONTROLS, description="Node of a graph that images go into.")
    value_range: tuple[FiniteNumber, FiniteNumber] | None = Field(
        None, description="Values that the network expects for black and for white; by default 0 and 1."
    )
    preprocess: Annotated[Preprocess | None, BeforeValidator(named_preprocess)] = Field(
        None, description="What the network expects to be done to images, after value_range: mean, std and channels."
    )
    tokens: TokensSpec | None = Field(
        None, description="Which tokens of a transformer are patches, if the network's graph does not show it."
    )
    weights: Literal["imagenet", "none"] | None = Field(
        None, description="Weights of keras:NAME. imagenet: trained on ImageNet. none: random, but always the same."
    )
    derived: (
        Annotated[dict[DerivedName, DerivedSpec], AfterValidator(lambda given: DerivedLayers(given) or None)] | None
    ) = Field(
        None,
        description="Layers whose channels are directions in the space of another layer's channels, by their names.",
    )

    @model_validator(mode="after")
    def _ascending_range(self) -> ModelSpec:
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            low, high = self.value_range
            raise key_mistake("value_range", f"expected a number and a greater one, got {low:g} and {high:g}")
        return self

    @property
    def skipped_tokens(self) -> int | None:
        """Number of tokens before those of patches, if it is given."""
        return None if self.tokens is None else self.tokens.skip


def _one_choice(schema: dict[str, Any]) -> None:
    """Let a form offer the selections and nothing side by side; it cannot show a choice within a choice."""
    selections, nothing = schema.pop("anyOf")
    schema["anyOf"] = [*selections["oneOf"], {**nothing, "title": "none"}]
    schema.pop("default")


def named_model(value: Any) -> Any:
    """Return the mapping for a model that is given by its name alone; return other values unchanged."""
    return {"name": value} if isinstance(value, str) else value


class AtlasSpec(Frozen):
    """The spec of an atlas: its pairs, their model, the settings for rendering, and the address of the result."""

    name: str = Field(pattern=NAME, description="Name of the atlas, and of its folder in the output.")
    output: PublicAddress = Field("atlases", description="Directory for the atlas's folder, or s3://bucket/prefix.")
    model: Annotated[ModelSpec, BeforeValidator(named_model, json_schema_input_type=ModelSpec | str)] = Field(
        ModelSpec(), title="Model", description="The image model: its name, or a mapping of its name and other keys."
    )
    pairs: Selection | None = Field(
        None,
        description="The pairs of the atlas: a list of them, or how they are selected; none: only a land.",
        json_schema_extra=_one_choice,
    )
    land: LandSpec | None = Field(None, description="One picture of all neurons of a layer; without it there is none.")
    images: ImagesSpec | None = Field(
        None, description="Photographs that are compared with the strips; without them there is no comparison."
    )
    strip: StripKind = Field(
        "pair",
        description="pair: every strip has ends of its own. walk: each neuron has one portrait, a single image "
        "with which all its strips begin or end.",
    )
    render: RenderSettings = RenderSettings()
    compute: Compute = Compute()
    storage: Storage = Storage()
    labels: str | None = Field(
        None, pattern=NO_CONTROLS, description="CSV file with names for neurons, in the columns neuron and label."
    )
    site: str | None = Field(
        None, pattern=SITE, description="Address of the gallery on the web; link previews need it for their picture."
    )

    @model_validator(mode="after")
    def _not_empty(self) -> AtlasSpec:
        if self.pairs is None and self.land is None:
            raise key_mistake("pairs", "missing; this key is required, unless there is land")
        return self

    @model_validator(mode="after")
    def _land_without_cosine(self) -> AtlasSpec:
        power = self.render.objective.cosine_power
        if self.land is not None and power > 0:
            raise key_mistake(
                "render.objective.cosine_power",
                f"expected 0, the default, with land, got {power:g}; give the land an atlas of its own",
            )
        return self

    @model_validator(mode="after")
    def _walkable(self) -> AtlasSpec:
        """Refuse fewer than 3 frames, which leave nothing to optimise between portraits, and other ways of sharing."""
        if self.strip == "pair":
            return self
        render = self.render
        if render.frames < 3:
            raise key_mistake("render.frames", f"expected at least 3 with strip: walk, got {render.frames}")
        for key, default in (("sharing", True), ("key_frames", "symmetric")):
            given = getattr(render, key)
            if given != default:
                raise key_mistake(
                    f"render.{key}", f"expected {short(default)}, the default, with strip: walk, got {short(given)}"
                )
        return self

    @property
    def uri(self) -> str:
        """Address of the atlas: output and name."""
        return f"{self.output.rstrip('/')}/{self.name}"

    def to_json(self) -> bytes:
        """Return the JSON that is stored in the atlas; equal specs give equal bytes."""
        return self.model_dump_json(indent=1).encode()
