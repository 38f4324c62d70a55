"""The errors after which Prefect retries a task, and how long it waits."""

from __future__ import annotations

import pytest
import tensorflow as tf

from core.errors import ModelError, RenderDivergedError, SpecError, StoreError, TransientStoreError


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
    """Errors of storage and devices may pass; wrong input and diverged pairs stay as they are."""
    from core.rendering.process import may_pass

    assert may_pass(error) is again


def test_tasks_wait_longer_from_try_to_try() -> None:
    """Every task has the same policy: four retries with growing delays, which vary at random."""
    from tasks.plan import plan_atlas
    from tasks.publish import publish_atlas
    from tasks.render import render_one_chunk

    for task in (plan_atlas, publish_atlas, render_one_chunk):
        assert (task.retries, task.retry_delay_seconds, task.retry_jitter_factor) == (4, [2, 4, 8, 16], 0.5)
        assert task.retry_condition_fn.__module__ == "tasks.retries"
