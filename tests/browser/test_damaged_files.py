"""Files of data and scripts that are cut short or missing: the page names them, and goes on once they are back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sample_atlases import make_record
from sample_evidence import RECORD, compare_with_photographs

Open = Callable[..., Page]  # the fixture `open_atlas`
Serve = Callable[[Path], str]  # the fixture `serve`


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory, atlas: Path) -> Path:
    """An atlas with every kind of data: pairs, photographs and a land. Tests leave its files as they were."""
    root = shutil.copytree(atlas, tmp_path_factory.mktemp("damaged") / "complete")
    compare_with_photographs(root)
    return root


@contextmanager
def cut_short(root: Path, kind: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Cut the first file of a kind to half, as an upload that was stopped leaves it.

    Yield its path in the atlas, and a function that restores it; at the end it is restored in any case.
    """
    path = min(root.glob(f"{kind}-*.js"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    try:
        yield path.relative_to(root).as_posix(), lambda: path.write_bytes(whole)
    finally:
        path.write_bytes(whole)


OTHER = make_record(5)
PAIR = f"#pair={RECORD.key}"
NEURON = f"#neuron={RECORD.a}"
NEEDED = {  # kind of file -> address that needs it, where the page says so, and what the page shows once it is back
    "data/lookup": (PAIR, "#detail-state", "#summary p"),
    "data/detail": (PAIR, "#detail-state", "#summary p"),
    "data/all": (NEURON, "#gone", "#partners .frames"),
    "data/land": ("#land", "#gone", "#land-stage"),
    "assets/pair": (PAIR, "#gone", "#summary p"),
}
KEPT = "data/detail", "assets/pair"  # of these, one that a server's readers have kept is tried
EXTRA = {"data/album": NEURON, "data/shown": NEURON, "data/natural": PAIR}  # the page goes on without them


def test_data_that_are_cut_short_are_told_like_missing_data(open_atlas: Open, complete: Path) -> None:
    """A browser runs no part of such a script and reports that it was loaded; the page finds that nothing came.

    Where the page cannot go on without the file, it offers to try again, which works once the file is back.
    """
    for kind in sorted(NEEDED.keys() - KEPT):
        check_retry(open_atlas, complete, kind)
    with cut_short(complete, "data/lookup") as (path, _):
        page = open_atlas(complete, hash=f"#compare={RECORD.key}..{OTHER.key}", may_fail=True)
        expect(page.locator("#compare-state p").first).to_have_text(f"{path} could not be read. Reload this page.")
    for kind, hash in EXTRA.items():
        with cut_short(complete, kind) as (path, _):
            page = open_atlas(complete, hash=hash, may_fail=True)
            expect(page.locator("#error")).to_contain_text(f"{path} could not be read, so pairs are missing here.")


@pytest.mark.parametrize("kind", KEPT)
def test_a_file_that_the_browser_has_kept_is_asked_for_anew(
    open_atlas: Open, serve: Serve, complete: Path, kind: str
) -> None:
    """A server may let browsers keep its files, also those that are cut short."""
    page, path = check_retry(open_atlas, complete, kind, at=serve(complete), apart=True)
    loaded = page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
    assert any(f"/{path}?" in name for name in loaded)


def check_retry(open_atlas: Open, root: Path, kind: str, **properties: object) -> tuple[Page, str]:
    """Open a page that needs a file of a kind, restore it and try again; return the page and the path of the file."""
    hash, place, shown = NEEDED[kind]
    with cut_short(root, kind) as (path, restore):
        page = open_atlas(root, hash=hash, may_fail=True, **properties)
        expect(page.locator(place)).to_contain_text(
            f"{path} could not be read. If the atlas has been published again, reload this page."
        )
        restore()
        page.locator(place).get_by_role("button", name="Try again").click()
        expect(page.locator(shown).first).to_be_visible()
        expect(page.locator(place)).to_be_hidden()
        return page, path


@pytest.mark.parametrize("is_there", [True, False], ids=["cut", "missing"])
def test_what_a_page_cannot_begin_without_is_named(
    open_atlas: Open, serve: Serve, complete: Path, is_there: bool
) -> None:
    """Without the index the page names it, and no script that fails because of it.

    Without its own script the page says so after a few seconds, in text that the script would remove at once.
    """
    with cut_short(complete, "data/index") as (path, _):
        if not is_there:
            (complete / path).unlink()
        page = open_atlas(complete, hash="#strips", at=serve(complete), may_fail=True)
        expect(page.locator("#error")).to_contain_text(f"{path} could not be read, so pairs are missing here.")
        expect(page.locator("#loading, #unread").locator("visible=true")).to_have_count(0)
        expect(page.locator("script[src*=every]")).to_have_count(0)
    with cut_short(complete, "assets/page") as (path, _):
        if not is_there:
            (complete / path).unlink()
        page = open_atlas(complete, may_fail=True)
        expect(page.locator("#unread")).to_be_visible()
        expect(page.locator("#unread")).to_contain_text(f"{path} has not been read yet.")
    page = open_atlas(complete, hash="#strips")
    expect(page.locator("#count")).to_have_text("30 of 30 pairs")
    expect(page.locator("#unread")).to_have_count(0)
