"""Photographs: which files of a source are listed, how they are decoded, and what hostile files do: nothing."""

from __future__ import annotations

import http.server
import io
import os
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hostile_images import add_links, bad_files, damaged_files, encoded, good_files, picture, turned
from PIL import Image, ImageOps

from core.errors import SpecError, StoreError
from core.photographs import decoding
from core.photographs.decoding import decoded, without_warnings
from core.photographs.listing import Listing, Piece, UnreadableError, listed
from core.photographs.source import open_source
from core.photographs.thumbnail import thumbnails
from core.spec import Storage

SEEN = (64, 64)


def pieces(*paths: str) -> list[Piece]:
    return [Piece(path, 10) for path in paths]


def names(listing: Listing) -> list[str]:
    return [photograph.file.path for photograph in listing.photographs]


def test_a_list_is_sorted_and_has_captions_classes_and_the_licence() -> None:
    """Texts belong to the photograph of their name; hidden files are left out; the ending of a name says nothing."""
    found = listed(
        pieces(
            "b/z.jpg", "b/z.txt", "a/y.dat", "a/y.json", "x.png", ".x.png", "c/.d/x.png", "LICENSE.txt", "c/LICENSE"
        ),
        limit=None,
        by_folder=True,
    )

    assert names(found) == ["a/y.dat", "b/z.jpg", "c/LICENSE", "x.png"]
    assert [each.label for each in found.photographs] == ["a", "b", "c", None]
    assert [each.caption and each.caption.path for each in found.photographs] == ["a/y.json", "b/z.txt", None, None]
    assert found.licence == Piece("LICENSE.txt", 10)
    assert found.labels == ["a", "b", "c"]
    assert Listing.from_json(found.to_json()) == found


def test_a_text_without_a_photograph_is_listed() -> None:
    """It is no photograph, and is said to be none when it is read."""
    assert names(listed(pieces("notes.txt", "a.jpg", "a.txt"), limit=None, by_folder=False)) == ["a.jpg", "notes.txt"]


def test_a_limit_draws_photographs_that_stay_when_others_are_added() -> None:
    """The choice is the same every time, from all folders, and more files replace only few of those drawn."""
    paths = [f"{folder}/{number}.jpg" for folder in "abcd" for number in range(100)]
    few = set(names(listed(pieces(*paths), limit=40, by_folder=False)))
    more = set(names(listed(pieces(*paths, *(f"e/{n}.jpg" for n in range(40))), limit=40, by_folder=False)))

    assert len(few) == 40
    assert {path[0] for path in few} == set("abcd")
    assert len(few & more) > 25


def test_two_hundred_hostile_files_never_end_the_reading(tmp_path: Path) -> None:
    """Good ones of any kind are read, bad ones are left out for a reason in words, links lead nowhere outside."""
    folder, outside = tmp_path / "photos", tmp_path / "secret" / "outside.jpg"
    outside.parent.mkdir()
    folder.mkdir()
    outside.write_bytes(encoded(picture(9), "JPEG"))
    good, bad, damaged = good_files(), bad_files(), damaged_files(90)
    for name, data in (good | bad | damaged).items():
        (folder / name).write_bytes(data)
    add_links(folder, outside)

    source = open_source(str(folder), Storage())
    listing = source.listing(None, by_folder=False)
    read, reasons = {}, {}
    with without_warnings():
        for photograph in listing.photographs:
            try:
                read[photograph.file.path] = decoded(source.read(photograph.file), SEEN)
            except UnreadableError as error:
                reasons[photograph.file.path] = str(error)

    assert len(listing.photographs) + len(listing.refused) >= 200
    assert set(good) | {"hard-link.jpg"} <= set(read)
    assert set(bad) <= set(reasons)
    assert set(read) | set(reasons) == {*good, *bad, *damaged, "hard-link.jpg"}
    assert all(pixels.shape == (*SEEN, 3) and pixels.dtype == np.uint8 for pixels in read.values())
    assert {reason.partition(":")[0] for reason in reasons.values()} == {
        "it is damaged",
        "it is empty",
        "it is neither JPEG, PNG nor WebP",
        "it has more than 64 million pixels",
        "it is an animation of more than 1000 pictures",
        "it is a JPEG of more than 100 scans",
        "it consists of more than 50,000 segments",
    }
    assert all("\n" not in reason and len(reason) < 250 for reason in reasons.values())
    refused = dict(listing.refused)
    assert refused.pop("link-out.jpg") == refused.pop("link-up.jpg") == "it is a link out of the folder"
    assert refused.pop("link-to-folder") == refused.pop("link-to-parent") == "it is a link to a folder"
    assert refused.pop("link-nowhere.jpg") == refused.pop("link-to-itself.jpg") == "it is a link that leads nowhere"
    assert refused.pop("pipe.jpg") == "it is no regular file"
    assert list(refused.values()) == ["its name is not UTF-8"]


