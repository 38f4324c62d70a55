"""Small pictures of the photographs that are shown, which are read from their source once more.

They are made after all activations are known, in threads. A photograph that is gone by then, or has changed, has no
picture but a reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from core.atlas.evidence import Evidence, entry_digest, photograph_digest, read_digests
from core.atlas.evidence_summary import NeuronSummary, summarise
from core.atlas.image_records import (
    LEFT_OUT_PATH,
    LICENCE_PATH,
    THUMBNAIL_RECORDS,
    THUMBNAILS,
    ThumbnailRecord,
    thumbnail_path,
    thumbnails_from_ndjson,
)
from core.atlas.keys import short_digest
from core.atlas.records import Key, to_ndjson
from core.machine.processors import processors
from core.machine.threads import in_threads
from core.neurons import Neuron
from core.photographs.decoding import Box, check_size, file_digest, without_warnings
from core.photographs.listing import Listing, Photograph, Piece, UnreadableError
from core.photographs.source import Source, open_source
from core.photographs.thumbnail import thumbnails
from core.spec import Storage
from core.store.store import Store, keep

Wanted = tuple[int, Box | None]
"""A small picture: the number of its photograph, and the part of what the network sees; None for everything."""

_TOGETHER = 64  # photographs whose pictures share a file of records
_LONGEST_CAPTION = 500
_LARGEST_TEXT = 100_000
_CHANGED = "it has changed since its activations were computed"


def wanted_thumbnails(summaries: Iterable[NeuronSummary]) -> set[Wanted]:
    """Return the pictures that neurons need: each shown photograph, and the part of it that excites the neuron."""
    shown = [each for summary in summaries for each in (*summary.strongest, *summary.middle)]
    return {(each.number, box) for each in shown for box in (None, each.box)}


def read_thumbnails(store: Store, evidence: Evidence) -> dict[Wanted, ThumbnailRecord]:
    """Return the recorded pictures of the photographs in the list.

    Raises:
        RecordError: if a record cannot be read.
        StoreError: if the store cannot be read.
    """
    numbers: dict[Key, list[int]] = {}
    for number, photograph in enumerate(evidence.listing.photographs):
        numbers.setdefault(photograph_digest(photograph), []).append(number)
    found: dict[Wanted, ThumbnailRecord] = {}
    paths = list(store.list(THUMBNAIL_RECORDS))
    for path, data in zip(paths, store.read_many(paths), strict=True):
        for record in thumbnails_from_ndjson(data, f"{store}/{path}"):
            for number in numbers.get(record.photograph, ()) if record.size == evidence.album.size else ():
                wanted = (number, record.box)
                if wanted not in found or _worth(record, wanted, evidence) > _worth(found[wanted], wanted, evidence):
                    found[wanted] = record
    return found


def _worth(record: ThumbnailRecord, wanted: Wanted, evidence: Evidence) -> int:
    """Return 0 for a record without a picture, 2 for one that has the caption of the source as well."""
    return 0 if record.sha256 is None else 1 + (record.text == _text_of(wanted, evidence))


def _text_of(wanted: Wanted, evidence: Evidence) -> Key | None:
    """Return the digest of the file that has the caption of a picture; None if there is none."""
    number, box = wanted
    caption = evidence.listing.photographs[number].caption
    return entry_digest(caption) if caption and box is None else None


def show_photographs(store: Store, storage: Storage, evidence: Evidence, neurons: Sequence[Neuron]) -> None:
    """Make the pictures that some neurons need, and write the licence and the table of the files that are left out.

    Pictures that could not be made before are tried again, because their photographs may be back, and so are those that
    have another caption now. If the album may not be published, all pictures are removed instead.

    Args:
        storage: settings of the object store that has the photographs, if one has them.

    Raises:
        SpecError: if the source does not exist.
        RecordError: if a record cannot be read.
        StoreError: if the source cannot be read or the store cannot be written.
    """
    store.replace(LEFT_OUT_PATH, evidence.left_out_csv())
    if evidence.album.publish:
        _carry_licence(store, open_source(evidence.album.source, storage), evidence.listing)
        wanted = wanted_thumbnails(summarise(store, evidence, neurons).values())
        make_thumbnails(store, storage, evidence, wanted, again=True)
    else:
        remove_thumbnails(store)


def make_thumbnails(
    store: Store, storage: Storage, evidence: Evidence, wanted: Iterable[Wanted], *, again: bool = False
) -> None:
    """Make pictures of photographs that have none, with their captions.

    The source is not opened if nothing is missing.

    Args:
        again: whether to make again, wanted or not, what could not be made before and what has another caption now;
            otherwise the photographs of these are not read.

    Raises:
        SpecError: if the source does not exist.
        RecordError: if a record cannot be read.
        StoreError: if the source cannot be read or the store cannot be written.
    """
    recorded = read_thumbnails(store, evidence)
    missing = set(wanted).difference(recorded)
    if again:
        missing.update(each for each, record in recorded.items() if _worth(record, each, evidence) < 2)
    boxes: dict[int, list[Box | None]] = {}
    for number, box in sorted(missing, key=lambda each: (each[0], each[1] or ())):
        boxes.setdefault(number, []).append(box)
    if not boxes:
        return
    making = _Making(store, open_source(evidence.album.source, storage), evidence, read_digests(store, evidence, boxes))
    threads = processors()
    with without_warnings():
        made = in_threads(making.make, boxes.items(), threads=threads, held=4 * threads)
        while together := list(islice(made, _TOGETHER)):
            lines = to_ndjson(record for records in together for record in records)
            store.create(f"{THUMBNAIL_RECORDS}{short_digest(lines)}.ndjson", lines)


def remove_thumbnails(store: Store) -> None:
    """Delete all small pictures, their captions and their records."""
    for path in list(store.list(THUMBNAILS)):
        store.delete(path)


@dataclass(frozen=True)
class _Making:
    """Makes the pictures of photographs.

    Attributes:
        digests: number of a photograph -> digest of its file when its activations were computed.
    """

    store: Store
    source: Source
    evidence: Evidence
    digests: Mapping[int, int]

    def make(self, wanted: tuple[int, Sequence[Box | None]]) -> list[ThumbnailRecord]:
        """Store some pictures of a photograph and return their records."""
        number, boxes = wanted
        photograph = self.evidence.listing.photographs[number]
        size, digest = self.evidence.album.size, photograph_digest(photograph)
        try:
            pictures = thumbnails(self._read(number, photograph.file), size, boxes)
        except UnreadableError as error:
            return [ThumbnailRecord(photograph=digest, size=size, box=box, reason=str(error)) for box in boxes]
        caption = self._caption(photograph) if None in boxes else None
        records = []
        for box, picture in zip(boxes, pictures, strict=True):
            sha256 = hashlib.sha256(picture).hexdigest()
            keep(self.store, thumbnail_path(sha256), picture)
            said = caption if box is None else None
            text = _text_of((number, box), self.evidence)
            records.append(
                ThumbnailRecord(
                    photograph=digest,
                    size=size,
                    box=box,
                    sha256=sha256,
                    bytes=len(picture),
                    caption=said,
                    text=text,
                )
            )
        return records

    def _read(self, number: int, file: Piece) -> bytes:
        check_size(file.bytes)
        data = self.source.read(file)
        if file_digest(data) != self.digests.get(number):
            raise UnreadableError(_CHANGED)
        return data

    def _caption(self, photograph: Photograph) -> str | None:
        """Return the caption of a photograph in one line: that of its text file, or the field caption of its JSON."""
        text = None if photograph.caption is None else _text(self.source, photograph.caption)
        if text is None or photograph.caption is None:
            return None
        if photograph.caption.path.lower().endswith(".json"):
            try:
                found = json.loads(text)
            except (ValueError, RecursionError):
                return None
            text = found.get("caption") if isinstance(found, dict) else None
        return " ".join(text.split())[:_LONGEST_CAPTION] or None if isinstance(text, str) else None


def _carry_licence(store: Store, source: Source, listing: Listing) -> None:
    """Keep the licence that the source has now, or none."""
    text = None if listing.licence is None else _text(source, listing.licence)
    if text:
        store.replace(LICENCE_PATH, text.encode())
    elif listing.licence is None and store.exists(LICENCE_PATH):
        store.delete(LICENCE_PATH)


def _text(source: Source, file: Piece) -> str | None:
    """Return a small text; None if it cannot be read."""
    if not 0 < file.bytes <= _LARGEST_TEXT:
        return None
    try:
        return source.read(file).decode("utf-8-sig", errors="replace")
    except UnreadableError:
        return None
