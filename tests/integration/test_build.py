"""Building, resuming and publishing atlases with a real Prefect server, real processes and the real model."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from job import LAYER, Job, wait_for
from PIL import Image
from prefect_parts import find


@dataclass(frozen=True)
class FirstBuild:
    """The first build of a user, in an environment that must do no harm.

    Attributes:
        job: runs commands in this environment.
        elsewhere: runs commands in the usual environment of tests.
        kept: the file of the cache with the database of temporary servers.
        left: the processes that the build has left behind.
    """

    job: Job
    elsewhere: Job
    kept: Path
    built: subprocess.CompletedProcess[str]
    left: list[int]


@pytest.fixture(scope="module")
def first_build(tmp_path_factory: pytest.TempPathFactory, new_job: Callable[[Path], Job]) -> FirstBuild:
    """A build without a Prefect server, with a damaged database in the cache, and with the settings of `preview`."""
    job = new_job(tmp_path_factory.mktemp("first"))
    elsewhere = replace(job, environment=dict(job.environment))
    _surround(job)
    del job.environment["PREFECT_API_URL"]
    kept = job.folder / "cache" / "prefect" / f"{version('prefect')}-sqlite-{sqlite3.sqlite_version}"
    kept.parent.unlink()
    kept.parent.mkdir()
    kept.write_bytes(bytes(1000))
    (job.folder / "names.csv").write_text(f"{LAYER}:3,stripes\n")
    render = {"schedule": "plain", "steps": 4, "size_px": 64, "frames": 3}  # has one step to trace
    job.write(labels="names.csv", render=render)
    built = job.run("build", str(job.spec_file), shell=f"cd {job.folder}")
    return FirstBuild(job, elsewhere, kept, built, job.processes())


def test_an_atlas_is_built_in_silence_without_a_prefect_server(first_build: FirstBuild) -> None:
    """Without configuration, a build starts a temporary server, prints two lines, and leaves the contract's layout.

    The first build of a user creates the server's database, and replaces a damaged one in the cache. Modules of another
    project that have the names of ours, and the user's settings for Keras and TensorFlow, do no harm in any process.
    The atlas keeps the labels of the spec, whose file is in the folder of the command.
    """
    job, finished, kept = first_build.job, first_build.built, first_build.kept.read_bytes()

    assert hashlib.sha256(kept[32:]).digest() == kept[:32]
    assert first_build.left == []
    assert finished.returncode == 0
    assert finished.stderr == ""
    assert finished.stdout.splitlines() == [
        f"{job.atlas}: 6 rendered; 6 of 6 pairs done, 0 failed, 0 missing",
        f"Open {job.atlas / 'index.html'}",
    ]
    for key, record in job.records().items():
        assert record["status"] == "done"
        assert Image.open(job.atlas / "sheets" / key[:2] / f"{key}.png").size == (3 * 64, 64)
        assert Image.open(job.atlas / "previews" / key[:2] / f"{key}.webp").size == (3 * 64, 64)
    assert {path.name for path in job.atlas.iterdir()} == {
        "plan", "sheets", "previews", "records", "manifest.json", "data", "index.html", "assets", "labels.csv",
    }  # fmt: skip
    assert (job.atlas / "labels.csv").read_text() == f"neuron,label\n{LAYER}:3,stripes\n"
    assert first_build.elsewhere.run_here("verify", str(job.atlas)).returncode == 0


def test_a_preview_is_the_atlas_sheet_and_that_of_the_reversed_pair_its_mirror(first_build: FirstBuild) -> None:
    """`isthmus preview A B` writes the pixels of the pair's sheet in an atlas, and B A the same frames reversed."""
    job, a, b = first_build.job, f"{LAYER}:0", f"{LAYER}:1"
    [key] = [key for key, record in job.records().items() if {record["a"], record["b"]} == {a, b}]
    options = ["--schedule", "plain", "--steps", "4", "--size-px", "64", "--frames", "3", "-o"]

    forwards = job.run("preview", a, b, *options, str(job.folder / "ab.png"), shell=f"cd {job.folder}")
    backwards = first_build.elsewhere.run_here("preview", b, a, *options, str(job.folder / "ba.png"))

    assert (forwards.returncode, forwards.stderr) == (0, "")
    assert (backwards.returncode, backwards.stderr) == (0, "")
    frames = _frames(job.atlas / "sheets" / key[:2] / f"{key}.png")
    np.testing.assert_array_equal(_frames(job.folder / "ab.png"), frames)
    np.testing.assert_array_equal(_frames(job.folder / "ba.png"), frames[::-1])


