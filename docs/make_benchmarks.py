"""Run the benchmarks on this machine and write benchmarks.md with its pictures.

    python docs/make_benchmarks.py [--full]

The short form takes about ten minutes on two cores, the full one half an hour. The page names the command of every
figure.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.machine import device

DOCS = Path(__file__).parent
PAGE = DOCS / "benchmarks.md"
PICTURES = "images/benchmarks"
ISTHMUS = Path(sys.executable).with_name("isthmus")
PAIR = "block9_expand_pre_relu:17", "block9_expand_pre_relu:81"

HEAD = """# Benchmarks

`make bench` writes this page; do not edit it. Machines differ and are noisy, so compare ratios within one run rather
than times. Unless the text says otherwise, every figure is a median of repeats after a warm-up. Nothing here ran on a
GPU: [gpu.md](gpu.md) has the measurements on one.

The reference is the bare model: a forward and a backward pass of the network up to the layer of the neurons, for the
same batch and size, with whole layers and the gradients that TensorFlow derives. A step, one update of the images, adds
the parameterization, the random view, the alignment, the optimizer and all of Python. On CPUs a step computes the same
network with less work (`core/models/operations/convolutions.py`); *network* is the time of that.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="take more pairs and larger atlases")
    full = parser.parse_args().full

    (DOCS / PICTURES).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "inception-shaped.pb"
        graph.write_bytes(inception_shaped())
        parts = [steps(graph), starts(Path(folder)), builds(full), schedules(full), large_atlases(full)]
    PAGE.write_text("\n".join([HEAD, *parts]), encoding="utf-8")
    print(f"{PAGE} written")


def steps(graph: Path) -> str:
    inception = f"--model inception-v1 --model-file {graph} --layer mixed4a_pre_relu --repeats 7"
    configurations = [
        "--pairs 200",
        "--size-px 256 --repeats 7",
        "--batch-pairs 4 --repeats 7",
        "--batch-pairs 16 --repeats 5",
        "--precision bfloat16 --repeats 7",
        inception,
    ]
    measured = [bench(f"step {options}") for options in configurations]
    rows = [figures for answer in measured for figures in answer["figures"]]
    columns = {
        "model": "model",
        "frames": "frames",
        "size_px": "px",
        "batch_pairs": "batch",
        "precision": "precision",
        "bare_ms": "bare, ms",
        "network_ms": "network, ms",
        "step_ms": "step, ms",
        "efficiency": "bare / step",
        "first_seconds": "s to the first updates",
        "peak_mb": "peak MB",
        "mb_per_pair": "MB a pair",
    }
    return section(
        "Step",
        f"On {words(measured[0]['machine'])}.",
        table(rows, columns),
        "`isthmus bench step`, with `" + "`, `".join(configurations[:-1]) + "`, and for an InceptionV1-shaped graph "
        "with random weights `--model inception-v1 --model-file FILE --layer mixed4a_pre_relu`. *batch* is the number "
        "of strips in a batch. *MB a pair* is the growth of the process's memory per pair, the slope over 200 pairs of "
        "eight updates.",
    )


def starts(folder: Path) -> str:
    preview = [ISTHMUS, "preview", *PAIR, "--steps", "64", "-o", folder / "strip.png"]
    rows = [
        {"what": what, "seconds": min(seconds_of(command) for _ in range(3))}
        for what, command in (
            ("`import tensorflow`", [sys.executable, "-c", "import tensorflow"]),
            ("`isthmus preview A B --steps 64`, until the file is written", preview),
        )
    ]
    return section("Start", "Each time is the shortest of three.", table(rows, {"what": "command", "seconds": "s"}))


def builds(full: bool) -> str:
    command = "atlas" if full else "atlas --pairs 16 --steps 128"
    answer = bench(command)
    columns = {
        "pairs": "pairs",
        "steps": "updates",
        "processes": "processes",
        "seconds": "total s",
        "pair_seconds": "s a pair",
        "bare_pair_seconds": "bare s a pair",
        "efficiency": "bare / total",
        "rendering_efficiency": "bare / rendering",
        "times_one_process": "speed-up over one process",
    }
    return section(
        "Whole builds",
        f"On {words(answer['machine'])}.",
        table(answer["figures"], columns),
        f"`isthmus bench {command}` measures `isthmus build` with a temporary Prefect server. *total* includes the "
        "server's start, tracing, encoding, records and the gallery; *rendering* is the time of the strips alone, from "
        "their records. The bare model is timed before and after each build, and every minute, while the build is "
        "paused. *speed-up over one process* compares the throughput of both builds, each relative to its own bare "
        "model.",
    )


def schedules(full: bool) -> str:
    curves, strips = f"{PICTURES}/schedules.png", f"{PICTURES}/schedules.webp"
    command = "quality" if full else "quality --pairs 2"
    answer = bench(f"{command} --picture {DOCS / curves} --strips {DOCS / strips}")
    columns = {
        "schedule": "schedule",
        "pairs": "pairs",
        "updates": "updates",
        "seconds": "s a pair",
        "share_of_plain": "time / plain's time",
        "objective": "objective",
        "alignment": "alignment",
        "neighbour_distance": "neighbour distance",
    }
    return section(
        "Schedules",
        f"On {words(answer['machine'])}.",
        table(answer["figures"], columns),
        f"`isthmus bench {command}` compares the two schedules. All values are means over pairs drawn in four layers, "
        "measured on the finished frames and not through random views. *objective* and *alignment* are better when "
        "higher, *neighbour distance* (the mean squared difference of neighbouring frames) when lower.",
        f"![Objective and alignment against seconds for both schedules]({curves})",
        f"![Six pairs, each with the plain schedule above and the fast one below]({strips})",
        "Each pair is shown twice: the plain schedule above, the fast one below.",
    )


def large_atlases(full: bool) -> str:
    command = "scale" if full else "scale --channels 200 --records 10000"
    answer = bench(command)
    columns = {"what": "what", "pairs": "pairs", "chunks": "chunks", "seconds": "s", "peak_mb": "peak MB"}
    return section(
        "Large atlases",
        f"On {words(answer['machine'])}.",
        table(answer["figures"], columns),
        f"`isthmus bench {command}` plans and publishes synthetic atlases. `python tests/bench/orchestration.py` "
        "measures what Prefect adds to a build, and `python tests/bench/gallery.py` the gallery of "
        "100,000 pairs in a browser.",
    )


def bench(arguments: str) -> dict[str, Any]:
    print(f"isthmus bench {arguments}", flush=True)
    command = [ISTHMUS, "bench", *shlex.split(arguments), "--json"]
    answer: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return answer


def seconds_of(command: Sequence[object]) -> float:
    started = time.perf_counter()
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    return round(time.perf_counter() - started, 1)


def inception_shaped() -> bytes:
    device.prepare()  # silences TensorFlow
    sys.path.insert(0, str(DOCS.parent / "tests"))
    from graphs import inception_v1

    return bytes(inception_v1(old_concat=False))


def words(machine: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return f"{machine['device']}, {machine['cores']} cores, load {machine['load']} at the start; {versions}"


def section(title: str, *paragraphs: str) -> str:
    return "\n\n".join([f"## {title}", *paragraphs]) + "\n"


def table(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    def cell(value: Any) -> str:
        return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)

    lines = [list(columns.values()), ["---"] * len(columns)]
    lines += [[cell(row.get(name)) for name in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
