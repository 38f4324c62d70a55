"""The progress of a build: a bar on a terminal, or else a line now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, repeat

from core.atlas.finished_land import BLOCKS
from core.atlas.plan import Plan
from core.atlas.records import block_path, sheet_path
from core.errors import StoreError
from core.rendering.chunk import ChunkResult
from core.store.store import Store
from flows.terminal import errors, progress_bars

_LINES_SECONDS = (300.0, 600.0, 900.0)
"""Times between two lines; the last one is repeated."""
_LISTING_SHARE = 0.05  # of the time is spent on listing the store, at most


@dataclass
class Failures:
    """The number of pairs, and of blocks of the land, that have failed so far."""

    count: int = 0

    def chunk_finished(self, result: ChunkResult) -> None:
        """Count the failed pairs or blocks of a chunk."""
        if result.what in ("pairs", "blocks"):
            self.count += result.failed


@contextmanager
def progress_of_pairs(store: Store, plan: Plan, failures: Failures, show: bool) -> Iterator[None]:
    """Show how many missing pairs of a plan, and blocks of its land, are finished by now.

    The pictures in the store are counted, because the processes that render may run on other machines.
    """
    waiting = {sheet_path(planned.key) for planned in plan.missing_pairs}
    waiting |= {block_path(chunk.block.key) for stage in plan.stages for chunk in stage if chunk.block}
    folders = ("sheets/", BLOCKS) if plan.missing_blocks else ("sheets/",)
    what = " and ".join(["pairs"] * bool(plan.missing) + ["blocks of the land"] * bool(plan.missing_blocks)) or "pairs"
    total, stop = len(waiting), threading.Event()

    def finished() -> int:
        with suppress(StoreError):  # the processes that render meet the same error and report it
            for folder in folders:
                waiting.difference_update(store.list(folder))
        return min(total, total - len(waiting) + failures.count)

    with progress_bars(show) as progress:
        bar = progress.add_task(what, total=total)

        def watch_bar() -> None:
            pause = 1.0
            while not stop.wait(pause):
                began = time.monotonic()
                description = f"{what}, {failures.count} failed" if failures.count else what
                progress.update(bar, completed=finished(), description=description)
                pause = max(1.0, (time.monotonic() - began) / _LISTING_SHARE)

        watch = (lambda: _print_lines(finished, total, what, failures, stop)) if progress.disable else watch_bar
        watcher = threading.Thread(target=watch, name="progress", daemon=True)
        if show:
            watcher.start()
        try:
            yield
        finally:
            stop.set()
            if watcher.is_alive():
                watcher.join(timeout=1)  # seconds; the thread may be waiting for the store's answer


def _print_lines(finished: Callable[[], int], total: int, what: str, failures: Failures, stop: threading.Event) -> None:
    """Print a line now and then, until *stop* is set."""
    began = time.monotonic()
    for pause in chain(_LINES_SECONDS, repeat(_LINES_SECONDS[-1])):
        if stop.wait(pause):
            return
        done, minutes = finished(), (time.monotonic() - began) / 60
        left = f", about {minutes * (total - done) / done:.0f} minutes left" if done else ""
        text = f"{done} of {total} {what} after {minutes:.0f} minutes, {failures.count} failed{left}"
        errors.print(f"isthmus: {text}", markup=False)
