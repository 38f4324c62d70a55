"""A real PostgreSQL in a folder of its own, which is deleted when the server stops."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from ports import Ports

INSTALLATION = "apt-get install -y --no-install-recommends postgresql"
_PATIENCE_SECONDS = 300


def programs() -> Path | None:
    """Return the folder with the programs of the newest PostgreSQL server on this machine, or None."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)  # Debian's, which are not on the PATH
    needed = ("initdb", "pg_ctl", "postgres", "createuser", "createdb", "psql")
    return next((folder for folder in folders if all((folder / name).exists() for name in needed)), None)


class Postgres:
    """A PostgreSQL server on 127.0.0.1.

    As in Debian's package, only connections to its port need a password, and the superuser is called `postgres`.
    PostgreSQL refuses to run as root. If this process belongs to root, the server runs as `nobody`.

    Args:
        binaries: folder of PostgreSQL's programs.

    Attributes:
        port: port of the server.
    """

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._ports = Ports.reserve(1)
        [self.port] = self._ports
        # not in pytest's folders, because they are closed to nobody, and a socket's path has at most 107 characters
        self._folder = Path(tempfile.mkdtemp(prefix="isthmus-postgres-"))
        self._user: dict[str, Any] = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    @property
    def pid(self) -> int:
        """Id of the server's first process."""
        return int((self._folder / "data" / "postmaster.pid").read_text().split()[0])

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    def start(self) -> Postgres:
        """Create the data, start the server, and return when it accepts connections."""
        self.run("initdb", "--pgdata=data", "--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256")
        options = f"-h 127.0.0.1 -p {self.port} -k {self._folder}"
        self.run("pg_ctl", "start", "--pgdata=data", "--log=log", f"--timeout={_PATIENCE_SECONDS}", "-o", options)
        return self

    def run(self, program: str, *arguments: str, answers: str = "") -> str:
        """Run a program of PostgreSQL as the superuser, expect success, and return its output.

        Args:
            answers: lines that the program reads.
        """
        finished = subprocess.run(
            [self._binaries / program, *arguments],
            input=answers,
            # a file, because the server that pg_ctl starts would keep a pipe open
            stdout=(output := (self._folder / "output").open("w+")),
            stderr=subprocess.STDOUT,
            env={"PGHOST": str(self._folder), "PGPORT": str(self.port), "PGUSER": "postgres", "LC_ALL": "C.UTF-8"},
            cwd=self._folder,
            text=True,
            timeout=_PATIENCE_SECONDS,
            start_new_session=True,  # without a terminal, so that a password is read from the answers
            check=False,
            **self._user,
        )
        with output:
            output.seek(0)
            said = output.read()
        assert finished.returncode == 0, f"{program}: {said}"
        return said

    def halt(self) -> None:
        """Stop the server at once, if it runs."""
        if (self._folder / "data" / "postmaster.pid").exists():
            self.run("pg_ctl", "stop", "--pgdata=data", "--mode=immediate")

    def stop(self) -> None:
        """Stop the server and delete its folder."""
        self.halt()
        shutil.rmtree(self._folder)
        self._ports.release()
