"""The contract of every store, and further properties of a store in a directory.

The tests with the fixture `store` are the contract; each kind of store is one of its parameters.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from seaweed import BUCKET, Seaweed

from core.errors import StoreError, TransientStoreError
from core.spec import Storage
from core.store import file_system
from core.store.store import DirectoryStore, Store, open_store

WITHOUT = """
import errno, fcntl, os
def lacks(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))
    return fail
"""
LACKS = {
    "directory": "",
    "directory without links": "os.link = lacks(errno.EPERM)",
    "directory without links and locks": "os.link = lacks(errno.ENOTSUP); fcntl.flock = lacks(errno.ENOLCK)",
}
"""A file system -> code that lets a process find it, whatever the real file system has."""


@pytest.fixture(params=[*LACKS, "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store that other processes can open by its address."""
    if request.param in LACKS:
        monkeypatch.setattr(os, "link", os.link)  # to be restored
        monkeypatch.setattr(fcntl, "flock", fcntl.flock)
        exec(WITHOUT + LACKS[request.param], {})
        return open_store(str(tmp_path / "new" / "store"))
    seaweed: Seaweed = request.getfixturevalue("seaweed")
    for variable, value in seaweed.environment.items():
        monkeypatch.setenv(variable, value)
    return open_store(f"s3://{BUCKET}/{uuid.uuid4().hex}/store", Storage(endpoint_url=seaweed.url))


def test_create_never_overwrites(store: Store) -> None:
    """The first call returns True; later calls return False and change nothing."""
    assert store.create("records/a.ndjson", b"first") is True
    assert store.create("records/a.ndjson", b"second") is False
    assert store.read("records/a.ndjson") == b"first"


def test_replace_overwrites(store: Store) -> None:
    """Replacing writes an object that is new or exists; afterwards the object cannot be created."""
    store.replace("manifest.json", b"one")
    store.replace("manifest.json", b"")

    assert store.read("manifest.json") == b""
    assert store.create("manifest.json", b"three") is False


def test_bytes_come_back_as_they_were(store: Store) -> None:
    """Every byte value survives, in an object of more than a megabyte."""
    data = bytes(range(256)) * 5000

    store.create("a.png", data)

    assert store.read("a.png") == data


def test_objects_exist_and_folders_do_not(store: Store) -> None:
    """Only the path that was written exists."""
    store.create("sheets/ab/abc.png", b"x")

    assert store.exists("sheets/ab/abc.png")
    assert not store.exists("sheets/ab")
    assert not store.exists("sheets/ab/abd.png")


def test_an_object_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that loses power leaves an object whole or not at all."""
    steps: list[str] = []
    link, rename = os.link, Path.replace
    monkeypatch.setattr(os, "fsync", lambda _: steps.append("fsync"))
    monkeypatch.setattr(os, "link", lambda *names: (steps.append("name"), link(*names)))
    monkeypatch.setattr(Path, "replace", lambda *names: (steps.append("name"), rename(*names)))
    store = DirectoryStore(tmp_path)

    store.create("records/a", b"1")
    store.replace("manifest.json", b"2")

    assert steps == ["fsync", "name"] * 2


def test_of_concurrent_threads_exactly_one_creates(store: Store) -> None:
    """If several threads create one path concurrently, one gets True, and the object has its bytes."""
    threads, paths = 8, [f"records/{number}" for number in range(4)]
    together = threading.Barrier(threads * len(paths))  # all races at once: a loser may wait for the store for a second

    def race(path: str, number: int) -> bool:
        together.wait()
        return store.create(path, str(number).encode())

    with ThreadPoolExecutor(threads * len(paths)) as pool:
        races = {path: [pool.submit(race, path, number) for number in range(threads)] for path in paths}

    for path, wins in races.items():
        [winner] = [number for number, won in enumerate(wins) if won.result()]
        assert store.read(path) == str(winner).encode()


RACE = """
import multiprocessing, os, sys, time
from core.store.store import open_store

