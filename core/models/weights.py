"""Files of models on this machine: at the path in the spec, or downloaded once into a cache folder.

A downloaded file is named by its sha256, so the cache is never out of date and files from several addresses do not
collide. A partial download has the suffix `.part` and is resumed. The file appears only when it is complete and its
sha256 is right.
"""

from __future__ import annotations

import hashlib
import http.client
import math
import os
import re
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Protocol

from core.errors import ModelError, StoreError, one_line
from core.machine.environment import CACHE, cache_folder
from core.machine.lock import locked
from core.spec import ModelSpec

_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60


def is_remote(file: str) -> bool:
    """Return whether the `file` of a model is an address rather than a path."""
    return "://" in file


def local_path(file: str) -> Path:
    """Return the path that the `file` of a model names, with `~` expanded."""
    return Path(os.path.expanduser(file))  # noqa: PTH111  (Path.expanduser raises if there is no such user)


def local_weights(spec: ModelSpec) -> Path:
    """Return the weights file of a model on this machine; download it unless it is in the cache.

    Raises:
        ModelError: if there is no such file, or its sha256 is not the one in the spec.
    """
    assert spec.file is not None
    return local_file(spec.file, spec.sha256, "model", f"the weights of {spec.name}")


def local_file(file: str, sha256: str | None, section: str, what: str, *, most: float = math.inf) -> Path:
    """Return a file on this machine; download it unless it is in the cache.

    Args:
        file: its path or address.
        sha256: its sha256 in hex, which is always given for an address.
        section: section of the spec whose keys are `file` and `sha256`, for messages.
        what: what the file has, for messages.
        most: upper bound on the bytes of a download.

    Raises:
        ModelError: if there is no such file, or its sha256 is another one.
    """
    if is_remote(file):
        assert sha256 is not None
        return _cached(file, sha256, section, most)
    path = local_path(file)
    if not os.path.isfile(path):  # noqa: PTH113  (false if the name is too long)
        beside = "" if path.is_absolute() or section != "model" else ", and none beside the spec"
        raise ModelError(f"{section}.file: expected {what}, there is {_nothing_at(path)}{beside}")
    if sha256 is not None:
        _check_sha256(path, sha256, "give the right file, or the sha256 of this file", f"{section}.file ")
    return path


def _nothing_at(path: Path) -> str:
    """Return what is at a path without a file, in words that have the whole path."""
    kind = "a folder, a pipe or a device, and no file," if os.path.exists(path) else "no file"  # noqa: PTH110
    return f"{kind} {path.absolute()}"


def are_here(spec: ModelSpec) -> bool:
    """Return whether a model can be loaded without a download."""
    for each in (spec.derived or {}).values():
        if each.sha256 is not None and is_remote(each.file) and not _place(each.file, each.sha256).is_file():
            return False
    if spec.file is not None and spec.sha256 is not None and is_remote(spec.file):
        return _place(spec.file, spec.sha256).is_file()
    family, _, name = spec.name.partition(":")
    if family == "keras" and name and spec.weights != "none":
        kept = local_path(os.environ.get("KERAS_HOME") or "~/.keras") / "models"
        words = (re.sub("[^a-z0-9]", "", path.name.lower()) for path in kept.glob("*"))
        return any(word.startswith(name.lower()) for word in words)
    return True


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, in hex.

    Raises:
        ModelError: if it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_CHUNK_BYTES):
                digest.update(block)
    except OSError as error:
        raise ModelError(f"{path}: expected a file with weights, {error.strerror}") from None
    return digest.hexdigest()


def _check_sha256(path: Path, wanted: str, remedy: str, key: str = "") -> None:
    found = file_sha256(path)
    if found != wanted:
        raise ModelError(f"{key}{path}: expected a file with sha256 {wanted}, found {found}; {remedy}")


def _cached(address: str, sha256: str, section: str, most: float) -> Path:
    """Return the file of an address in the cache; download it unless it is there."""
    final = _place(address, sha256)
    try:
        if not final.is_file():
            final.parent.mkdir(parents=True, exist_ok=True)
            with locked(final.parent / f"{sha256}.lock"):
                if not final.is_file():  # another process may have downloaded it while this one waited
                    _download(address, sha256, final, section, most)
    except OSError as error:
        raise ModelError(f"{final.parent}: cannot store weights there, {error.strerror}; set {CACHE}") from None
    _check_sha256(final, sha256, "remove it, and it is downloaded again")  # it may have been put there by hand
    return final


