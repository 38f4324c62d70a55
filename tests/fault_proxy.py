"""A proxy in front of an object store that injects faults: refused, broken, slow, lost and incomplete answers."""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from seaweed import KEY, SECRET

_CONDITIONS = ("if-match", "if-none-match")


@dataclass
class Fault:
    """A fault for the next requests of a method whose path, without query, matches a pattern.

    Attributes:
        kind: "refuse": answer with `status` instead of forwarding. "reset": break the connection instead of
            forwarding. "slow": wait `seconds` before forwarding. "drop": forward, then break the connection instead
            of answering. "cut": forward, answer with half of the body, then break the connection.
        times: number of further requests that the fault affects.
    """

    kind: Literal["refuse", "reset", "slow", "drop", "cut"]
    times: int = 1
    method: str = ".*"
    path: str = ".*"
    status: int = 503
    code: str = "ServiceUnavailable"
    seconds: float = 0.0


class _Server(ThreadingHTTPServer):
    """A server on which as many connections may wait as several processes with their threads open at once."""

    daemon_threads = True
    request_queue_size = 128


class FaultProxy:
    """A proxy that forwards requests to an object store, unless a fault applies to them.

    Attributes:
        url: the endpoint to use instead of the store's.
        ignore_conditions: forward writes without their conditions, like a store that does not know conditions.
        refuse_conditions: refuse writes with a condition, like a store that answers "not implemented".
        requests: (method, path) of every request, in order of arrival.
    """

    def __init__(self, upstream: str) -> None:
        self.requests: list[tuple[str, str]] = []
        self.ignore_conditions = False
        self.refuse_conditions = False
        self._upstream = urlsplit(upstream).netloc
        self._faults: list[Fault] = []
        self._dead_until = 0.0
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def inject(self, fault: Fault) -> Fault:
        """Add a fault; if several faults match a request, the first one applies."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def die(self, seconds: float) -> None:
        """Break every connection for this time."""
        self._dead_until = time.monotonic() + seconds

    @contextmanager
    def running(self) -> Iterator[FaultProxy]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def _fault(self, method: str, path: str) -> Fault | None:
        with self._lock:
            self.requests.append((method, path))
            if time.monotonic() < self._dead_until:
                return Fault("reset")
            for fault in self._faults:
                if fault.times and re.fullmatch(fault.method, method) and re.fullmatch(fault.path, path):
                    fault.times -= 1
                    return fault
        return None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: Any) -> None:
                """Log nothing."""

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except ConnectionError:  # the client has closed the connection
                    self.close_connection = True

            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                fault = proxy._fault(self.command, urlsplit(self.path).path)
                kind = fault.kind if fault else None
                if fault and kind == "refuse":
                    return self.refuse(fault.status, fault.code)
                if kind == "reset":
                    return self.reset()
                if fault and kind == "slow":
                    time.sleep(fault.seconds)
                conditional = any(name in self.headers for name in _CONDITIONS)
                if conditional and proxy.refuse_conditions:
                    return self.refuse(501, "NotImplemented")
                headers = dict(self.headers.items())
                if conditional and proxy.ignore_conditions:
                    headers = self.without_conditions(headers, body)
                status, answered, data = self.forward(headers, body)
                if kind == "drop":
                    return self.reset()
                self.answer(status, answered, data, cut=kind == "cut")
                return None

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do  # noqa: N815

            def forward(self, headers: dict[str, str], body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
                upstream = http.client.HTTPConnection(proxy._upstream, timeout=60)
                try:
                    upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                    for name, value in headers.items():
                        if name.lower() not in ("expect", "connection"):
                            upstream.putheader(name, value)
                    upstream.endheaders(body)
                    got = upstream.getresponse()
                    return got.status, got.getheaders(), got.read()
                finally:
                    upstream.close()

            def answer(self, status: int, headers: list[tuple[str, str]], data: bytes, cut: bool = False) -> None:
                self.send_response_only(status)
                length = next((value for name, value in headers if name.lower() == "content-length"), "0")
                for name, value in headers:
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data[: len(data) // 2] if cut else data)
                if cut:
                    self.reset()

            def refuse(self, status: int, code: str) -> None:
                error = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>on request</Message></Error>"
                self.answer(status, [("Content-Type", "application/xml")], error.encode())

            def reset(self) -> None:
                """Break the connection so that the client sees it as broken, not as closed."""
                self.wfile.flush()
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True

            def without_conditions(self, headers: dict[str, str], body: bytes) -> dict[str, str]:
                """Remove the conditions and sign the request again, because a signature covers the conditions."""
                dropped = (*_CONDITIONS, "authorization", "x-amz-date", "x-amz-content-sha256", "expect", "connection")
                kept = {name: value for name, value in headers.items() if name.lower() not in dropped}
                request = AWSRequest(self.command, f"http://{self.headers['Host']}{self.path}", kept, body)
                S3SigV4Auth(Credentials(KEY, SECRET), "s3", "us-east-1").add_auth(request)
                return dict(request.headers.items())

        return Handler
