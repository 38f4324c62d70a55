"""Errors that a person can fix, as one family of classes, and functions for the text of their messages.

Each message is one line that says what was expected, what was found, where, and what to do. The command line prints it
and exits with code 2; a traceback appears only for faults of Isthmus itself. Only a `TransientStoreError` is worth a
retry: after any other error the same input fails again.
"""

from __future__ import annotations

import re
import reprlib
from typing import TYPE_CHECKING, Any

from core.addresses import without_secrets

if TYPE_CHECKING:
    from pydantic import ValidationError

LONGEST = 60
"""Upper bound on the characters of a value that a message quotes."""


class IsthmusError(Exception):
    """Base of all errors that a person can fix.

    Attributes:
        field: the wrong key of a spec, if it is known; otherwise only the message may name it.
    """

    def __init__(self, message: str = "", *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class SpecError(IsthmusError):
    """A spec that cannot be read, or asks for something impossible."""


class UnknownLayerError(SpecError):
    """A layer that the model does not have; the message lists layers with similar names."""


class ModelError(IsthmusError):
    """Weights that are missing, damaged or refused."""


class ShapeError(IsthmusError):
    """An array or tensor of the wrong shape; the message has both shapes."""


class StoreError(IsthmusError):
    """The object store cannot do what was asked; the message has the address and the action."""


class TransientStoreError(StoreError):
    """A fault of an object store or of the network that may pass: the same call is worth a retry."""


class RecordError(IsthmusError):
    """A record, plan or manifest that this version cannot read; the message has file, line and field."""


class DeviceError(IsthmusError):
    """A device that cannot do what the settings ask for; the message has what it can do."""


class UnfinishedError(IsthmusError):
    """A build that could not render all pairs; the message has the number of missing pairs and where to look."""


class RenderDivergedError(IsthmusError):
    """An objective that is no longer a finite number; the message has the update."""


def first_mistake(error: ValidationError, whole: str) -> str:
    """Return the first mistake in stored JSON: its field, or *whole* if it is not in one field, and the reason."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or whole
    return f"{field}: {first['msg']}"


def short(value: Any) -> str:
    """Return any value, however large or deep, in one line of at most `LONGEST` characters, without secrets."""
    if value is None:
        return "nothing"
    shorten = _Public()
    shorten.maxlevel, shorten.maxstring, shorten.maxlong, shorten.maxother = 3, LONGEST, LONGEST, LONGEST
    try:
        text = shorten.repr(value)
    except ValueError:  # Python does not write out whole numbers of thousands of digits
        return "a number with thousands of digits"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


class _Public(reprlib.Repr):
    """Shortens values, after the secrets of addresses are gone: the middle of a text is cut out, perhaps with the @."""

    def repr_str(self, text: str, level: int) -> str:
        return super().repr_str(without_secrets(text), level)


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun, such as 1 pair or 1,000 pairs."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def one_line(error: Exception) -> str:
    """Return another library's message in one line of at most 200 characters, without colours and secrets."""
    text = without_secrets(" ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."
