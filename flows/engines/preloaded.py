"""Everything that render processes share: Python's fork server imports this module before it forks them.

TensorFlow is loaded and not set up, because a process with TensorFlow's threads cannot be forked.
"""

from __future__ import annotations

from contextlib import suppress

from core.machine import device
from core.machine.loading import keep_loaded


def _load() -> None:
    with suppress(Exception):  # a render process meets the same error, and can tell it
        device.load()
        from core.method import canvas, portraits, strip_renderer, walk_strip  # noqa: F401
        from core.rendering import process  # noqa: F401
    keep_loaded()


_load()
