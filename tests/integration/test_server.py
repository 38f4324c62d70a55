"""The Prefect server that a build uses: a temporary one in any environment, and mistakes about a configured one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prefect_parts import share_databases

from core.errors import SpecError
from flows import prefect_server

_A_FLOW = """
import json, os, urllib.request
from flows.terminal import quiet_libraries
quiet_libraries(verbose=False)
from flows.prefect_server import configured_server, server_errors_in_one_line, start_unless_configured

wait = start_unless_configured()
if "KILLED" in os.environ:
    from flows.prefect_server import _temporary
    _temporary[0].process.kill()
from prefect import flow

@flow(persist_result=False)
def double(number: int) -> int:
    return 2 * number

wait()
with server_errors_in_one_line():
    facts = {"configured": configured_server(), "doubled": double(21), "home": os.environ["PREFECT_HOME"]}
print(json.dumps(facts))
"""

_OTHER_SERVER = {
    "PREFECT_API_KEY": "key",
    "PREFECT_API_AUTH_STRING": "user:password",
    "PREFECT_API_SSL_CERT_FILE": "/nowhere",
    "PREFECT_CLIENT_CUSTOM_HEADERS": '{"Authorization": "wrong"}',
    "PREFECT_CLOUD_API_URL": "http://127.0.0.1",
    "PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK": "s3-bucket/not-here",
    "PREFECT_SERVER_API_AUTH_STRING": "user:other",
    "PREFECT_SERVER_API_BASE_PATH": "/elsewhere",
    "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////nowhere/prefect.db",
    "PREFECT_SERVER_DOCKET_URL": "redis://127.0.0.1:9/0",
    "PREFECT_TEST_MODE": "1",
}
"""Settings that are right for some server, and with which none can be started, or be spoken to, here."""

_PROXIES = [
    {"http_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "localhost"},
    {"ALL_PROXY": "socks5://127.0.0.1:9", "all_proxy": "socks://127.0.0.1:9", "http_proxy": "foo:bar:baz"},
]


@pytest.mark.parametrize("more", [_PROXIES[0], _PROXIES[1] | {"KILLED": "1"}], ids=["http", "socks, killed"])
def test_a_temporary_server_works_whatever_the_environment_says(tmp_path: Path, more: dict[str, str]) -> None:
    """Proxies, settings for another server, a database of another Prefect and closed standard streams do not matter.
    A server that is killed while it loads is replaced.

    The user's home of Prefect stays as it is, and the server's own home is deleted.
    """
    share_databases(tmp_path / "cache")
    (users := tmp_path / "prefect").mkdir()
    (users / "prefect.db").write_bytes(b"of another version")
    (here := tmp_path / "here").mkdir()
    (here / ".env").write_text("PREFECT_API_AUTH_STRING=of:dotenv\nPREFECT_SERVER_API_AUTH_STRING=another:one\n")
    (temporary := tmp_path / "temporary").mkdir()
    folders = {"PREFECT_HOME": users, "ISTHMUS_CACHE": tmp_path / "cache", "TMPDIR": temporary}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}

    finished = _flow(
        environment | _OTHER_SERVER | more | {name: str(path) for name, path in folders.items()}, here, "<&- 2>&-"
    )

    assert finished.returncode == 0
    facts = json.loads(finished.stdout)
    assert (facts["configured"], facts["doubled"]) == (None, 42)
    assert Path(facts["home"]).parent == temporary
    assert list(temporary.iterdir()) == []
    assert {path.name: path.read_bytes() for path in users.iterdir()} == {"prefect.db": b"of another version"}


def test_a_configured_server_on_this_machine_is_reached_without_a_proxy(tmp_path: Path, prefect_server: str) -> None:
    """The proxies of the environment are not used, not even loaded."""
    environment = os.environ | {"PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": prefect_server, **_PROXIES[1]}

    facts = json.loads(_flow(environment, tmp_path).stdout)

    assert (facts["configured"], facts["doubled"], facts["home"]) == (prefect_server, 42, str(tmp_path))


def _flow(environment: dict[str, str], folder: Path, streams: str = "") -> subprocess.CompletedProcess[str]:
    """Run a small flow in a new process, with redirections of the shell."""
    command = ["sh", "-c", f'exec "$0" "$@" {streams}', sys.executable, "-c", _A_FLOW]
    return subprocess.run(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True, timeout=300, check=False
    )


@contextmanager
def _answering(code: int) -> Iterator[str]:
    """Run a server that is not Prefect and answers everything with one code; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("code", "path", "expected"),
    [
        (200, "/api", "expected a Prefect server at {}, got Expecting value: line 1 column 1 (char 0); correct the "),
        (401, "/api", "the server at {} refuses access, 401 Unauthorized; set PREFECT_API_AUTH_STRING, or "),
        (403, "/api", "the server at {} refuses access, 403 Forbidden; set PREFECT_API_AUTH_STRING, or "),
        (404, "/apx", "expected a Prefect server at {}, got 404 Not Found; correct the address, or unset it"),
        (404, "", "expected an address that ends in /api, got {} (404 Not Found); set it to {}/api, or unset it"),
    ],
)
def test_a_wrong_server_is_reported_in_one_line(code: int, path: str, expected: str) -> None:
    """The line says what is there, and what to do."""
    with _answering(code) as address:
        message = _refusal(address + path)

    assert message.startswith("PREFECT_API_URL: " + expected.replace("{}", address + path))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:4200/api", "expected a Prefect server at 127.0.0.1:4200/api, got Request URL is missing "),
        ("http://user:secret@127.0.0.1:9/api", "no Prefect server answers at http://127.0.0.1:9/api, [Errno 111] "),
        ("http://no.such.host.invalid/api", "no Prefect server answers at http://no.such.host.invalid/api, "),
    ],
)
def test_a_wrong_address_is_reported_in_one_line(address: str, expected: str) -> None:
    """The line has the reason, and no password."""
    assert _refusal(address).startswith(f"PREFECT_API_URL: {expected}")


