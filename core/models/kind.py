"""Kinds of image model, which the name of a model in a spec selects, and checks of keys that several kinds share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.errors import SpecError, short
from core.models.model import Model
from core.models.weights import is_remote
from core.spec import ModelSpec


@dataclass(frozen=True)
class ModelKind:
    """A kind of image model, with everything that only this kind needs.

    A new kind is a module with a `KIND` and a row of the table in `core.models.models`, documented in docs/models.md.
    A key that no kind has had so far is also a field of `core.spec.ModelSpec`, and an option of the command line.

    Attributes:
        name: its name in a spec; `family:NAME` stands for all names of a family, such as keras:VGG16.
        summary: one line that `isthmus models` prints.
        load: loads the model of a checked spec. It calls `core.machine.device.prepare` before TensorFlow computes
            anything. It raises ModelError if the weights are missing, damaged or refused.
        keys: the keys of `ModelSpec`, beside the name, that it uses; all others are refused.
        check: checks the values of these keys, as far as that needs neither files nor TensorFlow. It raises SpecError
            with a message that begins with the key.
    """

    name: str
    summary: str
    load: Callable[[ModelSpec], Model]
    keys: tuple[str, ...] = ()
    check: Callable[[ModelSpec], object] | None = None


def check_file_is_given(spec: ModelSpec) -> str:
    """Return the `file` of a model that needs one.

    Raises:
        SpecError: if it is missing.
    """
    if spec.file is None:
        raise SpecError(f"file: missing; {spec.name} needs it")
    return spec.file


def check_file(spec: ModelSpec) -> None:
    """Make sure that a model has a `file`: a path, or an address and a `sha256`.

    Raises:
        SpecError: if the file or its sha256 is missing, or the address is not https:// or s3://.
    """
    check_address(check_file_is_given(spec), spec.sha256)


def check_address(file: str, sha256: str | None) -> None:
    """Make sure that a file is given by a path, or by an address that can be downloaded and a sha256.

    Raises:
        SpecError: with a message that begins with the key, `file` or `sha256`.
    """
    if not is_remote(file):
        return
    if not file.startswith(("https://", "s3://", "http://127.0.0.1:")):
        raise SpecError(f"file: expected a path, https:// or s3://, got {short(file)}")
    if sha256 is None:
        raise SpecError("sha256: missing; a file that is downloaded needs its sha256")
