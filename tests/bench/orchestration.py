"""Measure the time of a build besides rendering, for each engine, and the build of all pairs of a layer.

Builds are real: `isthmus build` with a Prefect server, a directory store, records and a gallery. Only the pixels are
synthetic: the renderer sleeps (`synthetic/`). The engines get chunks of some seconds. `layer` builds all pairs of a
layer with 508 channels on `local`, in as many chunks as a plan may have, with no time for rendering.

    python tests/bench/orchestration.py [local] [ray] [work-pool] [layer] [--chunk-seconds 10] [--chunks 24]
        [--database postgresql] [--json]

Two workers that send the Prefect server as many chunk runs as a plan may have:

    python tests/bench/orchestration.py work-pool --chunks 1999 --chunk-seconds 0.1 --chunk-pairs 1
        --database postgresql

Seconds are reported in three parts: start-up, until the first chunk begins, which includes loading TensorFlow;
rendering, from there to the end of the last chunk; and the end, which includes publishing. Ratios are relative to the
time that two processes need for rendering alone. Memory is the peak of resident memory, except for `database_size_mb`.
`chunk_runs` counts the chunks that the server has recorded as finished; `recorded_s` is an upper bound of the time from
the end of the last chunk to its recording. `server_cpu_s` is the time of server and database on processors from the
start of the build to that recording. Errors are lines of the logs of the Prefect server and of the database.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from databases import Database, cpu_seconds, opened
from job import ISTHMUS, Job, wait_for
from prefect_parts import PrefectServer, Worker, descendants

from core.atlas.pace import assumed

ROOT = Path(__file__).parents[2]
LAYER = "mixed4a_pre_relu"  # of InceptionV1
CHANNELS = 508
PROCESSES = 2
ENGINES: dict[str, dict[str, Any]] = {
    "local": {"processes": PROCESSES},
    "ray": {"processes": PROCESSES},
    "work-pool": {"processes": 1, "workers": PROCESSES},
}
FRAMES, SIZE_PX = 2, 32
CHUNK_PAIRS = 10
WANTED_RATIO = 1.10
POLL_SECONDS = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="WHAT", help=f"{', '.join(ENGINES)} (by default these) or layer")
    parser.add_argument("--chunk-seconds", type=float, default=10.0, help="seconds of a chunk, for engines")
    parser.add_argument("--chunks", type=int, default=24, help="chunks for both processes together, for engines")
    parser.add_argument("--chunk-pairs", type=int, default=CHUNK_PAIRS, help="pairs of a chunk, for engines")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite", help="of the Prefect server")
    parser.add_argument("--channels", type=int, default=CHANNELS, help="channels whose pairs are built, for layer")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    what = options.what or list(ENGINES)
    if not set(what) <= {*ENGINES, "layer"}:
        parser.error(f"expected {', '.join(ENGINES)} or layer, got {' '.join(what)}")
    if not (0.1 <= options.chunk_seconds <= 500 and options.chunks >= 1 and options.chunk_pairs >= 1):
        parser.error("expected chunks of 0.1 to 500 seconds, at least one of them, and of at least one pair")

    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # which stops the child processes
    machine = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("isthmus", "prefect", "ray", "tensorflow")},
    }
    if not options.json:
        print(f"{machine['machine']}; {', '.join(f'{name} {number}' for name, number in machine['versions'].items())}")
    figures = []
    for name in what:
        if name == "layer":
            figures.append({"what": name, **whole_layer(options.channels, options.database)})
        else:
            figures.append({"what": name, **engine(name, options)})
        if not options.json:
            print(", ".join(f"{key}: {value}" for key, value in figures[-1].items()), flush=True)
    if options.json:
        print(json.dumps({**machine, "figures": figures}))


def engine(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of a build with one engine, in which all chunks take the same time."""
    compute = {"engine": name, "chunk_pairs": options.chunk_pairs, "batch_pairs": 1, **ENGINES[name]}
    if name == "work-pool":  # two shards for each worker, so that the time between two shards counts
        compute["shard_minutes"] = max(1.0, options.chunks * options.chunk_seconds / PROCESSES / 2 / 60)
    n = options.chunks * options.chunk_pairs
    pairs = {"select": "random", "neurons": [f"{LAYER}:0-{CHANNELS - 1}"], "n": n}
    figures = build(pairs, compute, options.chunk_seconds / options.chunk_pairs, options.database)
    return figures | ratios(figures)


