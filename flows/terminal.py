"""The terminal of the command line: errors, warnings, progress, interrupts, and silencing of libraries."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from core.addresses import without_secrets

if TYPE_CHECKING:
    from rich.progress import Progress

    from core.store.store import Store

INTERRUPTED_CODES = (128 + signal.SIGINT, 128 + signal.SIGTERM)
"""Exit codes of a command that was stopped from the keyboard or by SIGTERM."""
RESUME = "to resume, run the same command again"
errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def warn(text: str) -> None:
    """Print a warning as one line on standard error."""
    errors.print(f"isthmus: warning: {without_secrets(text)}", markup=False)


def warn_of_one_writer(store: Store) -> None:
    """Warn if the store does not protect an atlas against two builds at once."""
    if not store.allows_many_writers():
        warn(f"{store}: {store.one_writer}")


@contextmanager
def renamed_keys_in_one_line(source: Path) -> Iterator[None]:
    """Print a warning line for every key that a spec gives by its old name, whatever PYTHONWARNINGS says.

    If the spec is refused, nothing is printed, because the error must be the only line.

    Args:
        source: the spec's file, for the lines.
    """
    from core.spec import RenamedKeyWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RenamedKeyWarning)
        yield
    for warning in caught:
        if issubclass(warning.category, RenamedKeyWarning):
            warn(f"{source}: {warning.message}")
        else:
            warnings.showwarning(warning.message, warning.category, warning.filename, warning.lineno)


def quiet_libraries(verbose: bool) -> None:
    """Silence TensorFlow and Prefect in this process and in those that it starts, unless *verbose*."""
    from core.machine.device import VERBOSE

    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")
    # The server usually starts in 5 s; slow machines take longer.
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "90")
    if verbose:
        os.environ[VERBOSE] = "1"
    else:
        # Only the terminal is silenced: a Prefect server still gets every line of the log.
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
        os.environ.setdefault("PYTHONWARNINGS", "ignore")
        logging.captureWarnings(True)
        logging.raiseExceptions = False  # Prefect prints an error for every line that a server does not take


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """End a build soon after an interrupt from the keyboard or SIGTERM, with the usual exit code of that signal.

    Yield a list that gets the exit code when the interrupt comes. Prefect's server records that the run was stopped.
    Libraries may replace the exception that is raised here by another one, so the number of the signal is kept.
    """
    stopped: list[int] = []

    def stop(number: int, _frame: object) -> None:
        stopped.append(128 + number)
        raise SystemExit(stopped[0])

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    except Exception as error:
        # While a flow runs, Prefect handles SIGTERM: it raises TerminationSignal, which pydantic turns into its own.
        if "TerminationSignal" in str(error):
            stopped.append(128 + signal.SIGTERM)
        if stopped:
            raise SystemExit(stopped[0]) from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopped:
        raise SystemExit(stopped[0])


@contextmanager
def progress_bars(show: bool) -> Iterator[Progress]:
    """Show progress bars with the elapsed time and the time left, if standard error is a terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("·"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=errors,
        disable=not (show and errors.is_terminal),
        transient=True,
    ) as progress:
        yield progress
