"""Records of photographs: the activations on a part of them, and small pictures of some of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from core.atlas.records import Key, Line, lines
from core.photographs.decoding import Box

THUMBNAIL_RECORDS = "images/thumbnails/records/"
ACTIVATIONS = "images/activations/"
THUMBNAILS = "images/thumbnails/"
LISTS = "images/lists/"
LEFT_OUT_PATH = "images/left-out.csv"
"""Path of the table of files that are no photographs, and the reason of each."""
LICENCE_PATH = "images/licence.txt"
"""Path of the licence of the photographs, as their source has it."""


class LayerOfImages(BaseModel):
    """A layer whose activations on photographs are kept: its number of channels and its positions.

    `height` and `width` are 1 for a layer without positions. `field` is the receptive field of a position: the pixels
    that it reaches from the centre of the position up, left, down and right. Of a derived layer only some channels are
    kept: `directions` has the digest of the direction of each of them. For other layers it is None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    channels: int
    height: int
    width: int
    field: Box
    directions: dict[int, str] | None = None

    def columns(self, channels: Sequence[int]) -> list[int]:
        """Return the places of channels among those that are kept, which must have them."""
        if self.directions is None:
            return list(channels)
        places = {channel: place for place, channel in enumerate(sorted(self.directions))}
        return [places[channel] for channel in channels]

    def keeps(self, directions: Mapping[int, str] | None) -> bool:
        """Return whether all channels of a layer are kept; of a derived layer, those with the given directions."""
        if directions is None or self.directions is None:
            return directions is self.directions
        return directions.items() <= self.directions.items()

    def place(self, position: int) -> tuple[int, int]:
        """Return the row and column of a position."""
        return divmod(position, self.width)

    def box(self, position: int, size: tuple[int, int]) -> Box:
        """Return the part of the image that reaches a position, clipped at the edges of the image.

        Args:
            size: height and width of the image.
        """
        row, column = self.place(position)
        y, x = (row + 0.5) * size[0] / self.height, (column + 0.5) * size[1] / self.width
        up, left, down, right = self.field
        top, bottom = max(0, round(y - up)), min(size[0], round(y + down))
        return top, max(0, round(x - left)), bottom, min(size[1], round(x + right))


class ImagesRecord(Line):
    """The activations of some layers on a part of the photographs.

    `part` is the digest of the `count` photographs, see `core.atlas.evidence.part_digest`. `size` is the height and
    width of the network's images. `skipped` has the places in the part of the files that are no photographs, and the
    reason of each.
    """

    key: Key
    part: Key
    count: int
    model: str
    model_digest: str
    size: tuple[int, int]
    layers: dict[str, LayerOfImages]
    skipped: tuple[tuple[int, str], ...] = ()
    activations_sha256: str
    activations_bytes: int
    seconds: float
    device: str
    versions: dict[str, str]


class ThumbnailRecord(Line):
    """A small picture of a photograph, or of a part of it; `sha256` is None if it could not be made for a `reason`.

    `photograph` is the digest of the photograph's entry in the list, see `core.atlas.evidence.photograph_digest`.
    `size` is the height and width of the network's images. The part is a `box` in them; without it the picture shows
    everything that the network sees. `caption` is that of the source; `text` is the digest of the entry of its file.
    """

    photograph: Key
    size: tuple[int, int]
    box: Box | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    bytes: int | None = None
    caption: str | None = None
    text: Key | None = None
    reason: str | None = None

    @property
    def path(self) -> str | None:
        """The path of the picture; None if there is none."""
        return None if self.sha256 is None else thumbnail_path(self.sha256)


def images_from_ndjson(data: bytes, path: str) -> Iterator[ImagesRecord]:
    """Yield the records of parts of the photographs in a file; see `core.atlas.records.from_ndjson`."""
    return lines(ImagesRecord, data, path, "photographs")


def thumbnails_from_ndjson(data: bytes, path: str) -> Iterator[ThumbnailRecord]:
    """Yield the records of small pictures of photographs in a file; see `core.atlas.records.from_ndjson`."""
    return lines(ThumbnailRecord, data, path, "small pictures")


def activations_path(key: str) -> str:
    """Return the path of the activations on a part of the photographs."""
    return f"{ACTIVATIONS}{key[:2]}/{key}.npz"


def thumbnail_path(sha256: str) -> str:
    """Return the path of a small picture of a photograph; equal pictures have one path."""
    return f"{THUMBNAILS}{sha256[:2]}/{sha256[:20]}.webp"


def list_path(digest: str) -> str:
    """Return the path of a list of photographs."""
    return f"{LISTS}{digest}.json"
