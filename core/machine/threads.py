"""Work that waits for a store or a network, done by a few threads."""

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
    """The results of *work* in the order of the items.

    An error of *work* comes out in the place of its result; what had begun is finished first, and nothing else begins.

    Args:
        held: the next item is taken only while fewer than so many are worked on or wait for their turn.
    """
    begun: deque[Future[_Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            begun.append(pool.submit(work, item))
            while begun and (len(begun) >= held or begun[0].done()):
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