def test_modules_of_another_project_do_no_harm_on_ray(job: Job) -> None:
    """The same holds for the processes of Ray, which also renders walkable atlases. Nor do the user's settings for Ray
    end a build."""
    pytest.importorskip("prefect_ray")
    _surround(job)
    job.environment |= {"RAY_ADDRESS": "ray://127.0.0.1:1", "RAY_RUNTIME_ENV_HOOK": "nowhere.hook"}
    job.write(strip="walk", compute={"engine": "ray", "processes": 1})

    finished = job.run("build", str(job.spec_file), shell=f"cd {job.folder}")

    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.startswith(f"{job.atlas}: 6 rendered; 6 of 6 pairs done, ")


def _surround(job: Job) -> None:
    """Put packages called core, tasks and flows, which must not be imported, on PYTHONPATH and in the job's folder.

    The environment also gets settings for Keras and TensorFlow that nothing here needs.
    """
    for package in ("core", "tasks", "flows"):
        (job.folder / package).mkdir()
        (job.folder / package / "__init__.py").write_text("raise SystemExit('not Isthmus')", encoding="utf-8")
    path = os.pathsep.join([str(job.folder), os.environ.get("PYTHONPATH", "")])
    job.environment |= {"PYTHONPATH": path, "KERAS_BACKEND": "jax", "TF_XLA_FLAGS": "--nonsense"}


def test_a_build_does_only_what_is_missing(finished_job: Job) -> None:
    """A pair with a record is not rendered again, neither by the same spec nor by a bigger one. If there is nothing to
    do, neither Prefect nor TensorFlow is loaded. If an earlier build stopped before it published, the next build
    publishes."""
    job = finished_job
    sheets = job.sheets()
    published = {path: path.read_bytes() for path in (job.atlas / "manifest.json", job.atlas / "index.html")}
    _publish_without_a_chunk(job)
    assert not {path: path.read_bytes() for path in published}.items() & published.items()

    unpublished = job.build()  # every pair has a record, and the spec is in the store

    assert (unpublished["rendered"], unpublished["done"]) == (0, 6)
    assert {path: path.read_bytes() for path in published} == published

    job.environment["PYTHONPROFILEIMPORTTIME"] = "1"  # lists all imported modules on standard error
    again = job.run("build", str(job.spec_file), "--json")
    del job.environment["PYTHONPROFILEIMPORTTIME"]

    result, loaded = json.loads(again.stdout), {line.rpartition("|")[2].strip() for line in again.stderr.splitlines()}
    assert (again.returncode, result["rendered"], result["done"]) == (0, 0, 6)
    assert "core.atlas.plan" in loaded
    assert not {"prefect", "tensorflow"} & loaded
    assert job.sheets() == sheets

    compute = {"processes": 1, "chunk_pairs": 6}
    job.write(compute=compute, pairs={"select": "all", "neurons": [f"{LAYER}:0-4"]})
    more = job.build()

    assert (more["rendered"], more["done"], more["pairs"]) == (4, 10, 10)
    assert {key: job.sheets()[key] for key in sheets} == sheets
    assert json.loads((job.atlas / "manifest.json").read_text())["counts"] == {"pairs": 10, "done": 10, "failed": 0}


def _publish_without_a_chunk(job: Job) -> None:
    """Publish the atlas as if its last chunk had no records yet."""
    last = sorted(job.atlas.glob("records/*.ndjson"))[-1]
    last.rename(job.folder / last.name)
    assert job.run_here("publish", str(job.atlas)).returncode == 0
    (job.folder / last.name).rename(last)


