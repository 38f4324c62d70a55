"""`isthmus bench`: measurements as text or, with --json, as one JSON object."""

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
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from core.errors import SpecError
from flows.options import Frames, Json, ModelFile, ModelName, SizePx
from flows.terminal import warn

if TYPE_CHECKING:
    from core.spec import RenderSettings

app = typer.Typer(
    help="""Measure speed and quality on this machine.

    Times that are compared are taken in turn within one run, because machines differ and are noisy. The reference is
    the bare model: the forward and backward pass of the network up to a layer.""",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_LAYER = "block9_expand_pre_relu"
_MOST_NEURONS = 480  # of the layer; the pairs are chosen among them
_BATCH_PAIRS = 1
_MAX_BARE_SECONDS = 6
_BETWEEN_BARE_SECONDS = 50
_PUBLISHED = (1_000, 10_000, 100_000)


@app.command()
def step(
    model: ModelName = "efficientnet-lite0",
    model_file: ModelFile = None,
    layer: Annotated[str, typer.Option(metavar="LAYER", help="Layer of the neurons that are rendered.")] = _LAYER,
    frames: Frames = 6,
    size_px: SizePx = 128,
    batch_pairs: Annotated[int, typer.Option(help="Pairs in one batch.", min=1, max=1024)] = _BATCH_PAIRS,
    pack: Annotated[int | None, typer.Option(hidden=True, min=1, max=1024)] = None,
    precision: Annotated[
        str, typer.Option(help="Precision of the network's arithmetic: float32, tf32 or bfloat16.")
    ] = "float32",
    xla: Annotated[
        bool, typer.Option("--xla", help="On a GPU, compile the update's network with XLA, but not the bare model.")
    ] = False,
    repeats: Annotated[int, typer.Option(help="Number of measurements of each time.", min=1, max=1000)] = 15,
    pairs: Annotated[
        int, typer.Option(help="If 2 or more, also render this many pairs and measure how memory grows.", min=0)
    ] = 0,
    as_json: Json = False,
) -> None:
    """Compare the time of one update with that of the bare model."""
    from core.atlas.selection import resolve_settings
    from core.bench.machine import Machine
    from core.machine import device
    from core.models.models import check_neuron, load
    from core.neurons import Neuron, Pair
    from core.spec_file import parse_model, parse_settings

    batch_pairs = _renamed_pack(batch_pairs, pack)
    machine = Machine.here()
    network = load(parse_model({"name": model, "file": model_file}, "model"))
    pair = Pair.of(Neuron(layer, 0), Neuron(layer, 1))
    check_neuron(network, pair.b, "--layer")
    given = {"schedule": "plain", "frames": frames, "size_px": size_px, "precision": precision, "xla": xla}
    settings = resolve_settings(parse_settings(given, "bench"), network)
    device.prepare()
    from core.bench.step import measure_step, memory_slope

    figures = asdict(measure_step(network, pair, settings, batch_pairs=batch_pairs, repeats=repeats))
    if pairs > 1:
        figures["mb_per_pair"] = round(memory_slope(network, layer, settings, pairs), 3)
    _show(asdict(machine), [{"model": model, **figures}], as_json)


@app.command()
def atlas(
    pairs: Annotated[int, typer.Option(help="Pairs in the atlas.", min=1, max=100_000)] = 40,
    steps: Annotated[int, typer.Option(help="`render.steps` of the atlas.", min=1)] = 64,
    layer: Annotated[str, typer.Option(metavar="LAYER", help="Layer of the neurons that are rendered.")] = _LAYER,
    frames: Frames = 6,
    size_px: SizePx = 128,
    processes: Annotated[
        int | None, typer.Option(help="Render processes; by default one per GPU, or one per core.", min=1)
    ] = None,
    single: Annotated[bool, typer.Option(help="Also build the atlas with one process.")] = True,
    as_json: Json = False,
) -> None:
    """Compare the time of whole builds with that of the bare model.

    A whole build includes its start and the gallery. Efficiency is the build's pairs per second, divided by the number
    of processes times the pairs per second of the bare model in one process. The bare model is timed before and after
    each build, and about every minute while it renders, because the clock of a machine may drift by a third within
    minutes. The build is paused meanwhile, and the pauses do not count.
    """
    from core.bench.machine import Machine
    from core.machine.parallel import process_count
    from core.models.models import check_neuron, load
    from core.neurons import Neuron
    from core.spec_file import parse_model, parse_settings

    machine = Machine.here()
    network = load(parse_model("efficientnet-lite0", "model"))
    check_neuron(network, Neuron(layer, 1), "--layer")
    neurons = f"{layer}:0-{min(_MOST_NEURONS, network.layers[layer]) - 1}"
    settings = parse_settings({"steps": steps, "frames": frames, "size_px": size_px}, "bench")
    at_once = process_count(processes)
    counts = [at_once, 1] if single and at_once > 1 else [at_once]
    builds = [_build(pairs, neurons, settings, count) for count in counts]
    for build in builds:  # compared by efficiency, because the clock may have drifted from one build to the next
        speedup = build["processes"] * build["efficiency"] / builds[-1]["efficiency"] / builds[-1]["processes"]
        build["times_one_process"] = round(speedup, 3)
    _show(asdict(machine), builds, as_json)


@app.command()
def scale(
    channels: Annotated[
        int, typer.Option(help="Channels of a layer; all pairs among them are planned.", min=2, max=672)
    ] = 508,
    records: Annotated[
        list[int] | None,
        typer.Option(help="Records to publish; may be repeated.  [default: 1000, 10000 and 100000]"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure the seconds and the memory that large atlases take.

    The atlases are synthetic. They are planned and published; nothing is rendered.
    """
    from core.bench.machine import Machine
    from core.bench.scale import measure_plan, measure_publish

    machine = Machine.here()
    _show(asdict(machine), [*measure_plan(channels), *measure_publish(records or _PUBLISHED)], as_json)


def _renamed_pack(batch_pairs: int, pack: int | None) -> int:
    """Return the value of --batch-pairs, which may also be given by its old name --pack.

    Raises:
        SpecError: if the two names were given with different values.
    """
    if pack is None:
        return batch_pairs
    if batch_pairs not in (_BATCH_PAIRS, pack):
        raise SpecError("--pack: the old name of --batch-pairs, which is given too; remove it")
    warn("--pack is called --batch-pairs now; the old name still works")
    return pack


def _bare_seconds(pairs: int, layer: str, settings: RenderSettings) -> float:
    """Return the seconds of the bare model for one update of one strip, timed in a new process.

    The process ends before the build resumes, so that the build has all memory. The model is timed for half a second
    per pair of the build, up to an upper bound.
    """
    given = {"frames": settings.frames, "size_px": settings.size_px, "seconds": min(_MAX_BARE_SECONDS, pairs / 2)}
    code = (
        "from core.machine import device; device.prepare(); "  # before TensorFlow is imported, to silence it
        f"from core.bench.step import bare_seconds; print(bare_seconds({layer!r}, **{given}))"
    )
    return float(subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE).stdout)


def _build(pairs: int, neurons: str, settings: RenderSettings, processes: int) -> dict[str, Any]:
    """Build an atlas by the command line in a temporary folder, and time the bare model before, during and after.

    Args:
        neurons: a range of channels of a layer, as in a spec; the pairs are chosen among them at random.
    """
    layer = neurons.rpartition(":")[0]
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "bench.yaml"
        content = {
            "name": "bench",
            "output": folder,
            "pairs": {"select": "random", "neurons": [neurons], "n": pairs},
            "render": {"steps": settings.steps, "frames": settings.frames, "size_px": settings.size_px},
            "compute": {"processes": processes},
        }
        spec.write_text(yaml.safe_dump(content))
        command = [sys.executable, "-m", "isthmus", "build", str(spec), "--json"]
        # The build starts a temporary server, even if the environment or a profile names another one.
        alone = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
        alone["PREFECT_PROFILES_PATH"] = str(Path(folder) / "profiles.toml")
        bare = [_bare_seconds(pairs, layer, settings)]
        started, stopped = time.perf_counter(), 0.0
        build = subprocess.Popen(command, stdout=subprocess.PIPE, env=alone, start_new_session=True)
        try:
            while not _has_ended(build, within=_BETWEEN_BARE_SECONDS):
                if not 0 < len(_pair_seconds(folder)) < pairs:  # only a pause of the rendering is taken off its seconds
                    continue
                stopped_at = time.perf_counter()
                os.killpg(build.pid, signal.SIGSTOP)
                bare.append(_bare_seconds(pairs, layer, settings))
                os.killpg(build.pid, signal.SIGCONT)
                stopped += time.perf_counter() - stopped_at
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(build.pid, signal.SIGKILL)
            raise
        seconds = time.perf_counter() - started - stopped
        bare.append(_bare_seconds(pairs, layer, settings))
        rendering = sum(_pair_seconds(folder)) - processes * stopped
    bare_pair = settings.frame_updates("pair") / settings.frames * mean(bare)
    pair = rendering / pairs
    return {
        "pairs": pairs,
        "steps": settings.steps,
        "processes": processes,
        "seconds": round(seconds, 2),
        "pair_seconds": _three_digits(pair),
        "bare_pair_seconds": _three_digits(bare_pair),
        "efficiency": _three_digits(pairs * bare_pair / processes / seconds),
        "rendering_efficiency": _three_digits(bare_pair / pair),
    }


def _three_digits(value: float) -> float:
    """Round to three significant digits, so that the figures of a tiny atlas are not 0."""
    return float(f"{value:.3g}")


def _pair_seconds(folder: str) -> list[float]:
    """Return the seconds of all pairs that have a record."""
    files = Path(folder).glob("bench/records/*.ndjson")
    return [json.loads(line)["seconds"] for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def _has_ended(build: subprocess.Popen[bytes], *, within: float) -> bool:
    """Wait up to *within* seconds for a build; return whether it has ended.

    Raises:
        CalledProcessError: if the build failed.
    """
    try:
        build.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        return False
    if build.returncode:
        raise subprocess.CalledProcessError(build.returncode, build.args)
    return True


def machine_in_words(machine: Mapping[str, Any]) -> str:
    """Return the facts of a machine, which benchmarks print first, as one line."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return f"{machine['device']}, {machine['cores']} cores, load {machine['load']} at the start; {versions}"


def _show(machine: Mapping[str, Any], rows: Iterable[Mapping[str, Any]], as_json: bool) -> None:
    """Print the machine and one line for each row, or, if *as_json*, one JSON object."""
    if as_json:
        print(json.dumps({"machine": machine, "figures": list(rows)}))
        return
    print(machine_in_words(machine))
    for row in rows:
        print("  " + ", ".join(f"{name.replace('_', ' ')} {_written(value)}" for name, value in row.items()))


def _written(value: Any) -> str:
    return " - ".join(dict.fromkeys(value)) if isinstance(value, list | tuple) else str(value)
