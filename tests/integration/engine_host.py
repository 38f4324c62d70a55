"""An engine in a flow run of its own: commands are read from standard input, answers written to standard output.

Both are JSON, one value a line. The tests run this module as a script, so that only this process loads Prefect and has
render processes.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from prefect import flow

from core.errors import IsthmusError
from core.rendering.chunk import ChunkResult
from core.rendering.process import UnexpectedError
from core.spec import Compute, Storage
from flows.engines.choice import engine_of
from flows.engines.engine import Engine, Round, closing


class Commands:
    """The commands that a test may send, by the names of the methods."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def chunks_at_once(self) -> int:
        return self._engine.chunks_at_once

    def begin(self, chunks: int) -> None:
        self._engine.begin(chunks)

    def render(self, **round_: Any) -> dict[str, Any]:
        """Render a round of chunks of one pair, or of photographs.

        Returns:
            `finished`: the keys of the pairs that the engine has reported as finished, and the names of chunks of
            photographs, `failed`: chunk -> cause of those that an unexpected exception ended, and `error`: the class
            and message of an error.
        """
        keys: list[str] = []
        faults: dict[str, str] = {}

        def finished(result: ChunkResult) -> None:
            keys.extend([Path(sample).stem for sample in result.samples] or [result.chunk])

        def failed(chunk: str, error: UnexpectedError) -> None:
            faults[chunk] = error.cause

        try:
            self._engine.render(Round(storage=Storage(), batch_pairs=1, **round_), finished, failed)
        except IsthmusError as error:
            return {"finished": keys, "failed": faults, "error": [type(error).__name__, str(error)]}
        return {"finished": keys, "failed": faults, "error": None}

    def close(self, kill: bool) -> None:
        self._engine.close(kill=kill)


@flow(name="engine-host", persist_result=False)
def host(compute: Compute, answers: int) -> None:
    """Run the commands on the lines of standard input, until its end.

    Args:
        answers: a file descriptor. Prefect sends the flow to its render processes, and open files cannot be sent.
    """
    with closing(engine_of(compute)) as engine, os.fdopen(answers, "w") as output:
        commands = Commands(engine)
        for line in sys.stdin:
            name, arguments = json.loads(line)
            print(json.dumps(getattr(commands, name)(**arguments)), file=output, flush=True)


def main() -> None:
    answers = os.dup(1)
    os.dup2(2, 1)  # the output of libraries must not mix with the answers
    host(Compute.model_validate_json(sys.stdin.readline()), answers)


if __name__ == "__main__":
    main()
