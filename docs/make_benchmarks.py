"""Run the benchmarks on this machine and write benchmarks.md with its pictures.

    python docs/make_benchmarks.py [--full] [--only SECTION] [--squeezenet FILE] [--inception]

The short form takes about a quarter of an hour on two cores, the full one 40 minutes; SqueezeNet and the InceptionV1
shape add 8 and 12 minutes to the full form. The page names the command of every figure.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.machine import device

DOCS = Path(__file__).parent
PAGE = DOCS / "benchmarks.md"
PICTURES = "images/benchmarks"
ISTHMUS = Path(sys.executable).with_name("isthmus")
PAIR = "block9_expand_pre_relu:17", "block9_expand_pre_relu:81"

SECTIONS = {
    "step": "Step",
    "start": "Start",
    "builds": "Whole builds",
    "quality": "Quality",
    "atlases": "Large atlases",
}
"""Name of a section on the command line -> its title."""

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
    parser.add_argument("--only", choices=SECTIONS, help="measure one section again; the others stay as they are")
    parser.add_argument("--squeezenet", type=Path, help="graph made by tests/bench/squeezenet.py, a second network")
    parser.add_argument("--inception", action="store_true", help="also measure the quality of an InceptionV1's shape")
    options = parser.parse_args()
    full = options.full

    (DOCS / PICTURES).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "inception-shaped.pb"
        graph.write_bytes(inception_shaped())
        networks = further_networks(options.squeezenet, graph if options.inception else None)
        parts: dict[str, Callable[[], str]] = {
            "step": lambda: steps(graph),
            "start": lambda: starts(Path(folder)),
            "builds": lambda: builds(full),
            "quality": lambda: quality(full, networks),
            "atlases": lambda: large_atlases(full),
        }
        there = sections_of(PAGE.read_text(encoding="utf-8")) if options.only else {}
        made = [
            there.get(title, "") if options.only not in (None, name) else parts[name]()
            for name, title in SECTIONS.items()
        ]
    PAGE.write_text("\n".join([HEAD, *filter(None, made)]), encoding="utf-8")
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
        SECTIONS["step"],
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
    return section(
        SECTIONS["start"], "Each time is the shortest of three.", table(rows, {"what": "command", "seconds": "s"})
    )


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
        SECTIONS["builds"],
        f"On {words(answer['machine'])}.",
        table(answer["figures"], columns),
        f"`isthmus bench {command}` measures `isthmus build` with a temporary Prefect server. *total* includes the "
        "server's start, tracing, encoding, records and the gallery; *rendering* is the time of the strips alone, from "
        "their records. The bare model is timed before and after each build, and every minute, while the build is "
        "paused. *speed-up over one process* compares the throughput of both builds, each relative to its own bare "
        "model.",
    )


@dataclass(frozen=True)
class Network:
    """A network whose quality is measured.

    Attributes:
        words: the network as the page calls it.
        picture: name of the picture of its strips.
        options: options of `isthmus bench quality`, of which {file} stands for the file.
        pairs: options for the numbers of pairs, in the short and in the full form.
    """

    words: str
    picture: str
    options: str = ""
    file: Path | None = None
    pairs: tuple[str, str] = ("--pairs 2 --across 2", "--pairs 4 --across 4")


EFFICIENTNET = Network("EfficientNet-Lite0", "quality", pairs=("--pairs 2 --across 2", "--pairs 6 --across 8"))


def further_networks(squeezenet: Path | None, inception: Path | None) -> list[Network]:
    networks = []
    if squeezenet:
        options = "--model frozen-graph --model-file {file} --input input --preprocess caffe"
        layers = "--layer fire6_pre_relu --layer fire8_pre_relu --align fire4 --align fire5"
        words = "SqueezeNet 1.1, whose graph `python tests/bench/squeezenet.py` makes"
        networks.append(Network(words, "quality-squeezenet", f"{options} {layers}", squeezenet))
    if inception:
        options = "--model inception-v1 --model-file {file} --layer mixed4a_pre_relu --layer mixed4c_pre_relu"
        pairs = ("--pairs 2 --across 0", "--pairs 4 --across 4")
        words = "An InceptionV1-shaped graph with random weights"
        networks.append(Network(words, "quality-inception", options, inception, pairs))
    return networks


def quality(full: bool, further: Sequence[Network]) -> str:
    tables = []
    for network in (EFFICIENTNET, *further):
        options = f"{network.options} {network.pairs[full]}".strip()
        strips = f"{PICTURES}/{network.picture}.webp"
        picture = f" --strips {shlex.quote(str(DOCS / strips))}"
        answer = bench(f"quality {options.format(file=shlex.quote(str(network.file)))}{picture}")
        command = options.format(file="FILE")
        tables += [
            f"{network.words}, with `isthmus bench quality {command}`, on {words(answer['machine'])}:",
            quality_table(answer["figures"]),
            f"![Some pairs of this network, each with lucid above, default in the middle and walk below]({strips})",
        ]
    return section(
        SECTIONS["quality"],
        "`isthmus bench quality` renders the same pairs in several ways, in turn, and measures the finished frames "
        "themselves, not random views of them. With *independent*, each frame is optimised alone for its mix of the "
        "two neurons: this is the reference. *lucid* has Lucid's schedule, mix and scale of alignment "
        "(`{schedule: plain, mix: lucid, alignment: {scale: lucid}}`). *default* has the default settings, and *walk* "
        "the same between portraits.",
        *tables,
        "The pairs are drawn inside each layer and across the layers. Figures of quality are means over the pairs "
        "whose two neurons are live: on independent frames they reach more than random images give. *Dead* counts the "
        "strips, of all pairs, with a neuron that does not. *Crossing* is the place along the strip, from 0 to 1, "
        "where both neurons are equally excited. *Layer step* is the squared distance of neighbouring frames in the "
        "alignment layers, which is about 2 for unrelated frames; *pace* is the largest step of a strip divided by "
        "the smallest. *Ends kept* is the activation of the neurons at their own ends, as a share of that on "
        "independent frames; *inner* is the mix of both activations on the frames between, in units of the ends of "
        "independent frames. *Variance* is that of the pixels: pale frames have little. *Frame-updates* are the frames "
        "that are optimised times their updates. The last three figures of *walk* are without its portraits.",
        "In the pictures each pair is shown three times: *lucid* above, *default* in the middle, *walk* below.",
    )


def quality_table(rows: Sequence[Mapping[str, Any]]) -> str:
    titles = {
        "pairs": "pairs with live neurons",
        "dead": "dead",
        "crossing": "crossing, mean",
        "crossing_off": "crossing, farthest from 0.5",
        "crossing_near": "crossing, share of strips within 0.1 of 0.5",
        "pace": "pace, median",
        "pace_worst": "pace, worst",
        "neighbour_distance": "neighbour distance / independent's",
        "layer_steps": "layer step",
        "ends_kept": "ends kept, mean",
        "ends_kept_worst": "ends kept, worst",
        "inner": "inner",
        "variance": "variance",
        "frame_updates": "frame-updates",
        "seconds": "s a pair",
        "share_of_lucid": "time / lucid's time",
    }
    figures = [{"figure": title, **{row["strips"]: row[name] for row in rows}} for name, title in titles.items()]
    return table(figures, {"figure": "", **{row["strips"]: row["strips"] for row in rows}})


def large_atlases(full: bool) -> str:
    command = "scale" if full else "scale --channels 200 --records 10000"
    answer = bench(command)
    columns = {
        "what": "what",
        "pairs": "pairs",
        "chunks": "chunks",
        "seconds": "s",
        "cpu_seconds": "CPU s",
        "peak_mb": "peak MB",
    }
    return section(
        SECTIONS["atlases"],
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


def sections_of(page: str) -> dict[str, str]:
    """Return title -> section of the page, as `section` makes it."""
    _, *parts = page.split("\n## ")
    return {part.partition("\n")[0]: f"## {part.rstrip()}\n" for part in parts}


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
