"""Records: the facts about finished pairs, one JSON object in each line.

A chunk writes its records last and only once (`records/<chunk>.ndjson`), so a pair is finished exactly when it has a
record. Everything that is published is computed from records. The portraits of a walkable atlas have their own records,
in `portraits/records/`, with the same rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.atlas.keys import canonical_json
from core.errors import RecordError, first_mistake
from core.spec import StripKind

Key = Annotated[str, Field(pattern="^[0-9a-f]{20}$")]
"""The key of a sheet or portrait. Every key that is read is checked, because keys are parts of paths."""


class Line(BaseModel):
    """The base of everything that is written as one line of a file of records."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_line(self) -> str:
        """Return the line, without its end."""
        return canonical_json(self.model_dump())


class Picture(BaseModel):
    """A stored strip: its lossless sheet and its preview."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    sheet_sha256: str
    sheet_bytes: int
    preview_sha256: str
    preview_bytes: int


class Checkpoint(BaseModel):
    """The strip after `step` updates.

    `objective` is the value of the objective before the last of these updates, on the transformed frames. Between
    portraits it is the mean of the values in the last two updates, because each of these covers one end. `picture` is
    None for the finished strip, whose picture the record itself describes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    step: int
    objective: float
    picture: Picture | None = None


class Record(Line):
    """One finished pair.

    `activation_a[i]` and `activation_b[i]` are the mean activation of each neuron on the finished, untransformed frame
    i: the trade-off curve. `neighbour_distance[i]` is the mean squared difference of frames i and i + 1, values in
    [0, 1]; `layer_distance` has the same for the activations in each alignment layer. `history` is the objective's
    history: means over equal numbers of updates. A failed pair has a `reason`, no sheet, and empty lists. `portraits`
    has the keys of the portraits that a `walk` strip begins and ends on. `directions` has the digests of the directions
    of a and of b, if their layers are derived: another row of numbers has another digest.

    The other measurements are None in failed pairs and in records of older versions:

    - `reach_a`, `reach_b`: the largest mean activation that the neuron has on a frame of the strip.
    - `noise_a`, `noise_b`: the largest mean activation that the neuron has on images of noise. A neuron whose reach is
      not above it is dead, see `dead_a`.
    - `kept_a`, `kept_b`: the share of the reach that the neuron keeps at its own end, activation at the end / reach.
      The end of a is the first frame, the end of b is the last. None if the neuron is dead or the reach is not
      positive.
    - `crossing`: the place along the strip where both neurons are equally excited, each in units of its own range, from
      0 (first frame) to 1 (last frame). With activations a[i] and b[i] on frame i,
      s_a[i] = (a[i] - a[last]) / (a[first] - a[last]) falls from 1 to 0, and
      s_b[i] = (b[i] - b[first]) / (b[last] - b[first]) rises from 0 to 1. The crossing is the middle between the
      first and the last place where they are equal, linear between frames, divided by (frames - 1). None if a neuron is
      dead or a range, which is a denominator, is not positive.
    - `pace`: the largest step divided by the smallest, 1 or more; 1 is perfectly even. A step is the mean squared
      difference of neighbouring frames' activations in an alignment layer, divided by the variation of that layer and
      averaged over the alignment layers. The variation is the mean over frames and channels of the variance over
      positions. None without alignment layers or with only one step.
    """

    key: Key
    a: str
    b: str
    status: Literal["done", "failed"]
    reason: str | None = None
    strip: StripKind = "pair"
    portraits: tuple[Key, Key] | None = None
    directions: tuple[Key | None, Key | None] | None = None
    method: int
    model: str
    model_digest: str
    settings: dict[str, Any]
    settings_digest: str
    seed: int
    frames: int
    size_px: int
    checkpoints: list[Checkpoint] = []
    activation_a: list[float] = []
    activation_b: list[float] = []
    neighbour_distance: list[float] = []
    layer_distance: dict[str, list[float]] = {}
    history: list[float] = []
    reach_a: float | None = None
    reach_b: float | None = None
    noise_a: float | None = None
    noise_b: float | None = None
    kept_a: float | None = None
    kept_b: float | None = None
    crossing: float | None = None
    pace: float | None = None
    sheet_sha256: str | None = None
    sheet_bytes: int | None = None
    preview_sha256: str | None = None
    preview_bytes: int | None = None
    seconds: float
    device: str
    versions: dict[str, str]

    @property
    def subject(self) -> str:
        """The pair that the record describes, for messages."""
        return f"{self.a} - {self.b}"

    @property
    def dead_a(self) -> bool:
        """Whether nothing that was rendered excites neuron a more than noise does; False if that is unknown."""
        return _is_dead(self.reach_a, self.noise_a)

    @property
    def dead_b(self) -> bool:
        """The same for neuron b."""
        return _is_dead(self.reach_b, self.noise_b)

    @property
    def picture(self) -> Picture | None:
        """The finished strip's picture; None if the pair failed."""
        if self.sheet_sha256 is None or self.sheet_bytes is None:
            return None
        if self.preview_sha256 is None or self.preview_bytes is None:
            return None
        return Picture(
            sheet_sha256=self.sheet_sha256,
            sheet_bytes=self.sheet_bytes,
            preview_sha256=self.preview_sha256,
            preview_bytes=self.preview_bytes,
        )


def _is_dead(reach: float | None, noise: float | None) -> bool:
    return reach is not None and noise is not None and reach <= noise


