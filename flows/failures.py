"""The end of a command: its exit code, and what a failure prints.

A failure is one line on standard error. With --json it is also one JSON object on standard output, whatever the cause.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from itertools import takewhile
from typing import TextIO

from core.addresses import without_secrets
from core.errors import IsthmusError, RenderDivergedError, one_line
from flows.terminal import INTERRUPTED_CODES, RESUME, errors, interruptible

_QUOTED = re.compile(r"(?<!\w)('[^']*'|\"[^\"]*\")(?!\w)")
_FIELD = re.compile(
    r"(?:^|[:,] )((?:model|pairs|render|compute|storage)(?:\.[^\s:]+)+|(?:output|model|pairs)(?=[: ])"
    r"|--[a-z][a-z0-9-]*|[A-Z][A-Z0-9]*_[A-Z0-9_]+)(?=[:, ])"
)


@dataclass(frozen=True)
class Failure:
    """A failure as --json prints it.

    Attributes:
        error: the line that standard error has, without the program's name.
        field: the key of the spec, the option or the environment variable that is wrong, if the error is about one.
        what_to_do: the remedy, if the line has one.
    """

    error: str
    field: str | None = None
    what_to_do: str | None = None


def run(command: Callable[[], object]) -> int:
    """Run the command of this process and return its exit code; print its failure, if any.

    With --json, standard output gets one line: the object that the command prints last, or else its failure. Other
    lines, such as those of libraries, go to standard error.

    Raises:
        Exception: an unexpected one, unless it is printed by --json.
    """
    if not _as_json():
        return _ended(command)[0]
    printed = StringIO()
    with redirect_stdout(printed):
        try:
            code, failure = _ended(command)
        except Exception as error:
            print("".join(traceback.format_exception(error)), file=sys.stderr, end="")
            problem = without_secrets(f"{type(error).__name__}: {one_line(error)}")
            code, failure = 1, Failure(problem, None, "report this with the traceback on standard error")
    rest, result = _last_object(printed.getvalue())
    if failure is not None:
        rest, result = printed.getvalue(), json.dumps(asdict(failure)) + "\n"
    sys.stderr.write(rest)
    sys.stdout.write(result)
    return code


def of_error(error: IsthmusError) -> Failure:
    """Return the failure for an error that a person can fix: its message names the field and the remedy."""
    line = without_secrets(error)
    bare = _QUOTED.sub(lambda found: "_" * len(found[0]), line)  # what is quoted may look like the parts of a message
    if error.field:
        bare = bare.replace(error.field, "_" * len(error.field))
    problem, separator, remedy = bare.partition("; ")
    found = _FIELD.search(problem)
    field = error.field or (line[slice(*found.span(1))] if found else None)
    return Failure(line, field, line[-len(remedy) :] if separator else None)


def _ended(command: Callable[[], object]) -> tuple[int, Failure | None]:
    """Run a command; return its exit code, and its failure after telling it."""
    try:
        with interruptible():
            command()
    except IsthmusError as error:
        failure = of_error(error)
        errors.print(f"isthmus: {failure.error}", markup=False)
        return (1 if isinstance(error, RenderDivergedError) else 2), failure
    except UnicodeEncodeError as error:
        letter = error.object[error.start : error.end]
        problem = (
            f"expected a file name in {error.encoding}, the encoding of this locale, got {letter!r} in {error.object!r}"
        )
        errors.print(f"isthmus: {problem}; set PYTHONUTF8=1", markup=False)
        return 2, Failure(f"{problem}; set PYTHONUTF8=1", None, "set PYTHONUTF8=1")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if code in INTERRUPTED_CODES:
            return code, _interrupted()
        return code, _wrong_usage(stop.__context__)
    return 0, None


def tell_interrupted(code: int, output: TextIO) -> int:
    """Print what an interrupted command prints, for a process that ends at once, and return the exit code."""
    failure = _interrupted()
    if _as_json():
        print(json.dumps(asdict(failure)), file=output)
    return code


def _as_json() -> bool:
    return "--json" in takewhile(lambda argument: argument != "--", sys.argv[1:])


def _interrupted() -> Failure:
    errors.print(f"isthmus: interrupted; {RESUME}")
    return Failure(f"interrupted; {RESUME}", None, RESUME)


def _wrong_usage(mistake: BaseException | None) -> Failure | None:
    """Return the failure for a mistake in the arguments, which Typer has printed already; None for any other end."""
    if mistake is None or not hasattr(mistake, "format_message"):
        return None
    context, parameter = getattr(mistake, "ctx", None), getattr(mistake, "param", None)
    field = getattr(mistake, "option_name", None)
    if parameter:  # the longest spelling of an option, or the name of an argument as in the usage
        longest = max(parameter.opts, key=len)
        field = longest if longest.startswith("-") else parameter.metavar or longest.upper()
    command = context.command_path if context else "isthmus"
    return Failure(one_line(Exception(mistake.format_message())), field, f"see {command} --help")


def _last_object(text: str) -> tuple[str, str]:
    """Divide what a command printed into the JSON object in its last line and everything before it."""
    before, end, last = text.removesuffix("\n").rpartition("\n")
    return (before + end, last + "\n") if last.startswith("{") else ("", text)