def whole_layer(channels: int, database: str) -> dict[str, Any]:
    """Return the figures of a build of all pairs of a layer."""
    pairs = {"select": "all", "neurons": [f"{LAYER}:0-{channels - 1}"]}
    return build(pairs, {"chunk_pairs": 1, "batch_pairs": 1, **ENGINES["local"]}, 0, database)


def build(pairs: Mapping[str, Any], compute: Mapping[str, Any], pair_seconds: float, database: str) -> dict[str, Any]:
    """Build an atlas in a temporary folder, with its own Prefect server; return the figures."""
    with tempfile.TemporaryDirectory(prefix="isthmus-bench-") as folder, opened(database, Path(folder)) as opened_:
        home = Path(folder)
        environment = {
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent / "synthetic"), str(ROOT)]),
            "SYNTHETIC_PAIR_SECONDS": str(pair_seconds),
            "SYNTHETIC_LOG": str(home / "chunks.ndjson"),
            "ISTHMUS_CACHE": str(home / "cache"),
        }
        write_network(home / "InceptionV1.pb")
        workers = compute["workers"] if compute.get("engine") == "work-pool" else 0
        with served(home, environment, opened_.address, workers) as server:
            job = Job(home, server.environment | environment)
            job.write(
                name="synthetic",
                output=str(home / "out"),
                model={"name": "inception-v1", "file": str(home / "InceptionV1.pb")},
                pairs=dict(pairs),
                render={"frames": FRAMES, "size_px": SIZE_PX, "steps": steps(pair_seconds)},
                compute=dict(compute),
            )
            return measured(job, server, opened_)


