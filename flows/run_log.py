"""The log of a build's flow run on the terminal: warnings and errors at once, one line each, tracebacks in a file."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.addresses import without_secrets
from core.machine.environment import cache_folder
from flows.terminal import errors

NOT_ON_TERMINAL = {"is_told_at_the_end": True}
"""Extra attributes of a record that the terminal does not show, because the command tells the same when it ends."""
_LOGGER = "prefect.flow_runs"
_FLOWS = Path(__file__).parent


@contextmanager
def shown_on_terminal(name: str, show: bool) -> Iterator[None]:
    """Print the warnings and errors that our flows log, while Prefect prints nothing.

    Args:
        name: name of the atlas, for the file of the tracebacks.
        show: whether to print anything; Prefect prints the whole log if the user has asked for it.
    """
    logger, handler = logging.getLogger(_LOGGER), _Lines(name)
    if show:
        logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Lines(logging.Handler):
    """Prints the first line of each record of our flows. The lines below it, a traceback, go into a file."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.WARNING)
        self._file = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"

    def emit(self, record: logging.LogRecord) -> None:
        if not Path(record.pathname).is_relative_to(_FLOWS):  # a record of Prefect itself
            return
        if NOT_ON_TERMINAL.items() <= record.__dict__.items():
            return
        message = without_secrets(record.getMessage())
        line, _, details = message.partition("\n")
        if details:
            line += f"; the traceback is in {self._write(message)}"
        errors.print(f"isthmus: {line}", markup=False)

    def _write(self, message: str) -> Path:
        """Append a message to the file of this build and return the path of the file."""
        try:
            folder = cache_folder() / "logs"
            folder.mkdir(parents=True, exist_ok=True)
            return self._append(folder / self._file, message)
        except OSError:
            return self._append(Path(tempfile.gettempdir()) / self._file, message)

    def _append(self, path: Path, message: str) -> Path:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message.rstrip()}\n\n")
        return path
