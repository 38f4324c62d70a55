"""Secrets in addresses: user and password, and queries, which sign an address or hold a token.

An address in a spec is published with the atlas, and messages are stored in logs, so neither may have a secret.
"""

from __future__ import annotations

import re

_PLAIN_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:@\\]*)(:[0-9]*)?")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^\s'\"<>]*)")
_QUERY = re.compile(r"[?&#][\w.%~-]+=[^\s'\"<>]*")
_USER = re.compile(r"(?<![^\s'\"(=/])[^\s'\"(=:/@]+:[^\s'\"/@]+@(?=[\w\[])")
_PUNCTUATION = ".,;:)]"

PUBLIC_ADDRESS = r"^(?!.*://[^/]*@)(?!.*://[^/\[]*:[^0-9])(?!.*://[^#?]*[?#])"
"""The text of an address without secrets, for servers that check parameters by a JSON schema."""


def has_secret(address: str) -> bool:
    """Return whether an address has a user, a password, a query or a fragment; a path has none of these."""
    _, separator, rest = address.partition("://")
    return bool(separator) and (re.search(r"[?#]", rest) is not None or not _is_plain(rest))


def without_secrets(text: object) -> str:
    """Return a text without the users, passwords and queries of the addresses in it."""
    return _USER.sub("", _QUERY.sub("?...", _ADDRESS.sub(_public, str(text))))


def _is_plain(rest: str) -> bool:
    """Return whether an address, from behind `://` on, begins with a host, or a host and a port."""
    return _PLAIN_HOST.fullmatch(re.split(r"[/?#]", rest, maxsplit=1)[0]) is not None


def _public(found: re.Match[str]) -> str:
    scheme, rest = found.groups()
    end = rest[len(rest.rstrip(_PUNCTUATION)) :]
    rest = rest.removesuffix(end)
    if not _is_plain(rest):  # a password may have any character, so the host begins after the last @
        before, _, rest = rest.rpartition("@")
        rest = rest if before else rest.partition(":")[0]
    place = re.split(r"[?#](?=.)", rest, maxsplit=1)
    return scheme + place[0] + ("?..." if len(place) > 1 else "") + end
