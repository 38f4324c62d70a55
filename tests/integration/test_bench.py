"""`isthmus bench` with small settings: every figure is there, and those with a fixed relation have it.

The other times depend on what else the machine does; tests/unit/test_bench_clocks.py tests what they are times of.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from job import ISTHMUS, PATIENCE_SECONDS, Job


def bench(*arguments: str) -> tuple[list[dict[str, Any]], str]:
    """Run a benchmark; return its figures and what it writes on standard error."""
    done = subprocess.run(
        [ISTHMUS, "bench", *arguments, "--json"],
        capture_output=True,
        text=True,
        check=True,
        timeout=2 * PATIENCE_SECONDS,
    )
    answer = json.loads(done.stdout)
    assert set(answer["machine"]) == {"device", "cores", "load", "versions"}
    figures: list[dict[str, Any]] = answer["figures"]
    return figures, done.stderr


def test_a_step_is_timed_and_the_old_name_of_batch_pairs_still_works() -> None:
    """The bare model, the network, the step and the first updates are timed, and the growth of memory is measured.

    `--pack 2` measures batches of two pairs, with one warning line on standard error.
    """
    small = ("--layer", "block1", "--frames", "3", "--size-px", "32", "--repeats", "2", "--pairs", "5", "--pack", "2")
    [figures], warnings = bench("step", *small)

    assert all(figures[time] > 0 for time in ("bare_ms", "network_ms", "step_ms", "first_seconds", "efficiency"))
    assert (figures["layers"], figures["frames"], figures["size_px"]) == (["block1", "block1"], 3, 32)
    assert figures["peak_mb"] > 10
    assert isinstance(figures["mb_per_pair"], float)
    assert figures["batch_pairs"] == 2
    assert warnings == "isthmus: warning: --pack is called --batch-pairs now; the old name still works\n"


def test_a_whole_build_takes_longer_than_its_rendering() -> None:
    """The seconds of a build include its start, its rendering and the gallery, so its efficiency is the smaller one."""
    small = ("--layer", "block1_expand_pre_relu", "--frames", "3", "--size-px", "32")
    [figures], _ = bench("atlas", "--pairs", "1", "--steps", "2", "--processes", "1", *small)

    assert figures["processes"] == 1
    assert figures["seconds"] > 2 * figures["pair_seconds"] > 0
    assert 0 < figures["efficiency"] < figures["rendering_efficiency"]


def test_large_atlases_are_planned_and_published() -> None:
    """Every step is measured in a new process, with its peak memory."""
    rows, _ = bench("scale", "--channels", "12", "--records", "70")

    assert [row["what"] for row in rows] == ["plan, nothing recorded", "plan, all recorded", "publish"]
    assert [row["pairs"] for row in rows] == [66, 66, 70]
    assert [row.get("missing") for row in rows] == [66, 0, None]
    assert all(row["peak_mb"] > 10 for row in rows)


@pytest.mark.parametrize(("option", "value"), [("--precision", "float8"), ("--layer", "nowhere"), ("--size-px", "30")])
def test_nonsense_gets_one_line(tmp_path: Path, option: str, value: str) -> None:
    """A wrong option gives exit code 2 and one line, before anything is measured."""
    done = Job(tmp_path, dict(os.environ)).run_here("bench", "step", option, value)

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert value in done.stderr