def test_a_link_that_turns_outside_after_the_list_was_made_is_not_followed(tmp_path: Path) -> None:
    """Also a file that was replaced by a pipe, or is gone, is left out."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        (folder / name).write_bytes(encoded(picture(), "PNG"))
    (tmp_path / "secret.png").write_bytes(encoded(picture(), "PNG"))
    source = open_source(str(folder), Storage())
    a, b, c = (photograph.file for photograph in source.listing(None, by_folder=False).photographs)
    for name in ("a.png", "b.png", "c.png"):
        (folder / name).unlink()
    (folder / "a.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(folder / "b.png")

    for piece, reason in ((a, "it is a link out of the folder"), (b, "it is no regular file"), (c, "no longer there")):
        with pytest.raises(UnreadableError, match=reason):
            source.read(piece)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_as_their_data_say(orientation: int) -> None:
    """The pixels are those of Pillow's own turning."""
    data = turned(orientation)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    wide = (expected.height, expected.width)

    np.testing.assert_allclose(decoded(data, wide).astype(int), np.asarray(expected, int), atol=1)


def test_colours_of_every_kind_are_those_of_the_picture() -> None:
    """CMYK, palettes, 16 bits and transparency on white give the colours that a viewer shows."""
    whole = np.asarray(picture(1).resize((64, 64), Image.Resampling.BILINEAR, box=(15, 0, 105, 90)), int)
    files = good_files()

    for name, tolerance in (("a-png.jpg", 2), ("a-jpeg.png", 12), ("palette.png", 60), ("cmyk.jpg", 30)):
        assert np.abs(decoded(files[name], SEEN).astype(int) - whole).mean() < tolerance, name
    grey = decoded(files["sixteen-bits.png"], (90, 120))
    expected = np.linspace(0, 255, 90 * 120).reshape(90, 120)
    np.testing.assert_allclose(grey[..., 0], expected, atol=1)
    clear = Image.new("RGBA", (32, 32), (200, 0, 0, 0))
    clear.paste((0, 100, 0, 255), (0, 0, 16, 32))
    seen = decoded(encoded(clear, "PNG"), (32, 32))
    assert seen[16, 4].tolist() == [0, 100, 0]
    assert seen[16, 28].tolist() == [255, 255, 255]
    first = decoded(encoded(picture(1), "WEBP", lossless=True), SEEN)
    animated = encoded(picture(1), "WEBP", save_all=True, append_images=[picture(2)], lossless=True)
    np.testing.assert_array_equal(decoded(animated, SEEN), first)


