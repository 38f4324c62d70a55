"""An atlas in a bucket of a real object store: the store gets full, loses a sheet and fails for a while.

All tests ask about the same atlas, which two builds have made with a real Prefect server.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING, Any

import pytest
from job import PATIENCE_SECONDS, SMALL, Job, wait_for
from prefect_parts import find

sys.path.insert(0, str(Path(__file__).parents[1]))
from fault_proxy import Fault, FaultProxy
from seaweed import BUCKET, SECRET, Seaweed, environment, serving

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

ADDRESS = f"s3://{BUCKET}/galleries/in-a-bucket"
PUBLIC = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    ],
}


@dataclass
class Bucket:
    """An atlas in a bucket, whose builds reach the object store through a proxy.

    Attributes:
        plan: what is missing before the first build.
        full: the build that found the store full when it stored the third of three chunks.
        found: what `verify --repair` says after a sheet of the first chunk was lost.
        troubles: the faults of the store during the second build.
        rendered: the sheets that the second build has stored, or has tried to store.
        built: the second build.
        again: a third build, which finds everything done.
    """

    job: Job
    seaweed: Seaweed
    proxy: FaultProxy
    plan: CompletedProcess[str] = field(init=False)
    full: CompletedProcess[str] = field(init=False)
    recorded: dict[str, Any] = field(init=False)
    lost: str = field(init=False)
    found: CompletedProcess[str] = field(init=False)
    troubles: list[Fault] = field(init=False)
    rendered: set[str] = field(init=False)
    built: CompletedProcess[str] = field(init=False)
    again: CompletedProcess[str] = field(init=False)

    @cached_property
    def client(self) -> S3Client:
        """A client that reaches the store without the proxy; making one takes half a second."""
        return self.seaweed.client()

    @property
    def page(self) -> str:
        return f"{self.proxy.url}/{BUCKET}/galleries/in-a-bucket/index.html"

    def objects(self, folder: str = "") -> dict[str, Any]:
        """Return path -> tag of the content and time of the last change, for the atlas's objects in a folder."""
        prefix = "galleries/in-a-bucket/"
        listed = self.client.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}{folder}")
        objects = listed.get("Contents", [])
        return {each["Key"].removeprefix(prefix): (each["ETag"], each["LastModified"]) for each in objects}

    def content(self, path: str) -> bytes:
        return self.client.get_object(Bucket=BUCKET, Key=f"galleries/in-a-bucket/{path}")["Body"].read()

    def build_until_full(self) -> None:
        """Build until the store is full; the endpoint is in the environment."""
        first_two_chunks = Fault("slow", times=4, method="PUT", path=".*/previews/.*")
        full = Fault("refuse", 10_000, method="PUT", path=".*/previews/.*", status=507, code="InsufficientStorage")
        for fault in (first_two_chunks, full):
            self.proxy.inject(fault)
        self.full = self.job.run_loaded("build", str(self.job.spec_file))
        full.times = 0
        self.recorded = self.objects("records/")

    def lose_a_sheet(self) -> None:
        """Delete a sheet of the chunk that was recorded first, and let verify repair the atlas."""
        first = min(self.recorded, key=lambda path: str(self.recorded[path][1]))
        key = json.loads(self.content(first).splitlines()[0])["key"]
        self.lost = f"sheets/{key[:2]}/{key}.png"
        self.client.delete_object(Bucket=BUCKET, Key=f"galleries/in-a-bucket/{self.lost}")
        self.found = self.job.run_here("verify", str(self.job.spec_file), "--repair", "--json")

    def build_in_trouble(self) -> None:
        """Complete the atlas while the store refuses, is slow and, after the first record, silent for 20 s."""
        self.troubles = [
            Fault("refuse", times=4, method="PUT", path=".*sheets/.*"),
            Fault("reset", times=3, method="PUT", path=".*previews/.*"),
            Fault("drop", times=2, method="PUT", path=".*records/.*"),
            Fault("slow", times=3, path=".*sheets/.*", seconds=2),
        ]
        for fault in self.troubles:
            self.proxy.inject(fault)
        before = len(self.proxy.requests)
        ended = threading.Event()

        def die_after_first_record() -> None:
            def is_there() -> bool:
                new = self.proxy.requests[before:]
                return ended.is_set() or any(method == "PUT" and "/records/" in path for method, path in new)

            wait_for(is_there, "the first record", 2 * PATIENCE_SECONDS)
            self.proxy.die(20)

        dying = threading.Thread(target=die_after_first_record, daemon=True)
        dying.start()
        self.built = self.job.run_loaded("build", str(self.job.spec_file), "--verbose")
        ended.set()
        dying.join()
        new = self.proxy.requests[before:]
        stored = {path.partition("in-a-bucket/")[2] for method, path in new if method == "PUT"}
        self.rendered = {path for path in stored if path.startswith("sheets/")}


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory, new_job: Callable[[Path], Job]) -> Iterator[Bucket]:
    """An atlas in a bucket, built in trouble; the credentials are in the environment."""
    with serving(tmp_path_factory.mktemp("seaweed")) as seaweed, FaultProxy(seaweed.url).running() as proxy:
        made = Bucket(new_job(tmp_path_factory.mktemp("bucket")), seaweed, proxy)
        job = made.job
        job.environment |= environment(proxy.url)
        job.write(
            name="in-a-bucket",
            output=f"s3://{BUCKET}/galleries",
            render=SMALL | {"steps": 4},
            compute={"processes": 1, "chunk_pairs": 2},
        )
        made.build_until_full()
        del job.environment["AWS_ENDPOINT_URL"]
        job.write(storage={"endpoint_url": proxy.url})
        made.lose_a_sheet()
        made.plan = job.run_here("plan", str(job.spec_file), "--json")
        made.build_in_trouble()
        made.again = job.run_loaded("build", str(job.spec_file), "--json")
        yield made


