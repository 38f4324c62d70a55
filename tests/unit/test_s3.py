"""A store in a bucket: what others see of it, what it makes of trouble on the way, and what it says about that.

What it has in common with a store in a directory is tested in test_store.py.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
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
from core.errors import StoreError, TransientStoreError
from core.gallery.publish import publish
from core.spec import Storage
from core.store import s3
from core.store.store import Store, open_store

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

ISTHMUS = Path(sys.executable).with_name("isthmus")


@pytest.fixture
def credentials(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The right credentials, and nothing else, for boto3 to find."""
    for variable, value in seaweed.environment.items():
        monkeypatch.setenv(variable, value)


@pytest.fixture
def prefix() -> str:
    """A place in the bucket that nobody else uses."""
    return uuid.uuid4().hex


@pytest.fixture
def store(seaweed: Seaweed, credentials: None, prefix: str) -> Store:
    """An empty store."""
    return open_store(f"s3://{BUCKET}/{prefix}", Storage(endpoint_url=seaweed.url))


@pytest.fixture(scope="module")
def client(seaweed: Seaweed) -> S3Client:
    """What sees the bucket as others do."""
    return seaweed.client()


@pytest.fixture(scope="module")
def running_proxy(seaweed: Seaweed) -> Iterator[FaultProxy]:
    """A proxy before the server, at one address for all tests: each new one would need another client."""
    with FaultProxy(seaweed.url).running() as running:
        yield running


@pytest.fixture
def proxy(running_proxy: FaultProxy) -> FaultProxy:
    """A proxy before the server that is no trouble yet."""
    running_proxy._faults.clear()
    running_proxy.requests.clear()
    running_proxy.ignore_conditions = running_proxy.refuse_conditions = False
    running_proxy.die(seconds=0)
    return running_proxy


@pytest.fixture
def behind(proxy: FaultProxy, credentials: None, prefix: str) -> Store:
    """The store as it is seen through the proxy."""
    return open_store(f"s3://{BUCKET}/{prefix}", Storage(endpoint_url=proxy.url))


FOR_EVER, ASK_AGAIN = "public, max-age=31536000, immutable", "no-cache"


@pytest.mark.parametrize(
    ("path", "kind", "cache"),
    [
        ("sheets/ab/abc.png", "image/png", FOR_EVER),
        ("previews/ab/abc-32.webp", "image/webp", FOR_EVER),
        ("data/index-00000-0123456789.js", "text/javascript; charset=utf-8", FOR_EVER),
        ("assets/gallery-0123456789.css", "text/css; charset=utf-8", FOR_EVER),
        ("assets/mark.svg", "image/svg+xml", ASK_AGAIN),
        ("data/pairs.ndjson", "application/x-ndjson", ASK_AGAIN),
        ("records/abc.ndjson", "application/x-ndjson", ASK_AGAIN),
        ("manifest.json", "application/json", ASK_AGAIN),
        ("plan/spec.json", "application/json", ASK_AGAIN),
        ("index.html", "text/html; charset=utf-8", ASK_AGAIN),
    ],
)
@pytest.mark.parametrize("write", ["create", "replace"])
def test_browsers_are_told_what_an_object_is_and_how_long_to_keep_it(
    store: Store, client: S3Client, prefix: str, write: str, path: str, kind: str, cache: str
) -> None:
    """What has its key or digest in its name never changes; everything else may, and is asked for again."""
    getattr(store, write)(path, b"x")

    head = client.head_object(Bucket=BUCKET, Key=f"{prefix}/{path}")
    assert (head["ContentType"], head["CacheControl"]) == (kind, cache)


@pytest.mark.parametrize(
    ("path", "packed"),
    [
        ("data/index-00000-0123456789.js", True),
        ("assets/grid-0123456789.css", True),
        ("index.html", False),  # small, and asked for by more than browsers
        ("data/pairs.ndjson", False),  # read by programs, which would have to unpack it
        ("manifest.json", False),
        ("sheets/ab/abc.png", False),  # already small
    ],
)
def test_what_a_page_loads_is_packed_on_the_way(
    store: Store, client: S3Client, prefix: str, path: str, packed: bool
) -> None:
    """Scripts, styles and the page travel as gzip, and are read back as they were written."""
    data = b"isthmus.data([1, 2, 3]);\n" * 2000
    store.replace(path, data)

    stored = client.get_object(Bucket=BUCKET, Key=f"{prefix}/{path}")
    body = stored["Body"].read()
    assert (stored.get("ContentEncoding"), len(body) < len(data) / 10) == ("gzip" if packed else None, packed)
    assert (gzip.decompress(body) if packed else body) == data
    assert store.read(path) == data
    assert list(store.read_many([path, path])) == [data, data]