def test_the_address_of_a_server_without_its_api_is_reported(prefect_server: str) -> None:
    """The most frequent mistake with a real server has a line of its own."""
    page = prefect_server.removesuffix("/api")

    assert _refusal(page).startswith(f"PREFECT_API_URL: expected an address that ends in /api, got {page} (")


def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server elsewhere is reached through the proxy, so a mistake there is the user's to correct."""
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:9")

    message = _refusal("http://prefect.example/api")

    assert message.startswith("PREFECT_API_URL: cannot connect to http://prefect.example/api, Unknown scheme for proxy")
    assert "ALL_PROXY" in message.rpartition("; correct ")[2]


def _refusal(address: str) -> str:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: address}), pytest.raises(SpecError) as refused:
        prefect_server._check_configured(address)
    message = str(refused.value)
    assert "\n" not in message
    return message


def test_a_server_that_vanishes_before_the_flow_starts_is_reported_in_one_line() -> None:
    """Prefect's own error is turned into the line for a server that does not answer."""
    from prefect import flow
    from prefect.settings import PREFECT_API_URL, temporary_settings

    address = "http://127.0.0.1:9/api"
    with (
        temporary_settings({PREFECT_API_URL: address}),
        pytest.raises(SpecError, match=rf"^PREFECT_API_URL: no Prefect server answers at {address}, "),
        prefect_server.server_errors_in_one_line(),
    ):
        flow(persist_result=False)(lambda: 1)()


def test_errors_of_the_flow_itself_stay_as_they_are() -> None:
    """Only errors of the connection are about the server."""
    with pytest.raises(RuntimeError, match=r"^mine$"), prefect_server.server_errors_in_one_line():
        raise RuntimeError("mine")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (
            {"A_LEVEL": "", "PREFECT_LOGGING_LEVEL": "LOUD"},
            "Prefect's setting PREFECT_LOGGING_LEVEL: Input should be 'DEBUG', ",
        ),
        ({"PREFECT_HOME": "."}, "Prefect's settings in . cannot be read, T"),  # the name of the error varies
        ({"SSL_CERT_FILE": "/nowhere"}, "SSL_CERT_FILE, SSL_CERT_DIR: expected certificates, [Errno 2] "),
    ],
    ids=["setting", "profiles", "certificates"],
)
def test_settings_with_which_prefect_does_not_load_are_reported_in_one_line(
    tmp_path: Path, environment: dict[str, str], expected: str
) -> None:
    """Prefect reads its settings when it is imported; nothing else is printed."""
    (tmp_path / "profiles.toml").write_text("[[[")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    load = (
        "from core.errors import SpecError; from flows import prefect_server\n"
        "try: prefect_server.start_unless_configured()\n"
        "except SpecError as error: print(error)"
    )

    said = subprocess.run(
        [sys.executable, "-c", load], env=clean | environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert said.stdout.startswith(expected)
    assert len(said.stdout.splitlines()) == 1
    assert said.stderr == ""
