"""Patience: a chunk is given three times its expected time, and processes that are stopped less."""

from __future__ import annotations

from flows.engines.patience import Patience


def watched(
    patience: Patience, seconds: float, *, stopped: bool = False, expected: float = 20
) -> tuple[float, list[str]]:
    """Look at a chunk every second, and return the time at which its process is given up, and what was said."""
    said = []
    patience.begin("x", expected, is_loaded=True)
    for second in range(1, int(seconds) + 1):
        if line := patience.look("x", 1.0, stopped):
            said.append(line)
        if patience.is_over("x"):
            patience.end("x", finished=False)
            return second, said
    patience.end("x", finished=True)
    return 0, said


def test_a_chunk_is_told_after_twice_its_time_and_given_up_after_three_times() -> None:
    assert watched(Patience(), 100) == (60, ["takes 40 s, 20 s were expected"])


def test_a_chunk_whose_process_was_killed_is_given_twice_the_time() -> None:
    """So a wrong estimate does not keep a slow chunk from being rendered."""
    patience = Patience()
    assert [watched(patience, 1000)[0] for _ in range(3)] == [60, 120, 240]


def test_a_stopped_process_is_given_up_after_half_of_that() -> None:
    assert watched(Patience(), 100, stopped=True)[0] == 30


def test_a_slow_machine_gives_all_chunks_more_time() -> None:
    """A chunk that took two and a half times its time was finished, so others may take as long."""
    patience = Patience()
    assert watched(patience, 50)[0] == 0
    assert watched(patience, 1000)[0] == 150
    assert watched(patience, 10)[0] == 0
    assert watched(patience, 1000)[0] == 300  # the time doubled, because the process was killed


def test_short_chunks_and_new_processes_are_given_time() -> None:
    """Ten seconds at least, and a minute to load and compile."""
    assert watched(Patience(), 100, expected=0.1)[0] == 30
    patience = Patience()
    patience.begin("x", 20, is_loaded=False)
    assert not any(patience.look("x", 1.0, False) or patience.is_over("x") for _ in range(159))
    assert patience.look("x", 1.0, False)


def test_time_in_which_the_build_itself_was_stopped_counts_little() -> None:
    """After Ctrl-Z and fg an hour later, no process is killed."""
    patience = Patience()
    patience.begin("x", 20, is_loaded=True)
    assert patience.look("x", 3600, is_stopped=True) is None
    assert not patience.is_over("x")
