"""The guards against proxies, missing homes, missing folders for temporary files, and closed streams."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import pytest
from seaweed import BUCKET, Seaweed

from core.errors import SpecError
from core.machine import environment
from core.machine.environment import CACHE, cache_folder, large_temporary_files, temporary_files
from core.spec import Storage
from core.store.store import open_store

LOOPBACK = "127.0.0.1,localhost,::1"
DEAD = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without proxies, and forget all changes of the environment."""
    for name in [*os.environ]:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name in ("HOME", "KERAS_HOME", "TMPDIR", "NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    for name in ("KERAS_HOME", "TMPDIR", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without HOME and without an entry in the password database."""

    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders that cannot be written, although the tests may run as root."""
    folders: list[Path] = []
    access = os.access

    def asked(path: Path, mode: int) -> bool:
        return access(path, mode) and not (mode & os.W_OK and Path(path) in folders)

    monkeypatch.setattr(os, "access", asked)
    return folders


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"no_proxy": LOOPBACK, "NO_PROXY": LOOPBACK}),
        ({"NO_PROXY": "a.org"}, {"no_proxy": f"a.org,{LOOPBACK}", "NO_PROXY": f"a.org,{LOOPBACK}"}),
        ({"no_proxy": "a", "NO_PROXY": "b"}, {"no_proxy": f"a,{LOOPBACK}", "NO_PROXY": f"b,{LOOPBACK}"}),
        (
            {"no_proxy": "localhost, 10.0.0.0/8"},
            dict.fromkeys(("no_proxy", "NO_PROXY"), "localhost, 10.0.0.0/8,127.0.0.1,::1"),
        ),
        ({"NO_PROXY": "*"}, {"no_proxy": "*", "NO_PROXY": "*"}),
    ],
)
def test_the_loopback_is_added_to_the_hosts_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], expected: dict[str, str]
) -> None:
    """Nothing of the user's is lost, both names are written, and doing it twice changes nothing."""
    for name, value in {"http_proxy": DEAD, **given}.items():
        monkeypatch.setenv(name, value)

    for _ in range(2):
        environment.settle()
        assert {name: os.environ.get(name) for name in expected} == expected


def test_without_proxies_the_environment_stays_as_it_is() -> None:
    """A list of exceptions alone would hide the proxies of some operating systems."""
    before = dict(os.environ)
    environment.bypass_proxies(["127.0.0.1"])

    assert dict(os.environ) == before


def test_a_store_on_this_machine_is_reached_without_a_proxy(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real object store on the loopback answers, although the proxy does not exist."""
    for name, value in {**seaweed.environment, "http_proxy": DEAD, "HTTP_PROXY": DEAD}.items():
        monkeypatch.setenv(name, value)

    environment.bypass_proxies(["127.0.0.1"])

    # With an endpoint of its own the store has a client of its own, which no other test has made.
    storage = Storage(endpoint_url=seaweed.environment["AWS_ENDPOINT_URL"], region="us-east-1")
    assert list(open_store(f"s3://{BUCKET}/nothing-here", storage).list("")) == []


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "socks://127.0.0.1:9", "foo:bar:baz"])
def test_with_a_star_httpx_reads_no_proxy_at_all(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """Prefect's client is made with httpx, which fails for a proxy that it cannot use even if it does not need one.

    Other libraries know the star only as the one entry, so they still use the proxies for all other hosts.
    """
    from urllib.request import proxy_bypass_environment

    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.setenv("no_proxy", "[::1]")
    environment.settle()
    with pytest.raises((ImportError, ValueError, httpx.InvalidURL)):
        httpx.Client()

    environment.bypass_proxies(["127.0.0.1", "*"])

    httpx.Client().close()
    assert proxy_bypass_environment("127.0.0.1:80")
    assert not proxy_bypass_environment("example.org")


def test_the_cache_is_where_the_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative path and ~ become absolute, because other processes have other working folders."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv(CACHE, "here")
    assert cache_folder() == tmp_path / "here"

    monkeypatch.setenv(CACHE, "~/there")
    assert cache_folder() == tmp_path / "home" / "there"

    monkeypatch.setenv(CACHE, "")
    assert cache_folder() == tmp_path / "home" / ".cache" / "isthmus"


def test_without_a_home_the_cache_is_a_temporary_folder_of_this_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_home: None
) -> None:
    """Prefect and Keras get their homes there too, and the second call returns the same folder."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv(CACHE)
    expected = tmp_path / f"isthmus-{os.getuid()}"

    assert cache_folder() == expected
    environment.settle()
    environment.ensure_home()

    assert expected.stat().st_mode & 0o777 == 0o700
    assert os.environ["KERAS_HOME"] == str(expected / "keras")
    assert os.environ["HOME"] == str(expected)
    assert cache_folder() == expected


def test_a_temporary_folder_of_another_user_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_home: None
) -> None:
    """Any user of the machine could create the folder first, so the line asks for the variable."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv(CACHE)
    (tmp_path / f"isthmus-{os.getuid()}").symlink_to(tmp_path)
    mine = os.getuid()
    (tmp_path / f"isthmus-{mine + 1}").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)

    with pytest.raises(SpecError, match=r"^ISTHMUS_CACHE: expected a folder .* belongs to another user; set it$"):
        cache_folder()


def test_a_read_only_home_is_used_only_for_what_it_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, read_only: list[Path]
) -> None:
    """Weights that are in the home, as in a container image, are found; otherwise nothing is written there."""
    (home := tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv(CACHE)
    kept = home / ".cache" / "isthmus"
    read_only += [home, kept, kept.parent]

    assert cache_folder() == tmp_path / f"isthmus-{os.getuid()}"
    kept.mkdir(parents=True)
    assert cache_folder() == kept


@pytest.mark.parametrize(
    ("cache", "downloads", "writable", "moved"),
    [
        (None, False, True, False),
        (None, False, False, True),
        ("cache", False, True, True),
        ("cache", True, True, False),
        (None, True, False, False),
    ],
)
def test_keras_keeps_its_downloads_in_the_cache_if_that_is_given_or_the_home_is_read_only(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    read_only: list[Path],
    cache: str | None,
    downloads: bool,
    writable: bool,
    moved: bool,
) -> None:
    """Downloads that are in the home already are still used."""
    (home := tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv(CACHE, str(tmp_path / cache) if cache else "")
    if downloads:
        (home / ".keras" / "models").mkdir(parents=True)
    if not writable:
        read_only += [home, home / ".keras"]

    environment.settle()

    assert os.environ.get("KERAS_HOME") == (str(cache_folder() / "keras") if moved else None)


def test_the_cache_is_enough_if_there_is_no_folder_for_temporary_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Python would take the current folder, which is the user's; without any folder there is one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path)])

    environment.settle()

    assert environment.temporary_files() == cache_folder() / "tmp"
    assert os.environ["TMPDIR"] == str(cache_folder() / "tmp")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
    monkeypatch.delenv(CACHE)
    with pytest.raises(SpecError, match=r"^TMPDIR: expected a folder for temporary files, .*; set TMPDIR or "):
        environment.temporary_files()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_the_null_device(tmp_path: Path, closed: str) -> None:
    """Files that are opened later do not get the numbers of standard streams, and child processes inherit them."""
    script = (
        "import flows, os, subprocess, sys\n"
        "file = open(sys.argv[1], 'w')\n"
        "print('said'); print('wrong', file=sys.stderr); sys.stdin.read()\n"
        "child = [sys.executable, '-c', 'import os; [os.fstat(number) for number in (0, 1, 2)]']\n"
        "print(file.fileno() > 2, subprocess.run(child).returncode, file=file)\n"
    )
    command = ["sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, "-c", script, str(tmp_path / "result")]

    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True, cwd=Path(__file__).parents[2])

    assert (tmp_path / "result").read_text() == "True 0\n"


def test_large_temporary_files_are_on_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TMPDIR counts if it is set; without it, the folder is one that is not in memory, if there is one."""
    monkeypatch.setattr("core.machine.environment._ON_DISK", tmp_path)
    monkeypatch.delenv("TMPDIR", raising=False)
    assert large_temporary_files() == tmp_path

    monkeypatch.setattr("core.machine.environment._ON_DISK", tmp_path / "none")
    assert large_temporary_files() == temporary_files()

    monkeypatch.setattr("core.machine.environment._ON_DISK", tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "other"))
    assert large_temporary_files() == temporary_files()
