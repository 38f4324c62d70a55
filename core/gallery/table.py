"""The table of all pairs: what the page's data say of each, in arrays, sorted by neurons.

Whole records take several kilobytes each, so a table keeps about a hundred bytes of each, and where its line is.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.atlas.ends import ends_of
from core.atlas.layer_order import read_layers
from core.atlas.recorded import read_lines
from core.atlas.records import Record
from core.atlas.scores import PHOTO_SCORES, SCORES, scores_of
from core.errors import RecordError, SpecError
from core.gallery.columns import rounded_values
from core.gallery.lines import Lines
from core.neurons import Neuron
from core.store.store import Store

DONE, FAILED = 0, 1
ENDS_UNKNOWN = 255
_SHORT = 8  # hex digits of a digest that readers see
_TYPES = {  # type codes of module array
    "a": "I",
    "b": "I",
    "setting": "I",
    "status": "B",
    "frames": "I",
    "size_px": "I",
    "walk": "B",
    "ends": "B",
    "origin": "I",
    "start": "Q",
    "length": "I",
    **dict.fromkeys(SCORES, "d"),
}
Order = Mapping[str, int]
"""Layer -> its place in the network."""


class Way(NamedTuple):
    """The way in which a strip was rendered: digests of its settings and of the weights, and the method's version."""

    settings: str
    weights: str
    method: int


@dataclass(frozen=True)
class Origin:
    """The model, the device and the package versions of a record."""

    model: str
    model_digest: str
    device: str
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """All pairs, sorted by the neuron a, the neuron b and the key.

    Attributes:
        layers: the layers with neurons, in the order of the network.
        neurons: the channels of each layer, ascending. A neuron's id is its running number over all layers.
        settings: settings digest -> settings, by digest.
        ways: the ways in which pairs were rendered, sorted.
        origins: those that `columns["origin"]` counts.
        columns: name -> array with a value for each row. `a` and `b` are ids of neurons; `setting` is an index into the
            ways; `status` is 0 if the pair is done, 1 if it failed; `walk` is 1 if the strip begins and ends on the
            portraits of its neurons; `ends` has the bits of `ends_of`, or 255; `start` and `length` say where the
            record's line is; scores are rounded, and NaN if unknown. The scores of photographs are NaN until
            `add_scores` is called.
        keys: shape (rows, 10), the bytes of each key.
        reasons: row -> why the pair failed.
        directions: id of a neuron of a derived layer -> the digests of its directions in the records.
    """

    layers: list[str]
    neurons: list[list[int]]
    settings: dict[str, dict[str, Any]]
    ways: list[Way]
    origins: list[Origin]
    columns: dict[str, NDArray[Any]]
    keys: NDArray[np.uint8]
    reasons: dict[int, str | None]
    directions: dict[int, set[str]]

    def __len__(self) -> int:
        return len(self.keys)

    def add_scores(self, scores: Mapping[str, NDArray[np.float64]]) -> None:
        """Set scores, name -> a value for each row; NaN is unknown."""
        self.columns.update({name: rounded_values(values) for name, values in scores.items()})


