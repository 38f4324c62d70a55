"""A store in a bucket of an object store that speaks the S3 protocol, through boto3.

Credentials, profile and default endpoint come from boto3's usual environment variables and files only.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import re
import threading
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from core.addresses import has_secret
from core.errors import StoreError, TransientStoreError, one_line
from core.machine.leftovers import OLD_SECONDS
from core.machine.threads import in_threads
from core.spec import Storage
from core.store.s3_client import new_client
from core.store.s3_errors import INTERRUPTED, code_of, is_conflict, is_unsupported, status_of, store_errors

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

ATTEMPTS = 10
"""Attempts that boto3 makes for each call; with its pauses they take about 13 s in all, rarely less than 2 s."""
_THREADS = 16
_BLOCK_BYTES = 1 << 20

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".ndjson": "application/x-ndjson",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}
_IMMUTABLE = re.compile(
    r"(sheets|previews|portraits/[0-9a-f]{2}|land/blocks|land/[0-9a-f]{20}/[0-9]+|images/thumbnails/[0-9a-f]{2})/.*"
    r"|(data|assets)/.*-[0-9a-f]{10}\.[a-z]+"
)
_COMPRESSED = re.compile(r"(data|assets)/.*\.(js|css)")
"""Files that only browsers load, which decompress them: they shrink to between a quarter and a third of their size."""
_PROBE = "plan/probe-"
_GZIP = "gzip"
_NO_ETAG = f'"{"0" * 32}"'

_probing = threading.Lock()  # so that threads that start to write at once test the store's conditions only once


class S3Store:
    """A store below a prefix of a bucket.

    Args:
        uri: s3://bucket or s3://bucket/prefix.
        key: the key of the spec that has it, for messages.

    Raises:
        StoreError: if the address is not valid, or boto3 is not set up correctly.
    """

    one_writer = "this store ignores conditional writes; let only one build or publish of an atlas run at a time"

    def __init__(self, uri: str, storage: Storage, key: str = "output") -> None:
        self._bucket, self._prefix = _parse(uri, key)
        self._storage = storage
        self._client = _client(storage, os.getpid())
        self._config: Any = self._client.meta.config

    def __str__(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    @property
    def name(self) -> str:
        return PurePosixPath(self._bucket, self._prefix).name

    def location(self, path: str) -> str:
        endpoint, key = self._client.meta.endpoint_url.rstrip("/"), quote(self._key(path))
        if self._config.s3["addressing_style"] == "virtual":
            return f"{endpoint.replace('://', f'://{self._bucket}.', 1)}/{key}"
        return f"{endpoint}/{self._bucket}/{key}"

    def allows_many_writers(self) -> bool:
        with _probing:
            return _respects_conditions(str(self), self._storage, os.getpid())

    def create(self, path: str, data: bytes) -> bool:
        return self.swap(path, data, None)

    def replace(self, path: str, data: bytes) -> None:
        with self._errors("write", path):
            self._put(path, data)

    def version(self, path: str) -> str | None:
        found = self._head(path)
        return None if found is None else str(found["ETag"])

    def swap(self, path: str, data: bytes | BinaryIO, version: str | None) -> bool:
        if not self.allows_many_writers():  # correct as long as there is no concurrent writer
            if self.version(path) != version:
                return False
            with self._errors("write", path):
                self._put(path, data)
            return True
        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        # When an answer is lost, boto3 retries the call, and the retry fails because the first call has written the
        # object. A token in the object distinguishes that case from the success of another writer.
        token = uuid.uuid4().hex
        for attempt in range(ATTEMPTS):
            with self._errors("write", path):
                try:
                    self._put(path, data, Metadata={"token": token}, **condition)
                    return True
                except ClientError as error:
                    if not is_conflict(error):
                        raise
            found = self._head(path)
            if found is not None and found["Metadata"].get("token") == token:
                return True
            if version != (found and found["ETag"]):
                return False
            # The object has the expected version, so another writer is writing or deleting it at this moment.
            time.sleep(random.uniform(0, min(0.05 * 2**attempt, 2)))
        raise TransientStoreError(f"{self}/{path}: could not write, others keep changing it; try again later")

    def respects_conditions(self) -> bool:
        """Return whether the store refuses a write whose condition does not hold; some stores ignore conditions."""
        path = f"{_PROBE}{uuid.uuid4().hex}"
        self.replace(path, b"")
        try:
            return all(self._refuses(path, condition) for condition in ({"IfNoneMatch": "*"}, {"IfMatch": _NO_ETAG}))
        finally:
            self.delete(path)

    def _refuses(self, path: str, condition: dict[str, str]) -> bool:
        with self._errors("write", path):
            try:
                self._put(path, b"", **condition)
            except ClientError as error:
                if is_conflict(error):
                    return True
                if not is_unsupported(error):
                    raise
        return False

    def read(self, path: str) -> bytes:
        data, coding = self._read(path)
        return _decompressed(data) if coding == _GZIP else data

    def _read(self, path: str, **place: Any) -> tuple[bytes, str | None]:
        """Return an object, or a part of it, as it is stored, and its content coding."""
        for attempt in range(1, ATTEMPTS + 1):
            with self._errors("read", path):
                answer = _checked(self._client.get_object(Bucket=self._bucket, Key=self._key(path), **place))
                try:
                    return answer["Body"].read(), answer.get("ContentEncoding")
                except INTERRUPTED:
                    if attempt == ATTEMPTS:
                        raise
        raise AssertionError("the last attempt returns or raises")

    def digest(self, path: str) -> str:
        if _COMPRESSED.fullmatch(path):  # these are small
            return hashlib.sha256(self.read(path)).hexdigest()
        for attempt in range(1, ATTEMPTS + 1):
            with self._errors("read", path):
                body = _checked(self._client.get_object(Bucket=self._bucket, Key=self._key(path)))["Body"]
                digest = hashlib.sha256()
                try:
                    for block in body.iter_chunks(_BLOCK_BYTES):
                        digest.update(block)
                    return digest.hexdigest()
                except INTERRUPTED:
                    if attempt == ATTEMPTS:
                        raise
        raise AssertionError("the last attempt returns or raises")

    def read_many(self, paths: Iterable[str]) -> Iterator[bytes]:
        return in_threads(self.read, paths, threads=_THREADS, held=2 * _THREADS)

    def exists(self, path: str) -> bool:
        return self._head(path) is not None

    def delete(self, path: str) -> None:
        with self._errors("delete", path):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(path))

    def list(self, prefix: str) -> Iterator[str]:
        return iter(sorted(path for path, _, _ in self._listed(prefix)))  # some stores do not sort, or by another rule

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Return the paths and the sizes in bytes of all objects."""
        return ((path, size) for path, _, size in self._listed(""))

    def read_part(self, path: str, offset: int, length: int) -> bytes:
        """Return some bytes of an object as it is stored, never decompressed; fewer if it ends before."""
        return self._read(path, Range=f"bytes={offset}-{offset + length - 1}")[0]

    def _listed(self, prefix: str) -> Iterator[tuple[str, float, int]]:
        """Return the paths of all objects whose paths begin with a prefix, their ages in seconds, and their sizes."""
        found: list[tuple[str, float, int]] = []
        now = datetime.now(timezone.utc)
        with self._errors("list", prefix):
            for page in self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._key(prefix)
            ):
                if "IsTruncated" not in page:
                    raise ResponseParserError("not a listing")
                if page["IsTruncated"] and not page.get("NextContinuationToken"):
                    raise StoreError(f"{self}/{prefix}: could not list, the store does not support ListObjectsV2")
                # The root is cut off by its length, because some stores encode special characters in their own way.
                for listed in page.get("Contents", ()):
                    age = (now - listed.get("LastModified", now)).total_seconds()
                    found.append((listed["Key"][len(self._key("")) :], age, int(listed.get("Size", 0))))
        return iter(found)

    def leftovers(self) -> Iterator[str]:
        # Only probes: every object is written by one call, so there are no unfinished uploads.
        return (path for path, age, _ in self._listed(_PROBE) if age > OLD_SECONDS)

    def _key(self, path: str) -> str:
        return f"{self._prefix}/{path}" if self._prefix else path

    def _put(self, path: str, data: bytes | BinaryIO, **more: Any) -> None:
        if not isinstance(data, bytes):
            data.seek(0)
        elif _COMPRESSED.fullmatch(path):
            data = gzip.compress(data, mtime=0)  # without the time, equal bytes stay equal
            more["ContentEncoding"] = _GZIP
        answer = self._client.put_object(
            Bucket=self._bucket,
            Key=self._key(path),
            Body=data,
            ContentType=_TYPES.get(PurePosixPath(path).suffix, "application/octet-stream"),
            CacheControl="public, max-age=31536000, immutable" if _IMMUTABLE.fullmatch(path) else "no-cache",
            **more,
        )
        _checked(answer)

    def _head(self, path: str) -> Any | None:
        """Return the store's metadata of an object, or None if there is no such object."""
        place: dict[str, Any] = {"Bucket": self._bucket, "Key": self._key(path)}
        with self._errors("read", path):
            try:
                return _checked(self._client.head_object(**place))
            except ClientError as error:
                if status_of(error) >= 500:
                    raise
                # The answer to HEAD has no body, so it does not say what is missing, key or bucket. That of GET does.
                try:
                    answer = _checked(self._client.get_object(**place))
                except ClientError as error:
                    if code_of(error) == "NoSuchKey":
                        return None
                    raise
                answer["Body"].close()
                return answer

    def _errors(self, action: str, path: str) -> AbstractContextManager[None]:
        problem, endpoint = f"{self}/{path}: could not {action}", self._client.meta.endpoint_url
        sends_checksums = self._config.request_checksum_calculation != "when_required"
        return store_errors(problem, self._bucket, endpoint, sends_checksums)


