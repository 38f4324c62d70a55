"""Weights from elsewhere: they are downloaded once, partial downloads are resumed, and other files are refused."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from core.errors import ModelError
from core.models.weights import local_file, local_weights
from core.spec import ModelSpec

DATA = bytes(range(256)) * 20_000
SHA256 = hashlib.sha256(DATA).hexdigest()


class Server(ThreadingHTTPServer):
    """A file server on this machine that supports ranges and can be set to misbehave."""

    data = DATA
    ends_after: int | None = None
    ranges = True
    login: str | None = None
    announces = True
    asked: list[tuple[str, str, str | None]]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.command, self.path, wanted))
        if self.server.login not in (None, self.headers.get("Authorization")):
            self.send_error(401)
            return
        if self.path == "/loop":
            self.send_response(302, "Found\x1b[31m")
            self.send_header("Location", "/loop")
            self.end_headers()
            return
        if not self.path.endswith("/net.pb"):
            self.send_error(404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted).group(1)) if wanted and self.server.ranges else 0
        whole = self.server.data
        if start >= len(whole):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
        if self.server.announces:
            self.send_header("Content-Length", str(len(whole) - start))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(whole[start : self.server.ends_after])

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


def spec(file: str, sha256: str | None = SHA256) -> ModelSpec:
    return ModelSpec(name="frozen-graph", file=file, sha256=sha256)


def refusal(model: ModelSpec) -> str:
    with pytest.raises(ModelError) as caught:
        local_weights(model)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_file_is_downloaded_once_and_named_by_its_sha256(server: Server, cache: Path) -> None:
    """A second use sends no request to the server."""
    model = spec(f"{server.address}/net.pb")

    assert local_weights(model) == local_weights(model) == cache / f"{SHA256}.pb"

    assert (cache / f"{SHA256}.pb").read_bytes() == DATA
    assert len(server.asked) == 1
    assert not list(cache.glob("*.part"))


def test_the_message_about_another_file_has_the_keys_of_its_section(server: Server, cache: Path) -> None:
    """Files of directions are downloaded and kept as weights are."""
    address, section = f"{server.address}/net.pb", "model.derived.d"

    assert local_file(address, SHA256, section, "a matrix") == cache / f"{SHA256}.pb"
    with pytest.raises(ModelError) as caught:
        local_file(address, "0" * 64, section, "a matrix")
    assert str(caught.value).startswith(
        f"model.derived.d.file {address}: expected a file with sha256 {'0' * 64}, got {SHA256}; "
        "correct model.derived.d.sha256 if that is the right file, or download it by hand and put it at "
    )


def test_user_and_password_come_from_netrc_and_are_stored_nowhere(
    server: Server, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go to their own host only. A file that cannot be read is named without its words."""
    netrc = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setattr(Server, "login", "Basic " + b64encode(b"me:Ver7Secret").decode())
    model = spec(f"{server.address}/net.pb")

    netrc.write_text("machine example.org login me password Ver7Secret\n")
    assert "could not be downloaded, the server says 401 " in refusal(model)
    netrc.write_text("machine 127.0.0.1 login me Ver7Secret\n")
    assert refusal(model) == f"{netrc}: expected a netrc file that can be read; correct it or set NETRC"
    netrc.write_text("machine 127.0.0.1 login me password Ver7Secret\n")

    assert local_weights(model).read_bytes() == DATA
    assert [path.name for path in cache.iterdir()] == [f"{SHA256}.pb"]


def test_a_partial_download_is_resumed(server: Server, cache: Path) -> None:
    """Only the missing bytes are requested, and the message says to try again."""
    server.ends_after = 1_000_000
    message = refusal(spec(f"{server.address}/net.pb"))
    server.ends_after = None

    assert f"the connection ended after 1,000,000 of {len(DATA):,} bytes; try again" in message
    assert (cache / f"{SHA256}.part").stat().st_size == 1_000_000
    assert local_weights(spec(f"{server.address}/net.pb")).read_bytes() == DATA
    assert [wanted for _, _, wanted in server.asked] == [None, "bytes=1000000-"]


@pytest.mark.parametrize("part", [DATA[:10], DATA, DATA[:-1] + b"x", b"something else"])
@pytest.mark.parametrize("ranges", [True, False])
def test_with_any_partial_download_the_file_is_right_in_the_end(
    server: Server, cache: Path, part: bytes, ranges: bool
) -> None:
    """A complete part, a wrong one or a server without ranges give the right file, at the latest at the second try."""
    server.ranges = ranges
    cache.mkdir()
    (cache / f"{SHA256}.part").write_bytes(part)
    model = spec(f"{server.address}/net.pb")

    if ranges and part not in (DATA[:10], DATA):
        assert f"expected a file with sha256 {SHA256}, got " in refusal(model)

    assert local_weights(model).read_bytes() == DATA


