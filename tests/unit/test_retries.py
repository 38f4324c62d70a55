"""Which errors Prefect tries again, asked of a real task."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from core.errors import ModelError, RenderDivergedError, SpecError, StoreError, TransientStoreError
from tasks.retries import may_pass


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (TransientStoreError("the store is busy"), True),
        (tf.errors.UnavailableError(None, None, "the device is away"), True),
        (tf.errors.InternalError(None, None, "CUDA error"), True),
        (StoreError("no such bucket"), False),
        (SpecError("render.steps: expected a number"), False),
        (ModelError("other weights"), False),
        (RenderDivergedError("nan"), False),
        (tf.errors.InvalidArgumentError(None, None, "shapes"), False),
        (ValueError("ours"), False),
    ],
)
def test_only_trouble_of_storage_and_devices_is_tried_again(error: Exception, again: bool) -> None:
    """Whatever is wrong with the input stays wrong."""
    assert may_pass(error) is again


def test_tasks_wait_longer_from_try_to_try() -> None:
    """All tasks have the policy: a few tries, further and further apart, and not all at the same moments."""
    script = (
        "from tasks.plan import plan_atlas; from tasks.publish import publish_atlas\n"
        "from tasks.render import render_one_chunk\n"
        "for task in (plan_atlas, publish_atlas, render_one_chunk):\n"
        "    print(task.retries, task.retry_delay_seconds, task.retry_jitter_factor,\n"
        "          task.retry_condition_fn.__module__)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )

    assert said.stdout.splitlines() == ["4 [2, 4, 8, 16] 0.5 tasks.retries"] * 3