class Rows:
    """Collects the rows of a table from records in any sequence, also several records of one pair."""

    def __init__(self) -> None:
        self._columns: dict[str, array[Any]] = {name: array(code) for name, code in _TYPES.items()}
        self._keys = bytearray()
        self._neurons: dict[str, int] = {}
        self._ways: dict[Way, int] = {}
        self._origins: dict[Origin, int] = {}
        self._parsed: list[Neuron] = []
        self._settings_of: dict[str, dict[str, Any]] = {}
        self._reasons: dict[int, str | None] = {}
        self._directions: dict[int, set[str]] = {}

    def add(self, record: Record, start: int, length: int) -> None:
        """Add a record, whose line is *length* bytes long and begins at byte *start* of where the lines are kept.

        Raises:
            RecordError: if a neuron of the record is not written `layer:channel`, or a number is out of range.
        """
        if record.status == "failed":
            self._reasons[len(self._columns["a"])] = record.reason
        self._settings_of.setdefault(record.settings_digest, record.settings)
        ends = ends_of(record)
        origin = Origin(record.model, record.model_digest, record.device, tuple(sorted(record.versions.items())))
        numbers = (
            self._neuron(record.a, record.key),
            self._neuron(record.b, record.key),
            _number(self._ways, Way(record.settings_digest, record.model_digest, record.method)),
            DONE if record.status == "done" else FAILED,
            record.frames,
            record.size_px,
            record.strip == "walk",
            ENDS_UNKNOWN if ends is None else ends,
            _number(self._origins, origin),
            start,
            length,
            *(np.nan if score is None else score for score in scores_of(record)),
        )
        try:
            for column, number in zip(self._columns.values(), numbers, strict=True):
                column.append(number)
        except OverflowError:
            raise RecordError(f"record {record.key}: expected frames and size_px from 0 to 4294967295") from None
        self._keys += bytes.fromhex(record.key)
        for neuron, direction in zip(numbers[:2], record.directions or (), strict=False):
            if direction is not None:
                self._directions.setdefault(int(neuron), set()).add(direction)

    @property
    def model_digests(self) -> list[str]:
        """The digests of all models in the records, sorted."""
        return sorted({origin.model_digest for origin in self._origins})

    def _neuron(self, written: str, key: str) -> int:
        number = self._neurons.get(written)
        if number is None:
            try:
                neuron = Neuron.parse(written)
            except SpecError:
                raise RecordError(f"record {key}: expected a neuron as 'layer:channel', got {written!r}") from None
            number = self._neurons[written] = len(self._parsed)
            self._parsed.append(neuron)
        return number

    def table(self, order: Order) -> Table:
        """Return the table of all rows.

        If a pair has several records, the first one counts, but a finished one replaces a failed one.

        Args:
            order: the places of layers in the network. Other layers come after them, in the natural order of names.
        """
        columns: dict[str, NDArray[Any]] = {
            name: np.frombuffer(values, values.typecode) for name, values in self._columns.items()
        }
        keys = np.frombuffer(bytes(self._keys), np.uint8).reshape(-1, 10)
        halves = [keys[:, :8].copy().view(">u8").ravel(), keys[:, 8:].copy().view(">u2").ravel()]
        kept = _one_row_a_pair(halves, columns["status"])
        used = np.unique(np.concatenate([columns[end][kept] for end in "ab"]))
        in_order = sorted({self._parsed[number] for number in used}, key=lambda neuron: _place(neuron, order))
        ids = {neuron: number for number, neuron in enumerate(in_order)}
        id_of = np.array([ids.get(neuron, 0) for neuron in self._parsed], np.uint32)
        a, b = id_of[columns["a"]], id_of[columns["b"]]
        rows = kept[np.lexsort([halves[1][kept], halves[0][kept], b[kept], a[kept]])]
        ways, way_of = _renumbered(list(self._ways), columns["setting"][rows])
        sorted_columns = {name: values[rows] for name, values in columns.items() if name not in SCORES}
        sorted_columns |= {name: rounded_values(columns[name][rows]) for name in SCORES}
        failed = np.flatnonzero(sorted_columns["status"] == FAILED)
        return Table(
            *_layers(in_order),
            settings={way.settings: self._settings_of[way.settings] for way in ways},
            ways=ways,
            origins=list(self._origins),
            columns=sorted_columns
            | {"a": a[rows], "b": b[rows], "setting": way_of}
            | {name: np.full(len(rows), np.nan) for name in PHOTO_SCORES},
            keys=keys[rows],
            reasons={int(row): self._reasons[int(rows[row])] for row in failed},
            directions={
                ids[self._parsed[number]]: digests
                for number, digests in self._directions.items()
                if self._parsed[number] in ids
            },
        )