def race(number):
    store = open_store(sys.argv[1])
    all_have_opened.wait()
    won = []
    for round in range(100):
        while time.monotonic() < start.value + round * 0.002:
            pass
        if store.create(f"records/{round}", str(number).encode()):
            won.append(round)
    os.write(1, f"{number} {won}\\n".encode())

start = multiprocessing.Value("d")
all_have_opened = multiprocessing.Barrier(4, lambda: setattr(start, "value", time.monotonic() + 0.02))
for number in range(4):
    if os.fork() == 0:
        race(number)
        os._exit(0)
for _ in range(4):
    assert os.wait()[1] == 0
"""


def test_of_concurrent_processes_exactly_one_creates(store: Store, request: pytest.FixtureRequest) -> None:
    """If several processes create one path at the same moment, one gets True, and the object has its bytes."""
    lacks = LACKS.get(request.node.callspec.params["store"], "")
    raced = subprocess.run(
        [sys.executable, "-c", WITHOUT + lacks + RACE, str(store)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=300,
    )
    won = {number: json.loads(rounds) for number, rounds in (line.split(" ", 1) for line in raced.stdout.splitlines())}

    assert len(won) == 4
    assert sorted(round_ for rounds in won.values() for round_ in rounds) == list(range(100))
    for number, rounds in won.items():
        assert all(store.read(f"records/{round_}") == number.encode() for round_ in rounds)


def test_replacing_is_atomic_for_readers(store: Store) -> None:
    """While an object is replaced many times, every read finds the whole bytes of one version."""
    versions = [bytes([value]) * 200_000 for value in b"abc"]
    store.replace("manifest.json", versions[0])
    enough = threading.Event()

    def write() -> int:
        rounds = 0
        while rounds < 60 or not enough.is_set():
            store.replace("manifest.json", versions[rounds % 3])
            rounds += 1
        return rounds

    seen = []
    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        try:
            end = time.monotonic() + 60
            while (len(seen) < 60 or len(set(seen)) < 3) and time.monotonic() < end:
                seen.append(store.read("manifest.json"))
        finally:
            enough.set()
        assert writer.result() >= 60

    assert set(seen) == set(versions)


def test_a_listing_is_sorted_and_reaches_into_folders(store: Store) -> None:
    """A listing has the whole path of every object below the folder, and no other path."""
    for path in ("sheets/b/2.png", "sheets/a/9.png", "sheets/a/10.png", "sheets/a.png", "sheetsx/a.png", "records/a"):
        store.create(path, b"")

    assert list(store.list("sheets/")) == ["sheets/a.png", "sheets/a/10.png", "sheets/a/9.png", "sheets/b/2.png"]


def test_a_listing_of_a_missing_folder_is_empty(store: Store) -> None:
    """Neither an empty store nor a missing folder is an error."""
    assert list(store.list("records/")) == []

    store.create("sheets/a.png", b"")

    assert list(store.list("records/")) == []


def test_reading_a_missing_object_names_it(store: Store) -> None:
    """The message has the address and the action, in one line."""
    with pytest.raises(StoreError) as caught:
        store.read("sheets/ab/abc.png")

    assert str(caught.value).startswith(f"{store}/sheets/ab/abc.png: could not read, ")
    assert len(str(caught.value).splitlines()) == 1
    assert not isinstance(caught.value, TransientStoreError)


def test_deleting_is_idempotent(store: Store) -> None:
    """A deleted object can be created again, and deleting a missing object is not an error."""
    store.create("records/a", b"one")

    for _ in range(2):
        store.delete("records/a")
        assert not store.exists("records/a")
    assert store.create("records/a", b"two") is True


def test_a_version_changes_with_the_bytes(store: Store) -> None:
    """A missing object has no version; an object with other bytes has another version."""
    assert store.version("manifest.json") is None

    store.replace("manifest.json", b"one")
    first = store.version("manifest.json")
    again = store.version("manifest.json")
    store.replace("manifest.json", b"two")

    assert first is not None
    assert first == again != store.version("manifest.json")


def test_swap_writes_only_over_the_expected_version(store: Store) -> None:
    """For an older version, or the version of a deleted object, swap returns False and changes nothing."""
    assert store.swap("manifest.json", b"one", None) is True
    first = store.version("manifest.json")
    assert store.swap("manifest.json", b"no", None) is False
    assert store.swap("manifest.json", b"two", first) is True
    assert store.swap("manifest.json", b"no", first) is False
    assert store.read("manifest.json") == b"two"

    store.delete("manifest.json")
    assert store.swap("manifest.json", b"no", first) is False
    assert list(store.list("")) == []


class WatchedFile(io.BytesIO):
    """A file that notes the largest number of bytes that was read at once."""

    largest = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.largest = max(self.largest, len(data))
        return data


def test_a_file_is_swapped_without_reading_it_into_memory(store: Store) -> None:
    """The whole file is written, wherever it was read before, by blocks; a refused swap changes nothing."""
    content = bytes(range(256)) * 20_000
    file = WatchedFile(content)
    file.seek(17)

    assert store.swap("data/pairs.ndjson", file, None) is True
    assert store.swap("data/pairs.ndjson", file, None) is False
    assert store.swap("data/pairs.ndjson", io.BytesIO(b"new"), store.version("data/pairs.ndjson")) is True

    assert 0 < file.largest < len(content) / 2
    assert store.read("data/pairs.ndjson") == b"new"
    assert list(store.list("")) == ["data/pairs.ndjson"]


def test_a_digest_is_that_of_the_bytes(store: Store) -> None:
    """The digest is the sha256 of what `read` returns, also of files that a bucket has compressed."""
    for path in ("data/pairs.ndjson", "data/all-00000-0123456789.js"):
        store.replace(path, b"ab" * 2_000_000)
        assert store.digest(path) == hashlib.sha256(b"ab" * 2_000_000).hexdigest()
    with pytest.raises(StoreError, match="records/none: could not read, "):
        store.digest("records/none")


def test_of_concurrent_threads_exactly_one_swaps_a_version(store: Store) -> None:
    """Threads append their number to what they have read and retry when refused; every number is kept."""
    store.replace("manifest.json", b"")

    def add(number: int) -> None:
        while True:
            version, data = store.version("manifest.json"), store.read("manifest.json")
            if store.swap("manifest.json", data + bytes([number]), version):
                return

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(24)))

    assert sorted(store.read("manifest.json")) == list(range(24))
    assert list(store.list("")) == ["manifest.json"]


def test_many_objects_are_read_in_the_given_order(store: Store) -> None:
    """A path may occur twice; the error of a missing object comes in its place."""
    paths = [f"records/{number}" for number in range(50)]
    for path in paths:
        store.create(path, path.encode())
    wanted = [*reversed(paths), paths[7], paths[7]]

    assert [data.decode() for data in store.read_many(wanted)] == wanted

    reading = store.read_many([paths[0], "records/none", paths[1]])
    assert next(reading) == b"records/0"
    with pytest.raises(StoreError, match="records/none: could not read, "):
        next(reading)


def test_the_name_of_a_store_is_that_of_its_atlas(store: Store) -> None:
    """The name is the last part of the store's address."""
    assert store.name == "store"


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EACCES])
def test_a_directory_without_links_is_for_one_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Locks of some file systems hold on one machine only. The answer leaves no file behind."""
    store = DirectoryStore(tmp_path / "atlas")
    assert store.allows_many_writers() is True

    monkeypatch.setattr(os, "link", failing(number))

    assert store.allows_many_writers() is False
    assert store.one_writer.startswith("this file system has no hard links; let only one ")
    assert store.create("records/a", b"one") is True
    assert store.create("records/a", b"two") is False
    assert files_below(tmp_path) == ["atlas/records/a"]


def test_an_error_of_a_link_that_is_not_about_links_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails is not taken for one without links."""
    monkeypatch.setattr(os, "link", failing(errno.EIO))

    with pytest.raises(StoreError, match="records/a: could not write, Input/output error"):
        DirectoryStore(tmp_path).create("records/a", b"")
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_that_cannot_flush_is_used_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The write succeeds; another error of flushing is reported."""
    monkeypatch.setattr(os, "fsync", failing(number))
    assert DirectoryStore(tmp_path).create("records/a", b"data") is True

    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(StoreError, match="could not write, Input/output error"):
        DirectoryStore(tmp_path).create("records/b", b"data")


def test_the_claim_of_a_killed_process_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no locks, a file that stays too long does not stop others for ever."""
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    monkeypatch.setattr(file_system, "_ABANDONED_SECONDS", 0.05)
    (tmp_path / ".a.claim.tmp").write_bytes(b"")

    assert DirectoryStore(tmp_path).create("a", b"data") is True
    assert files_below(tmp_path) == ["a"]


