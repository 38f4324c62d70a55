"""A finished land: the files of its blocks in a store, and the numbers of its neurons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from core.arrays import Pixels
from core.atlas.land_picture import ReadBlock
from core.atlas.land_plan import read_planned_land
from core.atlas.recorded import read_blocks, read_portraits, read_records
from core.atlas.records import NeuronAtPlace, PortraitRecord, Record, block_path
from core.errors import RecordError, counted
from core.pictures.land import Block, Land
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


def recorded_land(store: Store) -> FinishedLand | None:
    """Return the land of the last build that had one; None if there was none, or while blocks of it are missing.

    Raises:
        RecordError: if the land or a record cannot be read.
    """
    planned = read_planned_land(store)
    if planned is None:
        return None
    wanted = {key: block for block, key in planned.keys.items()}
    records = read_blocks(store, lambda record: record if record.key in wanted else None)
    found = [record for key in wanted if (record := records.get(key)) is not None and record.picture_sha256]
    if len(found) < len(wanted):
        return None
    at = {(each.row, each.column): each for record in found for each in record.neurons}
    in_order = [at[planned.land.place_of(number)] for number in range(len(planned.land.neurons))]
    reached = _reached(store, found[0].model_digest)
    return FinishedLand(
        land=planned.land,
        blocks={
            wanted[record.key]: StoredBlock(block_path(record.key), record.picture_sha256 or "") for record in found
        },
        model=found[0].model,
        model_digest=found[0].model_digest,
        steps=planned.settings.steps,
        activation=[each.activation for each in in_order],
        compared=[_share(each, reached) for each in in_order],
        dead=[each.activation <= each.noise for each in in_order],
        noise=[each.noise for each in in_order],
        devices=sorted({record.device for record in found}),
        versions=list({str(sorted(record.versions.items())): record.versions for record in found}.values()),
    )


def _reached(store: Store, model_digest: str) -> dict[str, float]:
    """Return neuron -> its activation in its own portrait, or else the mean over the ends of its strips."""
    ends: dict[str, list[float]] = {}

    def add(record: Record) -> None:
        if record.status == "done" and record.model_digest == model_digest:
            for neuron, activation in ((record.a, record.activation_a[:1]), (record.b, record.activation_b[-1:])):
                ends.setdefault(neuron, []).extend(activation)

    read_records(store, add)
    reached = {neuron: fmean(found) for neuron, found in ends.items() if found}

    def replace(record: PortraitRecord) -> None:
        if record.neuron and record.activation is not None and record.model_digest == model_digest:
            reached[record.neuron] = record.activation

    read_portraits(store, replace)
    return reached


def _share(place: NeuronAtPlace, reached: Mapping[str, float]) -> float | None:
    """Return the activation at a place as a share of what its neuron reaches; None if that is dead or not known."""
    alone = reached.get(place.neuron)
    return None if alone is None or alone <= max(place.noise, 0) else place.activation / alone


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
