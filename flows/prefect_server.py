"""The Prefect server of a build: the configured one, or else a temporary one.

Prefect can start a temporary server itself. But first it loads the whole server into the flow's process, which takes
seconds in every build, and if the flow's process is killed, the server keeps running. The temporary server of this
module loads while the flow's process loads its own modules, and ends with that process. It has a home of its own in a
temporary folder, so neither the user's database nor the user's settings for another server affect it.

Prefect is imported in functions only, because it reads its settings when it is imported, and these may be wrong.
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
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from importlib.metadata import version
from io import StringIO
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from pydantic import ValidationError

from core.errors import IsthmusError, SpecError, StoreError, one_line, short
from core.machine.device import VERBOSE
from core.machine.environment import bypass_proxies, cache_folder, ensure_home, temporary_folder
from core.machine.loading import keep_loaded, quick_loading
from core.store.store import DirectoryStore
from flows.terminal import warn

_HOST = "127.0.0.1"
_WAITING_CONNECTIONS = 128
_START_FAILURE_SECONDS = 60
_GOODBYE_SECONDS = 5  # for the server to store the events that it has received
_DATABASE = "prefect.db"
_LOG = "server.log"
_DIGEST_BYTES = hashlib.sha256().digest_size

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
    # No flow here uses blocks, and registering Prefect's own takes 1 s.
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
}
_USED_BY_CLIENT = ("all_proxy", "http_proxy", "https_proxy", "prefect_api_ssl_cert_file")
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)\b.*", re.MULTILINE)


@dataclass(frozen=True)
class _TemporaryServer:
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


_temporary: list[_TemporaryServer] = []
"""The temporary server of this process; at most one."""


def configured_server() -> str | None:
    """Return the address of the Prefect server that is configured, or None; a temporary server does not count."""
    from prefect.settings import PREFECT_API_URL

    address = PREFECT_API_URL.value() or None
    return None if address in [server.address for server in _temporary] else address


def start_unless_configured() -> Callable[[], None]:
    """Start a temporary Prefect server unless one is configured.

    Returns:
        a function that waits until the server answers; it raises a SpecError if the server does not.

    Raises:
        SpecError: if no server is configured and Prefect's settings forbid a temporary one, or if they are wrong.
    """
    _load_prefect()
    from prefect.settings import get_current_settings

    address = configured_server()
    if address:
        if host := _loopback_host(address):
            bypass_proxies([host, "*"])
        return lambda: _check_configured(address)
    settings = get_current_settings().server.ephemeral
    if not settings.enabled:
        raise SpecError(
            "PREFECT_API_URL: expected the address of a Prefect server, found none; set it, or set "
            "PREFECT_SERVER_EPHEMERAL_ENABLED=true for a temporary one"
        )
    if not _temporary:
        _start(settings.startup_timeout_seconds)
    return _temporary[0].wait


@contextmanager
def server_errors_in_one_line() -> Iterator[None]:
    """Turn the errors of Prefect's client, while a flow runs, into a SpecError.

    Prefect's client has tried for a minute to reach the server again, unless the server has never answered.
    """
    try:
        yield
    except (httpx.HTTPError, RuntimeError) as error:
        cause = error.__cause__ if isinstance(error, RuntimeError) else error
        if isinstance(error, IsthmusError) or not isinstance(cause, httpx.HTTPError):
            raise
        if _temporary:
            raise _temporary[0].failure() from error
        raise SpecError(f"{_refusal(configured_server() or '', cause)}; then run the same command again") from error


def _load_prefect() -> None:
    """Import Prefect, which reads the user's settings and profile.

    If Prefect's home cannot be read, there is no profile, and Prefect would fail or create the home.
    """
    ensure_home()
    for name in [name for name in os.environ if name.endswith("TEST_MODE") and name.startswith("PREFECT_")]:
        del os.environ[name]  # in these modes, Prefect ignores profiles
    try:
        httpx.create_ssl_context()  # Prefect does the same when it is imported
    except OSError as error:
        raise SpecError(
            f"SSL_CERT_FILE, SSL_CERT_DIR: expected certificates, {one_line(error)}; correct or unset them"
        ) from None
    home, printed = os.environ.get("PREFECT_HOME") or "~/.prefect", StringIO()
    try:
        if not os.access(Path(home).expanduser(), os.R_OK | os.X_OK):
            empty = temporary_folder("isthmus-prefect-home-")
            atexit.register(shutil.rmtree, empty, ignore_errors=True)
            os.environ["PREFECT_HOME"] = str(empty)
        with redirect_stderr(printed):  # Prefect prints mistakes in several lines
            import prefect.main  # noqa: F401
    except IsthmusError:
        raise
    except ValidationError as error:
        [first, *_] = error.errors()
        field = str(first["loc"][0]) if first["loc"] else error.title
        named = next((name for name in os.environ if name.lower().endswith(f"_{field}".lower())), field)
        raise SpecError(
            f"Prefect's setting {named}: {first['msg']}, got {short(first['input'])}; "
            "correct the environment variable, or Prefect's profile"
        ) from None
    except Exception as error:
        raise SpecError(
            f"Prefect's settings in {home} cannot be read, {type(error).__name__}: {one_line(error)}; correct them, or "
            "set PREFECT_HOME to an empty folder"
        ) from None
    if text := printed.getvalue():
        warn(f"Prefect says: {one_line(RuntimeError(text))}")


def _loopback_host(address: str) -> str | None:
    """Return the host of an address if it is this machine's loopback, or None."""
    try:
        host = urlsplit(address).hostname or ""
        return host if host == "localhost" or ip_address(host).is_loopback else None
    except ValueError:
        return None


