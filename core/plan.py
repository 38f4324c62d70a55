"""The plan: the pairs of a spec that have no record yet, cut into chunks.

A plan is written to the store, so that whoever renders a chunk needs only its address and the chunk's name.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean

from core import METHOD_VERSION
from core.errors import RecordError
from core.models import digest, load
from core.neurons import Neuron, Pair
from core.records import Record, from_ndjson
from core.selection import resolve_settings, select_pairs
from core.spec import AtlasSpec, ModelSpec, RenderSettings
from core.store import Store

_CHUNK_SECONDS = 30  # long against the cost of a task run, short against a night
_MOST_CHUNKS = 2000  # what a Prefect server records without strain
_UPDATE_SECONDS = 0.025  # measured: six frames of 128 px on one core to the tenth block of EfficientNet-Lite0
_REFERENCE_PIXELS = 6 * 128 * 128
_BYTES_PER_PIXEL = 2.4  # measured: PNG and WebP of finished strips together

SPEC_PATH = "plan/spec.json"


@dataclass(frozen=True)
class PlannedPair:
    """A pair and the key of its sheet."""

    pair: Pair
    key: str


@dataclass(frozen=True)
class Chunk:
    """Pairs of one pair of layers that one task renders. Its name is made of its keys."""

    name: str
    pairs: tuple[PlannedPair, ...]


@dataclass(frozen=True)
class Plan:
    """What is still to be rendered of an atlas.

    Attributes:
        settings: with the model's defaults written out.
        pairs: how many pairs the spec has in all.
        done, failed: how many of them have a record.
    """

    model: ModelSpec
    model_digest: str
    settings: RenderSettings
    pairs: int
    done: int
    failed: int
    chunks: tuple[Chunk, ...]
    pair_seconds: float

    @property
    def missing(self) -> int:
        return sum(len(chunk.pairs) for chunk in self.chunks)

    @property
    def path(self) -> str:
        """Where the plan lies in the store: named by its content."""
        return f"plan/{_short_digest(self.to_ndjson())}.ndjson"

    def seconds(self, processes: int) -> float:
        """About how long the missing pairs take."""
        return self.missing * self.pair_seconds / processes

    def sheet_bytes(self) -> int:
        """About how much the missing sheets and previews take in the store."""
        return int(self.missing * self.settings.frames * self.settings.size_px**2 * _BYTES_PER_PIXEL)

    def to_ndjson(self) -> bytes:
        """A line with what all chunks share, then a line for each chunk."""
        header = {
            "model": self.model.model_dump(mode="json"),
            "model_digest": self.model_digest,
            "settings": self.settings.model_dump(mode="json"),
        }
        chunks = (
            {"chunk": chunk.name, "pairs": [[str(p.pair.a), str(p.pair.b), p.key] for p in chunk.pairs]}
            for chunk in self.chunks
        )
        return "".join(canonical_json(line) + "\n" for line in (header, *chunks)).encode()


@dataclass(frozen=True)
class ChunkOrder:
    """All that is needed to render one chunk."""

    model: ModelSpec
    model_digest: str
    settings: RenderSettings
    chunk: Chunk


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
    records = {record.key: record for record in read_records(store)}
    missing = [planned for planned in keyed if planned.key not in records]
    recorded = [records[planned.key] for planned in keyed if planned.key in records]
    failed = sum(record.status == "failed" for record in recorded)
    pair_seconds = _pair_seconds(settings, recorded)
    return Plan(
        model=spec.model,
        model_digest=model_digest,
        settings=settings,
        pairs=len(keyed),
        done=len(recorded) - failed,
        failed=failed,
        chunks=tuple(_cut(missing, spec.compute.chunk_pairs or _chunk_pairs(len(missing), pair_seconds, processes))),
        pair_seconds=pair_seconds,
    )


def read_chunk(store: Store, plan_path: str, name: str) -> ChunkOrder:
    """Find one chunk in a plan that was written to the store.

    Raises:
        RecordError: if the plan has no such chunk.
    """
    header, *lines = store.read(plan_path).splitlines()
    shared = json.loads(header)
    for line in lines:
        chunk = json.loads(line)
        if chunk["chunk"] == name:
            pairs = tuple(PlannedPair(Pair(Neuron.parse(a), Neuron.parse(b)), key) for a, b, key in chunk["pairs"])
            settings = RenderSettings.model_validate(shared["settings"])
            model = ModelSpec.model_validate(shared["model"])
            return ChunkOrder(model, shared["model_digest"], settings, Chunk(name, pairs))
    raise RecordError(f"{store}/{plan_path}: expected the chunk {name}, the plan has none of that name")


def read_records(store: Store) -> Iterator[Record]:
    """Every record once, in the order of their files.

    Two runs that overlapped may both have recorded a pair; the first one counts, and a finished one before a failed.
    """
    records: dict[str, Record] = {}
    paths = list(store.list("records/"))
    for path, data in zip(paths, store.read_many(paths), strict=True):
        for record in from_ndjson(data, f"{store}/{path}"):
            known = records.get(record.key)
            if known is None or (known.status == "failed" and record.status == "done"):
                records[record.key] = record
    return iter(records.values())


def keys(pairs: Iterable[Pair], model_digest: str, settings: RenderSettings) -> Iterator[tuple[Pair, str]]:
    """The key of each pair: equal if and only if the pixels are, as far as anybody decides about pixels."""
    shared = {"method": METHOD_VERSION, "model": model_digest, "settings": settings.model_dump(mode="json")}
    for pair in pairs:
        yield pair, _short_digest(canonical_json({**shared, "a": str(pair.a), "b": str(pair.b)}).encode())


def settings_digest(settings: RenderSettings) -> str:
    return _short_digest(canonical_json(settings.model_dump(mode="json")).encode())


def canonical_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _short_digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:20]


def _pair_seconds(settings: RenderSettings, recorded: Sequence[Record]) -> float:
    """What pairs like these took, or else what they should take on a CPU core."""
    if recorded:
        return max(0.001, fmean(record.seconds for record in recorded))
    pixels = settings.frames * settings.size_px**2
    return settings.steps * _UPDATE_SECONDS * pixels / _REFERENCE_PIXELS


def _chunk_pairs(missing: int, pair_seconds: float, processes: int) -> int:
    wanted = max(1, round(_CHUNK_SECONDS / pair_seconds))
    evenly = math.ceil(missing / (2 * processes))  # at least two rounds of chunks, so that nobody waits long at the end
    return max(1, min(wanted, evenly), math.ceil(missing / _MOST_CHUNKS))


def _cut(missing: Sequence[PlannedPair], chunk_pairs: int) -> Iterator[Chunk]:
    by_layers: dict[tuple[str, str], list[PlannedPair]] = {}
    for planned in missing:
        by_layers.setdefault((planned.pair.a.layer, planned.pair.b.layer), []).append(planned)
    for members in by_layers.values():
        rest = iter(members)
        while pairs := tuple(islice(rest, chunk_pairs)):
            yield Chunk(_short_digest("".join(planned.key for planned in pairs).encode()), pairs)