def write_network(path: Path) -> None:
    """Write InceptionV1 with random weights, because a plan needs its layers and its digest."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from graphs import inception_v1

    path.write_bytes(bytes(inception_v1(old_concat=True)))


def steps(pair_seconds: float) -> int:
    """Return the number of updates for which a plan expects a pair to take this time."""
    return max(1, round(pair_seconds / assumed(FRAMES, SIZE_PX)))


@contextmanager
def served(home: Path, environment: Mapping[str, str], database: str, workers: int) -> Iterator[PrefectServer]:
    """Run a Prefect server and, if there are workers, deployments for them to run; yield the server.

    Each worker runs one shard at a time.
    """
    server = PrefectServer(home, database)
    started = [Worker(server, "gpu", "--limit", "1", **environment) for _ in range(workers)]
    try:
        server.start()
        if workers:
            for pool in ("cpu", "gpu"):
                template = ("--base-job-template", "deploy/pools/process.json")
                prefect(server, environment, "work-pool", "create", pool, "--type", "process", *template)
            prefect(server, environment | {"ISTHMUS_HOME": str(home)}, "deploy", "--all")
            for worker in started:
                worker.start()
            wait_for(lambda: len(server.post("work_pools/gpu/workers/filter", {})) == workers, "the workers")
        yield server
    finally:
        for worker in started:
            worker.kill()
        server.kill()


def prefect(server: PrefectServer, environment: Mapping[str, str], *arguments: str) -> None:
    """Run a command of Prefect; exit with its output if it fails."""
    finished = server.run(*arguments, **environment)
    if finished.returncode:
        sys.exit(f"prefect {' '.join(arguments)}: {finished.stdout}{finished.stderr}")


def measured(job: Job, server: PrefectServer, database: Database) -> dict[str, Any]:
    """Build; check that every chunk came from the synthetic renderer and the atlas is intact; return the figures."""
    log = Path(job.environment["SYNTHETIC_LOG"])
    began, started = time.time(), time.monotonic()
    flow_mb = server_mb = database_mb = 0.0
    cpu_before = cpu_seconds(server.pid) + database.cpu_seconds()
    with (job.folder / "answer.json").open("wb") as answer:
        process = subprocess.Popen([ISTHMUS, "build", job.spec_file, "--json"], env=job.environment, stdout=answer)
        try:
            while process.poll() is None:
                flow_mb = max(flow_mb, peak_mb(process.pid))
                server_mb = max(server_mb, sum(map(peak_mb, [server.pid, *descendants(server.pid)])))
                database_mb = max(database_mb, database.memory_mb())
                time.sleep(POLL_SECONDS)
        finally:
            process.terminate()  # does nothing if the process has ended
            process.wait()
    build_s, load = time.monotonic() - started, os.getloadavg()[0]
    if process.returncode:
        sys.exit(f"the build ended with exit code {process.returncode}")
    result = json.loads((job.folder / "answer.json").read_text())
    chunks = [json.loads(line) for line in log.read_text().splitlines()]
    records = len(list(job.atlas.glob("records/*.ndjson")))
    if result["rendered"] != result["pairs"] or len(chunks) != records:
        sys.exit(f"{result['rendered']} of {result['pairs']} pairs, {len(chunks)} chunks and {records} records")
    chunk_runs = recorded_chunk_runs(server)
    server_cpu_s = cpu_seconds(server.pid) + database.cpu_seconds() - cpu_before
    recorded_s = time.time() - max(chunk["ended"] for chunk in chunks)
    verify_started = time.monotonic()
    verified = job.run("verify", str(job.atlas), "--json")
    if verified.returncode:
        sys.exit(f"the atlas is not intact: {verified.stdout}{verified.stderr}")
    verify_s = time.monotonic() - verify_started
    return {
        "pairs": result["pairs"],
        "chunks": len(chunks),
        "build_s": round(build_s, 1),
        **phases(chunks, began, build_s),
        "chunk_runs": chunk_runs,
        "recorded_s": round(recorded_s, 1),
        "task_runs": int(server.post("task_runs/count", {})),
        "server_errors": errors((server.home / "server.log").read_text()),
        "server_cpu_s": round(server_cpu_s, 1),
        "database_size_mb": round(database.size_mb(), 1),
        "database_errors": errors(database.log()),
        "flow_mb": round(flow_mb),
        "server_mb": round(server_mb),
        "database_mb": round(database_mb),
        "verified_files": json.loads(verified.stdout)["checked"],
        "verify_s": round(verify_s, 1),
        "load": round(load, 1),
    }


def phases(chunks: list[dict[str, Any]], began: float, build_s: float) -> dict[str, Any]:
    """Return the seconds of the parts of a build."""
    first, last = min(chunk["began"] for chunk in chunks), max(chunk["ended"] for chunk in chunks)
    gaps = between(chunks)
    return {
        "start_s": round(first - began, 1),
        "rendering_s": round(last - first, 1),
        "end_s": round(began + build_s - last, 1),
        "chunk_s_per_process": round(sum(chunk["seconds"] for chunk in chunks) / PROCESSES, 1),
        "between_chunks_s": {"median": round(median(gaps), 3), "largest": round(max(gaps), 3)} if gaps else None,
    }


def ratios(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the time of a build relative to the time of its chunks.

    `holds_from_min` is the length in minutes from which a build, start-up and end included, reaches the wanted ratio.
    """
    ideal_s, constant_s = figures["chunk_s_per_process"], figures["start_s"] + figures["end_s"]
    ratio = figures["rendering_s"] / ideal_s
    spare = WANTED_RATIO - ratio
    return {
        "rendering_ratio": round(ratio, 3),
        "build_ratio": round(figures["build_s"] / ideal_s, 3),
        "holds_from_min": round(constant_s / spare / 60, 1) if spare > 0 else None,
    }


def between(chunks: list[dict[str, Any]]) -> list[float]:
    """Return the seconds from the end of each chunk to the start of the next one in the same process."""
    by_process: dict[int, list[dict[str, Any]]] = {}
    for chunk in sorted(chunks, key=lambda chunk: chunk["began"]):
        by_process.setdefault(chunk["process"], []).append(chunk)
    return [b["began"] - a["ended"] for same in by_process.values() for a, b in pairwise(same)]


def recorded_chunk_runs(server: PrefectServer) -> int:
    """Return the number of finished chunks that the server has recorded, once it no longer grows.

    The server records task runs with a delay.
    """
    completed = {"state": {"type": {"any_": ["COMPLETED"]}}, "name": {"like_": "render"}}
    counts = [-1, int(server.post("task_runs/count", {"task_runs": completed}))]
    while counts[-1] != counts[-2]:
        time.sleep(3)
        counts.append(int(server.post("task_runs/count", {"task_runs": completed})))
    return counts[-1]


def errors(log: str) -> list[str]:
    """Return the first lines of a log that tell of errors, and their number."""
    found = [line for line in log.splitlines() if re.search("ERROR|FATAL|Traceback|database is locked", line)]
    return [*found[:5], f"{len(found)} in all"]


def peak_mb(pid: int) -> float:
    """Return the peak resident memory of a process so far, or 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
