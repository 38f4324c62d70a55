"""The progress of a build: a bar on a terminal, or else a line now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, repeat

from core.atlas.finished_land import BLOCKS
from core.atlas.plan import Plan
from core.atlas.records import IMAGE_RECORDS, block_path, records_path, sheet_path
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


class _Stage:
    """Work whose finished files are counted in the store, because the processes that do it may be elsewhere.

    Args:
        waiting: path of a file that will be written -> number of pairs, blocks or photographs that it stands for.
        folders: the folders of these files.
        failures: numbers of failures, which write no file.
    """

    def __init__(self, what: str, waiting: dict[str, int], folders: Sequence[str], failures: Failures) -> None:
        self.total = sum(waiting.values())
        self.what, self._waiting, self._folders, self._failures = what, waiting, folders, failures

    @property
    def description(self) -> str:
        return f"{self.what}, {self._failures.count} failed" if self._failures.count else self.what

    def finished(self, store: Store) -> int:
        """Return how much is finished by now."""
        with suppress(StoreError):  # the processes that render meet the same error and report it
            for path in (path for folder in self._folders for path in store.list(folder)):
                self._waiting.pop(path, None)
        return min(self.total, self.total - sum(self._waiting.values()) + self._failures.count)


def _stages(plan: Plan, failures: Failures) -> list[_Stage]:
    """Return what a plan has to do: pairs and blocks of its land, then photographs."""
    chunks = [chunk for stage in plan.stages for chunk in stage]
    pictures = {sheet_path(planned.key): 1 for planned in plan.missing_pairs}
    pictures |= {block_path(chunk.block.key): 1 for chunk in chunks if chunk.block}
    folders = ("sheets/", BLOCKS) if plan.missing_blocks else ("sheets/",)
    what = " and ".join(["pairs"] * bool(plan.missing) + ["blocks of the land"] * bool(plan.missing_blocks)) or "pairs"
    read = {records_path(chunk.name): len(chunk.images.photographs) for chunk in chunks if chunk.images}
    photographs = [_Stage("photographs", read, (IMAGE_RECORDS,), Failures())] if read else []
    return ([_Stage(what, pictures, folders, failures)] if pictures or not read else []) + photographs


@contextmanager
def progress_of_build(store: Store, plan: Plan, failures: Failures, show: bool) -> Iterator[None]:
    """Show how many missing pairs of a plan, and blocks of its land, are finished by now; then photographs."""
    stages, stop = _stages(plan, failures), threading.Event()
    with progress_bars(show) as progress:

        def watch_bars() -> None:
            for stage in stages:
                bar, pause, done = progress.add_task(stage.description, total=stage.total), 1.0, 0
                while done < stage.total or stage is stages[-1]:
                    if stop.wait(pause):
                        return
                    began = time.monotonic()
                    done = stage.finished(store)
                    progress.update(bar, completed=done, description=stage.description)
                    pause = max(1.0, (time.monotonic() - began) / _LISTING_SHARE)

        watch = (lambda: _print_lines(store, stages, failures, stop)) if progress.disable else watch_bars
        watcher = threading.Thread(target=watch, name="progress", daemon=True)
        if show:
            watcher.start()
        try:
            yield
        finally:
            stop.set()
            if watcher.is_alive():
                watcher.join(timeout=1)  # seconds; the thread may be waiting for the store's answer


def _print_lines(store: Store, stages: Sequence[_Stage], failures: Failures, stop: threading.Event) -> None:
    """Print a line about the stage at work now and then, until *stop* is set."""
    began, pauses = time.monotonic(), chain(_LINES_SECONDS, repeat(_LINES_SECONDS[-1]))
    for stage in stages:
        done = 0
        while done < stage.total or stage is stages[-1]:
            if stop.wait(next(pauses)):
                return
            done, minutes = stage.finished(store), (time.monotonic() - began) / 60
            left = f", about {minutes * (stage.total - done) / done:.0f} minutes left" if done else ""
            what = stage.what
            text = f"{done} of {stage.total} {what} after {minutes:.0f} minutes, {failures.count} failed{left}"
            errors.print(f"isthmus: {text}", markup=False)
        began = time.monotonic()