class PortraitFiles(BaseModel):
    """The stored files of a portrait: its colours before the squashing that makes pixels, and its picture."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    colours_sha256: str
    colours_bytes: int
    picture_sha256: str
    picture_bytes: int


class PortraitRecord(Line):
    """One finished portrait, or the canvas that portraits have in common.

    A portrait has its `neuron`, the key of its `canvas`, the `activation` of the neuron on its picture, and the digest
    of the neuron's `direction` if its layer is derived. A canvas has none of these, but the neurons of the `sample`
    that it was optimised for. `history` is the objective's history: means over equal numbers of updates. A failed
    portrait or canvas has a `reason` and no `files`. `settings` has the settings that a portrait depends on, and
    defaults for the rest.
    """

    key: Key
    neuron: str | None = None
    direction: Key | None = None
    canvas: Key | None = None
    sample: list[str] = []
    status: Literal["done", "failed"]
    reason: str | None = None
    method: int
    model: str
    model_digest: str
    settings: dict[str, Any]
    settings_digest: str
    files: PortraitFiles | None = None
    activation: float | None = None
    history: list[float] = []
    seconds: float
    device: str
    versions: dict[str, str]

    @property
    def subject(self) -> str:
        """The neuron or canvas that the record describes, for messages."""
        return self.neuron or "canvas"


class NeuronAtPlace(BaseModel):
    """A neuron of a land: the row and column of its place, its activation there, and on noise.

    `activation` is the mean over the positions of the layer that lie in the middle half of the place, in height and in
    width. `noise` is the largest mean activation on images of noise; a neuron whose activation is not above it is dead.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    neuron: str
    row: int
    column: int
    activation: float
    noise: float


class BlockRecord(Line):
    """One finished block of a land, at a row and a column among its blocks.

    `land` is the digest of the land. `neurons` are those of the block's own places. `history` is the objective's
    history: means over equal numbers of updates. A failed block has a `reason`, and neither neurons nor a picture.
    """

    key: Key
    land: Key
    row: int
    column: int
    status: Literal["done", "failed"]
    reason: str | None = None
    method: int
    model: str
    model_digest: str
    settings: dict[str, Any]
    settings_digest: str
    neurons: list[NeuronAtPlace] = []
    picture_sha256: str | None = None
    picture_bytes: int | None = None
    history: list[float] = []
    seconds: float
    device: str
    versions: dict[str, str]

    @property
    def subject(self) -> str:
        """The block that the record describes, for messages."""
        return f"block {self.row}, {self.column} of the land"


AnyRecord = Record | PortraitRecord | BlockRecord


def to_ndjson(records: Iterable[Line]) -> bytes:
    return "".join(record.to_line() + "\n" for record in records).encode()


def from_ndjson(data: bytes, path: str) -> Iterator[Record]:
    """Yield the records of a file; `path` is for messages only.

    Raises:
        RecordError: if a line is not a record; the message names file, line and field.
    """
    return lines(Record, data, path, "pairs")


def lines_of_pairs(data: bytes, path: str) -> Iterator[tuple[bytes, Record]]:
    """Yield each line of a file without its end, and its record; the rest is the same as in `from_ndjson`."""
    return zip(data.splitlines(), from_ndjson(data, path), strict=True)


def portraits_from_ndjson(data: bytes, path: str) -> Iterator[PortraitRecord]:
    """Yield the records of portraits in a file; the rest is the same as in `from_ndjson`."""
    return lines(PortraitRecord, data, path, "portraits")


def blocks_from_ndjson(data: bytes, path: str) -> Iterator[BlockRecord]:
    """Yield the records of blocks of lands in a file; the rest is the same as in `from_ndjson`."""
    return lines(BlockRecord, data, path, "block")


_AnyLine = TypeVar("_AnyLine", bound=Line)


def lines(kind: type[_AnyLine], data: bytes, path: str, subjects: str) -> Iterator[_AnyLine]:
    """Yield the lines of a file as records of a kind; see `from_ndjson`.

    Args:
        subjects: what the records are about, for messages.
    """
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            yield kind.model_validate_json(line)
        except ValidationError as error:
            mistake = first_mistake(error, "the whole line")
            raise RecordError(
                f"{path} line {number}: expected a record, but {mistake}; "
                f"move the file away and build again to render its {subjects} again"
            ) from None


RECORDS = "records/"
PORTRAIT_RECORDS = "portraits/records/"
BLOCK_RECORDS = "land/records/"
IMAGE_RECORDS = "images/records/"


def records_path(chunk: str) -> str:
    """Return the path of a chunk's records; portraits and canvases, blocks, and images have other folders."""
    folder = RECORDS
    if chunk.startswith(("portraits-", "canvas-")):
        folder = PORTRAIT_RECORDS
    elif chunk.startswith("block-"):
        folder = BLOCK_RECORDS
    elif chunk.startswith("images-"):
        folder = IMAGE_RECORDS
    return f"{folder}{chunk}.ndjson"


def portrait_path(key: str) -> str:
    """Return the path of the picture of a portrait or canvas."""
    return f"portraits/{key[:2]}/{key}.png"


def colours_path(key: str) -> str:
    """Return the path of the colours, before squashing, of a portrait or canvas."""
    return f"portraits/{key[:2]}/{key}.npy"


def block_path(key: str) -> str:
    """Return the path of the picture of a block of a land."""
    return f"land/blocks/{key}.png"


def sheet_path(key: str, step: int | None = None) -> str:
    """Return the path of the sheet of a finished strip, or of its checkpoint after *step* updates."""
    return f"sheets/{key[:2]}/{_name(key, step)}.png"


def preview_path(key: str, step: int | None = None) -> str:
    return f"previews/{key[:2]}/{_name(key, step)}.webp"


def _name(key: str, step: int | None) -> str:
    return key if step is None else f"{key}-{step}"
