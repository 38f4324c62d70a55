"""Work that waits for a disk or a network, done by a few threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_threads(
    work: Callable[[_Item], _Result], items: Iterable[_Item], *, threads: int, held: int
) -> Iterator[_Result]:
    """Yield the results of *work* in the order of the items.

    An exception of *work* is raised in the place of its result. Before that, the items in flight are finished, and no
    other item is started.

    Args:
        held: upper bound on items started and not yet yielded.
    """
    started: deque[Future[_Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            started.append(pool.submit(work, item))
            while started and (len(started) >= held or started[0].done()):
                yield started.popleft().result()
        while started:
            yield started.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