def failing(number: int) -> Callable[..., None]:
    """Return a function that raises the error of the operating system with this number."""

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_opening_a_directory_writes_nothing(tmp_path: Path) -> None:
    """Writing the first object creates its folder."""
    opened = open_store(str(tmp_path / "a" / "b"))
    assert not opened.exists("x")
    assert list(tmp_path.iterdir()) == []

    opened.create("c/x", b"")

    assert files_below(tmp_path) == ["a/b/c/x"]


def test_temporary_files_of_killed_writers_are_not_listed(tmp_path: Path) -> None:
    """A killed writer's file beside the final one is not an object; another file with a leading dot is one."""
    opened = DirectoryStore(tmp_path)
    opened.create("records/a", b"")
    (tmp_path / "records" / ".a.0123456789abcdef.tmp").write_bytes(b"half")
    (tmp_path / "records" / ".hidden").write_bytes(b"")

    assert list(opened.list("records/")) == ["records/.hidden", "records/a"]


WRITERS = [DirectoryStore.create, DirectoryStore.replace]


@pytest.mark.parametrize("write", WRITERS)
def test_a_successful_write_leaves_the_object_only(
    tmp_path: Path, write: Callable[[DirectoryStore, str, bytes], object]
) -> None:
    """No temporary file remains, whether the object is new or exists."""
    for data in (b"one", b"two"):
        write(DirectoryStore(tmp_path), "records/a", data)

    assert files_below(tmp_path) == ["records/a"]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("path", ["file/a", "file/a/b", "x" * 300])