def _check_configured(address: str) -> None:
    from prefect.client.orchestration import get_client

    try:
        client = get_client(sync_client=True)
    except Exception as error:
        suspects = [name for name in os.environ if name.lower() in _USED_BY_CLIENT]
        raise SpecError(
            f"PREFECT_API_URL: cannot connect to {_without_password(address)}, {one_line(error)}; "
            f"correct {' or '.join(['PREFECT_API_URL', *suspects])}"
        ) from None
    try:
        with client:
            if unhealthy := client.api_healthcheck():
                raise unhealthy
            client.raise_for_api_version_mismatch()  # needs access, which the check of health does not
    except Exception as error:
        raise SpecError(_refusal(address, error)) from None


def _refusal(address: str, error: Exception) -> str:
    """Return what a server's error means and what to do about it, in one line."""
    shown = _without_password(address)
    if isinstance(error, RuntimeError) and "incompatible" in str(error):
        return f"PREFECT_API_URL: the server at {shown} has another version, {one_line(error)}; install the same one"
    cause = error.__cause__ if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception) else error
    if isinstance(cause, httpx.ConnectError | httpx.TimeoutException):
        return f"PREFECT_API_URL: no Prefect server answers at {shown}, {one_line(cause)}; start it, or unset it"
    reason = one_line(cause)
    if isinstance(cause, httpx.HTTPStatusError):
        reason = f"{cause.response.status_code} {cause.response.reason_phrase}"
        if cause.response.status_code in (401, 403):
            return (
                f"PREFECT_API_URL: the server at {shown} refuses access, {reason}; set PREFECT_API_AUTH_STRING, or "
                "PREFECT_API_KEY for Prefect Cloud"
            )
    if urlsplit(address).path.strip("/"):
        return f"PREFECT_API_URL: expected a Prefect server at {shown}, got {reason}; correct the address, or unset it"
    return (
        f"PREFECT_API_URL: expected an address that ends in /api, got {shown} ({reason}); "
        f"set it to {shown.rstrip('/')}/api, or unset it"
    )


def _without_password(address: str) -> str:
    return re.sub(r"//[^/@]*@", "//", address)


def _last_exception(log: Path) -> str:
    """Return the last exception in a log, or else its last line, after a colon; nothing if there is no line."""
    try:
        text = log.read_text(errors="replace").strip()
    except OSError:
        return ""
    last = [text.rpartition("\n")[2], *_EXCEPTION.findall(text)][-1]
    return f": {one_line(RuntimeError(last))}" if last else ""


def _start(patience: float) -> None:
    """Start a server in a home of its own; this process and its children use it.

    The server accepts connections at once and answers them when it has loaded, after some seconds. It ends with this
    process and not earlier, because Prefect sends the last lines of the log when Python exits.
    """
    from prefect.context import refresh_global_settings_context

    home = temporary_folder("isthmus-prefect-")
    foreign = [name for name in os.environ if name.startswith("PREFECT_")]
    with socket.socket() as listening, (home / _LOG).open("wb") as log:
        listening.bind((_HOST, 0))
        listening.listen(_WAITING_CONNECTIONS)
        address = f"http://{_HOST}:{listening.getsockname()[1]}/api"
        # The server imports modules from the same folders as this process, not from the current folder.
        paths = [os.path.abspath(path) for path in sys.path]  # noqa: PTH100
        call = f"serve({listening.fileno()}, {str(home)!r}, {str(cache_folder())!r})"
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"import sys; sys.path[:] = {paths!r}; from {__name__} import serve; {call}",
            ],
            cwd=home,  # where there is no .env, prefect.toml or pyproject.toml, which Prefect would read
            env={name: value for name, value in os.environ.items() if name not in foreign}
            | _SERVER
            | {"PREFECT_HOME": str(home)},
            pass_fds=[listening.fileno()],
            stdin=subprocess.PIPE,  # closes however this process ends, because no other process holds this end
            stdout=subprocess.DEVNULL,
            stderr=None if os.environ.get(VERBOSE) else log,
            start_new_session=True,  # so that an interrupt from the keyboard reaches the build only
        )
    server = _TemporaryServer(address, process, home, patience)
    _temporary.append(server)
    atexit.register(server.end)  # registered before the handlers of Prefect, so it runs after them
    for name in foreign:
        if not name.startswith(_KEPT):
            del os.environ[name]
    profiles = str(home / "profiles.toml")  # does not exist
    os.environ.update(_CLIENT, PREFECT_API_URL=address, PREFECT_HOME=str(home), PREFECT_PROFILES_PATH=profiles)
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
