"""The page's data: index shards, with what tiles and filters need, and detail shards, with whole records."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import chain
from statistics import fmean
from typing import Any

from core.atlas.records import Record
from core.errors import RecordError, SpecError
from core.neurons import Neuron

_DONE, _FAILED = 0, 1
_SIGNIFICANT_DIGITS = 4  # a third of the bytes of a full float; a tile shows three digits


def index_shard(records: Sequence[Record], details: Sequence[str], pairs_per_detail: int) -> bytes:
    """Return a script with the fields that tiles show and that filtering and sorting need, one list per field.

    If every row has the same value, that value stands instead of the list. `keys` is one string of all keys. `a_layer`
    and `b_layer` are indices into `layers`; `setting` is an index into `settings`, the settings' digests. `walk` is 1
    if the strip begins and ends on the portraits of its neurons. `reason` maps the rows of failed pairs to their
    reasons. Numbers that a pair does not have are null. The scores are described in `_scores`.

    Args:
        records: the records of the shard, one for each row.
        details: paths of the detail shards that have these records.
        pairs_per_detail: number of pairs in each detail shard but the last.

    Raises:
        RecordError: if a record's neuron is not written `layer:channel`.
    """
    layers: dict[str, int] = {}
    settings: dict[str, int] = {}
    neurons_a = [_neuron(record.a, record.key) for record in records]
    neurons_b = [_neuron(record.b, record.key) for record in records]
    for layer, _ in (*neurons_a, *neurons_b):
        layers.setdefault(layer, len(layers))
    for record in records:
        settings.setdefault(record.settings_digest, len(settings))
    columns = {
        "pairs": len(records),
        "layers": list(layers),
        "settings": list(settings),
        "details": list(details),
        "pairs_per_detail": pairs_per_detail,
        "keys": "".join(record.key for record in records),
        "a_layer": column([layers[layer] for layer, _ in neurons_a]),
        "a_channel": column([channel for _, channel in neurons_a]),
        "b_layer": column([layers[layer] for layer, _ in neurons_b]),
        "b_channel": column([channel for _, channel in neurons_b]),
        "setting": column([settings[record.settings_digest] for record in records]),
        "status": column([_DONE if record.status == "done" else _FAILED for record in records]),
        "walk": column([int(record.strip == "walk") for record in records]),
        "reason": {str(row): record.reason for row, record in enumerate(records) if record.status == "failed"},
        "frames": column([record.frames for record in records]),
        "size_px": column([record.size_px for record in records]),
        **_scores(records),
    }
    return f"isthmus.data({script_json(columns)});\n".encode()


def detail_shard(lines: Sequence[bytes]) -> bytes:
    """Return a script with whole records.

    Each record is the text of its line, so that a browser parses only the record that it shows.
    """
    return f"isthmus.details({script_json([line.decode().rstrip() for line in lines])});\n".encode()


def _scores(records: Sequence[Record]) -> dict[str, Any]:
    """Return the columns of scores.

    - `activation_a`, `activation_b`: activation of a on the first frame and of b on the last frame;
    - `smoothness`: mean squared difference of neighbouring frames, values in [0, 1]; the smaller, the smoother;
    - `distance`: mean squared difference of neighbouring frames' activations, averaged over the alignment layers; the
      smaller, the more similar;
    - `balance`: how equally the frames excite both neurons, see `_balance`;
    - `objective`: the last value of the objective;
    - `crossing`, `pace`: see `Record`;
    - `weaker_end`: the smaller share of its reach that a neuron keeps at its own end, 0 if a neuron is dead.

    `dead` says which neurons are dead: 0 neither, 1 a, 2 b, 3 both; null if that was not measured.
    """
    return {
        "activation_a": column([_mean(record.activation_a[:1]) for record in records]),
        "activation_b": column([_mean(record.activation_b[-1:]) for record in records]),
        "smoothness": column([_mean(record.neighbour_distance) for record in records]),
        "distance": column([_mean(list(chain(*record.layer_distance.values()))) for record in records]),
        "balance": column([_balance(record.activation_a, record.activation_b) for record in records]),
        "objective": column([_mean([last.objective for last in record.checkpoints[-1:]]) for record in records]),
        "crossing": column([rounded(record.crossing) for record in records]),
        "pace": column([rounded(record.pace) for record in records]),
        "weaker_end": column([_weaker_end(record) for record in records]),
        "dead": column([_dead(record) for record in records]),
    }


def _neuron(written: str, key: str) -> tuple[str, int]:
    try:
        return Neuron.parse(written)
    except SpecError:
        raise RecordError(f"record {key}: expected a neuron as 'layer:channel', got {written!r}") from None


def _balance(activation_a: Sequence[float], activation_b: Sequence[float]) -> float | None:
    """Return 1 - mean |a - b| over the frames, each activation as a share of the neuron's greatest.

    Negative activations count as 0. The result is 1 if every frame excites both neurons equally, and 0 if each
    frame excites only one of them. It is None if a neuron is never excited.
    """
    greatest_a, greatest_b = max(activation_a, default=0.0), max(activation_b, default=0.0)
    if greatest_a <= 0 or greatest_b <= 0:
        return None
    shares = zip(activation_a, activation_b, strict=True)
    return _mean([1 - abs(max(a, 0.0) / greatest_a - max(b, 0.0) / greatest_b) for a, b in shares])


def _weaker_end(record: Record) -> float | None:
    """Return the smaller of both shares that are kept, 0 if a neuron is dead, or None if a share is unknown."""
    if record.dead_a or record.dead_b:
        return 0.0
    if record.kept_a is None or record.kept_b is None:
        return None
    return rounded(min(record.kept_a, record.kept_b))


def _dead(record: Record) -> int | None:
    """Return 1 if a is dead, plus 2 if b is dead, or None if none is known to be dead and one was not measured."""
    dead = int(record.dead_a) + 2 * int(record.dead_b)
    measured = None not in (record.reach_a, record.reach_b, record.noise_a, record.noise_b)
    return dead if dead or measured else None


def column(values: list[Any]) -> Any:
    """Return the list, or the one value that all rows have."""
    return values[0] if values and all(value == values[0] for value in values) else values


def _mean(values: Sequence[float]) -> float | None:
    """Return the mean, rounded, or None if there are no values or the mean is not finite."""
    return rounded(fmean(values)) if values else None


def rounded(value: float | None) -> float | None:
    """Return the value with as many digits as a shard has, or None if it is not known or not finite."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{_SIGNIFICANT_DIGITS}g}")


def script_json(value: object) -> str:
    """Return JSON that is safe inside a script: ASCII, and without `<` it cannot open or close an element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
