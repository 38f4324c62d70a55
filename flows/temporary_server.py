"""A Prefect server that ends with this process.

Prefect can start a temporary server itself. But first it loads the whole server into the flow's process, which takes
seconds in every build, and if the flow's process is killed, the server keeps running. The temporary server of this
module loads while the flow's process loads its own modules, and ends with that process. It has a home of its own in a
temporary folder, so neither the user's database nor the user's settings for another server affect it.
"""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import httpx

from core.errors import SpecError, StoreError, one_line
from core.machine.device import VERBOSE
from core.machine.environment import bypass_proxies, cache_folder, temporary_folder
from core.machine.loading import keep_loaded, quick_loading
from core.store.store import DirectoryStore

_HOST = "127.0.0.1"
_WAITING_CONNECTIONS = 128
_START_FAILURE_SECONDS = 60
_GOODBYE_SECONDS = 5  # for the server to store the events that it has received
_DATABASE = "prefect.db"
_LOG = "server.log"
_DIGEST_BYTES = hashlib.sha256().digest_size

_SETTING = "PREFECT_"
"""Beginning of the names of Prefect's settings in the environment."""
_KEPT = ("PREFECT_LOGGING_", "PREFECT_INTERNAL_", "PREFECT_DEBUG_MODE", "PREFECT_FLOW", "PREFECT_TASK")
"""Beginnings of the user's settings that also hold with a temporary server. All others are about another server."""
_CLIENT = {
    # Empty, and not removed, because Prefect also reads .env, prefect.toml and pyproject.toml in the current folder.
    "PREFECT_API_KEY": "",
    "PREFECT_API_AUTH_STRING": "",
    "PREFECT_API_TLS_INSECURE_SKIP_VERIFY": "true",  # reads no certificates; there is no TLS on the loopback
    "PREFECT_API_REQUEST_TIMEOUT": "60",
    "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
    "PREFECT_CLIENT_CUSTOM_HEADERS": "{}",
    "PREFECT_CLOUD_API_URL": "https://api.prefect.cloud/api",  # Prefect compares the server's address with it
}
_SERVER = {
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{_DATABASE}",  # in the current folder, its home
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_API_MAX_PARAMETER_SIZE": "1000000000",  # bytes; a spec may list hundreds of thousands of pairs
    # No flow here uses blocks, and registering Prefect's own takes 1 s.
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
    # There are no automations in an empty database; the service that waits for them takes 0.5 s to start.
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",  # `_create_database` makes the tables of this version
}
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)\b.*", re.MULTILINE)


@dataclass(frozen=True)
class TemporaryServer:
    """A server that this process has started.

    Attributes:
        home: folder of its database and its log.
        patience: seconds within which it has to answer.
    """

    address: str
    process: subprocess.Popen[bytes]
    home: Path
    patience: float

    def wait(self) -> None:
        """Wait until the server answers.

        Raises:
            SpecError: if it does not.
        """
        try:  # not through a proxy
            httpx.get(f"{self.address}/health", timeout=self.patience, trust_env=False).raise_for_status()
        except httpx.TimeoutException:
            raise self.failure(f"does not answer within {self.patience:g} s") from None
        except httpx.HTTPError:
            raise self.failure() from None

    @property
    def was_killed(self) -> bool:
        """True if a signal has ended the server, as Linux does when memory runs out."""
        return (self.process.poll() or 0) < 0

    def failure(self, became: str = "does not answer") -> SpecError:
        """Return the error for a server that does not answer, with the last exception in its log."""
        if not became.endswith(" s"):  # the server closes its connections some time before it ends
            with suppress(subprocess.TimeoutExpired):
                became = f"ended with code {self.process.wait(_START_FAILURE_SECONDS)}"
        return SpecError(
            f"the temporary Prefect server {became}{_last_exception(self.home / _LOG)}; its files were in "
            f"{self.home.parent}, set TMPDIR to use another folder; run with --verbose to see all its messages, or "
            "start a server yourself with 'prefect server start' and set PREFECT_API_URL"
        )

    def end(self) -> None:
        """End the server and delete its home."""
        self.process.terminate()
        try:
            self.process.wait(_GOODBYE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)