def test_the_network_sees_the_middle_and_thumbnails_show_the_same() -> None:
    """A wide picture loses its sides; a part of it is the same part of what the network sees, at most 96 px."""
    wide = Image.new("RGB", (300, 100), (255, 0, 0))
    wide.paste((0, 255, 0), (100, 0, 150, 100))
    wide.paste((0, 0, 255), (150, 0, 200, 100))
    data = encoded(wide, "PNG")

    seen = decoded(data, (50, 50))
    assert seen[:, 2:23].tolist() == [[[0, 255, 0]] * 21] * 50
    assert seen[:, 27:48].tolist() == [[[0, 0, 255]] * 21] * 50
    whole, left, corner = (
        Image.open(io.BytesIO(each)) for each in thumbnails(data, (50, 50), [None, (0, 0, 50, 24), (40, 40, 50, 50)])
    )
    assert (whole.size, left.size, corner.size) == ((96, 96), (46, 96), (96, 96))
    assert whole.format == "WEBP"
    assert np.asarray(left)[..., 1].mean() > 240
    assert np.asarray(corner)[..., 2].mean() > 240


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    """A tar file as WebDataset writes it."""
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as file:
        for name, data in {
            "./001.jpg": encoded(picture(1), "JPEG"),
            "./001.cls": b"terrier\n",
            "./001.txt": b"a dog",
            "002.png": encoded(picture(2), "PNG"),
            "002.cls": b"",
            "rest/003.webp": encoded(picture(3), "WEBP"),
            "LICENCE": b"free",
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("004.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
    return path


def check_tar(address: str) -> None:
    """Make sure that the photographs of the tar file are found and read at an address."""
    source = open_source(address, Storage())
    listing = source.listing(None, by_folder=True)
    assert names(listing) == ["001.jpg", "002.png", "rest/003.webp"]
    assert [each.label for each in listing.photographs] == ["terrier", None, "rest"]
    assert listing.refused == (("004.jpg", "it is no regular file of the tar"),)
    for number, photograph in zip((1, 2, 3), listing.photographs, strict=True):
        close = np.asarray(picture(number), int)
        assert np.abs(decoded(source.read(photograph.file), (90, 120)).astype(int) - close).mean() < 8
    caption = listing.photographs[0].caption
    assert caption is not None
    assert source.read(caption) == b"a dog"


def test_a_tar_file_is_read_without_unpacking(tar: Path) -> None:
    """Classes and captions come from the files beside a photograph; links are left out."""
    check_tar(str(tar))


def test_a_tar_file_on_the_web_is_read_in_parts(tar: Path) -> None:
    """The server is asked for the parts that are needed; one that sends only whole files is refused in one line."""
    with serving(tar.read_bytes(), parts=True) as address:
        check_tar(address)
        source = open_source(address, Storage())
        assert source.version() == '"v1"'
    with serving(tar.read_bytes(), parts=False) as address, pytest.raises(SpecError, match="sends parts of files"):
        open_source(address, Storage())


class serving:  # noqa: N801  (used as a function)
    """Serve one file over HTTP, in parts or only as a whole."""

    def __init__(self, data: bytes, *, parts: bool) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                first, last = 0, len(data) - 1
                if parts:
                    first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
                body = data[first : last + 1]
                self.send_response(206 if parts else 200)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("ETag", '"v1"')
                if parts:
                    self.send_header("Content-Range", f"bytes {first}-{first + len(body) - 1}/{len(data)}")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._handler = Handler

    def __enter__(self) -> str:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_address[1]}/shard.tar"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nothing/here", "expected a folder, s3://bucket/prefix, or a tar file, there is none at"),
        ("ftp://host/photos.tar", "expected a folder, s3://bucket/prefix, or a tar file, got 'ftp://host/photos.tar'"),
        ("s3://", "images.source s3://: expected s3://bucket/prefix, nothing is not a bucket name"),
        ("s3://b c/x.tar", "images.source s3://b c: expected s3://bucket/prefix, b c is not a bucket name"),
        ("https://host/photos", "expected a folder, s3://bucket/prefix, or a tar file, got"),
        ("a" * 5000, "File name too long"),
        ("~nobody-of-that-name/x", "expected a folder"),
    ],
)
def test_an_address_without_photographs_is_refused_in_one_line(address: str, message: str) -> None:
    """The message says what was expected and where it was looked for."""
    with pytest.raises((SpecError, StoreError)) as refused:
        open_source(address, Storage())
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_compressed_or_damaged_tar_is_refused_in_one_line(tmp_path: Path, tar: Path) -> None:
    """Parts of a compressed file cannot be read, and nothing after a damaged place would be found."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as file:
        file.add(tar, "inside.tar")
    for data in (packed.getvalue(), b"noise" * 1000, header(1 << 40, tarfile.GNUTYPE_LONGNAME) + bytes(9999)):
        assert "expected a tar file without compression" in refusal(tmp_path, data)
    assert "a header has more than 256 kB" in refusal(tmp_path, header(1 << 40, tarfile.XHDTYPE) + bytes(9999))
    long_names = (header(512, tarfile.GNUTYPE_LONGNAME) + bytes(512)) * 3000
    assert "a header has more than 256 kB" in refusal(tmp_path, long_names)

    good = tar.read_bytes()
    third = good.index(b"002.png")
    for rest, reason in (
        (b"x" + good[third + 1 :], "the next file has no header"),
        (good[third : third + 100], "the next file has no header"),
        (good[third : third + 700], "unexpected end of data"),
        (header(1 << 62) + bytes(1024), "unexpected end of data"),
        (header(-512) + bytes(1024), "a file has a negative size"),
    ):
        said = refusal(tmp_path, good[:third] + rest)
        assert "expected a whole tar file, it is damaged at byte" in said
        assert reason in said


def refusal(folder: Path, data: bytes) -> str:
    """Return the one line with which a tar file is refused."""
    (folder / "bad.tar").write_bytes(data)
    with pytest.raises(SpecError) as refused:
        open_source(str(folder / "bad.tar"), Storage()).listing(None, by_folder=False)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def header(size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return a header of a tar file that says any size."""
    member = tarfile.TarInfo("name")
    member.type = kind
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = size.to_bytes(12, "big", signed=True) if size < 0 else b"\x80" + size.to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_files_of_a_tar_have_any_name(tmp_path: Path) -> None:
    """Nothing is unpacked, so a path out of the folder is a name; names that are not UTF-8 are left out."""
    named = ["../../up/1.jpg", "/etc/2.jpg", "写真\u30003.jpg", "two\nlines.jpg", "a/../4.jpg", "latin-\udce9.jpg"]
    with tarfile.open(tmp_path / "names.tar", "w", format=tarfile.GNU_FORMAT) as file:
        for name in named:
            file.addfile(tarfile.TarInfo(name))
    found = open_source(str(tmp_path / "names.tar"), Storage()).listing(None, by_folder=False)

    assert names(found) == ["a/4.jpg", "etc/2.jpg", "two\nlines.jpg", "up/1.jpg", "写真\u30003.jpg"]
    assert found.refused == (("latin-?.jpg", "its name is not UTF-8"),)