def test_packed_bytes_that_are_damaged_are_told_by_their_digest(store: Store, client: S3Client, prefix: str) -> None:
    """Reading does not fail on them: whoever compares the digest sees that they are others."""
    path = "data/index-00000-0123456789.js"
    whole = gzip.compress(b"isthmus.data([1, 2, 3]);\n" * 50)
    for damaged in (whole[:-9], b"\0" + whole[1:], whole[:20] + b"\xff" * 9 + whole[29:]):
        place = {"Bucket": BUCKET, "Key": f"{prefix}/{path}"}
        client.put_object(**place, Body=damaged, ContentEncoding="gzip")
        assert store.read(path) == damaged


def test_what_is_published_is_found_by_its_address(store: Store, seaweed: Seaweed, prefix: str) -> None:
    """Whoever may read the bucket can open the page there."""
    assert store.location("index.html") == f"{seaweed.url}/{BUCKET}/{prefix}/index.html"


def test_a_listing_of_many_is_whole_and_sorted(store: Store) -> None:
    """It comes in pages, in the order that the server likes; and names of folders are no reason to sort otherwise."""
    paths = [f"sheets/{number % 7}/{number}.png" for number in range(1000)] + ["sheets/1-.png", "sheets/1.png"]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda path: store.replace(path, b""), paths))

    assert list(store.list("sheets/")) == sorted(paths)


def test_a_store_at_the_top_of_a_bucket_has_the_same_paths(store: Store, seaweed: Seaweed, prefix: str) -> None:
    """Without a prefix the bucket itself is the atlas."""
    store.create("records/a", b"x")

    bucket = open_store(f"s3://{BUCKET}", Storage(endpoint_url=seaweed.url))

    assert (str(bucket), bucket.name) == (f"s3://{BUCKET}", BUCKET)
    assert bucket.read(f"{prefix}/records/a") == b"x"
    assert list(bucket.list(f"{prefix}/")) == [f"{prefix}/records/a"]


PUT_RECORD = {"method": "PUT", "path": ".*/records/.*"}


def test_a_success_whose_answer_is_lost_is_a_success(behind: Store, proxy: FaultProxy) -> None:
    """The client asks again and is told that the object is there: it is its own."""
    lost = proxy.inject(Fault("drop", times=2, **PUT_RECORD))

    assert behind.create("records/a", b"mine") is True
    version = behind.version("records/a")
    lost.times = 1
    assert behind.swap("records/a", b"newer", version) is True

    assert lost.times == 0
    assert behind.read("records/a") == b"newer"


def test_a_loss_whose_answer_is_lost_is_a_loss(behind: Store, store: Store, proxy: FaultProxy) -> None:
    """However often it asks, what is there is another writer's, even with the same bytes."""
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
        Fault("slow", seconds=0.2),
        Fault("cut", times=2, method="GET"),
    ],
    ids=lambda fault: f"{fault.kind} {fault.status}",
)
def test_trouble_that_passes_is_not_even_noticed(behind: Store, proxy: FaultProxy, fault: Fault) -> None:
    """A few refused, broken, slow or half answers delay the work, and that is all."""
    behind.allows_many_writers()
    proxy.inject(fault)

    assert behind.create("records/a", b"data") is True
    assert behind.read("records/a") == b"data"
    assert list(behind.list("records/")) == ["records/a"]
    assert behind.exists("records/a")
    assert fault.times == 0