def test_a_write_to_an_impossible_path_fails_in_one_line(
    tmp_path: Path, write: Callable[[DirectoryStore, str, bytes], object], path: str
) -> None:
    """A file in the place of a folder, or a name that is too long, is reported, and no file is left behind."""
    (tmp_path / "file").write_bytes(b"in the way")

    with pytest.raises(StoreError) as caught:
        write(DirectoryStore(tmp_path), path, b"data")

    assert str(caught.value).startswith(f"{tmp_path}/{path}: could not write, ")
    assert len(str(caught.value).splitlines()) == 1
    assert files_below(tmp_path) == ["file"]


def test_a_folder_in_the_place_of_an_object_cannot_be_replaced(tmp_path: Path) -> None:
    """The write fails at its last step, and deletes its temporary file."""
    (tmp_path / "manifest.json").mkdir()

    with pytest.raises(StoreError, match="could not write, Is a directory"):
        DirectoryStore(tmp_path).replace("manifest.json", b"data")

    assert files_below(tmp_path) == []


def test_a_folder_in_the_place_of_an_object_cannot_be_created(tmp_path: Path) -> None:
    """Creating the object is an error, not the success of another writer."""
    (tmp_path / "records").mkdir()

    with pytest.raises(StoreError, match="records: could not write, Is a directory"):
        DirectoryStore(tmp_path).create("records", b"data")

    assert files_below(tmp_path) == []


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_is_reported_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[DirectoryStore, str, bytes], object]
) -> None:
    """The system may report it only when the bytes are flushed to the disk; no file is left behind."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(StoreError) as caught:
        write(DirectoryStore(tmp_path), "records/a", b"data")

    assert str(caught.value) == (
        f"{tmp_path}/records/a: could not write, No space left on device; make room and run the same command again"
    )
    assert files_below(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EACCES, "Permission denied; let this user write there, or choose another folder"),
        (errno.EROFS, "Read-only file system; let this user write there, or choose another folder"),
        (errno.ENAMETOOLONG, "File name too long; choose a folder with a shorter name"),
        (errno.EDQUOT, "Disk quota exceeded; make room and run the same command again"),
    ],
)
def test_a_folder_that_cannot_be_written_is_reported_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    """The question about many writers, which comes first in a build, has the same message."""
    monkeypatch.setattr(os, "fsync", failing(number))

    for call in (lambda: DirectoryStore(tmp_path).create("a", b""), DirectoryStore(tmp_path).allows_many_writers):
        with pytest.raises(StoreError) as caught:
            call()
        assert str(caught.value).removeprefix(str(tmp_path)).removeprefix("/a") == f": could not write, {message}"


def test_a_folder_that_cannot_be_listed_is_not_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its records would be rendered again; a folder that does not exist is empty."""
    (tmp_path / "records").mkdir()
    monkeypatch.setattr(os, "scandir", failing(errno.EACCES))

    with pytest.raises(StoreError, match="records: could not list, Permission denied; let this user list there"):
        DirectoryStore(tmp_path).list("records/")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from core.errors import StoreError
