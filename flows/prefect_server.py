"""The Prefect server of a build: the configured one, or else a temporary one.

Prefect can start a temporary server itself. But first it loads the whole server into the flow's process, which takes
seconds in every build, and if the flow's process is killed, the server keeps running. The temporary server of this
module loads while the flow's process loads its own modules, and ends with that process.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import httpx
from prefect.client.orchestration import get_client
from prefect.context import refresh_global_settings_context
from prefect.settings import PREFECT_API_URL, get_current_settings

from core.errors import SpecError
from core.machine.device import VERBOSE
from core.machine.loading import keep_loaded, quick_loading

_HOST = "127.0.0.1"
_WAITING_CONNECTIONS = 128
_START_FAILURE_SECONDS = 60
_GOODBYE_SECONDS = 5  # for the server to store the events that it has received

_temporary: dict[str, subprocess.Popen[bytes]] = {}
"""Address -> process of the temporary server there; at most one."""


def configured_server() -> str | None:
    """Return the address of the Prefect server that is configured, or None; a temporary server does not count."""
    address = PREFECT_API_URL.value()
    return None if address in _temporary else address


def start_unless_configured() -> Callable[[], None]:
    """Start a temporary Prefect server unless one is configured.

    Returns:
        a function that waits until the server answers; it raises a SpecError if the server does not.

    Raises:
        SpecError: if no server is configured and Prefect's settings forbid a temporary one.
    """
    address = configured_server()
    if address:
        return lambda: _wait_for_configured(address)
    if not get_current_settings().server.ephemeral.enabled:
        raise SpecError(
            "PREFECT_API_URL: expected the address of a Prefect server, found none; set it, or set "
            "PREFECT_SERVER_EPHEMERAL_ENABLED=true for a temporary one"
        )
    if not _temporary:
        _start()
    [(started, process)] = _temporary.items()
    return lambda: _wait_for_temporary(started, process)


def _wait_for_configured(address: str) -> None:
    with get_client(sync_client=True) as client:
        if client.api_healthcheck():
            raise SpecError(f"PREFECT_API_URL: no Prefect server answers at {address}; start it, or unset it")


def _wait_for_temporary(address: str, process: subprocess.Popen[bytes]) -> None:
    patience = get_current_settings().server.ephemeral.startup_timeout_seconds
    try:
        httpx.get(f"{address}/health", timeout=patience, trust_env=False).raise_for_status()  # not through a proxy
    except httpx.HTTPError as error:
        became = f"does not answer within {patience} s"
        if not isinstance(error, httpx.TimeoutException):  # the server closes its connections some time before it ends
            with suppress(subprocess.TimeoutExpired):
                became = f"ended with code {process.wait(_START_FAILURE_SECONDS)}"
        raise SpecError(
            f"the temporary Prefect server {became}; run with --verbose to see why, or start one yourself with "
            "'prefect server start' and set PREFECT_API_URL"
        ) from None


def _start() -> None:
    """Start a server on the database of Prefect's home; this process and its children use it.

    The server accepts connections at once and answers them when it has loaded, after some seconds. It ends with this
    process and not earlier, because Prefect sends the last lines of the log when Python exits.
    """
    with socket.socket() as listening:
        listening.bind((_HOST, 0))
        listening.listen(_WAITING_CONNECTIONS)
        address = f"http://{_HOST}:{listening.getsockname()[1]}/api"
        # The server imports modules from the same folders as this process, not from the current folder.
        code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve({listening.fileno()})"
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=[listening.fileno()],
            stdin=subprocess.PIPE,  # closes however this process ends, because no other process holds this end
            stdout=subprocess.DEVNULL,
            stderr=None if os.environ.get(VERBOSE) else subprocess.DEVNULL,
            start_new_session=True,  # so that an interrupt from the keyboard reaches the build only
        )
    _temporary[address] = process
    atexit.register(_end, process)  # registered before the handlers of Prefect, so it runs after them
    os.environ["PREFECT_API_URL"] = address
    refresh_global_settings_context()  # Prefect has read the environment already; its threads read the settings


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GOODBYE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def serve(listening: int) -> None:
    """Run the server in this process until the parent process ends.

    Args:
        listening: file descriptor of an open socket that listens.
    """
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    with quick_loading():
        import uvicorn
        from prefect.server.api.server import create_app

        app = create_app(ephemeral=True, final=True)
    keep_loaded()
    config = uvicorn.Config(app, log_level="error", lifespan="on")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listening)])


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # the parent never writes, so this returns when the pipe closes
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GOODBYE_SECONDS)
    os._exit(1)
