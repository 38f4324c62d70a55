"""A real browser that opens an atlas from its folder or from a web server, as a reader would."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, expect, sync_playwright
from sample_atlases import small_atlas, small_land_atlas, small_walk_atlas

from core.machine.lock import locked

# The one without windows is the same browser, and opens a page with a third of the processor time.
_CHROMIUM = "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"
_CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_PATIENCE_MS = 60_000
"""Time for what a page does within milliseconds on an idle machine."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium. Without Chromium the tests are skipped, but on CI they fail."""
    path = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if path is None:
        reason = "no Chromium: apt-get install -y --no-install-recommends chromium-headless-shell fonts-dejavu-core"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=_CHROMIUM_ARGUMENTS,
            ignore_default_args=["--hide-scrollbars"],  # as readers have them, they take a part of the page's width
            timeout=2 * _PATIENCE_MS,
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published atlas of 30 pairs in two layers; one pair has failed. Tests must not change it."""
    return _made_once(tmp_path_factory, "atlas", small_atlas)


@pytest.fixture(scope="session")
def walk_atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published atlas whose strips meet. Tests must not change it."""
    return _made_once(tmp_path_factory, "walk", small_walk_atlas)


@pytest.fixture(scope="session")
def land_atlas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published atlas with a land, whose strips meet. Tests must not change it."""
    return _made_once(tmp_path_factory, "land", small_land_atlas)


def _made_once(folders: pytest.TempPathFactory, name: str, make: Callable[[Path], Path]) -> Path:
    """Return a sample atlas that all test processes share; the first that needs it makes it."""
    root = folders.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    with locked(root / f"{name}.lock"):
        if not (root / name).exists():
            make(root / f"{name}.part").rename(root / name)
    return root / name


@pytest.fixture
def open_atlas(browser: Browser, serve: Callable[[Path], str]) -> Iterator[Callable[..., Page]]:
    """Open the page in a folder: `open_atlas(root, hash="#...", viewport={...}, may_fail=False, at=address)`.

    `file` opens another page of the folder than index.html, and `beside` is the address of another atlas that it may
    load. Further arguments are properties of the browser's context, such as `reduced_motion="reduce"`. In every test,
    all requests must go to the atlas (requests that the page's own policy blocks do not count), no dialog may open, and
    the console may have errors only if `may_fail`.

    This fixture needs `serve`, so that the pages are closed before their web server. A page that is still loading
    when its server ends would report a connection that was reset.
    """
    contexts = []
    errors: list[str] = []
    popups: list[str] = []
    requests: list[Request] = []
    places = ["file://", "data:"]

    def open_one(
        root: Path,
        *,
        hash: str = "",
        may_fail: bool = False,
        at: str = "",
        file: str = "index.html",
        beside: str = "",
        **properties: Any,
    ) -> Page:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | properties))
        contexts.append(context)
        context.set_default_timeout(_PATIENCE_MS)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request))
        page.on("dialog", note_popup)
        if not may_fail:
            page.on("console", note_error)
            page.on("pageerror", lambda error: errors.append(f"{error} {error.stack}"))
        places.extend(filter(None, (at, beside)))
        page.goto((at + file if at else (root / file).as_uri()) + hash)
        return page

    def note_error(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    def note_popup(popup: Dialog) -> None:
        popups.append(popup.message)
        popup.dismiss()

    yield open_one
    for context in contexts:
        context.close()

    assert errors == []
    assert popups == []
    outside = [request for request in requests if not request.url.startswith(tuple(places))]
    assert [request.url for request in outside if request.failure != "csp"] == []


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serve folders from a web server, each below a path of its own: `serve(root)` returns the address."""
    servers = []

    def start(root: Path) -> str:
        server = _Server(("127.0.0.1", 0), partial(_QuietHandler, directory=str(root.parent)))
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/{root.name}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    """A web server on which more connections may wait than a browser opens at once; by default five may."""

    request_queue_size = 128


class _QuietHandler(SimpleHTTPRequestHandler):
    """A request handler that logs nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        pass
