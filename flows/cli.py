"""The command line. Heavy libraries are imported by the commands that need them, so that help comes at once.

Exit codes: 0 done; 1 some pairs failed, or an atlas is not intact; 2 bad input; 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console

from core.errors import IsthmusError, SpecError, StoreError
from core.machine.loading import keep_loaded, quick_loading
from flows.bench import app as bench_app

if TYPE_CHECKING:
    from rich.progress import Progress

    from core.arrays import Array
    from core.atlas.plan import Plan
    from core.spec import AtlasSpec
    from core.store.store import Store

app = typer.Typer(
    name="isthmus",
    help="Render an atlas of interpolations between the neurons of an image model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
models_app = typer.Typer(rich_markup_mode=None)
app.add_typer(models_app, name="models")
app.add_typer(bench_app, name="bench")
_INTERRUPTED_CODES = (128 + signal.SIGINT, 128 + signal.SIGTERM)
_INTERRUPTED = "isthmus: interrupted; the same command goes on from here"
errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

_LISTED_SIZE_PX = 128
_BASES = {"atlas": "measured in this atlas", "device": "measured on this device", "assumed": "assumed, not measured"}
SpecFile = Annotated[Path, typer.Argument(metavar="SPEC", help="YAML file with the atlas spec.")]
Atlas = Annotated[
    str,
    typer.Argument(metavar="ATLAS", help="Folder or s3:// address of an atlas, or the spec that it was built from."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines, and no progress.")]
ModelFile = Annotated[
    str | None,
    typer.Option("--model-file", "--file", metavar="FILE", help="Its weights, for a model that needs a file."),
]
Sha256 = Annotated[str | None, typer.Option("--sha256", help="Of the file, if it is to be downloaded.")]
InputNode = Annotated[str | None, typer.Option("--input", metavar="NODE", help="The graph's node for images.")]
ValueRange = Annotated[
    tuple[float, float] | None,
    typer.Option("--value-range", metavar="BLACK WHITE", help="What the network expects for black and for white."),
]
Weights = Annotated[str | None, typer.Option("--weights", help="imagenet or none, for keras:NAME.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show what TensorFlow and Prefect have to say.")]


def main() -> None:
    """Run the command line; what a person can mend is told in one line."""
    try:
        app(prog_name="isthmus")
    except IsthmusError as error:
        errors.print(f"isthmus: {error}", markup=False)
        sys.exit(2)
    except SystemExit as stop:
        if stop.code in _INTERRUPTED_CODES:
            errors.print(_INTERRUPTED)
        raise
    finally:
        keep_loaded()


@app.command()
def plan(spec: SpecFile, as_json: Json = False) -> None:
    """Say how many pairs, chunks, minutes and megabytes a build would take. Nothing is written to the atlas.

    The first time on a device some updates are done to see how long they take. That needs some seconds, and on a GPU
    half a minute.
    """
    from core.atlas.plan import make_plan
    from core.machine.parallel import chunks_at_once
    from core.rendering.renderers import measure_pace
    from core.spec import read_spec
    from core.store.store import open_store

    atlas = read_spec(spec)
    store = open_store(atlas.uri, atlas.storage)
    known = chunks_at_once(atlas.compute)
    processes = known or 1
    made = make_plan(atlas, store, processes)
    if made.basis == "assumed" and made.missing and atlas.compute.renders_here:
        _quiet_libraries(verbose=False)
        with errors.status("measuring how long an update takes here"):
            pair, batch_pairs = next(made.missing_pairs).pair, atlas.compute.batch_pairs
            measure_pace(
                made.model,
                made.model_digest,
                made.settings,
                pair,
                atlas.strip,
                batch_pairs=batch_pairs,
                most=made.missing,
            )
        made = make_plan(atlas, store, processes)
    facts = _facts(made, atlas, processes)
    if as_json:
        print(json.dumps(facts))
    else:
        portraits = f", and {made.missing_portraits} portraits," if made.missing_portraits else ""
        gpu_hours = "" if facts["gpu_hours"] is None else f"{facts['gpu_hours']:.1f} GPU hours, "
        basis = _BASES[facts["estimate"]]
        if known is None:
            basis += "; the size of the Ray cluster is not known here, set compute.processes"
        print(
            f"{atlas.uri}: {facts['pairs']} pairs, {facts['done']} done, {facts['failed']} failed, "
            f"{facts['missing']} to render{portraits} in {facts['chunks']} chunks: "
            f"about {facts['minutes']:.1f} minutes with {processes} processes ({basis}), "
            f"{gpu_hours}{facts['megabytes']:.1f} MB"
        )


@app.command()
def build(spec: SpecFile, as_json: Json = False, verbose: Verbose = False) -> None:
    """Render the pairs that have no record yet, and publish the atlas. Go on after a stop by the same command."""
    from core.atlas.manifest import PAGE_PATH
    from core.atlas.plan import make_plan
    from core.gallery.publish import is_current
    from core.machine.parallel import chunks_at_once
    from core.spec import read_spec
    from core.store.store import open_store

    atlas = read_spec(spec)
    store = open_store(atlas.uri, atlas.storage)
    first = make_plan(atlas, store, chunks_at_once(atlas.compute) or 1)
    if not first.chunks and is_current(store, json.loads(atlas.to_json()), first.recorded):
        result: dict[str, Any] = {"pairs": first.pairs, "done": first.done, "failed": first.failed}
        result |= {"missing": 0, "rendered": 0}
    else:
        _warn_of_one_writer(store)
        _quiet_libraries(verbose)
        started = time.monotonic()
        # What libraries print, such as Ray, is not for whoever reads our answer.
        with _watching(store, first, show=not as_json), _interruptible(), redirect_stdout(sys.stderr):
            with quick_loading():
                from flows.prefect_server import start_where_none_is_configured

                wait_for_server = start_where_none_is_configured()
                from flows.build_atlas import BuildResult, UnfinishedBuildError, build_atlas, largest_round
                from flows.engines.choice import open_engine

            with open_engine(atlas.compute) as engine:
                engine.begin(largest_round(first))  # render processes load while the server does
                wait_for_server()
                try:
                    result = asdict(cast(BuildResult, build_atlas(atlas)))
                except UnfinishedBuildError as unfinished:
                    result = asdict(unfinished.result)
        result["seconds"] = round(time.monotonic() - started, 1)
    result["page"] = store.location(PAGE_PATH)
    if as_json:
        print(json.dumps(result))
    else:
        nothing = "nothing to render; " if not result["rendered"] else f"{result['rendered']} rendered; "
        print(
            f"{atlas.uri}: {nothing}{result['done']} of {result['pairs']} pairs done, {result['failed']} failed, "
            f"{result['missing']} missing"
        )
        print(f"Open {result['page']}")
    if result["failed"] or result["missing"]:
        raise typer.Exit(1)


@app.command()
def preview(
    a: Annotated[str, typer.Argument(metavar="A", help="Neuron that the strip starts from, layer:channel.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Neuron that the strip leads to.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG file to write.")] = Path("strip.png"),
    model: Annotated[str, typer.Option(metavar="NAME", help="The image model.")] = "efficientnet-lite0",
    model_file: ModelFile = None,
    sha256: Sha256 = None,
    input_node: InputNode = None,
    value_range: ValueRange = None,
    weights: Weights = None,
    frames: Annotated[int, typer.Option(help="Frames in the strip.")] = 6,
    size_px: Annotated[int, typer.Option("--size-px", help="Height and width of a frame.")] = 128,
    schedule: Annotated[str, typer.Option(help="plain or fast.")] = "plain",
    steps: Annotated[
        int | None, typer.Option(help="Updates of the image.  [default: 256, or 96 with schedule fast]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives another picture.")] = 0,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the curves of activation and objective below.")] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Render one pair into a PNG, without Prefect."""
    from core.atlas.selection import resolve_settings
    from core.models.models import check_neuron, load
    from core.neurons import Neuron, Pair
    from core.spec import parse_model, parse_settings

    model_spec = parse_model(_model_data(model, model_file, sha256, input_node, weights, value_range), "model")
    network = load(model_spec)
    neurons = Neuron.parse(a), Neuron.parse(b)
    for neuron in neurons:
        check_neuron(network, neuron, "preview")
    pair = Pair.of(*neurons)
    given = {"frames": frames, "size_px": size_px, "schedule": schedule, "steps": steps, "seed": seed}
    given = {name: value for name, value in given.items() if value is not None}
    settings = resolve_settings(parse_settings(given, "preview"), network)
    if output.suffix.lower() != ".png":
        raise SpecError(f"--output: expected a file name that ends in .png, got {output}")
    _check_folder(output)

    _quiet_libraries(verbose)
    from core.machine import device
    from core.pictures import sheets
    from core.store.store import DirectoryStore

    with _progress(show=not as_json) as progress:
        bar = progress.add_task("starting", total=settings.steps)
        device.prepare()
        keep_loaded()
        from core.method.strip import StripRenderer

        [strip] = StripRenderer(network, pair.layers, settings).render(
            [pair], lambda updates: progress.update(bar, completed=updates, description="updates")
        )
    if strip.failed_at is not None:
        errors.print(f"isthmus: the objective was not finite at update {strip.failed_at}; nothing written")
        raise typer.Exit(1)
    if pair.a != neurons[0]:  # a pair is unordered; somebody who asks for (b, a) sees its strip from the other end
        strip = strip.backwards()
    pixels = sheets.side_by_side(strip.frames)
    if plot:
        from core.pictures.plot import plot_strip

        pixels = plot_strip(pixels, (a, b), (strip.activation_a, strip.activation_b), strip.objective)
    DirectoryStore(output.parent).replace(output.name, sheets.encode_png(pixels))
    if as_json:
        facts = {
            "file": str(output),
            "activation_a": _rounded(strip.activation_a),
            "activation_b": _rounded(strip.activation_b),
            "neighbour_distance": _rounded(strip.neighbour_distance),
            "objective": _rounded(strip.objective[-1:])[0],
            "seconds": round(strip.seconds, 2),
        }
        print(json.dumps(facts))
    else:
        print(f"{output}: {frames} frames from {a} to {b} in {strip.seconds:.1f} s")
        print(f"  {a}: {' '.join(f'{value:.2f}' for value in strip.activation_a)}")
        print(f"  {b}: {' '.join(f'{value:.2f}' for value in strip.activation_b)}")


