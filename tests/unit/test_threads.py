"""Work done by a few threads: the order of its results, its upper bound and its errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from core.machine.threads import in_threads


def test_results_come_in_the_order_of_the_items() -> None:
    """A result that is ready early waits for the results before it."""

    def work(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return -number

    assert list(in_threads(work, range(20), threads=4, held=6)) == [-number for number in range(20)]


def test_items_in_flight_are_bounded() -> None:
    """At most `held` items have been taken and are not finished, however slow the work is."""
    taken, done, peak = 0, 0, 0
    changed = threading.Condition()

    def items() -> Iterator[int]:
        nonlocal taken, peak
        for number in range(30):
            with changed:
                taken += 1
                peak = max(peak, taken - done)
                changed.notify_all()
            yield number

    def work(number: int) -> int:
        nonlocal done
        with changed:
            changed.wait_for(lambda: taken >= min(number + 5, 30), 60)  # until no further item may be taken
            done += 1
        return number

    assert len(list(in_threads(work, items(), threads=2, held=5))) == 30
    assert peak == 5


def test_work_runs_while_the_next_items_are_made() -> None:
    """The work on the first item ends only after the second item is taken, and neither waits for the other."""
    second = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        second.set()
        yield 2

    assert list(in_threads(lambda number: (number, second.wait(60)), items(), threads=1, held=2)) == [
        (1, True),
        (2, True),
    ]


def test_an_exception_is_raised_and_ends_the_work() -> None:
    """Earlier results are yielded, started work is finished, and no other item is taken."""
    taken = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        if number == 3:
            raise KeyError("the fourth")
        return number

    results = in_threads(work, items(), threads=2, held=4)

    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="the fourth"):
        next(results)
    assert len(taken) <= 7
