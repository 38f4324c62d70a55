"""A real Prefect server and real workers: processes that can be killed and started again."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

from job import PATIENCE_SECONDS, wait_for
from prefect_commands import Commands

sys.path.insert(0, str(Path(__file__).parents[1]))
from ports import Ports

PREFECT = Path(sys.executable).with_name("prefect")
_FORK_SERVER = b"multiprocessing.forkserver"


def make_home(home: Path) -> Path:
    """Create the folder of a server, with a database that has been set up.

    Setting up a database takes twice as long as the rest of the server's start. So it is done once for each version of
    Prefect, under a lock, and every server gets a copy.
    """
    folder = Path(tempfile.gettempdir()) / f"isthmus-tests-prefect-{version('prefect')}-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    empty = folder / "empty.db"
    with (folder / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not empty.exists():
            environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
            upgrade = [PREFECT, "server", "database", "upgrade", "--yes"]
            subprocess.run(upgrade, env=environment | {"PREFECT_HOME": str(folder)}, capture_output=True, check=True)
            (folder / "new.db").unlink(missing_ok=True)
            with contextlib.closing(sqlite3.connect(folder / "prefect.db")) as made:
                made.execute("VACUUM INTO ?", (str(folder / "new.db"),))
            (folder / "new.db").rename(empty)
    home.mkdir(exist_ok=True, parents=True)
    shutil.copy(empty, home / "prefect.db")
    return home


def share_databases(cache: Path) -> None:
    """Let builds with this cache folder keep the empty database of a temporary server for all tests.

    Creating it takes seconds.
    """
    shared = Path(tempfile.gettempdir()) / f"isthmus-tests-databases-{os.getuid()}"
    shared.mkdir(exist_ok=True)
    cache.mkdir()
    (cache / "prefect").symlink_to(shared)


class PrefectServer:
    """A server on 127.0.0.1 with its own database, in a folder that `make_home` has created.

    Args:
        database: connection URL of another database; by default, it is an SQLite file in the folder.

    Attributes:
        api: address of the server's API.
    """

    def __init__(self, home: Path, database: str = "") -> None:
        self.home = home
        self._database = {"PREFECT_API_DATABASE_CONNECTION_URL": database} if database else {}
        if (home / "prefect.db").exists():  # it has been set up, and looking for migrations takes seconds
            self._database["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] = "false"
        self._ports = Ports.reserve(1)
        [self._port] = self._ports
        self.api = f"http://127.0.0.1:{self._port}/api"
        self._process: subprocess.Popen[bytes] | None = None
        self._commands: Commands | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a process that uses this server."""
        return os.environ | {
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_UI_API_URL": self.api,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            # On a busy machine, statements take longer than the 10 s after which the server answers with code 503.
            "PREFECT_SERVER_DATABASE_TIMEOUT": "120",
            "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
            "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",  # takes a second; a block that is saved is registered
            "DO_NOT_TRACK": "1",
        }

    def start(self) -> PrefectServer:
        log = self.home / "server.log"
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(self._port)],
                env={name: value for name, value in self.environment.items() if name != "PREFECT_API_URL"}
                | self._database,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for(self._healthy, f"the Prefect server ({log})")
        return self

    @property
    def is_running(self) -> bool:
        """Whether the server has been started and not killed."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Id of the process that was started; the server may have child processes."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def kill(self) -> None:
        if self._commands is not None:
            self._commands.end()
            self._commands = None
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run the `prefect` command line in the project's folder."""
        return self.run_script(PREFECT, *arguments, **more)

    def run_script(self, script: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a script that uses Prefect in the project's folder."""
        if self._commands is None:
            self._commands = Commands(self.environment, Path(__file__).parents[2])
        return self._commands.run(script, *arguments, **more)

    def find(self, what: str, **query: Any) -> list[dict[str, Any]]:
        """Return the objects of a kind, such as `flow_runs`, that match a filter."""
        return find(self.api, what, **query)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return _send(f"{self.api}/{path}", body)

    @contextlib.contextmanager
    def holding(self, pool: str) -> Iterator[None]:
        """Pause a work pool, so that its workers take no flow runs."""
        _send(f"{self.api}/work_pools/{pool}", {"is_paused": True}, "PATCH")
        try:
            yield
        finally:
            _send(f"{self.api}/work_pools/{pool}", {"is_paused": False}, "PATCH")

    def flow_run(self, name: str) -> dict[str, Any] | None:
        """Return the newest flow run with this name, or None."""
        runs = self.find("flow_runs", flow_runs={"name": {"any_": [name]}}, sort="EXPECTED_START_TIME_DESC", limit=1)
        return runs[0] if runs else None

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.api}/health", timeout=20) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