def test_a_temporary_server_that_cannot_start_is_reported_in_one_line(job: Job) -> None:
    """If the server's database cannot be written, the line has the reason, nothing is rendered, and nothing remains."""
    del job.environment["PREFECT_API_URL"]
    (temporary := job.folder / "temporary").mkdir()
    job.environment["TMPDIR"] = str(temporary)

    refused = job.run("build", str(job.spec_file), shell="ulimit -f 100")  # no file of more than 100 KB

    assert refused.returncode == 2
    assert re.fullmatch(
        r"isthmus: the temporary Prefect server ended with code 1: \S*(OSError: .*File too large|Error: .*)"
        rf"; its files were in {temporary}, set TMPDIR to use another folder; run with --verbose to see all its "
        r"messages, or start a server yourself with 'prefect server start' and set PREFECT_API_URL\n",
        refused.stderr,
    )
    assert job.processes() == []
    assert not list(temporary.glob("isthmus-prefect*"))
    assert not job.records()


def test_without_temporary_servers_a_server_must_be_configured(job: Job) -> None:
    """The build fails as Prefect itself would, but before Prefect is loaded."""
    del job.environment["PREFECT_API_URL"]
    job.environment["PREFECT_SERVER_EPHEMERAL_ENABLED"] = "false"

    refused = job.run_loaded("build", str(job.spec_file))

    assert refused.returncode == 2
    assert refused.stderr == (
        "isthmus: PREFECT_API_URL: expected the address of a Prefect server, found none; set it, or set "
        "PREFECT_SERVER_EPHEMERAL_ENABLED=true for a temporary one\n"
    )


def test_a_server_that_does_not_answer_is_reported_in_one_line(job: Job) -> None:
    """The build fails at once, and writes nothing."""
    job.environment["PREFECT_API_URL"] = "http://127.0.0.1:9/api"

    finished = job.run_loaded("build", str(job.spec_file))

    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr == (
        "isthmus: PREFECT_API_URL: no Prefect server answers at http://127.0.0.1:9/api, "
        "[Errno 111] Connection refused; start it, or unset it\n"
    )
    assert not job.atlas.exists()


def test_a_spec_that_is_too_long_for_the_server_is_refused_in_one_line(job: Job) -> None:
    """The parameters of a flow run have an upper bound; a temporary server accepts longer ones."""
    neurons = [f"block2_expand_pre_relu:{channel}" for channel in range(144)]
    job.write(pairs={"select": "list", "list": [list(pair) for pair in combinations(neurons, 2)]})

    build = job.run_loaded("build", str(job.spec_file))

    assert build.returncode == 2
    assert build.stdout == ""
    start = r"isthmus: pairs: expected a spec of less than 524,288 bytes, as this Prefect server takes, got \d+,\d+; "
    assert re.match(start, build.stderr)
    assert len(build.stderr.splitlines()) == 1


def test_checkpoints_are_kept_recorded_and_verified(finished_job: Job) -> None:
    """Each checkpoint of the spec has its picture beside the finished strip's, and its objective in the record."""
    job = finished_job

    for key, record in job.records().items():
        assert [checkpoint["step"] for checkpoint in record["checkpoints"]] == [3, 8, 12]
        objectives = [checkpoint["objective"] for checkpoint in record["checkpoints"]]
        assert objectives[0] < objectives[-1]
        sheets = [_frames(job.atlas / "sheets" / key[:2] / f"{name}.png") for name in (f"{key}-3", f"{key}-8", key)]
        assert sheets[0].std() < sheets[1].std() < sheets[2].std()
        assert len(record["history"]) == 12
        assert set(record["layer_distance"]) == {"block0"}
    assert json.loads(job.run_here("verify", str(job.atlas), "--json").stdout)["checked"] == 6 * 3 * 2 + 6

    (job.atlas / "sheets" / key[:2] / f"{key}-3.png").unlink()
    assert job.run_here("verify", str(job.atlas)).returncode == 1


