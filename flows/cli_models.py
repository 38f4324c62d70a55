"""The commands about models: list the kinds of model, list the layers of a model, preview a pair of its neurons."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import RenderDivergedError, SpecError, counted
from core.machine.loading import keep_loaded
from flows.options import (
    Frames,
    InputNode,
    Json,
    ModelFile,
    Preprocess,
    Sha256,
    SizePx,
    SkipTokens,
    ValueRange,
    Verbose,
    Weights,
    check_output_folder,
    model_data,
    read_spec_file,
    warned_of_range,
)
from flows.terminal import progress_bars, quiet_libraries, warn

if TYPE_CHECKING:
    from core.arrays import Array, Pixels
    from core.method.strip import Strip
    from core.models.model import Model
    from core.neurons import Pair
    from core.spec import ModelSpec, RenderSettings

models_app = typer.Typer(rich_markup_mode=None)
_LISTED_SIZE_PX = 128
PreviewedModel = Annotated[
    str, typer.Option("--model", metavar="NAME", help="Name of the image model, or a spec file with it.")
]
Schedule = Annotated[str, typer.Option(help="fast: first the ends, then the frames between. plain: Lucid's schedule.")]
Steps = Annotated[int | None, typer.Option(help="Updates of the images.  [default: 64, or 256 with schedule plain]")]


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context, as_json: Json = False) -> None:
    """List the kinds of model, or the layers of one model."""
    if context.invoked_subcommand is not None:
        return
    from core.models.models import KINDS

    if as_json:
        kinds = [{"name": name, "summary": kind.summary, "keys": kind.keys} for name, kind in KINDS.items()]
        print(json.dumps({"models": kinds}))
    else:
        width = max(map(len, KINDS))
        print("\n".join(f"{name:<{width}}  {kind.summary}" for name, kind in KINDS.items()))


@models_app.command()
def layers(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the image model, or a spec file with it.")],
    model_file: ModelFile = None,
    sha256: Sha256 = None,
    input_node: InputNode = None,
    weights: Weights = None,
    skip_tokens: SkipTokens = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """List the layers of a model.

    For each layer: its number of channels, its height x width for images of 128 px and of the network's own size, its
    kind, such as Conv2D, and whether its positions are a grid, tokens or none. Then whether it can be aligned, and
    whether pairs of nearest neurons can be selected in it, because the weights that feed it are found.
    """
    from core.models.models import layer_facts

    quiet_libraries(verbose)
    network = _network(model_data(model, model_file, sha256, input_node, weights, skip_tokens=skip_tokens))
    listed = layer_facts(network, _LISTED_SIZE_PX)
    if as_json:
        facts = {"model": network.name, "size_px": _LISTED_SIZE_PX, "own_size": network.own_size}
        print(json.dumps(facts | {"layers": listed, "unavailable": dict(network.unavailable)}))
        return
    for line in _table(listed, network.own_size):
        print(line)
    if network.unavailable:
        layer, reason = next(iter(network.unavailable.items()))
        more = len(network.unavailable)
        warn(f"{counted(more, 'layer')} more cannot be rendered, such as {layer}: {reason}")


def _table(listed: Mapping[str, Mapping[str, Any]], own_size: tuple[int, int] | None) -> Iterator[str]:
    """Yield a line for each layer."""
    from core.neurons import written_layer

    rows = [
        (
            written_layer(layer),
            f"{facts['channels']:>5} {'channel ' if facts['channels'] == 1 else 'channels'}",
            f"{_size(facts['size']):>7}",
            *(
                [f"{_size(facts['own_size']):>7} at {_size(own_size)} px" if facts["own_size"] else ""]
                if own_size
                else []
            ),
            facts["kind"],
            facts["positions"] or "none",
            "align" if facts["aligns"] else "-",
            "nearest" if facts["nearest"] is True else "-",
        )
        for layer, facts in listed.items()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True) if width).rstrip()


def _size(size: Sequence[int] | None) -> str:
    return "x".join(map(str, size or ()))


def preview(
    a: Annotated[str, typer.Argument(metavar="A", help="Neuron at the start of the strip, layer:channel.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Neuron at the end of the strip, layer:channel.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG file to write.")] = Path("strip.png"),
    model: PreviewedModel = "efficientnet-lite0",
    model_file: ModelFile = None,
    sha256: Sha256 = None,
    input_node: InputNode = None,
    value_range: ValueRange = None,
    preprocess: Preprocess = None,
    weights: Weights = None,
    skip_tokens: SkipTokens = None,
    frames: Frames = 6,
    size_px: SizePx = 128,
    schedule: Schedule = "fast",
    steps: Steps = None,
    seed: Annotated[int, typer.Option(help="Seed of the random numbers; another seed gives another strip.")] = 0,
    plot: Annotated[
        bool, typer.Option("--plot", help="Draw curves of the activations and the objective below the strip.")
    ] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Render the strip between two neurons into a PNG file.

    No atlas and no Prefect server is needed.
    """
    from core.atlas.selection import resolve_settings
    from core.models.models import check_neuron
    from core.neurons import Neuron, Pair
    from core.spec_file import parse_settings
    from core.store.store import DirectoryStore

    quiet_libraries(verbose)
    network = _network(model_data(model, model_file, sha256, input_node, weights, value_range, preprocess, skip_tokens))
    neurons = Neuron.parse(a), Neuron.parse(b)
    for neuron in neurons:
        check_neuron(network, neuron, "preview")
    pair = Pair.of(*neurons)
    given = {"frames": frames, "size_px": size_px, "schedule": schedule, "steps": steps, "seed": seed}
    given = {name: value for name, value in given.items() if value is not None}
    settings = resolve_settings(parse_settings(given, "preview"), network)
    if output.suffix.lower() != ".png":
        raise SpecError(f"--output: expected a file name that ends in .png, got {output}")
    check_output_folder(output)

    strip = _render(network, pair, settings, show=not as_json)
    if strip.failed_at is not None:
        raise RenderDivergedError(
            f"the objective was not finite at update {strip.failed_at}, nothing was written; try another seed or pair"
        )
    if pair.a != neurons[0]:  # a pair is unordered: the strip from b to a is the same one, from its other end
        strip = strip.backwards()
    DirectoryStore(output.parent).replace(output.name, _png(strip, (str(neurons[0]), str(neurons[1])), plot))
    if as_json:
        print(json.dumps({"file": str(output), **_facts(strip)}))
    else:
        print(f"{output}: {counted(frames, 'frame')} from {a} to {b} in {strip.seconds:.1f} s")
        print("\n".join(_in_words(strip, (a, b))))


