"""A store in a bucket: its objects as other clients see them, its retries, and its error messages.

test_store.py tests the contract that it shares with a store in a directory.
"""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command_line import Isthmus, Said
from fault_proxy import Fault, FaultProxy
from sample_records import RECORDS
from seaweed import BUCKET, KEY, READER_KEY, READER_SECRET, SECRET, Seaweed, environment

from core.atlas.records import to_ndjson
from core.errors import SpecError, StoreError, TransientStoreError
from core.gallery.publish import publish
from core.photographs.listing import UnreadableError
from core.photographs.source import open_source
from core.spec import Storage
from core.store import s3
from core.store.store import Store, open_store

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

ISTHMUS = Path(sys.executable).with_name("isthmus")


@pytest.fixture
def credentials(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the valid credentials, and nothing else that boto3 would find."""
    for variable, value in seaweed.environment.items():
        monkeypatch.setenv(variable, value)


@pytest.fixture
def prefix() -> str:
    """A prefix of the bucket that no other test uses."""
    return uuid.uuid4().hex


@pytest.fixture
def store(seaweed: Seaweed, credentials: None, prefix: str) -> Store:
    """An empty store."""
    return open_store(f"s3://{BUCKET}/{prefix}", Storage(endpoint_url=seaweed.url))


@pytest.fixture(scope="module")
def client(seaweed: Seaweed) -> S3Client:
    """A client that sees the bucket as other programs do."""
    return seaweed.client()


@pytest.fixture(scope="module")
def running_proxy(seaweed: Seaweed) -> Iterator[FaultProxy]:
    """A proxy in front of the server. All tests share its address, because each address needs a client of its own."""
    with FaultProxy(seaweed.url).running() as running:
        yield running


@pytest.fixture
def proxy(running_proxy: FaultProxy) -> FaultProxy:
    """A proxy in front of the server, without faults so far."""
    running_proxy._faults.clear()
    running_proxy.requests.clear()
    running_proxy.ignore_conditions = running_proxy.refuse_conditions = False
    running_proxy.die(seconds=0)
    return running_proxy


@pytest.fixture
def behind(proxy: FaultProxy, credentials: None, prefix: str) -> Store:
    """The store behind the proxy."""
    return open_store(f"s3://{BUCKET}/{prefix}", Storage(endpoint_url=proxy.url))


IMMUTABLE, REVALIDATE = "public, max-age=31536000, immutable", "no-cache"


@pytest.mark.parametrize(
    ("path", "kind", "cache"),
    [
        ("sheets/ab/abc.png", "image/png", IMMUTABLE),
        ("previews/ab/abc-32.webp", "image/webp", IMMUTABLE),
        ("land/0123456789abcdef0123/4/3_12.webp", "image/webp", IMMUTABLE),
        ("data/index-00000-0123456789.js", "text/javascript; charset=utf-8", IMMUTABLE),
        ("assets/gallery-0123456789.css", "text/css; charset=utf-8", IMMUTABLE),
        ("assets/mark.svg", "image/svg+xml", REVALIDATE),
        ("data/pairs.ndjson", "application/x-ndjson", REVALIDATE),
        ("records/abc.ndjson", "application/x-ndjson", REVALIDATE),
        ("land/0123456789abcdef0123/tiles.json", "application/json", REVALIDATE),
        ("manifest.json", "application/json", REVALIDATE),
        ("plan/spec.json", "application/json", REVALIDATE),
        ("index.html", "text/html; charset=utf-8", REVALIDATE),
    ],
)
@pytest.mark.parametrize("write", ["create", "replace"])
def test_objects_have_a_content_type_and_a_cache_control_for_browsers(
    store: Store, client: S3Client, prefix: str, write: str, path: str, kind: str, cache: str
) -> None:
    """A file with its key or digest in its name never changes; all other files are revalidated at each use."""
    getattr(store, write)(path, b"x")

    head = client.head_object(Bucket=BUCKET, Key=f"{prefix}/{path}")
    assert (head["ContentType"], head["CacheControl"]) == (kind, cache)


@pytest.mark.parametrize(
    ("path", "compressed"),
    [
        ("data/index-00000-0123456789.js", True),
        ("assets/grid-0123456789.css", True),
        ("index.html", False),  # small, and requested by other clients than browsers, too
        ("data/pairs.ndjson", False),  # read by programs, which would have to decompress it
        ("manifest.json", False),
        ("sheets/ab/abc.png", False),  # already small
    ],
)
def test_files_that_a_page_loads_are_compressed(
    store: Store, client: S3Client, prefix: str, path: str, compressed: bool
) -> None:
    """Scripts and styles are stored as gzip, and read back as they were written."""
    data = b"isthmus.data([1, 2, 3]);\n" * 2000
    store.replace(path, data)

    stored = client.get_object(Bucket=BUCKET, Key=f"{prefix}/{path}")
    body = stored["Body"].read()
    assert (stored.get("ContentEncoding"), len(body) < len(data) / 10) == ("gzip" if compressed else None, compressed)
    assert (gzip.decompress(body) if compressed else body) == data
    assert store.read(path) == data
    assert list(store.read_many([path, path])) == [data, data]


def test_damaged_gzip_is_read_as_it_is(store: Store, client: S3Client, prefix: str) -> None:
    """Reading does not fail; the digest of the bytes shows the damage."""
    path = "data/index-00000-0123456789.js"
    whole = gzip.compress(b"isthmus.data([1, 2, 3]);\n" * 50)
    for damaged in (whole[:-9], b"\0" + whole[1:], whole[:20] + b"\xff" * 9 + whole[29:]):
        place = {"Bucket": BUCKET, "Key": f"{prefix}/{path}"}
        client.put_object(**place, Body=damaged, ContentEncoding="gzip")
        assert store.read(path) == damaged


def test_the_location_of_an_object_is_its_address(store: Store, seaweed: Seaweed, prefix: str) -> None:
    """A browser that may read the bucket can open the page there."""
    assert store.location("index.html") == f"{seaweed.url}/{BUCKET}/{prefix}/index.html"


def test_a_listing_of_several_pages_is_complete_and_sorted(store: Store) -> None:
    """The server lists 1002 objects in pages of its own order; the listing is sorted by the whole path."""
    paths = [f"sheets/{number % 7}/{number}.png" for number in range(1000)] + ["sheets/1-.png", "sheets/1.png"]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda path: store.replace(path, b""), paths))

    assert list(store.list("sheets/")) == sorted(paths)


@pytest.mark.parametrize("offset", [0, 1, 2_499_999, 2_500_000, 9_999_999])
def test_any_object_is_read_from_an_offset_on(
    seaweed: Seaweed, credentials: None, client: S3Client, prefix: str, offset: int
) -> None:
    """The rest of the object comes in blocks; from its end on there is nothing."""
    data = bytes(range(250)) * 10_000
    client.put_object(Bucket=BUCKET, Key=f"{prefix}/net.pb", Body=data)

    blocks = list(s3.read_from(f"s3://{BUCKET}/{prefix}/net.pb", offset))

    assert b"".join(blocks) == data[offset:]
    assert all(0 < len(block) <= 1 << 20 for block in blocks)


def test_errors_of_reading_from_an_offset_have_their_cause(
    proxy: FaultProxy, credentials: None, client: S3Client, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing object is an error of one line, and so is an answer that ends early."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    address = f"s3://{BUCKET}/{prefix}/net.pb"
    with pytest.raises(StoreError) as caught:
        list(s3.read_from(address, 7))
    assert str(caught.value).startswith("the store says NoSuchKey ")

    client.put_object(Bucket=BUCKET, Key=f"{prefix}/net.pb", Body=bytes(100))
    proxy.inject(Fault("cut"))
    with pytest.raises(StoreError) as caught:
        list(s3.read_from(address, 7))
    assert "\n" not in str(caught.value)


def test_photographs_in_a_bucket_are_listed_and_read(store: Store, seaweed: Seaweed, prefix: str) -> None:
    """One object each, or members of a tar file, of which parts are read; what is gone is a reason, not an error."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as file:
        for name, data in (("1.jpg", b"first" * 500), ("1.txt", b"a dog"), ("2.jpg", b"second" * 500)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
            store.replace(f"photos/a/{name}", data)
    store.replace("all.tar", tar.getvalue())
    storage, root = Storage(endpoint_url=seaweed.url), f"s3://{BUCKET}/{prefix}"
    for address, versioned in ((f"{root}/photos", False), (f"{root}/all.tar", True)):
        source = open_source(address, storage)
        found = source.listing(None, by_folder=True)
        assert [each.file.path.rpartition("/")[2] for each in found.photographs] == ["1.jpg", "2.jpg"]
        assert [source.read(each.file) for each in found.photographs] == [b"first" * 500, b"second" * 500]
        caption = found.photographs[0].caption
        assert caption is not None
        assert source.read(caption) == b"a dog"
        assert (source.version() is not None) == versioned
    photos = open_source(f"{root}/photos", storage)
    listing = photos.listing(None, by_folder=True)
    assert listing.labels == ["a"]
    store.delete("photos/a/2.jpg")
    with pytest.raises(UnreadableError, match="no longer there"):
        photos.read(listing.photographs[1].file)
    with pytest.raises(SpecError, match="expected a tar file, there is no such object"):
        open_source(f"{root}/none.tar", storage)


def test_a_photograph_that_the_store_refuses_is_left_out(
    behind: Store, proxy: FaultProxy, client: S3Client, prefix: str
) -> None:
    """If all are refused, the credentials are wrong, which is an error; compressed ones are read as they are."""
    packed = gzip.compress(b"x")
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=packed, ContentEncoding="gzip")
    source = open_source(str(behind), Storage(endpoint_url=proxy.url))
    first, second, _ = (photograph.file for photograph in source.listing(None, by_folder=False).photographs)

    proxy.inject(Fault("refuse", times=9, method="GET", path=".*1.jpg", status=403, code="AccessDenied"))
    for _ in range(2):
        with pytest.raises(UnreadableError, match="the store refuses to send it"):
            source.read(first)
    assert source.read(second) == packed
    proxy.inject(Fault("refuse", times=9, method="GET", path=".*jpg", status=403, code="AccessDenied"))
    with pytest.raises(StoreError, match="the credentials do not allow it"):
        source.read(first)


def test_a_store_at_the_top_of_a_bucket_has_the_same_paths(store: Store, seaweed: Seaweed, prefix: str) -> None:
    """Without a prefix, the bucket itself is the atlas."""
    store.create("records/a", b"x")

    bucket = open_store(f"s3://{BUCKET}", Storage(endpoint_url=seaweed.url))

    assert (str(bucket), bucket.name) == (f"s3://{BUCKET}", BUCKET)
    assert bucket.read(f"{prefix}/records/a") == b"x"
    assert list(bucket.list(f"{prefix}/")) == [f"{prefix}/records/a"]


PUT_RECORD = {"method": "PUT", "path": ".*/records/.*"}


def test_a_success_whose_answer_is_lost_is_a_success(behind: Store, proxy: FaultProxy) -> None:
    """The retry finds that the object exists, and recognizes it as its own."""
    lost = proxy.inject(Fault("drop", times=2, **PUT_RECORD))

    assert behind.create("records/a", b"mine") is True
    version = behind.version("records/a")
    lost.times = 1
    assert behind.swap("records/a", b"newer", version) is True

    assert lost.times == 0
    assert behind.read("records/a") == b"newer"


def test_a_refused_create_whose_answer_is_lost_is_refused(behind: Store, store: Store, proxy: FaultProxy) -> None:
    """The retries recognize that the object is another writer's, even with equal bytes."""
    store.create("records/a", b"data")
    lost = proxy.inject(Fault("drop", times=2, **PUT_RECORD))

    assert behind.create("records/a", b"data") is False
    assert lost.times == 0


@pytest.mark.parametrize(
    "fault",
    [
        Fault("refuse", times=3),
        Fault("refuse", times=2, status=429, code="SlowDown"),
        Fault("refuse", times=2, method="PUT", status=409, code="ConditionalRequestConflict"),
        Fault("refuse", times=1, method="PUT", status=404, code="NoSuchKey"),
        Fault("reset", times=3),
        Fault("slow", seconds=0.5),
        Fault("cut", times=2, method="GET"),
    ],
    ids=lambda fault: f"{fault.kind} {fault.status}",
)
def test_transient_errors_are_retried(behind: Store, proxy: FaultProxy, fault: Fault) -> None:
    """A few refused, broken, slow or incomplete answers delay the work and do not fail it."""
    behind.allows_many_writers()
    proxy.inject(fault)

    assert behind.create("records/a", b"data") is True
    assert behind.read("records/a") == b"data"
    assert list(behind.list("records/")) == ["records/a"]
    assert behind.exists("records/a")
    assert fault.times == 0


def test_calls_are_retried_until_the_store_is_back(behind: Store, proxy: FaultProxy) -> None:
    """A second without any answer is bridged by retries."""
    behind.allows_many_writers()
    proxy.die(seconds=1)

    assert behind.create("records/a", b"data") is True


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault("refuse", 99), "could not read, the store is unavailable (ServiceUnavailable); try again later"),
        (
            Fault("refuse", 99, status=429, code="SlowDown"),
            "the store is unavailable (SlowDown); try again later",
        ),
        (Fault("reset", 99), "could not read, no answer from {url} (ConnectionClosedError); try again, or correct "),
        (Fault("cut", 99), "could not read, no answer from {url} ("),
    ],
)
def test_a_lasting_outage_is_a_transient_error(
    behind: Store, store: Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, fault: Fault, message: str
) -> None:
    """The error has one line, and is of the kind that is worth a retry later."""
    store.replace("records/a", b"data")
    behind = _with_two_attempts(monkeypatch, behind, proxy.url)
    proxy.inject(fault)

    with pytest.raises(TransientStoreError) as caught:
        behind.read("records/a")

    assert message.format(url=proxy.url) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_an_existence_check_gives_up_after_its_attempts(
    behind: Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HEAD is retried, and GET is not tried after it."""
    behind = _with_two_attempts(monkeypatch, behind, proxy.url)
    proxy.inject(Fault("refuse", 99))

    with pytest.raises(TransientStoreError, match="the store is unavailable"):
        behind.exists("a")

    assert [method for method, _ in proxy.requests] == ["HEAD"] * 2


def test_a_write_with_endless_conflicts_gives_up(
    behind: Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is transient, so the caller may retry later."""
    behind.allows_many_writers()
    monkeypatch.setattr(s3, "ATTEMPTS", 2)
    proxy.inject(Fault("refuse", 99, method="PUT", status=409, code="ConditionalRequestConflict"))

    with pytest.raises(TransientStoreError, match="/records/a: could not write, others keep changing it; try again"):
        behind.create("records/a", b"data")

    assert not behind.exists("records/a")


def test_an_address_that_does_not_answer_is_a_transient_error(
    credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has the address, because it may be wrong."""
    monkeypatch.setattr(s3, "ATTEMPTS", 2)
    unused = "http://127.0.0.1:9"

    with pytest.raises(TransientStoreError) as caught:
        open_store(f"s3://{BUCKET}/x", Storage(endpoint_url=unused)).read("a")

    assert str(caught.value) == (
        f"s3://{BUCKET}/x/a: could not read, no answer from {unused} (EndpointConnectionError); "
        "try again, or correct storage.endpoint_url"
    )


def test_a_full_store_is_not_retried(behind: Store, proxy: FaultProxy) -> None:
    """The error is permanent: the call is made once, and the message says what to do."""
    full = proxy.inject(Fault("refuse", times=99, method="PUT", status=507, code="InsufficientStorage"))

    with pytest.raises(StoreError) as caught:
        behind.replace("records/a", b"data")

    assert not isinstance(caught.value, TransientStoreError)
    assert str(caught.value).endswith(
        "/records/a: could not write, the store is full (InsufficientStorage); make room and run the same command again"
    )
    assert full.times == 98


def _with_two_attempts(monkeypatch: pytest.MonkeyPatch, store: Store, url: str) -> Store:
    """Return the same store with at most two attempts for each call."""
    monkeypatch.setattr(s3, "ATTEMPTS", 2)
    return open_store(str(store), Storage(endpoint_url=url, region="eu-west-1"))  # other options make another client


@pytest.mark.parametrize("behaviour", ["ignore_conditions", "refuse_conditions"])
def test_a_store_without_conditions_is_for_one_writer(behind: Store, proxy: FaultProxy, behaviour: str) -> None:
    """A probe finds that out; then the store reads before it writes, which is correct for a single writer."""
    setattr(proxy, behaviour, True)

    assert behind.allows_many_writers() is False
    assert list(behind.list("")) == []
    assert behind.create("records/a", b"first") is True
    assert behind.create("records/a", b"second") is False
    version = behind.version("records/a")
    assert behind.swap("records/a", b"third", version) is True
    assert behind.swap("records/a", b"fourth", version) is False
    assert behind.read("records/a") == b"third"


def test_conditions_are_probed_once_and_only_before_a_write(behind: Store, proxy: FaultProxy) -> None:
    """Reading needs no probe, a process probes once, and the probe leaves no object behind."""
    behind.exists("a")
    list(behind.list(""))
    with pytest.raises(StoreError):
        behind.read("a")
    assert {method for method, _ in proxy.requests} == {"GET", "HEAD"}

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: behind.allows_many_writers(), range(4))) == [True] * 4
    behind.create("a", b"")
    open_store(str(behind), Storage(endpoint_url=proxy.url)).create("b", b"")

    probes = [method for method, path in proxy.requests if "/plan/probe-" in path]
    assert probes == ["PUT", "PUT", "PUT", "DELETE"]
    assert list(behind.list("")) == ["a", "b"]


def test_concurrent_publishers_publish_every_record(store: Store) -> None:
    """Each of three publishers adds a record; the last one to finish has read the records of the others."""

    def add_and_publish(number: int) -> None:
        store.create(f"records/{number}.ndjson", to_ndjson(RECORDS[number : number + 1]))
        publish(store, "small")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(add_and_publish, range(3)))

    manifest = publish(store, "small")  # changes nothing
    published = list(store.list("data/"))
    assert manifest.counts.pairs == 3
    assert manifest.index
    assert {file.path for file in manifest.data_files} <= {*published}
    assert manifest.index.path in store.read("index.html").decode()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://", "output s3://: expected s3://bucket/prefix, nothing is not a bucket name"),
        ("s3:///x", "output s3:///x: expected s3://bucket/prefix, nothing is not a bucket name"),
        ("s3://a b/x", "output s3://a b/x: expected s3://bucket/prefix, a b is not a bucket name"),
        (
            "s3://bucket/a//b",
            "output s3://bucket/a//b: expected s3://bucket/prefix without empty, . or .. parts",
        ),
        (
            "s3://bucket/../x",
            "output s3://bucket/../x: expected s3://bucket/prefix without empty, . or .. parts",
        ),
        (
            "s3://me:hush@bucket/x",
            "output: expected s3://bucket/prefix without user and password; give them by the env",
        ),
    ],
)
def test_an_invalid_address_is_refused(uri: str, message: str) -> None:
    """Opening the store fails, with one line that repeats no password."""
    with pytest.raises(StoreError) as caught:
        open_store(uri)

    assert str(caught.value).startswith(message)
    assert "hush" not in str(caught.value)


GIVE = "give valid ones by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"
WRONG = "hush-7d1f"


def run_script(*arguments: str, **variables: str) -> Said:
    """Run the installed script; these variables are all that boto3 finds in the environment."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    ended = subprocess.run(
        [ISTHMUS, *arguments], env=clean | variables, capture_output=True, text=True, timeout=300, check=False
    )
    return Said(ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture
def run(isthmus: Isthmus, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """The command line within this process, with the cached clients and probes of stores left out."""

    def run_in_process(*arguments: str, **variables: str) -> Said:
        with monkeypatch.context() as changed:
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                changed.delenv(name)
            for name, value in variables.items():
                changed.setenv(name, value)
            for cached in ("_client", "_respects_conditions"):
                changed.setattr(s3, cached, lru_cache(getattr(s3, cached).__wrapped__))
            return isthmus(*arguments)

    return run_in_process


@pytest.mark.parametrize(
    ("bucket", "change", "message"),
    [
        ("nowhere", {}, "there is no bucket nowhere; create it, or correct the address or storage.endpoint_url"),
        (BUCKET, {"AWS_SECRET_ACCESS_KEY": WRONG}, f"refuses the credentials (SignatureDoesNotMatch); {GIVE}"),
        (BUCKET, {"AWS_ACCESS_KEY_ID": WRONG}, f"refuses the credentials (InvalidAccessKeyId); {GIVE}"),
        (BUCKET, {"AWS_ACCESS_KEY_ID": ""}, f"found no credentials (NoCredentialsError); {GIVE}"),
        (BUCKET, {"AWS_SECRET_ACCESS_KEY": ""}, f"found no credentials (PartialCredentialsError); {GIVE}"),
        (BUCKET, {"AWS_PROFILE": "nobody"}, f"found no credentials (ProfileNotFound); {GIVE}"),
        (BUCKET, {"AWS_ENDPOINT_URL": f"http://me:{WRONG}@host"}, "expected an address without user and password"),
        (BUCKET, {"AWS_ENDPOINT_URL": "127.0.0.1"}, "expected an address such as https://store.example.org"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["verify", "open"])
def test_permanent_errors_are_reported_in_one_line(
    seaweed: Seaweed, run: Callable[..., Said], command: str, bucket: str, change: dict[str, str], message: str
) -> None:
    """The exit code is 2, standard error says what is wrong and what to do, and no secret is in it."""
    ended = run(command, f"s3://{bucket}/small", **seaweed.environment | change)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("isthmus: ")
    assert ended.err.endswith(f"{message}\n")
    assert ended.err.count("\n") == 1
    assert not any(secret in ended.err for secret in (KEY, SECRET, WRONG))


def test_credentials_that_may_only_read_are_reported_at_a_write(
    seaweed: Seaweed, store: Store, run: Callable[..., Said]
) -> None:
    """A write that is not allowed fails with one line; a read succeeds."""
    store.create("records/a.ndjson", to_ndjson(RECORDS))
    reader = environment(seaweed.url, READER_KEY, READER_SECRET)

    refused, read = run_script("publish", str(store), **reader), run("verify", str(store), "--json", **reader)

    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(f"isthmus: {store}/plan/probe-")
    assert refused.err.endswith(
        ": could not write, the credentials do not allow it (AccessDenied); allow them to get, put, delete and list\n"
    )
    assert (read.code, read.err) == (1, "")  # nothing has been published


@pytest.mark.parametrize(("options", "warnings"), [({}, 0), ({"ignore_conditions": True}, 1)])
def test_publishing_warns_once_of_a_store_for_one_writer(
    proxy: FaultProxy, store: Store, run: Callable[..., Said], options: dict[str, bool], warnings: int
) -> None:
    """The publication succeeds nevertheless."""
    store.create("records/a.ndjson", to_ndjson(RECORDS))
    for name, value in options.items():
        setattr(proxy, name, value)

    ended = run("publish", str(store), **environment(proxy.url))

    warning = (
        f"isthmus: warning: {store}: this store ignores conditional writes; "
        "let only one build or publish of an atlas run at a time\n"
    )
    assert (ended.code, ended.err) == (0, warning * warnings)
    assert store.exists("index.html")
    assert not any("probe" in path for path in store.list(""))


def test_opening_an_atlas_in_a_bucket_prints_its_address(
    store: Store, seaweed: Seaweed, run: Callable[..., Said]
) -> None:
    """For a published atlas the page's address is printed; a store without a page is bad input."""
    store.create("records/a.ndjson", to_ndjson(RECORDS))
    assert run("open", str(store), **seaweed.environment).code == 2

    published = run_script("publish", str(store), **seaweed.environment)
    opened = run("open", str(store), **seaweed.environment)

    page = store.location("index.html")
    assert published.out.splitlines() == [f"{store}: published 5 pairs, 4 done, 1 failed", f"Open {page}"]
    assert (opened.code, opened.out, opened.err) == (0, f"{page}\n", "")