@app.command()
def route(
    a: Annotated[str, typer.Argument(metavar="A", help="Neuron that the road starts from, layer:channel.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Neuron that the road leads to.")],
    atlas: Atlas,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .webp for a movie, .png for one sheet.")
    ] = Path("route.webp"),
    captions: Annotated[bool, typer.Option("--captions", help="Write the nearer neuron's name below.")] = False,
    as_json: Json = False,
) -> None:
    """Show the shortest road between two neurons of a walkable atlas: the fewest strips, and the smoothest of those."""
    from core.atlas import roads
    from core.atlas import route_picture as routes
    from core.neurons import Neuron
    from core.store.store import DirectoryStore

    routes.check_suffix(output)
    _check_folder(output)
    ends = Neuron.parse(a), Neuron.parse(b)
    store = _existing(atlas)
    way = roads.shortest(roads.read_roads(store), *ends)
    frames = routes.read_frames(store, way)
    if captions:
        frames = routes.with_captions(frames, routes.captions(way))
    DirectoryStore(output.parent).replace(output.name, routes.encode(frames, output))
    neurons = [way[0].neurons[0], *(road.neurons[1] for road in way)]
    distance = sum(road.distance for road in way)
    if as_json:
        facts = {"file": str(output), "neurons": neurons, "strips": len(way), "frames": len(frames)}
        print(json.dumps({**facts, "distance": float(f"{distance:.6g}")}))
    else:
        print(f"{output}: {len(frames)} frames over {len(way)} strips: {' - '.join(neurons)}")


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context, as_json: Json = False) -> None:
    """List the kinds of model, or the layers of one."""
    if context.invoked_subcommand is not None:
        return
    from core.spec import MODEL_KINDS

    if as_json:
        kinds = [{"name": name, "summary": kind.summary, "keys": kind.keys} for name, kind in MODEL_KINDS.items()]
        print(json.dumps({"models": kinds}))
    else:
        width = max(map(len, MODEL_KINDS))
        print("\n".join(f"{name:<{width}}  {kind.summary}" for name, kind in MODEL_KINDS.items()))


