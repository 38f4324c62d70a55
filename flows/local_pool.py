"""The engine `local`: a pool of processes on this machine, one per core or per GPU."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children

from prefect import get_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner

from flows.rounds import Finished, Round, api_url, render_in_window
from tasks.render import render_one_chunk


def render_locally(round_: Round, processes: int, finished: Finished) -> None:
    """Render the chunks of a round in a pool of fresh processes; ends early if one of them dies.

    Raises:
        IsthmusError: if a chunk met something that a person must mend.
    """
    with (
        temporary_settings({PREFECT_API_URL: api_url()}),
        ProcessPoolTaskRunner(max_workers=processes) as pool,
    ):
        _never_wait_for_messages(pool)
        try:
            render_in_window(lambda order: pool.submit(render_one_chunk, dict(order)), round_, 2 * processes, finished)
        except BrokenProcessPool:
            get_run_logger().warning("a render process died; going on with a fresh pool and what is still missing")
        except BaseException:
            # Leaving the pool waits for what it has begun. Nothing is lost by killing that, and it may take long.
            for process in active_children():
                process.kill()
            raise


def _never_wait_for_messages(pool: ProcessPoolTaskRunner) -> None:
    """Do not let this process wait, when it ends, until its messages to the pool's own queue have been written.

    A render process that was killed while it wrote to that queue holds the queue's lock for ever. The queue carries
    log lines only.
    """
    messages = getattr(pool, "_subprocess_message_queue", None)
    if messages is not None:
        messages.cancel_join_thread()
