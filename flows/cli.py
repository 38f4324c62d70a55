"""The command line: its entry point, and the commands about an atlas.

Each command imports the heavy libraries that it needs, so that `isthmus --help` takes about 0.1 s.

Exit codes: 0 done; 1 some pairs failed or are missing, an atlas is damaged, unfinished or not published (`verify`; 0
after --repair), or a fault of Isthmus; 2 bad input; 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import SpecError, counted
from core.machine.loading import keep_loaded
from flows import failures
from flows.bench import app as bench_app
from flows.bench_quality import quality
from flows.cli_build import build, images
from flows.cli_export import export
from flows.cli_land import FLIGHT_FRAMES, flight, land
from flows.cli_models import models_app, preview
from flows.cli_open import open_page
from flows.health import check_health, listed_files, summary
from flows.options import (
    Atlas,
    Json,
    SpecFile,
    check_labels,
    check_output_folder,
    existing_atlas,
    existing_store,
    read_spec_file,
    warned_of_mixing,
    warned_of_range,
)
from flows.terminal import errors, quiet_libraries, warn, warn_of_one_writer

if TYPE_CHECKING:
    from core.atlas.plan import Plan
    from core.spec import AtlasSpec

app = typer.Typer(
    name="isthmus",
    help="""Render an atlas of interpolations between the neurons of an image model.

    A neuron is a channel of a layer, written layer:channel. For a pair of neurons a strip is rendered: images that lead
    from what excites the first neuron to what excites the second. An atlas has the strips of many pairs, and a gallery
    to browse them.""",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(models_app, name="models")
bench_app.command()(quality)
app.add_typer(bench_app, name="bench")

_BASES = {"atlas": "measured in this atlas", "device": "measured on this device", "assumed": "assumed, not measured"}


def main() -> None:
    """Run the command line; print an error that the user can correct in one line, without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # an encoding such as ASCII lacks dashes, umlauts and the bars of Rich
            stream.reconfigure(errors="backslashreplace")
    try:
        sys.exit(failures.run(lambda: app(prog_name="isthmus")))
    finally:
        keep_loaded()


@app.command()
def plan(spec: SpecFile, as_json: Json = False) -> None:
    """Print the pairs, chunks, minutes and megabytes of a build.

    Nothing is written to the atlas. If no update has been timed on this device yet, a few updates are run and timed
    first, which takes some seconds on a CPU and half a minute on a GPU.
    """
    from core.atlas.plan import make_plan
    from core.machine.parallel import chunks_at_once
    from core.models.models import load
    from core.rendering.renderers import measure_pace
    from core.store.store import open_store

    atlas = read_spec_file(spec)
    check_labels(atlas)
    store = open_store(atlas.uri, atlas.storage)
    known = chunks_at_once(atlas.compute)
    processes = known or 1
    warnings = warned_of_mixing(atlas, store)
    made = make_plan(atlas, store, processes)
    if made.unrecorded:
        warnings += warned_of_range(load(atlas.model), atlas.model)
    if made.basis == "assumed" and made.missing and atlas.compute.renders_here:
        quiet_libraries(verbose=False)
        with errors.status("measuring how long an update takes on this device"):
            measure_pace(made, atlas.compute.batch_pairs)
        made = make_plan(atlas, store, processes)
    facts = _facts(made, atlas, processes) | ({"warnings": warnings} if warnings else {})
    if as_json:
        print(json.dumps({**facts, "processes": known}))
    else:
        others = [
            f", and {counted(number, noun)}{more}"
            for number, noun, more in (
                (made.missing_portraits, "portrait", ""),
                (made.missing_blocks, "block", " of the land"),
                (made.missing_images, "photograph", " to read"),
            )
            if number
        ]
        to_render = f"{facts['missing']} to render{''.join(others)}{',' if others else ''}"
        gpu_hours = "" if facts["gpu_hours"] is None else f"{facts['gpu_hours']:.1f} GPU hours, "
        basis = _BASES[facts["estimate"]]
        if known is None:
            basis += "; the size of the Ray cluster is not known here, set compute.processes"
        print(
            f"{atlas.uri}: {counted(facts['pairs'], 'pair')}, {facts['done']} done, {facts['failed']} failed, "
            f"{to_render} in {counted(facts['chunks'], 'chunk')}: "
            f"about {facts['minutes']:.1f} minutes with {counted(processes, 'process', 'processes')} ({basis}), "
            f"{gpu_hours}{facts['megabytes']:.1f} MB"
        )


app.command()(build)  # in this order, because help lists the commands as they are registered
app.command()(images)
app.command()(preview)


