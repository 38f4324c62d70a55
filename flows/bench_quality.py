"""`isthmus bench quality`: the figures of several ways of rendering strips, for any network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import SpecError
from flows.bench import machine_in_words
from flows.options import (
    InputNode,
    Json,
    ModelFile,
    ModelName,
    Preprocess,
    Sha256,
    SkipTokens,
    ValueRange,
    Weights,
    check_output_folder,
    model_data,
    warned_of_range,
)
from flows.terminal import progress_bars, quiet_libraries

if TYPE_CHECKING:
    from core.method.strip import Strip
    from core.models.model import Model

_DEFAULT_MODEL = "efficientnet-lite0"
_SHOWN_PAIRS = 12
_STRIPS_PX = 576
_Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        metavar="LAYER",
        help="Layer whose neurons are drawn; may be repeated.  [default: four layers of efficientnet-lite0]",
    ),
]
_Aligned = Annotated[
    list[str] | None,
    typer.Option(
        "--align", metavar="LAYER", help="Layer of alignment; may be repeated.  [default: those that suit the model]"
    ),
]
_Strips = Annotated[
    Path | None, typer.Option(help="WebP file to write: some pairs, each as lucid, as default and as walk.")
]


def quality(
    model: ModelName = _DEFAULT_MODEL,
    model_file: ModelFile = None,
    sha256: Sha256 = None,
    input_node: InputNode = None,
    value_range: ValueRange = None,
    preprocess: Preprocess = None,
    weights: Weights = None,
    skip_tokens: SkipTokens = None,
    layers: _Layers = None,
    aligned: _Aligned = None,
    pairs: Annotated[int, typer.Option(help="Pairs in each layer.", min=1, max=100)] = 6,
    across: Annotated[int, typer.Option(help="Pairs whose neurons are in two of the layers.", min=0, max=100)] = 8,
    walk: Annotated[bool, typer.Option(help="Also render strips between portraits.")] = True,
    strips: _Strips = None,
    as_json: Json = False,
) -> None:
    """Compare the quality and the time of the default strips with those of Lucid.

    The same pairs are rendered in up to four ways. independent: each frame is optimised alone; this is the reference.
    lucid: schedule, mix and scale of alignment are Lucid's. default: strips with the default settings. walk: the same
    between portraits. All figures are measured on the finished frames.
    """
    from core.bench.machine import Machine
    from core.machine import device

    quiet_libraries(verbose=False)
    if not layers and model != _DEFAULT_MODEL:
        raise SpecError(f"--layer: expected a layer of {model}; isthmus models layers lists them")
    if strips:
        check_output_folder(strips, "--strips")
    machine = asdict(Machine.here())
    network = _network(
        model_data(model, model_file, sha256, input_node, weights, value_range, preprocess, skip_tokens),
        {"--layer": layers, "--align": aligned},
    )
    device.prepare()
    from core.bench import quality as bench

    drawn = bench.draw_pairs(network, list(dict.fromkeys(layers or bench.LAYERS)), pairs, across=across)
    settings = bench.settings_by_row(network, walk=walk, aligned=aligned)
    with progress_bars(not as_json) as bars:
        bar = bars.add_task("pairs", total=len(drawn))
        rendered = bench.render_in_turn(network, drawn, settings, lambda: bars.advance(bar))
    if strips:
        strips.write_bytes(_picture([rendered[row] for row in settings if row != bench.INDEPENDENT]))
    figures = [asdict(row) for row in bench.compare(drawn, rendered, settings)]
    if as_json:
        print(json.dumps({"machine": machine, "model": model, "figures": figures}))
    else:
        print("\n".join([machine_in_words(machine), *_table(figures)]))


def _network(data: Mapping[str, Any], named: Mapping[str, Sequence[str] | None]) -> Model:
    """Return the model of a section `model` of a spec.

    Args:
        named: option -> the layers that it names.

    Raises:
        SpecError: if the model does not have one of these layers.
    """
    from core.models.models import check_layer, load
    from core.spec_file import parse_model

    spec = parse_model(data, "model")
    network = load(spec)
    for option, layers in named.items():
        for layer in layers or ():
            check_layer(network, layer, option)
    warned_of_range(network, spec)
    return network


def _picture(rows: Sequence[Sequence[Strip]]) -> bytes:
    """Return a WebP with the strips of some pairs, the ways of rendering a pair below one another."""
    from core.pictures import sheets

    pairs = len(rows[0])
    shown = sorted({number * pairs // _SHOWN_PAIRS for number in range(_SHOWN_PAIRS)})
    made = [sheets.encode_png(sheets.side_by_side(row[place].frames)) for place in shown for row in rows]
    return sheets.stack(made, width_limit_px=_STRIPS_PX)


def _table(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each figure, with a column for each way of rendering."""
    cells = {
        name.replace("_", " "): ["-" if row[name] is None else str(row[name]) for row in figures] for name in figures[0]
    }
    wide = max(map(len, cells))
    return [f"  {name:<{wide}}" + "".join(f"{cell:>13}" for cell in row) for name, row in cells.items()]