def test_the_server_has_the_flow_run_and_one_task_run_per_chunk(finished_job: Job, prefect_server: str) -> None:
    """Prefect shows one flow run, which has the atlas's name, with a completed task run for every chunk."""
    flow_runs = find(
        prefect_server,
        "flow_runs",
        flow_runs={"name": {"any_": [f"build-atlas {finished_job.spec['name']}"]}},
        sort="EXPECTED_START_TIME_ASC",
    )
    flow_run = flow_runs[0]  # later ones build copies of the job
    assert flow_run["state_type"] == "COMPLETED"

    def finished_chunks() -> int:
        runs = find(prefect_server, "task_runs", task_runs={"flow_run_id": {"any_": [flow_run["id"]]}})
        return sum(run["name"].startswith("render-chunk") and run["state_type"] == "COMPLETED" for run in runs)

    wait_for(lambda: finished_chunks() == 3, "three finished task runs on the server")


def test_the_page_is_rebuilt_from_the_records_alone(finished_job: Job) -> None:
    """Publishing again writes the same bytes, also after every published file was deleted."""
    job = finished_job
    published = [job.atlas / name for name in ("manifest.json", "data", "index.html", "assets")]
    before = _bytes_of(published)

    for path in published:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert job.run_here("verify", str(job.atlas)).returncode == 1
    finished = job.run_here("publish", str(job.atlas))

    assert finished.returncode == 0, finished.stderr
    assert _bytes_of(published) == before


def test_what_is_damaged_lost_or_failed_is_named_and_rendered_again_with_the_same_pixels(finished_job: Job) -> None:
    """Sheets with a flipped bit and lost ones are reported, removed by --repair, and rendered again by a build. A
    build names failed pairs with their reasons; only with --retry-failed are they rendered again. Two processes with
    small chunks have rendered the same pixels as one process with one big chunk and batches does."""
    job = finished_job
    expected = _pixels(job)
    of_damaged, of_lost, of_failed = sorted(job.atlas.glob("records/*.ndjson"))
    failed = _fail(job, of_failed)

    told = job.run_loaded("build", str(job.spec_file))
    as_json = json.loads(job.run_loaded("build", str(job.spec_file), "--json").stdout)

    assert told.returncode == 1
    assert {f"failed: {pair}: the objective is nan" for pair in failed} <= set(told.stdout.splitlines())
    assert as_json["failures"] == [{"pair": pair, "reason": "the objective is nan"} for pair in failed]
    assert (as_json["rendered"], as_json["done"], as_json["failed"]) == (0, 4, 2)

    damaged, lost = _sheets(job, of_damaged), _sheets(job, of_lost)
    for sheet in damaged:
        data = bytearray(sheet.read_bytes())
        data[len(data) // 2] ^= 1
        sheet.write_bytes(data)
    for sheet in lost:
        sheet.unlink()
    found = job.run_here("verify", str(job.atlas), "--repair", "--json")

    report = json.loads(found.stdout)
    assert found.returncode == 0  # nothing is damaged any more
    assert report["state"] == "unfinished"
    assert set(report["damaged"]) <= set(report["removed"])
    assert sorted(report["damaged"]) == [sheet.relative_to(job.atlas).as_posix() for sheet in damaged]
    assert sorted(report["missing"]) == [sheet.relative_to(job.atlas).as_posix() for sheet in lost]
    assert not _pixels(job)  # so every picture is rendered again

    job.write(compute={"processes": 1, "chunk_pairs": 6, "batch_pairs": 2})
    again = job.build("--retry-failed")

    assert (again["rendered"], again["done"], again["failures"]) == (6, 6, [])
    assert json.loads((job.atlas / "manifest.json").read_text())["counts"] == {"pairs": 6, "done": 6, "failed": 0}
    assert job.run_here("verify", str(job.atlas)).returncode == 0
    assert job.build("--retry-failed")["rendered"] == 0
    assert len(expected) == 6 * 3  # with the pictures of two checkpoints
    assert len(set(expected.values())) == 6 * 3
    assert _pixels(job) == expected


def _pixels(job: Job) -> dict[str, bytes]:
    return {path.stem: Image.open(path).convert("RGB").tobytes() for path in job.atlas.glob("sheets/*/*.png")}


def _sheets(job: Job, records: Path) -> list[Path]:
    """Return the sheets of a chunk, with those of checkpoints, in order."""
    keys = [json.loads(line)["key"] for line in records.read_text().splitlines()]
    return sorted(path for key in keys for path in job.atlas.glob(f"sheets/*/{key}*.png"))


def _fail(job: Job, records: Path) -> list[str]:
    """Let both pairs of a chunk have failed, which leaves no pictures of them, and return their names in order."""
    pictures = {f"{kind}_{fact}": None for kind in ("sheet", "preview") for fact in ("sha256", "bytes")}
    changes = pictures | {"checkpoints": [], "status": "failed", "reason": "the objective is nan"}
    failed = [json.loads(line) | changes for line in records.read_text().splitlines()]
    records.write_text("".join(f"{json.dumps(record)}\n" for record in failed))
    for record in failed:
        for picture in job.atlas.glob(f"*/*/{record['key']}*"):
            picture.unlink()
    return sorted(f"{record['a']} - {record['b']}" for record in failed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": {"select": "list", "list": [["block99:1", "stem:2"]]}}, "expected a layer of efficientnet-lite0"),
        ({"pairs": {"select": "list", "list": [["stem:99", "stem:2"]]}}, "expected a channel of stem from 0 to 31"),
        ({"render": {"frames": 1}}, "render.frames: expected greater than or equal to 2, got 1"),
        ({"rendr": {}}, "did you mean 'render'"),
    ],
)
def test_an_invalid_spec_is_reported_in_one_line_and_nothing_is_written(
    job: Job, change: dict[str, Any], message: str
) -> None:
    """The build ends with exit code 2 and one line that says what was expected, before it starts anything."""
    job.write(**change)

    finished = job.run_here("build", str(job.spec_file))

    assert finished.returncode == 2
    assert message in finished.stderr
    assert len(finished.stderr.splitlines()) == 1
    assert finished.stdout == ""
    assert not job.atlas.exists()


