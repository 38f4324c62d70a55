"""The time that a render process may take for a chunk before it is killed, because it hangs and says nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

_PATIENCE = 3.0  # times the expected time of a chunk
_TELLING = 2.0
_STOPPED = 1.5  # of these times, if the process gets no processor at all
_LEAST_SECONDS = 10.0  # of expected time: shorter chunks take many times as long if the machine has other work
_LOADING_SECONDS = 60.0  # 5 to 15 s were measured for loading TensorFlow and compiling the first chunk, on idle cores
_LONGEST_GAP_SECONDS = 2.0


@dataclass
class _Watched:
    """A chunk in flight: its expected time, the time that it has taken, and how long its process has been stopped."""

    expected: float
    taken: float = 0.0
    stopped: float = 0.0
    told: bool = False
    is_over: bool = False


@dataclass
class Patience:
    """The times of chunks in flight, in seconds, and the experience with earlier chunks.

    An estimate may be wrong on this machine. So the longest delay of a finished chunk counts for all others. A chunk
    whose process was killed is given twice the time when it is rendered again.
    """

    _slowness: float = 1.0
    _replaced: dict[str, int] = field(default_factory=dict)
    _watched: dict[str, _Watched] = field(default_factory=dict)

    def begin(self, chunk: str, seconds: float, is_loaded: bool) -> None:
        """Watch a chunk from now on.

        Args:
            seconds: estimated time.
            is_loaded: whether its process has rendered a chunk before; otherwise it has to load and compile.
        """
        expected = max(_LEAST_SECONDS, seconds) + (0.0 if is_loaded else _LOADING_SECONDS)
        self._watched[chunk] = _Watched(expected * self._slowness * 2 ** self._replaced.get(chunk, 0))

    def end(self, chunk: str, finished: bool) -> None:
        """Forget a chunk; if it was finished, its time tells how long the others may take."""
        watched = self._watched.pop(chunk)
        if finished:
            self._slowness *= max(1.0, watched.taken / watched.expected)

    def look(self, chunk: str, seconds: float, is_stopped: bool) -> str | None:
        """Count the time since the last look, and return what is to be said about the chunk: nothing, in most cases.

        If this process was stopped itself, as by Ctrl-Z, the gap between two looks is long, and counts little.

        Args:
            seconds: time since the last look.
            is_stopped: whether the chunk's process gets no processor now.
        """
        watched, seconds = self._watched[chunk], min(seconds, _LONGEST_GAP_SECONDS)
        watched.taken += seconds
        watched.stopped = watched.stopped + seconds if is_stopped else 0.0
        if watched.told or watched.taken < _TELLING * watched.expected:
            return None
        watched.told = True
        return f"takes {watched.taken:.0f} s, {watched.expected:.0f} s were expected"

    def is_over(self, chunk: str) -> bool:
        """Return, once, whether the process of a chunk hangs; the next time the chunk is given twice the time."""
        watched = self._watched[chunk]
        in_time = watched.taken < _PATIENCE * watched.expected and watched.stopped < _STOPPED * watched.expected
        if watched.is_over or in_time:
            return False
        watched.is_over = True
        self._replaced[chunk] = self._replaced.get(chunk, 0) + 1
        return True
