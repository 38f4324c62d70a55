"""The store in a bucket of an object store that speaks S3, through boto3.

Credentials, profile and default endpoint come from boto3's usual environment and files only, and no message repeats
what the other side or boto3 said beyond the name of an error: nothing secret can get into it.
"""

from __future__ import annotations

import gzip
import os
import random
import re
import threading
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

from core.errors import StoreError, TransientStoreError
from core.machine.threads import in_threads
from core.spec import Storage

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

ATTEMPTS = 10
"""How often boto3 tries a call before it is given up: it waits for about 13 s in all, hardly ever less than 2 s."""
_THREADS = 16
_CONNECTIONS = 32  # for the threads here and those that store what has been rendered
_CONNECT_SECONDS, _READ_SECONDS = 10, 60
_AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn")

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".ndjson": "application/x-ndjson",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}
_NEVER_CHANGED = re.compile(r"(sheets|previews|portraits/[0-9a-f]{2})/.*|(data|assets)/.*-[0-9a-f]{10}\.[a-z]+")

_COMPRESSED = re.compile(r"(data|assets)/.*\.(js|css)")
"""What only browsers load, which unpack it by themselves: a third to a quarter of the bytes."""

_CREDENTIALS = (
    "AccessKeyIdNotFound",
    "AuthFailure",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
)
_OTHER_REGION = ("AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect")
_FULL = ("InsufficientStorage", "QuotaExceeded", "XMinioStorageFull")
_PASSING = ("OperationAborted", "RequestTimeout", "SlowDown", "Throttling", "ThrottlingException")
"""What object stores call an error; what has a status of 5xx or 429 passes by itself, too."""
_CONFLICTS = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey")
"""What they answer to a write whose condition does not hold, or may not hold at this moment."""
_GZIP = "gzip"
_NO_ETAG = f'"{"0" * 32}"'

