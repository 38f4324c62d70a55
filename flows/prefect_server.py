"""The Prefect server of a build: the configured one, or else a temporary one.

Prefect is imported in functions only, because it reads its settings when it is imported, and these may be wrong.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from io import StringIO
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from pydantic import ValidationError

from core.addresses import without_secrets
from core.errors import IsthmusError, SpecError, one_line, short
from core.machine.environment import bypass_proxies, ensure_home, temporary_folder
from flows import temporary_server
from flows.terminal import warn

_USED_BY_CLIENT = ("all_proxy", "http_proxy", "https_proxy", "prefect_api_ssl_cert_file")
_TOO_LONG = re.compile(r"parameters must be less than ([\d,]+) bytes.* \(got ([\d,]+) bytes\)")
_SECRET_SETTING = re.compile("auth|header|key|password|secret|token")
_OF_A_SERVER = ("PREFECT_API_", "PREFECT_PROFILE", "PREFECT_SERVER_ALLOW_", "PREFECT_SERVER_EPHEMERAL_ENABLED")
"""Beginnings of the names of settings with which there may be no temporary server."""
_USUAL_PATIENCE = 90.0
_SETTINGS_FILES = (".env", "prefect.toml", "pyproject.toml")
_temporary: list[temporary_server.TemporaryServer] = []
"""The temporary server that this process uses; at most one."""
_launched: list[temporary_server.TemporaryServer] = []
"""The temporary server that loads and that this process does not use yet; at most one."""


def configured_server() -> str | None:
    """Return the address of the Prefect server that is configured, or None; a temporary server does not count."""
    from prefect.settings import PREFECT_API_URL

    address = PREFECT_API_URL.value() or None
    return None if address in [server.address for server in _temporary] else address


def address() -> str:
    """Return the address of the Prefect server that flows use."""
    return _temporary[0].address if _temporary else configured_server() or ""


def end_temporary() -> None:
    """End the temporary server, if there is one; a process that ends as usual does so itself."""
    for server in (*_temporary, *_launched):
        server.end()


def check() -> None:
    """Check that the configured Prefect server answers, or else that a temporary one may be started.

    Raises:
        SpecError: if not, or if Prefect's settings are wrong.
    """
    _load_prefect()
    from prefect.settings import get_current_settings

    if address := configured_server():
        if host := _loopback_host(address):
            bypass_proxies([host, "*"])
        _check_configured(address)
    elif not get_current_settings().server.ephemeral.enabled:
        raise SpecError(
            "PREFECT_API_URL: expected the address of a Prefect server, found none; set it, or set "
            "PREFECT_SERVER_EPHEMERAL_ENABLED=true for a temporary one"
        )


def start_unless_configured() -> Callable[[], None]:
    """Start a temporary Prefect server unless one is configured.

    Returns:
        a function that waits until the server answers; it raises a SpecError if the server does not.

    Raises:
        SpecError: as `check` does.
    """
    check()
    if configured_server():
        while _launched:
            _launched.pop().end()
        return lambda: None
    if not _temporary:
        from prefect.settings import get_current_settings

        patience = get_current_settings().server.ephemeral.startup_timeout_seconds
        launched = replace(_launched.pop(), patience=patience) if _launched else temporary_server.launch(patience)
        _temporary.append(launched)
        temporary_server.use(launched)
    return _wait_for_temporary


def launch_temporary() -> None:
    """Let a temporary server begin to load before Prefect is loaded, if it is likely that this process will need one.

    Prefect alone knows whether a server is configured. If one is, the temporary server has loaded for nothing.
    """
    ensure_home()
    if not _may_be_configured():
        _launched.append(temporary_server.launch(_USUAL_PATIENCE))


def _may_be_configured() -> bool:
    """Return whether the environment or a file that Prefect reads may name a server."""
    if any(name.startswith(_OF_A_SERVER) for name in os.environ):
        return True
    home = os.environ.get("PREFECT_HOME") or "~/.prefect"
    names = {Path(home, "profiles.toml"): b"api_url", Path("prefect.toml"): b""}
    names |= {Path(".env"): b"prefect", Path("pyproject.toml"): b"tool.prefect"}
    try:
        found = {path.expanduser(): word for path, word in names.items() if path.expanduser().exists()}
        return any(word in path.read_bytes().lower() for path, word in found.items())
    except (OSError, RuntimeError):
        return True


def _wait_for_temporary() -> None:
    """Wait until the temporary server answers; one that was killed while it loaded is replaced once."""
    try:
        _temporary[0].wait()
    except SpecError:
        if not replace_killed():
            raise


def replace_killed() -> bool:
    """Start another temporary server if this process's was killed, wait for it, and return whether it was."""
    if not _temporary or not _temporary[0].was_killed:
        return False
    _temporary[0].end()
    _temporary[0] = temporary_server.launch(_temporary[0].patience)
    temporary_server.use(_temporary[0])
    _temporary[0].wait()
    return True


def check_server() -> None:
    """End this process with one line and code 2, unless a Prefect server is configured, answers, and gives access."""
    try:
        _load_prefect()
        address = configured_server()
        if address is None:
            raise SpecError("PREFECT_API_URL: expected the address of a Prefect server, found none; set it")
        _check_configured(address)
    except SpecError as error:
        print(f"isthmus: {error}", file=sys.stderr)
        sys.exit(2)


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
        if isinstance(cause, httpx.HTTPStatusError) and (size := _TOO_LONG.search(cause.response.text)):
            raise SpecError(
                f"pairs: expected a spec of less than {size[1]} bytes, as this Prefect server takes, got {size[2]}; "
                "divide the pairs among specs with the same name and output, which build one atlas, or set "
                "PREFECT_SERVER_API_MAX_PARAMETER_SIZE for the server"
            ) from None
        if _temporary:
            raise _temporary[0].failure() from error
        raise SpecError(f"{_refusal(configured_server() or '', cause)}; then run the same command again") from error


def _load_prefect() -> None:
    """Import Prefect, which reads the user's settings and profile.

    If Prefect's home cannot be read, there is no profile, and Prefect would fail or create the home. So it gets an
    empty home, unless a file in the current folder may name another one.
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
        elsewhere = any(Path(name).exists() for name in _SETTINGS_FILES)
        if not elsewhere and not os.access(Path(home).expanduser(), os.R_OK | os.X_OK):
            empty = temporary_folder("home-")
            atexit.register(shutil.rmtree, empty, ignore_errors=True)
            os.environ["PREFECT_HOME"] = str(empty)
        with redirect_stderr(printed):  # Prefect prints mistakes in several lines
            import prefect.main  # noqa: F401
    except IsthmusError:
        raise
    except ValidationError as error:
        [first, *_] = error.errors()
        field = str(first["loc"][0]) if first["loc"] else error.title
        settings = [name for name in os.environ if name.startswith("PREFECT_")]
        named = next((name for name in settings if name.lower().endswith(f"_{field}".lower())), field)
        given = "" if _SECRET_SETTING.search(named.lower()) else f", got {short(first['input'])}"
        raise SpecError(
            f"Prefect's setting {named}: {first['msg']}{given}; correct the environment variable, or Prefect's profile"
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
            f"PREFECT_API_URL: cannot connect to {without_secrets(address)}, {one_line(error)}; "
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
    shown = without_secrets(address)
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
