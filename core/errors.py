"""Everything that can go wrong through no fault of ours, as one small family.

Each message is one line that says what was expected, what came, where, and what to do. The command line prints it and
leaves with code 2; a traceback is for our own faults only. Only a `TransientStoreError` is worth a retry: whatever else
it is, the same input fails again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class IsthmusError(Exception):
    """Base of all errors that a person can mend."""


class SpecError(IsthmusError):
    """A spec that cannot be read, or asks for something impossible."""


class UnknownLayerError(SpecError):
    """A layer that the model does not have; the message lists near ones."""


class ModelError(IsthmusError):
    """Weights that are missing, damaged or refused."""


class ShapeError(IsthmusError):
    """An array or tensor of the wrong shape; the message has both shapes."""


class StoreError(IsthmusError):
    """The object store cannot do what was asked; the message has the address and the action."""


class TransientStoreError(StoreError):
    """Trouble of an object store or of the way to it that may pass by itself: the same call is worth another try."""


class RecordError(IsthmusError):
    """A record, plan or manifest that is not what this version writes; the message has file, line and field."""


class DeviceError(IsthmusError):
    """A device that cannot do what the settings ask for; the message has what would fit."""


class UnfinishedError(IsthmusError):
    """A build that could not render all pairs; the message says how many are missing and where to look."""


class RenderDivergedError(IsthmusError):
    """An objective that is no longer a finite number; the message has the update."""


def first_mistake(error: ValidationError, whole: str) -> str:
    """The first thing that is wrong with stored JSON: its field, or *whole* where that is not one field, and why."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or whole
    return f"{field}: {first['msg']}"
