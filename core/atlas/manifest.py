"""The manifest: the index of a published atlas, computed from its records alone."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import RecordError, first_mistake
from core.store.store import Store

MANIFEST_PATH = "manifest.json"
PAIRS_PATH = "data/pairs.ndjson"
PAGE_PATH = "index.html"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataFile(_Frozen):
    """A published file: its path, its digest and size, and the number of pairs in it."""

    path: str = Field(pattern=r"^data/[A-Za-z0-9][A-Za-z0-9._-]*$")  # never outside the atlas
    sha256: str
    bytes: int
    pairs: int


class LandFiles(_Frozen):
    """The files of a published land.

    Attributes:
        tiles: the folder of its tiles, `LEVEL/COLUMN_ROW.webp`; level 0 is the smallest picture.
        tile_px: height and width of a tile.
        levels, tile_count: numbers of levels, and of tiles in all of them.
        index_sha256: digest of the index of the tiles, see `tile_index_path`.
        data: path of the script with the neurons and their numbers.
        sha256, bytes: digest and size of this script.
        neurons: number of neurons, each of which has a place.
    """

    tiles: str = Field(pattern=r"^land/[0-9a-f]{20}/$")
    tile_px: int
    levels: int
    tile_count: int
    index_sha256: str
    data: str = Field(pattern=r"^data/land-[0-9a-f]{10}\.js$")
    sha256: str
    bytes: int
    neurons: int


class PhotographFiles(_Frozen):
    """The files with what photographs say about the neurons and pairs.

    Attributes:
        evidence: digest of the activations that they were computed from.
        photographs: number of photographs that count.
        published: whether small pictures, captions and classes are shown.
        pictures: number of small pictures in the atlas.
        missing: number of small pictures that the page lacks, because their photographs could not be read.
        album: the script that leads to the others.
        scripts: the scripts about neurons and about pairs.
    """

    evidence: str
    photographs: int
    published: bool
    pictures: int
    missing: int
    album: DataFile
    scripts: list[DataFile]


class Counts(_Frozen):
    pairs: int
    done: int
    failed: int


class Manifest(_Frozen):
    """The content of a published atlas.

    Attributes:
        spec: the published part of the last spec that was built into this atlas, see `public_spec`; None if the store
            has only records.
        settings: settings digest -> settings, for all settings of rendered pairs.
        devices, versions: all devices that rendered pairs, and all sets of package versions.
        format: 2. An atlas that an older version has published has 1, and no `index`: its shards do without.
        index: the script that the page loads first; None without pairs.
        shards: the other scripts of columns and of the lookup of keys.
        details: the scripts of whole records, in order of their pairs.
        records: the file with every record.
        land: the picture of all neurons of a layer, if there is one.
        preview: the picture that other sites show beside a link to the atlas; None if there is none.
        labels: sha256 of the labels of neurons that were published; None if there were none.
        photographs: what photographs say, if there are any.
    """

    format: Literal[1, 2] = 2
    name: str
    spec: dict[str, Any] | None
    model: str
    model_digest: str
    settings: dict[str, dict[str, Any]]
    counts: Counts
    devices: list[str]
    versions: list[dict[str, str]]
    index: DataFile | None = None
    shards: list[DataFile]
    details: list[DataFile]
    records: DataFile
    land: LandFiles | None = None
    preview: DataFile | None = None
    labels: str | None = None
    photographs: PhotographFiles | None = None

    @property
    def data_files(self) -> list[DataFile]:
        """All files in `data/` but those of the land."""
        single = (self.records, self.index, self.preview, self.photographs and self.photographs.album)
        photographs = self.photographs.scripts if self.photographs else []
        return [*self.details, *self.shards, *photographs, *(file for file in single if file)]

    def to_json(self) -> bytes:
        without = {
            name for name in ("index", "labels", "land", "photographs", "preview") if getattr(self, name) is None
        }
        return (
            json.dumps(self.model_dump(exclude=without), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        ).encode()


def read_manifest(store: Store) -> Manifest:
    """Read the manifest of a published atlas.

    Raises:
        StoreError: if there is no manifest.
        RecordError: if it is damaged; the message names the first wrong field.
    """
    try:
        return Manifest.model_validate_json(store.read(MANIFEST_PATH))
    except ValidationError as error:
        mistake = first_mistake(error, "the whole file")
        raise RecordError(f"{store}/{MANIFEST_PATH}: {mistake}; publish the atlas again to rebuild it") from None


def tile_index_path(tiles: str) -> str:
    """Return the path of the index of a land's tiles, which has the sha256 of each.

    Args:
        tiles: the folder of the tiles.
    """
    return f"{tiles}tiles.json"


def read_tile_index(data: bytes, path: str) -> dict[str, str]:
    """Return path -> sha256 of every tile of a land; *path* is that of the index.

    Raises:
        RecordError: if the data is no index of tiles in the folder of the index.
    """
    folder = path.rpartition("/")[0]
    tile = re.compile(rf"{re.escape(folder)}/[0-9]+/[0-9]+_[0-9]+\.webp")
    try:
        index = json.loads(data)
    except ValueError:
        index = None
    if not (isinstance(index, dict) and all(tile.fullmatch(name) and isinstance(index[name], str) for name in index)):
        raise RecordError(f"{path}: expected the index of the tiles of a land; publish the atlas again to rebuild it")
    return index