# Python imports this in every process that it starts. From then on no import finds prefect_ray.
_WITHOUT_RAY = """
import sys
from importlib.machinery import PathFinder

class Without:
    def find_spec(name, path=None, target=None):
        return None if name == "prefect_ray" else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        ({"engine": "ray"}, "compute.engine: ray needs the packages of the extra 'ray'"),
        ({"engine": "ray", "processes": 1}, "compute.engine: ray needs the packages of the extra 'ray'"),
        (
            {"engine": "work-pool", "deployment": "render-shard/nowhere"},
            "the Prefect server has no render-shard/nowhere",
        ),
    ],
)
def test_a_build_whose_engine_is_missing_leaves_nothing_behind(job: Job, compute: dict[str, Any], message: str) -> None:
    """There is no folder, no plan and no spec, and with --json the line is in the object too."""
    (job.folder / "hide").mkdir()
    (job.folder / "hide" / "sitecustomize.py").write_text(_WITHOUT_RAY)
    path = os.pathsep.join([str(job.folder / "hide"), os.environ.get("PYTHONPATH", "")])
    job.environment |= {"PYTHONPATH": path}
    job.write(compute=compute)

    finished = job.run_loaded("build", str(job.spec_file), "--json")

    assert (finished.returncode, len(finished.stderr.splitlines())) == (2, 1), finished.stderr
    assert message in finished.stderr
    assert message in json.loads(finished.stdout)["error"]
    assert not job.atlas.parent.exists()


def _bytes_of(paths: list[Path]) -> dict[str, bytes]:
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    return {str(file): file.read_bytes() for file in files}


def _frames(sheet: Path) -> np.ndarray[Any, Any]:
    pixels = np.asarray(Image.open(sheet).convert("RGB"))
    return np.stack(np.split(pixels, 3, axis=1))
