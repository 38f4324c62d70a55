"""Which trouble is worth another try: that of storage and devices, not that of bad input and diverged pairs."""

from __future__ import annotations

import sys
from typing import Any

from prefect.client.schemas.objects import State
from prefect.tasks import exponential_backoff

from core.errors import TransientStoreError


def may_pass(error: object) -> bool:
    """Whether the same work may succeed a little later."""
    if isinstance(error, TransientStoreError):
        return True
    if "tensorflow" not in sys.modules:  # what has not been loaded has not failed
        return False
    from tensorflow import errors

    return isinstance(error, errors.InternalError | errors.UnavailableError | errors.AbortedError | errors.UnknownError)


def _worth_another_try(_task: Any, _task_run: Any, state: State[Any]) -> bool:
    return may_pass(state.data)


RETRIES: dict[str, Any] = {
    "retries": 4,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),  # 2, 4, 8 and 16 s
    "retry_jitter_factor": 0.5,  # shorter or longer by chance, so that many do not come back at once
    "retry_condition_fn": _worth_another_try,
}
"""For every task: arguments of Prefect's decorator."""
