"""The picture that other sites show beside a link to an atlas, and the tags that name it."""

from __future__ import annotations

import hashlib
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_land import make_land, write_land
from sample_records import RECORDS, atlas, make_spec, record_of

from core.atlas.plan_files import SPEC_PATH
from core.atlas.records import Record, preview_path
from core.atlas.verify import verify
from core.errors import SpecError
from core.gallery.page import pages
from core.gallery.publish import publish
from core.pictures.sheets import decode, encode_webp
from core.store.store import DirectoryStore

COLOURS = [(250, 40, 40), (40, 250, 40), (40, 40, 250), (250, 250, 40), (40, 250, 250), (250, 40, 250), (200, 200, 200)]


def with_previews(root: Path, *records: Record) -> DirectoryStore:
    """Return an atlas whose strips have one colour each, with darker frames from left to right."""
    store = atlas(root, records)
    for number, record in enumerate(records):
        colour = np.array(COLOURS[number % len(COLOURS)])
        shades = np.linspace(1, 0.5, record.frames)[:, None] * colour
        pixels = np.repeat(np.repeat(shades[None], 64, axis=0), 64, axis=1).astype(np.uint8)
        store.replace(preview_path(record.key), encode_webp(pixels))
    return store


def strip(frames: int, number: int, **changes: Any) -> Record:
    """Return a record whose key is its number, so that strips are shown in the sequence of their numbers."""
    return record_of("stem:0", f"head:{number}", key=f"{number:020x}", frames=frames, **changes)


def tags(store: DirectoryStore) -> dict[str, str]:
    """Return the names and the contents of the meta tags of a published page."""
    page = store.read("index.html").decode()
    found = re.findall(r'<meta ((?:(?:name|property)="[^"]+" )+)content="([^"]*)">', page)
    return {name: unescape(content) for names, content in found for name in re.findall('"([^"]+)"', names)}


def shown(store: DirectoryStore, y: int, x: int) -> tuple[int, ...]:
    """Return the colour in the picture of a published atlas, 0 where it is dark."""
    pixels = decode(store.read(tags(store)["og:image"]))
    assert pixels.shape == (630, 1200, 3)
    return tuple(np.where(pixels[y, x] < 90, 0, pixels[y, x]).tolist())


@pytest.mark.parametrize(
    ("frames", "strips", "places"),
    [
        (6, 4, [(110, 100), (315, 100), (520, 100)]),  # three rows of one strip
        (3, 7, [(110, 100), (110, 700), (315, 100), (315, 700), (520, 100), (520, 700)]),
        (2, 1, [(315, 100)]),
        (16, 3, [(110, 100), (315, 100), (520, 100)]),  # six of the frames
    ],
)
def test_the_picture_shows_as_many_strips_as_there_is_room_for(
    tmp_path: Path, frames: int, strips: int, places: list[tuple[int, int]]
) -> None:
    """Strips stand below one another, short ones beside one another too; further ones are left out."""
    store = with_previews(tmp_path, *(strip(frames, number) for number in range(strips)))

    publish(store, "small")

    for number, place in enumerate(places):
        colour = np.where(np.array(COLOURS[number]) < 90, 0, COLOURS[number])
        assert np.abs(np.subtract(shown(store, *place), colour)).max() <= 12, place
    assert shown(store, 2, 600) == (0, 0, 0)


def test_strips_of_strong_ends_come_first(tmp_path: Path) -> None:
    """A strip with a weak end is shown only if there is room."""
    records = [strip(6, 0, kept_a=0.1), *(strip(6, number) for number in range(1, 4))]
    store = with_previews(tmp_path, *records)

    publish(store, "small")

    assert shown(store, 110, 50)[1] > 200  # the second one: green
    assert shown(store, 520, 50)[0] > 200  # the fourth one: yellow


