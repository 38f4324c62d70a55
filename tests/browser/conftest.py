"""A real browser that opens an atlas from its folder or from a web server, as a reader would."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Error, Page, Request, expect, sync_playwright
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
_SCREEN = {"width": 900, "height": 600}
"""The smallest screen with the layout of a desk. It needs half of the processor time of one with twice the tiles."""
_MEDIA = "color_scheme", "forced_colors", "reduced_motion"
"""Properties that a page may change after it has been opened."""


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


@pytest.fixture(scope="session")
def kept_page(browser: Browser) -> Iterator[Page]:
    """A page that one test after the other uses: a new one takes as much processor time as loading an atlas."""
    context = browser.new_context(viewport=_SCREEN)  # type: ignore[arg-type]
    context.set_default_timeout(_PATIENCE_MS)
    yield context.new_page()
    context.close()


def _prepare(page: Page, viewport: dict[str, int], media: dict[str, str]) -> None:
    """Give the kept page a screen, and what its reader prefers."""
    if page.viewport_size != viewport:
        page.set_viewport_size(viewport)  # type: ignore[arg-type]
    page.emulate_media(**dict.fromkeys((*_MEDIA, "media"), "null") | media)  # type: ignore[arg-type]


def _leave(page: Page) -> None:
    """Leave the atlas that a test has opened in the kept page, and forget what the test has left in the browser."""
    page.unroute_all(behavior="ignoreErrors")
    with suppress(Error):  # a page may have failed, or refuse its storage
        page.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")
    page.goto("about:blank")
    page.context.clear_permissions()


@pytest.fixture
def open_atlas(browser: Browser, kept_page: Page, serve: Callable[[Path], str]) -> Iterator[Callable[..., Page]]:
    """Open the page in a folder: `open_atlas(root, hash="#...", viewport={...}, may_fail=False, at=address)`.

    `file` opens another page of the folder than index.html, and `beside` is the address of another atlas that it may
    load. `reduced_motion`, `forced_colors` and `color_scheme` are what the reader prefers. Further arguments are
    properties of the browser's context, such as `has_touch=True`, and open a page in a context of its own, as `apart`
    does. Otherwise a test has one page, which the next atlas replaces; nothing is left on it from other tests.

    In every test, all requests must go to the atlas (requests that the page's own policy blocks do not count), no
    dialog may open, and the console may have errors only if `may_fail`.

    This fixture needs `serve`, so that the pages are closed before their web server. A page that is still loading
    when its server ends would report a connection that was reset.
    """
    contexts = []
    listeners: list[tuple[str, Callable[..., object]]] = []
    errors: list[str] = []
    popups: list[str] = []
    requests: list[Request] = []
    places = ["file://", "data:", "about:blank"]

    def open_one(
        root: Path,
        *,
        hash: str = "",
        may_fail: bool = False,
        at: str = "",
        file: str = "index.html",
        beside: str = "",
        apart: bool = False,
        viewport: dict[str, int] = _SCREEN,
        **properties: Any,
    ) -> Page:
        if apart or set(properties) - set(_MEDIA):
            context = browser.new_context(viewport=viewport, **properties)  # type: ignore[arg-type]
            contexts.append(context)
            context.set_default_timeout(_PATIENCE_MS)
            page = context.new_page()
        else:
            page = kept_page
            forget()
            _prepare(page, viewport, properties)
        listen(page, may_fail)
        places.extend(filter(None, (at, beside)))
        page.goto((at + file if at else (root / file).as_uri()) + hash)
        return page

    def listen(page: Page, may_fail: bool) -> None:
        heard: dict[str, Callable[..., object]] = {"request": lambda request: requests.append(request), "dialog": note_popup}
        if not may_fail:
            heard |= {"console": note_error, "pageerror": lambda error: errors.append(f"{error} {error.stack}")}
        for event, listener in heard.items():
            page.on(event, listener)  # type: ignore[call-overload]
            if page is kept_page:
                listeners.append((event, listener))

    def forget() -> None:
        if not listeners:
            return
        _leave(kept_page)
        while listeners:
            kept_page.remove_listener(*listeners.pop())

    def note_error(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    def note_popup(popup: Dialog) -> None:
        popups.append(popup.message)
        popup.dismiss()

    yield open_one
    for context in contexts:
        context.close()
    forget()

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