def test_a_file_with_another_sha256_is_not_kept(server: Server, cache: Path) -> None:
    """The message has both sha256, and no file is left that a later try could use."""
    server.data = b"another"
    found = hashlib.sha256(b"another").hexdigest()

    message = refusal(spec(f"{server.address}/net.pb"))

    assert f"expected a file with sha256 {SHA256}, got {found}" in message
    assert not list(cache.glob("*.pb")) + list(cache.glob("*.part"))


@pytest.mark.parametrize(("announces", "found"), [(True, "5,120,000"), (False, "2,097,152")])
def test_a_download_that_is_too_large_is_refused(server: Server, cache: Path, announces: bool, found: str) -> None:
    """If the server tells the size, nothing is downloaded; otherwise the download ends at the limit."""
    server.announces = announces
    address = f"{server.address}/net.pb"

    with pytest.raises(ModelError) as caught:
        local_file(address, SHA256, "model.derived.d", "a matrix", most=2_000_000)

    assert str(caught.value).startswith(
        f"model.derived.d.file {address}: refused: it has at least {found} bytes, expected at most 2,000,000"
    )
    assert not list(cache.glob("*.pb")) + list(cache.glob("*.part"))


def test_the_message_for_a_failed_download_says_where_to_put_the_file(server: Server, cache: Path) -> None:
    """A missing file and a missing server each give one line with the path for a file that is downloaded by hand."""
    by_hand = f"or download it by hand and put it at {cache / SHA256}.pb"

    assert refusal(spec(f"{server.address}/no.pb")).endswith(f"the server says 404 Not Found; try again, {by_hand}")
    assert "the server says 302 " in refusal(spec(f"{server.address}/loop"))
    assert refusal(spec("http://127.0.0.1:9/net.pb")).endswith(f"Connection refused; try again, {by_hand}")

    (cache / f"{SHA256}.pb").write_bytes(DATA)
    assert local_weights(spec("http://127.0.0.1:9/net.pb")).read_bytes() == DATA


def test_a_file_put_there_by_hand_is_checked(cache: Path) -> None:
    """The sha256 of a file in the cache is computed, because its name proves nothing."""
    cache.mkdir()
    (cache / f"{SHA256}.pb").write_bytes(b"another")

    assert f"{SHA256}.pb: expected a file with sha256 {SHA256}, found " in refusal(spec("https://example.org/net.pb"))


def test_processes_that_need_the_same_file_download_it_once(server: Server, cache: Path) -> None:
    """One of three concurrent processes downloads the file, and the others wait."""
    code = (
        "import sys; from core.spec import ModelSpec; from core.models.weights import local_weights; "
        "sys.stdin.readline(); "
        f"local_weights(ModelSpec(name='frozen-graph', file='{server.address}/net.pb', sha256='{SHA256}'))"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        process.communicate(b"go\n", timeout=300) if process is processes[-1] else process.stdin.write(b"go\n")
        process.stdin.close()

    assert [process.wait(300) for process in processes] == [0, 0, 0]
    assert len(server.asked) == 1
    assert (cache / f"{SHA256}.pb").read_bytes() == DATA


def test_a_partial_download_from_an_object_store_is_resumed(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Endpoint and credentials come from boto3's environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    cache.mkdir()
    (cache / f"{SHA256}.part").write_bytes(DATA[:1000])

    assert local_weights(spec("s3://bucket/net.pb")).read_bytes() == DATA

    assert server.asked[-1] == ("GET", "/bucket/net.pb", "bytes=1000-")
    assert "the store says " in refusal(spec("s3://bucket/no.pb", "0" * 64))


def test_a_file_on_this_machine_is_checked_if_its_sha256_is_given(tmp_path: Path) -> None:
    """A file with another sha256 and a missing file are refused; without a sha256 any file is accepted."""
    file = tmp_path / "net.pb"
    file.write_bytes(DATA)

    assert local_weights(spec(str(file))) == local_weights(spec(str(file), None)) == file
    assert refusal(spec(str(file), "0" * 64)).startswith(
        f"model.file {file}: expected a file with sha256 {'0' * 64}, found {SHA256}"
    )
    nothing = f"there is no file {Path.cwd()}/no.pb, and none beside the spec"
    assert refusal(spec("no.pb")) == f"model.file: expected the weights of frozen-graph, {nothing}"
    assert "there is no file /" in refusal(spec("/" + "a" * 300))
    assert "a folder, a pipe or a device, and no file," in refusal(spec(str(tmp_path)))
