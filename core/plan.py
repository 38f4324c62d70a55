"""The plan: the pairs of a spec that have no record yet, cut into chunks.

A plan is written to the store with an object for each chunk, so that whoever renders a chunk needs only the plan's
address and the chunk's name, and reads nothing of the others.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from statistics import fmean
from typing import Literal, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from core import METHOD_VERSION, device, pace
from core.errors import RecordError, first_mistake
from core.models import digest, load
from core.neurons import Pair
from core.records import Key, Record, from_ndjson
from core.selection import resolve_settings, select_pairs
from core.spec import AtlasSpec, ModelSpec, RenderSettings
from core.store import Store

_CHUNK_SECONDS = 60  # long against the cost of a task run, short against a night
_MOST_CHUNKS = 2000  # what a Prefect server records without strain
_WRITERS = 16  # chunks that are written at once, because each waits for its disk or network
_BYTES_PER_PIXEL = 2.4  # measured: PNG and WebP of finished strips together

SPEC_PATH = "plan/spec.json"

Basis = Literal["atlas", "device", "assumed"]
"""Where an estimate of time comes from: records of this atlas, renderings on this device, or neither."""


@dataclass(frozen=True, slots=True)
class PlannedPair:
    """A pair and the key of its sheet."""

    pair: Pair
    key: Key


@dataclass(frozen=True)
class Chunk:
    """Pairs that one task renders: of one pair of layers, unless there are too many of those for tasks of their own.

    Its name is made of its keys.
    """

    name: str
    pairs: tuple[PlannedPair, ...]


@dataclass(frozen=True)
class Plan:
    """What is still to be rendered of an atlas.

    Attributes:
        settings: with the model's defaults written out.
        pairs: how many pairs the spec has in all.
        done, failed: how many of them have a record.
        recorded: how many records the atlas has in all, of whichever spec.
        pair_seconds: about how long a process takes for a pair.
        basis: where that comes from.
    """

    model: ModelSpec
    model_digest: str
    settings: RenderSettings
    pairs: int
    done: int
    failed: int
    recorded: int
    chunks: tuple[Chunk, ...]
    pair_seconds: float
    basis: Basis

    @property
    def missing(self) -> int:
        return sum(len(chunk.pairs) for chunk in self.chunks)

    @property
    def path(self) -> str:
        """The plan's folder in the store: named by its content, of which names of chunks tell everything but this."""
        content = {
            "model": self.model.model_dump(mode="json"),
            "model_digest": self.model_digest,
            "settings": self.settings.model_dump(mode="json"),
            "chunks": [chunk.name for chunk in self.chunks],
        }
        return f"plan/{_short_digest(canonical_json(content).encode())}"

    def seconds(self, processes: int) -> float:
        """About how long the missing pairs take."""
        return self.missing * self.pair_seconds / processes

    def sheet_bytes(self) -> int:
        """About how much the missing sheets and previews take in the store."""
        return int(self.missing * self.settings.frames * self.settings.size_px**2 * _BYTES_PER_PIXEL)


@dataclass(frozen=True)
class ChunkOrder:
    """All that is needed to render one chunk."""

    model: ModelSpec
    model_digest: str
    settings: RenderSettings
    chunk: Chunk


_ORDER = TypeAdapter(ChunkOrder)
_View = TypeVar("_View")


def make_plan(spec: AtlasSpec, store: Store, processes: int) -> Plan:
    """Compare the spec's pairs with the records in the store.

    Args:
        processes: how many will render at once; the chunks are small enough to keep them all busy.

    Raises:
        SpecError: if the spec asks for something impossible.
        ModelError: if the model's weights are missing.
        RecordError: if a record cannot be read.
    """
    model = load(spec.model)
    settings = resolve_settings(spec.render, model)
    model_digest = digest(model)
    keyed = [PlannedPair(pair, key) for pair, key in keys(select_pairs(spec, model), model_digest, settings)]
    rendered_here = spec.compute.engine == "local"
    recorded = read_records(store, _comparison(model_digest, settings, rendered_here))
    missing = [planned for planned in keyed if planned.key not in recorded]
    failed = sum(recorded[planned.key].failed for planned in keyed if planned.key in recorded)
    pair_seconds, basis = _pair_seconds(model_digest, settings, recorded.values(), missing)
    return Plan(
        model=spec.model,
        model_digest=model_digest,
        settings=settings,
        pairs=len(keyed),
        done=len(keyed) - len(missing) - failed,
        failed=failed,
        recorded=len(recorded),
        chunks=tuple(_cut(missing, spec.compute.chunk_pairs or _chunk_pairs(len(missing), pair_seconds, processes))),
        pair_seconds=pair_seconds,
        basis=basis,
    )


def write_plan(store: Store, plan: Plan) -> None:
    """Write a plan to the store, for `read_chunk`; one that is there already is written again and stays the same.

    Raises:
        StoreError: if the store cannot be written.
    """
    folder = plan.path

    def write(chunk: Chunk) -> None:
        order = ChunkOrder(plan.model, plan.model_digest, plan.settings, chunk)
        store.replace(_chunk_path(folder, chunk.name), _ORDER.dump_json(order))

    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(write, plan.chunks))


