"""The manifest: the index of a published atlas, computed from its records alone."""

from __future__ import annotations

import json
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


class Counts(_Frozen):
    pairs: int
    done: int
    failed: int


class LandFiles(_Frozen):
    """The published files of a land.

    Attributes:
        tiles: folder of its tiles.
        tile_px, levels: side of a tile, and number of levels of the pyramid.
        data: path of the script with its places.
    """

    tiles: str = Field(pattern=r"^land/[0-9a-f]+/$")
    tile_px: int
    levels: int
    data: str = Field(pattern=r"^data/[A-Za-z0-9][A-Za-z0-9._-]*$")
    sha256: str
    bytes: int


class Manifest(_Frozen):
    """The content of a published atlas.

    Attributes:
        spec: the last spec that was built into this atlas, or None if the store has only records.
        settings: settings digest -> settings, for all settings of rendered pairs.
        devices, versions: all devices that rendered pairs, and all sets of package versions.
        shards: the column shards of the gallery, in order of their pairs.
        details: the shards of whole records, in order of their pairs.
        records: the file with every record.
        land: the files of the land, or None if the atlas has none.
    """

    format: Literal[1] = 1
    name: str
    spec: dict[str, Any] | None
    model: str
    model_digest: str
    settings: dict[str, dict[str, Any]]
    counts: Counts
    devices: list[str]
    versions: list[dict[str, str]]
    shards: list[DataFile]
    details: list[DataFile]
    records: DataFile
    land: LandFiles | None = None

    def to_json(self) -> bytes:
        return (json.dumps(self.model_dump(), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


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
