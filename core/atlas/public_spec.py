"""The published part of a spec: what an atlas is, without the machine that built it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core.addresses import without_secrets

_OF_THE_MACHINE = ("output", "compute", "storage", "labels")
"""Keys that are left out. Labels are published with the index, so a reader needs no file of them."""
_DOWNLOADED = ("https://", "http://", "s3://")


def public_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec that is published: without the keys that tell about the machine, and without folders in paths.

    It builds the same strips, after a reader has put the files of the model, and the photographs, into the folder of
    the spec.

    Args:
        spec: the data of a spec, which a build has stored, perhaps one of an older version.
    """
    public = {key: _without_secrets(value) for key, value in spec.items() if key not in _OF_THE_MACHINE}
    model = public.get("model")
    _leave_name(model, "file")
    _leave_name(public.get("images"), "source")
    derived = model.get("derived") if isinstance(model, dict) else None
    for section in derived.values() if isinstance(derived, dict) else ():
        _leave_name(section, "file")
    return public


def _leave_name(section: Any, key: str) -> None:
    """Put the name of a file in place of its path, if a section of a spec has one."""
    if isinstance(section, dict) and isinstance(section.get(key), str):
        section[key] = _file_name(section[key])


def _file_name(file: str) -> str:
    """Return the name of a file in a local folder; return an address from which it is downloaded as it is."""
    return file if file.startswith(_DOWNLOADED) else re.split(r"[/\\]", file.rstrip("/\\"))[-1]


def _without_secrets(value: Any) -> Any:
    """Return a value without secrets, which a spec of an older version may have in its addresses."""
    if isinstance(value, Mapping):
        return {key: _without_secrets(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_secrets(inner) for inner in value]
    return without_secrets(value) if isinstance(value, str) else value
