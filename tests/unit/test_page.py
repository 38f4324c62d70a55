"""The page, its scripts and its styles, as they are published."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from sample_records import RECORDS, atlas

from core.atlas.manifest import Manifest
from core.gallery.page import pages
from core.gallery.publish import publish


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """That of a small atlas of two settings."""
    return publish(atlas(tmp_path, RECORDS), "small")


def test_the_page_comes_last_and_names_all_its_files(manifest: Manifest) -> None:
    """Each script and style has the digest of its content in its name, and the page names exactly these."""
    files = pages(manifest)
    *assets, last = files

    assert last == "index.html"
    assert list(dict.fromkeys(re.findall('assets/[^" ]+', files[last].decode()))) == assets
    for path in assets:
        assert re.search("-([0-9a-f]{10})[.](?:js|css)$", path)
        assert hashlib.sha256(files[path]).hexdigest()[:10] in path


def test_scripts_and_styles_lie_in_the_package_and_nothing_is_left_out(manifest: Manifest) -> None:
    """Every script and style of the gallery is published."""
    folder = Path("core/gallery/web")
    sources = {path.name for kind in ("*.js", "*.css") for path in (Path(__file__).parents[2] / folder).glob(kind)}

    published = {re.sub("-[0-9a-f]{10}", "", path.removeprefix("assets/")) for path in pages(manifest)}
    assert published == sources | {"index.html"}


def test_scripts_travel_without_comments(manifest: Manifest) -> None:
    """Comments are for whoever reads the sources; what a reader's browser loads has none."""
    for path, data in pages(manifest).items():
        if path.endswith(".js"):
            assert not re.search(rb"^\s|\s// ", data, re.MULTILINE), path


def test_nothing_is_asked_of_another_host(manifest: Manifest) -> None:
    """No address is written anywhere but the name of SVG's elements."""
    for path, data in pages(manifest).items():
        assert set(re.findall(rb"https?://[^\"' ]+", data)) <= {b"http://www.w3.org/2000/svg"}, path
        assert not re.search(rb"(src|href)=\"//", data), path


def test_all_shapes_of_strips_are_told(manifest: Manifest) -> None:
    """Where settings differ in frames, size or steps, the page names each."""
    shapes = "3 frames of 64 px, 256 steps or 4 frames of 32 px, 8 steps"

    assert shapes in pages(manifest)["index.html"].decode()


def test_a_page_of_an_atlas_without_spec_says_so(manifest: Manifest) -> None:
    """The spec is told where there is one, and else how pairs can be rendered again all the same."""
    without = pages(manifest)["index.html"].decode()
    with_spec = pages(manifest.model_copy(update={"spec": {"name": "small", "model": None}}))["index.html"].decode()

    assert "The spec was not kept" in without
    assert "isthmus build atlas.yaml" in with_spec
    assert "name: small\n</pre>" in with_spec
