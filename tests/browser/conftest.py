"""A real browser that opens an atlas from its folder or from a web server, as a reader would."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Error, Frame, Page, Request, expect, sync_playwright
from sample_atlases import add_small_land, small_atlas, small_walk_atlas

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
def land_atlas(tmp_path_factory: pytest.TempPathFactory, walk_atlas: Path) -> Path:
    """A published atlas with a land, whose strips meet. Tests must not change it."""
    return _made_once(tmp_path_factory, "land", lambda root: add_small_land(shutil.copytree(walk_atlas, root)))


def _made_once(folders: pytest.TempPathFactory, name: str, make: Callable[[Path], Path]) -> Path:
    """Return a sample atlas that all test processes share; the first that needs it makes it."""
    root = folders.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    with locked(root / f"{name}.lock"):
        if not (root / name).exists():
            make(root / f"{name}.part").rename(root / name)
    return root / name


# ---- pages


class Watch:
    """Errors on the console, dialogs, and requests to other places: the pages of a test may cause none of them."""

    def __init__(self) -> None:
        self.places = ["file://", "data:", "about:blank"]
        self._errors: list[str] = []
        self._popups: list[str] = []
        self._requests: list[Request] = []
        self._listeners: list[tuple[Page, str, Callable[..., object]]] = []

    def follow(self, page: Page, may_fail: bool, arriving_at: str = "") -> None:
        """Watch a page from now on, or from its arrival at an address, before which it may be another test's page."""
        heard: dict[str, Callable[..., object]] = {
            "request": lambda request: self._requests.append(request),
            "dialog": self._note_popup,
        }
        if not may_fail:
            heard |= {"console": self._note_message, "pageerror": self._note_error}

        def begin() -> None:
            for event, listener in heard.items():
                self._listen(page, event, listener)

        def arrive(frame: Frame) -> None:
            if frame.url.partition("#")[0] == arriving_at:
                page.remove_listener("framenavigated", arrive)
                begin()

        if arriving_at:
            self._listen(page, "framenavigated", arrive)
        else:
            begin()

    def _listen(self, page: Page, event: str, listener: Callable[..., object]) -> None:
        page.on(event, listener)  # type: ignore[call-overload]
        self._listeners.append((page, event, listener))

    def stop(self) -> None:
        """Stop watching, because other tests go on with the pages."""
        for page, event, listener in self._listeners:
            with suppress(KeyError):  # it has arrived
                page.remove_listener(event, listener)
        self._listeners.clear()

    def check(self) -> None:
        assert self._errors == []
        assert self._popups == []
        outside = [request for request in self._requests if not request.url.startswith(tuple(self.places))]
        assert [request.url for request in outside if request.failure != "csp"] == []

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._errors.append(message.text)

    def _note_error(self, error: Error) -> None:
        self._errors.append(f"{error} {error.stack}")

    def _note_popup(self, popup: Dialog) -> None:
        self._popups.append(popup.message)
        popup.dismiss()


@pytest.fixture
def watch() -> Iterator[Watch]:
    """In every test, all requests go to the atlas, no dialog opens, and the console has errors only if they are due."""
    watch = Watch()
    yield watch
    watch.check()


def _new_page(browser: Browser, viewport: dict[str, int], **properties: Any) -> Page:
    """Open an empty page in a context of its own."""
    context = browser.new_context(viewport=viewport, **properties)  # type: ignore[arg-type]
    context.set_default_timeout(_PATIENCE_MS)
    return context.new_page()


def _prepare(page: Page, viewport: dict[str, int], media: dict[str, str]) -> None:
    """Give a page that other tests have used a screen, and what its reader prefers."""
    if page.viewport_size != viewport:
        page.set_viewport_size(viewport)  # type: ignore[arg-type]
    page.emulate_media(**dict.fromkeys((*_MEDIA, "media"), "null") | media)  # type: ignore[arg-type]


_FORGET = """() => {
    localStorage.clear();
    sessionStorage.clear();
    const [speed, play] = ["speed", "play"].map((id) => document.getElementById(id));
    if (play?.textContent === "Pause all") play.click();
    if (!speed || speed.value === "1") return;
    speed.value = "1";
    speed.dispatchEvent(new Event("change", { bubbles: true }));
}"""


def _forget(page: Page) -> None:
    """Forget what a test has left in the browser's storage, play nothing, and choose the usual speed again."""
    with suppress(Error):  # a page may have failed, or refuse its storage
        page.evaluate(_FORGET)


@pytest.fixture(scope="session")
def kept_page(browser: Browser) -> Iterator[Page]:
    """A page in which one test after the other opens an atlas: a new one takes as much processor time as the atlas."""
    page = _new_page(browser, _SCREEN)
    yield page
    page.context.close()


