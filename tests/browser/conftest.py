"""A real browser that opens an atlas from its folder, as a reader would."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, sync_playwright

_CHROMIUM = "chromium", "chromium-browser", "google-chrome"
_CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium. Without one the tests are skipped, but on CI they fail."""
    path = next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if path is None:
        reason = "no Chromium: apt-get install -y --no-install-recommends chromium fonts-dejavu-core"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_atlas(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open the page in a folder: `open_atlas(root, hash="#...", viewport={...}, may_fail=False)`.

    Further arguments are properties of the browser, such as `reduced_motion="reduce"`. Whatever a test does, no request
    may leave the folder (one that the page's own policy stops has not) and nothing may pop up; nor may there be an
    error in the console, unless `may_fail`.
    """
    contexts = []
    errors: list[str] = []
    popups: list[str] = []
    requests: list[Request] = []

    def open_one(root: Path, *, hash: str = "", may_fail: bool = False, **properties: Any) -> Page:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 800}} | properties))
        contexts.append(context)
        context.set_default_timeout(5_000)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request))
        page.on("dialog", note_popup)
        if not may_fail:
            page.on("console", note_error)
            page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((root / "index.html").as_uri() + hash)
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
    outside = [request for request in requests if not request.url.startswith(("file://", "data:"))]
    assert [request.url for request in outside if request.failure != "csp"] == []