_NO_CREDENTIALS = (
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
_NO_ANSWER = (BotoConnectionError, HTTPClientError, IncompleteReadError)
_GIVE_CREDENTIALS = "give valid ones by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"
_probing = threading.Lock()  # threads that begin to write at once are to try the store's conditions once


class S3Store:
    """A store below a prefix of a bucket.

    Args:
        uri: s3://bucket or s3://bucket/prefix.

    Raises:
        StoreError: if the address is none, or boto3 is set up wrongly.
    """

    def __init__(self, uri: str, storage: Storage) -> None:
        self._bucket, self._prefix = _parse(uri)
        self._storage = storage
        self._client = _client(storage, os.getpid())

    def __str__(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    @property
    def name(self) -> str:
        return PurePosixPath(self._bucket, self._prefix).name

    def location(self, path: str) -> str:
        return f"{self._client.meta.endpoint_url.rstrip('/')}/{self._bucket}/{quote(self._key(path))}"

    def allows_many_writers(self) -> bool:
        with _probing:
            return _respects_conditions(str(self), self._storage, os.getpid())

    def create(self, path: str, data: bytes) -> bool:
        return self.swap(path, data, None)

    def replace(self, path: str, data: bytes) -> None:
        with self._told("write", path):
            self._put(path, data)

    def version(self, path: str) -> str | None:
        found = self._head(path)
        return None if found is None else str(found["ETag"])

    def swap(self, path: str, data: bytes, version: str | None) -> bool:
        if not self.allows_many_writers():  # right as long as nobody else writes at the same moment
            if self.version(path) != version:
                return False
            self.replace(path, data)
            return True
        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        # boto3 repeats a call whose answer was lost, and the repeated one fails because of what the first one wrote.
        # A token in the object tells that from the success of another writer.
        token = uuid.uuid4().hex
        for attempt in range(ATTEMPTS):
            with self._told("write", path):
                try:
                    self._put(path, data, Metadata={"token": token}, **condition)
                    return True
                except ClientError as error:
                    if _code(error) not in _CONFLICTS:
                        raise
            found = self._head(path)
            if found is not None and found["Metadata"].get("token") == token:
                return True
            if version != (found and found["ETag"]):
                return False
            # Somebody else is writing or deleting it right now.
            time.sleep(random.uniform(0, min(0.05 * 2**attempt, 2)))
        raise TransientStoreError(f"{self}/{path}: could not write, others keep writing it; try again later")

    def respects_conditions(self) -> bool:
        """Whether the store refuses what is written under a condition that does not hold; some ignore conditions."""
        path = f"plan/probe-{uuid.uuid4().hex}"
        self.replace(path, b"")
        try:
            return all(self._refuses(path, condition) for condition in ({"IfNoneMatch": "*"}, {"IfMatch": _NO_ETAG}))
        finally:
            self.delete(path)

    def _refuses(self, path: str, condition: dict[str, str]) -> bool:
        with self._told("write", path):
            try:
                self._put(path, b"", **condition)
            except ClientError as error:
                if _code(error) not in (*_CONFLICTS, "NotImplemented"):
                    raise
                return _code(error) != "NotImplemented"
        return False

    def read(self, path: str) -> bytes:
        for attempt in range(1, ATTEMPTS + 1):
            with self._told("read", path):
                answer = self._client.get_object(Bucket=self._bucket, Key=self._key(path))
                try:
                    data = answer["Body"].read()
                    return _unpacked(data) if answer.get("ContentEncoding") == _GZIP else data
                except (HTTPClientError, IncompleteReadError):  # boto3 repeats what fails before this point only
                    if attempt == ATTEMPTS:
                        raise
        raise AssertionError("the last attempt returns or raises")

    def read_many(self, paths: Iterable[str]) -> Iterator[bytes]:
        return in_threads(self.read, paths, threads=_THREADS, held=2 * _THREADS)

    def exists(self, path: str) -> bool:
        return self._head(path) is not None

    def delete(self, path: str) -> None:
        with self._told("delete", path):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(path))

    def list(self, prefix: str) -> Iterator[str]:
        root = self._key("")
        with self._told("list", prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._key(prefix)
            )
            found = [listed["Key"].removeprefix(root) for page in pages for listed in page.get("Contents", ())]
        return iter(sorted(found))  # not every store sorts, or sorts by the same rule

    def _key(self, path: str) -> str:
        return f"{self._prefix}/{path}" if self._prefix else path

    def _put(self, path: str, data: bytes, **more: Any) -> None:
        if _COMPRESSED.fullmatch(path):
            data = gzip.compress(data, mtime=0)  # without the time equal bytes stay equal
            more["ContentEncoding"] = _GZIP
        self._client.put_object(
            Bucket=self._bucket,
            Key=self._key(path),
            Body=data,
            ContentType=_TYPES.get(PurePosixPath(path).suffix, "application/octet-stream"),
            CacheControl="public, max-age=31536000, immutable" if _NEVER_CHANGED.fullmatch(path) else "no-cache",
            **more,
        )

    def _head(self, path: str) -> Any | None:
        """What the store knows of an object, or None if there is none."""
        place: dict[str, Any] = {"Bucket": self._bucket, "Key": self._key(path)}
        with self._told("read", path):
            try:
                return self._client.head_object(**place)
            except ClientError as error:
                if _status(error) >= 500:
                    raise
                # The answer to HEAD has no body, and so does not say what is missing, key or bucket: GET has one.
                try:
                    answer = self._client.get_object(**place)
                except ClientError as error:
                    if _code(error) == "NoSuchKey":
                        return None
                    raise
                answer["Body"].close()
                return answer

    @contextmanager
    def _told(self, action: str, path: str) -> Iterator[None]:
        """Say in one line what could not be done, why, and what to do."""
        try:
            yield
        except ClientError as error:
            kind, reason = _refusal(error, self._bucket)
        except BotoCoreError as error:
            kind, reason = _failure(error, self._client.meta.endpoint_url)
        else:
            return
        raise kind(f"{self}/{path}: could not {action}, {reason}") from None


def _parse(uri: str) -> tuple[str, str]:
    """Bucket and prefix of an address."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    prefix = prefix.strip("/")
    if "@" in bucket:  # and never repeat it
        raise StoreError("output: expected s3://bucket/prefix without user and password; give them by environment")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]", bucket):
        raise StoreError(f"output {uri}: expected s3://bucket/prefix, {bucket or 'nothing'} is no name of a bucket")
    if any(part in ("", ".", "..") for part in prefix.split("/")[bool(not prefix) :]):
        raise StoreError(f"output {uri}: expected s3://bucket/prefix, and no empty name, . or .. in it")
    return bucket, prefix


@lru_cache
def _client(storage: Storage, process: int) -> S3Client:
    """The client of this process: its threads share it, and a forked process makes one of its own."""
    del process
    try:
        session = boto3.session.Session()

        def client(addressing: Literal["auto", "path"]) -> S3Client:
            config = Config(
                s3={"addressing_style": addressing},
                retries={"mode": storage.retries, "total_max_attempts": ATTEMPTS},
                request_checksum_calculation=storage.checksums,
                response_checksum_validation=storage.checksums,
                max_pool_connections=_CONNECTIONS,
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_READ_SECONDS,
            )
            region = storage.region or session.region_name or "us-east-1"
            return session.client("s3", endpoint_url=storage.endpoint_url, region_name=region, config=config)

        made = client("auto")
        address = urlsplit(made.meta.endpoint_url)
        if "@" in address.netloc:  # and never repeat it
            raise StoreError("AWS_ENDPOINT_URL: expected an address without user and password")
        return made if (address.hostname or "").endswith(_AWS_HOSTS) else client("path")
    except BotoCoreError as error:
        kind, reason = _failure(error, "the object store")
        raise kind(f"object store: could not be set up, {reason}") from None
    except ValueError:
        raise StoreError("AWS_ENDPOINT_URL: expected an address such as https://store.example.org") from None


@lru_cache
def _respects_conditions(uri: str, storage: Storage, process: int) -> bool:
    del process
    return S3Store(uri, storage).respects_conditions()


def _unpacked(data: bytes) -> bytes:
    """What was packed; bytes that are damaged come back as they are, and do not have the sha256 that is expected."""
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error):
        return data


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _refusal(error: ClientError, bucket: str) -> tuple[type[StoreError], str]:
    """What an object store's answer means, and what to do."""
    code = _code(error)
    status = _status(error)
    if code == "NoSuchBucket":
        return StoreError, f"there is no bucket {bucket}; create it, or correct the output or storage.endpoint_url"
    if code == "NoSuchKey":
        return StoreError, "there is no such object"
    if code in _CREDENTIALS:
        return StoreError, f"the store refuses the credentials ({code}); {_GIVE_CREDENTIALS}"
    if code in _OTHER_REGION:
        return StoreError, f"the bucket is in another region ({code}); set storage.region"
    if code == "RequestTimeTooSkewed":
        return StoreError, "the clock of this machine is wrong; set it"
    if code in _FULL or status == 507:
        return StoreError, f"the store is full ({code}); make room and run the same command again"
    if status in (401, 403):
        return StoreError, f"the credentials do not allow it ({code}); allow them to get, put, delete and list"
    if status >= 500 or status == 429 or code in _PASSING:
        return TransientStoreError, f"the store is in trouble ({code}); try again later"
    return StoreError, f"the store answers {code}"


def _failure(error: BotoCoreError, endpoint: str) -> tuple[type[StoreError], str]:
    """What kept boto3 from getting an answer, and what to do."""
    if isinstance(error, _NO_CREDENTIALS):
        return StoreError, f"found no credentials ({type(error).__name__}); {_GIVE_CREDENTIALS}"
    if isinstance(error, SSLError):
        return StoreError, f"the certificate of {endpoint} is not valid; correct storage.endpoint_url or AWS_CA_BUNDLE"
    if isinstance(error, _NO_ANSWER):
        name = type(error).__name__
        return TransientStoreError, f"no answer from {endpoint} ({name}); try again, or correct storage.endpoint_url"
    return StoreError, f"boto3 cannot do it ({type(error).__name__}); correct its environment and files"