def test_a_folder_that_holds_a_whole_tar_is_its_root(tmp_path: Path) -> None:
    """Then the folders in it are classes, and the licence stands in it; systems add hidden files beside it."""
    with tarfile.open(tmp_path / "photos.tar", "w") as file:
        for name in ("./._photos", "./photos/LICENSE", "./photos/cat/1.jpg", "./photos/dog/2.jpg"):
            file.addfile(tarfile.TarInfo(name))
    found = open_source(str(tmp_path / "photos.tar"), Storage()).listing(None, by_folder=True)

    assert (names(found), found.labels) == (["cat/1.jpg", "dog/2.jpg"], ["cat", "dog"])
    assert found.licence is not None


def test_a_file_that_may_not_be_read_is_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is looked at again by the next command, when it may perhaps be read."""
    for name in ("mine.png", "secret.png"):
        (tmp_path / name).write_bytes(encoded(picture(), "PNG"))
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name == "mine.png")  # tests may run as root

    found = open_source(str(tmp_path), Storage()).listing(None, by_folder=False)
    assert (names(found), found.refused) == (["mine.png"], (("secret.png", "it cannot be read, Permission denied"),))


def test_large_pictures_are_decoded_one_at_a_time_and_converted_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory is bounded; the pixels are those of pictures that are converted at once."""
    files = good_files()
    at_once = {name: decoded(data, SEEN) for name, data in files.items()}
    waiting: list[str] = []

    class Turn:
        def __enter__(self) -> None:
            waiting.append(name)

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(decoding, "_alone", Turn())
    monkeypatch.setattr(decoding, "_LARGE_PIXELS", 5000)
    monkeypatch.setattr(decoding, "_BAND_PIXELS", 700)
    with without_warnings():
        for name, data in files.items():
            np.testing.assert_array_equal(decoded(data, SEEN), at_once[name], err_msg=name)
        name = "halved"
        decoded(encoded(picture(1, (140, 140)), "JPEG"), SEEN)

    assert set(files) - set(waiting) == {"tiny.png", "line.png"}
    assert "halved" not in waiting
