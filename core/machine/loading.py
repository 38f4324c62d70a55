"""Faster loading of large libraries."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_loading() -> Iterator[None]:
    """Switch the garbage collector off while modules are loaded.

    As the number of objects grows, the collector would scan the hundreds of thousands of objects of TensorFlow or
    Prefect again and again. That takes a fifth of the loading time and frees nothing, because modules stay loaded.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def keep_loaded() -> None:
    """Exempt all objects loaded so far from garbage collection.

    This is for processes of Isthmus, which load their libraries once. Otherwise the collector would scan these objects
    whenever a step is traced, which then takes 7 % longer, and at exit, which then takes most of a second.
    """
    gc.freeze()