def read_table(store: Store, lines: Lines) -> Table:
    """Return the table of all recorded pairs of an atlas, and add the line of each record to *lines*.

    Raises:
        RecordError: if a record cannot be read.
        StoreError: if the store cannot be read, or the lines not be kept.
    """
    rows = Rows()
    for line, record in read_lines(store):
        rows.add(record, *lines.add(line))
    layers = next(filter(None, (read_layers(store, digest) for digest in rows.model_digests)), [])
    return rows.table({layer: place for place, layer in enumerate(layers)})


def table_neurons(table: Table) -> list[Neuron]:
    """Return all neurons of a table by their ids."""
    layers = zip(table.layers, table.neurons, strict=True)
    return [Neuron(layer, channel) for layer, channels in layers for channel in channels]


def lines_of(table: Table, lines: Lines, rows: slice) -> list[bytes]:
    """Return the lines of some rows, without their ends."""
    places = zip(table.columns["start"][rows].tolist(), table.columns["length"][rows].tolist(), strict=True)
    return [lines.read(start, length) for start, length in places]


def ways_by_name(table: Table) -> dict[str, dict[str, Any]]:
    """Return the ways in which a table's pairs were rendered: name -> settings, in the sequence of their numbers.

    A name is the digest of the settings. If weights or methods differ too, they are a part of the name and count as
    settings.
    """
    several = [name for name in ("weights", "method") if len({getattr(way, name) for way in table.ways}) > 1]
    named = {}
    for way in table.ways:
        others = {name: str(getattr(way, name))[:_SHORT] for name in several}
        named["-".join([way.settings, *others.values()])] = {**table.settings[way.settings], **others}
    return named


def differences(settings: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return for each settings what distinguishes it from the others, such as `steps 64, seed 1`."""
    flat = [dict(_flat(one)) for one in settings]
    names = sorted({name for one in flat for name in one})
    differing = [name for name in names if len({one.get(name) for one in flat}) > 1]
    return [", ".join(f"{name} {one.get(name, 'not set')}" for name in differing) for one in flat]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Yield the names and the values of settings as texts; those of settings within settings have a dot."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is None:
            yield f"{prefix}{name}", "none"
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _number(numbers: dict[Any, int], value: Any) -> int:
    """Return the number of a value, which gets the next number if it is new."""
    return numbers.setdefault(value, len(numbers))


def _one_row_a_pair(keys: Sequence[NDArray[Any]], status: NDArray[Any]) -> NDArray[np.intp]:
    """Return the rows that count: the first finished one of each key, or else the first."""
    rows = np.lexsort([status, keys[1], keys[0]])  # stable, so that equal keys of equal status stay in sequence
    new = np.ones(len(rows), bool)
    new[1:] = (keys[0][rows[1:]] != keys[0][rows[:-1]]) | (keys[1][rows[1:]] != keys[1][rows[:-1]])
    return rows[new]


def _renumbered(values: Sequence[Way], numbers: NDArray[Any]) -> tuple[list[Way], NDArray[np.uint32]]:
    """Return the values that are used, sorted, and the numbers of the same values among them."""
    used = sorted({values[number] for number in np.unique(numbers)})
    places = {value: place for place, value in enumerate(used)}
    return used, np.array([places.get(value, 0) for value in values], np.uint32)[numbers]


def _place(neuron: Neuron, order: Order) -> tuple[Any, ...]:
    """Return a sort key: the place of the neuron's layer in the network, then its name, then the channel."""
    return order.get(neuron.layer, len(order)), neuron.order


def _layers(neurons: Iterable[Neuron]) -> tuple[list[str], list[list[int]]]:
    """Return layers and their channels in the sequence of sorted neurons."""
    channels: dict[str, list[int]] = {}
    for layer, channel in neurons:
        channels.setdefault(layer, []).append(channel)
    return list(channels), list(channels.values())
