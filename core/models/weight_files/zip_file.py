"""The directory of a zip file, as untrusted input: each member is a part of the file of its own.

The directory of a zip file may contradict the headers of its members. Here both must name the same members, none may
overlap another one or leave the file, and the directory has at most a megabyte.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from core.errors import ModelError
from core.models.graph.safety import quoted

STORED, DEFLATED = 0, 8
"""Methods: values as they are, and zlib's compression."""
_OTHER = -1

# The records of a zip file, without the fields that do not matter here.
_END = struct.Struct("<4s4x2H2I2x")  # entries on this disk, entries, size and place of the directory
_ENTRY = struct.Struct("<4s4x2H4x3I3H8xI")  # flags, method, checksum, sizes, lengths of name, extra, comment; place
_LOCAL = struct.Struct("<4s22x2H")  # lengths of name and extra
_END_MARK, _ENTRY_MARK, _LOCAL_MARK = b"PK\5\6", b"PK\1\2", b"PK\3\4"
_ENCRYPTED = 1
_LARGEST_DIRECTORY = 1 << 20


class Member(NamedTuple):
    """A member of a zip file: *packed* bytes from *start* on.

    Attributes:
        size: number of bytes when it is unpacked; the same as *packed* if it is stored as it is.
        method: STORED, DEFLATED, or another number for members that cannot be read here.
        checksum: CRC-32 of the unpacked bytes.
    """

    start: int
    packed: int
    size: int
    method: int
    checksum: int


class _Entry(NamedTuple):
    """An entry of the directory; *place* is that of the member's header."""

    place: int
    name: str
    packed: int
    size: int
    method: int
    checksum: int


def members_of(file: BinaryIO) -> dict[str, Member]:
    """Return the members of a zip file by name, each of which is a part of the file of its own.

    Raises:
        ModelError: if the directory is missing or too large, members overlap or leave the file, or two have one name.
    """
    file_size = os.fstat(file.fileno()).st_size
    file.seek(max(0, file_size - _END.size))
    mark, here, entries, directory_size, directory = _END.unpack(file.read(_END.size))
    if mark != _END_MARK:
        raise ModelError(
            "expected the directory of a zip file at its end, found something else; the file may be cut short"
        )
    if here != entries or directory + directory_size > file_size - _END.size or directory_size > _LARGEST_DIRECTORY:
        raise ModelError(
            f"refused: the zip file announces a directory of {entries:,} members in {directory_size:,} bytes"
        )
    file.seek(directory)
    members: dict[str, Member] = {}
    end = 0  # of the member before, in the order of the file
    for entry in sorted(_entries(file.read(directory_size), entries)):
        if entry.name in members:
            raise ModelError(f"refused: two members of the zip file have the name {quoted(entry.name)}")
        if entry.place < end:
            raise ModelError(f"refused: member {quoted(entry.name)} of the zip file overlaps another one")
        start = _start(file, entry)
        end = start + entry.packed
        if end > directory:
            raise ModelError(
                f"refused: member {quoted(entry.name)} of the zip file claims {entry.packed:,} bytes beyond its place"
            )
        members[entry.name] = Member(start, *entry[2:])
    return members


def _entries(directory: bytes, count: int) -> Iterator[_Entry]:
    """Yield the entries of the directory of a zip file."""
    position = 0
    for _ in range(count):
        fields = _ENTRY.unpack_from(directory, position)
        mark, flags, method, checksum, packed, size, name_length, extra, comment, place = fields
        start = position + _ENTRY.size
        if mark != _ENTRY_MARK:
            raise ModelError("expected an entry in the directory of the zip file, found something else")
        name = directory[start : start + name_length].decode("utf-8")
        readable = not flags & _ENCRYPTED and (method == DEFLATED or (method == STORED and packed == size))
        yield _Entry(place, name, packed, size, method if readable else _OTHER, checksum)
        position = start + name_length + extra + comment
    if position != len(directory):
        raise ModelError(
            f"refused: the directory of the zip file has more than the {count:,} members that it announces"
        )


def _start(file: BinaryIO, entry: _Entry) -> int:
    """Return where the bytes of a member begin, after its own header, which has the same name as its entry."""
    file.seek(entry.place)
    mark, name_length, extra = _LOCAL.unpack(file.read(_LOCAL.size))
    if mark != _LOCAL_MARK or file.read(name_length) != entry.name.encode():
        raise ModelError(f"refused: member {quoted(entry.name)} of the zip file has another header than its entry")
    start: int = entry.place + _LOCAL.size + name_length + extra
    return start
