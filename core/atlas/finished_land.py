"""A finished land: the files of its blocks in a store, and the numbers of its neurons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from core.arrays import Pixels
from core.atlas.land import Block, Land
from core.atlas.land_picture import ReadBlock
from core.errors import RecordError, counted
from core.pictures.sheets import decode
from core.store.store import Store

BLOCKS = "land/blocks/"


class StoredBlock(NamedTuple):
    """The file of a block's picture in a store, and its sha256."""

    path: str
    sha256: str


@dataclass(frozen=True)
class FinishedLand:
    """A land whose blocks are all rendered, as its records describe it.

    Attributes:
        blocks: the picture of every block of the land.
        model, model_digest: the name of the model and the digest of its weights.
        steps: updates of each block.
        activation: of each neuron, in the sequence of `land.neurons`: its mean activation over the middle of its place,
            or None if it is not known.
        compared: the activation as a share of what the neuron reaches in its own portrait, or at the end of a strip.
        dead: whether nothing that was rendered excites the neuron more than noise does.
        noise: the largest mean activation on images of noise.
        devices, versions: devices that rendered blocks, and sets of package versions.
    """

    land: Land
    blocks: Mapping[Block, StoredBlock]
    model: str
    model_digest: str
    steps: int
    activation: Sequence[float | None]
    compared: Sequence[float | None]
    dead: Sequence[bool]
    noise: Sequence[float | None]
    devices: Sequence[str]
    versions: Sequence[Mapping[str, str]]


def check_finished(store: Store, land: Land, paths: Mapping[Block, str]) -> None:
    """Make sure that a store has the picture of every block of a land.

    Args:
        paths: block -> path of its picture.

    Raises:
        RecordError: if pictures are missing; the message has their number.
    """
    stored = set(store.list(BLOCKS))
    blocks = list(land.blocks)
    missing = sum(paths.get(block) not in stored for block in blocks)
    if missing:
        found = f"{missing:,} of its {counted(len(blocks), 'block')} {'is' if missing == 1 else 'are'} missing"
        raise RecordError(f"{store}: expected a finished land, {found}; isthmus build with its spec renders them")


def block_reader(store: Store, land: Land, paths: Mapping[Block, str]) -> ReadBlock:
    """Return a function that reads the picture of a block from a store.

    The function raises a StoreError if a picture cannot be read, and a RecordError if it is none of this land.
    """

    def read(block: Block) -> Pixels:
        path = paths[block]
        try:
            pixels = decode(store.read(path))
        except (OSError, SyntaxError, ValueError) as error:  # Pillow raises SyntaxError for some damaged files
            raise RecordError(_not_a_block(store, path, land, str(error))) from None
        if pixels.shape != (*land.block_size_px, 3):
            raise RecordError(_not_a_block(store, path, land, f"found {pixels.shape[0]} x {pixels.shape[1]} px"))
        return pixels

    return read


def _not_a_block(store: Store, path: str, land: Land, found: str) -> str:
    height, width = land.block_size_px
    expected = f"expected the picture of a block, {height} x {width} px"
    return f"{store}/{path}: {expected}, {found}; run isthmus verify --repair, then isthmus build"
