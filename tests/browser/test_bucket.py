"""The gallery in a public bucket."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sample_atlases import FRAMES, SIZE_PX, make_record, write_pictures

from core.atlas.records import to_ndjson
from core.gallery.publish import publish
from core.spec import Storage
from core.store.store import open_store

sys.path.insert(0, str(Path(__file__).parents[1]))
from seaweed import BUCKET, Seaweed, serving

Open = Callable[..., Page]  # the fixture `open_atlas`
PUBLIC = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    ],
}


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A real object store on this machine, which ends after the pages of the tests have been closed."""
    with serving(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


def test_a_public_bucket_is_a_web_server(
    open_atlas: Open, seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripts, styles and pictures have content types that a browser accepts: grid, pair and permalink work."""
    record = make_record(0)
    write_pictures(tmp_path, record.key, 0)
    for variable, value in seaweed.environment.items():
        monkeypatch.setenv(variable, value)
    store = open_store(f"s3://{BUCKET}/galleries/public", Storage(endpoint_url=seaweed.url))
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        store.create(path.relative_to(tmp_path).as_posix(), path.read_bytes())
    store.create("records/0.ndjson", to_ndjson([record]))
    publish(store, "public")
    seaweed.client().put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(PUBLIC))

    page = open_atlas(tmp_path, at=f"{seaweed.url}/{BUCKET}/galleries/public/")
    expect(page.locator("#grid img")).to_have_js_property("naturalWidth", FRAMES * SIZE_PX)
    page.locator("#grid .player").click()
    expect(page.locator("#facts")).to_contain_text(record.key)
    page.reload()
    expect(page.locator("#large img")).to_have_js_property("naturalWidth", FRAMES * SIZE_PX)
