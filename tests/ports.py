"""Ports for servers that a test starts as other processes."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 16
_LOWEST, _HIGHEST = 20_000, 60_000  # Ray's workers use ports below 20,000


@dataclass(frozen=True)
class Ports:
    """Consecutive ports on 127.0.0.1 that are free, and reserved until they are released.

    The system gives no port of a block to a client or to a server that asks for any port, and no other test process
    gets the same block, because the block's lowest port is bound.
    """

    numbers: range
    guard: socket.socket

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers)

    @classmethod
    def reserve(cls, count: int) -> Ports:
        """Reserve ports; at most 15."""
        assert count < _BLOCK
        blocks = list(range(_LOWEST, _start_of_ports_for_clients() - _BLOCK, _BLOCK))
        blocks = blocks or list(range(_LOWEST, _HIGHEST, _BLOCK))
        for block in random.sample(blocks, len(blocks)):
            guard, numbers = socket.socket(), range(block + 1, block + 1 + count)
            with ExitStack() as probes:
                try:
                    guard.bind(("127.0.0.1", block))
                    for port in numbers:
                        probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
                except OSError:
                    guard.close()
                    continue
            return cls(numbers, guard)
        raise RuntimeError(f"no {count} free ports")

    def release(self) -> None:
        self.guard.close()


def _start_of_ports_for_clients() -> int:
    """Return the lowest port that the system gives to whoever asks for any port."""
    return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
