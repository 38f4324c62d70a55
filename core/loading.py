"""Loading large libraries quickly."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_loading() -> Iterator[None]:
    """Load modules without the garbage collector, and keep it from looking at them ever after.

    It would look at the hundreds of thousands of objects of TensorFlow or Prefect again and again as they become more,
    which takes a fifth of the time that they need to load; then whenever a step is traced; and at the end of the
    process, which takes most of a second. They stay for ever, like all that exists when they are loaded.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
