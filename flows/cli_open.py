"""`isthmus open`, which shows the gallery of an atlas."""

from __future__ import annotations

import json
import signal
import sys
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import SpecError
from flows.options import Atlas, Json, existing_store

if TYPE_CHECKING:
    from core.store.store import Store


def open_page(
    atlas: Atlas,
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Serve the folder to browsers on this machine until Ctrl-C."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Open the gallery of an atlas in a browser, or print its address.

    If the atlas is in a bucket, or no browser is found, only the address is printed. A page that is opened from a
    folder cannot make animations; with --serve it can.
    """
    from core.atlas.manifest import PAGE_PATH

    store = existing_store(atlas)
    if not store.exists(PAGE_PATH):
        raise SpecError(f"{store}: expected a published atlas, it has no index.html; run isthmus publish first")
    page = store.location(PAGE_PATH)
    if serve:
        _serve(store, page, as_json)
        return
    opened = _is_file(page) and webbrowser.open(Path(page).as_uri())
    if as_json:
        print(json.dumps({"page": page, "opened": opened}))
    else:
        print(f"No browser found; open {page}" if _is_file(page) and not opened else page)


def _is_file(page: str) -> bool:
    """Return whether a page is a file; a bucket may be closed to browsers."""
    return "://" not in page


def _serve(store: Store, page: str, as_json: bool) -> None:
    """Serve an atlas until Ctrl-C, after printing its address."""
    from core.gallery.server import serve

    if not _is_file(page):
        raise SpecError(f"--serve: expected an atlas in a folder, got {store}; open {page} instead")
    with serve(Path(page).parent) as server:
        if as_json:  # at once: what a command with --json prints to sys.stdout is kept until it ends
            print(json.dumps({"page": server.address}), file=sys.__stdout__, flush=True)
        else:
            print(f"{server.address}\nCtrl-C ends the server.", flush=True)
        threading.Thread(target=webbrowser.open, args=(server.address,), daemon=True).start()  # some return late
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
