"""Building, verifying and opening an atlas in a bucket, with a real object store and a real Prefect server."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from job import PATIENCE_SECONDS, SMALL, Job, wait_for
from prefect_parts import find

sys.path.insert(0, str(Path(__file__).parents[1]))
from fault_proxy import Fault, FaultProxy
from seaweed import BUCKET, SECRET, Seaweed, serving

PUBLIC = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    ],
}


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A real object store on this machine, with an empty bucket."""
    with serving(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture
def bucket_job(job: Job, seaweed: Seaweed) -> Job:
    """A job whose atlas is in the bucket; the endpoint is in the spec, the credentials are in the environment."""
    job.environment |= {name: value for name, value in seaweed.environment.items() if name != "AWS_ENDPOINT_URL"}
    job.write(
        name="in-a-bucket",
        output=f"s3://{BUCKET}/galleries",
        storage={"endpoint_url": seaweed.url},
        render=SMALL | {"steps": 4},
        compute={"processes": 1, "chunk_pairs": 3},
    )
    return job


def test_an_atlas_is_built_in_a_bucket_and_its_secret_stays_secret(
    bucket_job: Job, seaweed: Seaweed, prefect_server: str
) -> None:
    """All commands succeed, and the secret key is in no output, object, run or log.

    A sheet that is lost is reported, and the next build renders the pairs of its chunk again and no others.
    """
    job, spec = bucket_job, str(bucket_job.spec_file)
    address = f"s3://{BUCKET}/galleries/in-a-bucket"
    page = f"{seaweed.url}/{BUCKET}/galleries/in-a-bucket/index.html"

    plan, built = job.run_here("plan", spec, "--json"), job.run("build", spec, "--verbose")
    verified, again = job.run("verify", spec), job.run("build", spec, "--json")
    published, opened = job.run("publish", spec), job.run("open", spec)

    everything = [plan, built, verified, again, published, opened]
    assert [ended.returncode for ended in everything] == [0] * 6, [ended.stderr for ended in everything]
    assert json.loads(plan.stdout)["missing"] == 6
    assert f"{address}: 6 rendered; 6 of 6 pairs done, 0 failed, 0 missing\nOpen {page}\n" in built.stdout
    assert verified.stdout == f"{address}: 18 files checked, 0 missing, 0 damaged, 0 extra\n"
    assert (json.loads(again.stdout)["rendered"], json.loads(again.stdout)["page"]) == (0, page)
    assert opened.stdout == f"{page}\n"

    client = seaweed.client()
    client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(PUBLIC))
    with urllib.request.urlopen(page, timeout=PATIENCE_SECONDS) as answer:
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.read().startswith(b"<!doctype html>")

    output = "".join(ended.stdout + ended.stderr for ended in everything)
    stored = {
        listed["Key"]: client.get_object(Bucket=BUCKET, Key=listed["Key"])
        for listed in client.list_objects_v2(Bucket=BUCKET)["Contents"]
    }
    assert len([key for key in stored if key.endswith(".png")]) == 6
    [flow_run] = find(prefect_server, "flow_runs", flow_runs={"name": {"any_": ["build-atlas in-a-bucket"]}})
    of_the_run = {"flow_run_id": {"any_": [flow_run["id"]]}}
    # The server stores task runs some time after they have ended.
    wait_for(lambda: len(find(prefect_server, "task_runs", task_runs=of_the_run)) >= 4, "the task runs")
    task_runs = find(prefect_server, "task_runs", task_runs=of_the_run)
    logs = find(prefect_server, "logs", logs=of_the_run)
    links = find(prefect_server, "artifacts", artifacts={"key": {"any_": ["in-a-bucket-gallery"]}})
    assert {link["data"] for link in links} == {f"[Gallery of in-a-bucket]({page})"}
    assert set(flow_run["tags"]) == {
        "atlas:in-a-bucket", "model:efficientnet-lite0", f"store:s3://{BUCKET}/galleries"
    }  # fmt: skip
    assert seaweed.url in json.dumps(flow_run["parameters"])
    assert any("pairs" in str(line["message"]) for line in logs)
    assert SECRET not in output
    assert SECRET not in json.dumps([flow_run, task_runs, logs])
    assert not [key for key, found in stored.items() if SECRET.encode() in found["Body"].read()]

    sheet = next(key for key in stored if key.endswith(".png"))
    client.delete_object(Bucket=BUCKET, Key=sheet)
    found = job.run("verify", spec, "--repair", "--json")
    assert found.returncode == 0
    assert json.loads(found.stdout)["missing"] == [sheet.removeprefix("galleries/in-a-bucket/")]
    assert job.build()["rendered"] == 3  # the pairs of its chunk
    assert job.run("verify", spec).returncode == 0


def test_a_store_that_is_full_ends_a_build_in_one_line(bucket_job: Job, seaweed: Seaweed) -> None:
    """The build reports the error of a render process with exit code 2; with more room, the same command resumes."""
    job = bucket_job
    with FaultProxy(seaweed.url).running() as proxy:
        job.write(name="full", storage={"endpoint_url": proxy.url})
        full = proxy.inject(
            Fault("refuse", 10_000, method="PUT", path=".*/previews/.*", status=507, code="InsufficientStorage")
        )
        stopped = job.run("build", str(job.spec_file))
        full.times = 0
        rest = job.build()

    assert (stopped.returncode, stopped.stdout) == (2, "")
    assert stopped.stderr.startswith(f"isthmus: s3://{BUCKET}/galleries/full/previews/")
    assert stopped.stderr.endswith(
        "the store is full (InsufficientStorage); make room and run the same command again\n"
    )
    assert stopped.stderr.count("\n") == 1
    assert (rest["rendered"], rest["done"]) == (6, 6)
