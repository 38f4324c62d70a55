"""The photographs of the page: those that excite each neuron most, and those of the natural strips.

Photographs themselves are never published, but small pictures of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from core.atlas.evidence import Evidence, read_evidence
from core.atlas.evidence_summary import NeuronSummary, summarise
from core.atlas.image_records import ThumbnailRecord
from core.atlas.manifest import DataFile, PhotographFiles
from core.atlas.photograph_means import read_levels_and_means, read_means
from core.atlas.thumbnails import make_thumbnails, read_thumbnails
from core.errors import SpecError, StoreError
from core.gallery.natural_strips import NaturalStrips, Scores, natural_strips, scores_alone
from core.gallery.table import Table, table_neurons
from core.neurons import Neuron
from core.photographs.decoding import Box
from core.spec import Storage
from core.store.store import Store

Thumbnail = tuple[int, Box | None]
"""The number of a photograph, and the part of it that a small picture shows; None: everything the network sees."""


@dataclass(frozen=True)
class OtherNeurons:
    """Neurons of the page that may have no pairs, those of the land, and the digest of their model."""

    neurons: Sequence[Neuron]
    model_digest: str


@dataclass(frozen=True)
class Photographs:
    """The neurons and pairs of the page on photographs.

    Attributes:
        summaries: id of a neuron of the table -> its summary, for the neurons whose layers were recorded.
        others: neuron without pairs -> its summary.
        strips: the natural strips of all rows; photographs are numbers in the list.
    """

    evidence: Evidence
    summaries: Mapping[int, NeuronSummary]
    others: Mapping[Neuron, NeuronSummary]
    strips: NaturalStrips

    @property
    def wanted(self) -> set[Thumbnail]:
        """The small pictures that the page shows; none if the spec forbids them."""
        if not self.evidence.album.publish:
            return set()
        found: set[Thumbnail] = {(int(number), None) for number in np.unique(self.strips.photographs) if number >= 0}
        for summary in (*self.summaries.values(), *self.others.values()):
            found.update((shown.number, shown.box) for shown in summary.strongest)
            found.update((shown.number, None) for shown in (*summary.strongest, *summary.middle))
        return found


def read_photographs(store: Store, table: Table, others: OtherNeurons | None = None) -> Photographs | None:
    """Return what is known of neurons from photographs; None if nothing is.

    Args:
        table: the pairs, whose neurons these are.
        others: neurons without pairs.

    Raises:
        RecordError: if a file is damaged.
        StoreError: if a file cannot be read.
    """
    evidence = read_evidence(store)
    if evidence is None or evidence.count < 2:
        return None
    seen, alone = _Seen.of(evidence, table), _recorded_others(evidence, table, others)
    if not (seen.neurons or alone):
        return None
    neurons = list(seen.neurons.values())
    levels, means, shown = read_levels_and_means(store, evidence, neurons)
    strips = natural_strips(table, seen.ids, levels, means, shown, seen.rows).of_list(_numbers(evidence))
    summaries = summarise(store, evidence, [*neurons, *alone])
    of_pairs = {number: summaries[neuron] for number, neuron in seen.neurons.items()}
    return Photographs(evidence, of_pairs, {neuron: summaries[neuron] for neuron in alone}, strips)


def read_scores(store: Store, table: Table) -> Scores:
    """Return the scores of photographs of all rows of a table; nothing if no photographs were compared.

    Raises:
        RecordError: if a file is damaged.
        StoreError: if a file cannot be read.
    """
    evidence = read_evidence(store)
    if evidence is None or evidence.count < 2:
        return {}
    seen = _Seen.of(evidence, table)
    return scores_alone(table, seen.ids, read_means(store, evidence, list(seen.neurons.values())), seen.rows)


@dataclass(frozen=True)
class _Seen:
    """The pairs of a table whose network has seen the photographs.

    Attributes:
        rows: shape (row,): whether the network of that row is the one that has seen the photographs.
        neurons: id -> neuron, for the neurons of these rows whose activations are recorded.
    """

    rows: NDArray[np.bool_]
    neurons: Mapping[int, Neuron]

    @classmethod
    def of(cls, evidence: Evidence, table: Table) -> _Seen:
        by_network = [origin.model_digest == evidence.album.model_digest for origin in table.origins]
        rows = np.array(by_network, bool)[table.columns["origin"]]
        every = table_neurons(table)
        used = np.unique(np.concatenate([table.columns[end][rows] for end in "ab"])).tolist()
        return cls(rows, {number: every[number] for number in used if _is_recorded(evidence, table, number, every)})

    @property
    def ids(self) -> NDArray[np.intp]:
        """The ids of the neurons."""
        return np.array(list(self.neurons), np.intp)


def _is_recorded(evidence: Evidence, table: Table, number: int, every: Sequence[Neuron]) -> bool:
    """Return whether photographs were compared with a neuron; in a derived layer, with the directions of all rows."""
    neuron = every[number]
    if not evidence.has(neuron):
        return False
    compared = evidence.album.directions.get(neuron.layer, {}).get(neuron.channel)
    return table.directions.get(number, set()) <= {compared}


def _recorded_others(evidence: Evidence, table: Table, others: OtherNeurons | None) -> list[Neuron]:
    """Return the neurons without pairs whose activations are recorded."""
    if others is None or others.model_digest != evidence.album.model_digest:
        return []
    with_pairs = set(table_neurons(table))
    return [neuron for neuron in others.neurons if neuron not in with_pairs and evidence.has(neuron)]


def _numbers(evidence: Evidence) -> NDArray[np.int32]:
    """Return the numbers in the list of the photographs that count."""
    return np.concatenate([part.first + evidence.rows(part) for part in evidence.parts]).astype(np.int32)


def small_pictures(
    store: Store, photographs: Photographs, spec: Mapping[str, Any]
) -> Mapping[Thumbnail, ThumbnailRecord]:
    """Return the small pictures that exist, after those that the page lacks have been made, as far as possible.

    Photographs that can no longer be read have none; then the page shows their numbers. Publishing does not try again,
    because thousands may be gone; `core.atlas.thumbnails.show_photographs` does.

    Args:
        spec: the stored spec, perhaps one of an older version; its object store may have the photographs.
    """
    evidence = photographs.evidence
    if not evidence.album.publish:
        return {}
    try:
        storage = Storage.model_validate(spec.get("storage") or {})
    except ValidationError:
        storage = Storage()
    with suppress(SpecError, StoreError):  # without the source, the pictures that exist are shown
        make_thumbnails(store, storage, evidence, photographs.wanted)
    return read_thumbnails(store, evidence)


def photograph_files(
    photographs: Photographs,
    pictures: Mapping[Thumbnail, ThumbnailRecord],
    album: DataFile,
    scripts: list[DataFile],
) -> PhotographFiles:
    """Return what the manifest says about photographs."""
    evidence = photographs.evidence
    return PhotographFiles(
        evidence=evidence.digest,
        photographs=evidence.count,
        published=evidence.album.publish,
        pictures=_count(pictures),
        missing=sum(1 for wanted in photographs.wanted if wanted not in pictures or pictures[wanted].sha256 is None),
        album=album,
        scripts=scripts,
    )


def are_photographs_published(store: Store, files: PhotographFiles | None) -> bool:
    """Return whether the photographs of a manifest, and their small pictures, are those that are recorded now."""
    evidence = read_evidence(store)
    if evidence is None or files is None:
        return evidence is None and files is None
    published = evidence.album.publish
    pictures = _count(read_thumbnails(store, evidence)) if published else 0
    return (files.evidence, files.published, files.pictures) == (evidence.digest, published, pictures)


def _count(pictures: Mapping[Thumbnail, ThumbnailRecord]) -> int:
    return sum(1 for record in pictures.values() if record.sha256)
