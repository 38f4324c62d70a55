"""Guards against the environment that a user starts Isthmus in: proxies, homes, closed standard streams.

`settle` is called once, when `flows` is imported, so that it holds for the command line and for flow runs of workers.
Processes that they start inherit the result.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.request import getproxies_environment

from core.errors import SpecError

CACHE = "ISTHMUS_CACHE"
"""Name of the environment variable for the cache folder."""
_ON_DISK = Path("/var/tmp")  # survives a restart, so it is not in memory
TEMPORARY_FOLDERS = "isthmus-prefect-"
"""Beginning of the names of all temporary folders."""
_KERAS_HOME = "KERAS_HOME"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ALL_HOSTS = "*"


def settle() -> None:
    """Open closed standard streams, bypass proxies on the loopback, choose the folders of temporary files and Keras."""
    _open_standard_streams()
    bypass_proxies(_LOOPBACK)
    _choose_temporary_folder()
    _choose_keras_home()


def cache_folder() -> Path:
    """Return the folder for everything that Isthmus keeps outside of atlases, such as weights and measured paces.

    It is ISTHMUS_CACHE, or `~/.cache/isthmus`. If there is no home, or that folder can neither be read nor be created,
    it is a folder of this user beside other temporary files.

    Raises:
        SpecError: if there is no such folder either.
    """
    given = os.environ.get(CACHE)
    if given:
        return Path(os.path.expanduser(given)).absolute()  # noqa: PTH111  (Path.expanduser raises without a home)
    home = _home()
    if home is not None:
        folder = home / ".cache" / "isthmus"
        if is_usable(folder) or os.access(folder, os.R_OK | os.X_OK):
            return folder
    return _temporary_cache()


def is_usable(folder: Path) -> bool:
    """Return whether a folder can be written, or can be created."""
    existing = next(path for path in (folder, *folder.parents) if os.access(path, os.F_OK) or path == path.parent)
    return os.access(existing, os.W_OK | os.X_OK) and existing.is_dir()


def ensure_home() -> None:
    """Give a home to this process, and to those that it starts, unless it has one; Prefect cannot load without."""
    if _home() is None:
        os.environ["HOME"] = os.environ[CACHE] = str(cache_folder())


def temporary_files() -> Path:
    """Return the folder for temporary files, which processes share.

    Raises:
        SpecError: if there is none.
    """
    try:
        return Path(tempfile.gettempdir()).absolute()
    except OSError as error:
        raise SpecError(
            f"TMPDIR: expected a folder for temporary files, {error.strerror}; set TMPDIR or {CACHE}"
        ) from None


def large_temporary_files() -> Path:
    """Return the folder for temporary files of several gigabytes: TMPDIR if it is set, or else one on a disk.

    The usual folder may be in memory.

    Raises:
        SpecError: if there is none.
    """
    if "TMPDIR" not in os.environ and os.access(_ON_DISK, os.W_OK | os.X_OK):
        return _ON_DISK
    return temporary_files()


def temporary_folder(name: str) -> Path:
    """Create a temporary folder that only this user can read, and lock it until this process ends.

    The name of the folder begins with `TEMPORARY_FOLDERS` and *name*. The lock shows that the folder is in use.

    Raises:
        SpecError: if no folder for temporary files can be written.
    """
    parent = temporary_files()
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY_FOLDERS}{name}", dir=parent))
    except OSError as error:  # such as a full disk
        raise SpecError(f"{parent}: cannot store temporary files there, {error.strerror}; set TMPDIR") from None
    with suppress(OSError):  # some file systems have no locks
        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)
    return folder


def bypass_proxies(hosts: Sequence[str]) -> None:
    """Add hosts to those that this process, and those that it starts, reach without a proxy, if a proxy is set.

    Some libraries read `no_proxy` and others NO_PROXY, so both are written.
    """
    if not getproxies_environment().keys() - {"no"}:
        return
    given = {name: os.environ.get(name) for name in ("no_proxy", "NO_PROXY")}
    either = given["no_proxy"] or given["NO_PROXY"] or ""
    for name, value in given.items():
        listed = [entry for entry in (value or either).split(",") if entry.strip()]
        if listed != [_ALL_HOSTS]:  # most libraries know this only as the one entry
            listed += [host for host in hosts if host not in map(str.strip, listed)]
        os.environ[name] = ",".join(listed)


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # HOME is not set, and the user has no entry in the password database
        return None


def _temporary_cache() -> Path:
    folder = temporary_files() / f"isthmus-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.lstat().st_uid == os.getuid():  # another user could have created it, and put a file there
            return folder
        reason = "belongs to another user"
    except OSError as error:
        reason = f"cannot be created, {error.strerror}"
    raise SpecError(
        f"{CACHE}: expected a folder for weights, the home cannot be written, and {folder} {reason}; set it"
    )


def _choose_temporary_folder() -> None:
    """Use ISTHMUS_CACHE for temporary files if Python finds no folder for them, or only the current folder."""
    with suppress(OSError):
        if tempfile.gettempdir() != os.getcwd():  # noqa: PTH109  (both are text)
            return
    if os.environ.get(CACHE):
        folder = cache_folder() / "tmp"
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


def _choose_keras_home() -> None:
    """Let Keras keep its downloads in our cache folder, unless there are some in the home or Keras may put them there.

    If ISTHMUS_CACHE is set, nothing new is written in the home.
    """
    home = _home()
    keras = home and home / ".keras"
    if os.environ.get(_KERAS_HOME) or (keras and os.access(keras / "models", os.R_OK | os.X_OK)):
        return
    if os.environ.get(CACHE) or keras is None or not is_usable(keras):
        with suppress(SpecError):  # not every command needs a cache folder; those that do meet the same error
            os.environ[_KERAS_HOME] = str(cache_folder() / "keras")


def _open_standard_streams() -> None:
    """Open the null device in place of closed standard streams.

    Otherwise the next file that is opened gets the number of the closed stream, and programs would read or write it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # open returns the lowest free number, which is this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115  (open until the process ends)