@pytest.fixture
def open_atlas(browser: Browser, kept_page: Page, watch: Watch) -> Iterator[Callable[..., Page]]:
    """Open the page in a folder: `open_atlas(root, hash="#...", viewport={...}, may_fail=False, at=address)`.

    `file` opens another page of the folder than index.html, and `beside` is the address of another atlas that it may
    load. `reduced_motion`, `forced_colors` and `color_scheme` are what the reader prefers. Further arguments are
    properties of the browser's context, such as `has_touch=True`, and open a page in a context of its own, as `apart`
    does. Otherwise a test has one page, which the next atlas replaces; nothing is left on it from other tests.

    The console may have errors only if `may_fail`.
    """
    pages = []

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
        address = at + file if at else (root / file).as_uri()
        if apart or set(properties) - set(_MEDIA):
            page = _new_page(browser, viewport, **properties)
        else:
            page = kept_page
            if page in pages:
                leave()
            if page.url.partition("#")[0] == address:
                page.goto("about:blank")  # otherwise the same page would go on
            _prepare(page, viewport, properties)
        pages.append(page)
        watch.follow(page, may_fail, arriving_at=address)
        watch.places.extend(filter(None, (at, beside)))
        page.goto(address + hash)
        return page

    def leave() -> None:
        kept_page.unroute_all(behavior="ignoreErrors")
        _forget(kept_page)
        kept_page.context.clear_permissions()

    yield open_one
    watch.stop()
    if kept_page in pages:
        leave()
    for page in pages:
        if page is not kept_page:
            page.context.close()


_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember which tests have failed, so that no other test goes on with their pages."""
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.fixture(scope="session")
def visited(browser: Browser) -> Iterator[dict[Path, Page]]:
    """The pages of `visit_atlas`, by the folder of their atlas."""
    pages: dict[Path, Page] = {}
    yield pages
    for page in pages.values():
        page.context.close()


_NOWHERE = "#keys=0"  # an address that shows no strip, so that the next is not taken for a return to where it was
_FOLLOW = """hash => new Promise((done) => {
    if (location.hash === hash) return done();
    addEventListener("hashchange", () => setTimeout(done), { once: true });
    location.hash = hash;
})"""

_FOLD = """() => {
    for (const fold of document.querySelectorAll("details"))
        if (fold.open !== (fold.id === "welcome")) fold.open = !fold.open;
}"""
_TO_START = """() => scrollTo({ top: 0, behavior: "instant" })"""


@pytest.fixture
def visit_atlas(
    browser: Browser, visited: dict[Path, Page], watch: Watch, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Page]]:
    """Follow an address on a page that earlier tests of the same atlas may have left: `visit_atlas(root, "#...")`.

    Loading an atlas, and all its scripts when the pointer first moves, takes most of the processor time of a short
    test. This fixture is for tests of an atlas that does not change, and of what does not depend on a fresh page. Folds
    are as on a fresh page, and it is scrolled to its start; anything may be in the browser's history. Such tests leave
    no favourites and no strips chosen to compare.
    """
    used = []

    def visit(root: Path, hash: str = "#strips", viewport: dict[str, int] = _SCREEN, **media: str) -> Page:
        page = visited.get(root)
        if page is None:
            visited[root] = page = _new_page(browser, viewport)
            watch.follow(page, may_fail=False)
            _prepare(page, viewport, media)
            page.goto((root / "index.html").as_uri() + hash)
        else:
            watch.follow(page, may_fail=False)
            _prepare(page, viewport, media)
            page.mouse.move(2, 2)
            page.evaluate(_FOLD)
            for place in (_NOWHERE, hash):
                page.evaluate(_FOLLOW, place)
            page.evaluate(_TO_START)
        used.append(root)
        return page

    yield visit
    for root in used:
        _forget(visited[root])
    watch.stop()
    if request.node.stash.get(_FAILED, False):
        for root in set(used):
            visited.pop(root).context.close()


@pytest.fixture(scope="session")
def web_server() -> Iterator[_Server]:
    """One web server for all tests, so that the browser needs no new process for each of them."""
    server = _Server(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def serve(web_server: _Server) -> Callable[[Path], str]:
    """Serve folders, each below a path of its own: `serve(root)` returns the address.

    The folders beside it are served too.
    """

    def start(root: Path) -> str:
        web_server.folders.append(root.parent)
        return f"http://127.0.0.1:{web_server.server_port}/{len(web_server.folders) - 1}/{root.name}/"

    return start


class _Server(ThreadingHTTPServer):
    """A web server on which more connections may wait than a browser opens at once; by default five may."""

    request_queue_size = 128

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.folders: list[Path] = []


class _Handler(SimpleHTTPRequestHandler):
    """A request handler for the folders of its server, `/0/...` and so on, that logs nothing."""

    server: _Server

    def translate_path(self, path: str) -> str:
        number, _, rest = path.removeprefix("/").partition("/")
        if not number.isdecimal() or int(number) >= len(self.server.folders):
            return os.devnull + "/none"
        self.directory = str(self.server.folders[int(number)])
        return super().translate_path(f"/{rest}")

    def log_message(self, format: str, *args: Any) -> None:
        pass