from core.store.store import DirectoryStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
store = DirectoryStore(Path(sys.argv[1]))
for write in (store.create, store.replace):
    try:
        write("records/a", bytes(5000))
    except StoreError as error:
        print(error)
"""


def test_a_partial_write_leaves_no_file(tmp_path: Path) -> None:
    """If the file system takes only a part of the bytes, neither that part nor a temporary file remains."""
    ended = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True, timeout=300
    )

    assert ended.stdout.splitlines() == [f"{tmp_path}/records/a: could not write, File too large"] * 2
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("below", ["", "/x/y"])
def test_an_address_with_a_file_in_the_way_is_refused(tmp_path: Path, below: str) -> None:
    """If a file is in the path of the directory, the store is not opened, because it could not be written."""
    (tmp_path / "file").write_bytes(b"")
    address = f"{tmp_path}/file{below}"

    with pytest.raises(StoreError) as caught:
        open_store(address)

    assert str(caught.value) == f"output {address}: expected a directory, but {tmp_path}/file is a file"


@pytest.mark.parametrize("address", ["file:///tmp/x", "https://example.org/x", "S3://bucket/x"])
def test_other_kinds_of_address_are_refused(address: str) -> None:
    """Another URL is reported in one line, instead of becoming a folder of that name."""
    with pytest.raises(StoreError) as caught:
        open_store(address)

    assert str(caught.value) == (
        f"output {address}: expected a directory or s3://bucket/prefix; other kinds of store are not supported"
    )


def test_the_home_folder_of_an_unknown_user_is_refused() -> None:
    """A tilde with the name of a user who does not exist cannot be expanded."""
    with pytest.raises(StoreError, match=r"^output ~user-who-does-not-exist/x: expected a directory, "):
        open_store("~user-who-does-not-exist/x")


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Addresses are expanded as in a shell."""
    monkeypatch.setenv("HOME", str(tmp_path))

    assert open_store("~/atlases").root == tmp_path / "atlases"
