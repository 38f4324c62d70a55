"""The databases that a benchmark gives a Prefect server, and what they take of the machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from postgres import INSTALLATION, Postgres, programs
from prefect_parts import descendants


class Database(Protocol):
    """A database of a Prefect server.

    Attributes:
        address: connection URL, or nothing for Prefect's default.
    """

    address: str

    def size_mb(self) -> float:
        """Return the size of the data."""

    def memory_mb(self) -> float:
        """Return the resident memory of the database's own processes; memory that they share counts once."""

    def cpu_seconds(self) -> float:
        """Return the time on processors of the database's own processes so far."""

    def log(self) -> str:
        """Return the log of the database's own processes."""


class Sqlite:
    """The SQLite file that Prefect creates in its home; it has neither processes nor a log."""

    address = ""

    def __init__(self, home: Path) -> None:
        self._home = home

    def size_mb(self) -> float:
        return sum(path.stat().st_size for path in self._home.glob("prefect.db*")) / 1e6

    def memory_mb(self) -> float:
        return 0.0

    def cpu_seconds(self) -> float:
        return 0.0

    def log(self) -> str:
        return ""


class Postgresql:
    """A database on a PostgreSQL server, for a role without other rights."""

    def __init__(self, server: Postgres) -> None:
        self._server = server
        server.run("createuser", "--pwprompt", "prefect", answers="password\npassword\n")
        server.run("createdb", "--owner=prefect", "prefect")
        self.address = f"postgresql+asyncpg://prefect:password@127.0.0.1:{server.port}/prefect"

    def size_mb(self) -> float:
        return int(self._server.run("psql", "-Atc", "SELECT pg_database_size('prefect')", "postgres")) / 1e6

    def memory_mb(self) -> float:
        return sum(map(_share_mb, [self._server.pid, *descendants(self._server.pid)]))

    def cpu_seconds(self) -> float:
        return cpu_seconds(self._server.pid)

    def log(self) -> str:
        return self._server.log


@contextmanager
def opened(kind: str, home: Path) -> Iterator[Database]:
    """Yield a database of a kind, `sqlite` or `postgresql`, for a Prefect server with a home."""
    if kind == "sqlite":
        yield Sqlite(home)
        return
    if not (binaries := programs()):
        sys.exit(f"no PostgreSQL: {INSTALLATION}")
    server = Postgres(binaries)
    try:
        yield Postgresql(server.start())
    finally:
        server.stop()


def cpu_seconds(pid: int) -> float:
    """Return the time on processors of a process and its descendants so far, those that have ended included."""
    ticks = 0
    for process in [pid, *descendants(pid)]:
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # the process has just ended
            continue
        ticks += sum(map(int, fields[11:15]))  # user and system time, its own and that of its ended children
    return ticks / os.sysconf("SC_CLK_TCK")


def _share_mb(pid: int) -> float:
    """Return the resident memory of a process, or 0 if it has ended. Shared pages are divided among their users."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:"))