class SharedServer:
    """A server that several processes of the tests use: the first one starts it, and the last one kills it.

    Every user holds a lock on a file. The system releases it if the user dies.
    """

    def __init__(self, home: Path) -> None:
        home.mkdir(exist_ok=True)
        self._home = home
        self._use: BinaryIO | None = None
        self._started: list[PrefectServer] = []  # kept, because they reserve their ports

    def join(self) -> str:
        """Start the server unless other tests use it, and return the address of its API."""
        with self._one_at_a_time():
            self._use = (self._home / "users").open("ab")
            if _is_alone(self._use):
                self._start()
            fcntl.flock(self._use, fcntl.LOCK_SH)
            return str(self._facts["api"])

    def leave(self) -> None:
        """Kill the server unless other tests use it. Leaving it again does nothing."""
        with self._one_at_a_time():
            if self._use is not None:
                if _is_alone(self._use):
                    os.killpg(self._facts["pid"], signal.SIGKILL)
                self._use.close()
                self._use = None

    def _start(self) -> None:
        server = PrefectServer(make_home(self._home))
        self._started.append(server)
        try:
            server.start()
        finally:  # also of a server that has not become ready, so that it is killed in the end
            facts = {"api": server.api, "pid": server.pid}
            (self._home / "facts.json").write_text(json.dumps(facts))

    @property
    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self._home / "facts.json").read_text())
        return facts

    @contextlib.contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        with (self._home / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _is_alone(file: BinaryIO) -> bool:
    """Return whether no other process has a lock on a file; if so, this process has it alone."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Worker:
    """A worker of a work pool, started by the script of the run-book, with the flow runs that it has started.

    Args:
        options: more arguments of the command that starts the worker.

    Attributes:
        pool: name of the work pool.
        command: the command that starts the worker.
    """

    def __init__(self, server: PrefectServer, pool: str, *options: str, **environment: str) -> None:
        self._server, self.pool = server, pool
        self.command = ["python", "deploy/worker.py", "--pool", pool, *options]
        Worker._made += 1
        self._log = server.home / f"worker-{Worker._made}-{pool}.log"
        often = {"PREFECT_WORKER_QUERY_SECONDS": "2"}  # seconds between polls for flow runs; 10 by default
        self._environment = server.environment | often | environment
        self._process: subprocess.Popen[bytes] | None = None

    _made = 0  # of all workers, so that each has a log of its own

    def start(self) -> Worker:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, Path(__file__).parents[2] / self.command[1], *self.command[2:]],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def stop(self) -> None:
        """Send SIGTERM to the process that was started, as `docker stop` does, and wait for its end."""
        assert self._process is not None, "the worker is not running"
        self._process.terminate()
        self._process.wait(PATIENCE_SECONDS)
        self._process = None

    def has_taken(self, flow_run: str) -> bool:
        """Return whether the worker has started a flow run."""
        return flow_run in self._log.read_text(errors="replace")

    def kill(self) -> None:
        """Send SIGKILL to the worker and to all its descendants."""
        if self._process is not None:
            for pid in [self._process.pid, *descendants(self._process.pid)]:
                kill(pid)
            self._process.wait()
            self._process = None

    def descendants(self) -> list[int]:
        """Return the ids of the processes of the worker's flow runs."""
        return [] if self._process is None else descendants(self._process.pid)

    def stop_rendering(self) -> None:
        """Stop the render processes, so that no shard can finish before something happens to it."""
        stop_rendering(self.descendants())

    def pause(self) -> bool:
        """Stop the flow runs of this worker, if any of them renders, and return whether one does.

        Render processes are not stopped alone, because a flow run would replace them.
        """
        rendering = bool(render_processes(self.descendants()))
        if rendering:
            self._signal(signal.SIGSTOP)
        return rendering

    def resume(self) -> None:
        """Let everything go on that `pause` has stopped."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.descendants():
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, number)

    def processes_of(self, flow_run: str) -> list[int]:
        """Return the ids of the processes that were started for a flow run, each after its parent."""
        found = []
        for pid in self.descendants():
            with contextlib.suppress(OSError):  # the process has just ended
                if flow_run.encode() in Path(f"/proc/{pid}/environ").read_bytes():
                    found.append(pid)
        return found


def find(api: str, what: str, **query: Any) -> list[dict[str, Any]]:
    """Return the objects of a kind, such as `flow_runs`, that match a filter, from the server at an address."""
    found: list[dict[str, Any]] = _send(f"{api}/{what}/filter", query)
    return found


def _send(address: str, body: dict[str, Any], method: str = "POST") -> Any:
    request = urllib.request.Request(
        address, json.dumps(body).encode(), {"Content-Type": "application/json"}, method=method
    )
    for wait_seconds in (0.5, 1, 2, 4):
        try:
            return _answer(request)
        except urllib.error.HTTPError as error:  # the server asks for a retry, such as when its database is locked
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
                raise
            time.sleep(wait_seconds)
    return _answer(request)


def _answer(request: urllib.request.Request) -> Any:
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
        return json.loads(answer.read() or "null")


def descendants(pid: int) -> list[int]:
    """Return the ids of all descendants of a process, from /proc."""
    found = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in listing.read_text().split()]
        except OSError:  # the process has just ended
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def render_processes(pids: list[int]) -> list[int]:
    """Return the ids of the processes that render: those that a fork server has forked, or that Python has spawned."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):  # the process has just ended
            parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
            if b"spawn_main" in _command(pid) or (_FORK_SERVER in _command(pid) and _FORK_SERVER in _command(parent)):
                found.append(pid)
    return found


def stop_rendering(pids: list[int]) -> None:
    """Stop those of some processes that render."""
    for pid in render_processes(pids):
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(pid, signal.SIGSTOP)


def fork_servers(pids: list[int]) -> list[int]:
    """Return the ids of the fork servers among some processes."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if _FORK_SERVER in _command(pid) and pid not in render_processes([pid]):
                found.append(pid)
    return found


def _command(pid: int | str) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def kill_one(pids: list[int]) -> bool:
    """Send SIGKILL to the first of some processes that still exists; return whether there is one."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