def _network(model: dict[str, Any]) -> Model:
    """Return the model of a section `model` of a spec; ask about its range of values if images hardly move it.

    Args:
        model: the section; its name may be that of a spec file instead, and then nothing else is given.
    """
    from core.models.models import load

    spec = _model_spec(model)
    network = load(spec)
    warned_of_range(network, spec)
    return network


def _model_spec(model: dict[str, Any]) -> ModelSpec:
    from core.spec_file import parse_model

    name = model["name"]
    if not name.endswith((".yaml", ".yml")):
        return parse_model(model, "model")
    for key, value in model.items():
        if key != "name" and value is not None:
            raise SpecError(f"{name}: expected a spec file alone, got {key} beside it; write model.{key} into the spec")
    return read_spec_file(Path(name)).model


def _render(network: Model, pair: Pair, settings: RenderSettings, show: bool) -> Strip:
    """Render a pair in this process, and show a bar of its updates if *show*."""
    from core.machine import device

    with progress_bars(show) as progress:
        bar = progress.add_task("starting", total=settings.updates("pair"))
        device.prepare()
        keep_loaded()
        from core.method.strip_renderer import StripRenderer

        [strip] = StripRenderer(network, pair.layers, settings).render(
            [pair], lambda updates: progress.update(bar, completed=updates, description="updates")
        )
    return strip


def _png(strip: Strip, names: tuple[str, str], plot: bool) -> bytes:
    from core.pictures import sheets

    pixels: Pixels = sheets.side_by_side(strip.frames)
    if plot:
        from core.pictures.plot import plot_strip

        pixels = plot_strip(pixels, names, (strip.activation_a, strip.activation_b), strip.objective)
    return sheets.encode_png(pixels)


def _in_words(strip: Strip, names: tuple[str, str]) -> Iterator[str]:
    """Yield a line for each neuron: its activations, and whether it is dead."""
    for name, activations, dead in zip(names, (strip.activation_a, strip.activation_b), strip.dead, strict=True):
        note = "; not excited: nothing rendered excites it more than noise does" if dead else ""
        yield f"  {name}: {' '.join(f'{value:.2f}' for value in activations)}{note}"


def _facts(strip: Strip) -> dict[str, Any]:
    return {
        "activation_a": _rounded(strip.activation_a),
        "activation_b": _rounded(strip.activation_b),
        "neighbour_distance": _rounded(strip.neighbour_distance),
        "crossing": _rounded_number(strip.crossing),
        "pace": _rounded_number(strip.pace),
        "dead": list(strip.dead),
        "objective": _rounded(strip.objective[-1:])[0],
        "seconds": round(strip.seconds, 2),
    }


def _rounded(values: Array) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _rounded_number(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
