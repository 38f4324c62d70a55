"""The retry policy of all tasks: trouble of stores and devices is retried, bad input and diverged pairs are not."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import State
from prefect.tasks import exponential_backoff

from core.rendering.process import may_pass


def _may_pass(_task: Any, _task_run: Any, state: State[Any]) -> bool:
    return may_pass(state.data)


RETRIES: dict[str, Any] = {
    "retries": 4,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),  # 2, 4, 8 and 16 s
    "retry_jitter_factor": 0.5,  # random delays, so that many tasks do not retry at the same moment
    "retry_condition_fn": _may_pass,
}
"""Arguments of Prefect's task decorator, the same for every task."""
