"""The gallery: one static page over column shards of the records.

The page works from a folder as well as from a web server. A page that was opened from a folder may load scripts but not
fetch data, so a shard is a classic script, `isthmus.data({...});`, with one list per field. Everything here is a pure
function of its arguments: the same atlas gives the same bytes.

Names, reasons and settings are data from outside. They reach the page as JSON or through Jinja's escaping, and from
there only ever as text.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from core.errors import RecordError
from core.records import Record

_HERE = Path(__file__).parent
_DONE, _FAILED = 0, 1
_SIGNIFICANT_DIGITS = 5  # more than anybody reads off a tile, and half the bytes of a full float


def index_shard(records: Sequence[Record]) -> bytes:
    """The fields that a tile shows, as a script with one list per field.

    A field that has the same value in every row is that value instead of a list. `a_layer` and `b_layer` are indices
    into `layers`; `reason` maps the rows of failed pairs to their reasons. `activation_a` is that of the first frame
    and `activation_b` that of the last: how well each end excites its own neuron. `smoothness` is the mean squared
    difference of neighbouring frames, smaller being smoother. `kept` are the updates of the checkpoints before the
    last, with spaces between. Numbers that a failed pair does not have are null.

    Raises:
        RecordError: if a record's neuron is not written `layer:channel`.
    """
    layers: dict[str, int] = {}
    neurons_a = [_neuron(record.a, record.key) for record in records]
    neurons_b = [_neuron(record.b, record.key) for record in records]
    for layer, _ in (*neurons_a, *neurons_b):
        layers.setdefault(layer, len(layers))
    last_checkpoints = [record.checkpoints[-1:] for record in records]  # none or one
    columns = {
        "layers": list(layers),
        "key": [record.key for record in records],
        "a_layer": _column([layers[layer] for layer, _ in neurons_a]),
        "a_channel": _column([channel for _, channel in neurons_a]),
        "b_layer": _column([layers[layer] for layer, _ in neurons_b]),
        "b_channel": _column([channel for _, channel in neurons_b]),
        "status": _column([_DONE if record.status == "done" else _FAILED for record in records]),
        "reason": {str(row): record.reason for row, record in enumerate(records) if record.status == "failed"},
        "frames": _column([record.frames for record in records]),
        "size_px": _column([record.size_px for record in records]),
        "steps": _column([last[0].step if last else None for last in last_checkpoints]),
        "kept": _column([" ".join(str(c.step) for c in record.checkpoints[:-1]) for record in records]),
        "objective": _column([_mean([checkpoint.objective for checkpoint in last]) for last in last_checkpoints]),
        "activation_a": _column([_mean(record.activation_a[:1]) for record in records]),
        "activation_b": _column([_mean(record.activation_b[-1:]) for record in records]),
        "smoothness": _column([_mean(record.neighbour_distance) for record in records]),
    }
    return f"isthmus.data({_script_json(columns)});\n".encode()


def pages(
    name: str,
    model: str,
    counts: Mapping[str, int],
    shard_paths: Sequence[str],
    settings: Mapping[str, Mapping[str, Any]],
) -> dict[str, bytes]:
    """The page with its script and style, as path -> bytes; the page is last, so that it never names a missing file.

    Args:
        name: of the atlas.
        model: as the spec names it.
        counts: how many pairs are `done` and `failed`.
        shard_paths: of the index shards, relative to the page, in the order in which their pairs are shown.
        settings: settings digest -> the settings that rendered some of the pairs.
    """
    script = (_HERE / "gallery.js").read_bytes()
    style = (_HERE / "gallery.css").read_bytes()
    script_path = f"assets/gallery-{_digest(script)}.js"
    style_path = f"assets/gallery-{_digest(style)}.css"
    jinja = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = jinja.get_template("page.html.j2").render(
        name=name,
        model=model,
        done=counts.get("done", 0),
        failed=counts.get("failed", 0),
        shape=_shape(settings),
        settings={digest: _as_texts(settings[digest]) for digest in sorted(settings)},
        script_path=script_path,
        style_path=style_path,
        shard_paths=shard_paths,
    )
    return {script_path: script, style_path: style, "index.html": page.encode()}


def _neuron(written: str, key: str) -> tuple[str, int]:
    """Layer and channel. More lenient than `Neuron.parse`: whatever a layer is called, its record can be shown."""
    layer, _, channel = written.rpartition(":")
    if not (layer and channel.isascii() and channel.isdigit()):
        raise RecordError(f"record {key}: expected a neuron as 'layer:channel', got {written!r}")
    return layer, int(channel)


def _column(values: list[Any]) -> Any:
    """The list, or its only value if all rows have the same."""
    return values[0] if values and all(value == values[0] for value in values) else values


def _mean(values: Sequence[float]) -> float | None:
    """The mean, or None where there is none to speak of."""
    if not values or not math.isfinite(mean := fmean(values)):
        return None
    return float(f"{mean:.{_SIGNIFICANT_DIGITS}g}")


def _script_json(value: object) -> str:
    """JSON that no script can misread: ASCII only, and without `<` it cannot close or open an element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:10]


def _shape(settings: Mapping[str, Mapping[str, Any]]) -> str:
    """What the strips are, such as `6 frames of 128 px, 512 steps`; several, where the settings differ in it."""
    shapes = {f"{one['frames']} frames of {one['size_px']} px, {one['steps']} steps" for one in settings.values()}
    return " or ".join(sorted(shapes))


def _as_texts(settings: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
        for name, value in sorted(settings.items())
    }
