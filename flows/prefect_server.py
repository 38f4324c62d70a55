"""The Prefect server of a build: the configured one, or else a temporary one.

Prefect would start a temporary one itself, but only after it has loaded the whole server into the flow's process too,
which takes seconds of every build; and it leaves it running for ever when the flow's process is killed. The one below
loads while the flow's process still loads its own part, and ends with it.
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
_GOODBYE_SECONDS = 5  # to write down what it has heard

_temporary: dict[str, subprocess.Popen[bytes]] = {}
"""Address -> the server there."""


def configured_server() -> str | None:
    """The address of the Prefect server that somebody has set; a temporary one does not count."""
    address = PREFECT_API_URL.value()
    return None if address in _temporary else address


def start_where_none_is_configured() -> Callable[[], None]:
    """From now on this process has a Prefect server. Gives a function that waits until it answers.

    Raises:
        SpecError: if none is configured and Prefect's settings forbid a temporary one; by that function, if the server
            does not answer.
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
        httpx.get(f"{address}/health", timeout=patience, trust_env=False).raise_for_status()  # by no proxy
    except httpx.HTTPError as error:
        became = f"does not answer within {patience} s"
        if not isinstance(error, httpx.TimeoutException):  # it closes its connections some time before it is gone
            with suppress(subprocess.TimeoutExpired):
                became = f"ended with code {process.wait(_START_FAILURE_SECONDS)}"
        raise SpecError(
            f"the temporary Prefect server {became}; run with --verbose to see why, or start one yourself with "
            "'prefect server start' and set PREFECT_API_URL"
        ) from None


def _start() -> None:
    """Start a server on the database of Prefect's home, and make it the one of this process and of all below it.

    It takes connections at once, and answers when it has loaded, after some seconds. It ends with this process and not
    before, since Prefect sends it the last lines of the log when Python ends.
    """
    with socket.socket() as listening:
        listening.bind((_HOST, 0))
        listening.listen(_WAITING_CONNECTIONS)
        address = f"http://{_HOST}:{listening.getsockname()[1]}/api"
        # Modules come from where they came from here, and not from the folder that somebody stands in.
        code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve({listening.fileno()})"
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=[listening.fileno()],
            stdin=subprocess.PIPE,  # which closes when this process ends, in whatever way: nobody else holds this end
            stdout=subprocess.DEVNULL,
            stderr=None if os.environ.get(VERBOSE) else subprocess.DEVNULL,
            start_new_session=True,  # an interrupt from the keyboard is for the build alone
        )
    _temporary[address] = process
    atexit.register(_end, process)  # first, and so it comes after what Prefect registers
    os.environ["PREFECT_API_URL"] = address
    refresh_global_settings_context()  # Prefect has read the environment already, and its threads look there


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GOODBYE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def serve(listening: int) -> None:
    """In a process of its own: be the server, until the parent is gone.

    Args:
        listening: the number of an open socket that listens.
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
    os.read(sys.stdin.fileno(), 1)  # of which there never is one
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GOODBYE_SECONDS)
    os._exit(1)