def launch(patience: float) -> TemporaryServer:
    """Start a server in a home of its own, which this process does not use yet; Prefect need not be loaded.

    The server accepts connections at once and answers them when it has loaded, after some seconds. It ends with this
    process and not earlier, because Prefect sends the last lines of the log when Python exits.
    """
    home = temporary_folder("")
    with socket.socket() as listening, (home / _LOG).open("wb") as log:
        listening.bind((_HOST, 0))
        listening.listen(_WAITING_CONNECTIONS)
        address = f"http://{_HOST}:{listening.getsockname()[1]}/api"
        # The server imports modules from the same folders as this process, not from the current folder.
        paths = [os.path.abspath(path) for path in sys.path]  # noqa: PTH100
        call = f"serve({listening.fileno()}, {str(home)!r}, {str(cache_folder())!r})"
        process = subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.path[:] = {paths!r}; from {__name__} import serve; {call}"],
            cwd=home,  # where there is no .env, prefect.toml or pyproject.toml, which Prefect would read
            env={name: value for name, value in os.environ.items() if not name.startswith(_SETTING)}
            | _SERVER
            | {"PREFECT_HOME": str(home)},
            pass_fds=[listening.fileno()],
            stdin=subprocess.PIPE,  # closes however this process ends, because no other process holds this end
            stdout=subprocess.DEVNULL,
            stderr=None if os.environ.get(VERBOSE) else log,
            start_new_session=True,  # so that an interrupt from the keyboard reaches the build only
        )
    server = TemporaryServer(address, process, home, patience)
    atexit.register(server.end)  # registered before the handlers of Prefect, so it runs after them
    return server


def use(server: TemporaryServer) -> None:
    """Let this process and its children use a server."""
    from prefect.context import refresh_global_settings_context

    for name in [name for name in os.environ if name.startswith(_SETTING) and not name.startswith(_KEPT)]:
        del os.environ[name]
    profiles = str(server.home / "profiles.toml")  # does not exist
    os.environ.update(
        _CLIENT, PREFECT_API_URL=server.address, PREFECT_HOME=str(server.home), PREFECT_PROFILES_PATH=profiles
    )
    bypass_proxies([_HOST, "*"])  # with *, httpx reads no proxy at all, so one that it cannot use does no harm
    refresh_global_settings_context()  # Prefect has read the environment already; its threads read the settings


def serve(listening: int, home: str, cache: str) -> None:
    """Run the server in this process until the parent process ends.

    Args:
        listening: file descriptor of an open socket that listens.
        home: the server's folder; deleted if the parent process ends without doing so.
        cache: folder in which an empty database is kept from one build to the next.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # and not at once, so that what is registered is done
    threading.Thread(target=_end_with_parent, args=(home,), name="end-with-parent", daemon=True).start()
    with quick_loading():
        import uvicorn
        from prefect.server.api.server import create_app

        keep_loaded()  # `create_app` collects garbage, which takes 0.2 s among everything that has been loaded
        app = create_app(ephemeral=True, final=True)
    _create_database(Path(home), DirectoryStore(Path(cache)))
    keep_loaded()
    config = uvicorn.Config(app, log_level="error", lifespan="on")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listening)])


def _create_database(home: Path, cache: DirectoryStore) -> None:
    """Create the server's database: a copy of the empty one in the cache, or else a new one, which is kept there.

    Prefect creates the tables of a new database in 4 s. The copy in the cache begins with its digest: it is replaced if
    it is damaged.
    """
    database, kept = home / _DATABASE, f"prefect/{version('prefect')}-sqlite-{sqlite3.sqlite_version}"
    with suppress(StoreError):
        found = cache.read(kept)
        if hashlib.sha256(found[_DIGEST_BYTES:]).digest() == found[:_DIGEST_BYTES]:
            database.write_bytes(found[_DIGEST_BYTES:])
            return
    from prefect.server.database import provide_database_interface

    asyncio.run(provide_database_interface().create_db())
    copy = home / "empty.db"
    with closing(sqlite3.connect(database)) as made:
        made.execute("VACUUM INTO ?", (str(copy),))
    data = copy.read_bytes()
    with suppress(StoreError):
        cache.replace(kept, hashlib.sha256(data).digest() + data)


def _end_with_parent(home: str) -> None:
    os.read(sys.stdin.fileno(), 1)  # the parent never writes, so this returns when the pipe closes
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GOODBYE_SECONDS)
    shutil.rmtree(home, ignore_errors=True)
    os._exit(1)


def _last_exception(log: Path) -> str:
    """Return the last exception in a log, or else its last line, after a colon; nothing if there is no line."""
    try:
        text = log.read_text(errors="replace").strip()
    except OSError:
        return ""
    last = [text.rpartition("\n")[2], *_EXCEPTION.findall(text)][-1]
    return f": {one_line(RuntimeError(last))}" if last else ""