def read_chunk(store: Store, plan_path: str, name: str) -> ChunkOrder:
    """Read one chunk of a plan that was written to the store.

    Raises:
        StoreError: if there is no such chunk.
        RecordError: naming the first field that is not as it should be.
    """
    path = _chunk_path(plan_path, name)
    try:
        return _ORDER.validate_json(store.read(path))
    except ValidationError as error:
        mistake = first_mistake(error, "the whole file")
        raise RecordError(
            f"{store}/{path}: expected a chunk of a plan, but {mistake}; build again to write it anew"
        ) from None


def _chunk_path(plan_path: str, name: str) -> str:
    return f"{plan_path}/{name}.json"


def read_records(store: Store, view: Callable[[Record], _View]) -> dict[str, _View]:
    """Key -> what *view* keeps of a record, in the order of their files; records themselves are large.

    Two runs that overlapped may both have recorded a pair; the first one counts, and a finished one before a failed.

    Raises:
        RecordError: if a record cannot be read.
    """
    views: dict[str, _View] = {}
    failed: set[str] = set()
    paths = list(store.list("records/"))
    for path, data in zip(paths, store.read_many(paths), strict=True):
        for record in from_ndjson(data, f"{store}/{path}"):
            if record.key in views and not (record.key in failed and record.status == "done"):
                continue
            views[record.key] = view(record)
            if record.status == "failed":
                failed.add(record.key)
            else:
                failed.discard(record.key)
    return views


def keys(pairs: Iterable[Pair], model_digest: str, settings: RenderSettings) -> Iterator[tuple[Pair, str]]:
    """The key of each pair: equal if and only if the pixels are, as far as anybody decides about pixels."""
    shared = {"method": METHOD_VERSION, "model": model_digest, "settings": settings.model_dump(mode="json")}
    rest = canonical_json(shared)[1:]  # once for all pairs, whose "a" and "b" sort before everything that is shared
    for pair in pairs:
        neurons = canonical_json({"a": str(pair.a), "b": str(pair.b)})[:-1]
        yield pair, _short_digest(f"{neurons},{rest}".encode())


def settings_digest(settings: RenderSettings) -> str:
    return _short_digest(canonical_json(settings.model_dump(mode="json")).encode())


def canonical_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _short_digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:20]


class _Recorded(NamedTuple):
    """What a plan needs of a record. `seconds` is None if a pair like those of the plan would take another time."""

    failed: bool
    seconds: float | None


def _comparison(model_digest: str, settings: RenderSettings, rendered_here: bool) -> Callable[[Record], _Recorded]:
    """What to keep of records when pairs of this model and these settings are planned.

    Those that this machine will render do not take as long on a GPU as on a CPU; those that others will, take what
    others took.
    """
    wanted = model_digest, settings_digest(settings)
    on_gpu = device.is_gpu(device.expected())

    def compare(record: Record) -> _Recorded:
        alike = (record.model_digest, record.settings_digest) == wanted
        alike &= not rendered_here or device.is_gpu(record.device) == on_gpu
        return _Recorded(record.status == "failed", record.seconds if alike else None)

    return compare


def _pair_seconds(
    model_digest: str, settings: RenderSettings, recorded: Iterable[_Recorded], missing: Sequence[PlannedPair]
) -> tuple[float, Basis]:
    """What pairs like the missing ones took, or else what they should take."""
    took = [record.seconds for record in recorded if record.seconds is not None]
    if took:
        return max(0.001, fmean(took)), "atlas"
    layers = Counter(planned.pair.layers for planned in missing)
    paces = {pair: pace.remembered(model_digest, pair, settings.frames, settings.size_px) for pair in layers}
    known = [(seconds, layers[pair]) for pair, seconds in paces.items() if seconds is not None]
    if known:
        update_seconds = sum(seconds * pairs for seconds, pairs in known) / sum(pairs for _, pairs in known)
        return max(0.001, settings.steps * update_seconds), "device"
    return settings.steps * pace.assumed(settings.frames, settings.size_px), "assumed"


def _chunk_pairs(missing: int, pair_seconds: float, processes: int) -> int:
    wanted = round(_CHUNK_SECONDS / pair_seconds)
    evenly = math.ceil(missing / (2 * processes))  # at least two rounds of chunks, so that nobody waits long at the end
    return max(1, min(wanted, evenly))


def _cut(missing: Sequence[PlannedPair], chunk_pairs: int) -> Iterator[Chunk]:
    """Chunks of so many pairs, or of more where there would be too many chunks."""
    by_layers: dict[tuple[str, str], list[PlannedPair]] = {}
    for planned in missing:
        by_layers.setdefault(planned.pair.layers, []).append(planned)
    groups = list(by_layers.values())
    if len(groups) > _MOST_CHUNKS // 2:
        groups = [list(chain.from_iterable(groups))]
    # Every group may end with a chunk that is not full; the full ones have to share what then is left.
    size = max(chunk_pairs, math.ceil(len(missing) / (_MOST_CHUNKS - len(groups))))
    for members in groups:
        rest = iter(members)
        while pairs := tuple(islice(rest, size)):
            yield Chunk(_short_digest("".join(planned.key for planned in pairs).encode()), pairs)