def test_a_store_that_is_full_ends_a_build_in_one_line(bucket: Bucket) -> None:
    """The build reports the error of a render process with exit code 2, and keeps what it has recorded."""
    assert (bucket.full.returncode, bucket.full.stdout) == (2, "")
    assert bucket.full.stderr.startswith(f"isthmus: {ADDRESS}/previews/")
    assert bucket.full.stderr.endswith(
        "the store is full (InsufficientStorage); make room and run the same command again\n"
    )
    assert bucket.full.stderr.count("\n") == 1
    assert len(bucket.recorded) == 2


def test_a_lost_sheet_is_reported_and_only_the_pairs_of_its_chunk_are_rendered_again(bucket: Bucket) -> None:
    """The next build renders these two pairs and those that the full store had no room for."""
    assert bucket.found.returncode == 0, bucket.found.stderr
    assert json.loads(bucket.found.stdout)["missing"] == [bucket.lost]
    assert json.loads(bucket.plan.stdout)["missing"] == 4
    assert len(bucket.rendered) == 4
    assert bucket.lost in bucket.rendered
    assert len(bucket.objects("records/")) == 3
    assert len(bucket.recorded.items() & bucket.objects("records/").items()) == 1


def test_a_build_waits_for_an_object_store_in_trouble(bucket: Bucket) -> None:
    """A build completes in spite of refusals, broken connections, slow and lost answers and 20 s of silence."""
    assert bucket.built.returncode == 0, bucket.built.stderr
    # A chunk whose records were stored and whose answer was lost does not count as rendered.
    done = re.search(
        rf"{ADDRESS}: \d rendered; 6 of 6 pairs done, 0 failed, 0 missing\nOpen {bucket.page}\n", bucket.built.stdout
    )
    assert done, bucket.built.stdout
    assert [fault.times for fault in bucket.troubles] == [0, 0, 0, 0]
    assert len(bucket.objects("sheets/")) == 6

    bucket.job.environment |= environment(bucket.seaweed.url)
    verified = bucket.job.run_here("verify", ADDRESS)  # the endpoint is in the environment
    assert verified.stdout == f"{ADDRESS}: 18 files checked, 0 missing, 0 damaged, 0 extra\n"
    assert verified.returncode == 0


def test_every_command_takes_an_atlas_in_a_bucket_and_keeps_its_secret(bucket: Bucket, prefect_server: str) -> None:
    """The secret key is in no output, object, run or log."""
    spec = str(bucket.job.spec_file)
    verified, published, opened = (bucket.job.run_here(command, spec) for command in ("verify", "publish", "open"))

    finished = [bucket.found, bucket.plan, bucket.built, bucket.again, verified, published, opened]
    assert [ended.returncode for ended in finished] == [0] * 7, [ended.stderr for ended in finished]
    again = json.loads(bucket.again.stdout)
    assert (again["rendered"], again["page"]) == (0, bucket.page)
    assert opened.stdout == f"{bucket.page}\n"
    assert SECRET not in "".join(ended.stdout + ended.stderr for ended in (bucket.full, *finished))
    assert not [path for path in bucket.objects() if SECRET.encode() in bucket.content(path)]

    runs = find(prefect_server, "flow_runs", flow_runs={"name": {"any_": ["build-atlas in-a-bucket"]}})
    of_the_runs = {"flow_run_id": {"any_": [run["id"] for run in runs]}}
    [completed] = [run for run in runs if run["state_type"] == "COMPLETED"]
    # The server stores task runs some time after they have ended.
    of_the_second = {"flow_run_id": {"any_": [completed["id"]]}}
    wait_for(lambda: len(find(prefect_server, "task_runs", task_runs=of_the_second)) >= 4, "the task runs")
    task_runs = find(prefect_server, "task_runs", task_runs=of_the_runs)
    logs = find(prefect_server, "logs", logs=of_the_runs)
    assert len(runs) == 2
    assert set(completed["tags"]) == {
        "atlas:in-a-bucket", "model:efficientnet-lite0", f"store:s3://{BUCKET}/galleries"
    }  # fmt: skip
    assert bucket.proxy.url in json.dumps(completed["parameters"])
    assert any("pairs" in str(line["message"]) for line in logs)
    assert SECRET not in json.dumps([runs, task_runs, logs])


def test_the_gallery_in_a_public_bucket_is_served_and_linked(bucket: Bucket, prefect_server: str) -> None:
    """Browsers get the page as HTML at the address that the build prints and that Prefect's page links."""
    bucket.client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(PUBLIC))

    with urllib.request.urlopen(bucket.page, timeout=PATIENCE_SECONDS) as answer:
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.read().startswith(b"<!doctype html>")
    links = find(prefect_server, "artifacts", artifacts={"key": {"any_": ["in-a-bucket-gallery"]}})
    assert {link["data"] for link in links} == {f"[Gallery of in-a-bucket]({bucket.page})"}
