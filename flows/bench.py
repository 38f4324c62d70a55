"""`isthmus bench`: measurements for people and, with --json, for machines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import typer
import yaml

app = typer.Typer(
    help="Measure speed and quality here, as ratios within one run.", no_args_is_help=True, rich_markup_mode=None
)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]
Layer = Annotated[str, typer.Option(metavar="LAYER", help="Of the neurons that are rendered.")]
_LAYER = "block9_expand_pre_relu"
_MOST_BARE_SECONDS = 6
_BETWEEN_BARE_SECONDS = 50
_SHOWN_STRIPS = 6
_STRIPS_PX = 576


@app.command()
def step(
    model: Annotated[str, typer.Option(metavar="NAME", help="The image model.")] = "efficientnet-lite0",
    model_file: Annotated[str | None, typer.Option(metavar="FILE", help="Its weights, where it needs a file.")] = None,
    layer: Layer = _LAYER,
    frames: Annotated[int, typer.Option(help="Frames in a strip.")] = 6,
    size_px: Annotated[int, typer.Option("--size-px", help="Height and width of a frame.")] = 128,
    batch_pairs: Annotated[int, typer.Option(help="Strips in one batch.", min=1, max=1024)] = 1,
    precision: Annotated[str, typer.Option(help="float32, tf32 or bfloat16.")] = "float32",
    xla: Annotated[
        bool, typer.Option("--xla", help="Compile the step's network, on a GPU; never the bare one.")
    ] = False,
    repeats: Annotated[int, typer.Option(help="Times that each is taken.", min=1, max=1000)] = 15,
    pairs: Annotated[int, typer.Option(help="Also render so many pairs, for how memory grows.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Compare an update with the bare model: forward and backward of the network up to the layer."""
    from core.atlas.selection import resolve_settings
    from core.bench.machine import Machine
    from core.machine import device
    from core.models.models import check_neuron, load
    from core.neurons import Neuron, Pair
    from core.spec import parse_model, parse_settings

    machine = Machine.here()
    network = load(parse_model({"name": model, "file": model_file}, "model"))
    pair = Pair.of(Neuron(layer, 0), Neuron(layer, 1))
    check_neuron(network, pair.b, "--layer")
    given = {"frames": frames, "size_px": size_px, "precision": precision, "xla": xla}
    settings = resolve_settings(parse_settings(given, "bench"), network)
    device.prepare()
    from core.bench.step import measure_step, memory_slope

    figures = asdict(measure_step(network, pair, settings, batch_pairs=batch_pairs, repeats=repeats))
    if pairs > 1:
        figures["mb_per_pair"] = round(memory_slope(network, layer, settings, pairs), 3)
    _show(asdict(machine), [{"model": model, **figures}], as_json)


@app.command()
def atlas(
    pairs: Annotated[int, typer.Option(help="In the atlas.", min=1, max=100_000)] = 40,
    steps: Annotated[int, typer.Option(help="Updates of each strip.", min=1)] = 256,
    processes: Annotated[int | None, typer.Option(help="At once; by default one per core.", min=1)] = None,
    single: Annotated[bool, typer.Option(help="Build it with one process too.")] = True,
    as_json: Json = False,
) -> None:
    """Compare whole builds, start and gallery included, with what the bare model alone would take.

    Efficiency: pairs per second of the build, over processes x those of the bare model in one process. That is timed
    before and after each build, and every minute while the build is stopped for it, because a machine's clock may
    wander by a third within minutes; the seconds of the build are those in which it was not stopped.
    """
    from core.bench.machine import Machine
    from core.machine.parallel import process_count

    machine = Machine.here()
    at_once = process_count(processes)
    counts = [at_once, 1] if single and at_once > 1 else [at_once]
    builds = [_build(pairs, steps, count) for count in counts]
    for build in builds:  # by what the bare model could do meanwhile
        speedup = build["processes"] * build["efficiency"] / builds[-1]["efficiency"] / builds[-1]["processes"]
        build["times_one_process"] = round(speedup, 3)
    _show(asdict(machine), builds, as_json)


