"""A small object store with the habits of others: what SeaweedFS does not do, and what a server does that is no store.

It speaks as much of the S3 protocol as a store of Isthmus needs, with the bucket in the path, and checks no signature.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "atlases"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}
"""Environment variables with which boto3 finds nothing of this machine."""

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and body of an answer."""


def refusal(status: int, code: str, text: str = "on request") -> Answer:
    """Return the answer of an object store that refuses a request."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{escape(text)}</Message></Error>"
    return status, {"Content-Type": "application/xml"}, body.encode()


@dataclass
class OtherStore:
    """A running store, whose habits may change at any time.

    Attributes:
        path: path of its endpoint, in front of the bucket.
        to_conditions: answer to a write whose condition does not hold.
        knows_conditions: refuse every write with a condition by `to_conditions`, whether or not it holds, if False.
        to_checksums: answer to a write with one of the newer checksums; None: it is stored.
        to_everything: answer to every request; None: those of a store.
        headers: further headers of every object that is read.
        page: number of objects in a page of a listing.
        knows_tokens: continue a listing after a page; if False, as the first version of the protocol does.
    """

    path: str = ""
    to_conditions: Answer = field(default_factory=lambda: refusal(412, "PreconditionFailed"))
    knows_conditions: bool = True
    to_checksums: Answer | None = None
    to_everything: Answer | None = None
    headers: dict[str, str] = field(default_factory=dict)
    page: int = 1000
    knows_tokens: bool = True
    objects: dict[str, bytes] = field(default_factory=dict)
    url: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def running(self) -> Iterator[OtherStore]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_port}{self.path}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> Answer:
        address = urlsplit(target)
        bucket, _, key = unquote(address.path.removeprefix(self.path)).lstrip("/").partition("/")
        if self.to_everything:
            return self.to_everything
        if not address.path.startswith(f"{self.path}/"):
            return 404, {"Content-Type": "text/html"}, b"<html><body>Not Found</body></html>"
        if bucket != BUCKET:
            return refusal(404, "NoSuchBucket")
        with self._lock:
            if method == "PUT":
                return self._put(key, headers, body)
            if method == "DELETE":
                self.objects.pop(key, None)
                return 204, {}, b""
            if not key:
                return self._list(parse_qs(address.query, keep_blank_values=True))
            if key not in self.objects:
                return refusal(404, "NoSuchKey")
            return 200, {"ETag": _etag(self.objects[key]), **self.headers}, self.objects[key]

    def _put(self, key: str, headers: Any, body: bytes) -> Answer:
        if self.to_checksums and any(name.lower().startswith(("x-amz-checksum", "x-amz-sdk")) for name in headers):
            return self.to_checksums
        new, same = headers.get("If-None-Match"), headers.get("If-Match")
        holds = not (new and key in self.objects) and not (same and _etag(self.objects.get(key, b"")) != same)
        if not holds or ((new or same) and not self.knows_conditions):
            return self.to_conditions
        self.objects[key] = body
        return 200, {"ETag": _etag(body)}, b""

    def _list(self, query: dict[str, list[str]]) -> Answer:
        prefix, after = query.get("prefix", [""])[0], query.get("continuation-token", [""])[0]
        keys = [key for key in sorted(self.objects) if key.startswith(prefix) and key > after]
        more = len(keys) > self.page
        token = f"<NextContinuationToken>{escape(keys[self.page - 1])}</NextContinuationToken>" if more else ""
        found = "".join(f"<Contents><Key>{escape(quote(key, safe='/+'))}</Key></Contents>" for key in keys[: self.page])
        facts = f"<IsTruncated>{str(more).lower()}</IsTruncated><EncodingType>url</EncodingType>"
        body = f"<ListBucketResult>{facts}{token if self.knows_tokens else ''}{found}</ListBucketResult>"
        return 200, {"Content-Type": "application/xml"}, body.encode()


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


def _handler(store: OtherStore) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, data = store.answer(self.command, self.path, self.headers, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD" and status != 304:
                self.wfile.write(data)

        do_GET = do_HEAD = do_PUT = do_DELETE = do  # noqa: N815

    return Handler
