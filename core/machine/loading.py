"""Loading large libraries quickly."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_loading() -> Iterator[None]:
    """Load modules without the garbage collector.

    It would look at the hundreds of thousands of objects of TensorFlow or Prefect again and again, as they become more,
    which takes a fifth of the time that they need to load; they stay for ever.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def keep_loaded() -> None:
    """Let the garbage collector never look again at what there is now; for processes of our own, who load once.

    It would whenever a step is traced, which then takes 7 % longer, and at the end, which then takes most of a second.
    """
    gc.freeze()