@app.command()
def quality(
    pairs: Annotated[int, typer.Option(help="In each of four layers.", min=1, max=100)] = 6,
    picture: Annotated[Path | None, typer.Option(help="PNG file for the courses of the schedules.")] = None,
    strips: Annotated[
        Path | None, typer.Option(help="WebP file for some strips, one schedule above the other.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare the schedules plain and fast: what they reach on the finished frames, and in which time."""
    from core.bench.machine import Machine
    from core.machine import device
    from core.models.models import load
    from core.pictures import sheets
    from core.pictures.plot import plot_curves
    from core.spec import parse_settings

    machine = Machine.here()
    model = load("efficientnet-lite0")
    device.prepare()
    from core.bench.quality import LAYERS, draw_pairs, follow

    drawn = draw_pairs(model, LAYERS, pairs)
    settings = [parse_settings({"schedule": schedule}, "bench") for schedule in ("plain", "fast")]
    followed = [follow(model, drawn, each) for each in settings]
    courses = [course for course, _ in followed]
    if picture:
        panels = {
            "objective on the frames": {c.schedule: (c.seconds, c.objective) for c in courses},
            "alignment": {c.schedule: (c.seconds, c.alignment) for c in courses},
        }
        picture.write_bytes(sheets.encode_png(plot_curves(panels, "s")))
    if strips:
        shown = range(0, len(drawn), max(1, len(drawn) // _SHOWN_STRIPS))
        sheets_shown = [
            sheets.encode_png(sheets.side_by_side(made[number].frames)) for number in shown for _, made in followed
        ]
        strips.write_bytes(sheets.stack(sheets_shown, width_limit_px=_STRIPS_PX))
    plain_seconds = courses[0].seconds[-1]
    rows = [
        {
            "schedule": course.schedule,
            "pairs": len(drawn),
            "updates": course.updates[-1],
            "seconds": course.seconds[-1],
            "share_of_plain": round(course.seconds[-1] / plain_seconds, 3),
            "objective": course.objective[-1],
            "alignment": course.alignment[-1],
            "neighbour_distance": course.neighbour_distance,
        }
        for course in courses
    ]
    _show(asdict(machine), rows, as_json, courses=[asdict(course) for course in courses])


@app.command()
def scale(
    channels: Annotated[int, typer.Option(help="Plan all pairs among so many channels.", min=2, max=672)] = 508,
    records: Annotated[list[int] | None, typer.Option(help="Publish so many records; may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Plan and publish large synthetic atlases: seconds and memory."""
    from core.bench.machine import Machine
    from core.bench.scale import measure_plan, measure_publish

    machine = Machine.here()
    _show(asdict(machine), [*measure_plan(channels), *measure_publish(records or [1_000, 10_000, 100_000])], as_json)


def _bare_seconds(pairs: int) -> float:
    """Of an update of the bare model for one strip; timed for longer beside large builds, but never for long.

    In a process of its own, which then leaves all memory to the build.
    """
    seconds = min(_MOST_BARE_SECONDS, pairs / 2)
    code = (
        "from core.machine import device; device.prepare(); "  # before anything imports TensorFlow: it would talk
        f"from core.bench.step import bare_seconds; print(bare_seconds({_LAYER!r}, seconds={seconds}))"
    )
    return float(subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE).stdout)


def _build(pairs: int, steps: int, processes: int) -> dict[str, Any]:
    """Build an atlas by the command line, in a folder that is removed again, and time the bare model in between."""
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "bench.yaml"
        content = {
            "name": "bench",
            "output": folder,
            "pairs": {"select": "random", "neurons": [f"{_LAYER}:0-479"], "n": pairs},
            "render": {"steps": steps},
            "compute": {"processes": processes},
        }
        spec.write_text(yaml.safe_dump(content))
        command = [sys.executable, "-m", "flows.cli", "build", str(spec), "--json"]
        # With a temporary server, whatever server the environment or a profile names.
        alone = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
        alone["PREFECT_PROFILES_PATH"] = str(Path(folder) / "profiles.toml")
        bare = [_bare_seconds(pairs)]
        started, stopped = time.perf_counter(), 0.0
        build = subprocess.Popen(command, stdout=subprocess.PIPE, env=alone, start_new_session=True)
        try:
            while not _has_ended(build, within=_BETWEEN_BARE_SECONDS):
                stopped_at = time.perf_counter()
                os.killpg(build.pid, signal.SIGSTOP)
                bare.append(_bare_seconds(pairs))
                os.killpg(build.pid, signal.SIGCONT)
                stopped += time.perf_counter() - stopped_at
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(build.pid, signal.SIGKILL)
            raise
        seconds = time.perf_counter() - started - stopped
        bare.append(_bare_seconds(pairs))
        lines = [line for path in (Path(folder) / "bench/records").iterdir() for line in path.read_text().splitlines()]
        rendering = sum(json.loads(line)["seconds"] for line in lines) - processes * stopped
    bare_pair, pair = steps * mean(bare), rendering / pairs
    return {
        "pairs": pairs,
        "steps": steps,
        "processes": processes,
        "seconds": round(seconds, 2),
        "pair_seconds": round(pair, 3),
        "bare_pair_seconds": round(bare_pair, 3),
        "efficiency": round(pairs * bare_pair / processes / seconds, 3),
        "rendering_efficiency": round(bare_pair / pair, 3),
    }


def _has_ended(build: subprocess.Popen[bytes], *, within: float) -> bool:
    """Whether a build has, after waiting for it.

    Raises:
        CalledProcessError: if it has failed.
    """
    try:
        build.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        return False
    if build.returncode:
        raise subprocess.CalledProcessError(build.returncode, build.args)
    return True


def _show(machine: Mapping[str, Any], rows: Iterable[Mapping[str, Any]], as_json: bool, **more: Any) -> None:
    """Print a line a row, or everything, with what is for machines only."""
    if as_json:
        print(json.dumps({"machine": machine, "figures": list(rows), **more}))
        return
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    print(f"{machine['device']}, {machine['cores']} cores, load {machine['load']} at the start; {versions}")
    for row in rows:
        print("  " + ", ".join(f"{name.replace('_', ' ')} {_written(value)}" for name, value in row.items()))


def _written(value: Any) -> str:
    return " - ".join(dict.fromkeys(value)) if isinstance(value, list | tuple) else str(value)
