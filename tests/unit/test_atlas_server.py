"""The web server of one atlas: what it serves, what it refuses, and the command that starts it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.gallery.server import AtlasServer, serve

SECRET = b"not of the atlas"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AtlasServer]:
    """A server of an atlas with a page, a script, links out of its folder, and a pipe; a secret lies beside it."""
    root = tmp_path / "atlas"
    (root / "data").mkdir(parents=True)
    (root / "index.html").write_text("<!doctype html>page")
    (root / "data" / "index-0.js").write_text("isthmus")
    (tmp_path / "secret.txt").write_bytes(SECRET)
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "folder").symlink_to(tmp_path)
    (root / "inner.js").symlink_to(root / "data" / "index-0.js")
    os.mkfifo(root / "pipe")
    with serve(root) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(server: AtlasServer, path: str, method: str = "GET", **headers: str) -> tuple[int, str, bytes]:
    """Return status, media type and content of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.getheader("Content-Type", ""), answer.read()
    connection.close()
    return found


def test_the_page_and_its_files_are_served(server: AtlasServer) -> None:
    """The address is that of the page; scripts have their type whatever the system's table says."""
    assert server.address == f"http://127.0.0.1:{server.server_port}/"
    assert get(server, "/") == (200, "text/html; charset=utf-8", b"<!doctype html>page")
    assert get(server, "/?embed")[2] == b"<!doctype html>page"
    for path in ("/data/index-0.js", "/inner.js"):
        assert get(server, path) == (200, "text/javascript; charset=utf-8", b"isthmus")


@pytest.mark.parametrize(
    "path",
    [
        *("/link.txt", "/folder/secret.txt", "/../secret.txt", "/%2e%2e/secret.txt", "/data/..%2f..%2fsecret.txt"),
        *("/folder/", "/data/", "/data", "/pipe", "/no", "/%00", "/index.html/", "//secret.txt", "/" + "a" * 5000),
    ],
)
def test_nothing_but_files_of_the_atlas_is_served(server: AtlasServer, path: str) -> None:
    """Links out of the folder, folders, pipes and what is no name of a file are not found."""
    status, _, content = get(server, path)
    assert status == 404
    assert SECRET not in content
    assert b"index-0" not in content


def test_other_names_and_methods_are_refused(server: AtlasServer) -> None:
    """A site whose name leads to this machine cannot read the atlas; a forwarded port may have another number."""
    assert get(server, "/", Host="evil.example:80")[0] == 403
    assert get(server, "/", Host="localhost:8")[0] == 200
    assert get(server, "/", "POST")[0] == 501


def test_an_atlas_keeps_its_address_while_the_port_is_free(server: AtlasServer, tmp_path: Path) -> None:
    """Favourites belong to an address. A second server of the same atlas has another."""
    with serve(tmp_path / "atlas") as second:
        assert second.address != server.address
    usual = server.address
    server.shutdown()
    server.server_close()
    with serve(tmp_path / "atlas") as again:
        assert again.address == usual


def test_the_command_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    """It prints the address before it ends, with --json too, and ends with code 0."""
    (tmp_path / "sheets" / "01").mkdir(parents=True)
    (tmp_path / "sheets" / "01" / f"{'01' * 10}.png").touch()
    (tmp_path / "index.html").write_text("page")
    command = [sys.executable, "-m", "isthmus", "open", str(tmp_path), "--serve", "--json"]
    environment = os.environ | {"BROWSER": "true"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout
        assert process.stderr
        address = json.loads(process.stdout.readline())["page"]
        assert urllib.request.urlopen(address, timeout=60).read() == b"page"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")