def _place(address: str, sha256: str) -> Path:
    """Return the path of the file of an address in the cache."""
    suffix = Path(address).suffix
    return cache_folder() / f"{sha256}{suffix if suffix.isascii() and suffix[1:].isalnum() else ''}"


def _download(address: str, sha256: str, final: Path, section: str, most: float) -> None:
    """Download a file beside its final path, resume a partial download, and rename it when its sha256 is right.

    A file of more than *most* bytes is refused when the server tells its size, or else after that many bytes.
    """
    part = final.parent / f"{sha256}.part"
    by_hand = f"download it by hand and put it at {final.absolute()}"
    have = part.stat().st_size if part.exists() else 0
    opened = _open_s3 if address.startswith("s3://") else _open_http
    try:
        with opened(address, have) as (blocks, resumed, length), part.open("ab" if resumed else "wb") as file:
            size = have if resumed else 0
            _check_size(size + (length or 0), most)
            for block in blocks:
                size += len(block)
                _check_size(size, most)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
    except _TooLargeError as error:
        part.unlink()
        raise ModelError(f"{section}.file {address}: refused: {error}") from None
    except _DownloadError as error:
        raise ModelError(
            f"{section}.file {address}: could not be downloaded, {error}; try again, or {by_hand}"
        ) from None
    found = file_sha256(part)
    if found != sha256:
        part.unlink()
        raise ModelError(
            f"{section}.file {address}: expected a file with sha256 {sha256}, got {found}; "
            f"correct {section}.sha256 if that is the right file, or {by_hand}"
        )
    part.replace(final)


class _DownloadError(Exception):
    """A failed download; the message is its cause in a few words."""


class _TooLargeError(Exception):
    """A file that is larger than wanted; the message has both sizes."""


def _check_size(size: int, most: float) -> None:
    if size > most:
        raise _TooLargeError(f"it has at least {size:,} bytes, expected at most {most:,}; make it smaller")


class _Body(Protocol):
    """The body of a response, over HTTP or from boto3."""

    def read(self, amount: int = ..., /) -> bytes: ...


def _blocks(body: _Body, expected: int | None) -> Iterator[bytes]:
    """Yield the blocks of a body, and raise if it ends before the *expected* number of bytes."""
    got = 0
    while block := body.read(_CHUNK_BYTES):
        got += len(block)
        yield block
    if expected is not None and got < expected:
        raise _DownloadError(f"the connection ended after {got:,} of {expected:,} bytes")


_Opened = Iterator[tuple[Iterator[bytes], bool, int | None]]
"""The blocks of a file, whether they begin at the byte that was asked for or at the start, and their length."""


@contextmanager
def _open_http(address: str, have: int) -> _Opened:
    """Yield the blocks of a file from byte *have* on, or from the start if the server knows no ranges."""
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    if login := _login(request.host):
        request.add_unredirected_header("Authorization", f"Basic {login}")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
            resumed = answer.status == 206 and str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-")
            given = answer.headers.get("Content-Length")
            length = int(given) if given else None
            yield _blocks(answer, length), resumed, length
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # the partial file is complete or too long, which its sha256 will show
            yield iter(()), True, None
            return
        raise _DownloadError(f"the server says {error.code} {one_line(OSError(error.reason))}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None)
        raise _DownloadError(one_line(reason if isinstance(reason, Exception) else error)) from None


def _login(host: str) -> str | None:
    """Return user and password of a host from the user's netrc file, as HTTP encodes them, or None.

    Raises:
        ModelError: if the file cannot be read.
    """
    path = Path(os.environ.get("NETRC") or local_path("~/.netrc"))
    try:
        found = netrc(path).hosts.get(host.partition(":")[0])
    except FileNotFoundError:
        return None
    except (OSError, NetrcParseError, UnicodeDecodeError):  # the text of the error may have a password
        raise ModelError(f"{path}: expected a netrc file that can be read; correct it or set NETRC") from None
    return found and b64encode(f"{found[0]}:{found[2]}".encode()).decode()


@contextmanager
def _open_s3(address: str, have: int) -> _Opened:
    """Do the same as `_open_http` for an object, with the endpoint and credentials of boto3's environment."""
    from core.store.s3 import read_from

    try:
        yield read_from(address, have), bool(have), None
    except StoreError as error:
        raise _DownloadError(str(error)) from None