def test_previews_that_are_missing_or_damaged_are_left_out(tmp_path: Path) -> None:
    """The others are shown; if none can be read there is neither a picture nor a tag for one."""
    store = with_previews(tmp_path, *(strip(6, number) for number in range(3)))
    store.delete(preview_path(f"{0:020x}"))
    store.replace(preview_path(f"{1:020x}"), b"RIFF1234WEBPVP8 damaged")

    first = publish(store, "small")
    assert shown(store, 315, 50)[2] > 200  # the third one alone, in the middle
    assert shown(store, 110, 50) == (0, 0, 0)
    store.replace(preview_path(f"{2:020x}"), encode_webp(np.zeros((64, 100, 3), np.uint8)))
    second = publish(store, "small")

    assert first.preview is not None
    assert second.preview is None
    assert not store.exists(first.preview.path)
    assert not {"og:image", "twitter:card"} & set(tags(store))


def test_the_same_previews_give_the_same_picture(tmp_path: Path) -> None:
    """Its name has the digest of its bytes, the manifest lists it, and `verify` checks it."""
    records = [strip(6, number) for number in range(5)]
    one, other = with_previews(tmp_path / "one", *records), with_previews(tmp_path / "other", *records)

    preview = publish(one, "small").preview

    assert preview is not None
    assert preview == publish(other, "small").preview
    assert hashlib.sha256(one.read(preview.path)).hexdigest()[:10] in preview.path
    one.replace(preview.path, b"damaged")
    assert preview.path in verify(one).damaged


@pytest.mark.parametrize("places", [4, 100])
def test_without_strips_the_picture_is_the_middle_of_the_land(tmp_path: Path, places: int) -> None:
    """A land that is larger than the picture fills it; a smaller one is in its middle."""
    store = atlas(tmp_path)
    side = round(places**0.5)
    finished = write_land(store, make_land(places, side, 160))

    publish(store, "small", lambda _: finished)

    pixels = decode(store.read(tags(store)["og:image"])).astype(int)
    rows, columns = (np.flatnonzero(np.abs(pixels - (18, 20, 24)).max(axis=(1 - axis, 2)) > 25) for axis in (0, 1))
    width = min(1200, 160 * side)
    assert (rows[0], rows[-1]) == pytest.approx(((630 - min(630, width)) // 2, (630 + min(630, width)) // 2 - 1), abs=9)
    assert (columns[0], columns[-1]) == pytest.approx(((1200 - width) // 2, (1200 + width) // 2 - 1), abs=9)


@pytest.mark.parametrize(
    ("site", "address"),
    [
        (None, ""),
        ("https://example.org/atlas", "https://example.org/atlas/"),
        ("https://example.org/atlas/", "https://example.org/atlas/"),
    ],
)
def test_the_page_tells_other_sites_what_it_is(tmp_path: Path, site: str | None, address: str) -> None:
    """The tags have title, description and picture; with `site` in the spec, the picture's address is absolute."""
    store = with_previews(tmp_path, *RECORDS)
    store.replace(SPEC_PATH, make_spec(site=site).to_json())

    preview = publish(store, "small").preview

    assert preview is not None
    found = tags(store)
    said = "5 pairs of neurons of efficientnet-lite0: for each, images that lead from what excites one neuron to "
    assert found["description"] == found["og:description"] == f"{said}what excites the other."
    assert (found["og:title"], found["og:image"]) == ("small", f"{address}{preview.path}")
    assert found.get("og:url", "") == address


def test_the_page_has_an_icon_of_its_own(tmp_path: Path) -> None:
    """The icon is a file of the atlas, so that no browser asks for another one."""
    store = atlas(tmp_path, RECORDS)

    files = pages(publish(store, "small"))

    [icon] = re.findall(r'<link rel="icon" href="([^"]+)"', files["index.html"].decode())
    assert store.read(icon) == files[icon]
    assert files[icon].startswith(b"<svg ")


@pytest.mark.parametrize(
    "site", ["example.org", "ftp://example.org", "https://me:secret@example.org", "https://e.org/?a=b"]
)
def test_a_site_that_is_no_address_is_refused(site: str) -> None:
    """The message says what is expected and has no password."""
    with pytest.raises(SpecError) as caught:
        make_spec(site=site)

    assert str(caught.value).startswith("here: site: expected an address such as https://example.org/atlas, without ")
    assert "secret" not in str(caught.value)