@models_app.command()
def layers(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model, as in a spec.")],
    model_file: ModelFile = None,
    sha256: Sha256 = None,
    input_node: InputNode = None,
    weights: Weights = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """List the layers of a model with their channels, kind and size for images of 128 px."""
    from core.models.models import load
    from core.spec import parse_model

    spec = parse_model(_model_data(model, model_file, sha256, input_node, weights), "model")
    _quiet_libraries(verbose)
    network = load(spec)
    sizes = network.sizes(_LISTED_SIZE_PX)
    listed = {
        layer: {"channels": channels, "kind": network.kind(layer), "size": sizes[layer]}
        for layer, channels in network.layers.items()
    }
    if as_json:
        print(json.dumps({"model": model, "size_px": _LISTED_SIZE_PX, "layers": listed}))
        return
    width = max(map(len, listed), default=0)
    for layer, facts in listed.items():
        size = "x".join(map(str, sizes[layer] or ()))
        print(f"{layer:<{width}}  {facts['channels']:>5} channels  {size:>7}  {facts['kind']}")


@app.command()
def verify(
    atlas: Atlas,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove damaged files and their records, to be rendered anew by a build.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check every sha256 of an atlas and say what is missing, extra or damaged."""
    from core.atlas import verify as verification

    store = _existing(atlas)
    report = verification.verify(store)
    if repair:
        verification.repair(store, report)
    if as_json:
        print(json.dumps({**asdict(report), "intact": report.intact}))
    else:
        for kind in ("missing", "damaged", "extra"):
            for path in getattr(report, kind):
                print(f"{kind}: {path}")
        summary = f"{len(report.missing)} missing, {len(report.damaged)} damaged, {len(report.extra)} extra"
        print(f"{store}: {report.checked} files checked, {summary}")
        if not report.intact and not repair:
            print("To mend it: isthmus verify --repair, then isthmus build with its spec")
    if not report.intact:
        raise typer.Exit(1)


@app.command()
def publish(atlas: Atlas, as_json: Json = False) -> None:
    """Rebuild manifest, data and gallery from the records alone."""
    from core.atlas.manifest import PAGE_PATH
    from core.gallery.publish import publish as publish_records

    store = _existing(atlas)
    _warn_of_one_writer(store)
    counts = publish_records(store, store.name).counts
    page = store.location(PAGE_PATH)
    if as_json:
        print(json.dumps({**counts.model_dump(), "page": page}))
    else:
        print(f"{store}: published {counts.pairs} pairs, {counts.done} done, {counts.failed} failed")
        print(f"Open {page}")


@app.command("open")
def open_page(atlas: Atlas, as_json: Json = False) -> None:
    """Show the gallery of an atlas in a browser, or say where it is."""
    from core.atlas.manifest import PAGE_PATH

    store = _existing(atlas)
    if not store.exists(PAGE_PATH):
        raise SpecError(f"{store}: expected a published atlas, it has no index.html; run isthmus publish first")
    page = store.location(PAGE_PATH)
    is_file = "://" not in page  # a bucket may not be open to browsers, and only its owner knows
    opened = is_file and webbrowser.open(Path(page).as_uri())
    if as_json:
        print(json.dumps({"page": page, "opened": opened}))
    else:
        print(f"No browser found here; open {page}" if is_file and not opened else page)


def _model_data(
    name: str,
    file: str | None,
    sha256: str | None,
    input_node: str | None,
    weights: str | None,
    value_range: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """A model as a spec has it, from the options that name one."""
    return {
        "name": name,
        "file": file,
        "sha256": sha256,
        "input": input_node,
        "weights": weights,
        "value_range": value_range,
    }


def _check_folder(output: Path) -> None:
    if not output.parent.is_dir():
        raise SpecError(f"--output: expected a file in an existing folder, {output.parent} does not exist")


def _rounded(values: Array) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _facts(plan: Plan, spec: AtlasSpec, processes: int) -> dict[str, Any]:
    from core.machine import device

    seconds = plan.seconds(processes)
    gpus = min(processes, len(device.gpus())) if spec.compute.renders_here else 0
    return {
        "atlas": spec.uri,
        "pairs": plan.pairs,
        "done": plan.done,
        "failed": plan.failed,
        "missing": plan.missing,
        **({"portraits_missing": plan.missing_portraits} if spec.strip == "walk" else {}),
        "chunks": sum(map(len, plan.stages)),
        "processes": processes,
        "minutes": round(seconds / 60, 2),
        "estimate": plan.basis,
        "gpu_hours": round(gpus * seconds / 3600, 2) if gpus else None,
        "megabytes": round(plan.stored_bytes() / 1e6, 2),
    }


def _existing(atlas: str) -> Store:
    """The store of an atlas that is named by its address or by its spec."""
    from core.spec import read_spec
    from core.store.store import open_store

    path = Path(atlas)
    if atlas.startswith("s3://"):
        return open_store(atlas)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        spec = read_spec(path)
        return open_store(spec.uri, spec.storage)
    if not path.is_dir():
        raise SpecError(f"{atlas}: expected the folder of an atlas or a spec file, found neither")
    return open_store(atlas)


def _warn_of_one_writer(store: Store) -> None:
    from core.store.store import ONE_WRITER

    if not store.allows_many_writers():
        errors.print(f"isthmus: warning: {store}: {ONE_WRITER}", markup=False)


def _quiet_libraries(verbose: bool) -> None:
    """Keep TensorFlow and Prefect silent, here and in the processes to come, unless they are wanted."""
    from core.machine.device import VERBOSE

    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "90")  # it takes 5, but not everywhere
    if verbose:
        os.environ[VERBOSE] = "1"
    else:
        # Only what goes to the terminal: a Prefect server still gets every line.
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
        os.environ.setdefault("PYTHONWARNINGS", "ignore")
        logging.captureWarnings(True)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Make an interrupt from the keyboard, or SIGTERM, end a build soon, and with the exit code that is usual for it.

    Prefect's server hears that the run was stopped; but the libraries on the way may make another exception of the one
    that is raised here.
    """
    stopped: list[int] = []

    def stop(number: int, _frame: object) -> None:
        stopped.append(128 + number)
        raise SystemExit(stopped[0])

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except Exception as error:
        # While a flow runs SIGTERM is Prefect's, which raises TerminationSignal; pydantic makes its own error of it.
        if "TerminationSignal" in str(error):
            stopped.append(128 + signal.SIGTERM)
        if stopped:
            raise SystemExit(stopped[0]) from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopped:
        raise SystemExit(stopped[0])


@contextmanager
def _progress(show: bool) -> Iterator[Progress]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("·"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=errors,
        disable=not (show and errors.is_terminal),
        transient=True,
    ) as progress:
        yield progress


@contextmanager
def _watching(store: Store, plan: Plan, show: bool) -> Iterator[None]:
    """Show how many pairs have a sheet, while somebody else renders them: the store is where progress can be seen."""
    from core.atlas.records import sheet_path

    waiting = {sheet_path(planned.key) for planned in plan.missing_pairs}
    total, stop = len(waiting), threading.Event()
    with _progress(show) as progress:
        bar = progress.add_task("pairs", total=total)

        def watch() -> None:
            pause = 1.0
            while not stop.wait(pause):
                began = time.monotonic()
                with suppress(StoreError):  # whoever renders meets it too, and says so
                    waiting.difference_update(store.list("sheets/"))
                pause = max(1.0, 20 * (time.monotonic() - began))
                progress.update(bar, completed=total - len(waiting))

        watcher = threading.Thread(target=watch, name="progress", daemon=True)
        if not progress.disable:
            watcher.start()
        try:
            yield
        finally:
            stop.set()
            if watcher.is_alive():
                watcher.join(timeout=1)  # it may be waiting for an answer


if __name__ == "__main__":
    main()