def read_from(address: str, offset: int) -> Iterator[bytes]:
    """Yield the bytes of any object from an offset on, in blocks of 1 MiB; nothing if the object ends before it.

    Args:
        address: s3://bucket/key; everything else comes from boto3's environment and files, as nothing in a spec says
            how to reach objects outside of an atlas.

    Raises:
        StoreError: if the object cannot be read, also halfway; the message has the cause alone.
    """
    bucket, _, key = address.removeprefix("s3://").partition("/")
    try:
        client = new_client(Storage(), ATTEMPTS)
        body = client.get_object(Bucket=bucket, Key=key, Range=f"bytes={offset}-")["Body"]
        yield from body.iter_chunks(_BLOCK_BYTES)
    except ClientError as error:
        if status_of(error) == 416:  # the range is not satisfiable
            return
        facts = error.response.get("Error", {})
        raise StoreError(f"the store says {facts.get('Code')} {facts.get('Message')}") from None
    except (BotoCoreError, OSError, ResponseParserError, ValueError) as error:
        raise StoreError(one_line(error)) from None


def _parse(uri: str, key: str) -> tuple[str, str]:
    """Return bucket and prefix of an address."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    prefix = prefix.strip("/")
    if "@" in bucket:  # these messages must not repeat the address
        raise StoreError(f"{key}: expected s3://bucket/prefix without user and password; give them by the environment")
    if has_secret(uri):
        raise StoreError(f"{key}: expected s3://bucket/prefix without password, ? and #; give only bucket and prefix")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]", bucket):
        raise StoreError(f"{key} {uri}: expected s3://bucket/prefix, {bucket or 'nothing'} is not a bucket name")
    if any(part in ("", ".", "..") for part in prefix.split("/")[bool(not prefix) :]):
        raise StoreError(f"{key} {uri}: expected s3://bucket/prefix without empty, . or .. parts")
    return bucket, prefix


@lru_cache
def _client(storage: Storage, process: int) -> S3Client:
    """Return the client that the threads of this process share; a forked process gets a new one."""
    del process
    return new_client(storage, ATTEMPTS)


def _checked(answer: Any) -> Any:
    """Return the store's answer, which has the ETag of the object; the page of another server has none.

    Raises:
        ResponseParserError: if the answer has no ETag.
    """
    if "ETag" not in answer:
        raise ResponseParserError("no ETag")
    return answer


@lru_cache
def _respects_conditions(uri: str, storage: Storage, process: int) -> bool:
    del process
    return S3Store(uri, storage).respects_conditions()


def _decompressed(data: bytes) -> bytes:
    """Decompress gzip; return damaged bytes as they are, so that their sha256 is not the expected one."""
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error):
        return data