def test_a_store_that_is_dead_for_a_while_is_waited_for(behind: Store, proxy: FaultProxy) -> None:
    """Longer than a moment, shorter than a night."""
    behind.allows_many_writers()
    proxy.die(seconds=0.5)

    assert behind.create("records/a", b"data") is True


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("refuse", 99), "could not read, the store is in trouble (ServiceUnavailable); try again later"),
        (Fault("refuse", 99, status=429, code="SlowDown"), "the store is in trouble (SlowDown); try again later"),
        (Fault("reset", 99), "could not read, no answer from {url} (ConnectionClosedError); try again, or correct "),
        (Fault("cut", 99), "could not read, no answer from {url} ("),
    ],
)
def test_trouble_that_lasts_may_still_pass(
    behind: Store, store: Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, fault: Fault, said: str
) -> None:
    """One line, of the kind of error that is worth another try."""
    store.replace("records/a", b"data")
    behind = _hasty(monkeypatch, behind, proxy.url)
    proxy.inject(fault)

    with pytest.raises(TransientStoreError) as caught:
        behind.read("records/a")

    assert said.format(url=proxy.url) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_look_at_a_store_in_trouble_is_given_up_once(
    behind: Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether an object exists stays unknown, and is not asked in another way."""
    behind = _hasty(monkeypatch, behind, proxy.url)
    proxy.inject(Fault("refuse", 99))

    with pytest.raises(TransientStoreError, match="the store is in trouble"):
        behind.exists("a")

    assert [method for method, _ in proxy.requests] == ["HEAD"] * 2


def test_an_object_that_others_keep_writing_is_given_up(
    behind: Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Conflicts without end are worth another try later."""
    behind.allows_many_writers()
    monkeypatch.setattr(s3, "ATTEMPTS", 2)
    proxy.inject(Fault("refuse", 99, method="PUT", status=409, code="ConditionalRequestConflict"))

    with pytest.raises(TransientStoreError, match="/records/a: could not write, others keep writing it; try again"):
        behind.create("records/a", b"data")

    assert not behind.exists("records/a")


def test_nobody_at_the_address_may_be_trouble_that_passes(credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the address, which may as well be wrong."""
    monkeypatch.setattr(s3, "ATTEMPTS", 2)
    nowhere = "http://127.0.0.1:9"

    with pytest.raises(TransientStoreError) as caught:
        open_store(f"s3://{BUCKET}/x", Storage(endpoint_url=nowhere)).read("a")

    assert str(caught.value) == (
        f"s3://{BUCKET}/x/a: could not read, no answer from {nowhere} (EndpointConnectionError); "
        "try again, or correct storage.endpoint_url"
    )


def test_a_full_store_is_for_a_person_to_mend(behind: Store, proxy: FaultProxy) -> None:
    """No other try would help, and none is made."""
    full = proxy.inject(Fault("refuse", times=99, method="PUT", status=507, code="InsufficientStorage"))

    with pytest.raises(StoreError) as caught:
        behind.replace("records/a", b"data")

    assert not isinstance(caught.value, TransientStoreError)
    assert str(caught.value).endswith(
        "/records/a: could not write, the store is full (InsufficientStorage); make room and run the same command again"
    )
    assert full.times == 98


def _hasty(monkeypatch: pytest.MonkeyPatch, store: Store, url: str) -> Store:
    """The same store with less patience."""
    monkeypatch.setattr(s3, "ATTEMPTS", 2)
    return open_store(str(store), Storage(endpoint_url=url, region="eu-west-1"))  # other options, another client


@pytest.mark.parametrize("trouble", ["ignore_conditions", "refuse_conditions"])
def test_a_store_without_conditions_is_for_one_writer(behind: Store, proxy: FaultProxy, trouble: str) -> None:
    """It is found out by trying; looking before writing is right as long as nobody else writes."""
    setattr(proxy, trouble, True)

    assert behind.allows_many_writers() is False
    assert list(behind.list("")) == []
    assert behind.create("records/a", b"first") is True
    assert behind.create("records/a", b"second") is False
    version = behind.version("records/a")
    assert behind.swap("records/a", b"third", version) is True
    assert behind.swap("records/a", b"fourth", version) is False
    assert behind.read("records/a") == b"third"


def test_conditions_are_tried_once_and_only_to_write(behind: Store, proxy: FaultProxy) -> None:
    """Reading needs no probe, one is enough for a process, and nothing of it stays."""
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


def test_two_publishers_at_once_publish_everything(store: Store) -> None:
    """Each brings records of its own; whoever comes last has seen those of the others."""

    def add_and_publish(number: int) -> None:
        store.create(f"records/{number}.ndjson", to_ndjson(RECORDS[number : number + 1]))
        publish(store, "small")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(add_and_publish, range(3)))

    manifest = publish(store, "small")  # which changes nothing
    published = list(store.list("data/"))
    assert manifest.counts.pairs == 3
    assert manifest.shards[0].path in published
    assert manifest.shards[0].path in store.read("index.html").decode()


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://", "output s3://: expected s3://bucket/prefix, nothing is no name of a bucket"),
        ("s3:///x", "output s3:///x: expected s3://bucket/prefix, nothing is no name of a bucket"),
        ("s3://a b/x", "output s3://a b/x: expected s3://bucket/prefix, a b is no name of a bucket"),
        ("s3://bucket/a//b", "output s3://bucket/a//b: expected s3://bucket/prefix, and no empty name, . or .. in it"),
        ("s3://bucket/../x", "output s3://bucket/../x: expected s3://bucket/prefix, and no empty name, . or .. in it"),
        ("s3://me:hush@bucket/x", "output: expected s3://bucket/prefix without user and password; give them by "),
    ],
)
def test_an_address_that_is_none_is_refused(uri: str, said: str) -> None:
    """Before anything is asked of anybody, in one line that repeats no password."""
    with pytest.raises(StoreError) as caught:
        open_store(uri)

    assert str(caught.value).startswith(said)
    assert "hush" not in str(caught.value)


GIVE = "give valid ones by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"
WRONG = "hush-7d1f"


def run_script(*arguments: str, **variables: str) -> Said:
    """The installed script, with no other environment for boto3 than these variables."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    ended = subprocess.run(
        [ISTHMUS, *arguments], env=clean | variables, capture_output=True, text=True, timeout=60, check=False
    )
    return Said(ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture
def run(isthmus: Isthmus, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """The same within this process, which forgets what it knows of stores: no client and no probe is used again."""

    def called(*arguments: str, **variables: str) -> Said:
        with monkeypatch.context() as changed:
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                changed.delenv(name)
            for name, value in variables.items():
                changed.setenv(name, value)
            for known in ("_client", "_respects_conditions"):
                changed.setattr(s3, known, lru_cache(getattr(s3, known).__wrapped__))
            return isthmus(*arguments)

    return called


@pytest.mark.parametrize(
    ("bucket", "change", "said"),
    [
        ("nowhere", {}, "there is no bucket nowhere; create it, or correct the output or storage.endpoint_url"),
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
def test_what_a_person_must_mend_is_told_in_one_line(
    seaweed: Seaweed, run: Callable[..., Said], command: str, bucket: str, change: dict[str, str], said: str
) -> None:
    """Exit code 2, what is wrong and what to do on standard error, and no secret anywhere."""
    ended = run(command, f"s3://{bucket}/small", **seaweed.environment | change)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("isthmus: ")
    assert ended.err.endswith(f"{said}\n")
    assert ended.err.count("\n") == 1
    assert not any(secret in ended.err for secret in (KEY, SECRET, WRONG))


def test_whoever_may_only_read_is_told_so(seaweed: Seaweed, store: Store, run: Callable[..., Said]) -> None:
    """A write that is not allowed is told in one line; reading goes well."""
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
def test_a_person_is_warned_once_of_a_store_for_one_writer(
    proxy: FaultProxy, store: Store, run: Callable[..., Said], options: dict[str, bool], warnings: int
) -> None:
    """Publishing goes well all the same."""
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


def test_a_published_atlas_is_opened_by_its_address(store: Store, seaweed: Seaweed, run: Callable[..., Said]) -> None:
    """Where no file can be opened the address of the page is said; and an atlas that is not there is bad input."""
    store.create("records/a.ndjson", to_ndjson(RECORDS))
    assert run("open", str(store), **seaweed.environment).code == 2

    published = run_script("publish", str(store), **seaweed.environment)
    opened = run("open", str(store), **seaweed.environment)

    page = store.location("index.html")
    assert published.out.splitlines() == [f"{store}: published 5 pairs, 4 done, 1 failed", f"Open {page}"]
    assert (opened.code, opened.out, opened.err) == (0, f"{page}\n", "")
