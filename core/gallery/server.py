"""A web server for one atlas in a folder, for browsers on this machine.

Browsers do not let a page that was opened from a folder read its own pictures. From this server they do.
"""

from __future__ import annotations

import sys
import zlib
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from core.errors import StoreError

_HOST = "127.0.0.1"
_OWN_NAMES = {_HOST, "localhost"}
_FIRST_PORT, _PORTS = 20_000, 10_000  # below the ports that systems give to clients


def serve(root: Path) -> AtlasServer:
    """Return a server that listens on 127.0.0.1 and serves the files below a folder, and no others.

    The port depends on the folder, so that what a browser keeps for the address, such as favourites, is found again.
    If this port is taken, the server has any free one.

    Raises:
        StoreError: if no port is free.
    """
    folder = root.resolve()
    usual = _FIRST_PORT + zlib.crc32(str(folder).encode(errors="surrogateescape")) % _PORTS
    for port in (usual, 0):
        try:
            return AtlasServer((_HOST, port), partial(_Handler, directory=str(folder)))
        except OSError as error:
            reason = error.strerror
    raise StoreError(f"--serve: cannot listen on {_HOST}, {reason}; open the page without --serve")


class AtlasServer(ThreadingHTTPServer):
    """The server; `serve_forever` answers requests."""

    request_queue_size = 128  # a browser opens more connections at once than the default, 5

    @property
    def address(self) -> str:
        """The address of the gallery."""
        return f"http://{_HOST}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore browsers that close a connection; report other errors."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    extensions_map = {  # not those of the system, which may lack some  # noqa: RUF012  (as in the base class)
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".json": "application/json",
        ".ndjson": "application/x-ndjson",
        ".csv": "text/csv; charset=utf-8",
        ".svg": "image/svg+xml",
        ".webp": "image/webp",
        ".png": "image/png",
        "": "application/octet-stream",
    }

    def translate_path(self, path: str) -> str:
        """Return the file that a path names; the folder stands for its page."""
        file = super().translate_path(path)
        return str(Path(file, "index.html")) if file.rstrip("/\\") == self.directory.rstrip("/\\") else file

    def send_head(self) -> Any:
        """Send the headers of a file; refuse what is not a file of the atlas.

        A page of another site that gives its own name to this machine's address could read the atlas: hence the check
        of the name.
        """
        name = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if name not in _OWN_NAMES:
            self.send_error(HTTPStatus.FORBIDDEN, "expected the name localhost")
        elif not self._is_in_atlas():
            self.send_error(HTTPStatus.NOT_FOUND, "no such file in the atlas")
        else:
            return super().send_head()
        return None

    def _is_in_atlas(self) -> bool:
        try:
            file = Path(self.translate_path(self.path)).resolve(strict=True)
            return file.is_file() and file.is_relative_to(self.directory)
        except (OSError, ValueError):  # it is missing, or no name of a file
            return False

    def end_headers(self) -> None:
        """Let browsers ask whether a file has changed before they use the one that they keep."""
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""
