"""Files of models on this machine: at the path in the spec, or downloaded once into a cache folder.

A downloaded file is named by its sha256, so the cache is never out of date and files from several addresses do not
collide. A partial download has the suffix `.part` and is resumed. The file appears only when it is complete and its
sha256 is right.
"""

from __future__ import annotations

import hashlib
import http.client
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

from core.addresses import without_secrets
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


def local_file(file: str, sha256: str | None, section: str, what: str) -> Path:
    """Return a file on this machine; download it unless it is in the cache.

    Args:
        file: its path or address.
        sha256: its sha256 in hex, which is always given for an address.
        section: section of the spec whose keys are `file` and `sha256`, for messages.
        what: what the file has, for messages.

    Raises:
        ModelError: if there is no such file, or its sha256 is another one.
    """
    if is_remote(file):
        assert sha256 is not None
        return _cached(file, sha256, section)
    path = local_path(file)
    if not path.is_file():
        raise ModelError(f"{section}.file: expected {what}, there is no file {path}")
    if sha256 is not None:
        _check_sha256(path, sha256, "give the right file, or the sha256 of this file")
    return path


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


def _check_sha256(path: Path, wanted: str, remedy: str) -> None:
    found = file_sha256(path)
    if found != wanted:
        raise ModelError(f"{path}: expected a file with sha256 {wanted}, found {found}; {remedy}")


def _cached(address: str, sha256: str, section: str) -> Path:
    """Return the file of an address in the cache; download it unless it is there."""
    final = _place(address, sha256)
    try:
        if not final.is_file():
            final.parent.mkdir(parents=True, exist_ok=True)
            with locked(final.parent / f"{sha256}.lock"):
                if not final.is_file():  # another process may have downloaded it while this one waited
                    _download(address, sha256, final, section)
    except OSError as error:
        raise ModelError(f"{final.parent}: cannot store weights there, {error.strerror}; set {CACHE}") from None
    _check_sha256(final, sha256, "remove it, and it is downloaded again")  # it may have been put there by hand
    return final


def _place(address: str, sha256: str) -> Path:
    """Return the path of the file of an address in the cache."""
    suffix = Path(address).suffix
    return cache_folder() / f"{sha256}{suffix if suffix.isascii() and suffix[1:].isalnum() else ''}"


def _download(address: str, sha256: str, final: Path, section: str) -> None:
    """Download a file beside its final path, resume a partial download, and rename it when its sha256 is right."""
    part = final.parent / f"{sha256}.part"
    by_hand = f"download it by hand and put it at {final.absolute()}"
    have = part.stat().st_size if part.exists() else 0
    opened = _open_s3 if address.startswith("s3://") else _open_http
    try:
        with opened(address, have) as (blocks, resumed), part.open("ab" if resumed else "wb") as file:
            for block in blocks:
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
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


@contextmanager
def _open_http(address: str, have: int) -> Iterator[tuple[Iterator[bytes], bool]]:
    """Yield the blocks of a file, and whether they begin at byte *have* as asked, or at the start."""
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    if login := _login(request.host):
        request.add_unredirected_header("Authorization", f"Basic {login}")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
            resumed = answer.status == 206 and str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-")
            length = answer.headers.get("Content-Length")
            yield _blocks(answer, int(length) if length else None), resumed
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # the partial file is complete or too long, which its sha256 will show
            yield iter(()), True
            return
        raise _DownloadError(f"the server says {error.code} {without_secrets(error.reason)}") from None
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
def _open_s3(address: str, have: int) -> Iterator[tuple[Iterator[bytes], bool]]:
    """Do the same as `_open_http` for an object, with the endpoint and credentials of boto3's environment."""
    from core.store.s3 import read_from

    try:
        yield read_from(address, have), bool(have)
    except StoreError as error:
        raise _DownloadError(str(error)) from None
