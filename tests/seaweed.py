"""A real object store with the S3 protocol: a SeaweedFS server on this machine, with a bucket and two users."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from ports import Ports

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

BUCKET = "atlases"
KEY, SECRET = "isthmus-test-key", "isthmus-test-secret-7f3a"
READER_KEY, READER_SECRET = "isthmus-reader-key", "isthmus-reader-secret-1c9e"
_SERVICES = "s3", "master", "volume", "filer", "admin"


@dataclass(frozen=True)
class Seaweed:
    """A running server with its endpoint."""

    url: str

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with which boto3 uses this server."""
        return environment(self.url)

    def client(self) -> S3Client:
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )


def environment(url: str, key: str = KEY, secret: str = SECRET) -> dict[str, str]:
    """Return environment variables for an endpoint, which hide everything else that boto3 finds on this machine."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }


@contextmanager
def serving(folder: Path) -> Iterator[Seaweed]:
    """Run a server that keeps its data in a folder."""
    users = [
        _user("writer", KEY, SECRET, ["Admin", "Read", "Write", "List", "Tagging"]),
        _user("reader", READER_KEY, READER_SECRET, ["Read", "List"]),
    ]
    config, data = folder / "s3.json", folder / "data"
    config.write_text(json.dumps({"identities": users}))
    data.mkdir()
    ports = Ports.reserve(2 * len(_SERVICES))
    numbers = iter(ports)
    options = {
        "dir": data,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        **{f"{service}.port{kind}": next(numbers) for service in _SERVICES for kind in ("", ".grpc")},
        "filer.localSocket": "filer.sock",
        "s3.localSocket": "s3.sock",
        "admin.ui": "false",
        "webdav": "false",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.autoCreateBucket": "false",
        "s3.config": config,
    }
    weed = Path(sys.executable).with_name("weed")
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [weed, "mini", *(f"-{name}={value}" for name, value in options.items())],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    seaweed = Seaweed(f"http://127.0.0.1:{options['s3.port']}")
    try:
        _wait_until_ready(seaweed, server, folder / "server.log")
        yield seaweed
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
        for port in ports:
            for left in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)
        ports.release()


def _user(name: str, key: str, secret: str, actions: list[str]) -> dict[str, object]:
    return {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}


def _wait_until_ready(seaweed: Seaweed, server: subprocess.Popen[bytes], log: Path) -> None:
    """Create the bucket, and wait until an object could be written to it, which needs more of the services."""
    end = time.monotonic() + 180
    client = seaweed.client()
    for call in (
        client.create_bucket,
        partial(client.put_object, Key="ready"),
        partial(client.delete_object, Key="ready"),
    ):
        while True:
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"SeaweedFS did not start: {log.read_text()[-2000:]}")
            try:
                call(Bucket=BUCKET)
                break
            except client.exceptions.BucketAlreadyOwnedByYou:  # the answer to an earlier call was lost
                break
            except (BotoCoreError, ClientError):
                time.sleep(0.1)
