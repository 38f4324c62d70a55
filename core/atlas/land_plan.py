"""The land that a spec asks for: its places, its blocks and their keys."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from core import METHOD_VERSION
from core.atlas.arrangement import arrange
from core.atlas.keys import direction_digests, key_of, short_digest
from core.atlas.natural_strip import standardised
from core.atlas.records import Key
from core.atlas.selection import OnPhotographs, activations_of, features, listed_neurons
from core.errors import RecordError, SpecError, first_mistake, short
from core.models.model import Model
from core.neurons import Neuron
from core.pictures.land import Block, Land
from core.spec import AtlasSpec, LandSpec, RenderSettings
from core.store.store import Store

LAND_PATH = "plan/land.json"
"""Path of the land of the spec that was built last."""

_ARRANGEMENTS = 1  # the way in which neurons are arranged; another way has another number
_LEAST_BLOCK, _LARGEST_BLOCK = 3, 5  # places in each direction; a land with fewer places is one block
_MARGIN = 4  # a block reaches beyond its cells by this part of a cell: at one eighth, patterns would be cut
_WIDEST = 1.6  # the picture's width divided by its height, at most; at least the inverse of it


@dataclass(frozen=True, slots=True)
class PlannedBlock:
    """A block of a land and its key.

    Attributes:
        land: digest of the land.
        finished: the overlapping blocks that are rendered before, with their keys.
        reason: why the block cannot be rendered; None if it can.
        failures: how often the block has failed, if it is rendered again for that; otherwise 0.
    """

    block: Block
    key: Key
    land: str
    finished: tuple[tuple[Block, Key], ...]
    reason: str | None = None
    failures: int = 0


@dataclass(frozen=True)
class PlannedLand:
    """The land of a spec with its blocks.

    Attributes:
        arrangement: digest of everything that the places of the neurons depend on.
    """

    land: Land
    arrangement: str
    settings: RenderSettings
    blocks: tuple[PlannedBlock, ...]

    @property
    def keys(self) -> dict[Block, Key]:
        """Block -> key."""
        return {planned.block: planned.key for planned in self.blocks}


_LAND = TypeAdapter(Land)
_PLANNED_LAND = TypeAdapter(PlannedLand)
_Read = TypeVar("_Read")


def plan_land(
    spec: AtlasSpec, model: Model, model_digest: str, store: Store, on_photographs: OnPhotographs | None = None
) -> PlannedLand:
    """Return the land of a spec.

    The arrangement of the last build is used again if the neurons are the same, and the activations that they were
    arranged by, because finding it takes time.

    Args:
        on_photographs: what `arrange: activations` compares.

    Raises:
        SpecError: if the spec has no land, or its neurons cannot have one, or activations are compared that do not
            exist.
    """
    if spec.land is None:
        raise SpecError(f"expected a spec with the key land, {spec.name} has none")
    neurons = _checked(spec.land, model)
    cell_px = spec.land.cell_px
    columns, block_rows, block_columns = lay_out(len(neurons), spec.land.columns)
    facts: dict[str, object] = {
        "way": _ARRANGEMENTS,
        "model": model_digest,
        "neurons": list(map(str, neurons)),
        "columns": columns,
        "by": spec.land.arrange,
    }
    if any(directions := direction_digests(neurons, model.derived)):
        facts["directions"] = directions
    activations = None
    if spec.land.arrange == "activations":
        activations = activations_of(neurons, on_photographs, "land.arrange")
        facts["activations"] = short_digest(activations.tobytes())
    arrangement = key_of(facts)
    if spec.land.arrange != "given":
        stored = _stored_order(store, arrangement)
        if stored is None:
            told = features(neurons, model) if activations is None else standardised(activations)
            stored = [neurons[number] for number in arrange(told, columns)]
        neurons = stored
    land = Land(tuple(neurons), columns, cell_px, block_rows, block_columns, cell_px // _MARGIN)
    settings = land_settings(spec.land, spec.render)
    return PlannedLand(land, arrangement, settings, _plan_blocks(land, model_digest, settings, model))


def land_settings(land: LandSpec, settings: RenderSettings) -> RenderSettings:
    """Return the settings of a land: those of strips, with defaults in place of those that do not affect it."""
    defaults = RenderSettings()
    unused = ("frames", "checkpoints", "sharing", "key_frames", "mix", "alignment")
    kept = settings.model_copy(update={key: getattr(defaults, key) for key in unused})
    return kept.model_copy(update={"size_px": land.cell_px, "steps": land.steps or settings.steps})


def _plan_blocks(land: Land, model_digest: str, settings: RenderSettings, model: Model) -> tuple[PlannedBlock, ...]:
    """Return the blocks of a land, with keys that are digests of everything that their pixels depend on."""
    digest = _land_digest(land)
    facts: dict[str, object] = {
        "method": METHOD_VERSION,
        "model": model_digest,
        "settings": settings.model_dump(mode="json"),
        "land": digest,
    }
    if any(directions := direction_digests(land.neurons, model.derived)):
        facts["directions"] = directions
    keys = {block: key_of({**facts, "block": block}) for block in land.blocks}

    def before(block: Block) -> tuple[tuple[Block, Key], ...]:
        return tuple((other, keys[other]) for other in land.neighbours(block) if other.turn < block.turn)

    return tuple(PlannedBlock(block, key, digest, before(block)) for block, key in keys.items())


def write_land(store: Store, planned: PlannedLand) -> None:
    """Write a land for the tasks that render its blocks, and as the land of the last build."""
    store.replace(land_path(_land_digest(planned.land)), _LAND.dump_json(planned.land))
    store.replace(LAND_PATH, _PLANNED_LAND.dump_json(planned))


def read_planned_land(store: Store) -> PlannedLand | None:
    """Return the land of the last build that had one, or None if there was none.

    Raises:
        RecordError: if it is damaged.
    """
    if not store.exists(LAND_PATH):
        return None
    return _read(store, LAND_PATH, _PLANNED_LAND)


def read_land(store: Store, digest: str) -> Land:
    """Read the land that a block belongs to.

    Raises:
        StoreError: if there is none.
        RecordError: if it is damaged.
    """
    return _read(store, land_path(digest), _LAND)


def land_path(digest: str) -> str:
    """Return the path of the file of a land, by its digest."""
    return f"plan/land-{digest}.json"


def _land_digest(land: Land) -> str:
    return short_digest(_LAND.dump_json(land))


def _read(store: Store, path: str, kind: TypeAdapter[_Read]) -> _Read:
    try:
        return kind.validate_json(store.read(path))
    except ValidationError as error:
        mistake = first_mistake(error, "the whole file")
        raise RecordError(f"{store}/{path}: expected a land, but {mistake}; build again to rewrite the file") from None


def lay_out(count: int, columns: int | None = None) -> tuple[int, int, int]:
    """Return the columns of a land, and the rows and columns of its blocks.

    All blocks have the same shape, so that it is compiled once. Of all layouts whose picture is not much wider than
    high, or higher than wide, this is the one that renders the fewest pixels.

    Args:
        count: number of neurons.
        columns: places in a row, if that is given.
    """
    best: tuple[float, int, int, int] | None = None
    for wide in (columns,) if columns else range(1, 2 * math.isqrt(count) + 3):
        wide = min(wide, count)
        high = math.ceil(count / wide)
        if not (columns or count < 3 or 1 / _WIDEST <= wide / high <= _WIDEST):
            continue
        for block_rows in _block_sides(high):
            for block_columns in _block_sides(wide):
                blocks = math.ceil(high / block_rows) * math.ceil(wide / block_columns)
                pixels = blocks * (block_rows + 2 / _MARGIN) * (block_columns + 2 / _MARGIN)
                oddness = abs(math.log(wide / high / 1.15))  # a little wider than high
                found = (pixels * (1 + oddness / 10), wide, block_rows, block_columns)
                best = min(best or found, found)
    assert best is not None, "some layout is always possible"
    return best[1:]


def _block_sides(places: int) -> Sequence[int]:
    return range(_LEAST_BLOCK, _LARGEST_BLOCK + 1) if places > _LARGEST_BLOCK else (places,)


def _checked(spec: LandSpec, model: Model) -> list[Neuron]:
    """Return the neurons of a land if it can be made of them.

    Raises:
        SpecError: if not.
    """
    neurons = listed_neurons(spec.neurons, model, "land.neurons")
    layers = list(dict.fromkeys(neuron.layer for neuron in neurons))
    if len(layers) > 1:
        found = f"{short(layers[0])} and {short(layers[1])}"
        raise SpecError(
            f"land.neurons: expected neurons of one layer, got {found}; give each layer an atlas of its own"
        )
    if len(neurons) < 2:
        raise SpecError(f"land.neurons: expected at least two neurons, got {neurons[0]}")
    reason = model.why_no_fan_in(layers[0]) if spec.arrange == "weights" else None
    if reason is not None:
        raise SpecError(
            f"land.arrange: expected given for {short(layers[0])}, got weights, and these cannot be compared: {reason}"
        )
    return neurons


def _stored_order(store: Store, arrangement: str) -> list[Neuron] | None:
    """Return the neurons in the order of the last build's land, if it was arranged in the same way."""
    with suppress(RecordError):
        planned = read_planned_land(store)
        if planned is not None and planned.arrangement == arrangement:
            return list(planned.land.neurons)
    return None