@app.command()
def route(
    a: Annotated[str, typer.Argument(metavar="A", help="Neuron at the start of the route, layer:channel.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Neuron at the end of the route, layer:channel.")],
    atlas: Atlas,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="File: .webp or .mp4 for a movie, .png for all frames side by side."),
    ] = Path("route.webp"),
    captions: Annotated[
        bool, typer.Option("--captions", help="Write the name of the nearer neuron below each frame.")
    ] = False,
    over_land: Annotated[
        bool, typer.Option("--over-land", help="Fly over the land instead, in a straight line; nothing is rendered.")
    ] = False,
    frames: Annotated[
        int | None, typer.Option("--frames", help="Frames of a flight over the land (48 by default).", min=2, max=1000)
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the shortest route between two neurons, or a flight.

    The shortest route has the fewest strips. Of several such routes it is the smoothest: the one with the smallest
    differences between neighbouring frames. Routes are in walkable atlases, whose spec has strip: walk. A
    flight shows a window of one cell that moves over the land of an atlas from one neuron's place to the other's.
    """
    from core.atlas import roads
    from core.atlas import route_picture as routes
    from core.neurons import Neuron
    from core.store.store import DirectoryStore

    routes.check_suffix(output)
    check_output_folder(output)
    ends = Neuron.parse(a), Neuron.parse(b)
    if over_land:
        flight(atlas, ends, frames or FLIGHT_FRAMES, output, captions, as_json)
        return
    if frames is not None:
        raise SpecError("--frames: a route has the frames of its strips; give --over-land for a flight")
    store = existing_store(atlas)
    path = roads.shortest(roads.read_roads(store), *ends)
    pictures = routes.read_frames(store, path)
    if captions:
        pictures = routes.with_captions(pictures, routes.captions(path))
    DirectoryStore(output.parent).replace(output.name, routes.encode(pictures, output))
    neurons = [path[0].neurons[0], *(road.neurons[1] for road in path)]
    distance = sum(road.distance for road in path)
    if as_json:
        facts = {"file": str(output), "neurons": neurons, "strips": len(path), "frames": len(pictures)}
        print(json.dumps({**facts, "distance": float(f"{distance:.6g}")}))
    else:
        print(f"{output}: {counted(len(pictures), 'frame')} over {counted(len(path), 'strip')}: {' - '.join(neurons)}")


app.command()(land)


@app.command()
def verify(
    atlas: Atlas,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Remove damaged files and their records, so that a build renders them again."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check the files of an atlas, and whether it is finished.

    The files are compared with their sha256, and the records with the pairs of the spec.
    List the files that are missing, damaged or extra (without a record). The exit code is 0 if the atlas is whole:
    nothing is damaged, all pairs have records, and the gallery is published. Otherwise it is 1, but after --repair it
    is 0, because nothing is damaged then.
    """
    from core.atlas import verify as verification

    store, spec = existing_atlas(atlas)
    report = verification.verify(store)
    removed = verification.repair(store, report) if repair and not report.unpublished else ()
    health = check_health(store, spec, report, removed)
    if as_json:
        print(json.dumps({**asdict(report), "intact": report.intact, **health.facts()}))
    else:
        print("\n".join([*listed_files(report, removed), *summary(store, report, health)]))
    if health.state != "complete" and not repair:
        raise typer.Exit(1)


@app.command()
def publish(
    atlas: Atlas,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", metavar="FILE", help="CSV file of neuron,label: names for neurons, instead of others."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Rebuild the manifest, the data and the gallery of an atlas.

    Only the records are read; nothing is rendered.
    """
    from core.atlas.labels import read_labels, store_labels
    from core.atlas.manifest import PAGE_PATH
    from core.gallery.publish import publish as publish_records
    from core.machine.leftovers import sweep_machine

    given = None if labels is None else read_labels(labels)
    store = existing_store(atlas)
    warn_of_one_writer(store)
    if given is not None:
        store_labels(store, given)
    manifest = publish_records(store, store.name)
    counts, photographs = manifest.counts, manifest.photographs
    sweep_machine()
    page = store.location(PAGE_PATH)
    if photographs and photographs.missing:
        warn(
            f"{store}: {counted(photographs.missing, 'small picture')} of photographs could not be made; make sure "
            "that images.source of the spec can be read, and run isthmus images with the spec"
        )
    if as_json:
        print(json.dumps({**counts.model_dump(), "page": page}))
    else:
        print(f"{store}: published {counted(counts.pairs, 'pair')}, {counts.done} done, {counts.failed} failed")
        print(f"Open {page}")


app.command()(export)


app.command("open")(open_page)


def _facts(plan: Plan, spec: AtlasSpec, processes: int) -> dict[str, Any]:
    """Return the facts that `isthmus plan` prints, with the names that --json uses."""
    from core.atlas.pace import start_seconds
    from core.machine import device

    gpus = min(processes, len(device.gpus())) if spec.compute.renders_here else 0
    seconds = plan.seconds(processes) + (start_seconds(on_gpu=gpus > 0) if plan.chunks else 0)
    return {
        "atlas": spec.uri,
        "pairs": plan.pairs,
        "done": plan.done,
        "failed": plan.failed,
        "missing": plan.missing,
        **({"portraits_missing": plan.missing_portraits} if spec.strip == "walk" else {}),
        **({"blocks": plan.land.blocks, "blocks_missing": plan.land.missing} if plan.land else {}),
        **({"images": plan.images.images, "images_missing": plan.images.missing_images} if plan.images else {}),
        "chunks": sum(map(len, plan.stages)),
        "processes": processes,
        "minutes": round(seconds / 60, 2),
        "estimate": plan.basis,
        "gpu_hours": round(gpus * seconds / 3600, 2) if gpus else None,
        "megabytes": round(plan.stored_bytes() / 1e6, 2),
    }


if __name__ == "__main__":
    main()
