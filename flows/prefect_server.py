"""The Prefect server of a build: the configured one, or else a temporary one.

Prefect would start a temporary one itself, but only after it has loaded the whole server into the flow's process too,
which takes seconds of every build; and it leaves it running for ever when the flow's process is killed. The one below
loads while the flow's process still loads its own part, and ends with it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from prefect.client.orchestration import get_client
from prefect.context import refresh_global_settings_context
from prefect.settings import PREFECT_API_URL

from core.device import VERBOSE
from core.errors import SpecError

_HOST = "127.0.0.1"
_WAITING_CONNECTIONS = 128
_START_SECONDS = 90  # it takes 5, and 10 more for a new database, but machines can be busy
_GOODBYE_SECONDS = 5  # to write down what it has heard

_temporary: dict[str, subprocess.Popen[bytes]] = {}
"""Address -> the server there, which ends when nobody has its standard input any more."""


def configured_server() -> str | None:
    """The address of the Prefect server that somebody has set; a temporary one does not count."""
    address = PREFECT_API_URL.value()
    return None if address in _temporary else address


def start_where_none_is_configured() -> Callable[[], None]:
    """From now on this process has a Prefect server. Gives a function that waits until it answers.

    Raises:
        SpecError: by that function, if it does not answer.
    """
    address = configured_server()
    if address:
        return lambda: _wait_for_configured(address)
    process = _start()
    return lambda: _wait_for_temporary(process)


def _wait_for_configured(address: str) -> None:
    with get_client(sync_client=True) as client:
        if client.api_healthcheck():
            raise SpecError(f"PREFECT_API_URL: no Prefect server answers at {address}; start it, or unset it")


def _wait_for_temporary(process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_SECONDS
    with get_client(sync_client=True) as client:
        while client.api_healthcheck():
            code = process.poll()
            if code is not None or time.monotonic() > end:
                became = "does not answer" if code is None else f"ended with code {code}"
                raise SpecError(
                    f"the temporary Prefect server {became}; run with --verbose to see why, or start one yourself with "
                    "'prefect server start' and set PREFECT_API_URL"
                )
            time.sleep(0.1)


def _start() -> subprocess.Popen[bytes]:
    """Start a server on the database of Prefect's home, and make it the one of this process and of all below it.

    It takes connections at once, and answers when it has loaded, after some seconds. It ends with this process and not
    before, since Prefect sends it the last lines of the log when Python ends.
    """
    with socket.socket() as listening:
        listening.bind((_HOST, 0))
        listening.listen(_WAITING_CONNECTIONS)
        address = f"http://{_HOST}:{listening.getsockname()[1]}/api"
        # Its standard input closes when this process ends, in whatever way: nobody else holds the other end.
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(listening.fileno())],
            pass_fds=[listening.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=None if os.environ.get(VERBOSE) else subprocess.DEVNULL,
            start_new_session=True,  # an interrupt from the keyboard is for the build alone
            env={**os.environ, "PREFECT_UI_ENABLED": "false"},
        )
    _temporary[address] = process
    os.environ["PREFECT_API_URL"] = address
    refresh_global_settings_context()  # Prefect has read the environment already, and its threads look there
    return process


def _serve(listening: socket.socket) -> None:
    """In a process of its own: be the server."""
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app(ephemeral=True, final=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on")).run(sockets=[listening])


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # of which there never is one
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GOODBYE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
